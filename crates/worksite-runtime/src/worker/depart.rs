//! How a worker goes: when it is idle, when it has finished, at once, or by a crash.

use super::{Doing, Worker};
use crate::supervisor::Departed;
use actix::prelude::*;
use worksite_model::{Change, StateWrite};

/// Goes, if it has nothing to do: it is started again by the next delivery.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Passivate;

impl Handler<Passivate> for Worker {
    type Result = ();

    fn handle(&mut self, _: Passivate, ctx: &mut Self::Context) {
        if matches!(self.doing, Doing::Idle)
            && self.inbox.is_idle()
            && self.volatile_count() == 0
            && self.updates.is_none()
            && self.flow.as_ref().is_none_or(|flow| flow.is_idle())
        {
            self.leaving = Some(Departed::Passivated);
            self.finish(ctx);
        }
    }
}

/// Goes as soon as what it is doing is settled.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Finish;

impl Handler<Finish> for Worker {
    type Result = ();

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) {
        self.leaving = Some(Departed::Stopped);
        self.finishing = true;
        if !matches!(self.doing, Doing::Busy { .. }) {
            self.finish(ctx);
        }
    }
}

/// Goes at once: its person left, or all was cleared. What it has proposed is the store's to decide.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Dismiss {
    /// Whether what only volatile drafts have changed is still to be written.
    pub(crate) keep: bool,
}

impl Handler<Dismiss> for Worker {
    type Result = ();

    fn handle(&mut self, Dismiss { keep }: Dismiss, ctx: &mut Self::Context) {
        self.leaving = Some(Departed::Stopped);
        // By nobody: its person is not active any more.
        let change = Change { states: self.dirty_states(), ..Change::default() };
        if keep && !change.states.is_empty() && matches!(self.doing, Doing::Idle) {
            self.propose(change);
        }
        self.house.directory.lose_volatile(self.volatile_count());
        ctx.stop();
    }
}

/// Dies as from a mistake of our own: for simulations of exactly that.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Crash;

impl Handler<Crash> for Worker {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        panic!("worker {} was told to crash", self.person);
    }
}

impl Worker {
    /// Writes what only volatile drafts have changed, then goes.
    pub(super) fn finish(&mut self, ctx: &mut Context<Self>) {
        self.finishing = true;
        if self.flow.is_some() && !self.finish_flow(ctx) {
            return;
        }
        let change = Change { author: Some(self.person), states: self.dirty_states(), ..Change::default() };
        if change.states.is_empty() || matches!(self.doing, Doing::Held) {
            self.house.directory.lose_volatile(self.volatile_count());
            return ctx.stop();
        }
        self.doing = Doing::Busy { routine: None };
        self.propose(change);
    }

    pub(super) fn dirty_states(&mut self) -> Vec<StateWrite> {
        let mut states = std::mem::take(&mut self.states);
        let writes = states.wash(|place, state| self.encode(place, state).ok().flatten());
        self.states = states;
        writes
    }
}
