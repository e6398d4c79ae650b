//! A draft the store has accepted: [`Envelope`], with its id and its time. It exists once; deliveries are many.

use crate::{Draft, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// An envelope's number: given at acceptance, in commit order, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct EnvelopeId(pub i64);

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A draft that has become durable. It never changes; it leaves the inbox only in the commit that holds its
/// consequences (law *ack with effects*).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Its number.
    pub id: EnvelopeId,
    /// When it was handed to the writer; never before the one with the id before.
    pub accepted_at: Timestamp,
    /// What its sender wrote.
    pub draft: Draft,
}

/// One envelope given to a routine, or held for it, with how often that has been tried before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What is delivered; shared with whoever else is told of it.
    pub envelope: Arc<Envelope>,
    /// Which attempt this is, counted from 1.
    pub attempt: u32,
}

impl Delivery {
    /// The id of its envelope.
    pub fn id(&self) -> EnvelopeId {
        self.envelope.id
    }
}
