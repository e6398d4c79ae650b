//! The door to durability: [`Store`], told by what has become true when a call returns.
//!
//! There are two stores: `SqliteStore` (crate `worksite-store`) and `MemoryStore` (crate `worksite-simulation`). Both
//! pass one conformance suite, which is the full contract; a later store is admitted by it. Nothing above this trait
//! may assume SQLite.

use crate::flow::{Job, JobFilter, JobId};
use crate::{
    Advice, Change, Cursor, Delivery, Envelope, EnvelopeId, FactOffset, Interest, LoggedFact, Payload, PersonId,
    Pruned, RecoveredRuns, Retention, Revision, Roster, RosterDifference, RoutineFailure, Run, RunFilter, RunId,
    Session, Timestamp, WaitingDelivery,
};
use std::sync::Arc;
use thiserror::Error;

/// Where a site's people, mail and states are kept. One owner at a time; calls come one after another.
pub trait Store: Send {
    /// Writes a batch of changes in as few transactions as possible, in order. When it returns, every change with a
    /// [`Grant`] is durable (it survives the death of the process and, with the default sync mode, of the machine),
    /// and a change with a [`Refusal`] has left no trace. A refused change harms no other change of the batch.
    ///
    /// Ids are given in the order of changes and drafts, each higher than all before, and never again; a change that
    /// brings a [`Numbering`](crate::Numbering) has them already. One at or below the highest given refuses the change. An
    /// envelope that is accepted and settled by the same batch may never be written at all.
    ///
    /// # Errors
    /// [`StoreError`]: nothing of the batch is durable, except after [`StoreError::Unknown`], where that is unknown.
    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError>;

    /// The active people.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn roster(&mut self) -> Result<Roster, StoreError>;

    /// The highest id ever given.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn last_id(&mut self) -> Result<EnvelopeId, StoreError>;

    /// When the last of the envelopes that wait was accepted; the beginning of time when none waits. Moments of acceptance
    /// do not go back behind it, whatever the clock says when the store is opened again.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn last_accepted(&mut self) -> Result<Timestamp, StoreError>;

    /// Who has mail waiting, in order of ids: people who left included.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn waiting(&mut self) -> Result<Vec<Waiting>, StoreError>;

    /// Everything a worker needs to go on: its waiting deliveries in order of ids, its states, and the highest id
    /// given so far. What cannot be read is set aside (quarantined) with its reason and does not come along.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn recover(&mut self, person: PersonId, at: Timestamp) -> Result<Recovered, StoreError>;

    /// One routine's state as it was last committed.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn state(&mut self, person: PersonId, routine: &str) -> Result<Option<Payload>, StoreError>;

    /// The active people whose workers rest, in order of ids.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn paused(&mut self) -> Result<Vec<PersonId>, StoreError>;

    /// The dead letters after this id, in order of ids, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn dead_letters(&mut self, after: EnvelopeId, limit: usize) -> Result<Vec<DeadLetter>, StoreError>;

    /// The envelopes of a thread after this id, in order of ids, at most `limit`: those that wait, those that were given
    /// up, and those that have left their inboxes, as long as the history is kept.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn thread(&mut self, thread: &str, after: EnvelopeId, limit: usize) -> Result<Vec<ThreadEntry>, StoreError>;

    /// Earlier states of a routine, the newest first, at most `limit`; the present one is the first.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn revisions(&mut self, person: PersonId, routine: &str, limit: usize) -> Result<Vec<Revision>, StoreError>;

    /// The durable subscriptions, in order of names.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn cursors(&mut self) -> Result<Vec<Cursor>, StoreError>;

    /// The logged facts after this one that this interest fits, in order, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn facts(&mut self, interest: &Interest, after: FactOffset, limit: usize) -> Result<Vec<LoggedFact>, StoreError>;

    /// What the run queue needs to go on: live runs, callbacks that are owed, schedules, and which life of the site this
    /// is. One that cannot be read comes as its reason.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn runs(&mut self) -> Result<RecoveredRuns, StoreError>;

    /// A run, live or ended.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn run(&mut self, id: RunId) -> Result<Option<Run>, StoreError>;

    /// The runs that are meant, live or ended, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn run_history(&mut self, filter: &RunFilter) -> Result<Vec<Run>, StoreError>;

    /// A session, and how its latest run stands.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn session(&mut self, id: &str) -> Result<Option<Session>, StoreError>;

    /// A job that was taken from its post; nothing when there is none of this id.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn job(&mut self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// The jobs that are meant, in order of ids, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn jobs(&mut self, filter: &JobFilter, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// How many jobs each worker has that have not ended, in order of ids.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn open_jobs(&mut self) -> Result<Vec<(PersonId, usize)>, StoreError>;

    /// An envelope that waits; nothing when none does under this id.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn envelope(&mut self, id: EnvelopeId) -> Result<Option<WaitingDelivery>, StoreError>;

    /// What became of the message under this idempotency key, and which envelope it was; nothing when the key is not kept.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn fate(&mut self, key: &str) -> Result<Option<(EnvelopeId, Fate)>, StoreError>;

    /// How much mail there has ever been, and what became of it.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read.
    fn tally(&mut self) -> Result<Tally, StoreError>;

    /// Forgets what is older, or more, than is to be kept, a bounded number of rows a call; says how many. Nothing that
    /// waits is touched, nor the key of anything that waits.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was forgotten.
    fn prune(&mut self, retention: &Retention, at: Timestamp) -> Result<Pruned, StoreError>;
}

/// What the store says of one change.
pub type Verdict = Result<Grant, Refusal>;

/// What the store gave to a change it wrote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// What became of each draft, in order.
    pub entries: Vec<Entry>,
    /// What changed in the roster, when the change named one.
    pub roster: Option<RosterDifference>,
    /// Which envelopes were removed by acknowledgement, purge or clearing.
    pub removed: Vec<Removal>,
    /// Which envelopes gave way to newer ones.
    pub dropped: Vec<Removal>,
}

/// An envelope that left its inbox without being settled or buried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Removal {
    /// Whose it was.
    pub person: PersonId,
    /// Which.
    pub id: EnvelopeId,
    /// Bytes of its body.
    pub bytes: usize,
}

/// What became of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It is an envelope with this id now.
    Accepted(EnvelopeId),
    /// Its idempotency key was used before: it is the same message, and nothing was written.
    Known {
        /// The envelope the first draft became.
        id: EnvelopeId,
        /// What became of that envelope.
        fate: Fate,
    },
    /// It came too soon after another from this sender to this recipient through this channel, and a routine sent it:
    /// nothing was written. From outside that is a refusal.
    Cooling {
        /// When the next may come.
        until: Timestamp,
    },
}

impl Entry {
    /// The id of the envelope, new or known; 0 when there is none.
    pub fn id(&self) -> EnvelopeId {
        match self {
            Self::Accepted(id) | Self::Known { id, .. } => *id,
            Self::Cooling { .. } => EnvelopeId(0),
        }
    }
}

/// What has become of an envelope whose key is still kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It waits, or is being worked on.
    Waiting,
    /// It is done, with this reply.
    Settled(Option<Payload>),
    /// It was given up, for this reason.
    Buried(String),
    /// It was acknowledged by the application, dropped for a newer one, purged or cleared.
    Removed,
}

/// Why the store would not write a change. The change left no trace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A draft is for somebody who is not on the roster. Sync the roster, or correct the recipient.
    #[error("person {0} is not on the roster")]
    UnknownPerson(PersonId),
    /// Somebody who is to be new is active already. Choose another id.
    #[error("person {0} is on the roster already")]
    Taken(PersonId),
    /// An envelope to settle, retry or bury does not wait: it was settled before. Recover the worker.
    #[error("envelope {0} does not wait")]
    NotWaiting(EnvelopeId),
    /// A dead letter to redrive or to forget is not there: somebody else was quicker. Look again.
    #[error("there is no dead letter {0}")]
    NotBuried(EnvelopeId),
    /// What is to be sent in place of a dead letter has the key of another message. Send it without.
    #[error("the key {0:?} belongs to another message")]
    KeyTaken(String),
    /// A draft with a cooldown came too soon after another. Wait, or leave it.
    #[error("nothing more from this sender to person {to} through this channel before {} µs", .until.as_micros())]
    Cooling {
        /// The recipient.
        to: PersonId,
        /// When the next may come.
        until: Timestamp,
    },
    /// A job has ended already, or is there although it should be new: nothing ends twice. Recover the worker.
    #[error("{0} has ended already, or is not new")]
    JobEnded(JobId),
    /// There is no durable subscription of this name. Open it first.
    #[error("there is no durable subscription named {0:?}")]
    UnknownCursor(String),
    /// Its drafts were numbered with ids that were given before. Let the store number them.
    #[error("id {0} was given before")]
    IdUsed(EnvelopeId),
    /// A run does not stand as the change supposes, or there is one already: somebody else was quicker. Look again.
    #[error("{0} does not stand as supposed")]
    RunMoved(RunId),
    /// A live run has the unique key of a new one. Wait for it.
    #[error("the unique key {0:?} belongs to a live run")]
    RunKeyHeld(String),
    /// There is a session of this id already, or none to bind. Look again.
    #[error("the session {0:?} is there already, or is not")]
    SessionMoved(String),
    /// A schedule does not stand as the change supposes: somebody else was quicker. Look again.
    #[error("the schedule {0:?} does not stand as supposed")]
    ScheduleMoved(String),
    /// No handler of this name was registered when the store was opened. Register it.
    #[error("no handler for writes named {0:?}")]
    UnknownWrite(String),
    /// The handler of a named write returned an error, or the store cannot hold a value. Correct what was sent.
    #[error("the store cannot hold it: {0}")]
    Invalid(String),
    /// The change was written alone, after a bad one had spoilt its batch, and the store failed then. Its error says
    /// what to do.
    #[error(transparent)]
    Unwritten(StoreError),
}

/// Why the store could not do what was asked, through no fault of the request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another program holds the file's write lock. Nothing was written; try again later.
    #[error("the file is locked by another program: {0}")]
    Busy(String),
    /// There is no room: the disk or the file's limit is full. Nothing was written; the site goes on when space returns.
    #[error("there is no room left: {0}")]
    Full(String),
    /// The file is damaged. Nothing is written any more; run an integrity check, restore from a copy.
    #[error("the file is damaged: {0}")]
    Corrupt(String),
    /// A sync or another disk operation failed while committing: whether the batch is durable is unknown. The writer
    /// accepts nothing more: reopen the site and look.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// The store was closed, or poisoned by an earlier error. Reopen the site.
    #[error("the store is closed: {0}")]
    Closed(String),
}

impl StoreError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Busy(_) | Self::Full(_) => Advice::RetryLater,
            Self::Corrupt(_) | Self::Unknown(_) | Self::Closed(_) => Advice::CallForHelp,
        }
    }
}

/// Somebody's waiting mail, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Whose.
    pub person: PersonId,
    /// How many envelopes.
    pub envelopes: usize,
    /// Bytes of their bodies.
    pub bytes: usize,
}

/// A worker as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// The waiting deliveries, in order of ids.
    pub waiting: Vec<WaitingDelivery>,
    /// Each routine's state, in order of names.
    pub states: Vec<(String, Payload)>,
    /// Its jobs that have not ended, in order of ids.
    pub jobs: Vec<Job>,
    /// The highest id the store had given when this was read (law *admit once*).
    pub watermark: EnvelopeId,
    /// Rows that could not be read and were set aside now.
    pub quarantined: Vec<Quarantined>,
}

/// A row that could not be read, set aside with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The envelope's id.
    pub id: EnvelopeId,
    /// What is wrong with it.
    pub reason: String,
    /// Bytes of its body.
    pub bytes: usize,
}

/// An envelope that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// What was to be delivered, and after how many attempts it was given up.
    pub delivery: Delivery,
    /// Why.
    pub failure: RoutineFailure,
    /// When.
    pub buried_at: Timestamp,
}

/// An envelope of a thread, and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadEntry {
    /// The envelope.
    pub envelope: Arc<Envelope>,
    /// How it stands.
    pub standing: Standing,
}

/// What has become of an envelope of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It waits, or is being worked on.
    Waiting,
    /// A routine is done with it.
    Settled,
    /// It was given up.
    Buried,
    /// It was acknowledged by the application, purged or cleared.
    Removed,
    /// It gave way to a newer one in a full inbox.
    Dropped,
}

/// How much mail there has ever been, and what became of it (law *conservation*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Envelopes accepted.
    pub accepted: u64,
    /// Envelopes that wait, or are being worked on.
    pub waiting: u64,
    /// Envelopes that are done.
    pub settled: u64,
    /// Envelopes given up.
    pub buried: u64,
    /// Envelopes acknowledged by the application, purged with their person, or cleared.
    pub removed: u64,
    /// Envelopes that gave way to newer ones in a full inbox.
    pub dropped: u64,
    /// Envelopes that could not be read and were set aside.
    pub quarantined: u64,
}

impl Tally {
    /// Whether nothing was lost and nothing was made up: accepted = waiting + settled + buried + removed + dropped +
    /// quarantined.
    pub fn is_conserved(&self) -> bool {
        let gone = self.settled + self.buried + self.removed + self.dropped + self.quarantined;
        self.accepted == self.waiting + gone
    }
}
