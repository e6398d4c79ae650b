//! Runners own what the board says of who claims: the register, their leases, and the limits of keys.

use crate::run::board::RunBoard;
use crate::run::runner::Standby;
use crate::{KeyLimit, Run, RunRejection, RunWrite, RunnerId, RunnerInfo, RunnerReport, Timestamp};

impl RunBoard {
    /// Sets the limits of a key, from now on and until the house closes.
    pub fn set_limit(&mut self, key: &str, limit: KeyLimit) {
        self.index.set_limit(key, limit);
    }

    /// Registers a runner. Runs that an earlier one of its name held, when it was stale, stay its own.
    ///
    /// # Errors
    /// [`RunRejection::RunnerExists`].
    pub fn register(&mut self, info: RunnerInfo, now: Timestamp) -> Result<(), RunRejection> {
        self.runners.register(info, &self.policy, now)
    }

    /// A runner has been heard of.
    ///
    /// # Errors
    /// [`RunRejection::UnknownRunner`].
    pub fn hear(&mut self, runner: &RunnerId, now: Timestamp) -> Result<(), RunRejection> {
        self.runners.hear(runner, now)
    }

    /// The writes by which all leases of a runner begin anew.
    pub fn renew(&mut self, runner: &RunnerId, now: Timestamp) -> Vec<RunWrite> {
        let held: Vec<_> = self.holders.get(runner).into_iter().flatten().copied().collect();
        let runs: Vec<_> = held.into_iter().filter_map(|id| self.free(id)).collect();
        let renewed = runs.into_iter().map(|run| {
            let lease = run.draft.lease.unwrap_or(self.policy.lease);
            let after = Run { lease_until: Some(now.after(lease)), ..Run::clone(&run) };
            self.update(&run, after)
        });
        renewed.collect()
    }

    /// A runner is to be told to go when it next asks for work.
    ///
    /// # Errors
    /// [`RunRejection::UnknownRunner`].
    pub fn dismiss(&mut self, runner: &RunnerId) -> Result<(), RunRejection> {
        self.runners.dismiss(runner)
    }

    /// How a runner stands; nothing when it is not registered.
    pub fn standby(&self, runner: &RunnerId, now: Timestamp) -> Option<Standby> {
        self.runners.standby(runner, &self.policy, now)
    }

    /// A registered runner as it introduced itself.
    pub fn runner(&self, runner: &RunnerId) -> Option<&RunnerInfo> {
        self.runners.info(runner)
    }

    /// All registered runners, in order of ids.
    pub fn runners(&self, now: Timestamp) -> Vec<RunnerReport> {
        let held = |report: RunnerReport| RunnerReport {
            held: self.holders.get(&report.runner.id).into_iter().flatten().copied().collect(),
            ..report
        };
        self.runners.reports(&self.policy, now).map(held).collect()
    }
}
