//! States of routines: shown as they are and as they were, changed on the worker, restored.

use super::Runtime;
use crate::DeskError;
use crate::update::Update;
use tokio::sync::oneshot;
use worksite_model::{Durable, EnvelopeId, PersonId, Revision, Timestamp};

impl Runtime {
    /// A routine's state as last committed; nothing when it has none yet.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn state<T: Durable>(
        &self,
        person: impl Into<PersonId>,
        routine: impl Into<String>,
    ) -> Result<Option<T>, DeskError> {
        let (person, routine) = (person.into(), routine.into());
        let stored = self.read(Box::new(move |store| store.state(person, &routine))).await?;
        Ok(stored.map(|state| state.decode()).transpose()?)
    }

    /// Changes a routine's state on the worker, between two activations and atomically: nobody sees a half-made change,
    /// and none is lost however many are made at once. Durable when it returns, with what the closure gave. Of a routine
    /// without a state yet it is given the default.
    ///
    /// # Errors
    /// [`DeskError::OtherState`], [`DeskError::Panicked`] (the state is as it was), and [`DeskError`].
    pub async fn update_state<S: Durable, T: Send + 'static>(
        &self,
        person: impl Into<PersonId>,
        routine: &str,
        change: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, DeskError> {
        let place = self.house().registry.place(routine).ok_or(DeskError::OtherState)?;
        let (person, (update, result)) = (person.into(), Update::new(place, change));
        self.wake(person).await?.do_send(update);
        self.heard(person, result).await
    }

    /// What became of a change that was asked of a worker; one that went without a word was let go, or died.
    pub(crate) async fn heard<T>(
        &self,
        person: PersonId,
        result: oneshot::Receiver<Result<T, DeskError>>,
    ) -> Result<T, DeskError> {
        match result.await {
            Ok(result) => result,
            Err(_dropped) if self.house().directory.is_closed() => Err(DeskError::Stopped),
            // Its person left before its turn came.
            Err(_dropped) if !self.house().directory.is_active(person) => Err(DeskError::UnknownPerson(person)),
            Err(_dropped) => Err(DeskError::Removed),
        }
    }

    /// Earlier states of a routine, the newest first, at most `limit`; the present one is the first. A routine keeps them if
    /// it says so ([`Routine::keep_states`](worksite_model::Routine::keep_states)).
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn revisions(
        &self,
        person: impl Into<PersonId>,
        routine: impl Into<String>,
        limit: usize,
    ) -> Result<Vec<Revision>, DeskError> {
        let (person, routine) = (person.into(), routine.into());
        self.read(Box::new(move |store| store.revisions(person, &routine, limit))).await
    }

    /// A routine's state as it was at this moment; nothing when none is kept from then.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn state_at<S: Durable>(
        &self,
        person: impl Into<PersonId>,
        routine: impl Into<String>,
        moment: Timestamp,
    ) -> Result<Option<S>, DeskError> {
        let revisions = self.revisions(person, routine, usize::MAX).await?;
        let then = revisions.into_iter().find(|revision| revision.written_at <= moment);
        Ok(then.map(|revision| revision.payload.decode()).transpose()?)
    }

    /// A routine's state as it was once this envelope had been dealt with; nothing when none is kept from then.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn state_after<S: Durable>(
        &self,
        person: impl Into<PersonId>,
        routine: impl Into<String>,
        envelope: EnvelopeId,
    ) -> Result<Option<S>, DeskError> {
        let revisions = self.revisions(person, routine, usize::MAX).await?;
        let then = revisions.into_iter().find(|revision| revision.envelope.is_some_and(|id| id <= envelope));
        Ok(then.map(|revision| revision.payload.decode()).transpose()?)
    }

    /// Makes an earlier state the present one, on the worker and durably; it becomes a revision of its own.
    ///
    /// # Errors
    /// [`DeskError::NoRevision`], and [`DeskError`].
    pub async fn restore(&self, person: impl Into<PersonId>, routine: &str, revision: i64) -> Result<(), DeskError> {
        let person = person.into();
        let place = self.house().registry.place(routine).ok_or(DeskError::OtherState)?;
        let known = self.house().registry.get(place).cloned().ok_or(DeskError::OtherState)?;
        let revisions = self.revisions(person, routine, usize::MAX).await?;
        let wanted =
            revisions.into_iter().find(|known| known.number == revision).ok_or(DeskError::NoRevision(revision))?;
        let (update, result) = Update::replace(place, known, wanted.payload);
        self.wake(person).await?.do_send(update);
        self.heard(person, result).await
    }
}
