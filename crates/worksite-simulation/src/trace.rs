//! The trace owns what happened: every commit as the store saw it, and everything that was told or performed, in order.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use worksite_model::{
    Change, Committed, Cursor, DeadLetter, EnvelopeId, Fact, FactOffset, Interest, LoggedFact, Payload, PersonId,
    Pruned, Recovered, Retention, Revision, Roster, StateWrite, Store, StoreError, Tally, ThreadEntry, Timestamp,
    Verdict, Waiting,
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A change became durable; with the states it wrote, and the counts after the batch it was in.
    Committed {
        /// The change, with its ids.
        committed: Arc<Committed>,
        /// The states it wrote.
        states: Vec<StateWrite>,
        /// What became of all mail, after the batch.
        tally: Tally,
        /// Who had how much waiting, after the batch.
        waiting: Vec<Waiting>,
    },
    /// A sender was told that its draft is durable.
    Receipt(EnvelopeId),
    /// A subscriber was told a fact.
    Told(Fact),
    /// A routine began with an envelope.
    Performed {
        /// Whose worker.
        person: PersonId,
        /// Which envelope.
        id: EnvelopeId,
        /// Which attempt.
        attempt: u32,
    },
    /// The roster was synced: who was wanted, who is active now, and whose workers are awake.
    Synced {
        /// Who was wanted.
        wanted: Vec<PersonId>,
        /// Who is active.
        active: Vec<PersonId>,
        /// Whose workers are awake.
        awake: Vec<PersonId>,
    },
    /// A life of the process began.
    Life,
}

/// What happened, in order; shared by all who see something happen.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Vec<Event>>>);

impl Trace {
    /// Adds what just happened.
    pub fn push(&self, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// All that happened so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Display for Trace {
    /// A line an event, the same for the same events byte for byte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.events().iter().try_for_each(|event| writeln!(f, "{event:?}"))
    }
}

/// A store whose commits are seen by a trace.
pub struct RecordingStore {
    store: Box<dyn Store>,
    trace: Trace,
}

impl RecordingStore {
    /// This store, seen by this trace.
    pub fn new(store: Box<dyn Store>, trace: Trace) -> Self {
        Self { store, trace }
    }
}

impl Store for RecordingStore {
    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        let verdicts = self.store.commit(batch, at)?;
        let (tally, waiting) = (self.store.tally()?, self.store.waiting()?);
        for (change, verdict) in batch.iter().zip(&verdicts) {
            if let Ok(grant) = verdict {
                let states = change.states.clone();
                let committed = Arc::new(Committed::new(change.clone(), grant.clone(), at));
                self.trace.push(Event::Committed { committed, states, tally, waiting: waiting.clone() });
            }
        }
        Ok(verdicts)
    }

    fn roster(&mut self) -> Result<Roster, StoreError> {
        self.store.roster()
    }

    fn last_id(&mut self) -> Result<EnvelopeId, StoreError> {
        self.store.last_id()
    }

    fn waiting(&mut self) -> Result<Vec<Waiting>, StoreError> {
        self.store.waiting()
    }

    fn recover(&mut self, person: PersonId, at: Timestamp) -> Result<Recovered, StoreError> {
        self.store.recover(person, at)
    }

    fn state(&mut self, person: PersonId, routine: &str) -> Result<Option<Payload>, StoreError> {
        self.store.state(person, routine)
    }

    fn dead_letters(&mut self, after: EnvelopeId, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.dead_letters(after, limit)
    }

    fn paused(&mut self) -> Result<Vec<PersonId>, StoreError> {
        self.store.paused()
    }

    fn thread(&mut self, thread: &str, after: EnvelopeId, limit: usize) -> Result<Vec<ThreadEntry>, StoreError> {
        self.store.thread(thread, after, limit)
    }

    fn revisions(&mut self, person: PersonId, routine: &str, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.store.revisions(person, routine, limit)
    }

    fn cursors(&mut self) -> Result<Vec<Cursor>, StoreError> {
        self.store.cursors()
    }

    fn facts(&mut self, interest: &Interest, after: FactOffset, limit: usize) -> Result<Vec<LoggedFact>, StoreError> {
        self.store.facts(interest, after, limit)
    }

    fn tally(&mut self) -> Result<Tally, StoreError> {
        self.store.tally()
    }

    fn prune(&mut self, retention: &Retention, at: Timestamp) -> Result<Pruned, StoreError> {
        self.store.prune(retention, at)
    }
}
