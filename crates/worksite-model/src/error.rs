//! What should the caller do? [`Advice`] is the answer every error can give; [`Rejection`] is the sender's own fault.

use crate::{PersonId, Timestamp};
use thiserror::Error;

/// The caller's next move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Advice {
    /// Correct what was asked for; the same request will be refused again.
    FixRequest,
    /// The same request may succeed later; what was sent has been given back.
    RetryLater,
    /// Nothing: it was dropped by the recipient's own policy, and counted.
    CarryOn,
    /// The house is closed: nothing sent from here will be accepted.
    StopSending,
    /// A person has to look: the file, the disk or the program needs help.
    CallForHelp,
}

/// You asked for something impossible. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rejection {
    /// The recipient is not on the roster. Sync the roster, or correct the recipient.
    #[error("person {0} is not on the roster")]
    UnknownPerson(PersonId),
    /// The recipient's worker has routines, and none takes this. Register one, or correct the message.
    #[error("no routine takes messages of type {type_name:?}{}", .routine.as_ref().map(|name| format!(" under the name {name:?}")).unwrap_or_default())]
    NoRoutine {
        /// The payload's type.
        type_name: String,
        /// The routine the draft named, if it did.
        routine: Option<String>,
    },
    /// The body is larger than the limit. Send less, or raise `payload_bytes_max`.
    #[error("the payload has {bytes} bytes; {limit} are allowed (payload_bytes_max)")]
    PayloadTooLarge {
        /// Bytes of the body.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A text beside the body is larger than the limit. Shorten it, or raise `header_bytes_max`.
    #[error("the {field} has {bytes} bytes; {limit} are allowed (header_bytes_max)")]
    HeaderTooLarge {
        /// Which text.
        field: &'static str,
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The payload's checksum does not fit its body: it was changed after it was encoded. Encode it again.
    #[error("the payload is damaged: its checksum does not fit")]
    Damaged,
    /// The draft expires before it could be delivered. Give it a later expiry, or none.
    #[error("the draft expires before it could be delivered")]
    AlreadyExpired,
    /// There are more drafts, or bytes, for one recipient in this change than their inbox holds when it is empty. Send them
    /// in parts.
    #[error("it would not fit into the inbox of person {to} if that were empty ({limit})")]
    NeverFits {
        /// The recipient.
        to: PersonId,
        /// The limit.
        limit: &'static str,
    },
    /// It came too soon after another from this sender to this recipient through this channel. Wait, or leave it.
    #[error("nothing more from this sender to person {to} through this channel before {} µs", .until.as_micros())]
    Cooling {
        /// The recipient.
        to: PersonId,
        /// When the next may come.
        until: Timestamp,
    },
    /// The store refused it for its content, with this reason. Correct it.
    #[error("the store refused it: {0}")]
    Refused(String),
}

impl Rejection {
    /// What the caller should do next: correct the request, or wait for the cooldown.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Cooling { .. } => Advice::RetryLater,
            _ => Advice::FixRequest,
        }
    }
}

/// The limits cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// A limit of zero would let nothing through. Give it a value.
    #[error("the limit {name} is zero")]
    Zero {
        /// Which limit.
        name: &'static str,
    },
    /// A limit is larger than any store can keep. Lower it.
    #[error("the limit {name} is {value}; at most {limit} is possible")]
    TooLarge {
        /// Which limit.
        name: &'static str,
        /// Its value.
        value: u64,
        /// The most it may be.
        limit: u64,
    },
}

/// Two routines cannot both be registered.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is a flow of this name already. Rename one.
    #[error("there are two flows {name:?}")]
    FlowTaken {
        /// The name.
        name: String,
    },
    /// A routine of this name is registered already. Give one of them another name: states are stored under it.
    #[error("a routine named {name:?} is registered already")]
    NameTaken {
        /// The name.
        name: &'static str,
    },
}

/// Asserts a law of the house by its name. A broken law is our own fault: the panic stops the actor that broke it, which
/// is rebuilt from the store, and crashes the world in tests.
#[macro_export]
macro_rules! law {
    ($holds:expr, $law:literal, $($what:tt)+) => {
        if $holds { } else { panic!("the law \"{}\" is broken: {}", $law, format_args!($($what)+)) }
    };
}
