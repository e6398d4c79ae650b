//! A proposal: [`Change`] is all that one decision wants written. There is no other kind of write.

use crate::flow::JobWrite;
use crate::{
    CursorChange, Delivery, Departure, Draft, Envelope, EnvelopeId, KeepStates, Payload, Person, PersonId, Roster,
    RosterDifference, RoutineFailure, RunWrite, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

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
    /// Envelopes that give way to newer ones in a full inbox. Those that do not wait are ignored.
    pub dropped: Vec<EnvelopeId>,
    /// Dead letters that are to go, because they are sent again in this very change or because nobody wants them. One
    /// that is not there refuses the whole change: nothing is redriven twice.
    pub exhumed: Vec<EnvelopeId>,
    /// Active people whose workers are to rest (true) or to go on. Somebody who is not active refuses the whole change.
    pub paused: Vec<(PersonId, bool)>,
    /// Routine states as they are to be from now on.
    pub states: Vec<StateWrite>,
    /// States that are to go, by person and routine. Those that are not there are ignored.
    pub forgotten: Vec<(PersonId, String)>,
    /// Jobs as they are to be from now on. One that has ended already, or is there when it should be new, refuses the whole
    /// change: a job ends once.
    pub jobs: Vec<JobWrite>,
    /// What subscribers are to be told besides.
    pub announcements: Vec<Announcement>,
    /// Rows for the application's own tables.
    pub writes: Vec<NamedWrite>,
    /// What is to become of durable subscriptions. One that is not there refuses the whole change, except to be opened
    /// or closed.
    pub cursors: Vec<CursorChange>,
    /// What is to become of runs, in order. One whose guard does not hold refuses the whole change.
    pub runs: Vec<RunWrite>,
    /// Whether all waiting mail and all routine state is to go (seed 000 `clear_all`), before anything else.
    pub clear: bool,
    /// The ids and the moment its drafts were given when they were taken in; the store gives them when nobody has.
    pub numbering: Option<Numbering>,
}

/// The ids that a change's drafts get when they are accepted, and when that was. Drafts are numbered when they are handed
/// to the writer, so that a worker may be given one while it is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbering {
    /// The id of the first draft; the others follow in order. Higher than any before, whatever became of those.
    pub first: EnvelopeId,
    /// When they were taken in: [`Envelope::accepted_at`].
    pub at: Timestamp,
}

impl Numbering {
    /// The id of the draft at this place.
    pub fn id(&self, place: usize) -> EnvelopeId {
        EnvelopeId(self.first.0.saturating_add(i64::try_from(place).unwrap_or(i64::MAX)))
    }
}

impl Change {
    /// The change that asks for these drafts to be accepted, all or none.
    pub fn send(drafts: Vec<Draft>) -> Self {
        Self { drafts, ..Self::default() }
    }

    /// The change that makes `target` the roster.
    pub fn sync(target: Roster, departure: Departure) -> Self {
        Self { roster: Some(RosterChange::Sync { target, departure }), ..Self::default() }
    }

    /// The change that removes these envelopes.
    pub fn acknowledge(ids: Vec<EnvelopeId>) -> Self {
        Self { removed: ids, ..Self::default() }
    }

    /// The author, if they are not active in this roster and the change holds nothing but what their worker remembers: it
    /// may have been purged meanwhile, and must not come back.
    pub fn writes_for_nobody(&self, roster: &Roster) -> Option<PersonId> {
        self.author.filter(|author| self.stands_on_memory() && !roster.contains(*author))
    }

    /// Whether a worker writes what it remembers, and settles nothing: then nothing else would tell that what it remembers has
    /// been taken away.
    pub fn stands_on_memory(&self) -> bool {
        let settles = !self.settled.is_empty() || !self.retried.is_empty() || !self.buried.is_empty();
        let remembers = !self.states.is_empty() || !self.forgotten.is_empty() || !self.jobs.is_empty();
        self.author.is_some() && remembers && !settles
    }

    /// Whether workers may have to go, or to rest, when it is durable: what they make of mail that comes behind it would stand
    /// on what it takes away.
    pub fn unseats(&self) -> bool {
        self.clear || self.roster.is_some() || !self.paused.is_empty()
    }

    /// The first of its ids, if it was given out before.
    pub fn reuses(&self, last: i64) -> Option<EnvelopeId> {
        let numbering = self.numbering.filter(|_| !self.drafts.is_empty())?;
        Some(numbering.first).filter(|first| first.0 <= last)
    }

    /// Whether it wants nothing written.
    pub fn is_empty(&self) -> bool {
        *self == Self { author: self.author, numbering: self.numbering, ..Self::default() }
    }
}

/// Who is to be active from now on, and what becomes of the mail and state of those who leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterChange {
    /// These people and nobody else.
    Sync {
        /// The roster from now on.
        target: Roster,
        /// What becomes of the mail and state of those who leave.
        departure: Departure,
    },
    /// These people too, or under these names.
    Join(Vec<Person>),
    /// These people too, who are not active yet: somebody who is refuses the whole change.
    Create(Vec<Person>),
    /// These people no longer. Those who are not active are ignored, except that [`Departure::Purge`] purges what they
    /// left behind.
    Leave {
        /// Who.
        people: Vec<PersonId>,
        /// What becomes of their mail and state.
        departure: Departure,
    },
}

impl RosterChange {
    /// What it changes in this roster.
    pub fn difference(&self, current: &Roster) -> RosterDifference {
        match self {
            Self::Sync { target, .. } => current.difference(target),
            Self::Join(people) | Self::Create(people) => {
                let mut difference = RosterDifference { target: current.clone(), ..RosterDifference::default() };
                for person in Roster::new(people.iter().cloned()).people() {
                    match current.get(person.id) {
                        None => difference.joined.push(person.clone()),
                        Some(known) if known != person => difference.changed.push(person.clone()),
                        Some(_) => continue,
                    }
                    difference.target.insert(person.clone());
                }
                difference
            }
            Self::Leave { people, .. } => {
                let mut left: Vec<_> = people.iter().copied().filter(|person| current.contains(*person)).collect();
                left.sort_unstable();
                left.dedup();
                let mut target = current.clone();
                left.iter().for_each(|person| target.remove(*person));
                RosterDifference { left, target, ..RosterDifference::default() }
            }
        }
    }

    /// Whether this person is active once it has been made in this roster.
    pub fn admits(&self, current: &Roster, person: PersonId) -> bool {
        match self {
            Self::Sync { target, .. } => target.contains(person),
            Self::Join(people) | Self::Create(people) => {
                current.contains(person) || people.iter().any(|joining| joining.id == person)
            }
            Self::Leave { people, .. } => current.contains(person) && !people.contains(&person),
        }
    }

    /// Somebody who is to be new and is active already.
    pub fn taken(&self, current: &Roster) -> Option<PersonId> {
        let Self::Create(people) = self else { return None };
        people.iter().map(|person| person.id).find(|person| current.contains(*person))
    }

    /// Whose mail and state go with it, given what it changes.
    pub fn purged(&self, difference: &RosterDifference) -> Vec<PersonId> {
        match self {
            Self::Sync { departure: Departure::Purge, .. } => difference.left.clone(),
            Self::Leave { people, departure: Departure::Purge } => people.clone(),
            _ => Vec::new(),
        }
    }
}

/// An envelope that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Which.
    pub envelope: Arc<Envelope>,
    /// The routine that did it.
    pub routine: &'static str,
    /// The answer to whoever asked.
    pub reply: Option<Payload>,
}

impl Settlement {
    /// The id of the envelope.
    pub fn id(&self) -> EnvelopeId {
        self.envelope.id
    }

    /// Its idempotency key, under which the reply is kept.
    pub fn key(&self) -> Option<&str> {
        self.envelope.draft.key.as_deref()
    }

    /// Whether it belongs to a thread, and so to the history.
    pub fn is_threaded(&self) -> bool {
        self.envelope.draft.thread.is_some()
    }

    /// Bytes of its body, which leave the inbox with it.
    pub fn bytes(&self) -> usize {
        self.envelope.draft.payload.len()
    }
}

/// An envelope that gets another attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burial {
    /// Which.
    pub envelope: Arc<Envelope>,
    /// After how many attempts.
    pub attempts: u32,
    /// Why.
    pub failure: RoutineFailure,
}

impl Burial {
    /// The burial of a delivery for this failure.
    pub fn of(delivery: &Delivery, failure: RoutineFailure) -> Self {
        Self { envelope: delivery.envelope.clone(), attempts: delivery.attempt, failure }
    }

    /// The id of the envelope.
    pub fn id(&self) -> EnvelopeId {
        self.envelope.id
    }

    /// Its idempotency key, under which the burial is remembered.
    pub fn key(&self) -> Option<&str> {
        self.envelope.draft.key.as_deref()
    }

    /// Bytes of its body, which leave the inbox with it.
    pub fn bytes(&self) -> usize {
        self.envelope.draft.payload.len()
    }
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
    /// How many earlier ones are kept.
    pub keep: Option<KeepStates>,
}

/// What a routine wants subscribers told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
