//! A proposal: [`Change`] is all that one decision wants written. There is no other kind of write.

use crate::{Departure, Draft, EnvelopeId, Payload, PersonId, Roster, RoutineFailure, Timestamp};
use std::borrow::Cow;

/// All that one decision wants written; it becomes durable as a whole or not at all. Many changes may share a
/// transaction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    /// Whose worker decided it; nobody when it comes from outside.
    pub author: Option<PersonId>,
    /// Who is to be active from now on.
    pub roster: Option<RosterChange>,
    /// What is to be delivered.
    pub drafts: Vec<Draft>,
    /// Envelopes that are done. One that no longer waits refuses the whole change: nothing is settled twice.
    pub settled: Vec<Settlement>,
    /// Envelopes that get another attempt. One that no longer waits refuses the whole change.
    pub retried: Vec<Retry>,
    /// Envelopes that are given up. One that no longer waits refuses the whole change.
    pub buried: Vec<Burial>,
    /// Envelopes that the application acknowledges. Those that do not wait are ignored.
    pub removed: Vec<EnvelopeId>,
    /// Routine states as they are to be from now on.
    pub states: Vec<StateWrite>,
    /// What subscribers are to be told besides.
    pub announcements: Vec<Announcement>,
    /// Rows for the application's own tables.
    pub writes: Vec<NamedWrite>,
    /// Whether all waiting mail and all routine state is to go (seed 000 `clear_all`), before anything else.
    pub clear: bool,
}

impl Change {
    /// The change that asks for these drafts to be accepted, all or none.
    pub fn send(drafts: Vec<Draft>) -> Self {
        Self { drafts, ..Self::default() }
    }

    /// The change that makes `target` the roster.
    pub fn sync(target: Roster, departure: Departure) -> Self {
        Self { roster: Some(RosterChange { target, departure }), ..Self::default() }
    }

    /// The change that removes these envelopes.
    pub fn acknowledge(ids: Vec<EnvelopeId>) -> Self {
        Self { removed: ids, ..Self::default() }
    }

    /// Whether it wants nothing written.
    pub fn is_empty(&self) -> bool {
        *self == Self { author: self.author, ..Self::default() }
    }
}

/// Who is to be active, and what becomes of the mail of those who are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterChange {
    /// The roster from now on.
    pub target: Roster,
    /// What becomes of the mail and state of those who leave.
    pub departure: Departure,
}

/// An envelope that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Which.
    pub id: EnvelopeId,
    /// The routine that did it.
    pub routine: &'static str,
    /// Its idempotency key, under which the reply is kept.
    pub key: Option<String>,
    /// The answer to whoever asked.
    pub reply: Option<Payload>,
}

/// An envelope that gets another attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Which.
    pub id: EnvelopeId,
    /// Which attempt comes next. A snoozed one keeps its number.
    pub attempt: u32,
    /// Not before this moment.
    pub due: Timestamp,
    /// What went wrong; nothing for a snoozed one.
    pub failure: Option<RoutineFailure>,
}

/// An envelope that is given up: it becomes a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Burial {
    /// Which.
    pub id: EnvelopeId,
    /// After how many attempts.
    pub attempts: u32,
    /// Why.
    pub failure: RoutineFailure,
    /// Its idempotency key, under which the burial is remembered.
    pub key: Option<String>,
}

/// A routine's state as it is to be from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateWrite {
    /// Whose.
    pub person: PersonId,
    /// Of which routine.
    pub routine: Cow<'static, str>,
    /// The state, encoded.
    pub payload: Payload,
}

/// What a routine wants subscribers told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// What it is about.
    pub topic: Cow<'static, str>,
    /// What it says.
    pub payload: Payload,
}

/// A write to the application's own tables, as plain data: the store has a handler for its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedWrite {
    /// The handler's name.
    pub name: Cow<'static, str>,
    /// What the handler is given.
    pub bytes: Vec<u8>,
}
