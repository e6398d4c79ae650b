//! Workers whose turns do not count because somebody's inbox is full: noted as long as that is so, for whoever asks why nothing
//! goes on. Nobody is thrown out of an inbox for it: which mail may go is the application's to say.

use super::Supervisor;
use crate::{DeskError, Runtime};
use actix::prelude::*;
use worksite_model::{Committed, FailureKind, PersonId, Timestamp};

/// A worker that waits for room in somebody's inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocked {
    /// Whose worker.
    pub person: PersonId,
    /// Since when none of its turns has counted.
    pub since: Timestamp,
    /// How often it has tried since.
    pub tries: u64,
    /// Whose inbox is full, and which of its limits is reached.
    pub reason: String,
}

/// A worker that runs a flow found no room for what that wants sent.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct FoundNoRoom {
    pub(crate) person: PersonId,
    pub(crate) reason: String,
}

impl Handler<FoundNoRoom> for Supervisor {
    type Result = ();

    fn handle(&mut self, FoundNoRoom { person, reason }: FoundNoRoom, _: &mut Self::Context) {
        self.note_blocked(person, reason);
    }
}

/// Who waits for room.
#[derive(Message)]
#[rtype(result = "Vec<Blocked>")]
struct WhoIsBlocked;

impl Handler<WhoIsBlocked> for Supervisor {
    type Result = Vec<Blocked>;

    fn handle(&mut self, _: WhoIsBlocked, _: &mut Self::Context) -> Self::Result {
        let directory = &self.house.directory;
        self.blocked.retain(|person, _| directory.has_work(*person) || self.house.board.open(*person) > 0);
        self.blocked.values().cloned().collect()
    }
}

impl Supervisor {
    fn note_blocked(&mut self, person: PersonId, reason: String) {
        let since = self.house.clock.now();
        let blocked = self.blocked.entry(person).or_insert(Blocked { person, since, tries: 0, reason: String::new() });
        (blocked.tries, blocked.reason) = (blocked.tries + 1, reason);
    }

    /// Notes whether a worker's turn found somebody's inbox full; anything else that it got done says that it goes on.
    pub(super) fn look_for_room(&mut self, committed: &Committed) {
        let Some(author) = committed.author else { return };
        let mut failures = committed.retried.iter().filter_map(|retry| retry.failure.as_ref());
        match failures.find(|failure| failure.kind == FailureKind::NoRoom) {
            Some(failure) => self.note_blocked(author, failure.reason.clone()),
            None if self.blocked.is_empty() => {}
            None => drop(self.blocked.remove(&author)),
        }
    }
}

impl Runtime {
    /// The workers whose turns do not count because somebody's inbox is full, and whose, in order of ids. They try again by
    /// themselves; two that wait for each other do so for ever, until somebody takes mail out of one of the inboxes
    /// ([`Runtime::acknowledge`], [`Runtime::remove_by`]), their routines' [deadlines](worksite_model::RetryPolicy::deadline)
    /// bury it, or the site is opened with more room.
    ///
    /// # Errors
    /// [`DeskError::Stopped`].
    pub async fn blocked(&self) -> Result<Vec<Blocked>, DeskError> {
        self.0.supervisor.send(WhoIsBlocked).await.map_err(|_closed| DeskError::Stopped)
    }
}
