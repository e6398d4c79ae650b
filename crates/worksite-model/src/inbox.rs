//! A person's durable, ordered envelopes, as far as they are in memory: [`Inbox`] decides who is next.
//!
//! An envelope here is in one of three places. It is *ready* (ordered by lane, then id), *later* (its moment has not
//! come: it was scheduled, or failed and waits for its retry), or *out* (given to a routine or drained, and not yet
//! acknowledged). Nothing here is written: the store holds every one of these envelopes until a commit removes it, so
//! dropping an inbox loses nothing (house rule 4), and what was out is ready again after a restart.
//!
//! **Admit once.** A worker that starts while mail is in the corridor sees an id twice: once recovered, once delivered.
//! Ids are given in commit order and mail is delivered in commit order, so one integer, the watermark, tells the two
//! apart: an id at or below it was admitted before.

use crate::{Delivery, Envelope, EnvelopeId, Priority, Timestamp};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The order in which ready envelopes are taken: the most urgent lane first, then the earliest.
type Place = (Reverse<Priority>, EnvelopeId);

/// A person's waiting envelopes, in order.
#[derive(Debug, Default)]
pub struct Inbox {
    /// The highest id admitted so far.
    watermark: EnvelopeId,
    /// What may be taken now.
    ready: BTreeMap<Place, Delivery>,
    /// What waits for its moment.
    later: BTreeMap<(Timestamp, EnvelopeId), Delivery>,
    /// What was taken and is not acknowledged.
    out: BTreeMap<EnvelopeId, Delivery>,
}

impl Inbox {
    /// The inbox as the store has it: all waiting deliveries, and the highest id the store had given by then.
    pub fn recovered(waiting: Vec<WaitingDelivery>, watermark: EnvelopeId) -> Self {
        let mut inbox = Self { watermark, ..Self::default() };
        for WaitingDelivery { delivery, due } in waiting {
            inbox.place(delivery, due);
        }
        inbox
    }

    /// Lets a delivered envelope in, once: false when its id was admitted before. Seed 000 `queue`.
    pub fn admit(&mut self, envelope: Arc<Envelope>) -> bool {
        if envelope.id <= self.watermark {
            return false;
        }
        self.watermark = envelope.id;
        let due = envelope.draft.not_before;
        self.place(Delivery { envelope, attempt: 1 }, due);
        true
    }

    /// [`Inbox::admit`] under the name of seed 000.
    pub fn queue(&mut self, envelope: Arc<Envelope>) -> bool {
        self.admit(envelope)
    }

    /// The highest id admitted so far.
    pub fn watermark(&self) -> EnvelopeId {
        self.watermark
    }

    /// Whether anything waits that could be taken, now or later.
    pub fn has_messages(&self) -> bool {
        self.message_count() > 0
    }

    /// How many envelopes wait to be taken, now or later. What is out does not count.
    pub fn message_count(&self) -> usize {
        self.ready.len() + self.later.len()
    }

    /// How many envelopes could be taken now.
    pub fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// How many envelopes were taken and are not acknowledged.
    pub fn out_count(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing waits and nothing is out.
    pub fn is_idle(&self) -> bool {
        self.message_count() == 0 && self.out.is_empty()
    }

    /// Makes ready what has come due by `now`.
    pub fn wake(&mut self, now: Timestamp) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let delivery = entry.remove();
            self.ready.insert(place_of(&delivery), delivery);
        }
    }

    /// When the next waiting envelope comes due, if any waits for a moment.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.later.first_key_value().map(|((due, _), _)| *due)
    }

    /// The next envelope in order, without taking it.
    pub fn next(&self) -> Option<&Delivery> {
        self.ready.values().next()
    }

    /// Takes the next envelope out.
    pub fn take(&mut self) -> Option<Delivery> {
        let (_, delivery) = self.ready.pop_first()?;
        self.out.insert(delivery.id(), delivery.clone());
        Some(delivery)
    }

    /// Takes up to `limit` ready envelopes out, in order. They come back after a restart unless acknowledged.
    pub fn drain(&mut self, limit: usize) -> Vec<Delivery> {
        std::iter::from_fn(|| self.take()).take(limit).collect()
    }

    /// Looks at up to `limit` ready envelopes, in order, and takes none.
    pub fn peek(&self, limit: usize) -> Vec<Delivery> {
        self.ready.values().take(limit).cloned().collect()
    }

    /// Puts envelopes back that were taken; each stands where it stood before. Unknown ids are ignored.
    pub fn put_back(&mut self, ids: &[EnvelopeId]) -> usize {
        ids.iter().filter(|id| self.return_out(**id, |delivery| (delivery, None))).count()
    }

    /// Forgets envelopes that the store no longer has. Unknown ids are ignored.
    pub fn acknowledge(&mut self, ids: &[EnvelopeId]) {
        for id in ids {
            if self.out.remove(id).is_none() {
                self.forget_waiting(*id);
            }
        }
    }

    /// Moves an envelope that failed to its next attempt, not before `due`.
    pub fn retry(&mut self, id: EnvelopeId, attempt: u32, due: Timestamp) {
        self.return_out(id, |delivery| (Delivery { attempt, ..delivery }, Some(due)));
    }

    /// What was taken and is not acknowledged, in order of ids.
    pub fn out(&self) -> impl ExactSizeIterator<Item = &Delivery> {
        self.out.values()
    }

    fn place(&mut self, delivery: Delivery, due: Option<Timestamp>) {
        match due {
            Some(due) => self.later.insert((due, delivery.id()), delivery),
            None => self.ready.insert(place_of(&delivery), delivery),
        };
    }

    fn return_out(&mut self, id: EnvelopeId, change: impl FnOnce(Delivery) -> (Delivery, Option<Timestamp>)) -> bool {
        let Some(delivery) = self.out.remove(&id) else { return false };
        let (delivery, due) = change(delivery);
        self.place(delivery, due);
        true
    }

    /// The slow path of an acknowledgement: only an id that was never taken is looked for in every lane.
    fn forget_waiting(&mut self, id: EnvelopeId) {
        for priority in Priority::ALL {
            if self.ready.remove(&(Reverse(priority), id)).is_some() {
                return;
            }
        }
        self.later.retain(|(_, waiting), _| *waiting != id);
    }
}

/// A delivery as the store remembers it: with the moment it waits for, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingDelivery {
    /// What waits, and its next attempt.
    pub delivery: Delivery,
    /// Not to be taken before this moment.
    pub due: Option<Timestamp>,
}

fn place_of(delivery: &Delivery) -> Place {
    (Reverse(delivery.envelope.draft.priority), delivery.id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Draft;

    fn envelope(id: i64, priority: Priority) -> Arc<Envelope> {
        let draft = Draft::to(1, &id).unwrap().priority(priority);
        Arc::new(Envelope { id: EnvelopeId(id), accepted_at: Timestamp::default(), draft })
    }

    fn filled(priorities: &[Priority]) -> Inbox {
        let mut inbox = Inbox::default();
        for (index, priority) in priorities.iter().enumerate() {
            assert!(inbox.admit(envelope(index as i64 + 1, *priority)));
        }
        inbox
    }

    fn ids(deliveries: &[Delivery]) -> Vec<i64> {
        deliveries.iter().map(|delivery| delivery.id().0).collect()
    }

    #[test]
    fn mail_of_one_lane_is_first_in_first_out() {
        let mut inbox = filled(&[Priority::Normal; 3]);
        assert_eq!(inbox.message_count(), 3);
        assert_eq!(ids(&inbox.drain(usize::MAX)), [1, 2, 3]);
        assert!(!inbox.has_messages());
        assert!(inbox.drain(5).is_empty());
    }

    #[test]
    fn the_more_urgent_lane_is_taken_first() {
        let mut inbox = filled(&[Priority::Low, Priority::Normal, Priority::Urgent, Priority::High, Priority::Urgent]);
        assert_eq!(ids(&inbox.drain(9)), [3, 5, 4, 2, 1]);
    }

    #[test]
    fn an_id_is_admitted_once() {
        let mut inbox = Inbox::recovered(vec![], EnvelopeId(7));
        assert!(!inbox.admit(envelope(7, Priority::Normal)));
        assert!(inbox.admit(envelope(9, Priority::Normal)));
        assert!(!inbox.admit(envelope(8, Priority::Normal)));
        assert_eq!(inbox.message_count(), 1);
    }

    #[test]
    fn put_back_keeps_the_order() {
        let mut inbox = filled(&[Priority::Normal; 4]);
        let drained = inbox.drain(3);
        assert_eq!(ids(&drained), [1, 2, 3]);
        assert_eq!(inbox.put_back(&[EnvelopeId(3), EnvelopeId(1), EnvelopeId(99)]), 2);
        assert_eq!(ids(&inbox.peek(9)), [1, 3, 4]);
        inbox.acknowledge(&[EnvelopeId(2), EnvelopeId(3), EnvelopeId(42)]);
        assert_eq!((inbox.out_count(), inbox.message_count()), (0, 2));
    }

    #[test]
    fn a_scheduled_envelope_waits_for_its_moment() {
        let mut inbox = Inbox::default();
        let draft = Draft::to(1, &1_u64).unwrap().not_before(Timestamp::from_seconds(5));
        inbox.admit(Arc::new(Envelope { id: EnvelopeId(1), accepted_at: Timestamp::default(), draft }));
        inbox.admit(envelope(2, Priority::Normal));
        inbox.wake(Timestamp::from_seconds(4));
        assert_eq!(ids(&inbox.drain(9)), [2]);
        assert_eq!(inbox.next_due(), Some(Timestamp::from_seconds(5)));
        inbox.wake(Timestamp::from_seconds(5));
        assert_eq!(ids(&inbox.drain(9)), [1]);
    }

    #[test]
    fn a_failed_envelope_returns_with_its_next_attempt() {
        let mut inbox = filled(&[Priority::Normal; 2]);
        let first = inbox.take().unwrap();
        inbox.retry(first.id(), 2, Timestamp::from_seconds(1));
        assert_eq!(ids(&inbox.peek(9)), [2]);
        inbox.wake(Timestamp::from_seconds(1));
        assert_eq!(inbox.next().unwrap().attempt, 2);
        assert_eq!(ids(&inbox.peek(9)), [1, 2]);
    }
}
