//! Durable subscriptions as an application holds them: [`DurableSubscription`] reads the log of facts from where its cursor
//! stands, and goes on with what comes, without a gap and without a repetition.
//!
//! It always reads from the disk; what is told live only wakes it. So there is no moment at which it switches from one
//! source to another, and lagging costs nobody anything but the room its facts take in the file.

use crate::{DeskError, Runtime, Subscription};
use std::collections::VecDeque;
use worksite_model::{CursorChange, FactOffset, Interest, LoggedFact, NamedWrite};

/// How many facts are read at once.
const PAGE: usize = 256;

/// A durable subscription. What is not acknowledged is told again in the next life: *at least once*. Who writes what it
/// makes of a fact in the commit that acknowledges it ([`DurableSubscription::acknowledge_with`]) has it *exactly once*.
/// One at a time may listen under a name.
pub struct DurableSubscription {
    runtime: Runtime,
    name: String,
    interest: Interest,
    /// The last fact that was handed out.
    position: FactOffset,
    page: VecDeque<LoggedFact>,
    /// Says that something has become durable.
    live: Subscription,
}

impl DurableSubscription {
    pub(crate) fn new(
        runtime: Runtime,
        name: String,
        interest: Interest,
        position: FactOffset,
        live: Subscription,
    ) -> Self {
        Self { runtime, name, interest, position, page: VecDeque::new(), live }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next fact, once there is one; nothing when the house has closed.
    ///
    /// # Errors
    /// [`DeskError`] when the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<LoggedFact>, DeskError> {
        loop {
            if let Some(logged) = self.page.pop_front() {
                self.position = logged.offset;
                return Ok(Some(logged));
            }
            match self.runtime.facts(self.interest.clone(), self.position, PAGE).await {
                Ok(page) => self.page = page.into(),
                Err(DeskError::Stopped) => return Ok(None),
                Err(error) => return Err(error),
            }
            // Woken by what was told since the last look, too: nothing is slept through.
            if self.page.is_empty() && self.live.next().await.is_none() {
                return Ok(None);
            }
        }
    }

    /// Says that everything up to this fact has been dealt with, durably.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn acknowledge(&self, to: FactOffset) -> Result<(), DeskError> {
        self.acknowledge_with(to, Vec::new()).await
    }

    /// [`DurableSubscription::acknowledge`], together with rows for the application's own tables, in one commit.
    ///
    /// # Errors
    /// [`DeskError`]; nothing was written.
    pub async fn acknowledge_with(&self, to: FactOffset, writes: Vec<NamedWrite>) -> Result<(), DeskError> {
        let name = self.name.clone();
        self.runtime.move_cursor(CursorChange::Acknowledge { name, to }, writes).await
    }

    /// Goes to the place after this fact, forward or back: what is still in the log after it is told again.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn seek(&mut self, to: FactOffset) -> Result<(), DeskError> {
        let name = self.name.clone();
        self.runtime.move_cursor(CursorChange::Seek { name, to }, Vec::new()).await?;
        self.page.clear();
        self.position = to;
        Ok(())
    }
}

impl std::fmt::Debug for DurableSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableSubscription").field("name", &self.name).field("position", &self.position).finish()
    }
}
