//! Broadcast owns the subscribers: it tells them facts, in commit order, each as fast as it can listen.
//!
//! Asks: nobody. Tells: subscribers, without waiting for any. Never: holds back a fact, or hides that one was missed.
//!
//! A subscriber that lags more than its bound loses the oldest facts, and is told how many: loss is a number.

use actix::prelude::*;
use futures_util::{Stream, StreamExt};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use worksite_model::{Committed, Fact};

/// Tells subscribers what was committed.
pub(crate) struct Broadcast {
    /// The ring all subscribers read from; each has its own place in it.
    facts: broadcast::Sender<Fact>,
}

impl Broadcast {
    pub(crate) fn new(facts: broadcast::Sender<Fact>) -> Self {
        Self { facts }
    }
}

impl Actor for Broadcast {
    type Context = Context<Self>;
}

/// Tells subscribers of these commits, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Tell(pub(crate) Vec<Arc<Committed>>);

impl Handler<Tell> for Broadcast {
    type Result = ();

    fn handle(&mut self, Tell(committed): Tell, _: &mut Self::Context) {
        if self.facts.receiver_count() == 0 {
            return;
        }
        for fact in committed.iter().flat_map(|committed| committed.facts()) {
            // An error means that the last subscriber has just left.
            let _nobody = self.facts.send(fact);
        }
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

/// A subscription: a stream of what is told from now on, in commit order. It ends when the house has closed.
pub struct Subscription(BroadcastStream<Fact>);

impl Subscription {
    pub(crate) fn new(facts: broadcast::Receiver<Fact>) -> Self {
        Self(BroadcastStream::new(facts))
    }

    /// What is told next; nothing when the house has closed.
    pub async fn next(&mut self) -> Option<Told> {
        StreamExt::next(self).await
    }
}

impl Stream for Subscription {
    type Item = Told;

    fn poll_next(mut self: Pin<&mut Self>, ctx: &mut task::Context<'_>) -> Poll<Option<Told>> {
        self.0.poll_next_unpin(ctx).map(|next| {
            next.map(|told| match told {
                Ok(fact) => Told::Fact(fact),
                Err(BroadcastStreamRecvError::Lagged(missed)) => Told::Lagged(missed),
            })
        })
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Subscription")
    }
}
