//! Waiting mail: looked at, drained and acknowledged by hand, removed.

use super::Runtime;
use crate::DeskError;
use crate::error::CommitFailure;
use crate::worker::{Drain, Lanes, Peek, PutBack, Remove, Worker};
use actix::Addr;
use tokio::sync::oneshot;
use worksite_model::{Change, Delivery, EnvelopeId, Filter, PersonId, ThreadEntry};

impl Runtime {
    /// Looks at mail that could be taken now and is durable, without taking it.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn peek(&self, person: impl Into<PersonId>, limit: usize) -> Result<Vec<Delivery>, DeskError> {
        self.peek_by(person, Filter::all(), limit).await
    }

    /// [`Runtime::peek`] at mail that is meant.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn peek_by(
        &self,
        person: impl Into<PersonId>,
        filter: Filter,
        limit: usize,
    ) -> Result<Vec<Delivery>, DeskError> {
        let person = person.into();
        let durable = self.durable(person).await?;
        let worker = self.wake(person).await?;
        worker.send(Peek { filter, limit, durable }).await.map_err(|_closed| DeskError::Stopped)
    }

    /// Takes mail of a manual worker, in order, up to so many. What is not acknowledged comes back after a restart.
    /// Seed 000 `drain`.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn drain(&self, person: impl Into<PersonId>, limit: usize) -> Result<Vec<Delivery>, DeskError> {
        self.drain_by(person, Filter::all(), limit).await
    }

    /// [`Runtime::drain`] of mail that is meant; the rest keeps its place.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn drain_by(
        &self,
        person: impl Into<PersonId>,
        filter: Filter,
        limit: usize,
    ) -> Result<Vec<Delivery>, DeskError> {
        let worker = self.manual_worker(person.into()).await?;
        worker.send(Drain { filter, limit }).await.map_err(|_closed| DeskError::Stopped)
    }

    /// Puts drained mail back where it stood; says how many it was. Unknown ids are ignored.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn put_back(&self, person: impl Into<PersonId>, ids: Vec<EnvelopeId>) -> Result<usize, DeskError> {
        let worker = self.manual_worker(person.into()).await?;
        worker.send(PutBack(ids)).await.map_err(|_closed| DeskError::Stopped)
    }

    /// Acknowledges envelopes: they leave their inboxes, durably, in one commit; says how many it was. Unknown ids are
    /// ignored, so acknowledging twice is harmless. Seed 000 `remove_messages`.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn acknowledge(&self, ids: Vec<EnvelopeId>) -> Result<usize, DeskError> {
        let committed = self.propose(Change::acknowledge(ids)).await?;
        Ok(committed.removed.len())
    }

    /// Removes all waiting mail that is meant, durably, in one commit; says how many it was. What a routine is at, or was
    /// drained, stays.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn remove_by(&self, person: impl Into<PersonId>, filter: Filter) -> Result<usize, DeskError> {
        let (answer, removed) = oneshot::channel();
        self.wake(person.into()).await?.do_send(Remove { filter, answer });
        let removed = removed.await.map_err(|_closed| DeskError::Stopped)?;
        Ok(removed.map_err(CommitFailure::into_desk_error)?.removed.len())
    }

    /// How many envelopes wait for this person, or are being worked on.
    pub fn message_count(&self, person: impl Into<PersonId>) -> usize {
        self.house().directory.waiting(person.into())
    }

    /// How many envelopes wait in each lane of somebody's inbox, the control lane first; scheduled ones are not among them.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn lanes(&self, person: impl Into<PersonId>) -> Result<[usize; 5], DeskError> {
        let person = person.into();
        let durable = self.durable(person).await?;
        self.wake(person).await?.send(Lanes(durable)).await.map_err(|_closed| DeskError::Stopped)
    }

    /// Up to which id whatever is in this person's inbox is durable: routines' mail may be ahead of the disk, and nobody is
    /// to see it there. The supervisor, asked next, has told the worker by then what was not accepted.
    async fn durable(&self, person: PersonId) -> Result<EnvelopeId, DeskError> {
        match self.house().directory.is_manual(person) {
            None => Err(DeskError::UnknownPerson(person)),
            Some(true) => Ok(EnvelopeId(i64::MAX)),
            Some(false) => self.read(Box::new(|store| store.last_id())).await,
        }
    }

    /// The envelopes of a thread in order, at most `limit` after this id: those that wait, those that were given up, and
    /// those that were dealt with, as long as the history is kept.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn thread(
        &self,
        thread: impl Into<String>,
        after: EnvelopeId,
        limit: usize,
    ) -> Result<Vec<ThreadEntry>, DeskError> {
        let thread = thread.into();
        self.read(Box::new(move |store| store.thread(&thread, after, limit))).await
    }

    pub(super) async fn manual_worker(&self, person: PersonId) -> Result<Addr<Worker>, DeskError> {
        if self.house().directory.is_manual(person) == Some(false) {
            return Err(DeskError::NotManual(person));
        }
        self.wake(person).await
    }
}
