//! Which envelopes are meant: [`Filter`], for looking at mail, taking it and removing it. A value; all parts must fit.

use crate::{Envelope, PersonId, Priority, Timestamp};

/// Which envelopes are meant. An empty filter means all; each part that is set narrows it.
///
/// ```
/// use worksite_model::{Draft, Filter, Priority};
///
/// let filter = Filter::all().kind("report").from(7).at_least(Priority::High);
/// let draft = Draft::to(1, &1_u64)?.kind("report").from(7).priority(Priority::Urgent);
/// assert!(filter.fits(&draft, Default::default()));
/// # Ok::<(), worksite_model::PayloadError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// Of one of these kinds; of any when there is none here.
    pub kinds: Vec<String>,
    /// From one of these senders; from any when there is none here.
    pub senders: Vec<PersonId>,
    /// For one of these recipients; for any when there is none here.
    pub recipients: Vec<PersonId>,
    /// Through one of these channels; through any when there is none here.
    pub channels: Vec<String>,
    /// Of this thread.
    pub thread: Option<String>,
    /// Of this priority or a higher one.
    pub priority_min: Option<Priority>,
    /// Of this priority or a lower one.
    pub priority_max: Option<Priority>,
    /// Accepted at this moment or later.
    pub accepted_from: Option<Timestamp>,
    /// Accepted before this moment.
    pub accepted_before: Option<Timestamp>,
}

impl Filter {
    /// All envelopes.
    pub fn all() -> Self {
        Self::default()
    }

    /// Of this kind, or another that was named.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// From this sender, or another that was named.
    #[must_use]
    pub fn from(mut self, sender: impl Into<PersonId>) -> Self {
        self.senders.push(sender.into());
        self
    }

    /// For this recipient, or another that was named.
    #[must_use]
    pub fn to(mut self, recipient: impl Into<PersonId>) -> Self {
        self.recipients.push(recipient.into());
        self
    }

    /// Through this channel, or another that was named.
    #[must_use]
    pub fn channel(mut self, channel: impl Into<String>) -> Self {
        self.channels.push(channel.into());
        self
    }

    /// Of this thread.
    #[must_use]
    pub fn thread(mut self, thread: impl Into<String>) -> Self {
        self.thread = Some(thread.into());
        self
    }

    /// Of this priority.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        self.at_least(priority).at_most(priority)
    }

    /// Of this priority or a higher one.
    #[must_use]
    pub fn at_least(mut self, priority: Priority) -> Self {
        self.priority_min = Some(priority);
        self
    }

    /// Of this priority or a lower one.
    #[must_use]
    pub fn at_most(mut self, priority: Priority) -> Self {
        self.priority_max = Some(priority);
        self
    }

    /// Accepted at this moment or later.
    #[must_use]
    pub fn accepted_from(mut self, moment: Timestamp) -> Self {
        self.accepted_from = Some(moment);
        self
    }

    /// Accepted before this moment.
    #[must_use]
    pub fn accepted_before(mut self, moment: Timestamp) -> Self {
        self.accepted_before = Some(moment);
        self
    }

    /// Whether this envelope is meant.
    pub fn matches(&self, envelope: &Envelope) -> bool {
        self.fits(&envelope.draft, envelope.accepted_at)
    }

    /// Whether an envelope of this draft, accepted then, is meant.
    pub fn fits(&self, draft: &crate::Draft, accepted_at: Timestamp) -> bool {
        let named = |names: &[String], name: Option<&str>| {
            names.is_empty() || name.is_some_and(|name| names.iter().any(|named| named == name))
        };
        named(&self.kinds, draft.kind.as_deref())
            && named(&self.channels, draft.channel.as_deref())
            && (self.senders.is_empty() || draft.from.is_some_and(|sender| self.senders.contains(&sender)))
            && (self.recipients.is_empty() || self.recipients.contains(&draft.to))
            && self.thread.as_ref().is_none_or(|thread| draft.thread.as_ref() == Some(thread))
            && self.priority_min.is_none_or(|least| draft.priority >= least)
            && self.priority_max.is_none_or(|most| draft.priority <= most)
            && self.accepted_from.is_none_or(|from| accepted_at >= from)
            && self.accepted_before.is_none_or(|before| accepted_at < before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draft;

    #[test]
    fn each_part_narrows() {
        let at = Timestamp::from_seconds(100);
        let draft =
            Draft::to(1, &1_u64).unwrap().kind("a").from(7).channel("chat").thread("t").priority(Priority::High);
        let all = Filter::all;
        let fitting = [
            all(),
            all().kind("b").kind("a"),
            all().from(7).to(1),
            all().channel("chat").thread("t"),
            all().priority(Priority::High),
            all().at_least(Priority::Normal).at_most(Priority::Urgent),
            all().accepted_from(at).accepted_before(Timestamp::from_seconds(101)),
        ];
        assert!(fitting.iter().all(|filter| filter.fits(&draft, at)));
        let others = [
            all().kind("b"),
            all().from(8),
            all().to(2),
            all().channel("mail"),
            all().thread("u"),
            all().at_least(Priority::Urgent),
            all().at_most(Priority::Normal),
            all().accepted_before(at),
            all().accepted_from(Timestamp::from_seconds(101)),
        ];
        assert!(others.iter().all(|filter| !filter.fits(&draft, at)));
        let bare = Draft::to(1, &1_u64).unwrap();
        assert!(!all().kind("a").fits(&bare, at) && !all().from(7).fits(&bare, at), "what has no kind is of none");
    }
}
