//! Layers own what a store does otherwise: a [`Layer`] says that, and [`Layered`] hands everything else to the store below.

use worksite_model::flow::{Job, JobFilter, JobId};
use worksite_model::{
    Change, Cursor, DeadLetter, EnvelopeId, FactOffset, Fate, Interest, LoggedFact, Payload, PersonId, Pruned,
    Recovered, RecoveredRuns, Retention, Revision, Roster, Run, RunFilter, RunId, Session, Store, StoreError, Tally,
    ThreadEntry, Timestamp, Verdict, Waiting, WaitingDelivery,
};

/// What a store does otherwise than the one below it.
pub trait Layer: Send {
    /// The store below.
    ///
    /// # Errors
    /// When this layer answers nothing any more.
    fn below(&mut self) -> Result<&mut dyn Store, StoreError>;

    /// [`Store::commit`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        self.below()?.commit(batch, at)
    }

    /// [`Store::recover`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn recover(&mut self, person: PersonId, at: Timestamp) -> Result<Recovered, StoreError> {
        self.below()?.recover(person, at)
    }

    /// [`Store::state`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn state(&mut self, person: PersonId, routine: &str) -> Result<Option<Payload>, StoreError> {
        self.below()?.state(person, routine)
    }
}

/// A store that does what its layer says.
pub struct Layered<L>(pub(crate) L);

impl<L: Layer> Layered<L> {
    /// The store that this layer makes of the one below it.
    pub fn of(layer: L) -> Self {
        Self(layer)
    }
}

impl<L: Layer> Store for Layered<L> {
    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        self.0.commit(batch, at)
    }

    fn recover(&mut self, person: PersonId, at: Timestamp) -> Result<Recovered, StoreError> {
        self.0.recover(person, at)
    }

    fn roster(&mut self) -> Result<Roster, StoreError> {
        self.0.below()?.roster()
    }

    fn last_id(&mut self) -> Result<EnvelopeId, StoreError> {
        self.0.below()?.last_id()
    }

    fn last_accepted(&mut self) -> Result<Timestamp, StoreError> {
        self.0.below()?.last_accepted()
    }

    fn waiting(&mut self) -> Result<Vec<Waiting>, StoreError> {
        self.0.below()?.waiting()
    }

    fn state(&mut self, person: PersonId, routine: &str) -> Result<Option<Payload>, StoreError> {
        self.0.state(person, routine)
    }

    fn dead_letters(&mut self, after: EnvelopeId, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.0.below()?.dead_letters(after, limit)
    }

    fn paused(&mut self) -> Result<Vec<PersonId>, StoreError> {
        self.0.below()?.paused()
    }

    fn thread(&mut self, thread: &str, after: EnvelopeId, limit: usize) -> Result<Vec<ThreadEntry>, StoreError> {
        self.0.below()?.thread(thread, after, limit)
    }

    fn revisions(&mut self, person: PersonId, routine: &str, limit: usize) -> Result<Vec<Revision>, StoreError> {
        self.0.below()?.revisions(person, routine, limit)
    }

    fn cursors(&mut self) -> Result<Vec<Cursor>, StoreError> {
        self.0.below()?.cursors()
    }

    fn facts(&mut self, interest: &Interest, after: FactOffset, limit: usize) -> Result<Vec<LoggedFact>, StoreError> {
        self.0.below()?.facts(interest, after, limit)
    }

    fn runs(&mut self) -> Result<RecoveredRuns, StoreError> {
        self.0.below()?.runs()
    }

    fn run(&mut self, id: RunId) -> Result<Option<Run>, StoreError> {
        self.0.below()?.run(id)
    }

    fn run_history(&mut self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        self.0.below()?.run_history(filter)
    }

    fn session(&mut self, id: &str) -> Result<Option<Session>, StoreError> {
        self.0.below()?.session(id)
    }

    fn job(&mut self, id: JobId) -> Result<Option<Job>, StoreError> {
        self.0.below()?.job(id)
    }

    fn jobs(&mut self, filter: &JobFilter, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.0.below()?.jobs(filter, limit)
    }

    fn open_jobs(&mut self) -> Result<Vec<(PersonId, usize)>, StoreError> {
        self.0.below()?.open_jobs()
    }

    fn fate(&mut self, key: &str) -> Result<Option<(EnvelopeId, Fate)>, StoreError> {
        self.0.below()?.fate(key)
    }

    fn envelope(&mut self, id: EnvelopeId) -> Result<Option<WaitingDelivery>, StoreError> {
        self.0.below()?.envelope(id)
    }

    fn tally(&mut self) -> Result<Tally, StoreError> {
        self.0.below()?.tally()
    }

    fn prune(&mut self, retention: &Retention, at: Timestamp) -> Result<Pruned, StoreError> {
        self.0.below()?.prune(retention, at)
    }
}
