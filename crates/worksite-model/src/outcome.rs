//! How an activation ended: [`Outcome`] is what a routine may say, [`RoutineFailure`] what went wrong instead.
//!
//! The words are Oban's: each has one consequence, and the list is closed. A failure is data, not an error: it is
//! recorded on the delivery, and [`settle`](crate::settle) retries or buries.

use crate::{Announcement, Draft, NamedWrite, Payload, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// What a routine says about a delivery. Only [`Outcome::Done`] keeps what the turn did: any other outcome throws its
/// state, drafts, reply and announcements away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done: the envelope leaves the inbox in the commit that holds the new state and all that was sent.
    Done,
    /// It failed and may work later: another attempt after the routine's back-off, or burial when none is left.
    Retry(String),
    /// It is too early: again not before this moment, without counting an attempt.
    Snooze(Timestamp),
    /// It can never work: buried at once with this reason.
    Reject(String),
}

/// Why a routine ended without an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FailureKind {
    /// It returned an error.
    Returned,
    /// It panicked; its half-changed state was thrown away.
    Panicked,
    /// It ran longer than its limit.
    TooLong,
    /// The message cannot be decoded. Never retried: the bytes will not change.
    Undecodable,
    /// No routine takes messages of this type. Never retried.
    NoRoutine,
    /// What it sent was refused by the store.
    Refused,
    /// What it sent found an inbox full: it is tried again a little later, without counting an attempt. Or what a flow's
    /// routine emitted found a slot full that rejects: its strategy decides.
    NoRoom,
    /// The message was of no use any more when its turn came. Never retried.
    Expired,
}

/// A routine's failure, as data. Any error becomes one through `?`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutineFailure {
    /// What happened.
    pub kind: FailureKind,
    /// What there is to say about it.
    pub reason: String,
}

impl RoutineFailure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }

    /// Whether another attempt could end differently.
    pub fn is_retryable(&self) -> bool {
        !matches!(self.kind, FailureKind::Undecodable | FailureKind::NoRoutine | FailureKind::Expired)
    }
}

// `RoutineFailure` is data and deliberately no `std::error::Error`: that is what lets `?` turn every error into one.
impl<E: std::error::Error> From<E> for RoutineFailure {
    fn from(error: E) -> Self {
        Self::new(FailureKind::Returned, error.to_string())
    }
}

impl fmt::Display for RoutineFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FailureKind::Returned => "failed",
            FailureKind::Panicked => "panicked",
            FailureKind::TooLong => "ran too long",
            FailureKind::Undecodable => "undecodable",
            FailureKind::NoRoutine => "no routine",
            FailureKind::Refused => "refused",
            FailureKind::NoRoom => "no room",
            FailureKind::Expired => "expired",
        };
        write!(f, "{what}: {}", self.reason)
    }
}

/// One delivery carried out: how it ended, and what it wants written if it is done.
#[derive(Debug)]
pub struct Performed {
    /// How it ended.
    pub ended: Result<Outcome, RoutineFailure>,
    /// What it wants written and told; a turn that only changes its state wants nothing.
    pub effects: Option<Box<Effects>>,
    /// How long it took.
    pub took: Duration,
}

/// What a turn wants written and told beside its state.
#[derive(Debug, Default)]
pub struct Effects {
    /// What it sent.
    pub drafts: Vec<Draft>,
    /// What it wants subscribers told.
    pub announcements: Vec<Announcement>,
    /// Its answer to whoever asked.
    pub reply: Option<Payload>,
    /// Rows for the application's own tables.
    pub writes: Vec<NamedWrite>,
}

impl Effects {
    /// Whether any of it waits for a commit. A reply alone does not: it goes with its delivery's settlement.
    pub fn want_commit(&self) -> bool {
        !(self.drafts.is_empty() && self.announcements.is_empty() && self.writes.is_empty())
    }
}

impl Performed {
    /// A delivery that ended in this failure and wants nothing written.
    pub fn failed(failure: RoutineFailure) -> Self {
        Self { ended: Err(failure), effects: None, took: Duration::ZERO }
    }

    /// A delivery that ended so and wants nothing written.
    #[inline]
    pub fn ended(outcome: Outcome) -> Self {
        Self { ended: Ok(outcome), effects: None, took: Duration::ZERO }
    }

    /// What it sent.
    pub fn drafts(&self) -> &[Draft] {
        self.effects.as_ref().map_or(&[], |effects| &effects.drafts)
    }

    /// Whether its effects are to be kept.
    pub fn is_done(&self) -> bool {
        matches!(self.ended, Ok(Outcome::Done))
    }
}
