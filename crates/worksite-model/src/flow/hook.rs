//! Hooks are told what happens in a flow while it happens, and may forbid a turn or an emission. They are in memory and
//! fenced: a panic in one harms nobody.

use crate::flow::{JobId, JobStatus};
use crate::{PersonId, RoutineFailure, Timestamp};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A turn, as a hook sees it.
#[derive(Debug, Clone, Copy)]
pub struct TurnView<'a> {
    /// Whose worker.
    pub worker: PersonId,
    /// Which routine.
    pub routine: &'a str,
    /// The jobs it works for.
    pub jobs: &'a [JobId],
    /// Which attempt, counted from 1.
    pub attempt: u32,
    /// The time.
    pub now: Timestamp,
}

/// Who is told what happens in a flow. What it hears is not durable yet, and may be repeated after a crash; what is for
/// good is told to subscribers.
pub trait FlowHook: Send + Sync + 'static {
    /// A turn is about to begin; false forbids it, which counts as skipped.
    fn begins(&self, turn: &TurnView<'_>) -> bool {
        let _ = turn;
        true
    }

    /// A turn has ended.
    fn ends(&self, turn: &TurnView<'_>, failure: Option<&RoutineFailure>) {
        let _ = (turn, failure);
    }

    /// A turn emits; false forbids it.
    fn emits(&self, turn: &TurnView<'_>, event: &str) -> bool {
        let _ = (turn, event);
        true
    }

    /// A job has ended.
    fn job_ends(&self, job: JobId, status: JobStatus) {
        let _ = (job, status);
    }
}

/// Asks a hook inside the fence; one that panics allows everything.
pub(crate) fn fenced(ask: impl FnOnce() -> bool) -> bool {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or(true)
}
