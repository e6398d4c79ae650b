//! What can go wrong at the handle, sorted by the caller's next move. What was sent is given back.

use thiserror::Error;
use worksite_model::{
    Advice, Change, Draft, EnvelopeId, LimitsError, PayloadError, PersonId, Refusal, RegistryError, Rejection,
    StoreError,
};

/// Why drafts were not accepted. None of them was written, except perhaps after [`StoreError::Unknown`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SendError {
    /// They ask for something impossible. Correct them.
    #[error("the draft was rejected: {rejection}")]
    Rejected {
        /// What is impossible.
        #[source]
        rejection: Rejection,
        /// What was to be sent.
        drafts: Vec<Draft>,
    },
    /// The house is full. Send them again later.
    #[error("the house is full: {limit} is reached")]
    Overloaded {
        /// The name of the limit that is reached.
        limit: &'static str,
        /// What was to be sent.
        drafts: Vec<Draft>,
    },
    /// The recipient's inbox is full, and its policy is to drop what is new. It is counted; carry on.
    #[error("the inbox of person {person} is full, and what is new is dropped")]
    Dropped {
        /// Whose inbox.
        person: PersonId,
        /// What was to be sent.
        drafts: Vec<Draft>,
    },
    /// The house is closed or closing. Stop sending.
    #[error("the house is closed")]
    Stopped {
        /// What was to be sent; empty when the house closed while it was being written: then look after reopening.
        drafts: Vec<Draft>,
    },
    /// The store could not write them; the store's error says what to do.
    #[error("the store could not write: {error}")]
    Store {
        /// What the store said.
        #[source]
        error: StoreError,
        /// What was to be sent.
        drafts: Vec<Draft>,
    },
}

impl SendError {
    /// A message that cannot be encoded never becomes a draft.
    pub(crate) fn unencodable(error: PayloadError) -> Self {
        Self::Rejected { rejection: Rejection::Refused(error.to_string()), drafts: vec![] }
    }

    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Rejected { rejection, .. } => rejection.advice(),
            Self::Overloaded { .. } => Advice::RetryLater,
            Self::Dropped { .. } => Advice::CarryOn,
            Self::Stopped { .. } => Advice::StopSending,
            Self::Store { error, .. } => error.advice(),
        }
    }

    /// The recipient who is not there, if that is what is wrong.
    pub(crate) fn unknown_person(&self) -> Option<PersonId> {
        match self {
            Self::Rejected { rejection: Rejection::UnknownPerson(person), .. } => Some(*person),
            _ => None,
        }
    }

    /// What was to be sent.
    pub fn into_drafts(self) -> Vec<Draft> {
        match self {
            Self::Rejected { drafts, .. }
            | Self::Overloaded { drafts, .. }
            | Self::Dropped { drafts, .. }
            | Self::Stopped { drafts }
            | Self::Store { drafts, .. } => drafts,
        }
    }
}

/// Why an ask got no answer.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// It was not accepted.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The message was given up and is a dead letter now. Look at the reason.
    #[error("the message was buried: {0}")]
    Buried(String),
    /// The message was acknowledged, purged or cleared before anybody answered.
    #[error("the message was removed before it was answered")]
    Removed,
    /// The message is done, and its routine gave no answer. Let it call `Turn::reply`.
    #[error("the routine gave no answer")]
    NoReply,
    /// The answer is of another type than the one asked for.
    #[error("the answer cannot be read: {0}")]
    Payload(#[from] PayloadError),
    /// The worker that is to answer is held: its state cannot be read, or the store takes nothing more. The message is
    /// durable and waits. Look at the worker's last error; ask again under the same key after reopening: that does nothing
    /// twice.
    #[error("the worker of person {0} is held, and its mail waits")]
    Held(PersonId),
    /// The house closed before the answer came; the message may be durable. Ask again under the same key after reopening:
    /// that does nothing twice.
    #[error("the house closed before the answer came")]
    Stopped,
}

impl AskError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Send(error) => error.advice(),
            Self::Buried(_) | Self::Held(_) => Advice::CallForHelp,
            Self::Removed | Self::NoReply | Self::Payload(_) => Advice::FixRequest,
            Self::Stopped => Advice::StopSending,
        }
    }
}

/// Why a person's mail or state could not be looked at or handled.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DeskError {
    /// The person is not on the roster. Sync the roster, or correct the id.
    #[error("person {0} is not on the roster")]
    UnknownPerson(PersonId),
    /// The person's worker has routines, which take the mail. Only a manual worker's mail is drained by hand.
    #[error("the mail of person {0} is taken by routines")]
    NotManual(PersonId),
    /// The dead letter is not there: somebody else redrove or forgot it. Look again.
    #[error("there is no dead letter {0}")]
    NotBuried(EnvelopeId),
    /// It asks for something impossible: nobody takes what is to be sent, or the store cannot hold it. Correct it.
    #[error("it is rejected: {0}")]
    Rejected(#[source] Rejection),
    /// There is no room for what is to be sent or done. Try again later.
    #[error("there is no room: {0} is reached")]
    NoRoom(&'static str),
    /// What is to be redriven has a key that belongs to another message by now. It is redriven without.
    #[error("the key {0:?} belongs to another message")]
    KeyTaken(String),
    /// Somebody of this id is active already. Choose another id.
    #[error("person {0} is on the roster already")]
    Taken(PersonId),
    /// There is no routine of this name, or its state is of another type. Correct the call.
    #[error("the routine has no such state")]
    OtherState,
    /// This revision of the state is not kept, or never was. Look at those that are.
    #[error("revision {0} is not kept")]
    NoRevision(i64),
    /// The application's change of a state panicked; the state is as it was.
    #[error("the change of the state panicked; the state is as it was")]
    Panicked,
    /// The worker went before the change was known to be durable: all was cleared, or it died. Look at the state, and make
    /// the change again if it is not there.
    #[error("the worker went before the change was known to be durable")]
    Removed,
    /// The state as the application changed it cannot be encoded, or is too large; it is as it was.
    #[error("the changed state cannot be written: {0}")]
    Unencodable(String),
    /// There is no durable subscription of this name. Open it first.
    #[error("there is no durable subscription named {0:?}")]
    UnknownCursor(String),
    /// The worker cannot be used: its state cannot be read, or the store is closed. Look at its last error.
    #[error("the worker of person {0} is held")]
    Held(PersonId),
    /// The stored value is not what was asked for, or cannot be read by this build.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The store could not do it; its error says what to do.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The house is closed or closing.
    #[error("the house is closed")]
    Stopped,
}

impl DeskError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::UnknownPerson(_)
            | Self::NotManual(_)
            | Self::NotBuried(_)
            | Self::Taken(_)
            | Self::KeyTaken(_)
            | Self::OtherState
            | Self::NoRevision(_)
            | Self::UnknownCursor(_)
            | Self::Panicked
            | Self::Unencodable(_)
            | Self::Payload(_) => Advice::FixRequest,
            Self::Held(_) => Advice::CallForHelp,
            Self::Removed => Advice::RetryLater,
            Self::Rejected(rejection) => rejection.advice(),
            Self::NoRoom(_) => Advice::RetryLater,
            Self::Store(error) => error.advice(),
            Self::Stopped => Advice::StopSending,
        }
    }
}

/// Why a runtime could not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The limits cannot be. Correct them.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// Two routines cannot both be registered. Rename one.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The store could not be read; its error says what to do.
    #[error("the store could not be read: {0}")]
    Store(#[from] StoreError),
    /// The operating system gave no thread.
    #[error("no thread could be started: {0}")]
    Thread(#[from] std::io::Error),
    /// The runtime's own thread ended before it was ready; its panic is on standard error.
    #[error("the runtime's thread ended before it was ready")]
    Died,
}

impl StartError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Limits(_) | Self::Registry(_) => Advice::FixRequest,
            Self::Store(error) => error.advice(),
            Self::Thread(_) | Self::Died => Advice::CallForHelp,
        }
    }
}

/// Why a change did not become durable: the store refused it, or could not write.
#[derive(Debug, Clone)]
pub(crate) enum CommitFailure {
    Refused(Refusal),
    Store(StoreError),
}

impl CommitFailure {
    pub(crate) fn of(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unwritten(error) => Self::Store(error),
            refusal => Self::Refused(refusal),
        }
    }

    pub(crate) fn into_send_error(self, change: Change) -> SendError {
        let drafts = change.drafts;
        match self {
            Self::Refused(Refusal::UnknownPerson(person)) => {
                SendError::Rejected { rejection: Rejection::UnknownPerson(person), drafts }
            }
            Self::Refused(Refusal::Cooling { to, until }) => {
                SendError::Rejected { rejection: Rejection::Cooling { to, until }, drafts }
            }
            Self::Refused(refusal) => {
                SendError::Rejected { rejection: Rejection::Refused(refusal.to_string()), drafts }
            }
            Self::Store(error) => SendError::Store { error, drafts },
        }
    }

    pub(crate) fn into_desk_error(self) -> DeskError {
        match self {
            Self::Refused(Refusal::UnknownPerson(person)) => DeskError::UnknownPerson(person),
            Self::Refused(Refusal::NotBuried(id)) => DeskError::NotBuried(id),
            Self::Refused(Refusal::Taken(person)) => DeskError::Taken(person),
            Self::Refused(Refusal::KeyTaken(key)) => DeskError::KeyTaken(key),
            Self::Refused(Refusal::UnknownCursor(name)) => DeskError::UnknownCursor(name),
            Self::Refused(refusal) => DeskError::Rejected(Rejection::Refused(refusal.to_string())),
            Self::Store(error) => DeskError::Store(error),
        }
    }
}
