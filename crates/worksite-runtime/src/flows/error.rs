//! What can go wrong at the surface of flows, sorted by the caller's next move.

use crate::{DeskError, Runtime, SendError};
use thiserror::Error;
use worksite_model::flow::{FlowBuildError, JobId};
use worksite_model::{Advice, PayloadError, PersonId, StoreError};

/// Why something could not be done to a flow.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FlowError {
    /// The house has no flow of this name. Add it when the house is built.
    #[error("there is no flow {0:?}")]
    UnknownFlow(String),
    /// No worker of this flow has been started. Call `exec` first.
    #[error("no worker runs the flow {0:?}: exec it first")]
    NotRunning(String),
    /// There is no worker of this id that runs a flow, or no more.
    #[error("there is no worker {0} of a flow")]
    UnknownWorker(PersonId),
    /// The worker runs another flow. Choose another id.
    #[error("worker {worker} runs the flow {runs:?}")]
    OtherFlow {
        /// Which worker.
        worker: PersonId,
        /// What it runs.
        runs: String,
    },
    /// The flow has no such routine or slot. Correct the post.
    #[error("the post has no target: {0}")]
    UnknownTarget(#[from] FlowBuildError),
    /// The slot takes another type. Correct the post.
    #[error("the slot {slot} takes {takes}, not {given}")]
    OtherType {
        /// Which slot.
        slot: String,
        /// What it takes.
        takes: &'static str,
        /// What it was given.
        given: String,
    },
    /// A post carries no data, or more than `POST_DATA_MAX`. Split it.
    #[error("a post of {0} data is not possible")]
    BadPost(usize),
    /// There is no job of this id, or it is forgotten.
    #[error("there is no {0}")]
    UnknownJob(JobId),
    /// The post was not accepted.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The worker could not be looked at or changed.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The datum or the state cannot be encoded or decoded.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

impl FlowError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Send(error) => error.advice(),
            Self::Desk(error) => error.advice(),
            _ => Advice::FixRequest,
        }
    }
}

/// What the store said, or that the house is closed.
pub(super) fn told(runtime: &Runtime, error: StoreError) -> FlowError {
    match error {
        StoreError::Closed(_) if runtime.0.house.directory.is_closed() => DeskError::Stopped.into(),
        error => DeskError::Store(error).into(),
    }
}
