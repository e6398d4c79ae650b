//! What a sender wants delivered ([`Draft`]), and the only check of a sender ([`accept`]).

use crate::{Durable, Envelope, EnvelopeId, Limits, Misfire, Payload, PayloadError, PersonId, Rejection, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::time::Duration;

/// One order within an inbox: higher priorities are taken first, and within one priority the earliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Priority {
    /// When nothing else waits.
    Low = 0,
    /// The usual.
    #[default]
    Normal = 1,
    /// Before the usual.
    High = 2,
    /// Before everything else that people write.
    Urgent = 3,
    /// The control lane, for what keeps the house in order: taken first, also while its worker is paused; never refused
    /// or dropped for want of room.
    Control = 4,
}

impl Priority {
    /// All priorities, the most urgent first.
    pub const ALL: [Self; 5] = [Self::Control, Self::Urgent, Self::High, Self::Normal, Self::Low];

    /// The priority with this number in a file.
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| *priority as i64 == number)
    }
}

/// What a sender wants delivered. It has no id yet: the store gives one when it accepts.
///
/// ```
/// use worksite_model::{Draft, Priority};
///
/// let draft = Draft::to(2, &String::from("the printer is on fire"))?.from(1).priority(Priority::Urgent);
/// assert_eq!(draft.payload.type_name, "string");
/// # Ok::<(), worksite_model::PayloadError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Who gets it.
    pub to: PersonId,
    /// Who wrote it; nobody when it comes from outside the house.
    pub from: Option<PersonId>,
    /// The routine it is for, when the payload's type alone does not say.
    pub routine: Option<Cow<'static, str>>,
    /// In which lane it waits.
    pub priority: Priority,
    /// What it says.
    pub payload: Payload,
    /// Not to be delivered before this moment.
    pub not_before: Option<Timestamp>,
    /// Of no use from this moment on: what still waits then is counted as expired.
    pub expires_at: Option<Timestamp>,
    /// Two drafts with the same key are one message, for as long as keys are kept ([`Retention`](crate::Retention)).
    pub key: Option<String>,
    /// What kind of message it is, for people and filters (seed 000 `message_type`).
    pub kind: Option<Cow<'static, str>>,
    /// How it came (seed 000 `channel`): `email`, `chat`, …
    pub channel: Option<Cow<'static, str>>,
    /// The conversation it belongs to.
    pub thread: Option<String>,
    /// The envelope it answers.
    pub reply_to: Option<EnvelopeId>,
    /// How long nothing else with a cooldown may go from this sender to this recipient through this channel. It is for
    /// the door alone: an envelope has none.
    pub cooldown: Option<Duration>,
    /// The trace context it was sent in (a W3C `traceparent`), so that a trace goes on through commits and restarts.
    pub trace: Option<String>,
}

impl Draft {
    /// A draft of this message to this person, to be sent as it stands or said more about.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`] when the message cannot be encoded.
    pub fn to<T: Durable>(to: impl Into<PersonId>, message: &T) -> Result<Self, PayloadError> {
        Ok(Self::of(to, Payload::encode(message)?))
    }

    /// A draft of a payload that is encoded already.
    #[inline]
    pub fn of(to: impl Into<PersonId>, payload: Payload) -> Self {
        Self {
            to: to.into(),
            from: None,
            routine: None,
            priority: Priority::Normal,
            payload,
            not_before: None,
            expires_at: None,
            key: None,
            kind: None,
            channel: None,
            thread: None,
            reply_to: None,
            cooldown: None,
            trace: None,
        }
    }

    /// An answer to an envelope: to its sender, in its thread, naming it. Nothing when nobody wrote it.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`] when the message cannot be encoded.
    pub fn answer<T: Durable>(envelope: &Envelope, message: &T) -> Result<Option<Self>, PayloadError> {
        let Some(sender) = envelope.draft.from else { return Ok(None) };
        let thread = envelope.draft.thread.clone();
        Ok(Some(Self { thread, ..Self::to(sender, message)?.from(envelope.draft.to).reply_to(envelope.id) }))
    }

    /// Says who wrote it.
    #[must_use]
    pub fn from(mut self, sender: impl Into<PersonId>) -> Self {
        self.from = Some(sender.into());
        self
    }

    /// Names the routine it is for.
    #[must_use]
    pub fn routine(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.routine = Some(name.into());
        self
    }

    /// Chooses its lane.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Holds it back until this moment.
    #[must_use]
    pub fn not_before(mut self, moment: Timestamp) -> Self {
        self.not_before = Some(moment);
        self
    }

    /// Holds it back until this moment, and says what becomes of it when that passes unheard. To skip it means that it
    /// expires when the grace is over.
    #[must_use]
    pub fn scheduled(mut self, moment: Timestamp, misfire: Misfire) -> Self {
        self.not_before = Some(moment);
        if let Misfire::Skip { grace } = misfire {
            // A grace of nothing still leaves the moment itself.
            self.expires_at = Some(moment.after(grace.max(Duration::from_micros(1))));
        }
        self
    }

    /// Makes it useless from this moment on.
    #[must_use]
    pub fn expires_at(mut self, moment: Timestamp) -> Self {
        self.expires_at = Some(moment);
        self
    }

    /// Gives it an idempotency key: sent again under the same key, it is still one message.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Says what kind of message it is.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<Cow<'static, str>>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Says how it came.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<Cow<'static, str>>) -> Self {
        self.channel = Some(channel.into());
        self
    }

    /// Puts it into a conversation.
    #[must_use]
    pub fn thread(mut self, thread: impl Into<String>) -> Self {
        self.thread = Some(thread.into());
        self
    }

    /// Says in which trace context it is sent: a W3C `traceparent`.
    #[must_use]
    pub fn trace(mut self, context: impl Into<String>) -> Self {
        self.trace = Some(context.into());
        self
    }

    /// Says which envelope it answers.
    #[must_use]
    pub fn reply_to(mut self, envelope: EnvelopeId) -> Self {
        self.reply_to = Some(envelope);
        self
    }

    /// Once this is accepted, nothing else with a cooldown goes from this sender to this recipient through this channel
    /// for so long: a sender from outside is refused, and what a routine sends is not accepted, and counted. Durable: the
    /// seed wrote its cooldown before the send, so that a send that failed kept its own repetition out; here both are
    /// one commit.
    #[must_use]
    pub fn cooldown(mut self, time: Duration) -> Self {
        self.cooldown = Some(time);
        self
    }
}

/// Checks all that can be known of a draft without looking at anything but itself and the limits.
///
/// Whether the recipient is on the roster is the store's to say, in the transaction that would accept the draft.
///
/// # Errors
/// [`Rejection`]: the draft can never be accepted as it is.
pub fn accept(draft: &Draft, limits: &Limits, now: Timestamp) -> Result<(), Rejection> {
    if draft.payload.len() > limits.payload_bytes_max {
        return Err(Rejection::PayloadTooLarge { bytes: draft.payload.len(), limit: limits.payload_bytes_max });
    }
    if !draft.payload.is_intact() {
        return Err(Rejection::Damaged);
    }
    for (field, text) in [
        ("key", draft.key.as_deref()),
        ("thread", draft.thread.as_deref()),
        ("trace", draft.trace.as_deref()),
        ("kind", draft.kind.as_deref()),
        ("channel", draft.channel.as_deref()),
        ("routine", draft.routine.as_deref()),
        ("type name", Some(draft.payload.type_name.as_ref())),
    ] {
        let bytes = text.map_or(0, str::len);
        if bytes > limits.header_bytes_max {
            return Err(Rejection::HeaderTooLarge { field, bytes, limit: limits.header_bytes_max });
        }
    }
    match draft.expires_at {
        Some(expiry) if expiry <= draft.not_before.unwrap_or(now) => Err(Rejection::AlreadyExpired),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft::to(1, &String::from("hello")).unwrap()
    }

    #[test]
    fn a_good_draft_is_accepted() {
        assert_eq!(accept(&draft(), &Limits::default(), Timestamp::default()), Ok(()));
    }

    #[test]
    fn what_is_too_large_is_refused_with_its_limit() {
        let limits = Limits { payload_bytes_max: 3, header_bytes_max: 4, ..Limits::default() };
        let refused = accept(&draft(), &limits, Timestamp::default());
        assert_eq!(refused, Err(Rejection::PayloadTooLarge { bytes: 6, limit: 3 }));
        let limits = Limits { payload_bytes_max: 10, ..limits };
        let refused = accept(&draft().key("12345"), &limits, Timestamp::default());
        assert_eq!(refused, Err(Rejection::HeaderTooLarge { field: "key", bytes: 5, limit: 4 }));
    }

    #[test]
    fn a_draft_that_expires_before_it_may_be_delivered_is_refused() {
        let now = Timestamp::from_seconds(10);
        assert_eq!(accept(&draft().expires_at(now), &Limits::default(), now), Err(Rejection::AlreadyExpired));
        let late = draft().not_before(Timestamp::from_seconds(30)).expires_at(Timestamp::from_seconds(20));
        assert_eq!(accept(&late, &Limits::default(), now), Err(Rejection::AlreadyExpired));
    }

    #[test]
    fn damaged_payloads_do_not_enter() {
        let mut damaged = draft();
        damaged.payload.checksum ^= 1;
        assert_eq!(accept(&damaged, &Limits::default(), Timestamp::default()), Err(Rejection::Damaged));
    }
}
