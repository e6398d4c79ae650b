//! A parcel is a volatile draft on its way from the gate to its worker. Many wait at once, and waiting in cold memory is
//! what they cost: so a plain one travels without the fields it does not use, and is opened only when somebody looks.

use crate::payload::decode_bytes;
use crate::{Draft, Durable, Encoding, Envelope, EnvelopeId, Payload, PayloadError, PersonId, Priority, Timestamp};
use std::sync::Arc;

/// A volatile draft on its way. It is never written, so its bytes are not compared with a checksum.
#[derive(Debug)]
pub struct Parcel(Contents);

#[derive(Debug)]
enum Contents {
    /// A payload without its type's name, which is that of the routine's messages.
    Plain {
        encoding: Encoding,
        version: u16,
        priority: Priority,
        body: Arc<[u8]>,
    },
    Full(Box<Draft>),
}

impl Parcel {
    /// Packs a draft for a routine that takes its type, or that it names.
    #[inline(always)]
    pub fn new(draft: Draft) -> Self {
        Self(match draft {
            // A draft that names its routine may be of another type than the routine's: it keeps its name.
            Draft {
                to: _,
                from: None,
                routine: None,
                priority,
                payload: Payload { encoding, type_name: _, version, checksum: _, body },
                not_before: None,
                expires_at: None,
                key: None,
                kind: None,
                channel: None,
                thread: None,
                reply_to: None,
                cooldown: _,
                trace: None,
            } => Contents::Plain { encoding, version, priority, body },
            draft => Contents::Full(Box::new(draft)),
        })
    }

    /// Reads its message.
    ///
    /// # Errors
    /// [`PayloadError`]: another type, an unknown version, or bytes that are not such a value.
    #[inline]
    pub fn decode<M: Durable>(&self) -> Result<M, PayloadError> {
        match &self.0 {
            Contents::Plain { encoding, version, body, .. } => decode_bytes(*encoding, M::TYPE, *version, body),
            Contents::Full(draft) => draft.payload.decode(),
        }
    }

    /// Who wrote it; nobody when it came from outside.
    pub fn sender(&self) -> Option<PersonId> {
        self.full().and_then(|draft| draft.from)
    }

    /// From when on it is of no use.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.full().and_then(|draft| draft.expires_at)
    }

    /// The trace it was sent in.
    pub fn trace(&self) -> Option<&str> {
        self.full().and_then(|draft| draft.trace.as_deref())
    }

    /// The envelope it would be: without an id, for a recipient whose routine takes messages of this type.
    pub(crate) fn open(&self, to: PersonId, type_name: &'static str, now: Timestamp) -> Envelope {
        let draft = match &self.0 {
            Contents::Plain { encoding, version, priority, body } => {
                let payload = Payload::from_body(*encoding, type_name.into(), *version, body.clone());
                Draft::of(to, payload).priority(*priority)
            }
            Contents::Full(draft) => Draft::clone(draft),
        };
        Envelope { id: EnvelopeId(0), accepted_at: now, draft }
    }

    fn full(&self) -> Option<&Draft> {
        match &self.0 {
            Contents::Plain { .. } => None,
            Contents::Full(draft) => Some(draft),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_what_is_opened() {
        let plain = Draft::to(7, &3_u64).unwrap().priority(Priority::High);
        let full = Draft::to(7, &4_u64).unwrap().thread("talk").expires_at(Timestamp::from_seconds(9));
        for draft in [plain, full] {
            let message = draft.payload.decode::<u64>().unwrap();
            let parcel = Parcel::new(draft.clone());
            assert_eq!(parcel.decode::<u64>().unwrap(), message);
            assert_eq!((parcel.sender(), parcel.expires_at()), (draft.from, draft.expires_at));
            let envelope = parcel.open(PersonId(7), u64::TYPE, Timestamp::from_seconds(1));
            assert_eq!(envelope, Envelope { id: EnvelopeId(0), accepted_at: Timestamp::from_seconds(1), draft });
        }
    }

    #[test]
    fn a_wrong_type_or_damaged_bytes_are_errors() {
        let named = Draft { routine: Some("other".into()), ..Draft::to(7, &3_u64).unwrap() };
        assert!(matches!(Parcel::new(named).decode::<String>(), Err(PayloadError::OtherType { .. })));
        let payload = Payload::from_body(Encoding::Bincode, u64::TYPE.into(), u64::VERSION, [253, 1].as_slice().into());
        let short = Parcel::new(Draft::of(7, payload));
        assert!(matches!(short.decode::<u64>(), Err(PayloadError::Undecodable { .. })));
    }
}
