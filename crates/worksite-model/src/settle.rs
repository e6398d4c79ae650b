//! The only place where a routine's outcome becomes a change: acks, new state, outgoing drafts and announcements of one
//! activation stand in one [`Change`], so that they become durable together or not at all (law *ack with effects*).
//!
//! What a turn did counts only when it is done. A delivery that failed leaves its envelope in the inbox for another
//! attempt, or buries it; its drafts, state and reply are thrown away. That makes "failed" mean one thing everywhere.

use crate::{
    Burial, Change, Delivery, FailureKind, Outcome, Performed, PersonId, Retry, RetryPolicy, RoutineFailure,
    Settlement, StateWrite, Timestamp,
};
use std::time::Duration;

/// What a settlement needs to know beside the deliveries.
#[derive(Debug)]
pub struct Settling<'a> {
    /// Whose worker performed them.
    pub person: PersonId,
    /// The routine that performed them.
    pub routine: &'static str,
    /// What it does about failures.
    pub retry: &'a RetryPolicy,
    /// The time.
    pub now: Timestamp,
    /// A number from the seed, for the jitter.
    pub chance: u64,
}

/// Turns performed deliveries, and the state they left, into one change.
pub fn settle(settling: &Settling<'_>, performed: Vec<(Delivery, Performed)>, state: Option<StateWrite>) -> Change {
    let mut change =
        Change { author: Some(settling.person), settled: Vec::with_capacity(performed.len()), ..Change::default() };
    for (delivery, performed) in performed {
        settling.add(&mut change, &delivery, performed);
    }
    change.states = state.into_iter().collect();
    change
}

impl Settling<'_> {
    fn add(&self, change: &mut Change, delivery: &Delivery, performed: Performed) {
        match performed.ended {
            Ok(Outcome::Done) => {
                let (envelope, routine) = (delivery.envelope.clone(), self.routine);
                let mut reply = None;
                if let Some(effects) = performed.effects {
                    change.drafts.extend(effects.drafts);
                    change.announcements.extend(effects.announcements);
                    change.writes.extend(effects.writes);
                    reply = effects.reply;
                }
                change.settled.push(Settlement { envelope, routine, reply });
            }
            Ok(Outcome::Snooze(due)) => {
                change.retried.push(Retry { id: delivery.id(), attempt: delivery.attempt, due, failure: None })
            }
            Ok(Outcome::Retry(reason)) => {
                self.fail(change, delivery, RoutineFailure::new(FailureKind::Returned, reason))
            }
            Ok(Outcome::Reject(reason)) => {
                change.buried.push(Burial::of(delivery, RoutineFailure::new(FailureKind::Returned, reason)))
            }
            Err(failure) => self.fail(change, delivery, failure),
        }
    }

    fn fail(&self, change: &mut Change, delivery: &Delivery, failure: RoutineFailure) {
        let Some(delay) = self.next_delay(delivery, &failure) else {
            return change.buried.push(Burial::of(delivery, failure));
        };
        // Somebody else's full inbox is no fault of this delivery: it is not counted against it.
        let counted = u32::from(failure.kind != FailureKind::NoRoom);
        let attempt = delivery.attempt.saturating_add(counted);
        let due = self.now.after(delay);
        change.retried.push(Retry { id: delivery.id(), attempt, due, failure: Some(failure) });
    }

    fn next_delay(&self, delivery: &Delivery, failure: &RoutineFailure) -> Option<Duration> {
        let delay = if failure.kind == FailureKind::NoRoom {
            shorten(NO_ROOM_DELAY, self.chance)
        } else {
            let retryable = failure.is_retryable() && (self.retry.retryable)(failure);
            retryable.then(|| self.retry.delay(delivery.attempt, self.chance)).flatten()?
        };
        let begins = self.now.since(delivery.envelope.accepted_at).saturating_add(delay);
        self.retry.deadline.is_none_or(|deadline| begins <= deadline).then_some(delay)
    }
}

/// How long a turn waits whose draft found an inbox full, before it is tried again; up to half less, by chance.
const NO_ROOM_DELAY: Duration = Duration::from_millis(200);

fn shorten(delay: Duration, chance: u64) -> Duration {
    delay - delay.mul_f64((chance % 1_000) as f64 / 2_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Draft, Effects, Envelope, EnvelopeId, FailureKind};
    use std::sync::Arc;

    fn delivery(attempt: u32) -> Delivery {
        let draft = Draft::to(1, &1_u64).unwrap();
        Delivery {
            envelope: Arc::new(Envelope { id: EnvelopeId(5), accepted_at: Timestamp::default(), draft }),
            attempt,
        }
    }

    fn settled(attempt: u32, performed: Performed) -> Change {
        let retry = RetryPolicy { attempts_max: 3, jitter_percent: 0, ..RetryPolicy::default() };
        let settling =
            Settling { person: PersonId(1), routine: "r", retry: &retry, now: Timestamp::from_seconds(100), chance: 0 };
        settle(&settling, vec![(delivery(attempt), performed)], None)
    }

    fn with_draft(performed: Performed) -> Performed {
        let effects = Effects { drafts: vec![Draft::to(2, &2_u64).unwrap()], ..Effects::default() };
        Performed { effects: Some(Box::new(effects)), ..performed }
    }

    #[test]
    fn what_is_done_is_acknowledged_with_its_effects() {
        let change = settled(1, with_draft(Performed::ended(Outcome::Done)));
        assert_eq!((change.settled.len(), change.drafts.len()), (1, 1));
        assert!(change.retried.is_empty() && change.buried.is_empty());
    }

    #[test]
    fn a_failure_keeps_no_effect_and_is_tried_again_later() {
        let change = settled(2, with_draft(Performed::failed(RoutineFailure::new(FailureKind::Panicked, "oh"))));
        assert!(change.drafts.is_empty() && change.settled.is_empty());
        assert_eq!((change.retried[0].attempt, change.retried[0].due), (3, Timestamp::from_seconds(103)));
    }

    #[test]
    fn the_last_attempt_buries() {
        let change = settled(3, Performed::ended(Outcome::Retry("no".into())));
        assert_eq!((change.buried[0].attempts, change.buried[0].failure.reason.as_str()), (3, "no"));
    }

    #[test]
    fn what_cannot_ever_work_is_buried_at_once() {
        for performed in [
            Performed::ended(Outcome::Reject("no".into())),
            Performed::failed(RoutineFailure::new(FailureKind::Undecodable, "no")),
        ] {
            assert_eq!(settled(1, performed).buried.len(), 1);
        }
    }

    #[test]
    fn a_full_inbox_elsewhere_counts_no_attempt_and_buries_nothing() {
        let change = settled(3, with_draft(Performed::failed(RoutineFailure::new(FailureKind::NoRoom, "full"))));
        assert_eq!((change.retried[0].attempt, change.buried.len(), change.drafts.len()), (3, 0, 0));
    }

    #[test]
    fn no_attempt_begins_after_the_deadline() {
        let policy = |deadline| RetryPolicy { deadline: Some(Duration::from_secs(deadline)), ..RetryPolicy::default() };
        for (deadline, buried) in [(150, 0), (100, 1)] {
            let retry = policy(deadline);
            let now = Timestamp::from_seconds(100);
            let settling = Settling { person: PersonId(1), routine: "r", retry: &retry, now, chance: 0 };
            let failed = Performed::failed(RoutineFailure::new(FailureKind::Returned, "no"));
            assert_eq!(settle(&settling, vec![(delivery(1), failed)], None).buried.len(), buried);
        }
    }

    #[test]
    fn a_snooze_counts_no_attempt() {
        let change = settled(3, Performed::ended(Outcome::Snooze(Timestamp::from_seconds(500))));
        assert_eq!((change.retried[0].attempt, change.retried[0].due), (3, Timestamp::from_seconds(500)));
    }
}
