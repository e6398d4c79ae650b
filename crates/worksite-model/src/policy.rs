//! How an inbox takes mail: [`InboxPolicy`] says how much it holds, what becomes of mail that finds it full
//! ([`Overflow`]), and whether low mail grows more urgent by waiting ([`Ageing`]). Values; one for each person.

use crate::{Limits, Priority, Timestamp};
use std::time::Duration;

/// What becomes of a draft whose recipient's inbox is full. Whoever sends always gets a verdict, and what is dropped is
/// counted. Mail of [`Priority::Control`] passes, whatever stands here.
///
/// A routine never waits for another's inbox, since two that fill each other's would wait for ever: where a sender from
/// outside is refused or waits, a routine's turn counts for nothing and is tried again a little later, without
/// counting an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// It is refused at once, and given back.
    #[default]
    Reject,
    /// Its sender waits for room at most so long; then it is refused. Senders are served in the order in which they came.
    WaitFor(Duration),
    /// Its sender waits for room.
    Wait,
    /// It is accepted, and the oldest envelope of the lowest lane that nobody has taken is dropped instead.
    DropOldest,
    /// It is dropped.
    DropNewest,
}

/// Whether mail grows more urgent by waiting, so that the low lane is taken even when the higher ones never run dry.
///
/// ```
/// use std::time::Duration;
/// use worksite_model::{Ageing, Priority, Timestamp};
///
/// let ageing = Ageing::Step(Duration::from_secs(60));
/// let (then, now) = (Timestamp::from_seconds(0), Timestamp::from_seconds(130));
/// assert_eq!(ageing.lane(Priority::Low, then, now), Priority::High);
/// assert_eq!(Ageing::Never.lane(Priority::Low, then, now), Priority::Low);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ageing {
    /// Lanes are strict: while higher mail comes, lower mail waits.
    #[default]
    Never,
    /// An envelope counts one lane higher for each such time it has been ready, at most as [`Priority::Urgent`]. Between
    /// equals the one that has waited longer goes first.
    Step(Duration),
}

impl Ageing {
    /// The lane in which an envelope of this priority counts now, that has been ready since then.
    pub fn lane(self, priority: Priority, since: Timestamp, now: Timestamp) -> Priority {
        let Self::Step(step) = self else { return priority };
        if priority >= Priority::Urgent {
            return priority;
        }
        let steps = now.since(since).as_micros() / step.as_micros().max(1);
        let climbed = (priority as i64).saturating_add(i64::try_from(steps).unwrap_or(i64::MAX));
        Priority::from_number(climbed.min(Priority::Urgent as i64)).unwrap_or(Priority::Urgent)
    }
}

/// How one person's inbox takes mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxPolicy {
    /// Envelopes it holds.
    pub envelopes_max: usize,
    /// Bytes of bodies it holds. A single body may always enter an empty inbox.
    pub bytes_max: usize,
    /// What becomes of mail that finds it full.
    pub overflow: Overflow,
    /// Whether low mail grows more urgent by waiting.
    pub ageing: Ageing,
}

impl InboxPolicy {
    /// The policy of a site with these limits: [`Overflow::Reject`] and [`Ageing::Never`].
    pub fn of(limits: &Limits) -> Self {
        Self {
            envelopes_max: limits.inbox_envelopes_max,
            bytes_max: limits.inbox_bytes_max,
            overflow: Overflow::default(),
            ageing: Ageing::default(),
        }
    }
}

/// What becomes of scheduled mail whose moment passed unheard: the house was closed, the worker paused or held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Misfire {
    /// It is delivered as soon as somebody can take it, in the order of its moments.
    #[default]
    Deliver,
    /// It is of no use when it is later than this, and buried as expired.
    Skip {
        /// How late it may be.
        grace: Duration,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ageing_climbs_a_lane_a_step_and_never_into_the_control_lane() {
        let (ageing, at) = (Ageing::Step(Duration::from_secs(10)), Timestamp::from_seconds);
        let lanes = [0, 9, 10, 25, 31, 1_000_000].map(|now| ageing.lane(Priority::Low, at(0), at(now)));
        use Priority::{High, Low, Normal, Urgent};
        assert_eq!(lanes, [Low, Low, Normal, High, Urgent, Urgent]);
        assert_eq!(ageing.lane(Priority::Control, at(0), at(99)), Priority::Control);
        assert_eq!(ageing.lane(Priority::High, at(99), at(0)), Priority::High, "a clock that went back ages nobody");
    }
}
