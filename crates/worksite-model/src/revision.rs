//! Earlier states of a routine: how many are kept ([`KeepStates`]), and one of them ([`Revision`]).

use crate::{EnvelopeId, Payload, Timestamp};

/// How many earlier states of a routine are kept, for each person: a ring, by count and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepStates {
    /// So many at most, the present one among them.
    pub revisions_max: u32,
    /// So many bytes at most; the present one is always kept.
    pub bytes_max: u64,
}

impl Default for KeepStates {
    /// The last hundred, in 16 MiB.
    fn default() -> Self {
        Self { revisions_max: 100, bytes_max: 16 << 20 }
    }
}

/// A state a routine once had, or has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its number: counted up for this person and routine, never reused while any is kept.
    pub number: i64,
    /// When it was committed.
    pub written_at: Timestamp,
    /// The last envelope that made it; none when the application did.
    pub envelope: Option<EnvelopeId>,
    /// The state.
    pub payload: Payload,
}
