//! A person's durable, ordered envelopes, as far as they are in memory: [`Inbox`] decides who is next.
//!
//! An envelope here is in one of four places. It is *ready* (in its lane, in the order of the moments from which it could
//! be taken), *later* (its moment has not come: it was scheduled, or failed and waits for its retry), *out* (given to a
//! routine or drained, and not yet acknowledged), or *leaving* (expired or to be dropped, until that is durable). Nothing
//! here is written: the store holds every one of these envelopes until a commit removes it, so dropping an inbox loses
//! nothing (house rule 4), and what was out is ready again after a restart.
//!
//! **Admit once.** A worker that starts while mail is in the corridor sees an id twice: once recovered, once delivered.
//! Ids are given in commit order and mail is delivered in commit order, so one integer, the watermark, tells the two
//! apart: an id at or below it was admitted before.

use crate::{Ageing, Delivery, Envelope, EnvelopeId, Filter, InboxPolicy, Priority, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// An envelope's place in its lane: the moment from which it could be taken, then its id.
type Place = (Timestamp, EnvelopeId);

/// A delivery, and the moment that says where it stands in its lane. It keeps that place through put-backs and retries.
#[derive(Debug, Clone)]
struct Slot {
    delivery: Delivery,
    since: Timestamp,
}

/// A person's waiting envelopes, in order.
#[derive(Debug, Default)]
pub struct Inbox {
    /// The highest id admitted so far.
    watermark: EnvelopeId,
    /// The places; none while there is no envelope, because most inboxes are empty most of the time.
    places: Option<Box<Places>>,
    ageing: Ageing,
    /// Whether only the control lane is taken.
    resting: bool,
}

/// The places of envelopes.
#[derive(Debug, Default)]
struct Places {
    /// What may be taken now, by lane.
    lanes: [BTreeMap<Place, Delivery>; 5],
    /// What waits for its moment.
    later: BTreeMap<Place, Slot>,
    /// What was taken and is not acknowledged.
    out: BTreeMap<EnvelopeId, Slot>,
    /// What has expired or is to be dropped, until that is durable.
    leaving: BTreeMap<EnvelopeId, Slot>,
    /// What of it has expired and was not asked for yet.
    doomed: VecDeque<Delivery>,
    /// When what waits expires, for what does.
    expiries: BTreeSet<Place>,
    /// Unscheduled mail stands in order of ids, even where the clock went back: no moment is before this one.
    floor: Timestamp,
    /// The time it was last told.
    now: Timestamp,
    /// Bytes of the bodies that are ready, later or out.
    bytes: usize,
}

static EMPTY: Places = Places {
    lanes: [const { BTreeMap::new() }; 5],
    later: BTreeMap::new(),
    out: BTreeMap::new(),
    leaving: BTreeMap::new(),
    doomed: VecDeque::new(),
    expiries: BTreeSet::new(),
    floor: Timestamp::from_micros(i64::MIN),
    now: Timestamp::from_micros(i64::MIN),
    bytes: 0,
};

impl Inbox {
    /// The inbox as the store has it: all waiting deliveries in order of ids, and the highest id the store had given.
    pub fn recovered(waiting: Vec<WaitingDelivery>, watermark: EnvelopeId) -> Self {
        let mut inbox = Self { watermark, ..Self::default() };
        for WaitingDelivery { delivery, due } in waiting {
            inbox.enter(delivery, due);
        }
        inbox
    }

    /// Lets its lanes age by this policy.
    #[must_use]
    pub fn ageing(mut self, ageing: Ageing) -> Self {
        self.ageing = ageing;
        self
    }

    /// Lets a delivered envelope in, once: false when its id was admitted before. Seed 000 `queue`.
    pub fn admit(&mut self, envelope: Arc<Envelope>) -> bool {
        if envelope.id <= self.watermark {
            return false;
        }
        self.watermark = envelope.id;
        let due = envelope.draft.not_before;
        self.enter(Delivery { envelope, attempt: 1 }, due);
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
        self.ready_count() + self.places().later.len()
    }

    /// How many envelopes could be taken now.
    pub fn ready_count(&self) -> usize {
        self.places().lanes.iter().map(BTreeMap::len).sum()
    }

    /// How many envelopes could be taken in each lane, the control lane first.
    pub fn lane_counts(&self) -> [usize; 5] {
        self.lane_counts_until(EnvelopeId(i64::MAX))
    }

    /// [`Inbox::lane_counts`] of those with ids up to this one.
    pub fn lane_counts_until(&self, until: EnvelopeId) -> [usize; 5] {
        let all = self.watermark <= until;
        Priority::ALL.map(|priority| match self.lane(priority) {
            lane if all => lane.len(),
            lane => lane.keys().filter(|place| place.1 <= until).count(),
        })
    }

    /// How many envelopes nobody takes now, whatever happens: their moment has not come, or only the control lane is
    /// taken.
    pub fn sleeping_count(&self) -> usize {
        let resting = if self.resting { self.ready_count() - self.lane(Priority::Control).len() } else { 0 };
        self.places().later.len() + resting
    }

    /// How many envelopes were taken and are not acknowledged.
    pub fn out_count(&self) -> usize {
        self.places().out.len()
    }

    /// Bytes of the bodies that wait or are out.
    pub fn bytes(&self) -> usize {
        self.places().bytes
    }

    /// Whether nothing waits, nothing is out and nothing is leaving.
    pub fn is_idle(&self) -> bool {
        self.places().is_empty()
    }

    /// Takes only the control lane from now on, or all lanes again.
    pub fn rest(&mut self, resting: bool) {
        self.resting = resting;
    }

    /// Tells it the time: what has come due is ready, in the order of its moments.
    pub fn wake(&mut self, now: Timestamp) {
        let Some(places) = self.places.as_deref_mut() else { return };
        places.now = now;
        while let Some(entry) = places.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let slot = entry.remove();
            places.make_ready(slot);
        }
    }

    /// When the next waiting envelope comes due or expires, if any does.
    pub fn next_due(&self) -> Option<Timestamp> {
        let due = self.places().later.first_key_value().map(|(place, _)| place.0);
        let expiry = self.places().expiries.first().map(|place| place.0);
        due.into_iter().chain(expiry).min()
    }

    /// The next envelope in order, without taking it.
    pub fn next(&self) -> Option<&Delivery> {
        self.lane(self.next_lane()?).values().next()
    }

    /// Takes the next envelope out.
    pub fn take(&mut self) -> Option<Delivery> {
        let lane = self.next_lane()?;
        let places = self.places.as_deref_mut()?;
        let ((since, _), delivery) = places.lanes[lane as usize].pop_first()?;
        places.hand_out(&delivery, since);
        Some(delivery)
    }

    /// Takes up to `limit` ready envelopes out, in order. They come back after a restart unless acknowledged.
    pub fn drain(&mut self, limit: usize) -> Vec<Delivery> {
        std::iter::from_fn(|| self.take()).take(limit).collect()
    }

    /// [`Inbox::drain`] of those that are meant.
    pub fn drain_by(&mut self, filter: &Filter, limit: usize) -> Vec<Delivery> {
        if *filter == Filter::all() {
            return self.drain(limit);
        }
        let mut drained = Vec::new();
        for (lane, place) in self.in_order(filter, limit, EnvelopeId(i64::MAX)) {
            let places = self.places.get_or_insert_default();
            if let Some(delivery) = places.lanes[lane as usize].remove(&place) {
                places.hand_out(&delivery, place.0);
                drained.push(delivery);
            }
        }
        drained
    }

    /// Looks at up to `limit` ready envelopes that are meant, in order, and takes none.
    pub fn peek(&self, filter: &Filter, limit: usize) -> Vec<Delivery> {
        self.peek_until(filter, limit, EnvelopeId(i64::MAX))
    }

    /// [`Inbox::peek`] at those with ids up to this one.
    pub fn peek_until(&self, filter: &Filter, limit: usize, until: EnvelopeId) -> Vec<Delivery> {
        let places = self.in_order(filter, limit, until).into_iter();
        places.filter_map(|(lane, place)| self.lane(lane).get(&place).cloned()).collect()
    }

    /// The ids of all that wait, ready or later, and are meant; what is out is not among them. In order of ids.
    pub fn waiting(&self, filter: &Filter) -> Vec<EnvelopeId> {
        let ready = self.places().lanes.iter().flat_map(BTreeMap::values);
        let all = ready.chain(self.places().later.values().map(|slot| &slot.delivery));
        let mut ids: Vec<_> = all.filter(|delivery| filter.matches(&delivery.envelope)).map(Delivery::id).collect();
        ids.sort_unstable();
        ids
    }

    /// Puts envelopes back that were taken; each stands where it stood before. Unknown ids are ignored.
    pub fn put_back(&mut self, ids: &[EnvelopeId]) -> usize {
        ids.iter().filter(|id| self.return_out(**id, |slot| (slot, None))).count()
    }

    /// Forgets envelopes that the store no longer has. Unknown ids are ignored.
    pub fn acknowledge(&mut self, ids: &[EnvelopeId]) {
        let Some(places) = self.places.as_deref_mut() else { return };
        let mut waiting = BTreeSet::new();
        for id in ids {
            match places.out.remove(id) {
                Some(slot) => places.bytes -= slot.delivery.envelope.draft.payload.len(),
                None if places.leaving.remove(id).is_some() => {}
                None => drop(waiting.insert(*id)),
            }
        }
        if !waiting.is_empty() {
            places.forget_waiting(&waiting);
        }
        if places.is_empty() {
            self.places = None;
        }
    }

    /// Moves an envelope that failed to its next attempt, not before `due`.
    pub fn retry(&mut self, id: EnvelopeId, attempt: u32, due: Timestamp) {
        self.return_out(id, |mut slot| {
            slot.delivery.attempt = attempt;
            (slot, Some(due))
        });
    }

    /// What was taken and is not acknowledged, in order of ids.
    pub fn out(&self) -> impl ExactSizeIterator<Item = &Delivery> {
        self.places().out.values().map(|slot| &slot.delivery)
    }

    /// Takes all that has expired by now out of the lanes, so that nobody is handed it, and gives up to so many of what has
    /// expired and was not given before. It is leaving until that is durable.
    pub fn expire(&mut self, limit: usize) -> Vec<Delivery> {
        let Some(places) = self.places.as_deref_mut() else { return Vec::new() };
        let mut expired = BTreeSet::new();
        while places.expiries.first().is_some_and(|place| place.0 <= places.now) {
            expired.extend(places.expiries.pop_first().map(|place| place.1));
        }
        if !expired.is_empty() {
            for slot in places.take_waiting(&expired) {
                let delivery = places.leave(slot);
                places.doomed.push_back(delivery);
            }
        }
        let given = limit.min(places.doomed.len());
        places.doomed.drain(..given).collect()
    }

    /// Takes what a full inbox has too much, the oldest of the lowest lane first, and the control lane never; it is
    /// leaving until that is durable. What is out cannot go, and counts.
    pub fn overflow(&mut self, policy: &InboxPolicy) -> Vec<EnvelopeId> {
        let mut gone = Vec::new();
        let Some(places) = self.places.as_deref_mut() else { return gone };
        for priority in Priority::ALL.into_iter().rev().filter(|priority| *priority < Priority::Control) {
            while places.is_over(policy) {
                let Some(((since, id), delivery)) = places.lanes[priority as usize].pop_first() else { break };
                places.forget_expiry(&delivery);
                places.leave(Slot { delivery, since });
                gone.push(id);
            }
            // Scheduled mail of a lane goes after what is ready in it, and before any of a higher one.
            while places.is_over(policy) {
                let mut later =
                    places.later.iter().filter(|(_, slot)| slot.delivery.envelope.draft.priority == priority);
                let Some(place) = later.next().map(|(place, _)| *place) else { break };
                let Some(slot) = places.later.remove(&place) else { break };
                places.forget_expiry(&slot.delivery);
                places.leave(slot);
                gone.push(place.1);
            }
        }
        gone
    }

    /// Lets what was leaving wait again: it could not be written that it goes.
    pub fn stay(&mut self) {
        let Some(places) = self.places.as_deref_mut() else { return };
        places.doomed.clear();
        for (_, slot) in std::mem::take(&mut places.leaving) {
            places.bytes += slot.delivery.envelope.draft.payload.len();
            places.place(slot, None);
        }
    }

    /// Whether it holds more than this policy allows.
    pub fn is_over(&self, policy: &InboxPolicy) -> bool {
        self.places().is_over(policy)
    }

    fn places(&self) -> &Places {
        self.places.as_deref().unwrap_or(&EMPTY)
    }

    fn lane(&self, priority: Priority) -> &BTreeMap<Place, Delivery> {
        &self.places().lanes[priority as usize]
    }

    /// The lane whose first envelope is next: with ageing, the one that has climbed highest, and of equals the oldest.
    fn next_lane(&self) -> Option<Priority> {
        let now = self.places.as_deref()?.now;
        if self.resting {
            return (!self.lane(Priority::Control).is_empty()).then_some(Priority::Control);
        }
        let mut filled = Priority::ALL.into_iter().filter(|priority| !self.lane(*priority).is_empty());
        match self.ageing {
            Ageing::Never => filled.next(),
            ageing => filled.max_by_key(|priority| {
                let place = self.lane(*priority).keys().next().copied().unwrap_or_default();
                (ageing.lane(*priority, place.0, now), Reverse(place))
            }),
        }
    }

    /// Up to `limit` ready envelopes that are meant, with ids up to this one, in the order in which they would be taken.
    fn in_order(&self, filter: &Filter, limit: usize, until: EnvelopeId) -> Vec<(Priority, Place)> {
        let places = Priority::ALL
            .into_iter()
            .flat_map(|priority| self.lane(priority).iter().map(move |entry| (priority, entry)));
        let meant = places.filter(|(_, (place, delivery))| place.1 <= until && filter.matches(&delivery.envelope));
        let meant = meant.map(|(priority, (place, _))| (priority, *place));
        if self.ageing == Ageing::Never {
            return meant.take(limit).collect();
        }
        let mut meant: Vec<_> = meant.collect();
        let now = self.places().now;
        meant.sort_by_key(|(priority, place)| (Reverse(self.ageing.lane(*priority, place.0, now)), *place));
        meant.truncate(limit);
        meant
    }

    /// Lets a delivery in: it gets its place in its lane for good, and waits for its moment if it has one.
    fn enter(&mut self, delivery: Delivery, due: Option<Timestamp>) {
        let places = self.places.get_or_insert_default();
        let accepted_at = delivery.envelope.accepted_at;
        let since = match delivery.envelope.draft.not_before {
            Some(moment) => moment.max(accepted_at),
            None => {
                places.floor = places.floor.max(accepted_at);
                places.floor
            }
        };
        places.bytes += delivery.envelope.draft.payload.len();
        places.place(Slot { delivery, since }, due);
    }

    fn return_out(&mut self, id: EnvelopeId, change: impl FnOnce(Slot) -> (Slot, Option<Timestamp>)) -> bool {
        let Some(places) = self.places.as_deref_mut() else { return false };
        let Some(slot) = places.out.remove(&id) else { return false };
        let (slot, due) = change(slot);
        places.place(slot, due);
        true
    }
}

impl Places {
    fn is_empty(&self) -> bool {
        let ready = self.lanes.iter().any(|lane| !lane.is_empty());
        !ready && self.later.is_empty() && self.out.is_empty() && self.leaving.is_empty()
    }

    fn is_over(&self, policy: &InboxPolicy) -> bool {
        let ready: usize = self.lanes.iter().map(BTreeMap::len).sum();
        let envelopes = ready + self.later.len() + self.out.len();
        envelopes > policy.envelopes_max || (envelopes > 1 && self.bytes > policy.bytes_max)
    }

    fn place(&mut self, slot: Slot, due: Option<Timestamp>) {
        if let Some(expiry) = slot.delivery.envelope.draft.expires_at {
            self.expiries.insert((expiry, slot.delivery.id()));
        }
        match due {
            Some(due) => drop(self.later.insert((due, slot.delivery.id()), slot)),
            None => self.make_ready(slot),
        }
    }

    fn make_ready(&mut self, Slot { delivery, since }: Slot) {
        self.lanes[delivery.envelope.draft.priority as usize].insert((since, delivery.id()), delivery);
    }

    fn hand_out(&mut self, delivery: &Delivery, since: Timestamp) {
        self.forget_expiry(delivery);
        self.out.insert(delivery.id(), Slot { delivery: delivery.clone(), since });
    }

    fn forget_expiry(&mut self, delivery: &Delivery) {
        if let Some(expiry) = delivery.envelope.draft.expires_at {
            self.expiries.remove(&(expiry, delivery.id()));
        }
    }

    fn leave(&mut self, slot: Slot) -> Delivery {
        self.bytes -= slot.delivery.envelope.draft.payload.len();
        let delivery = slot.delivery.clone();
        self.leaving.insert(delivery.id(), slot);
        delivery
    }

    fn forget_waiting(&mut self, ids: &BTreeSet<EnvelopeId>) {
        for slot in self.take_waiting(ids) {
            self.forget_expiry(&slot.delivery);
            self.bytes -= slot.delivery.envelope.draft.payload.len();
        }
    }

    /// The slow path: only ids that were never taken are looked for in every lane.
    fn take_waiting(&mut self, ids: &BTreeSet<EnvelopeId>) -> Vec<Slot> {
        let mut taken = Vec::with_capacity(ids.len());
        for lane in &mut self.lanes {
            let places: Vec<_> = lane.keys().filter(|place| ids.contains(&place.1)).copied().collect();
            for place in places {
                taken.extend(lane.remove(&place).map(|delivery| Slot { delivery, since: place.0 }));
            }
        }
        let places: Vec<_> = self.later.keys().filter(|place| ids.contains(&place.1)).copied().collect();
        taken.extend(places.iter().filter_map(|place| self.later.remove(place)));
        taken
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Draft, Overflow, chance};
    use std::time::Duration;

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
        assert_eq!(ids(&inbox.peek(&Filter::all(), 9)), [1, 3, 4]);
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
        assert_eq!(ids(&inbox.peek(&Filter::all(), 9)), [2]);
        inbox.wake(Timestamp::from_seconds(1));
        assert_eq!(inbox.next().unwrap().attempt, 2);
        assert_eq!(ids(&inbox.peek(&Filter::all(), 9)), [1, 2]);
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn later(id: i64, accepted: i64, change: impl FnOnce(Draft) -> Draft) -> Arc<Envelope> {
        let draft = change(Draft::to(1, &id).unwrap());
        Arc::new(Envelope { id: EnvelopeId(id), accepted_at: at(accepted), draft })
    }

    #[test]
    fn what_came_due_is_taken_in_the_order_of_its_moments() {
        let mut inbox = Inbox::default();
        inbox.admit(later(1, 0, |draft| draft.not_before(at(9))));
        inbox.admit(later(2, 0, |draft| draft.not_before(at(5))));
        inbox.admit(later(3, 7, |draft| draft));
        inbox.wake(at(100));
        assert_eq!(ids(&inbox.drain(9)), [2, 3, 1]);
    }

    #[test]
    fn a_clock_that_goes_back_does_not_change_the_order_of_ids() {
        let mut inbox = Inbox::default();
        for (id, accepted) in [(1, 50), (2, 10), (3, 60), (4, 20)] {
            inbox.admit(later(id, accepted, |draft| draft));
        }
        assert_eq!(ids(&inbox.drain(9)), [1, 2, 3, 4]);
    }

    #[test]
    fn ageing_lets_low_mail_pass_an_endless_stream_of_urgent_mail() {
        let mut inbox = Inbox::default().ageing(Ageing::Step(Duration::from_secs(10)));
        inbox.admit(later(1, 0, |draft| draft.priority(Priority::Low)));
        let mut taken = Vec::new();
        for second in 0..60 {
            inbox.admit(later(2 + second, second, |draft| draft.priority(Priority::Urgent)));
            inbox.wake(at(second));
            taken.extend(inbox.take().map(|delivery| delivery.id().0));
        }
        assert_eq!(taken.iter().position(|id| *id == 1), Some(30), "after three steps it is as urgent, and older");
    }

    #[test]
    fn only_the_control_lane_is_taken_while_it_rests() {
        let mut inbox = filled(&[Priority::Urgent, Priority::Control, Priority::Low]);
        inbox.rest(true);
        assert_eq!(ids(&inbox.drain(9)), [2]);
        assert_eq!(inbox.sleeping_count(), 2);
        inbox.rest(false);
        assert_eq!(ids(&inbox.drain(9)), [1, 3]);
    }

    #[test]
    fn what_expires_leaves_and_stays_when_that_cannot_be_written() {
        let mut inbox = filled(&[Priority::Normal; 2]);
        for (id, expiry) in [(3, 10), (4, 20), (5, 30)] {
            inbox.admit(later(id, 0, |draft| draft.expires_at(at(expiry)).not_before(at(5))));
        }
        assert_eq!(inbox.next_due(), Some(at(5)));
        inbox.wake(at(20));
        assert_eq!(ids(&inbox.expire(9)), [3, 4]);
        assert_eq!((inbox.message_count(), inbox.is_idle()), (3, false));
        inbox.stay();
        assert_eq!(inbox.message_count(), 5);
        inbox.acknowledge(&[EnvelopeId(3), EnvelopeId(5)]);
        assert_eq!((ids(&inbox.drain(9)), inbox.next_due()), (vec![1, 2, 4], None));
    }

    #[test]
    fn a_full_inbox_drops_the_oldest_of_the_lowest_lane() {
        let mut inbox = filled(&[Priority::Normal, Priority::Low, Priority::Control, Priority::Low, Priority::High]);
        let policy = |envelopes_max| InboxPolicy {
            envelopes_max,
            bytes_max: usize::MAX,
            overflow: Overflow::DropOldest,
            ageing: Ageing::Never,
        };
        assert_eq!(inbox.overflow(&policy(4)), [EnvelopeId(2)]);
        assert_eq!(inbox.overflow(&policy(1)), [EnvelopeId(4), EnvelopeId(1), EnvelopeId(5)]);
        assert_eq!(inbox.overflow(&policy(0)), [], "the control lane stays");
        assert_eq!(ids(&inbox.drain(9)), [3]);
    }

    #[test]
    fn mail_is_looked_at_taken_and_named_by_filters() {
        let mut inbox = Inbox::default();
        for id in 1..=6 {
            let kind = if id % 2 == 0 { "even" } else { "odd" };
            inbox.admit(later(id, id, |draft| draft.kind(kind)));
        }
        inbox.admit(later(7, 7, |draft| draft.kind("odd").not_before(at(50))));
        let odd = Filter::all().kind("odd");
        assert_eq!(ids(&inbox.peek(&odd, 2)), [1, 3]);
        assert_eq!(ids(&inbox.drain_by(&odd, 2)), [1, 3]);
        assert_eq!(inbox.waiting(&odd), [EnvelopeId(5), EnvelopeId(7)]);
        assert_eq!(ids(&inbox.drain_by(&Filter::all(), 2)), [2, 4]);
    }

    /// Random operations against a model that sorts a list: whatever happens, nothing is lost and the order holds.
    #[test]
    fn random_operations_mean_what_a_sorted_list_says() {
        for seed in 0..40 {
            let mut inbox = Inbox::default();
            let (mut waiting, mut out, mut last) = (BTreeMap::new(), BTreeMap::new(), 0);
            for round in 0..500 {
                let roll = |place: i64, sides: u64| chance(seed, &[round, place]) % sides;
                match roll(0, 6) {
                    0..=2 => {
                        last += 1;
                        let priority = Priority::ALL[roll(1, 5) as usize];
                        inbox.admit(envelope(last, priority));
                        waiting.insert((Reverse(priority), last), ());
                    }
                    3 => {
                        for delivery in inbox.drain(roll(1, 4) as usize) {
                            let ((priority, id), ()) = waiting.pop_first().unwrap();
                            assert_eq!(delivery.id().0, id);
                            out.insert(id, priority);
                        }
                    }
                    4 => {
                        let back: Vec<_> = out.keys().copied().filter(|id| roll(*id, 2) == 0).collect();
                        let ids: Vec<_> = back.iter().copied().map(EnvelopeId).collect();
                        assert_eq!(inbox.put_back(&ids), back.len());
                        waiting.extend(back.iter().map(|id| ((out.remove(id).unwrap(), *id), ())));
                    }
                    _ => {
                        let gone: Vec<_> = (1..=last).filter(|id| roll(*id, 5) == 0).collect();
                        inbox.acknowledge(&gone.iter().copied().map(EnvelopeId).collect::<Vec<_>>());
                        out.retain(|id, _| !gone.contains(id));
                        waiting.retain(|(_, id), ()| !gone.contains(id));
                    }
                }
                let order: Vec<_> = waiting.keys().map(|(_, id)| *id).collect();
                assert_eq!(ids(&inbox.peek(&Filter::all(), usize::MAX)), order);
                assert_eq!((inbox.out_count(), inbox.bytes() > 0), (out.len(), !waiting.is_empty() || !out.is_empty()));
            }
        }
    }
}
