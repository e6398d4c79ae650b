//! Claiming owns what a runner gets: what is due and fits, under a new fence.

use crate::run::board::RunBoard;
use crate::run::runner::Standby;
use crate::{Capabilities, Run, RunRejection, RunStatus, RunWrite, RunnerId, Timestamp};
use std::sync::Arc;

impl RunBoard {
    /// Whether a runner may claim now: one that is registered must have been heard of lately.
    ///
    /// # Errors
    /// [`RunRejection::StaleRunner`], and [`RunRejection::UnknownRunner`] for one that was told to go.
    pub fn may_claim(&self, runner: &RunnerId, now: Timestamp) -> Result<(), RunRejection> {
        match self.runners.standby(runner, &self.policy, now) {
            None | Some(Standby::Online) => Ok(()),
            Some(Standby::Stale) => Err(RunRejection::StaleRunner(runner.clone())),
            Some(Standby::Leaving) => Err(RunRejection::UnknownRunner(runner.clone())),
        }
    }

    /// The runs a runner gets now, at most so many.
    pub fn claim(
        &mut self,
        runner: &RunnerId,
        capabilities: &Arc<Capabilities>,
        most: usize,
        now: Timestamp,
    ) -> (Vec<RunWrite>, Vec<Arc<Run>>) {
        self.put_due_in_line(now);
        let (mut writes, mut claimed) = (Vec::new(), Vec::new());
        while claimed.len() < most
            && let Some(id) = self.index.first(capabilities, now)
            && let Some(run) = self.get(id).cloned()
        {
            let lease = run.draft.lease.unwrap_or(self.policy.lease);
            let after = Run {
                status: RunStatus::Claimed,
                runner: Some(runner.clone()),
                fence: run.fence.saturating_add(1),
                epoch: self.epoch,
                claimed_at: Some(now),
                started_at: None,
                lease_until: Some(now.after(lease)),
                ..Run::clone(&run)
            };
            let write = self.update(&run, after);
            claimed.extend(write.run().cloned());
            writes.push(write);
            if let Some(session) = run.session() {
                writes.push(RunWrite::Bind { session: session.to_string(), place: capabilities.place() });
            }
        }
        (writes, claimed)
    }

    /// Whether there is anything for a runner with these capabilities.
    pub fn has_work(&mut self, capabilities: &Arc<Capabilities>, now: Timestamp) -> bool {
        self.put_due_in_line(now);
        self.index.first(capabilities, now).is_some()
    }

    /// Time has passed: what was not claimable may be.
    pub fn look_at_the_clock(&mut self, now: Timestamp) {
        self.put_due_in_line(now);
        self.index.is_fresh = true;
    }

    /// Runs whose moment has come may be claimed.
    fn put_due_in_line(&mut self, now: Timestamp) {
        while let Some((moment, id)) = self.later.first().copied()
            && moment <= now
        {
            self.later.pop_first();
            if let Some(card) = self.cards.get(&id) {
                let run = self.put_in_line(card.run.clone());
                if let Some(card) = self.cards.get_mut(&id) {
                    card.run = run;
                }
            }
        }
    }
}
