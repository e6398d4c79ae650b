//! The index owns which pending run a runner gets: runs in buckets of equal demands, each in order, and for each kind of
//! runner the buckets it meets. A claim looks at one head for each such bucket, however many runs stand ahead that the
//! runner cannot take.

use crate::{Capabilities, Demands, IdMap, KeyLimit, Run, RunId, Timestamp};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A pending run's place: priority, then the moment from which it may be claimed, then the order of acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    priority: Reverse<i32>,
    due: Timestamp,
    pub(crate) id: RunId,
}

impl Place {
    pub(crate) fn of(run: &Run) -> Self {
        Self { priority: Reverse(run.draft.priority), due: run.due(), id: run.id }
    }
}

/// Pending runs of equal demands, under the same limit.
#[derive(Debug)]
struct Bucket {
    demands: Arc<Demands>,
    limit: Option<usize>,
    places: BTreeSet<Place>,
    /// The first of them, at hand.
    head: Option<Place>,
}

/// A kind of runner: which buckets it meets, of those it has been compared with.
#[derive(Debug)]
struct Class {
    capabilities: Arc<Capabilities>,
    met: Vec<usize>,
    compared: usize,
}

/// How a limit stands.
#[derive(Debug, Default)]
struct Gauge {
    limit: KeyLimit,
    held: u32,
    /// When the rate allows the next claim, less the burst.
    spent_until: Timestamp,
}

/// Why no run of a limited key is claimed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// As many are held as may be.
    AtOnce(u32),
    /// The rate allows the next one at this moment.
    Until(Timestamp),
}

/// Buckets that are empty are forgotten when there are more than so many, and more than half.
const EMPTY_BUCKETS_MAX: usize = 1_024;

/// Kinds of runners that are remembered.
const CLASSES_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Index {
    buckets: Vec<Bucket>,
    by_demands: IdMap<(Arc<Demands>, Option<usize>), usize>,
    /// The same by where the demands of a bucket lie: runs share them, so that most are found without being compared. The
    /// bucket holds them, so that nothing else can come to lie there.
    by_address: IdMap<(usize, Option<usize>), usize>,
    empty: usize,
    classes: Vec<Class>,
    by_capabilities: IdMap<Arc<Capabilities>, usize>,
    gauges: Vec<Gauge>,
    by_key: BTreeMap<String, usize>,
    /// Whether a run became claimable since somebody last asked.
    pub(crate) is_fresh: bool,
}

impl Index {
    pub(crate) fn set_limit(&mut self, key: &str, limit: KeyLimit) {
        let gauge = self.gauge(key);
        self.gauges[gauge].limit = limit;
        self.is_fresh = true;
    }

    fn gauge(&mut self, key: &str) -> usize {
        if let Some(gauge) = self.by_key.get(key) {
            return *gauge;
        }
        self.gauges.push(Gauge { spent_until: Timestamp::from_micros(i64::MIN), ..Gauge::default() });
        self.by_key.insert(key.to_string(), self.gauges.len() - 1);
        self.gauges.len() - 1
    }

    /// Puts a run in its place; gives its demands as they are shared by all equal ones.
    pub(crate) fn insert(&mut self, run: &Run) -> Arc<Demands> {
        if self.empty > EMPTY_BUCKETS_MAX && self.empty > self.buckets.len() / 2 {
            self.forget_empty();
        }
        let bucket = self.bucket_for(run);
        let bucket = &mut self.buckets[bucket];
        let place = Place::of(run);
        self.empty -= usize::from(bucket.places.is_empty());
        bucket.places.insert(place);
        if bucket.head.is_none_or(|head| place < head) {
            bucket.head = Some(place);
        }
        self.is_fresh = true;
        bucket.demands.clone()
    }

    /// Puts runs in their places while there are none yet. Sets that are built whole take half the room of those that grow.
    pub(crate) fn fill<'a>(&mut self, runs: impl Iterator<Item = &'a mut Arc<Run>>) {
        let mut places = Vec::with_capacity(runs.size_hint().1.unwrap_or_default());
        for run in runs {
            let bucket = self.bucket_for(run);
            let shared = &self.buckets[bucket].demands;
            if !Arc::ptr_eq(shared, &run.demands) {
                Arc::make_mut(run).demands = shared.clone();
            }
            places.push((bucket, Place::of(run)));
        }
        places.sort_unstable();
        for line in places.chunk_by(|(one, _), (next, _)| one == next) {
            let bucket = &mut self.buckets[line[0].0];
            bucket.places.append(&mut line.iter().map(|(_, place)| *place).collect());
            bucket.head = bucket.places.first().copied();
        }
        self.empty = self.buckets.iter().filter(|bucket| bucket.places.is_empty()).count();
        self.is_fresh = true;
    }

    fn bucket_for(&mut self, run: &Run) -> usize {
        let limit = run.draft.limit.as_deref().map(|key| self.gauge(key));
        match self.bucket(&run.demands, limit) {
            Some(bucket) => bucket,
            None => self.open((run.demands.clone(), limit)),
        }
    }

    /// Demands as all equal ones share them, if some wait; else these.
    pub(crate) fn shared(&self, demands: Arc<Demands>, limit: Option<&str>) -> Arc<Demands> {
        let limit = match limit.map(|key| self.by_key.get(key)) {
            None => None,
            Some(Some(gauge)) => Some(*gauge),
            Some(None) => return demands,
        };
        self.bucket(&demands, limit).map_or(demands, |bucket| self.buckets[bucket].demands.clone())
    }

    fn bucket(&self, demands: &Arc<Demands>, limit: Option<usize>) -> Option<usize> {
        let at_hand = self.by_address.get(&(address(demands), limit));
        at_hand.or_else(|| self.by_demands.get(&(demands.clone(), limit))).copied()
    }

    fn open(&mut self, key: (Arc<Demands>, Option<usize>)) -> usize {
        self.buckets.push(Bucket { demands: key.0.clone(), limit: key.1, places: BTreeSet::new(), head: None });
        self.empty += 1;
        self.by_address.insert((address(&key.0), key.1), self.buckets.len() - 1);
        self.by_demands.insert(key, self.buckets.len() - 1);
        self.buckets.len() - 1
    }

    fn forget_empty(&mut self) {
        self.buckets.retain(|bucket| !bucket.places.is_empty());
        self.empty = 0;
        let buckets = self.buckets.iter().enumerate();
        self.by_demands = buckets.map(|(place, bucket)| ((bucket.demands.clone(), bucket.limit), place)).collect();
        let addresses = self.by_demands.iter();
        self.by_address = addresses.map(|((demands, limit), place)| ((address(demands), *limit), *place)).collect();
        self.classes.clear();
        self.by_capabilities.clear();
    }

    /// Takes a run out; false when it was not in.
    pub(crate) fn remove(&mut self, run: &Run) -> bool {
        let limit = run.draft.limit.as_deref().map(|key| self.gauge(key));
        let Some(bucket) = self.bucket(&run.demands, limit) else { return false };
        let bucket = &mut self.buckets[bucket];
        let place = Place::of(run);
        let removed = bucket.places.remove(&place);
        if bucket.head == Some(place) {
            bucket.head = bucket.places.first().copied();
        }
        self.empty += usize::from(removed && bucket.places.is_empty());
        removed
    }

    /// The run a runner with these capabilities gets now.
    pub(crate) fn first(&mut self, capabilities: &Arc<Capabilities>, now: Timestamp) -> Option<RunId> {
        let class = self.class(capabilities);
        let heads = self.classes[class].met.iter().filter_map(|bucket| {
            let bucket = &self.buckets[*bucket];
            let head = bucket.head?;
            let open = bucket.limit.is_none_or(|gauge| self.gauges[gauge].hold(now).is_none());
            open.then_some(head)
        });
        heads.min().map(|place| place.id)
    }

    fn class(&mut self, capabilities: &Arc<Capabilities>) -> usize {
        let class = match self.by_capabilities.get(capabilities) {
            Some(class) => *class,
            None => {
                if self.classes.len() >= CLASSES_MAX {
                    self.classes.clear();
                    self.by_capabilities.clear();
                }
                self.classes.push(Class { capabilities: capabilities.clone(), met: Vec::new(), compared: 0 });
                self.by_capabilities.insert(capabilities.clone(), self.classes.len() - 1);
                self.classes.len() - 1
            }
        };
        let known = &mut self.classes[class];
        for (place, bucket) in self.buckets.iter().enumerate().skip(known.compared) {
            if known.capabilities.meet(&bucket.demands) {
                known.met.push(place);
            }
        }
        known.compared = self.buckets.len();
        class
    }

    /// A run of this key is held, as of now; `claims` uses up the rate, too.
    pub(crate) fn hold(&mut self, key: Option<&str>, claims: Option<Timestamp>) {
        let Some(gauge) = key.map(|key| self.gauge(key)) else { return };
        let gauge = &mut self.gauges[gauge];
        gauge.held += 1;
        if let Some(now) = claims {
            gauge.spent_until = gauge.spent_until.max(now).after(gauge.limit.pause());
        }
    }

    /// A run of this key is no longer held.
    pub(crate) fn release(&mut self, key: Option<&str>) {
        let Some(gauge) = key.map(|key| self.gauge(key)) else { return };
        self.gauges[gauge].held = self.gauges[gauge].held.saturating_sub(1);
        self.is_fresh = true;
    }

    /// Why no run of this key is claimed now.
    pub(crate) fn held_up(&self, key: &str, now: Timestamp) -> Option<Hold> {
        self.gauges[*self.by_key.get(key)?].hold(now)
    }

    /// The next moment at which a rate allows a claim that somebody could want.
    pub(crate) fn next_allowed(&self, now: Timestamp) -> Option<Timestamp> {
        if self.gauges.iter().all(|gauge| gauge.limit.rate.is_none()) {
            return None;
        }
        let waiting = self.buckets.iter().filter(|bucket| bucket.head.is_some()).filter_map(|bucket| bucket.limit);
        let held_up = waiting.filter_map(|gauge| match self.gauges[gauge].hold(now) {
            Some(Hold::Until(moment)) => Some(moment),
            _ => None,
        });
        held_up.min()
    }

    /// How many runs stand before this one, of those a runner with these capabilities could take.
    pub(crate) fn ahead(&mut self, run: &Run, capabilities: &Arc<Capabilities>) -> usize {
        let (place, class) = (Place::of(run), self.class(capabilities));
        let met = self.classes[class].met.iter();
        met.map(|bucket| self.buckets[*bucket].places.range(..place).count()).sum()
    }

    /// How many pending runs a runner with these capabilities could take, limits aside.
    pub(crate) fn takeable(&mut self, capabilities: &Arc<Capabilities>) -> usize {
        let class = self.class(capabilities);
        self.classes[class].met.iter().map(|bucket| self.buckets[*bucket].places.len()).sum()
    }

    /// Each set of demands with how many runs have it.
    pub(crate) fn demanded(&self) -> impl Iterator<Item = (&Arc<Demands>, usize)> {
        let waiting = self.buckets.iter().filter(|bucket| !bucket.places.is_empty());
        waiting.map(|bucket| (&bucket.demands, bucket.places.len()))
    }
}

/// Where demands lie.
fn address(demands: &Arc<Demands>) -> usize {
    Arc::as_ptr(demands).addr()
}

impl Gauge {
    fn hold(&self, now: Timestamp) -> Option<Hold> {
        if let Some(most) = self.limit.at_once
            && self.held >= most
        {
            return Some(Hold::AtOnce(most));
        }
        let (claims, _) = self.limit.rate?;
        // A burst of all claims may come at once; then one each pause.
        let burst = self.limit.pause().saturating_mul(claims.max(1));
        let next = Timestamp::from_micros(
            self.spent_until
                .after(self.limit.pause())
                .as_micros()
                .saturating_sub(Timestamp::default().after(burst).as_micros()),
        );
        (next > now).then_some(Hold::Until(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RunDraft, RunIds};
    use std::time::Duration;

    fn run(ids: &mut RunIds, demands: Demands, priority: i32) -> Run {
        let at = Timestamp::from_seconds(1_000);
        Run::new(ids.next(at), RunDraft::new().demands(demands).priority(priority), at)
    }

    #[test]
    fn runs_come_by_priority_then_due_then_first_in_first_out() {
        let (mut index, mut ids) = (Index::default(), RunIds::after(1, None));
        let now = Timestamp::from_seconds(2_000);
        let mut runs = vec![run(&mut ids, Demands::none(), 0), run(&mut ids, Demands::none().tag("a"), 0)];
        runs.push(run(&mut ids, Demands::none().tag("a"), 5));
        let late = RunDraft::new().due(Timestamp::from_seconds(1_500));
        runs.push(Run::new(ids.next(now), late.clone(), Timestamp::from_seconds(1_000)));
        runs.push(Run::new(ids.next(now), late.due(Timestamp::from_seconds(1_400)), Timestamp::from_seconds(1_000)));
        for run in &runs {
            index.insert(run);
        }
        let runner = Arc::new(Capabilities::none().tag("a"));
        let mut order = Vec::new();
        while let Some(id) = index.first(&runner, now) {
            let place = runs.iter().position(|run| run.id == id).unwrap();
            assert!(index.remove(&runs[place]) && !index.remove(&runs[place]));
            order.push(place);
        }
        assert_eq!(order, [2, 0, 1, 4, 3]);
    }

    #[test]
    fn an_index_that_is_filled_at_once_gives_runs_in_the_order_of_one_that_grew() {
        let (mut ids, now) = (RunIds::after(1, None), Timestamp::from_seconds(2_000));
        let tags = ["a", "b", "c", "unmet"];
        let mut runs: Vec<_> = (0..3_000)
            .map(|number| Arc::new(run(&mut ids, Demands::none().tag(tags[number % 4]), number as i32 * 7 % 13)))
            .collect();
        let (mut grown, mut filled) = (Index::default(), Index::default());
        for run in &runs {
            grown.insert(run);
        }
        filled.fill(runs.iter_mut());
        assert!(Arc::ptr_eq(&runs[0].demands, &runs[4].demands), "equal demands are shared");
        let runner = Arc::new(Capabilities::none().tag("a").tag("b").tag("c"));
        let mut taken = 0;
        while let Some(id) = grown.first(&runner, now) {
            assert_eq!(filled.first(&runner, now), Some(id));
            let run = runs.iter().find(|run| run.id == id).unwrap();
            assert!(grown.remove(run) && filled.remove(run));
            taken += 1;
        }
        assert_eq!((taken, filled.first(&runner, now), filled.empty), (2_250, None, 3));
    }

    #[test]
    fn a_bucket_that_comes_later_is_compared_too_and_empty_ones_are_forgotten() {
        let (mut index, mut ids) = (Index::default(), RunIds::after(1, None));
        let (runner, now) = (Arc::new(Capabilities::none().field("n", 5)), Timestamp::from_seconds(2_000));
        assert_eq!(index.first(&runner, now), None);
        let wanted = run(&mut ids, Demands::none().is("n", 5), -1);
        index.insert(&wanted);
        for number in 0..5_000 {
            let other = run(&mut ids, Demands::none().is("n", number + 10), 0);
            index.insert(&other);
            index.remove(&other);
        }
        assert_eq!(index.first(&runner, now), Some(wanted.id));
        assert!(index.buckets.len() < 2_100, "{}", index.buckets.len());
        assert_eq!((index.takeable(&runner), index.demanded().count()), (1, 1));
    }

    #[test]
    fn a_limit_holds_its_key_alone_and_a_rate_lets_a_burst_through() {
        let (mut index, mut ids) = (Index::default(), RunIds::after(1, None));
        let runner = Arc::new(Capabilities::none());
        let at = Timestamp::from_seconds(1_000);
        index.set_limit("k", KeyLimit { at_once: Some(3), rate: Some((2, Duration::from_secs(10))) });
        let limited = Run::new(ids.next(at), RunDraft::new().limit("k"), at);
        let free = Run::new(ids.next(at), RunDraft::new().priority(-1), at);
        index.insert(&limited);
        index.insert(&free);
        for _ in 0..2 {
            assert_eq!(index.first(&runner, at), Some(limited.id));
            index.hold(Some("k"), Some(at));
        }
        assert_eq!(index.first(&runner, at), Some(free.id), "the rate is used up");
        let later = Timestamp::from_seconds(1_005);
        assert_eq!((index.held_up("k", at), index.next_allowed(at)), (Some(Hold::Until(later)), Some(later)));
        assert_eq!(index.first(&runner, later), Some(limited.id));
        index.hold(Some("k"), Some(later));
        assert_eq!(index.held_up("k", Timestamp::from_seconds(9_000)), Some(Hold::AtOnce(3)));
        index.release(Some("k"));
        assert_eq!(index.held_up("k", Timestamp::from_seconds(9_000)), None);
    }
}
