//! Runners that ask for work: what they get, how they wait for it, and what becomes of what nobody looks at.

use super::Dispatcher;
use crate::runs::command::{Claim, Command, Offer, RunnerCommand, Setback, Then};
use crate::runs::error::RunError;
use actix::prelude::*;
use tokio::sync::oneshot;
use worksite_model::{RunStatus, RunnerId, Standby, Timestamp};

/// A claim has waited long enough.
#[derive(Message)]
#[rtype(result = "()")]
struct StopWaiting(u64);

impl Handler<StopWaiting> for Dispatcher {
    type Result = ();

    fn handle(&mut self, StopWaiting(number): StopWaiting, ctx: &mut Self::Context) {
        if let Some(place) = self.waiting.iter().position(|(waiting, _)| *waiting == number)
            && let Some((_, claim)) = self.waiting.remove(place)
        {
            let _gone = claim.reply.send(Ok(Offer::of_nothing(claim.runner, ctx.address())));
        }
    }
}

/// What a runner was told, and nobody looked at: what it was to do is another's, and what it was to stop is told again.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Unheard {
    pub(crate) runner: RunnerId,
    pub(crate) commands: Vec<RunnerCommand>,
}

impl Handler<Unheard> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Unheard { runner, commands }: Unheard, ctx: &mut Self::Context) {
        for command in commands {
            match command {
                RunnerCommand::Run(run) => {
                    let (reply, _nobody) = oneshot::channel();
                    let (id, fence, report) = (run.id, run.fence, worksite_model::RunReport::GivenBack);
                    self.perform(Command::Report { id, fence, report, reply }, ctx);
                }
                RunnerCommand::Stop(run) => {
                    self.told.remove(&(runner.clone(), run.id));
                    self.board.look_at_the_clock(self.house.clock.now());
                }
                RunnerCommand::Leave => {}
            }
        }
        self.go_on(ctx);
    }
}

impl Dispatcher {
    pub(super) fn claim(&mut self, claim: Claim, now: Timestamp, ctx: &mut Context<Self>) {
        if claim.reply.is_closed() {
            return;
        }
        if claim.polls {
            let _known = self.board.hear(&claim.runner, now);
            let commands = self.stops(&claim);
            if !commands.is_empty() {
                let offer = Offer { runner: claim.runner, commands, dispatcher: ctx.address() };
                let _gone = claim.reply.send(Ok(offer));
                return;
            }
            if self.board.standby(&claim.runner, now) == Some(Standby::Leaving) {
                if self.board.is_speaking(&claim.runner) {
                    return self.parked.push(Command::Claim(claim));
                }
                let writes = self.board.deregister(&claim.runner, now);
                let commands = vec![RunnerCommand::Leave];
                let offer = Offer { runner: claim.runner, commands, dispatcher: ctx.address() };
                return self.propose_or_answer(writes, offer, claim.reply);
            }
        }
        if let Err(rejection) = self.board.may_claim(&claim.runner, now) {
            let _gone = claim.reply.send(Err(rejection.into()));
            return;
        }
        let held = self.board.held_count(&claim.runner);
        let slots = self.board.runner(&claim.runner).map_or(usize::MAX, |runner| runner.slots as usize);
        let most = claim.most.min(slots.saturating_sub(held));
        let (writes, claimed) = self.board.claim(&claim.runner, &claim.capabilities, most, now);
        if writes.is_empty() {
            return self.wait_for_work(claim, ctx);
        }
        for run in &claimed {
            self.waits.add(run.waited(now));
        }
        let dispatcher = ctx.address();
        let then: Then = Box::new(move |said| match said {
            Ok(()) => {
                let commands = claimed.into_iter().map(RunnerCommand::Run).collect();
                // Dropped unheard, it gives back what it says.
                let _gone = claim.reply.send(Ok(Offer { runner: claim.runner, commands, dispatcher }));
                None
            }
            Err(Setback::Moved) => Some(Command::Claim(claim)),
            Err(Setback::Error(error)) => {
                let _gone = claim.reply.send(Err(error));
                None
            }
        });
        self.propose(writes, then);
    }

    /// The runs a runner is to stop and has not been told of: before it gets anything to do.
    fn stops(&mut self, claim: &Claim) -> Vec<RunnerCommand> {
        let stopping = self.board.held_by(&claim.runner).filter(|run| run.status == RunStatus::Stopping);
        let untold = stopping.filter(|run| !self.told.contains(&(claim.runner.clone(), run.id)));
        let untold: Vec<_> = untold.cloned().collect();
        self.told.extend(untold.iter().map(|run| (claim.runner.clone(), run.id)));
        untold.into_iter().map(RunnerCommand::Stop).collect()
    }

    fn wait_for_work(&mut self, claim: Claim, ctx: &mut Context<Self>) {
        let now = self.house.clock.now();
        let until = claim.until.or_else(|| claim.wait.map(|wait| now.after(wait)));
        let Some(until) = until.filter(|until| *until > now) else {
            let _gone = claim.reply.send(Ok(Offer::of_nothing(claim.runner, ctx.address())));
            return;
        };
        if self.waiting.len() >= self.board.policy().waiting_claims_max {
            let full = RunError::Overloaded { limit: "waiting_claims_max", drafts: Vec::new() };
            let _gone = claim.reply.send(Err(full));
            return;
        }
        self.last_waiting += 1;
        let number = self.last_waiting;
        // A clock that stands does not end anybody's wait either.
        if !self.house.clock.is_manual() {
            ctx.notify_later(StopWaiting(number), until.since(now));
        }
        self.waiting.push_back((number, Claim { until: Some(until), ..claim }));
    }

    /// Gives those that wait what there is for them now.
    pub(super) fn serve_waiting(&mut self, ctx: &mut Context<Self>) {
        let now = self.house.clock.now();
        let waiting = std::mem::take(&mut self.waiting);
        for (number, claim) in waiting {
            if claim.reply.is_closed() {
                continue;
            }
            let stops = claim.polls
                && (self.board.standby(&claim.runner, now) == Some(Standby::Leaving)
                    || self.board.held_by(&claim.runner).any(|run| {
                        run.status == RunStatus::Stopping && !self.told.contains(&(claim.runner.clone(), run.id))
                    }));
            let work = stops || self.board.has_work(&claim.capabilities, now);
            if work {
                self.perform(Command::Claim(claim), ctx);
            } else {
                self.waiting.push_back((number, claim));
            }
        }
    }
}
