//! Taking back owns what becomes of runs because nobody says anything: nobody claimed them in time, their runner is silent or
//! gone, or the house ended.

use super::{ended, taken_back};
use crate::run::board::RunBoard;
use crate::run::policy::Rescue;
use crate::{Run, RunId, RunStatus, RunWrite, RunnerId, Timestamp};

/// Why a run failed that nobody claimed in time; seed 002's words.
pub const NO_RUNNER: &str = "No matching runner available within timeout";

/// What went wrong with a run whose runner went; seed 002's words.
pub const DISCONNECTED: &str = "Runner disconnected during execution";

/// What went wrong with a run whose claim ended without a word.
pub const LEASE_ENDED: &str = "the lease ended without a word from the runner";

/// What went wrong with a run whose house ended.
const HOUSE_ENDED: &str = "the house ended during execution";

impl RunBoard {
    /// Fails pending runs that nobody claimed in time. Seed 002 `fail_timed_out_runs`.
    pub fn fail_timed_out(&mut self, now: Timestamp) -> Vec<RunWrite> {
        let late = self.deadlines.iter().take_while(|(moment, _)| *moment <= now);
        let late: Vec<_> = late.map(|(_, id)| *id).collect();
        let runs = late.into_iter().filter_map(|id| self.free(id)).collect::<Vec<_>>();
        runs.into_iter().map(|run| self.update(&run, ended(&run, RunStatus::Failed, Some(NO_RUNNER), now))).collect()
    }

    /// Takes runs from runners whose leases have ended, and from those that are lost. The lost are deregistered.
    pub fn reclaim(&mut self, now: Timestamp) -> Vec<RunWrite> {
        let ended = self.leases.iter().take_while(|(moment, _)| *moment <= now);
        let ended: Vec<_> = ended.map(|(_, id)| *id).collect();
        let mut writes: Vec<_> = ended.into_iter().filter_map(|id| self.take_from(id, LEASE_ENDED, now)).collect();
        for runner in self.runners.lost(&self.policy, now) {
            writes.extend(self.deregister(&runner, now));
        }
        writes
    }

    /// Whether a word about something this runner holds is on its way: only when that has landed can all be taken from it.
    pub fn is_speaking(&self, runner: &RunnerId) -> bool {
        let mut held = self.holders.get(runner).into_iter().flatten();
        held.any(|id| self.cards.get(id).is_some_and(|card| card.is_reserved))
    }

    /// A runner has gone: what it holds waits again, or fails after its last attempt; what was to stop has.
    pub fn deregister(&mut self, runner: &RunnerId, now: Timestamp) -> Vec<RunWrite> {
        self.runners.forget(runner);
        let held: Vec<_> = self.holders.get(runner).into_iter().flatten().copied().collect();
        held.into_iter().filter_map(|id| self.take_from(id, DISCONNECTED, now)).collect()
    }

    fn take_from(&mut self, id: RunId, why: &'static str, now: Timestamp) -> Option<RunWrite> {
        let run = self.free(id)?;
        let after = taken_back(&run, true, why, now);
        Some(self.update(&run, after))
    }

    /// What becomes of a run that an earlier life left so.
    pub(crate) fn rescued(&self, run: &Run, now: Timestamp) -> Option<Run> {
        match self.policy.recovery.rescue(run, self.epoch, now) {
            Rescue::Keep => None,
            Rescue::Requeue { counts } => Some(taken_back(run, counts, HOUSE_ENDED, now)),
            Rescue::Fail(why) => Some(ended(run, RunStatus::Failed, Some(why), now)),
            Rescue::Stop => Some(ended(run, RunStatus::Stopped, None, now)),
        }
    }
}
