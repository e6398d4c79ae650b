//! Faults own the bad days of a store: [`FaultyStore`] fails by a script, counted in commits and readings.

use crate::hands::Hands;
use crate::layer::{Layer, Layered};
use crate::trace::{Event, Trace};
use std::time::Duration;
use worksite_model::{Change, Payload, PersonId, Recovered, Store, StoreError, Timestamp, Verdict};

/// What goes wrong, and at which commit or reading, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Commits from this one to that one find no room.
    Full(u64, u64),
    /// Commits from this one to that one find the file locked.
    Busy(u64, u64),
    /// Readings of workers and states from this one to that one find the file locked.
    ReadBusy(u64, u64),
    /// So much time passes while this commit is written, and nobody does anything meanwhile.
    Stall(u64, Duration),
    /// The process dies at this commit, before it is written.
    CrashBefore(u64),
    /// The process dies at this commit, after it is written and before anybody hears of it.
    CrashAfter(u64),
    /// The process dies at this commit, when the first half of its changes is written.
    Torn(u64),
    /// The sync fails at this commit, and the disk has it all the same; the store is poisoned.
    UnknownWritten(u64),
    /// The sync fails at this commit, and the disk does not have it; the store is poisoned.
    UnknownLost(u64),
    /// The file is found damaged at this commit, which is not written; nor is any other until it is opened again.
    Damaged(u64),
    /// The writer crashes at this commit, before it is written, as from a mistake of ours.
    Panic(u64),
}

/// A store with bad days.
pub type FaultyStore = Layered<Faults>;

/// The script of a [`FaultyStore`].
pub struct Faults {
    store: Box<dyn Store>,
    script: Vec<Fault>,
    commits: u64,
    readings: u64,
    hands: Hands,
    trace: Trace,
    /// After a crash or an unknown outcome nothing works any more.
    dead: bool,
}

impl FaultyStore {
    /// This store, with these faults.
    pub fn new(store: Box<dyn Store>, faults: Vec<Fault>) -> Self {
        Self::seen(store, faults, Hands::default(), Trace::default())
    }

    /// This store, with these faults; what stalls moves these hands, and what fails is seen by this trace.
    pub fn seen(store: Box<dyn Store>, script: Vec<Fault>, hands: Hands, trace: Trace) -> Self {
        Self(Faults { store, script, commits: 0, readings: 0, hands, trace, dead: false })
    }
}

impl Faults {
    fn die(&mut self, error: StoreError) -> Result<Vec<Verdict>, StoreError> {
        self.dead = true;
        Err(error)
    }

    fn killed(&mut self) -> Result<Vec<Verdict>, StoreError> {
        self.die(StoreError::Closed("it died".into()))
    }

    fn strike(&mut self, fault: Fault, batch: &[Change], at: Timestamp) -> Option<Result<Vec<Verdict>, StoreError>> {
        Some(match fault {
            Fault::Full(..) => Err(StoreError::Full("no room".into())),
            Fault::Busy(..) => Err(StoreError::Busy("locked".into())),
            Fault::ReadBusy(..) => return None,
            Fault::Stall(_, time) => {
                self.hands.pass(time);
                return None;
            }
            Fault::CrashBefore(_) => self.killed(),
            Fault::CrashAfter(_) => self.store.commit(batch, at).and_then(|_| self.killed()),
            Fault::Torn(_) => self.store.commit(&batch[..batch.len() / 2], at).and_then(|_| self.killed()),
            Fault::UnknownWritten(_) => {
                let written = self.store.commit(batch, at);
                written.and_then(|_| self.die(StoreError::Unknown("sync failed".into())))
            }
            Fault::UnknownLost(_) => self.die(StoreError::Unknown("sync failed".into())),
            Fault::Damaged(_) => self.die(StoreError::Corrupt("a page is damaged".into())),
            Fault::Panic(commit) => panic!("the writer was told to crash at commit {commit}"),
        })
    }
}

impl Fault {
    fn strikes(self, now: u64) -> bool {
        match self {
            Self::Full(from, to) | Self::Busy(from, to) => (from..=to).contains(&now),
            Self::ReadBusy(..) => false,
            Self::Stall(at, _)
            | Self::CrashBefore(at)
            | Self::CrashAfter(at)
            | Self::Torn(at)
            | Self::UnknownWritten(at)
            | Self::UnknownLost(at)
            | Self::Damaged(at)
            | Self::Panic(at) => at == now,
        }
    }
}

impl Layer for Faults {
    fn below(&mut self) -> Result<&mut dyn Store, StoreError> {
        if self.dead { Err(StoreError::Closed("it died".into())) } else { Ok(self.store.as_mut()) }
    }

    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        let written = self.suffer(batch, at);
        if let Err(error) = &written {
            self.trace.push(Event::Failed(error.clone()));
        }
        written
    }

    fn recover(&mut self, person: PersonId, at: Timestamp) -> Result<Recovered, StoreError> {
        self.read()?.recover(person, at)
    }

    fn state(&mut self, person: PersonId, routine: &str) -> Result<Option<Payload>, StoreError> {
        self.read()?.state(person, routine)
    }
}

impl Faults {
    fn read(&mut self) -> Result<&mut dyn Store, StoreError> {
        self.readings += 1;
        let now = self.readings;
        let busy = |fault: &Fault| matches!(fault, Fault::ReadBusy(from, to) if (*from..=*to).contains(&now));
        if self.script.iter().any(busy) {
            return Err(StoreError::Busy("locked".into()));
        }
        self.below()
    }

    fn suffer(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        self.below()?;
        self.commits += 1;
        let (now, script) = (self.commits, self.script.clone());
        for fault in script.into_iter().filter(|fault| fault.strikes(now)) {
            if let Some(answer) = self.strike(fault, batch, at) {
                return answer;
            }
        }
        self.store.commit(batch, at)
    }
}
