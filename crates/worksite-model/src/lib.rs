//! The words and laws of Worksite, in the order a message lives: a [`Person`] is on the [`Roster`]; somebody writes a
//! [`Draft`]; the store accepts it as an [`Envelope`]; it waits in an [`Inbox`]; a [`Routine`] gets it in an
//! [`Activation`] and ends it with an [`Outcome`]; [`settle`] turns that into a [`Change`]; the [`Store`] writes it; it is
//! [`Committed`], and subscribers are told the [`Fact`]s.
//!
//! No I/O, no clock, no async runtime: everything here is a value or a function of values. Time and chance are arguments.

mod time;
pub use time::Timestamp;

mod person;
pub use person::{Departure, Name, Person, PersonId};

mod roster;
pub use roster::{Roster, RosterDifference};

mod payload;
pub use payload::{DECODED_BYTES_MAX, Durable, Encoding, Payload, PayloadError};

mod draft;
pub use draft::{Draft, Priority, accept};

mod envelope;
pub use envelope::{Delivery, Envelope, EnvelopeId};

mod parcel;
pub use parcel::Parcel;

mod filter;
pub use filter::Filter;

mod policy;
pub use policy::{Ageing, InboxPolicy, Misfire, Overflow};

mod inbox;
pub use inbox::{Inbox, WaitingDelivery};

mod routine;
pub use routine::{
    AnyRoutine, AsyncRoutine, Ended, LiveState, Occasion, Performance, PerformedState, Registry, Routine, Turn,
    VolatileEnd,
};

mod activation;
pub use activation::{Activation, next_activation};

mod outcome;
pub use outcome::{Effects, FailureKind, Outcome, Performed, RoutineFailure};

mod inbound;
pub use inbound::InboundMessage;

mod settle;
pub use settle::{Settling, settle};

mod retry;
pub use retry::RetryPolicy;

mod change;
pub use change::{Announcement, Burial, Change, NamedWrite, Numbering, Retry, RosterChange, Settlement, StateWrite};

mod committed;
pub use committed::{Committed, Fact};

mod interest;
pub use interest::Interest;

mod run;
pub use run::{
    Added, CallbackReport, Capabilities, ChildReport, Conflict, DISCONNECTED, Decision, Demand, Demands, ExecutionMode,
    Guard, Hold, KeyLimit, LEASE_ENDED, Missed, NO_RUNNER, NotARunId, Order, RUN_ATTEMPTS_MAX, RecoveredRuns, Recovery,
    RecoveryReport, Run, RunBoard, RunCounts, RunDraft, RunExplanation, RunFilter, RunId, RunIds, RunName, RunPolicy,
    RunRejection, RunReport, RunStatus, RunWrite, RunnerExplanation, RunnerId, RunnerInfo, RunnerReport, Schedule,
    Session, SessionUse, Standby, Unmet, Value, Which, Word, reported,
};

mod cursor;
pub use cursor::{Cursor, CursorChange, FactOffset, LoggedFact};

mod revision;
pub use revision::{KeepStates, Revision};

mod store;
pub use store::{
    DeadLetter, Entry, Fate, Grant, Quarantined, Recovered, Refusal, Removal, Standing, Store, StoreError, Tally,
    ThreadEntry, Verdict, Waiting,
};

mod id_map;
pub use id_map::{IdHasher, IdMap};

mod retention;
pub use retention::{Keep, Pruned, Retention};

pub mod flow;

mod limits;
pub use limits::{Limits, VALUE_BYTES_MAX};

mod chance;
pub use chance::chance;

mod error;
pub use error::{Advice, LimitsError, RegistryError, Rejection};
