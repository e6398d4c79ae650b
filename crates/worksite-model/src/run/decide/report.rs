//! Reporting owns what becomes of a run by somebody's word: its runner's, or that of who wants it stopped or otherwise.

use super::{Decision, ended, taken_back};
use crate::run::board::RunBoard;
use crate::{Demands, Payload, Run, RunId, RunRejection, RunStatus, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// What a runner says of a run it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunReport {
    /// It has begun.
    Started,
    /// It is still at it: the lease begins anew.
    Alive,
    /// It is done, with this result.
    Completed(Option<Payload>),
    /// It has failed for good, for this reason.
    Failed(String),
    /// It has failed, for this reason, and may be tried again: fails for good after its last attempt.
    Retry(String),
    /// It was stopped.
    Stopped,
    /// Somebody else may have it: counts for no attempt.
    GivenBack,
}

impl RunBoard {
    /// A runner says something of a run it holds, under the fencing token of its claim. Said twice it counts once; said
    /// under an earlier claim, or after the run has ended otherwise, it is refused.
    ///
    /// # Errors
    /// [`RunRejection::StaleClaim`] and [`RunRejection::Illegal`].
    pub fn report(
        &mut self,
        id: RunId,
        fence: u32,
        report: &RunReport,
        now: Timestamp,
    ) -> Result<Decision<Arc<Run>>, RunRejection> {
        let Some(card) = self.cards.get(&id) else { return Ok(Decision::LookUp) };
        if card.is_reserved {
            return Ok(Decision::Wait);
        }
        let run = card.run.clone();
        match reported(&run, fence, report, self.policy.lease, now)? {
            None => Ok(Decision::Done(run)),
            Some(after) => Ok(self.rewrite(run, after)),
        }
    }

    /// Stops a run: a pending one at once; one that is held is to be stopped by its runner. Again, or when it has ended, it
    /// changes nothing.
    pub fn stop(&mut self, id: RunId, now: Timestamp) -> Decision<Arc<Run>> {
        let Some(card) = self.cards.get(&id) else { return Decision::LookUp };
        let run = card.run.clone();
        if run.status == RunStatus::Stopping {
            return Decision::Done(run);
        }
        if card.is_reserved {
            return Decision::Wait;
        }
        let stopping = Run { stop_requested_at: Some(now), ..Run::clone(&run) };
        let after = match run.status {
            RunStatus::Pending => ended(&stopping, RunStatus::Stopped, None, now),
            _ => Run { status: RunStatus::Stopping, ..stopping },
        };
        self.rewrite(run, after)
    }

    /// Changes what a pending run asks of a runner, and how long it waits for one from now on.
    ///
    /// # Errors
    /// [`RunRejection::Illegal`] when it is no longer pending.
    pub fn set_demands(
        &mut self,
        id: RunId,
        demands: Demands,
        within: Option<Duration>,
        now: Timestamp,
    ) -> Result<Decision<Arc<Run>>, RunRejection> {
        let Some(card) = self.cards.get(&id) else { return Ok(Decision::LookUp) };
        if card.is_reserved {
            return Ok(Decision::Wait);
        }
        let run = card.run.clone();
        if run.status != RunStatus::Pending {
            return Err(RunRejection::Illegal { id, from: run.status, to: RunStatus::Pending });
        }
        let deadline = within.map(|time| run.due().max(now).after(time));
        let after = Run { demands: Arc::new(demands), deadline, ..Run::clone(&run) };
        Ok(self.rewrite(run, after))
    }
}

/// What a report makes of a run; nothing when it says what is so already.
///
/// # Errors
/// [`RunRejection::StaleClaim`] and [`RunRejection::Illegal`].
pub fn reported(
    run: &Run,
    fence: u32,
    report: &RunReport,
    lease: Duration,
    now: Timestamp,
) -> Result<Option<Run>, RunRejection> {
    if fence != run.fence {
        return Err(RunRejection::StaleClaim { id: run.id, given: fence, current: run.fence });
    }
    let to = match report {
        RunReport::Started => RunStatus::Running,
        RunReport::Alive => run.status,
        RunReport::Completed(_) => RunStatus::Completed,
        RunReport::Failed(_) => RunStatus::Failed,
        RunReport::Stopped => RunStatus::Stopped,
        RunReport::GivenBack | RunReport::Retry(_) => RunStatus::Pending,
    };
    let again = *report != RunReport::Alive && run.status == to;
    // A runner that is to stop and fails, or gives up, has stopped.
    let to = if to == RunStatus::Pending && run.status == RunStatus::Stopping { RunStatus::Stopped } else { to };
    let legal = if *report == RunReport::Alive { run.status.is_held() } else { again || run.status.may_become(to) };
    if !legal {
        return Err(RunRejection::Illegal { id: run.id, from: run.status, to });
    }
    if again {
        return Ok(None);
    }
    let lease_until = Some(now.after(run.draft.lease.unwrap_or(lease)));
    Ok(Some(match report {
        RunReport::Started => Run { status: to, started_at: Some(now), lease_until, ..run.clone() },
        RunReport::Alive => Run { lease_until, ..run.clone() },
        RunReport::Completed(result) => Run { result: result.clone().map(Box::new), ..ended(run, to, None, now) },
        RunReport::Failed(why) => ended(run, to, Some(why), now),
        RunReport::Stopped => ended(run, to, None, now),
        RunReport::GivenBack => taken_back(run, false, "", now),
        RunReport::Retry(why) => taken_back(run, true, why, now),
    }))
}
