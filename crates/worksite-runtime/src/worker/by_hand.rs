//! What the application does with the mail itself: looks at it, drains it, puts it back, removes it.

use super::{Doing, Worker};
use crate::error::CommitFailure;
use crate::persistence::Answer;
use actix::prelude::*;
use std::sync::Arc;
use tokio::sync::oneshot;
use worksite_model::{Change, Committed, Delivery, EnvelopeId, Filter};

/// Takes mail that is meant out by hand, up to so many; what is not acknowledged comes back after a restart. Seed 000
/// `drain`.
#[derive(Message)]
#[rtype(result = "Vec<Delivery>")]
pub(crate) struct Drain {
    pub(crate) filter: Filter,
    pub(crate) limit: usize,
}

impl Handler<Drain> for Worker {
    type Result = MessageResult<Drain>;

    fn handle(&mut self, Drain { filter, limit }: Drain, _: &mut Self::Context) -> Self::Result {
        self.tidy();
        MessageResult(self.inbox.drain_by(&filter, limit))
    }
}

/// Looks at mail that is meant without taking it, up to so many; at what is durable, which is known up to this id.
#[derive(Message)]
#[rtype(result = "Vec<Delivery>")]
pub(crate) struct Peek {
    pub(crate) filter: Filter,
    pub(crate) limit: usize,
    pub(crate) durable: EnvelopeId,
}

impl Handler<Peek> for Worker {
    type Result = MessageResult<Peek>;

    fn handle(&mut self, Peek { filter, limit, durable }: Peek, _: &mut Self::Context) -> Self::Result {
        self.tidy();
        MessageResult(self.inbox.peek_until(&filter, limit, durable))
    }
}

/// Counts what could be taken in each lane, of what is durable, which is known up to this id.
#[derive(Message)]
#[rtype(result = "[usize; 5]")]
pub(crate) struct Lanes(pub(crate) EnvelopeId);

impl Handler<Lanes> for Worker {
    type Result = MessageResult<Lanes>;

    fn handle(&mut self, Lanes(durable): Lanes, _: &mut Self::Context) -> Self::Result {
        self.tidy();
        MessageResult(self.inbox.lane_counts_until(durable))
    }
}

/// Puts drained mail back where it stood.
#[derive(Message)]
#[rtype(result = "usize")]
pub(crate) struct PutBack(pub(crate) Vec<EnvelopeId>);

impl Handler<PutBack> for Worker {
    type Result = usize;

    fn handle(&mut self, PutBack(ids): PutBack, ctx: &mut Self::Context) -> Self::Result {
        let put_back = self.inbox.put_back(&ids);
        // Some of it may have expired meanwhile, or be too much.
        self.activate(ctx);
        put_back
    }
}

/// Removes all waiting mail that is meant, in one commit; what a routine has, or was drained, stays.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Remove {
    pub(crate) filter: Filter,
    pub(crate) answer: oneshot::Sender<Result<Arc<Committed>, CommitFailure>>,
}

impl Handler<Remove> for Worker {
    type Result = ();

    fn handle(&mut self, Remove { filter, answer }: Remove, _: &mut Self::Context) {
        let change = Change::acknowledge(self.inbox.waiting(&filter));
        self.house.directory.count_departure();
        self.house.propose(change, Answer::House(answer));
    }
}

/// Forgets envelopes that the application has acknowledged, and goes on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Forget(pub(crate) Vec<EnvelopeId>);

impl Handler<Forget> for Worker {
    type Result = ();

    fn handle(&mut self, Forget(ids): Forget, ctx: &mut Self::Context) {
        self.inbox.acknowledge(&ids);
        self.slept = None;
        match self.doing {
            Doing::Idle => self.activate(ctx),
            Doing::Busy { .. } | Doing::Held => self.report_sleep(),
        }
    }
}
