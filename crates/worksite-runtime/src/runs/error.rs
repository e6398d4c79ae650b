//! What can go wrong at the run queue, sorted by the caller's next move: [`RunError`].

use crate::error::CommitFailure;
use thiserror::Error;
use worksite_model::{Advice, Refusal, RunDraft, RunRejection, StoreError};

/// Why the run queue did not do what was asked. Nothing was written, except perhaps after [`StoreError::Unknown`].
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum RunError {
    /// It cannot be done; the reason says what to do.
    #[error("{rejection}")]
    Rejected {
        /// Why.
        #[source]
        rejection: RunRejection,
        /// The drafts that were to be added.
        drafts: Vec<RunDraft>,
    },
    /// The queue is full. Try again later.
    #[error("the run queue is full: {limit} is reached")]
    Overloaded {
        /// The name of the limit that is reached.
        limit: &'static str,
        /// The drafts that were to be added.
        drafts: Vec<RunDraft>,
    },
    /// The store could not do it; its error says what to do.
    #[error("the store could not do it: {error}")]
    Store {
        /// What the store said.
        #[source]
        error: StoreError,
        /// The drafts that were to be added.
        drafts: Vec<RunDraft>,
    },
    /// The house is closed or closing, or closed while it was being written: then look after reopening.
    #[error("the house is closed")]
    Stopped,
}

impl RunError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Rejected { rejection, .. } => rejection.advice(),
            Self::Overloaded { .. } => Advice::RetryLater,
            Self::Store { error, .. } => error.advice(),
            Self::Stopped => Advice::StopSending,
        }
    }

    /// Why it cannot be done, if that is what is wrong.
    pub fn rejection(&self) -> Option<&RunRejection> {
        match self {
            Self::Rejected { rejection, .. } => Some(rejection),
            _ => None,
        }
    }

    /// The drafts that were to be added.
    pub fn into_drafts(self) -> Vec<RunDraft> {
        match self {
            Self::Rejected { drafts, .. } | Self::Overloaded { drafts, .. } | Self::Store { drafts, .. } => drafts,
            Self::Stopped => Vec::new(),
        }
    }

    pub(crate) fn with(self, given: Vec<RunDraft>) -> Self {
        match self {
            Self::Rejected { rejection, .. } => Self::Rejected { rejection, drafts: given },
            Self::Overloaded { limit, .. } => Self::Overloaded { limit, drafts: given },
            Self::Store { error, .. } => Self::Store { error, drafts: given },
            Self::Stopped => Self::Stopped,
        }
    }
}

impl From<RunRejection> for RunError {
    fn from(rejection: RunRejection) -> Self {
        Self::Rejected { rejection, drafts: Vec::new() }
    }
}

impl From<StoreError> for RunError {
    fn from(error: StoreError) -> Self {
        Self::Store { error, drafts: Vec::new() }
    }
}

impl From<CommitFailure> for RunError {
    fn from(failure: CommitFailure) -> Self {
        match failure {
            CommitFailure::Store(error) => error.into(),
            CommitFailure::Refused(Refusal::SessionMoved(session)) => RunRejection::SessionExists(session).into(),
            CommitFailure::Refused(refusal) => RunRejection::Refused(refusal.to_string()).into(),
        }
    }
}
