//! Who waits for the house to be quiet, to rest, or to be closed.

use super::Supervisor;
use crate::error::{DeskError, SendError};
use crate::persistence::Close;
use crate::worker::LookAgain;
use actix::prelude::*;
use std::time::Duration;
use tokio::sync::oneshot;

/// A worker has less to do than it had, and somebody waits to hear that.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Rested;

impl Handler<Rested> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Rested, ctx: &mut Self::Context) {
        self.tell_of_jobs(&[], ctx);
        self.tell_if_quiet(ctx);
    }
}

/// Answers once nobody has anything to do now: what is scheduled, or waits for a worker that rests, stays.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AwaitRest(pub(crate) oneshot::Sender<()>);

impl Handler<AwaitRest> for Supervisor {
    type Result = ();

    fn handle(&mut self, AwaitRest(rested): AwaitRest, ctx: &mut Self::Context) {
        self.house.directory.watch(true);
        // The clock may have been moved by hand.
        self.house.directory.rouse();
        for person in self.house.directory.overfull() {
            self.start(person, ctx);
            self.house.directory.tell(person, || LookAgain);
        }
        self.awaiting_rest.push(rested);
        self.tell_if_quiet(ctx);
    }
}

/// Answers once nothing waits for any routine and nobody performs one.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Quiesce(pub(crate) oneshot::Sender<()>);

impl Handler<Quiesce> for Supervisor {
    type Result = ();

    fn handle(&mut self, Quiesce(quiet): Quiesce, ctx: &mut Self::Context) {
        self.quiescing.push(quiet);
        self.tell_if_quiet(ctx);
    }
}

/// Closes the house: workers settle what they are doing, at most until the deadline; then the store is closed.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Shutdown {
    pub(crate) deadline: Duration,
    pub(crate) closed: oneshot::Sender<()>,
}

impl Handler<Shutdown> for Supervisor {
    type Result = ();

    fn handle(&mut self, Shutdown { deadline, closed }: Shutdown, ctx: &mut Self::Context) {
        self.house.directory.close();
        self.closing.push(closed);
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.asks.clear();
        for person in self.parking.people() {
            while let Some(parked) = self.unpark_first(person) {
                parked.refuse(|drafts| SendError::Stopped { drafts });
            }
        }
        for (_, leaving) in std::mem::take(&mut self.leaving) {
            let _gone = leaving.answer.send(Err(DeskError::Stopped));
        }
        self.house.directory.finish();
        ctx.run_later(deadline, |supervisor, ctx| supervisor.close_store(ctx));
        self.close_if_empty(ctx);
    }
}

impl Supervisor {
    pub(super) fn tell_if_quiet(&mut self, ctx: &mut Context<Self>) {
        if !self.quiescing.is_empty() && self.house.directory.is_quiet() {
            for quiet in self.quiescing.drain(..) {
                let _gone = quiet.send(());
            }
        }
        if !self.awaiting_rest.is_empty() && self.house.directory.is_resting() {
            for rested in self.awaiting_rest.drain(..) {
                let _gone = rested.send(());
            }
        }
        let rested: Vec<_> =
            self.leaving.keys().copied().filter(|person| self.house.directory.has_rest(*person)).collect();
        for person in rested {
            self.let_go(person, ctx);
        }
        self.house.directory.watch(!self.awaiting_rest.is_empty() || !self.leaving.is_empty());
    }

    pub(super) fn close_if_empty(&mut self, ctx: &mut Context<Self>) {
        if !self.house.directory.is_anybody_awake() {
            self.close_store(ctx);
        }
    }

    pub(super) fn close_store(&mut self, ctx: &mut Context<Self>) {
        let closing = self.house.persistence.send(Close).into_actor(self);
        ctx.spawn(closing.map(|_, supervisor, ctx| {
            supervisor.quiescing.clear();
            supervisor.awaiting_rest.clear();
            supervisor.awaiting_jobs.clear();
            for closed in supervisor.closing.drain(..) {
                let _gone = closed.send(());
            }
            ctx.stop();
        }));
    }
}
