//! What is decided about runs: adding, claiming, reporting, stopping, and what time brings; a file for each. Each decision is
//! writes for one change; the runs they are about are reserved until the change is durable or refused. This file owns what
//! decisions have in common: their form, and the ways in which a run ends or waits again.

mod add;
pub use add::Added;

mod claim;

mod report;
pub use report::{RunReport, reported};

mod take_back;
pub use take_back::{DISCONNECTED, LEASE_ENDED, NO_RUNNER};

mod call_back;
mod runners;
mod schedules;

use crate::run::board::RunBoard;
use crate::{Run, RunId, RunStatus, RunWrite, Timestamp};
use std::sync::Arc;

/// What becomes of something asked of the board.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<T> {
    /// This is to be written; then the answer is true.
    Write(Vec<RunWrite>, T),
    /// Nothing is to be written: the answer is true already.
    Done(T),
    /// A write to the same run is on its way: ask again when it is durable or refused.
    Wait,
    /// The board does not have it: the store has to be asked.
    LookUp,
}

impl RunBoard {
    /// The one write that makes a run this.
    fn rewrite(&mut self, run: Arc<Run>, after: Run) -> Decision<Arc<Run>> {
        let write = self.update(&run, after);
        let run = write.run().cloned().unwrap_or(run);
        Decision::Write(vec![write], run)
    }

    /// A run that no write is on its way to.
    fn free(&self, id: RunId) -> Option<Arc<Run>> {
        self.cards.get(&id).filter(|card| !card.is_reserved).map(|card| card.run.clone())
    }

    /// A run that stays claimed from one life to the next: its lease begins anew.
    pub(crate) fn taken_along(&self, run: &Run, now: Timestamp) -> Run {
        let lease = run.draft.lease.unwrap_or(self.policy.lease);
        Run { epoch: self.epoch, lease_until: Some(now.after(lease)), ..run.clone() }
    }
}

/// A run that has ended so.
fn ended(run: &Run, status: RunStatus, why: Option<&str>, now: Timestamp) -> Run {
    let error = why.map(str::to_string).or_else(|| run.error.clone().filter(|_| status != RunStatus::Completed));
    Run { status, error, ended_at: Some(now), lease_until: None, ..run.clone() }
}

/// A run whose runner does not have it any more: it waits again, fails after its last attempt, or has stopped if it was to.
fn taken_back(run: &Run, counts: bool, why: &str, now: Timestamp) -> Run {
    let error = if why.is_empty() { run.error.clone() } else { Some(why.to_string()) };
    let attempts = run.attempts.saturating_add(u32::from(counts));
    let run = Run { attempts, error, ..run.clone() };
    if run.status == RunStatus::Stopping {
        return ended(&run, RunStatus::Stopped, None, now);
    }
    if attempts >= run.draft.attempts_max && counts {
        let why = format!("{why} (attempt {attempts} of {})", run.draft.attempts_max);
        return ended(&run, RunStatus::Failed, Some(&why), now);
    }
    // Its time to be claimed in begins anew: it has been claimed once in time.
    let deadline = run.draft.claimed_within.map(|time| now.after(time));
    Run { status: RunStatus::Pending, lease_until: None, deadline, ..run }
}
