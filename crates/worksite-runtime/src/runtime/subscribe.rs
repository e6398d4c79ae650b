//! Facts: told to subscribers live and durably, read back from the log.

use super::Runtime;
use crate::hub::{Outbox, Slow, SubscriptionOptions, SubscriptionReport};
use crate::{DeskError, DurableSubscription, Subscription};
use std::sync::Arc;
use worksite_model::{Change, Cursor, CursorChange, FactOffset, Interest, LoggedFact, NamedWrite, PersonId, Timestamp};

impl Runtime {
    /// Subscribes to all facts from now on, in commit order. Who lags behind [`Limits::subscriber_facts_max`](worksite_model::Limits::subscriber_facts_max) loses the
    /// oldest, and is told how many.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_to(self.subscription(Interest::everything()))
    }

    /// Subscribes to what is wanted of the facts from now on. Each subscriber has a queue of its own: a slow one slows
    /// nobody.
    pub fn subscribe_to(&self, options: SubscriptionOptions) -> Subscription {
        let outbox = Arc::new(Outbox::new(options));
        self.0.hub.add(outbox.clone());
        Subscription::new(outbox)
    }

    /// The usual options for a subscription of this interest.
    pub fn subscription(&self, interest: Interest) -> SubscriptionOptions {
        let facts_max = self.house().limits.subscriber_facts_max;
        SubscriptionOptions { interest, facts_max, slow: Slow::default(), until_left: None }
    }

    /// Subscribes to what is told about somebody, until they leave: their leaving is told last.
    pub fn subscribe_person(&self, person: impl Into<PersonId>) -> Subscription {
        let person = person.into();
        let options = self.subscription(Interest::everything().person(person));
        self.subscribe_to(SubscriptionOptions { until_left: Some(person), ..options })
    }

    /// Opens a durable subscription: a new one stands at the end of the log, one that is known goes on after what it has
    /// acknowledged, and wants this from now on. Facts are logged only while some durable subscription wants them.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn subscribe_durably(
        &self,
        name: impl Into<String>,
        interest: Interest,
    ) -> Result<DurableSubscription, DeskError> {
        let name = name.into();
        // Before the cursor is read, so that nothing can be told in between.
        let live = self.subscribe_to(SubscriptionOptions { facts_max: 1, ..self.subscription(interest.clone()) });
        let open = CursorChange::Open { name: name.clone(), interest: interest.clone() };
        self.move_cursor(open, Vec::new()).await?;
        let cursors = self.cursors().await?;
        let position = cursors.iter().find(|cursor| cursor.name == name).map(|cursor| cursor.position);
        Ok(DurableSubscription::new(self.clone(), name, interest, position.unwrap_or_default(), live))
    }

    /// The durable subscriptions, in order of names: where each stands, and how far behind.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn cursors(&self) -> Result<Vec<Cursor>, DeskError> {
        self.read(Box::new(|store| store.cursors())).await
    }

    /// Ends a durable subscription for good; one that is not there is fine.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn close_cursor(&self, name: impl Into<String>) -> Result<(), DeskError> {
        self.move_cursor(CursorChange::Close { name: name.into() }, Vec::new()).await
    }

    pub(crate) async fn move_cursor(&self, change: CursorChange, writes: Vec<NamedWrite>) -> Result<(), DeskError> {
        self.propose(Change { cursors: vec![change], writes, ..Change::default() }).await.map(drop)
    }

    /// Logged facts after this one that this interest fits, at most `limit`: a replay, whoever logged them.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn facts(
        &self,
        interest: Interest,
        after: FactOffset,
        limit: usize,
    ) -> Result<Vec<LoggedFact>, DeskError> {
        self.read(Box::new(move |store| store.facts(&interest, after, limit))).await
    }

    /// The place in the log before the first fact of this moment or later: to seek a time.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn offset_at(&self, moment: Timestamp) -> Result<FactOffset, DeskError> {
        let mut after = FactOffset(0);
        loop {
            let page = self.facts(Interest::everything(), after, 1_000).await?;
            let Some(last) = page.last().map(|logged| logged.offset) else { return Ok(after) };
            match page.iter().position(|logged| logged.at >= moment) {
                Some(0) => return Ok(after),
                Some(place) => return Ok(page[place - 1].offset),
                None => after = last,
            }
        }
    }

    /// How all subscriptions stand, in the order in which they were made.
    pub fn subscriptions(&self) -> Vec<SubscriptionReport> {
        self.0.hub.reports()
    }
}
