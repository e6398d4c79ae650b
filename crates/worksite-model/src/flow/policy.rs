//! When a routine of a flow gets its turn, and with which data: [`ActivationPolicy`], a value beside the routine.
//!
//! A policy is asked whenever something came, whenever the routine has ended a turn, and at the moment it named itself.
//! So a backlog drains without another arrival, and a timer is a moment and never a poll.

use crate::flow::slot::{Item, SlotQueue};
use crate::flow::{JobId, Slot, Taken};
use crate::{Durable, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// When a routine gets its turn, and with which data. Default: [`ActivationPolicy::immediate`].
///
/// ```
/// use std::time::Duration;
/// use worksite_model::flow::ActivationPolicy;
///
/// let hundreds = ActivationPolicy::batch(100).flush_after(Duration::from_secs(5)).flush_on_shutdown();
/// assert_eq!(hundreds.name(), "batch");
/// ```
#[derive(Clone, Default)]
pub struct ActivationPolicy {
    rule: Rule,
    correlated: bool,
    flush: Flush,
}

#[derive(Clone, Default)]
enum Rule {
    #[default]
    Immediate,
    Any,
    AllReady,
    Batch(usize),
    Interval(Duration),
    NOf(usize),
    Debounce {
        quiet: Duration,
        at_most: Option<Duration>,
    },
    Window(Duration),
    Grouped(Key),
    Custom(Check),
}

type Key = Arc<dyn Fn(&Item) -> Option<String> + Send + Sync>;
type Check = Arc<dyn Fn(&PolicyView<'_>) -> Option<Activate> + Send + Sync>;

/// When data are given to the routine although the rule does not hold.
#[derive(Clone, Copy, Default)]
struct Flush {
    idle: bool,
    shutdown: bool,
    after: Option<Duration>,
}

impl ActivationPolicy {
    /// A turn for each datum, at once: five posts are five activations, each for its own job. Seed 001 hands over all data
    /// that came meanwhile, of which its own programs look at the first; for all of them there is
    /// [`ActivationPolicy::any`].
    pub fn immediate() -> Self {
        Self::default()
    }

    /// As soon as any slot has data, with all data of all slots.
    pub fn any() -> Self {
        Self::of(Rule::Any)
    }

    /// As soon as every slot has data, with one of each. Those that came first are paired, unless it is
    /// [correlated](ActivationPolicy::correlated).
    pub fn all_ready() -> Self {
        Self::of(Rule::AllReady)
    }

    /// As soon as every slot has so many, with so many of each.
    pub fn batch(size: usize) -> Self {
        Self::of(Rule::Batch(size.max(1)))
    }

    /// At most once in such a time, with all data; what comes in between waits for the next moment, which comes by itself.
    pub fn interval(time: Duration) -> Self {
        Self::of(Rule::Interval(time))
    }

    /// As soon as so many of the slots have data, with one of each that has.
    pub fn n_of(slots: usize) -> Self {
        Self::of(Rule::NOf(slots.max(1)))
    }

    /// When nothing has come for such a time, with all data.
    pub fn debounce(quiet: Duration) -> Self {
        Self::of(Rule::Debounce { quiet, at_most: None })
    }

    /// [`ActivationPolicy::debounce`] that waits no longer than this for the first datum.
    #[must_use]
    pub fn at_most(mut self, time: Duration) -> Self {
        if let Rule::Debounce { at_most, .. } = &mut self.rule {
            *at_most = Some(time);
        }
        self
    }

    /// Such a time after the first datum came, with all that came in it.
    pub fn window(time: Duration) -> Self {
        Self::of(Rule::Window(time))
    }

    /// When a datum with another key comes to the first slot, with those before it, which all have one: days of mails, for
    /// instance. The last group goes by a flush; one that is larger than the slot goes in parts.
    pub fn grouped<T: Durable + Sync>(key: impl Fn(&T) -> String + Send + Sync + 'static) -> Self {
        let key: Key = Arc::new(move |item| Some(key(&*Taken::<T>::new(&item.datum)?)));
        Self::of(Rule::Grouped(key))
    }

    /// When the function says so. It is a part of the routine: a panic in it is a failure of the activation.
    pub fn custom(check: impl Fn(&PolicyView<'_>) -> Option<Activate> + Send + Sync + 'static) -> Self {
        Self::of(Rule::Custom(Arc::new(check)))
    }

    /// Data are only joined with data of the same job. For [`ActivationPolicy::all_ready`] and
    /// [`ActivationPolicy::n_of`].
    #[must_use]
    pub fn correlated(mut self) -> Self {
        self.correlated = true;
        self
    }

    /// Hands over what there is when the worker has nothing else to do.
    #[must_use]
    pub fn flush_when_idle(mut self) -> Self {
        self.flush.idle = true;
        self
    }

    /// Hands over what there is when the house shuts down in order.
    #[must_use]
    pub fn flush_on_shutdown(mut self) -> Self {
        self.flush.shutdown = true;
        self
    }

    /// Hands over what there is when the first datum has waited so long.
    #[must_use]
    pub fn flush_after(mut self, time: Duration) -> Self {
        self.flush.after = Some(time);
        self
    }

    /// Its name, as in a definition.
    pub fn name(&self) -> &'static str {
        match self.rule {
            Rule::Immediate => "immediate",
            Rule::Any => "any",
            Rule::AllReady => "all_ready",
            Rule::Batch(_) => "batch",
            Rule::Interval(_) => "interval",
            Rule::NOf(_) => "n_of",
            Rule::Debounce { .. } => "debounce",
            Rule::Window(_) => "window",
            Rule::Grouped(_) => "grouped",
            Rule::Custom(_) => "custom",
        }
    }

    fn of(rule: Rule) -> Self {
        Self { rule, ..Self::default() }
    }

    /// What is wrong with it at a routine with these slots, if anything.
    pub(crate) fn trouble(&self, slots: &[Slot]) -> Option<String> {
        let smallest = slots.iter().map(|slot| slot.data_max).min().unwrap_or(usize::MAX);
        match self.rule {
            Rule::Batch(size) if size > smallest => Some(format!("a batch of {size} never fits into {smallest} data")),
            Rule::NOf(count) if count > slots.len() => {
                Some(format!("{count} of {} slots are never ready", slots.len()))
            }
            _ if self.correlated && !matches!(self.rule, Rule::AllReady | Rule::NOf(_)) => {
                Some(format!("{} does not join, and cannot be correlated", self.name()))
            }
            _ => None,
        }
    }

    /// Whether the rule takes data one by one as they come, so that nothing else has to be looked at.
    pub(crate) fn is_immediate(&self) -> bool {
        matches!(self.rule, Rule::Immediate)
    }

    /// Whether the moment of the last turn has to outlive the worker.
    pub(crate) fn is_interval(&self) -> bool {
        matches!(self.rule, Rule::Interval(_))
    }

    pub(crate) fn flushes(&self) -> bool {
        self.flush.idle || self.flush.shutdown
    }

    /// Whose turn it is: what to take, or until when to wait, unless something comes before.
    pub(crate) fn decide(&self, view: &PolicyView<'_>) -> Decision {
        if view.is_empty() {
            return Decision::Wait(None);
        }
        let ruled = if self.correlated { self.decide_by_job(view) } else { self.rule(view) };
        let Decision::Wait(until) = ruled else { return ruled };
        let flushed = Activate { note: None, take: Take::All, flushed: true };
        if (self.flush.idle && view.idle) || (self.flush.shutdown && view.closing) {
            return Decision::Take(flushed);
        }
        let Some(first) = self.flush.after.and_then(|time| Some(view.first_at()?.after(time))) else {
            return Decision::Wait(until);
        };
        if first <= view.now {
            return Decision::Take(flushed);
        }
        Decision::Wait(Some(until.map_or(first, |until| until.min(first))))
    }

    fn rule(&self, view: &PolicyView<'_>) -> Decision {
        let ready = || view.slots.iter().filter(|slot| !slot.is_empty()).count();
        match &self.rule {
            Rule::Immediate => Decision::Take(Activate::of(Take::One(view.oldest()))),
            Rule::Any => Decision::Take(Activate::all()),
            Rule::AllReady if ready() == view.slots.len() => Decision::Take(Activate::of(Take::OneEach)),
            Rule::NOf(count) if ready() >= *count => Decision::Take(Activate::of(Take::OneEach)),
            Rule::Batch(size) if (0..view.slots.len()).all(|slot| view.count(slot) >= *size) => {
                Decision::Take(Activate::of(Take::Each(*size)))
            }
            Rule::AllReady | Rule::NOf(_) | Rule::Batch(_) => Decision::Wait(None),
            Rule::Interval(time) => view.at(view.last.map_or(view.now, |last| last.after(*time))),
            Rule::Window(time) => view.at(view.first_at().unwrap_or(view.now).after(*time)),
            Rule::Debounce { quiet, at_most } => {
                let quiet = view.last_at().unwrap_or(view.now).after(*quiet);
                let first = at_most.zip(view.first_at()).map(|(time, first)| first.after(time));
                view.at(first.map_or(quiet, |first| first.min(quiet)))
            }
            Rule::Grouped(key) => {
                let mut keys = view.slots.first().into_iter().flat_map(|slot| slot.iter()).map(|item| key(item));
                let first = keys.next();
                match keys.position(|key| first.as_ref() != Some(&key)) {
                    Some(others) => Decision::Take(Activate::take([others + 1])),
                    // A group that is larger than the slot goes in parts: what would end it could not come in.
                    None if view.is_full(0) => Decision::Take(Activate::take([view.count(0)])),
                    None => Decision::Wait(None),
                }
            }
            Rule::Custom(check) => check(view).map_or(Decision::Wait(None), Decision::Take),
        }
    }

    /// The first job of which enough slots have data.
    fn decide_by_job(&self, view: &PolicyView<'_>) -> Decision {
        let wanted = if let Rule::NOf(count) = self.rule { count } else { view.slots.len() };
        let mut places: BTreeMap<JobId, Vec<(usize, usize)>> = BTreeMap::new();
        let mut best: Option<(Timestamp, JobId)> = None;
        for (slot, queue) in view.slots.iter().enumerate() {
            for (place, item) in queue.iter().enumerate().take(view.count(slot)) {
                for job in item.jobs.ids() {
                    let found = places.entry(*job).or_default();
                    if found.iter().all(|(known, _)| *known != slot) {
                        found.push((slot, place));
                    }
                    if found.len() >= wanted {
                        best = Some(best.map_or((item.at, *job), |best| best.min((item.at, *job))));
                    }
                }
            }
        }
        match best.and_then(|(_, job)| places.remove(&job)) {
            Some(places) => Decision::Take(Activate::of(Take::Places(places))),
            None => Decision::Wait(None),
        }
    }
}

impl fmt::Debug for ActivationPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self.rule {
            Rule::Batch(count) | Rule::NOf(count) => write!(f, "({count})"),
            Rule::Interval(time) | Rule::Window(time) | Rule::Debounce { quiet: time, .. } => write!(f, "({time:?})"),
            _ => Ok(()),
        }
    }
}

/// What a policy may look at.
pub struct PolicyView<'a> {
    pub(crate) specs: &'a [Slot],
    pub(crate) slots: &'a [SlotQueue],
    pub(crate) now: Timestamp,
    pub(crate) last: Option<Timestamp>,
    pub(crate) idle: bool,
    pub(crate) closing: bool,
}

impl PolicyView<'_> {
    /// The time.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// When the routine had its last turn: in this life of its worker, or ever, if it has an interval.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Whether the worker has nothing else to do.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// How many slots there are.
    pub fn slot_count(&self) -> usize {
        self.slots.len()
    }

    /// How many data a slot has, by its place: at most as many as it holds.
    pub fn count(&self, slot: usize) -> usize {
        let held = self.specs.get(slot).map_or(usize::MAX, |spec| spec.data_max);
        self.slots.get(slot).map_or(0, |slot| slot.len().min(held))
    }

    /// The data of a slot, the oldest first, as far as they are of this type.
    pub fn peek<T: Durable + Sync>(&self, slot: usize) -> Vec<Taken<T>> {
        let items = self.slots.get(slot).into_iter().flat_map(SlotQueue::iter).take(self.count(slot));
        items.filter_map(|item| Taken::new(&item.datum)).collect()
    }

    /// When the oldest datum came.
    pub fn first_at(&self) -> Option<Timestamp> {
        self.slots.iter().filter_map(|slot| slot.first()).map(|item| item.at).min()
    }

    /// When the newest datum came.
    pub fn last_at(&self) -> Option<Timestamp> {
        self.slots.iter().filter_map(|slot| slot.last()).map(|item| item.at).max()
    }

    fn is_full(&self, slot: usize) -> bool {
        self.specs.get(slot).is_some_and(|spec| self.count(slot) >= spec.data_max)
    }

    fn is_empty(&self) -> bool {
        self.slots.iter().all(SlotQueue::is_empty)
    }

    /// The slot with the oldest datum.
    fn oldest(&self) -> usize {
        let firsts = self.slots.iter().enumerate().filter_map(|(place, slot)| Some((slot.first()?.at, place)));
        firsts.min().map_or(0, |(_, place)| place)
    }

    fn at(&self, moment: Timestamp) -> Decision {
        if moment <= self.now { Decision::Take(Activate::all()) } else { Decision::Wait(Some(moment)) }
    }
}

/// What a turn gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activate {
    pub(crate) take: Take,
    pub(crate) note: Option<String>,
    pub(crate) flushed: bool,
}

impl Activate {
    /// All data of all slots.
    pub fn all() -> Self {
        Self::of(Take::All)
    }

    /// So many of each slot, in order; what a slot does not have is left out.
    pub fn take(counts: impl Into<Vec<usize>>) -> Self {
        Self::of(Take::Counts(counts.into()))
    }

    /// Says something to the routine's logic.
    #[must_use]
    pub fn saying(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    fn of(take: Take) -> Self {
        Self { take, note: None, flushed: false }
    }
}

/// Which data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Take {
    One(usize),
    OneEach,
    Each(usize),
    All,
    Counts(Vec<usize>),
    /// These places of these slots, one a slot.
    Places(Vec<(usize, usize)>),
}

/// Whose turn it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Take(Activate),
    /// Nobody's, until this moment.
    Wait(Option<Timestamp>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{DataType, JobSet};

    fn queue(data: &[(i64, i64)]) -> SlotQueue {
        let mut queue = SlotQueue::default();
        for (job, at) in data {
            let jobs = JobSet::One(JobId(*job));
            let at = Timestamp::from_seconds(*at);
            queue.push(Item { datum: Arc::new(*job), jobs, at, row: None, volatile: false });
        }
        queue
    }

    fn decide(policy: &ActivationPolicy, slots: &[&[(i64, i64)]], now: i64) -> Decision {
        decide_at(policy, slots, now, None, false)
    }

    fn decide_at(
        policy: &ActivationPolicy,
        slots: &[&[(i64, i64)]],
        now: i64,
        last: Option<i64>,
        idle: bool,
    ) -> Decision {
        let specs: Vec<_> = slots.iter().map(|_| Slot::new("s".into(), DataType::of::<i64>())).collect();
        let slots: Vec<_> = slots.iter().map(|slot| queue(slot)).collect();
        let (now, last) = (Timestamp::from_seconds(now), last.map(Timestamp::from_seconds));
        policy.decide(&PolicyView { specs: &specs, slots: &slots, now, last, idle, closing: false })
    }

    fn takes(take: Take) -> Decision {
        Decision::Take(Activate::of(take))
    }

    fn until(at: i64) -> Decision {
        Decision::Wait(Some(Timestamp::from_seconds(at)))
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn immediate_takes_the_oldest_and_any_takes_all() {
        assert_eq!(decide(&ActivationPolicy::immediate(), &[&[(1, 5)], &[(2, 3), (3, 4)]], 9), takes(Take::One(1)));
        assert_eq!(decide(&ActivationPolicy::immediate(), &[&[], &[]], 9), Decision::Wait(None));
        assert_eq!(decide(&ActivationPolicy::any(), &[&[], &[(2, 3)]], 9), takes(Take::All));
    }

    #[test]
    fn joins_wait_for_their_slots() {
        let all = ActivationPolicy::all_ready();
        assert_eq!(decide(&all, &[&[(1, 0)], &[]], 9), Decision::Wait(None));
        assert_eq!(decide(&all, &[&[(1, 0)], &[(2, 0)]], 9), takes(Take::OneEach));
        let two = ActivationPolicy::n_of(2);
        assert_eq!(decide(&two, &[&[(1, 0)], &[], &[(2, 0)]], 9), takes(Take::OneEach));
        assert_eq!(decide(&two, &[&[(1, 0)], &[], &[]], 9), Decision::Wait(None));
    }

    #[test]
    fn a_correlated_join_pairs_data_of_one_job() {
        let join = ActivationPolicy::all_ready().correlated();
        assert_eq!(decide(&join, &[&[(1, 0)], &[(2, 0)]], 9), Decision::Wait(None));
        let mixed: &[&[(i64, i64)]] = &[&[(1, 0), (2, 0)], &[(3, 0), (2, 0)]];
        assert_eq!(decide(&join, mixed, 9), takes(Take::Places(vec![(0, 1), (1, 1)])));
    }

    #[test]
    fn a_batch_is_whole_unless_it_is_flushed() {
        let two = ActivationPolicy::batch(2);
        assert_eq!(decide(&two, &[&[(1, 0)]], 9), Decision::Wait(None));
        assert_eq!(decide(&two, &[&[(1, 0), (2, 0), (3, 0)]], 9), takes(Take::Each(2)));
        assert_eq!(decide(&two, &[&[(1, 0), (2, 0)], &[(3, 0)]], 9), Decision::Wait(None), "of both");
        let flushed = Decision::Take(Activate { take: Take::All, note: None, flushed: true });
        let late = two.clone().flush_after(SECOND * 5);
        assert_eq!((decide(&late, &[&[(1, 0)]], 4), decide(&late, &[&[(1, 0)]], 5)), (until(5), flushed));
        let idle = two.flush_when_idle();
        assert!(matches!(decide_at(&idle, &[&[(1, 0)]], 0, None, true), Decision::Take(_)));
        assert_eq!(decide_at(&idle, &[&[(1, 0)]], 0, None, false), Decision::Wait(None));
    }

    #[test]
    fn policies_of_time_name_their_moment() {
        let interval = ActivationPolicy::interval(SECOND * 10);
        assert_eq!(decide(&interval, &[&[(1, 0)]], 3), takes(Take::All), "the first comes at once");
        assert_eq!(decide_at(&interval, &[&[(1, 4)]], 4, Some(3), false), until(13));
        assert_eq!(decide_at(&interval, &[&[(1, 4)]], 13, Some(3), false), takes(Take::All));
        let debounce = ActivationPolicy::debounce(SECOND * 2);
        assert_eq!(decide(&debounce, &[&[(1, 0), (2, 5)]], 6), until(7));
        assert_eq!(decide(&debounce, &[&[(1, 0), (2, 5)]], 7), takes(Take::All));
        assert_eq!(decide(&debounce.at_most(SECOND * 6), &[&[(1, 0), (2, 5)]], 5), until(6));
        let window = ActivationPolicy::window(SECOND * 60);
        assert_eq!(decide(&window, &[&[(1, 10), (2, 69)]], 69), until(70));
        assert_eq!(decide(&window, &[&[(1, 10), (2, 69)]], 70), takes(Take::All));
    }

    #[test]
    fn groups_end_with_the_next_key_and_custom_rules_see_the_data() {
        let tens = ActivationPolicy::grouped(|datum: &i64| (datum / 10).to_string());
        assert_eq!(decide(&tens, &[&[(11, 0), (12, 0)]], 0), Decision::Wait(None));
        assert_eq!(decide(&tens, &[&[(11, 0), (12, 0), (21, 0), (22, 0)]], 0), takes(Take::Counts(vec![2])));
        let large = ActivationPolicy::custom(|view| {
            let sum: i64 = view.peek::<i64>(0).iter().map(|datum| **datum).sum();
            (sum > 20).then(|| Activate::all().saying(sum.to_string()))
        });
        assert_eq!(decide(&large, &[&[(11, 0)]], 0), Decision::Wait(None));
        assert!(
            matches!(decide(&large, &[&[(11, 0), (12, 0)]], 0), Decision::Take(taken) if taken.note.as_deref() == Some("23"))
        );
    }

    #[test]
    fn what_can_never_be_is_said_beforehand() {
        let slot = Slot { data_max: 10, ..Slot::new("s".into(), DataType::of::<i64>()) };
        assert!(ActivationPolicy::batch(11).trouble(std::slice::from_ref(&slot)).is_some());
        assert!(ActivationPolicy::n_of(2).trouble(std::slice::from_ref(&slot)).is_some());
        assert!(ActivationPolicy::any().correlated().trouble(std::slice::from_ref(&slot)).is_some());
        assert!(ActivationPolicy::batch(10).trouble(&[slot]).is_none());
    }
}
