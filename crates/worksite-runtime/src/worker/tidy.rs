//! What nobody takes: expired mail is buried, surplus mail goes, and what sleeps is counted.

use super::{Doing, STORE_RETRY_DELAY, Worker};
use crate::error::CommitFailure;
use crate::persistence::Answer;
use crate::supervisor::Rested;
use actix::prelude::*;
use std::time::Duration;
use worksite_model::{Burial, Change, FailureKind, Overflow, Refusal, RoutineFailure, StoreError};

/// How many expired envelopes one change buries: the writer is everybody's.
const TIDIED_MAX: usize = 1_024;

/// How long an alarm waits before the clock is read again: timers do not notice when it is put forward, or the machine sleeps.
const ALARM_MAX: Duration = Duration::from_secs(60);

/// Looks at the clock again: it may have been moved by hand.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LookAgain;

impl Handler<LookAgain> for Worker {
    type Result = ();

    fn handle(&mut self, _: LookAgain, ctx: &mut Self::Context) {
        self.slept = None;
        match self.doing {
            Doing::Idle => self.activate(ctx),
            // It reports when it is done.
            Doing::Busy { .. } => {}
            Doing::Held => self.report_sleep(),
        }
    }
}

impl Worker {
    /// Looks at the clock, and proposes that what has expired is buried and what an overfull inbox has too much goes.
    pub(super) fn tidy(&mut self) {
        self.inbox.wake(self.house.clock.now());
        let expired = self.inbox.expire(if self.tidying { 0 } else { TIDIED_MAX });
        if self.tidying {
            return;
        }
        let drops = self.policy.overflow == Overflow::DropOldest;
        let dropped = if drops { self.inbox.overflow(&self.policy) } else { Vec::new() };
        if drops && dropped.is_empty() {
            self.report_stuck();
        }
        if expired.is_empty() && dropped.is_empty() {
            return;
        }
        let failure = RoutineFailure::new(FailureKind::Expired, "nobody took it in time");
        let buried = expired.iter().map(|delivery| Burial::of(delivery, failure.clone())).collect();
        self.tidying = true;
        let change = Change { author: Some(self.person), dropped, buried, ..Change::default() };
        let answer = Answer::Worker { generation: self.generation, tidies: true };
        self.house.propose(change, answer);
    }

    /// Expired or surplus mail could not go: it waits again, except what has gone by another way.
    pub(super) fn untidied(&mut self, failure: &CommitFailure, ctx: &mut Context<Self>) {
        self.tidying = false;
        if let CommitFailure::Refused(Refusal::NotWaiting(id)) = failure {
            self.inbox.acknowledge(&[*id]);
            self.inbox.stay();
            return self.activate(ctx);
        }
        self.inbox.stay();
        match failure {
            CommitFailure::Store(StoreError::Busy(_) | StoreError::Full(_)) => {
                ctx.run_later(STORE_RETRY_DELAY, |worker, ctx| worker.activate(ctx));
            }
            failure => self.hold(&failure.clone().into_desk_error().to_string()),
        }
    }

    /// Says whether there is nothing to drop although the inbox holds more than it should.
    pub(super) fn report_stuck(&self) {
        let stuck = self.inbox.is_over(&self.policy);
        if self.house.directory.report_stuck(self.person, self.generation, stuck)
            && let Some(supervisor) = self.supervisor.upgrade()
        {
            supervisor.do_send(Rested);
        }
    }

    /// Says how much of its mail nobody takes now.
    pub(super) fn report_sleep(&mut self) {
        let directory = &self.house.directory;
        let held = matches!(self.doing, Doing::Held);
        let sleeping = if held { directory.waiting(self.person) } else { self.inbox.sleeping_count() };
        if self.slept == Some(sleeping) && !held {
            return;
        }
        self.slept = Some(sleeping);
        if !self.manual
            && directory.report_sleeping(self.person, self.generation, sleeping)
            && let Some(supervisor) = self.supervisor.upgrade()
        {
            supervisor.do_send(Rested);
        }
    }

    /// Wakes up when the next scheduled delivery comes due.
    pub(super) fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        // Who moves the clock by hand says so.
        let due = self.inbox.next_due().into_iter().chain(self.flow.as_ref().and_then(|flow| flow.due())).min();
        let due = due.filter(|_| !self.house.clock.is_manual());
        if self.alarm.as_deref().map(|(set, _)| *set) == due {
            return;
        }
        if let Some(alarm) = self.alarm.take() {
            ctx.cancel_future(alarm.1);
        }
        let Some(due) = due else { return };
        // A millisecond more, since timers count in milliseconds and must not ring before the moment.
        let delay = (due.since(self.house.clock.now()) + Duration::from_millis(1)).min(ALARM_MAX);
        let alarm = ctx.run_later(delay, |worker, ctx| {
            worker.alarm = None;
            worker.activate(ctx);
        });
        self.alarm = Some(Box::new((due, alarm)));
    }
}
