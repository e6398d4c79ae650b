//! Parcels own the way of a volatile draft from the gate to its worker. Many wait at once, and waiting in cold memory is
//! what they cost: so a plain one travels without the fields it does not use.

use crate::flows::VolatileJobs;
use actix::Message;
use std::sync::Arc;
use worksite_model::{Draft, Encoding, Envelope, EnvelopeId, Payload, PersonId, Priority, Timestamp};

/// Performs a draft that was never written. It is lost with its worker's memory.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct DeliverVolatile {
    /// The place of the routine that takes it.
    routine: u32,
    parcel: Parcel,
}

enum Parcel {
    /// The payload without its type's name, which is that of the routine's messages.
    Plain {
        encoding: Encoding,
        version: u16,
        checksum: u32,
        priority: Priority,
        body: Arc<[u8]>,
    },
    Full(Box<Draft>),
    /// To a flow, with the jobs it is.
    Post(Box<(Draft, VolatileJobs)>),
}

impl DeliverVolatile {
    /// A draft for the routine at this place.
    pub(crate) fn new(draft: Draft, routine: usize) -> Self {
        let parcel = match draft {
            // A draft that names its routine may be of another type than the routine's: it keeps its name.
            Draft {
                to: _,
                from: None,
                routine: None,
                priority,
                payload: Payload { encoding, type_name: _, version, checksum, body },
                not_before: None,
                expires_at: None,
                key: None,
                kind: None,
                channel: None,
                thread: None,
                reply_to: None,
                cooldown: _,
                trace: None,
            } => Parcel::Plain { encoding, version, checksum, priority, body },
            draft => Parcel::Full(Box::new(draft)),
        };
        Self { routine: u32::try_from(routine).unwrap_or(u32::MAX), parcel }
    }

    /// A post, which a flow takes.
    pub(crate) fn post(draft: Draft, jobs: VolatileJobs) -> Self {
        Self { routine: u32::MAX, parcel: Parcel::Post(Box::new((draft, jobs))) }
    }

    /// The draft and its jobs, if it is a post.
    pub(crate) fn open_post(self) -> Option<(Draft, VolatileJobs)> {
        match self.parcel {
            Parcel::Post(post) => Some(*post),
            Parcel::Plain { .. } | Parcel::Full(_) => None,
        }
    }

    /// The place of the routine that takes it.
    pub(crate) fn routine(&self) -> usize {
        self.routine as usize
    }

    /// The envelope it is, without an id: it is never written.
    #[inline(always)]
    pub(crate) fn open(self, to: PersonId, type_name: &'static str, now: Timestamp) -> Envelope {
        let draft = match self.parcel {
            Parcel::Plain { encoding, version, checksum, priority, body } => {
                let type_name = type_name.into();
                Draft::of(to, Payload { encoding, type_name, version, checksum, body }).priority(priority)
            }
            Parcel::Full(draft) => *draft,
            Parcel::Post(post) => post.0,
        };
        Envelope { id: EnvelopeId(0), accepted_at: now, draft }
    }
}
