//! Broadcast owns the subscribers: it tells them facts, in commit order, each as fast as it can listen.
//!
//! Asks: nobody. Tells: subscribers, without waiting for any. Never: holds back a fact, or hides that one was missed.
//!
//! A subscriber that lags more than its bound loses the oldest facts, and is told how many: loss is a number.

use crate::hub::{Hub, Outbox, SubscriptionReport, Taken};
use actix::prelude::*;
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use worksite_model::{Committed, Fact};

/// Tells subscribers what was committed.
pub(crate) struct Broadcast {
    /// The queues of all subscribers.
    hub: Arc<Hub>,
}

impl Broadcast {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }
}

impl Actor for Broadcast {
    type Context = Context<Self>;
}

impl Drop for Broadcast {
    /// However it ends: whoever listens hears that nothing more comes.
    fn drop(&mut self) {
        self.hub.close();
    }
}

/// Tells subscribers of these commits, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Tell(pub(crate) Vec<Arc<Committed>>);

impl Handler<Tell> for Broadcast {
    type Result = ();

    fn handle(&mut self, Tell(committed): Tell, _: &mut Self::Context) {
        if self.hub.is_empty() {
            return;
        }
        let facts: Vec<_> = committed.iter().flat_map(|committed| committed.facts()).map(Arc::new).collect();
        self.hub.tell(&facts);
    }
}

/// What a subscriber hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Something has become durable.
    Fact(Fact),
    /// The subscriber lagged behind its bound and missed so many facts.
    Lagged(u64),
}

/// A subscription: a stream of what is told from now on, in commit order. It ends when the house has closed, when its
/// policy for slow subscribers says so, or when the person it was made for has left.
pub struct Subscription(Arc<Outbox>);

impl Subscription {
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self(outbox)
    }

    /// What is told next; nothing when it has ended.
    pub async fn next(&mut self) -> Option<Told> {
        StreamExt::next(self).await
    }

    /// How it stands: facts delivered, dropped by its policy, and waiting.
    pub fn report(&self) -> SubscriptionReport {
        self.0.report()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.0.desert();
    }
}

impl Stream for Subscription {
    type Item = Told;

    fn poll_next(self: Pin<&mut Self>, ctx: &mut task::Context<'_>) -> Poll<Option<Told>> {
        match self.0.take(ctx.waker()) {
            Taken::Fact(fact) => Poll::Ready(Some(Told::Fact(Arc::unwrap_or_clone(fact)))),
            Taken::Missed(facts) => Poll::Ready(Some(Told::Lagged(facts))),
            Taken::Ended => Poll::Ready(None),
            Taken::Nothing => Poll::Pending,
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscription")
    }
}
