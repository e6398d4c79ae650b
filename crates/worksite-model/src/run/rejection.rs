//! What cannot be done with a run, and what to do about it: [`RunRejection`]. Nothing was written.

use crate::{Advice, RunId, RunStatus, RunnerId};
use thiserror::Error;

/// You asked something impossible of the run queue. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RunRejection {
    /// There is no run of this id, or it has been forgotten since it ended. Correct the id.
    #[error("there is no {0}")]
    UnknownRun(RunId),
    /// There is no session of this id to resume, or to report to. Start one.
    #[error("there is no session {0:?}")]
    UnknownSession(String),
    /// There is a session of this id already. Resume it, or choose another id.
    #[error("there is a session {0:?} already")]
    SessionExists(String),
    /// A live run has this unique key. Wait for it, or take it as yours.
    #[error("the unique key {key:?} belongs to {holder}")]
    KeyHeld {
        /// The key.
        key: String,
        /// The run that has it.
        holder: RunId,
    },
    /// The claim is not the last one: the run was taken from this runner. Drop what was done for it.
    #[error("{id} is under claim {current}, not {given}")]
    StaleClaim {
        /// The run.
        id: RunId,
        /// The fencing token that was given.
        given: u32,
        /// The fencing token of the last claim.
        current: u32,
    },
    /// The run cannot become that from how it stands: terminal is final. Look at it again.
    #[error("{id} is {from} and cannot become {to}")]
    Illegal {
        /// The run.
        id: RunId,
        /// How it stands.
        from: RunStatus,
        /// What it was to become.
        to: RunStatus,
    },
    /// A runner of this identity is registered and has been heard of lately. Stop one of the two.
    #[error("runner {0} is registered and at work")]
    RunnerExists(RunnerId),
    /// No runner of this id is registered, or no more. Register.
    #[error("runner {0} is not registered")]
    UnknownRunner(RunnerId),
    /// The runner has not been heard of for too long to be given runs. Let it send a heartbeat.
    #[error("runner {0} is stale")]
    StaleRunner(RunnerId),
    /// The schedule's expression or time zone cannot be read. Correct it.
    #[error("the schedule cannot be read: {0}")]
    Schedule(String),
    /// There is no schedule of this name. Correct the name.
    #[error("there is no schedule {0:?}")]
    UnknownSchedule(String),
    /// The draft cannot be: the reason says why. Correct it.
    #[error("the draft cannot be: {0}")]
    Impossible(&'static str),
    /// The store refused it for its content, with this reason. Correct it.
    #[error("the store refused it: {0}")]
    Refused(String),
}

impl RunRejection {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::KeyHeld { .. } | Self::StaleRunner(_) => Advice::RetryLater,
            // Somebody else has the run now, or it has ended: what was done for it is of no use.
            Self::StaleClaim { .. } => Advice::CarryOn,
            _ => Advice::FixRequest,
        }
    }
}
