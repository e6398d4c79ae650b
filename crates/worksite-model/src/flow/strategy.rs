//! What becomes of an activation that fails: [`ErrorStrategy`]. A routine's own goes before the flow's, and that before
//! [`ErrorStrategy::Stop`].

use crate::RetryPolicy;

/// What becomes of the jobs of an activation that fails: that returns an error, panics or runs too long. What it did
/// (its state, what it emitted and sent) never counts.
#[derive(Debug, Clone, Default)]
pub enum ErrorStrategy {
    /// They have failed; what else of them waits is taken away.
    #[default]
    Stop,
    /// They go on without it; the failure is in their trace and counted as an error that was continued.
    Continue,
    /// They go on without it; the failure is in their trace and counted as skipped.
    Skip,
    /// The activation is repeated with the same data after a back-off, each counted for itself. When no attempt is left, or
    /// the failure is not retryable, what comes `then` holds.
    Retry {
        /// How often, and how much later.
        policy: RetryPolicy,
        /// What becomes of them when that was in vain. Not a retry.
        then: Box<ErrorStrategy>,
    },
}

impl ErrorStrategy {
    /// Repeats by this policy; when that was in vain, the jobs have failed.
    pub fn retry(policy: RetryPolicy) -> Self {
        Self::Retry { policy, then: Box::new(Self::Stop) }
    }

    /// Goes on without a routine that is not needed (seed 001 `set_as_optional`).
    pub fn optional() -> Self {
        Self::Continue
    }

    /// Its name, as in a definition.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Continue => "continue",
            Self::Skip => "skip",
            Self::Retry { .. } => "retry",
        }
    }
}
