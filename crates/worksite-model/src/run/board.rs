//! The board owns what the house knows of its live runs: a cache of the store that is never ahead of it, and the indexes
//! over it. A decision (`decide.rs`) proposes writes and *reserves* the runs they are about; when the writes are durable
//! [`RunBoard::apply`] makes them true here, and when they were refused [`RunBoard::undo`] leaves everything as it was.

use crate::run::index::{Index, Place};
use crate::run::runner::Runners;
use crate::{
    Capabilities, Demands, IdMap, RecoveredRuns, RecoveryReport, Run, RunFilter, RunId, RunIds, RunPolicy, RunStatus,
    RunWrite, RunnerId, Schedule, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A live run, and whether a write to it is on its way.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub(crate) run: Arc<Run>,
    pub(crate) is_reserved: bool,
    /// Whether the write on its way is a claim: it counts as held already.
    pub(crate) is_being_claimed: bool,
}

/// What has become of runs in this life of the house.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunCounts {
    /// Runs added.
    pub created: u64,
    /// Claims made.
    pub claimed: u64,
    /// Runs that completed.
    pub completed: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Runs that were stopped.
    pub stopped: u64,
    /// Runs that have ended and whose parent session, which was to be told, was not there.
    pub callbacks_dropped: u64,
    /// Runs that wait again: given back, tried again, or taken from a lost runner.
    pub requeued: u64,
    /// Runs that wait for a runner now, those for later included.
    pub pending: usize,
    /// Runs that runners hold now.
    pub held: usize,
}

/// The live runs of a site, and everything that is decided about them. A value: time is an argument, and nothing is
/// written or told from here.
#[derive(Debug)]
pub struct RunBoard {
    pub(crate) policy: RunPolicy,
    pub(crate) epoch: i64,
    pub(crate) ids: RunIds,
    pub(crate) cards: IdMap<RunId, Card>,
    pub(crate) index: Index,
    /// Pending runs for later, by their moments.
    pub(crate) later: BTreeSet<(Timestamp, RunId)>,
    /// Pending runs, by the moments at which they fail.
    pub(crate) deadlines: BTreeSet<(Timestamp, RunId)>,
    /// Held runs, by the moments at which their claims end.
    pub(crate) leases: BTreeSet<(Timestamp, RunId)>,
    /// Live runs of each session.
    pub(crate) sessions: BTreeMap<String, BTreeSet<RunId>>,
    /// Who holds what.
    pub(crate) holders: BTreeMap<RunnerId, BTreeSet<RunId>>,
    /// Unique keys of live runs, and of those on their way.
    pub(crate) keys: BTreeMap<String, RunId>,
    /// Runs that have ended and owe their parent session a callback.
    pub(crate) owing: BTreeMap<String, BTreeMap<RunId, Arc<Run>>>,
    /// Sessions whose callback is on its way.
    pub(crate) calling: BTreeSet<String>,
    pub(crate) schedules: BTreeMap<String, Arc<Schedule>>,
    /// Schedules with a write on its way.
    pub(crate) firing: BTreeSet<String>,
    pub(crate) runners: Runners,
    /// New runs on their way.
    pub(crate) coming: usize,
    pub(crate) counts: RunCounts,
    /// Demands as all equal ones share them, for runs that are not in the index.
    kinds: BTreeMap<Capabilities, Arc<Capabilities>>,
}

/// Kinds of capabilities that are remembered as shared ones.
const KINDS_MAX: usize = 4_096;

impl RunBoard {
    /// The board of what the store has, before anything is rescued: see [`RunBoard::recover`].
    pub fn new(policy: RunPolicy, recovered: RecoveredRuns, seed: u64, now: Timestamp) -> Self {
        let mut board = Self {
            ids: RunIds::after(seed, recovered.last),
            policy,
            epoch: recovered.epoch,
            cards: IdMap::default(),
            index: Index::default(),
            later: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            leases: BTreeSet::new(),
            sessions: BTreeMap::new(),
            holders: BTreeMap::new(),
            keys: BTreeMap::new(),
            owing: BTreeMap::new(),
            calling: BTreeSet::new(),
            schedules: recovered.schedules.into_iter().map(|schedule| (schedule.name.clone(), schedule)).collect(),
            firing: BTreeSet::new(),
            runners: Runners::default(),
            coming: 0,
            counts: RunCounts::default(),
            kinds: BTreeMap::new(),
        };
        for (key, limit) in board.policy.limits.clone() {
            board.index.set_limit(&key, limit);
        }
        board.cards.reserve(recovered.active.len());
        let mut active = recovered.active;
        board.index.fill(active.iter_mut().filter(|run| stands_in_line(run, now)));
        for run in active {
            board.pin_up(run, now);
        }
        for run in recovered.owing {
            board.owe(run);
        }
        board
    }

    /// The writes that resolve what an earlier life left held, and what they do, in counts. What is `at_work` is no orphan:
    /// a worker of the house has it, and came back with it, so that it stays claimed, in this life.
    pub fn recover(
        &mut self,
        unreadable: usize,
        at_work: &BTreeSet<RunId>,
        now: Timestamp,
    ) -> (Vec<RunWrite>, RecoveryReport) {
        let mut report = RecoveryReport { unreadable, ..RecoveryReport::default() };
        let mut writes = Vec::new();
        // What is pending stays so.
        let mut held: Vec<_> = self.live().filter(|run| run.status.is_held()).cloned().collect();
        held.sort_unstable_by_key(|run| run.id);
        report.kept = self.cards.len() - held.len();
        for run in held {
            let after = if at_work.contains(&run.id) {
                report.count(&run, None);
                Some(self.taken_along(&run, now))
            } else {
                let after = self.rescued(&run, now);
                report.count(&run, after.as_ref().map(|run| run.status));
                after
            };
            writes.extend(after.map(|after| self.update(&run, after)));
        }
        (writes, report)
    }

    /// Makes a durable write true here.
    pub fn apply(&mut self, write: &RunWrite, now: Timestamp) {
        match write {
            RunWrite::Add(run) => {
                self.coming = self.coming.saturating_sub(1);
                self.counts.created += 1;
                self.put_up(run.clone(), now);
            }
            RunWrite::Update { run, .. } => self.replace(run.clone(), now),
            RunWrite::Schedule { schedule, .. } => {
                self.firing.remove(&schedule.name);
                self.schedules.insert(schedule.name.clone(), schedule.clone());
            }
            RunWrite::Unschedule(name) => {
                self.firing.remove(name);
                self.schedules.remove(name);
            }
            RunWrite::Open(_) | RunWrite::Bind { .. } => {}
        }
        self.called(write);
    }

    /// A write was refused: everything is as it was.
    pub fn undo(&mut self, write: &RunWrite, now: Timestamp) {
        match write {
            RunWrite::Add(run) => {
                self.coming = self.coming.saturating_sub(1);
                if let Some(key) = &run.draft.unique
                    && self.keys.get(key) == Some(&run.id)
                {
                    self.keys.remove(key);
                }
            }
            RunWrite::Update { run, .. } => {
                if let Some(card) = self.take_down(run.id) {
                    self.put_up(card.run, now);
                }
            }
            RunWrite::Schedule { schedule, .. } => drop(self.firing.remove(&schedule.name)),
            RunWrite::Unschedule(name) => drop(self.firing.remove(name)),
            RunWrite::Open(_) | RunWrite::Bind { .. } => {}
        }
        self.called(write);
    }

    /// The store has another run of this id than the board: it is right.
    pub fn correct(&mut self, id: RunId, run: Option<Arc<Run>>, now: Timestamp) {
        self.take_down(id);
        self.owing.values_mut().for_each(|owed| drop(owed.remove(&id)));
        self.owing.retain(|_, owed| !owed.is_empty());
        match run {
            Some(run) if !run.status.is_terminal() => self.put_up(run, now),
            Some(run) => self.owe(run),
            None => {}
        }
    }

    /// What was meant to come has come or not: a session with a callback may get another.
    fn called(&mut self, write: &RunWrite) {
        let session = match write {
            RunWrite::Add(run) => run.session(),
            RunWrite::Update { run, .. } if run.is_unheard() => run.draft.parent.as_deref(),
            _ => None,
        };
        if let Some(session) = session {
            self.calling.remove(session);
        }
    }

    fn replace(&mut self, run: Arc<Run>, now: Timestamp) {
        let before = self.take_down(run.id).map(|card| card.run.status);
        let counts = &mut self.counts;
        match run.status {
            _ if before.is_none() => {}
            RunStatus::Claimed if before == Some(RunStatus::Pending) => counts.claimed += 1,
            RunStatus::Completed => counts.completed += 1,
            RunStatus::Failed => counts.failed += 1,
            RunStatus::Stopped => counts.stopped += 1,
            // Its runner may be waiting for work, and has some.
            RunStatus::Stopping => self.index.is_fresh = true,
            RunStatus::Pending if before != Some(RunStatus::Pending) => counts.requeued += 1,
            _ => {}
        }
        if !run.status.is_terminal() {
            return self.put_up(run, now);
        }
        if run.called_back.is_some() {
            self.counts.callbacks_dropped += u64::from(run.is_unheard());
            let owed = run.draft.parent.as_ref().and_then(|parent| self.owing.get_mut(parent));
            if let Some(owed) = owed {
                owed.remove(&run.id);
            }
            self.owing.retain(|_, owed| !owed.is_empty());
        }
        self.owe(run);
    }

    fn owe(&mut self, run: Arc<Run>) {
        if let Some(parent) = run.draft.parent.clone().filter(|_| run.owes_callback()) {
            self.owing.entry(parent).or_default().insert(run.id, run);
        }
    }

    /// Puts a live run on the board, in all its places.
    fn put_up(&mut self, run: Arc<Run>, now: Timestamp) {
        let run = if stands_in_line(&run, now) { self.put_in_line(run) } else { run };
        self.pin_up(run, now);
    }

    /// Puts a live run in all its places but that in the line.
    fn pin_up(&mut self, run: Arc<Run>, now: Timestamp) {
        if let Some(session) = run.session() {
            match self.sessions.get_mut(session) {
                Some(runs) => drop(runs.insert(run.id)),
                None => drop(self.sessions.insert(session.to_string(), BTreeSet::from([run.id]))),
            }
        }
        if let Some(key) = &run.draft.unique {
            self.keys.insert(key.clone(), run.id);
        }
        if run.status == RunStatus::Pending {
            self.counts.pending += 1;
            self.deadlines.extend(run.deadline.map(|moment| (moment, run.id)));
            if run.due() > now {
                self.later.insert((run.due(), run.id));
            }
        } else {
            self.counts.held += 1;
            self.index.hold(run.draft.limit.as_deref(), None);
            self.leases.extend(run.lease_until.map(|moment| (moment, run.id)));
            if let Some(runner) = run.runner.clone() {
                self.holders.entry(runner).or_default().insert(run.id);
            }
        }
        self.cards.insert(run.id, Card { run, is_reserved: false, is_being_claimed: false });
    }

    /// Puts a run in its place in the index; what it demands is shared with its equals from then on.
    pub(crate) fn put_in_line(&mut self, mut run: Arc<Run>) -> Arc<Run> {
        let shared = self.index.insert(&run);
        if !Arc::ptr_eq(&shared, &run.demands) {
            Arc::make_mut(&mut run).demands = shared;
        }
        run
    }

    /// Takes a live run off the board, out of all its places.
    fn take_down(&mut self, id: RunId) -> Option<Card> {
        let card = self.cards.remove(&id)?;
        let run = &card.run;
        if let Some(session) = run.session()
            && let Some(runs) = self.sessions.get_mut(session)
        {
            runs.remove(&id);
            if runs.is_empty() {
                self.sessions.remove(session);
            }
        }
        if let Some(key) = &run.draft.unique
            && self.keys.get(key) == Some(&id)
        {
            self.keys.remove(key);
        }
        if card.is_being_claimed {
            self.index.release(run.draft.limit.as_deref());
        }
        if run.status == RunStatus::Pending {
            self.counts.pending -= 1;
            // One that is reserved has left it already.
            if !card.is_reserved {
                self.leave_line(run);
            }
        } else {
            self.counts.held -= 1;
            // Its runner has a slot free.
            self.index.is_fresh = true;
            self.index.release(run.draft.limit.as_deref());
            if let Some(moment) = run.lease_until {
                self.leases.remove(&(moment, id));
            }
            if let Some(held) = run.runner.as_ref().and_then(|runner| self.holders.get_mut(runner)) {
                held.remove(&id);
            }
        }
        if let Some(runner) = &run.runner
            && self.holders.get(runner).is_some_and(BTreeSet::is_empty)
        {
            self.holders.remove(runner);
        }
        Some(card)
    }

    /// A pending run is no longer to be claimed, nor to fail at its deadline.
    fn leave_line(&mut self, run: &Arc<Run>) {
        if let Some(moment) = run.deadline {
            self.deadlines.remove(&(moment, run.id));
        }
        if !self.later.remove(&(run.due(), run.id)) {
            self.index.remove(run);
        }
    }

    /// Keeps everybody else's hands off a run until a write to it is durable or refused.
    pub(crate) fn reserve(&mut self, id: RunId, claims: Option<Timestamp>) {
        let Some(card) = self.cards.get_mut(&id) else { return };
        card.is_reserved = true;
        card.is_being_claimed = claims.is_some();
        let run = card.run.clone();
        if run.status == RunStatus::Pending {
            self.leave_line(&run);
        }
        if claims.is_some() {
            self.index.hold(run.draft.limit.as_deref(), claims);
        }
    }

    /// The write that makes a run so; it is reserved until then.
    pub(crate) fn update(&mut self, before: &Run, after: Run) -> RunWrite {
        let claims =
            (after.status == RunStatus::Claimed && before.status == RunStatus::Pending).then_some(after.claimed_at);
        self.reserve(before.id, claims.flatten());
        RunWrite::Update { guard: before.guard(), run: Arc::new(after) }
    }

    /// A live run.
    pub fn get(&self, id: RunId) -> Option<&Arc<Run>> {
        self.cards.get(&id).map(|card| &card.run)
    }

    /// The pending runs in the order in which they are claimed; those for later come last.
    pub fn pending(&self) -> Vec<Arc<Run>> {
        let mut pending: Vec<_> = self.live().filter(|run| run.status == RunStatus::Pending).cloned().collect();
        pending.sort_by_cached_key(|run| (self.later.contains(&(run.due(), run.id)), Place::of(run)));
        pending
    }

    /// All live runs, in order of ids.
    pub fn all(&self) -> Vec<Arc<Run>> {
        let mut all: Vec<_> = self.live().cloned().collect();
        all.sort_unstable_by_key(|run| run.id);
        all
    }

    /// The latest live run of a session.
    pub fn by_session(&self, session: &str) -> Option<&Arc<Run>> {
        self.get(*self.sessions.get(session)?.last()?)
    }

    /// The live runs that are meant, in order of ids.
    pub fn matching(&self, filter: &RunFilter) -> Vec<Arc<Run>> {
        let mut matching: Vec<_> = self.live().filter(|run| filter.matches(run)).cloned().collect();
        matching.sort_unstable_by_key(|run| run.id);
        matching
    }

    fn live(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.cards.values().map(|card| &card.run)
    }

    /// The runs a runner holds.
    pub fn held_by(&self, runner: &RunnerId) -> impl Iterator<Item = &Arc<Run>> {
        self.holders.get(runner).into_iter().flatten().filter_map(|id| self.get(*id))
    }

    /// How many runs a runner holds.
    pub fn held_count(&self, runner: &RunnerId) -> usize {
        self.holders.get(runner).map_or(0, BTreeSet::len)
    }

    /// The schedules, in order of names.
    pub fn schedules(&self) -> impl Iterator<Item = &Arc<Schedule>> {
        self.schedules.values()
    }

    /// What has become of runs in this life of the house.
    pub fn counts(&self) -> RunCounts {
        self.counts
    }

    /// How it works.
    pub fn policy(&self) -> &RunPolicy {
        &self.policy
    }

    /// These capabilities as all equal ones share them.
    pub fn shared(&mut self, capabilities: &Capabilities) -> Arc<Capabilities> {
        if let Some(shared) = self.kinds.get(capabilities) {
            return shared.clone();
        }
        if self.kinds.len() >= KINDS_MAX {
            self.kinds.clear();
        }
        let shared = Arc::new(capabilities.clone());
        self.kinds.insert(capabilities.clone(), shared.clone());
        shared
    }

    /// Whether a run may have become claimable since this was last asked.
    pub fn is_fresh(&mut self) -> bool {
        std::mem::take(&mut self.index.is_fresh)
    }

    /// The next moment at which something is to be done without anybody asking for it.
    pub fn next_moment(&self, now: Timestamp) -> Option<Timestamp> {
        let first = |moments: &BTreeSet<(Timestamp, RunId)>| moments.first().map(|(moment, _)| *moment);
        let schedules = self.schedules.values().filter(|schedule| !self.firing.contains(&schedule.name));
        let moments = [
            first(&self.later),
            first(&self.deadlines),
            first(&self.leases),
            schedules.filter_map(|schedule| schedule.next).min(),
            self.runners.next_moment(&self.policy),
            self.index.next_allowed(now),
        ];
        moments.into_iter().flatten().min()
    }

    /// Each set of demands that waits, and how many runs have it.
    pub fn demanded(&self) -> impl Iterator<Item = (&Arc<Demands>, usize)> {
        self.index.demanded()
    }
}

/// Whether a run may be claimed as soon as a runner comes.
fn stands_in_line(run: &Run, now: Timestamp) -> bool {
    run.status == RunStatus::Pending && run.due() <= now
}
