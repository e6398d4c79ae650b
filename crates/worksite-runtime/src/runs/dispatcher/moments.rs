//! What time brings: deadlines, leases, schedules, callbacks, and the timer for the next of them.

use super::Dispatcher;
use crate::runs::command::{Claim, Command, Offer, Reply, Setback, Then, Told};
use crate::runs::error::RunError;
use actix::prelude::*;
use std::collections::VecDeque;
use std::sync::Arc;
use worksite_model::{Run, RunWrite, Timestamp};

/// How long the store is left alone after it failed, before what time has brought is tried again.
const REST_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// How long a timer waits before the clock is read again: timers do not notice when it is put forward or back, or the machine
/// sleeps.
const LOOK_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// Timers are no finer than this.
const TICK_MIN: std::time::Duration = std::time::Duration::from_millis(1);

impl Dispatcher {
    pub(super) fn tick(&mut self, reply: Option<Reply<Vec<Arc<Run>>>>, now: Timestamp, ctx: &Context<Self>) {
        let mut writes = self.board.fail_timed_out(now);
        writes.extend(self.board.reclaim(now));
        self.board.look_at_the_clock(now);
        let (over, waiting) =
            self.waiting.drain(..).partition(|(_, claim)| claim.until.is_some_and(|until| until <= now));
        self.waiting = waiting;
        let over: VecDeque<(u64, Claim)> = over;
        for (_, claim) in over {
            let _gone = claim.reply.send(Ok(Offer::of_nothing(claim.runner, ctx.address())));
        }
        let mut runs: Vec<_> = writes.iter().filter_map(RunWrite::run).cloned().collect();
        let mut fired: VecDeque<_> = self.board.fire(now).into();
        runs.extend(fired.iter().flatten().filter_map(RunWrite::run).cloned());
        match reply {
            None if writes.is_empty() => {}
            None => self.propose(writes, Box::new(|_| None)),
            // Verdicts come in order: with the last one all are known.
            Some(reply) if fired.is_empty() => return self.propose_or_answer(writes, runs, reply),
            Some(reply) => {
                if !writes.is_empty() {
                    self.propose(writes, Box::new(|_| None));
                }
                let last = fired.pop_back().unwrap_or_default();
                fired.into_iter().for_each(|writes| self.propose_fired(writes, None));
                return self.propose_fired(last, Some((runs, reply)));
            }
        }
        fired.into_iter().for_each(|writes| self.propose_fired(writes, None));
    }

    /// Proposes what a schedule asks for. If that is refused, the schedule goes on without it: nobody asks again and again for
    /// what cannot be.
    fn propose_fired(&mut self, writes: Vec<RunWrite>, told: Option<Told>) {
        let asked_for = writes.clone();
        let then: Then = Box::new(move |said| match (said, told) {
            (Err(Setback::Error(RunError::Rejected { rejection, .. })), told) => {
                tracing::error!(%rejection, "what a schedule asks for was refused; it goes on with its next moment");
                let refused =
                    |run: &Arc<Run>| asked_for.iter().filter_map(RunWrite::run).any(|asked| asked.id == run.id);
                let told = told.map(|(mut runs, reply)| {
                    runs.retain(|run| !refused(run));
                    (runs, reply)
                });
                Some(Command::PassOver { asked_for, told })
            }
            (said, Some((runs, reply))) => {
                let _gone = reply.send(said.map(|()| runs).map_err(Setback::into_error));
                None
            }
            (_, None) => None,
        });
        self.propose(writes, then);
    }

    /// Whether the store is left alone now: a clock that was put back makes that no longer.
    pub(super) fn rests(&self, now: Timestamp) -> bool {
        now < self.resting_until && self.resting_until <= now.after(REST_TIME)
    }

    /// The store failed: it is left alone for a moment.
    pub(super) fn rest(&mut self) {
        self.resting_until = self.house.clock.now().after(REST_TIME);
    }

    pub(super) fn call_back(&mut self, session: String, ctx: &mut Context<Self>) {
        self.board.expect_callback(&session);
        let wanted = session.clone();
        let read = self.read(move |store| store.session(&wanted));
        ctx.spawn(read.into_actor(self).map(move |known, dispatcher, ctx| {
            let now = dispatcher.house.clock.now();
            dispatcher.board.expect_no_callback(&session);
            if known.is_err() {
                dispatcher.rest();
            }
            if let Ok(known) = known {
                match dispatcher.board.call_back(&session, known.as_ref(), now) {
                    Ok(writes) if !writes.is_empty() => dispatcher.propose(writes, Box::new(|_| None)),
                    Ok(_) => {}
                    Err(error) => tracing::error!(session, %error, "a callback could not be made"),
                }
            }
            dispatcher.go_on(ctx);
        }));
    }

    pub(super) fn set_timer(&mut self, ctx: &mut Context<Self>) {
        if self.house.clock.is_manual() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let now = self.house.clock.now();
        let owed = (!self.board.callable().is_empty()).then_some(now);
        let next = self.board.next_moment(now).into_iter().chain(owed).min();
        let earliest = if self.rests(now) { self.resting_until } else { now };
        let next = next.map(|moment| moment.max(earliest));
        // What is due already and has a write on its way is looked at again when that has landed.
        let next = next.filter(|moment| *moment > now || self.on_the_way.is_empty());
        if next == self.timer.as_ref().map(|(moment, _)| *moment) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(moment) = next {
            let delay = moment.since(now).clamp(TICK_MIN, LOOK_MAX);
            let timer = ctx.run_later(delay, |dispatcher, ctx| {
                dispatcher.timer = None;
                dispatcher.perform(Command::Tick { reply: None }, ctx);
                dispatcher.go_on(ctx);
            });
            self.timer = Some((moment, timer));
        }
    }
}
