//! The names of seed 000, for who knows them: [`WorkerRuntimeManager`] and [`WorkerRuntime`] (`virtualoffice`,
//! `worker_runtime.py`) as thin methods over [`Runtime`].
//!
//! Where the seed's text and its code disagree, or its code loses mail, this does what the text promises:
//! * a message is written first and visible then; a failed write leaves no phantom in memory;
//! * a message for somebody unknown is an error before any side effect;
//! * [`WorkerRuntime::queue`] is durable too (the seed's lives in memory only);
//! * what was drained and not removed comes back after a restart, as in the seed; remove ids *after* processing;
//! * a row that cannot be read is set aside, and the rest of the inbox goes on.

use crate::{DeskError, Runtime, SendError};
use std::collections::BTreeMap;
use worksite_model::{EnvelopeId, InboundMessage, Person, PersonId, RosterDifference};

/// All workers' inboxes. The house must be without routines, or manual for these people.
#[derive(Debug, Clone)]
pub struct WorkerRuntimeManager(Runtime);

/// One worker's inbox.
#[derive(Debug, Clone)]
pub struct WorkerRuntime {
    /// Whose it is, as they were when this was got.
    pub person: Person,
    runtime: Runtime,
}

impl WorkerRuntimeManager {
    /// The inboxes of this house.
    pub fn new(runtime: Runtime) -> Self {
        Self(runtime)
    }

    /// The worker of this person, who joins the roster if they are not on it; a new name or role is taken over. Mail that
    /// waited for them is there.
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn get_runtime(&self, person: Person) -> Result<WorkerRuntime, SendError> {
        self.0.join(person.clone()).await?;
        Ok(WorkerRuntime { person, runtime: self.0.clone() })
    }

    /// [`Runtime::sync`].
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn sync_runtimes(
        &self,
        active_people: impl IntoIterator<Item = Person>,
    ) -> Result<RosterDifference, SendError> {
        self.0.sync(active_people).await
    }

    /// Writes a message into the recipient's inbox, and gives it back with its id.
    ///
    /// # Errors
    /// [`SendError`]; nothing is in the inbox then.
    pub async fn queue_message(
        &self,
        recipient: impl Into<PersonId>,
        message: InboundMessage,
    ) -> Result<InboundMessage, SendError> {
        queue(&self.0, recipient.into(), message).await
    }

    /// [`Runtime::acknowledge`]: unknown ids and none at all are fine.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn remove_messages(&self, message_ids: Vec<EnvelopeId>) -> Result<(), DeskError> {
        self.0.acknowledge(message_ids).await.map(drop)
    }

    /// Removes all mail, all state and everybody: no runtimes, no rows.
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn clear_all(&self) -> Result<(), SendError> {
        self.0.clear_all().await?;
        self.0.sync([]).await.map(drop)
    }

    /// All workers there are now; later changes do not show in it.
    pub fn get_all_runtimes(&self) -> BTreeMap<PersonId, WorkerRuntime> {
        let roster = self.0.roster();
        let runtime = |person: &Person| WorkerRuntime { person: person.clone(), runtime: self.0.clone() };
        roster.people().map(|person| (person.id, runtime(person))).collect()
    }
}

impl WorkerRuntime {
    /// Writes a message into this inbox, and gives it back with its id.
    ///
    /// # Errors
    /// [`SendError`]; nothing is in the inbox then.
    pub async fn queue(&self, message: InboundMessage) -> Result<InboundMessage, SendError> {
        queue(&self.runtime, self.person.id, message).await
    }

    /// Takes all messages out, in order. They come back after a restart unless they are removed.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn drain(&self) -> Result<Vec<InboundMessage>, DeskError> {
        let roster = self.runtime.roster();
        let mail = self.runtime.drain(self.person.id, usize::MAX).await?;
        Ok(mail.iter().map(|delivery| InboundMessage::of(delivery, &roster)).collect())
    }

    /// Whether any message could be drained now.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn has_messages(&self) -> Result<bool, DeskError> {
        Ok(!self.runtime.peek(self.person.id, 1).await?.is_empty())
    }

    /// How many messages could be drained now.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn message_count(&self) -> Result<usize, DeskError> {
        Ok(self.runtime.peek(self.person.id, usize::MAX).await?.len())
    }
}

async fn queue(runtime: &Runtime, recipient: PersonId, message: InboundMessage) -> Result<InboundMessage, SendError> {
    let draft = message.draft(recipient).map_err(SendError::unencodable)?;
    let receipt = runtime.send(draft).await?;
    Ok(InboundMessage { message_id: Some(receipt.id), ..message })
}
