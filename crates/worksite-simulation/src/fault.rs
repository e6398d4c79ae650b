//! Faults own the bad days of a store: [`FaultyStore`] fails by a script, counted in commits.

use worksite_model::{
    Change, Cursor, DeadLetter, EnvelopeId, FactOffset, Interest, LoggedFact, Payload, PersonId, Pruned, Recovered,
    Retention, Revision, Roster, Store, StoreError, Tally, ThreadEntry, Timestamp, Verdict, Waiting,
};

/// What goes wrong, and at which commit, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Commits from this one to that one find no room.
    Full(u64, u64),
    /// Commits from this one to that one find the file locked.
    Busy(u64, u64),
    /// The process dies at this commit, before it is written.
    CrashBefore(u64),
    /// The process dies at this commit, after it is written and before anybody hears of it.
    CrashAfter(u64),
    /// The sync fails at this commit, and the disk has it all the same; the store is poisoned.
    UnknownWritten(u64),
    /// The sync fails at this commit, and the disk does not have it; the store is poisoned.
    UnknownLost(u64),
}

/// A store with bad days.
pub struct FaultyStore {
    store: Box<dyn Store>,
    faults: Vec<Fault>,
    commits: u64,
    /// After a crash or an unknown outcome nothing works any more.
    dead: bool,
}

impl FaultyStore {
    /// This store, with these faults.
    pub fn new(store: Box<dyn Store>, faults: Vec<Fault>) -> Self {
        Self { store, faults, commits: 0, dead: false }
    }

    fn alive(&mut self) -> Result<&mut dyn Store, StoreError> {
        if self.dead { Err(StoreError::Closed("it died".into())) } else { Ok(self.store.as_mut()) }
    }

    fn die(&mut self, error: StoreError) -> Result<Vec<Verdict>, StoreError> {
        self.dead = true;
        Err(error)
    }
}

impl Store for FaultyStore {
    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        self.alive()?;
        self.commits += 1;
        let (now, faults) = (self.commits, self.faults.clone());
        for fault in faults {
            match fault {
                Fault::Full(from, to) if (from..=to).contains(&now) => return Err(StoreError::Full("no room".into())),
                Fault::Busy(from, to) if (from..=to).contains(&now) => return Err(StoreError::Busy("locked".into())),
                Fault::CrashBefore(at) if at == now => return self.die(StoreError::Closed("it died".into())),
                Fault::UnknownLost(at) if at == now => return self.die(StoreError::Unknown("sync failed".into())),
                Fault::CrashAfter(commit) if commit == now => {
                    self.store.commit(batch, at)?;
                    return self.die(StoreError::Closed("it died".into()));
                }
                Fault::UnknownWritten(commit) if commit == now => {
                    self.store.commit(batch, at)?;
                    return self.die(StoreError::Unknown("sync failed".into()));
                }
                _ => {}
            }
        }
        self.store.commit(batch, at)
    }

    fn roster(&mut self) -> Result<Roster, StoreError> {
        self.alive()?.roster()
    }

    fn last_id(&mut self) -> Result<EnvelopeId, StoreError> {
        self.alive()?.last_id()
    }

    fn waiting(&mut self) -> Result<Vec<Waiting>, StoreError> {
        self.alive()?.waiting()
    }

    fn recover(&mut self, person: PersonId, at: Timestamp) -> Result<Recovered, StoreError> {
        self.alive()?.recover(person, at)
    }

    fn state(&mut self, person: PersonId, routine: &str) -> Result<Option<Payload>, StoreError> {
        self.alive()?.state(person, routine)
    }

    fn dead_letters(&mut self, after: EnvelopeId, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.alive()?.dead_letters(after, limit)
    }

    fn paused(&mut self) -> Result<Vec<PersonId>, StoreError> {
        self.alive()?.paused()
    }

    fn thread(&mut self, thread: &str, after: EnvelopeId, limit: usize) -> Result<Vec<ThreadEntry>, StoreError> {
        self.alive()?.thread(thread, after, limit)
    }

    fn revisions(&mut self, person: PersonId, routine: &str, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.alive()?.revisions(person, routine, limit)
    }

    fn cursors(&mut self) -> Result<Vec<Cursor>, StoreError> {
        self.alive()?.cursors()
    }

    fn facts(&mut self, interest: &Interest, after: FactOffset, limit: usize) -> Result<Vec<LoggedFact>, StoreError> {
        self.alive()?.facts(interest, after, limit)
    }

    fn tally(&mut self) -> Result<Tally, StoreError> {
        self.alive()?.tally()
    }

    fn prune(&mut self, retention: &Retention, at: Timestamp) -> Result<Pruned, StoreError> {
        self.alive()?.prune(retention, at)
    }
}
