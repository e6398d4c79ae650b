//! Durable subscriptions: a named [`Cursor`] in the log of facts, what moves it ([`CursorChange`]), and a fact with its
//! place there ([`LoggedFact`]).

use crate::{Fact, Interest, Timestamp};
use std::fmt;

/// A fact's place in the log: given in commit order, never reused. There are gaps where nobody was interested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FactOffset(pub i64);

impl fmt::Display for FactOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A durable subscription, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Its name.
    pub name: String,
    /// What it wants.
    pub interest: Interest,
    /// The last fact it has acknowledged.
    pub position: FactOffset,
    /// The last fact in the log.
    pub last: FactOffset,
    /// Facts it wanted that retention took before they were acknowledged.
    pub missed: u64,
}

/// What a change does to a durable subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CursorChange {
    /// There is to be one of this name. A new one stands at the end of the log; one that is there keeps its place, and
    /// wants this from now on.
    Open {
        /// Its name.
        name: String,
        /// What it wants.
        interest: Interest,
    },
    /// It has dealt with everything up to this fact. It never moves back that way.
    Acknowledge {
        /// Its name.
        name: String,
        /// Up to which fact.
        to: FactOffset,
    },
    /// It is to stand here, forward or back: what is still in the log after that is told again.
    Seek {
        /// Its name.
        name: String,
        /// After which fact it stands.
        to: FactOffset,
    },
    /// There is to be none of this name.
    Close {
        /// Its name.
        name: String,
    },
}

impl CursorChange {
    /// Whose.
    pub fn name(&self) -> &str {
        match self {
            Self::Open { name, .. }
            | Self::Acknowledge { name, .. }
            | Self::Seek { name, .. }
            | Self::Close { name } => name,
        }
    }
}

/// A fact in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedFact {
    /// Its place.
    pub offset: FactOffset,
    /// When it was committed.
    pub at: Timestamp,
    /// The fact.
    pub fact: Fact,
}
