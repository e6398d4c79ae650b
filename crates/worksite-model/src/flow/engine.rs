//! The engine runs a flow for one worker: which slot gets what, whose turn it is, and what becomes of a turn. It is plain
//! data and functions of them; the worker writes what it says and tells it the time.
//!
//! *No lost wake-up:* a routine stands in the queue of those that may have a turn whenever something came to it, it has
//! ended a turn, room came free behind it, or the moment came that its policy named. It leaves the queue only by being
//! asked.

use crate::flow::accounts::OpenJob;
use crate::flow::call::{CallContext, JobEffect, Resources};
use crate::flow::graph::{Graph, Map, Route, RoutineSpec};
use crate::flow::hook::fenced;
use crate::flow::kept::AnyKept;
use crate::flow::policy::{Activate, Decision, Take};
use crate::flow::report::RoutineCounts;
use crate::flow::routine::{LogicTurn, panicked};
use crate::flow::slot::{Item, SlotQueue};
use crate::flow::task::Task;
use crate::flow::{
    Datum, ErrorStrategy, Flow, FlowEnded, JobId, JobSet, JobStatus, JobWrite, PolicyView, Post, TaskEnd, TaskRun,
    TurnView,
};
use crate::{
    Announcement, Draft, FailureKind, IdMap, NamedWrite, Overflow, Payload, PayloadError, PersonId, RoutineFailure,
    Timestamp, chance,
};
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What the engine must know of the moment.
#[derive(Clone, Copy)]
pub struct FlowMoment<'a> {
    /// The time.
    pub now: Timestamp,
    /// Whether the worker has nothing else to do.
    pub idle: bool,
    /// Whether the house shuts down in order.
    pub closing: bool,
    /// A clock to measure turns by; nothing is measured without.
    pub clock: Option<&'a dyn Fn() -> Timestamp>,
    /// Why turns at once fail before they begin: what they did the last time could not be written.
    pub refused: Option<&'a str>,
}

impl FlowMoment<'_> {
    /// This moment, with more to do.
    pub fn at(now: Timestamp) -> Self {
        Self { now, idle: false, closing: false, clock: None, refused: None }
    }
}

/// Whether a post was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// All of it.
    Taken,
    /// Nothing of it: its slot is full. To be offered again.
    Held,
}

/// A routine that gets no turn before it is stepped or the breakpoint goes; its data wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breakpoint {
    /// Which routine.
    pub routine: String,
    /// Only when the next datum is of this job.
    pub job: Option<JobId>,
}

/// One routine at one worker.
pub(crate) struct Node {
    pub(crate) slots: Vec<SlotQueue>,
    /// Its state; out only while it has a turn at once.
    pub(crate) kept: Option<Box<dyn AnyKept>>,
    /// Whether the state has changed since it was written.
    pub(crate) dirty: bool,
    /// Whether something in its slots may have no row.
    pub(crate) filled: bool,
    queued: bool,
    /// Turns that do not happen at once.
    pub(crate) turns: usize,
    pub(crate) last: Option<Timestamp>,
    /// When its policy wants to be asked again.
    wake: Option<Timestamp>,
    /// Turns it is allowed in spite of breakpoints.
    steps: u32,
    pub(crate) counts: RoutineCounts,
}

/// A flow at work.
pub struct Engine {
    pub(crate) flow: Flow,
    pub(crate) person: PersonId,
    seed: u64,
    pub(crate) nodes: Vec<Node>,
    ready: VecDeque<usize>,
    pub(crate) jobs: IdMap<JobId, OpenJob>,
    pub(crate) tasks: BTreeMap<u64, Task>,
    /// The number of the next row.
    pub(crate) next_row: u64,
    /// Rows that are to go.
    pub(crate) forgotten: Vec<String>,
    /// Jobs that have ended, to be written.
    pub(crate) ended: Vec<JobWrite>,
    /// Open jobs the store has to hear of.
    pub(crate) touched: Vec<JobId>,
    pub(crate) deadlines: BTreeSet<(Timestamp, JobId)>,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) announcements: Vec<Announcement>,
    pub(crate) writes: Vec<NamedWrite>,
    pub(crate) resources: Arc<Resources>,
    pub(crate) breakpoints: Vec<Breakpoint>,
    /// Jobs that were cancelled before their post was taken.
    pub(crate) cancelled: BTreeSet<JobId>,
    /// Whether the two above have changed since they were written.
    pub(crate) header_dirty: bool,
    /// Emissions that no connection takes.
    pub(crate) unconnected: u64,
    /// Whether nobody gets a turn.
    resting: bool,
    /// Whether traces are kept of every turn.
    pub(crate) traced: bool,
    turns: u64,
    /// Used again for the next turn.
    scratch: Option<Box<CallContext>>,
}

impl Engine {
    /// A flow that begins, at this person's worker.
    pub fn new(flow: Flow, person: PersonId, seed: u64) -> Self {
        let nodes = flow.0.routines.iter().map(|spec| Node {
            slots: spec.slots.iter().map(|_| SlotQueue::default()).collect(),
            kept: Some(spec.logic.fresh()),
            dirty: false,
            filled: false,
            queued: false,
            turns: 0,
            last: None,
            wake: None,
            steps: 0,
            counts: RoutineCounts::default(),
        });
        Self {
            nodes: nodes.collect(),
            flow,
            person,
            seed,
            ready: VecDeque::new(),
            jobs: IdMap::default(),
            tasks: BTreeMap::new(),
            next_row: 1,
            forgotten: Vec::new(),
            ended: Vec::new(),
            touched: Vec::new(),
            deadlines: BTreeSet::new(),
            drafts: Vec::new(),
            announcements: Vec::new(),
            writes: Vec::new(),
            resources: Arc::default(),
            breakpoints: Vec::new(),
            cancelled: BTreeSet::new(),
            header_dirty: false,
            unconnected: 0,
            resting: false,
            traced: false,
            turns: 0,
            scratch: None,
        }
    }

    /// Keeps a trace of every turn with its jobs.
    #[must_use]
    pub fn traced(mut self, traced: bool) -> Self {
        self.traced = traced;
        self
    }

    /// Which flow.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Jobs that have not ended.
    pub fn open_count(&self) -> usize {
        self.jobs.len()
    }

    /// How many turns were begun in this life.
    pub fn turns(&self) -> u64 {
        self.turns
    }

    /// Whether a post would be taken now.
    pub fn has_room(&self, post: &Post) -> bool {
        self.target(post).is_none_or(|(routine, slot)| !self.is_held_back(routine, slot))
    }

    fn target(&self, post: &Post) -> Option<(usize, usize)> {
        let routine = self.flow.place(&post.routine)?;
        let slot = self.flow.0.routines[routine].slots.iter().position(|slot| slot.name == post.slot)?;
        Some((routine, slot))
    }

    /// Whether a slot is full and lets posts wait.
    fn is_held_back(&self, routine: usize, slot: usize) -> bool {
        let spec = &self.flow.0.routines[routine].slots[slot];
        let waits = matches!(spec.overflow, Overflow::Wait | Overflow::WaitFor(_));
        waits && self.nodes[routine].slots[slot].len() >= spec.data_max
    }

    /// Whether a job has not ended.
    pub fn is_open(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// Whether a turn is under way that does not happen at once.
    pub fn is_working(&self) -> bool {
        self.tasks.values().any(|task| task.started)
    }

    /// Takes a post: each datum becomes a job, counted from `first`, and is worked on as far as it goes. One whose slot is
    /// full stays with the caller, when the slot says so; of a post of many, what does not fit waits behind the slot.
    pub fn admit(&mut self, post: &Post, first: JobId, created_at: Timestamp, moment: FlowMoment<'_>) -> Admission {
        let flow = self.flow.clone();
        let id = |place: usize| {
            let place = i64::try_from(place).unwrap_or(i64::MAX);
            JobId(if first.is_volatile() { first.0 - place } else { first.0 + place })
        };
        let Some((routine, slot)) = self.target(post) else {
            for place in 0..post.len() {
                let error = format!("the flow has no slot {}.{}", post.routine, post.slot);
                self.stillborn(id(place), created_at, post, error, moment.now);
            }
            return Admission::Taken;
        };
        if self.is_held_back(routine, slot) {
            return Admission::Held;
        }
        let spec = &flow.0.routines[routine].slots[slot];
        for place in 0..post.len() {
            let job = id(place);
            if self.was_called_off(job) {
                continue;
            }
            let datum = match catch_unwind(AssertUnwindSafe(|| post.decode(place, &spec.takes))) {
                Ok(Ok(datum)) => datum,
                Ok(Err(error)) => {
                    self.stillborn(job, created_at, post, error.to_string(), moment.now);
                    continue;
                }
                Err(panic) => {
                    self.stillborn(job, created_at, post, panicked(panic.as_ref()).to_string(), moment.now);
                    continue;
                }
            };
            if self.nodes[routine].slots[slot].len() >= spec.data_max {
                match spec.overflow {
                    Overflow::Wait | Overflow::WaitFor(_) => {}
                    Overflow::DropOldest => self.drop_oldest(routine, slot, moment.now),
                    Overflow::Reject | Overflow::DropNewest => {
                        self.nodes[routine].slots[slot].dropped += 1;
                        let error = format!("the slot {}.{} is full", post.routine, post.slot);
                        self.stillborn(job, created_at, post, error, moment.now);
                        continue;
                    }
                }
            }
            self.open_job(job, created_at, post);
            let volatile = first.is_volatile();
            self.put(routine, slot, datum, JobSet::One(job), volatile, moment.now);
            self.run(moment);
        }
        Admission::Taken
    }

    /// Turns a post away: all its jobs have failed, for this reason.
    pub fn refuse(&mut self, post: &Post, first: JobId, created_at: Timestamp, reason: &str, now: Timestamp) {
        for place in 0..post.len() {
            let place = i64::try_from(place).unwrap_or(i64::MAX);
            let id = JobId(if first.is_volatile() { first.0 - place } else { first.0 + place });
            self.stillborn(id, created_at, post, reason.to_string(), now);
        }
    }

    /// Gives nobody a turn any more, or everybody again. What is under way ends, and what it emits waits.
    pub fn rest(&mut self, resting: bool) {
        if std::mem::replace(&mut self.resting, resting) && !resting {
            (0..self.nodes.len()).for_each(|place| self.enqueue(place));
        }
    }

    /// Gives turns until nobody can have one, and then, if the worker has nothing else to do, to those that flush.
    pub fn run(&mut self, moment: FlowMoment<'_>) {
        if self.resting {
            return;
        }
        let flow = self.flow.clone();
        loop {
            while let Some(place) = self.ready.pop_front() {
                self.nodes[place].queued = false;
                self.turn(&flow.0, place, moment);
            }
            if (!moment.idle && !moment.closing) || self.tasks.values().any(|task| task.due.is_none()) {
                return;
            }
            let flushing = |(place, node): (usize, &Node)| {
                let waits = node.slots.iter().any(|slot| !slot.is_empty());
                (waits && flow.0.routines[place].policy.flushes()).then_some(place)
            };
            let waiting: Vec<_> = self.nodes.iter().enumerate().filter_map(flushing).collect();
            let before = self.turns;
            for place in waiting {
                self.turn(&flow.0, place, moment);
            }
            if self.ready.is_empty() && self.turns == before {
                return;
            }
        }
    }

    /// When something comes due: a policy's moment, a back-off, a deadline.
    pub fn due(&self) -> Option<Timestamp> {
        let policies = self.nodes.iter().filter_map(|node| node.wake);
        // One that waits for a place at its routine comes when another has ended.
        let has_place = |task: &&Task| {
            let spec = &self.flow.0.routines[task.routine];
            !task.started && (spec.is_inline() || self.nodes[task.routine].turns < spec.turns_max())
        };
        // Who rests begins nothing, and is told when to go on.
        let tasks = self.tasks.values().filter(|_| !self.resting).filter(has_place).filter_map(|task| task.due);
        let deadlines = self.deadlines.first().map(|(deadline, _)| *deadline);
        policies.chain(tasks).chain(deadlines).min()
    }

    /// Looks at the time: ends jobs whose deadline has passed, repeats what failed, and asks policies whose moment it is.
    pub fn wake(&mut self, moment: FlowMoment<'_>) {
        while let Some((deadline, job)) = self.deadlines.first().copied().filter(|(at, _)| *at <= moment.now) {
            self.deadlines.remove(&(deadline, job));
            let error = Some("its deadline has passed".to_string());
            self.end_job(job, JobStatus::Failed, error, moment.now);
        }
        for place in 0..self.nodes.len() {
            if self.nodes[place].wake.is_some_and(|wake| wake <= moment.now) {
                self.nodes[place].wake = None;
                self.enqueue(place);
            }
        }
        let flow = self.flow.clone();
        if self.resting {
            return;
        }
        let due = |task: &Task| !task.started && task.due.is_some_and(|due| due <= moment.now);
        let inline = |task: &Task| flow.0.routines[task.routine].is_inline();
        let ready: Vec<u64> =
            self.tasks.iter().filter(|(_, task)| inline(task) && due(task)).map(|(id, _)| *id).collect();
        for id in ready {
            let Some(task) = self.tasks.remove(&id) else { continue };
            if task.has_row {
                self.forget_task(id);
            }
            self.turns += 1;
            self.perform(&flow.0, task, moment);
        }
        self.run(moment);
    }

    /// The tasks that are to be started now: durable ones only once they are written.
    pub fn starting(&mut self, now: Timestamp) -> Vec<TaskRun> {
        if self.tasks.is_empty() || self.resting {
            return Vec::new();
        }
        let flow = self.flow.clone();
        let mut runs = Vec::new();
        let ids: Vec<u64> = self.tasks.keys().copied().collect();
        for id in ids {
            let Some(task) = self.tasks.get(&id) else { continue };
            let (routine, spec) = (task.routine, &flow.0.routines[task.routine]);
            let delayed = task.due.is_some();
            if task.started || spec.is_inline() || task.due.is_some_and(|due| due > now) {
                continue;
            }
            // What waits after a failure gave its place up, and what was recovered has none yet.
            if (delayed && self.nodes[routine].turns >= spec.turns_max()) || !(task.saved || task.volatile) {
                continue;
            }
            if delayed {
                self.nodes[routine].turns += 1;
            }
            let kept = self.nodes[routine].kept.as_ref().map_or_else(|| spec.logic.fresh(), |kept| kept.copy());
            let Some(task) = self.tasks.get(&id) else { continue };
            let context = Box::new(self.context(spec, task, now));
            if let Some(task) = self.tasks.get_mut(&id) {
                (task.started, task.due) = (true, None);
            }
            let turn = LogicTurn { context, kept };
            runs.push(TaskRun {
                id,
                routine: spec.name.clone(),
                logic: spec.logic.clone(),
                turn,
                time_max: spec.time_max,
            });
        }
        runs
    }

    /// A task has ended. One that is not known any more, because its jobs have ended, counts for nothing.
    pub fn finish(&mut self, TaskEnd { id, turn, ended }: TaskEnd, moment: FlowMoment<'_>) {
        let Some(task) = self.tasks.remove(&id) else { return };
        let (flow, routine) = (self.flow.clone(), task.routine);
        if task.has_row {
            self.forget_task(id);
        }
        let node = &mut self.nodes[routine];
        node.turns = node.turns.saturating_sub(1);
        self.enqueue(routine);
        match turn {
            Some(LogicTurn { context, kept }) => {
                let ended = ended.and_then(|()| self.find_room(&flow.0, routine, &context.emitted));
                if ended.is_ok() && kept.is_changed() {
                    let mut kept = kept;
                    kept.begin();
                    self.nodes[routine].kept = Some(kept);
                    self.nodes[routine].dirty = true;
                }
                self.settle(&flow.0, task, context, ended, moment);
            }
            None => {
                let failure = ended.err().unwrap_or_else(|| RoutineFailure::new(FailureKind::Refused, "no result"));
                self.fail(&flow.0, task, failure, moment.now);
            }
        }
        self.run(moment);
    }

    /// Calls a job off: what else of it waits is taken away, what is under way counts for nothing. One whose post has not
    /// been taken, and was accepted at this moment, is remembered. False when it has ended, or is not known.
    pub fn cancel(&mut self, job: JobId, waiting: Option<Timestamp>, now: Timestamp) -> bool {
        let reason = Some("it was called off".to_string());
        if self.end_job(job, JobStatus::Cancelled, reason.clone(), now) {
            return true;
        }
        let Some(created_at) = waiting.filter(|_| !self.cancelled.contains(&job)) else { return false };
        let open =
            OpenJob { count: 0, created_at, deadline: None, parent: None, notes: None, known: false, touched: true };
        let ended = self.job_of(job, &open, JobStatus::Cancelled, reason, Some(now));
        self.ended.push(JobWrite { job: ended, known: false });
        self.cancelled.insert(job);
        self.header_dirty = true;
        true
    }

    /// Sets a breakpoint.
    pub fn set_breakpoint(&mut self, breakpoint: Breakpoint) {
        if !self.breakpoints.contains(&breakpoint) {
            self.breakpoints.push(breakpoint);
            self.header_dirty = true;
        }
    }

    /// Takes the breakpoints of a routine away; says whether there were any.
    pub fn clear_breakpoints(&mut self, routine: &str) -> bool {
        let before = self.breakpoints.len();
        self.breakpoints.retain(|breakpoint| breakpoint.routine != routine);
        let any = self.breakpoints.len() < before;
        self.header_dirty |= any;
        if let Some(place) = self.flow.place(routine) {
            self.nodes[place].steps = 0;
            self.enqueue(place);
        }
        any
    }

    /// Allows a routine one turn in spite of its breakpoints; false when there is no such routine.
    pub fn step(&mut self, routine: &str) -> bool {
        let Some(place) = self.flow.place(routine) else { return false };
        self.nodes[place].steps += 1;
        self.enqueue(place);
        true
    }

    /// A routine's state, to be looked at; nothing when there is no such routine.
    pub fn state(&mut self, routine: &str) -> Option<&dyn Any> {
        let place = self.flow.place(routine)?;
        self.nodes[place].kept.as_mut().map(|kept| &*kept.any())
    }

    /// Changes a routine's state by hand; it is to be written then. A change that panics changes nothing, and gives nothing,
    /// as one of a routine that is not there, or is [at work](Engine::is_at_work).
    pub fn update_state<R>(&mut self, routine: &str, change: impl FnOnce(&mut dyn Any) -> R) -> Option<R> {
        let place = self.flow.place(routine).filter(|place| self.nodes[*place].turns == 0)?;
        let node = &mut self.nodes[place];
        let kept = node.kept.as_mut()?;
        let before = kept.copy();
        match catch_unwind(AssertUnwindSafe(|| change(kept.any()))) {
            Ok(result) => {
                node.dirty = true;
                Some(result)
            }
            Err(_panic) => {
                node.kept = Some(before);
                None
            }
        }
    }

    /// Whether a routine is at work on its state, so that nobody else may change it now.
    pub fn is_at_work(&self, routine: &str) -> bool {
        self.flow.place(routine).is_some_and(|place| self.nodes[place].turns > 0)
    }

    /// Puts a state in place of the present one.
    ///
    /// # Errors
    /// [`PayloadError`] when it is no state of this routine.
    pub fn replace_state(&mut self, routine: &str, state: &Payload) -> Result<bool, PayloadError> {
        let Some(place) = self.flow.place(routine) else { return Ok(false) };
        let kept = self.flow.0.routines[place].logic.load(state)?;
        (self.nodes[place].kept, self.nodes[place].dirty) = (Some(kept), true);
        Ok(true)
    }

    /// Puts a routine into the queue of those that may have a turn.
    pub(crate) fn enqueue(&mut self, place: usize) {
        if !std::mem::replace(&mut self.nodes[place].queued, true) {
            self.ready.push_back(place);
        }
    }

    /// Room came free here: those that feed it may go on.
    pub(crate) fn unblock(&mut self, place: usize) {
        let flow = self.flow.clone();
        for source in &flow.0.upstream[place] {
            self.enqueue(*source);
        }
    }

    fn put(&mut self, routine: usize, slot: usize, datum: Datum, jobs: JobSet, volatile: bool, at: Timestamp) {
        self.retain(&jobs);
        let node = &mut self.nodes[routine];
        node.slots[slot].push(Item { datum, jobs, at, row: None, volatile });
        node.filled = true;
        self.enqueue(routine);
    }

    fn drop_oldest(&mut self, routine: usize, slot: usize, now: Timestamp) {
        let queue = &mut self.nodes[routine].slots[slot];
        let Some(item) = queue.pop() else { return };
        queue.dropped += 1;
        self.forget_item(item.row);
        let flow = self.flow.clone();
        let feeds = |route: &Route| (route.routine, route.slot) == (routine, slot);
        if flow.0.routes.iter().flatten().flatten().any(feeds) {
            // A piece that was made on the way: it is counted, and its job goes on without it.
            return self.release(&item.jobs, now);
        }
        let error = format!("it gave way in the full slot {}", flow.0.routines[routine].slots[slot].name);
        for job in item.jobs.ids() {
            let Some(open) = self.jobs.get_mut(job) else { continue };
            open.count = open.count.saturating_sub(1);
            // Only posts come here, and this was all its job was.
            if open.count == 0 {
                self.end_job(*job, JobStatus::Failed, Some(error.clone()), now);
            }
        }
    }

    fn is_blocked(&self, graph: &Graph, place: usize) -> bool {
        graph.routes[place].iter().flatten().any(|route| {
            let slot = &graph.routines[route.routine].slots[route.slot];
            let waits = matches!(slot.overflow, Overflow::Wait | Overflow::WaitFor(_));
            route.presses && waits && self.nodes[route.routine].slots[route.slot].len() >= slot.data_max
        })
    }

    fn is_stopped(&mut self, spec: &RoutineSpec, place: usize) -> bool {
        let next = || self.nodes[place].slots.iter().filter_map(|slot| slot.first()).min_by_key(|item| item.at);
        let stops = self.breakpoints.iter().any(|breakpoint| {
            breakpoint.routine == spec.name
                && breakpoint.job.is_none_or(|job| next().is_some_and(|item| item.jobs.ids().contains(&job)))
        });
        stops && self.nodes[place].steps == 0
    }

    /// Gives a routine a turn, if it is its turn.
    fn turn(&mut self, graph: &Graph, place: usize, moment: FlowMoment<'_>) {
        let spec = &graph.routines[place];
        let node = &self.nodes[place];
        if node.slots.iter().all(SlotQueue::is_empty) || (!spec.is_inline() && node.turns >= spec.turns_max()) {
            return;
        }
        if (!self.breakpoints.is_empty() && self.is_stopped(spec, place)) || self.is_blocked(graph, place) {
            return;
        }
        let Some(activate) = self.decide(graph, place, moment) else { return };
        let node = &mut self.nodes[place];
        node.steps = node.steps.saturating_sub(1);
        (node.last, node.wake) = (Some(moment.now), None);
        self.turns += 1;
        let Some(task) = self.take(graph, place, activate, moment) else { return };
        self.header_dirty |= spec.policy.is_interval() && !task.volatile;
        let full = |node: &Node| node.slots.iter().zip(&spec.slots).any(|(slot, spec)| slot.len() + 1 >= spec.data_max);
        if full(&self.nodes[place]) || task.inputs.len() > 1 {
            self.unblock(place);
        }
        // There may be more: it is asked again behind the others.
        if self.nodes[place].slots.iter().any(|slot| !slot.is_empty()) {
            self.enqueue(place);
        }
        if spec.is_inline() {
            return self.perform(graph, task, moment);
        }
        self.nodes[place].turns += 1;
        let id = self.number();
        self.tasks.insert(id, task);
    }

    pub(crate) fn number(&mut self) -> u64 {
        let number = self.next_row;
        self.next_row += 1;
        number
    }

    fn decide(&mut self, graph: &Graph, place: usize, moment: FlowMoment<'_>) -> Option<Activate> {
        let (spec, node) = (&graph.routines[place], &self.nodes[place]);
        let view = PolicyView {
            specs: &spec.slots,
            slots: &node.slots,
            now: moment.now,
            last: node.last,
            idle: moment.idle,
            closing: moment.closing,
        };
        if spec.policy.is_immediate() && node.slots.len() == 1 {
            return Some(Activate { take: Take::One(0), note: None, flushed: false });
        }
        match catch_unwind(AssertUnwindSafe(|| spec.policy.decide(&view))) {
            Ok(Decision::Take(activate)) => Some(activate),
            Ok(Decision::Wait(until)) => {
                self.nodes[place].wake = until;
                None
            }
            Err(panic) => {
                // The data it could not decide about are the turn that failed.
                let failure = panicked(panic.as_ref());
                let failure = RoutineFailure { reason: format!("its policy: {}", failure.reason), ..failure };
                let task = self.take(graph, place, Activate::all(), moment)?;
                self.fail(graph, task, failure, moment.now);
                None
            }
        }
    }

    /// Takes the data of a turn out of their slots.
    fn take(&mut self, graph: &Graph, place: usize, activate: Activate, moment: FlowMoment<'_>) -> Option<Task> {
        let Activate { take, note, flushed } = activate;
        let slots = &mut self.nodes[place].slots;
        let task = |inputs, jobs, volatile| Task {
            routine: place,
            inputs,
            jobs,
            attempt: 1,
            due: None,
            since: moment.now,
            flushed,
            note: note.clone(),
            volatile,
            started: false,
            saved: false,
            has_row: false,
        };
        if let Take::One(slot) = take {
            let item = slots.get_mut(slot)?.pop()?;
            self.forget_item(item.row);
            let slot = u16::try_from(slot).unwrap_or(u16::MAX);
            let mut inputs =
                self.scratch.as_mut().map(|scratch| std::mem::take(&mut scratch.inputs)).unwrap_or_default();
            inputs.push((slot, item.datum));
            return Some(task(inputs, item.jobs, item.volatile));
        }
        let mut taken: Vec<(u16, Item)> = Vec::new();
        if let Take::Places(places) = &take {
            for (slot, place) in places {
                let item = slots.get_mut(*slot).and_then(|slot| slot.remove(*place));
                taken.extend(item.map(|item| (u16::try_from(*slot).unwrap_or(u16::MAX), item)));
            }
        } else {
            for (number, slot) in slots.iter_mut().enumerate() {
                let count = match &take {
                    Take::OneEach => 1,
                    Take::Each(count) => *count,
                    Take::Counts(counts) => counts.get(number).copied().unwrap_or(0),
                    _ => usize::MAX,
                };
                let number = u16::try_from(number).unwrap_or(u16::MAX);
                taken.extend(slot.drain(count).map(|item| (number, item)));
            }
        }
        let jobs = JobSet::union(taken.iter().map(|(_, item)| &item.jobs))?;
        let _ = graph;
        self.retain(&jobs);
        let mut inputs = Vec::with_capacity(taken.len());
        let mut volatile = true;
        for (slot, item) in taken {
            self.forget_item(item.row);
            self.release(&item.jobs, moment.now);
            volatile &= item.volatile;
            inputs.push((slot, item.datum));
        }
        Some(task(inputs, jobs, volatile))
    }

    pub(crate) fn context(&self, spec: &Arc<RoutineSpec>, task: &Task, now: Timestamp) -> CallContext {
        CallContext {
            spec: spec.clone(),
            person: self.person,
            now,
            chance: self.chance(task),
            attempt: task.attempt,
            inputs: task.inputs.clone(),
            jobs: task.jobs.clone(),
            notes: self.notes(task),
            flushed: task.flushed,
            note: task.note.clone(),
            resources: self.resources.clone(),
            emitted: Vec::new(),
            effects: Vec::new(),
            drafts: Vec::new(),
            announcements: Vec::new(),
            writes: Vec::new(),
        }
    }

    fn chance(&self, task: &Task) -> u64 {
        let job = task.jobs.ids().first().map_or(0, |job| job.0);
        chance(self.seed, &[self.person.0, job, task.routine as i64, i64::from(task.attempt)])
    }

    fn notes(&self, task: &Task) -> Option<Arc<crate::flow::JobNotes>> {
        self.jobs.get(task.jobs.ids().first()?)?.notes.clone()
    }

    /// Has a turn at once.
    fn perform(&mut self, graph: &Graph, mut task: Task, moment: FlowMoment<'_>) {
        let (place, spec) = (task.routine, &graph.routines[task.routine]);
        if let Some(reason) = moment.refused {
            return self.fail(graph, task, RoutineFailure::new(FailureKind::Refused, reason), moment.now);
        }
        if !graph.hooks.is_empty() && !self.is_allowed(graph, &task, moment.now) {
            return self.skip(graph, task, "a hook forbade the turn".into(), moment.now);
        }
        let context = match self.scratch.take() {
            Some(mut context) => {
                context.inputs = std::mem::take(&mut task.inputs);
                context.spec = spec.clone();
                (context.now, context.attempt) = (moment.now, task.attempt);
                context.chance = self.chance(&task);
                context.jobs = task.jobs.clone();
                context.notes = self.notes(&task);
                (context.flushed, context.note) = (task.flushed, task.note.take());
                context
            }
            None => {
                let context = Box::new(self.context(spec, &task, moment.now));
                task.inputs.clear();
                context
            }
        };
        let mut kept = self.nodes[place].kept.take().unwrap_or_else(|| spec.logic.fresh());
        kept.begin();
        let began = moment.clock.map(|clock| clock());
        let (LogicTurn { mut context, mut kept }, ended) = spec.logic.perform(LogicTurn { context, kept });
        if let (Some(began), Some(clock)) = (began, moment.clock) {
            self.nodes[place].counts.took(clock().since(began));
        }
        let ended = ended.and_then(|()| self.find_room(graph, place, &context.emitted));
        match &ended {
            Ok(()) => self.nodes[place].dirty |= kept.is_changed(),
            Err(_) => kept.roll_back(),
        }
        self.nodes[place].kept = Some(kept);
        task.inputs = std::mem::take(&mut context.inputs);
        task.note = context.note.take();
        self.settle(graph, task, context, ended, moment);
    }

    fn is_allowed(&self, graph: &Graph, task: &Task, now: Timestamp) -> bool {
        let turn = self.view(graph, task, now);
        graph.hooks.iter().all(|hook| fenced(|| hook.begins(&turn)))
    }

    fn view<'a>(&self, graph: &'a Graph, task: &'a Task, now: Timestamp) -> TurnView<'a> {
        let routine = graph.routines[task.routine].name.as_str();
        TurnView { worker: self.person, routine, jobs: task.jobs.ids(), attempt: task.attempt, now }
    }

    /// What a turn did counts, or not.
    fn settle(
        &mut self,
        graph: &Graph,
        task: Task,
        mut context: Box<CallContext>,
        ended: FlowEnded,
        moment: FlowMoment<'_>,
    ) {
        for hook in &graph.hooks {
            let turn = self.view(graph, &task, moment.now);
            fenced(|| {
                hook.ends(&turn, ended.as_ref().err());
                true
            });
        }
        if let Err(failure) = ended {
            // What it was given is the task's, and goes with it.
            context.inputs.clear();
            context.emitted.clear();
            context.effects.clear();
            context.drafts.clear();
            context.announcements.clear();
            context.writes.clear();
            self.scratch = Some(context);
            return self.fail(graph, task, failure, moment.now);
        }
        let (place, now) = (task.routine, moment.now);
        self.nodes[place].counts.activations += 1;
        if self.traced {
            context.effects.push(JobEffect::Trace("done".into()));
        }
        if !context.effects.is_empty() {
            let effects = std::mem::take(&mut context.effects);
            self.apply_effects(&task.jobs, &graph.routines[place].name, effects, now);
        }
        let mut emitted = std::mem::take(&mut context.emitted);
        for (event, datum) in emitted.drain(..) {
            if !self.route(graph, &task, usize::from(event), datum, now) {
                break;
            }
        }
        context.emitted = emitted;
        self.drafts.append(&mut context.drafts);
        self.announcements.append(&mut context.announcements);
        self.writes.append(&mut context.writes);
        self.release(&task.jobs, now);
        context.inputs = task.inputs;
        context.inputs.clear();
        self.scratch = Some(context);
    }

    /// Whether all that a turn emits finds room in slots that reject what they cannot hold: else the turn has failed, and its
    /// strategy says what becomes of it.
    fn find_room(&self, graph: &Graph, place: usize, emitted: &[(u16, Datum)]) -> FlowEnded {
        if !graph.may_be_rejected[place] {
            return Ok(());
        }
        let mut coming: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (event, datum) in emitted {
            for route in &graph.routes[place][usize::from(*event)] {
                let spec = &graph.routines[route.routine];
                let slot = &spec.slots[route.slot];
                // One that panics says so when it is its turn.
                let passes = |map: &Map| matches!(catch_unwind(AssertUnwindSafe(|| map(datum))), Ok(Some(_)));
                if slot.overflow != Overflow::Reject || route.map.as_ref().is_some_and(|map| !passes(map)) {
                    continue;
                }
                let coming = coming.entry((route.routine, route.slot)).or_default();
                *coming += 1;
                if self.nodes[route.routine].slots[route.slot].len() + *coming > slot.data_max {
                    let reason = format!("the slot {}.{} is full", spec.name, slot.name);
                    return Err(RoutineFailure::new(FailureKind::NoRoom, reason));
                }
            }
        }
        Ok(())
    }

    /// Sends what was emitted along its connections; false when that was the end of its jobs, and nothing else of it is to go.
    fn route(&mut self, graph: &Graph, task: &Task, event: usize, datum: Datum, now: Timestamp) -> bool {
        if !graph.hooks.is_empty() {
            let name = &graph.routines[task.routine].events[event].name;
            let turn = self.view(graph, task, now);
            if !graph.hooks.iter().all(|hook| fenced(|| hook.emits(&turn, name))) {
                return true;
            }
        }
        let routes = &graph.routes[task.routine][event];
        self.nodes[task.routine].counts.emitted += 1;
        if routes.is_empty() {
            self.unconnected += 1;
            return true;
        }
        for route in routes {
            let mapped = match &route.map {
                Some(map) => match catch_unwind(AssertUnwindSafe(|| map(&datum))) {
                    Ok(mapped) => mapped,
                    Err(panic) => {
                        let failure = panicked(panic.as_ref());
                        self.nodes[task.routine].counts.note_failure(&failure);
                        for job in task.jobs.ids() {
                            let error = Some(format!("a mapping: {failure}"));
                            self.end_job(*job, JobStatus::Failed, error, now);
                        }
                        return false;
                    }
                },
                None => Some(datum.clone()),
            };
            let Some(datum) = mapped else { continue };
            let slot = &graph.routines[route.routine].slots[route.slot];
            if self.nodes[route.routine].slots[route.slot].len() >= slot.data_max {
                match slot.overflow {
                    Overflow::DropNewest => {
                        self.nodes[route.routine].slots[route.slot].dropped += 1;
                        continue;
                    }
                    Overflow::DropOldest => self.drop_oldest(route.routine, route.slot, now),
                    _ => {}
                }
            }
            self.put(route.routine, route.slot, datum, task.jobs.clone(), task.volatile, now);
        }
        true
    }

    /// A turn has failed: its strategy says what becomes of it.
    fn fail(&mut self, graph: &Graph, task: Task, failure: RoutineFailure, now: Timestamp) {
        let (place, spec) = (task.routine, &graph.routines[task.routine]);
        self.nodes[place].counts.note_failure(&failure);
        let mut strategy = spec.strategy.as_ref().unwrap_or(&graph.strategy);
        if let ErrorStrategy::Retry { policy, then } = strategy {
            let chance = self.chance(&task);
            let retryable = failure.is_retryable() && (policy.retryable)(&failure);
            let delay = retryable.then(|| policy.delay(task.attempt, chance)).flatten();
            let in_time = |delay: &std::time::Duration| {
                policy.deadline.is_none_or(|deadline| now.since(task.since).saturating_add(*delay) <= deadline)
            };
            if let Some(delay) = delay.filter(in_time) {
                return self.repeat(graph, task, &failure, now.after(delay), now);
            }
            strategy = then;
        }
        match strategy {
            ErrorStrategy::Continue => {
                self.nodes[place].counts.continued += 1;
                self.go_on(graph, task, "error_continued", &failure.to_string(), now);
            }
            ErrorStrategy::Skip => self.skip(graph, task, failure.to_string(), now),
            ErrorStrategy::Stop | ErrorStrategy::Retry { .. } => {
                let error = format!("{}: {failure}", spec.name);
                self.note(graph, &task, format!("stopped: {failure}"), now);
                for job in task.jobs.ids() {
                    // What failed is not among what else of it waits.
                    if let Some(open) = self.jobs.get_mut(job) {
                        open.count = open.count.saturating_sub(1);
                    }
                    self.end_job(*job, JobStatus::Failed, Some(error.clone()), now);
                }
            }
        }
    }

    fn skip(&mut self, graph: &Graph, task: Task, reason: String, now: Timestamp) {
        self.nodes[task.routine].counts.skipped += 1;
        self.go_on(graph, task, "skipped", &reason, now);
    }

    fn go_on(&mut self, graph: &Graph, task: Task, how: &str, reason: &str, now: Timestamp) {
        self.note(graph, &task, format!("{how}: {reason}"), now);
        self.release(&task.jobs, now);
    }

    fn note(&mut self, graph: &Graph, task: &Task, action: String, now: Timestamp) {
        self.apply_effects(&task.jobs, &graph.routines[task.routine].name, vec![JobEffect::Trace(action)], now);
    }

    fn repeat(&mut self, graph: &Graph, task: Task, failure: &RoutineFailure, due: Timestamp, now: Timestamp) {
        self.nodes[task.routine].counts.retried += 1;
        let text = format!("attempt {} failed: {failure}", task.attempt);
        self.note(graph, &task, text, now);
        let attempt = task.attempt.saturating_add(1);
        let again = Task { attempt, due: Some(due), started: false, saved: false, has_row: false, ..task };
        let id = self.number();
        self.tasks.insert(id, again);
    }

    pub(crate) fn drop_task(&mut self, id: u64, now: Timestamp) {
        let Some(task) = self.tasks.remove(&id) else { return };
        if task.has_row {
            self.forget_task(id);
        }
        if task.due.is_none() && !self.flow.0.routines[task.routine].is_inline() {
            let node = &mut self.nodes[task.routine];
            node.turns = node.turns.saturating_sub(1);
            self.enqueue(task.routine);
        }
        self.release(&task.jobs, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{ActivationPolicy, Call, FlowRoutine, FlowSaved, Job};
    use crate::{EnvelopeId, RetryPolicy};
    use std::time::Duration;

    fn at(second: i64) -> FlowMoment<'static> {
        FlowMoment::at(Timestamp::from_seconds(second))
    }

    fn idle(second: i64) -> FlowMoment<'static> {
        FlowMoment { idle: true, ..at(second) }
    }

    fn engine(flow: Flow) -> Engine {
        Engine::new(flow, PersonId(1), 7)
    }

    fn post(engine: &mut Engine, id: i64, slot: &str, data: &[u64]) -> Admission {
        let (routine, slot) = slot.split_once('.').unwrap();
        let post = Post::new(routine, slot, data).unwrap();
        engine.admit(&post, JobId::of(EnvelopeId(id), 0), Timestamp::default(), at(0))
    }

    fn jobs(saved: &FlowSaved) -> Vec<(i64, JobStatus)> {
        saved.jobs.iter().map(|write| (write.job.id.envelope().unwrap().0, write.job.status)).collect()
    }

    fn save(engine: &mut Engine) -> FlowSaved {
        engine.save(1 << 20).unwrap()
    }

    /// Adds up what it gets, and passes it on.
    fn sum() -> FlowRoutine {
        let logic = |call: &mut Call<u64>| {
            for number in call.all::<u64>("in") {
                *call.state_mut() += *number;
                if *number == 13 {
                    return Err(RoutineFailure::new(FailureKind::Returned, "unlucky"));
                }
                if *number == 666 {
                    panic!("as asked");
                }
                call.emit("out", *number)?;
            }
            Ok(())
        };
        FlowRoutine::new(logic).slot::<u64>("in").event::<u64>("out")
    }

    fn state(engine: &mut Engine, routine: &str) -> u64 {
        *engine.state(routine).unwrap().downcast_ref::<u64>().unwrap()
    }

    fn one() -> Flow {
        one_with(sum())
    }

    fn one_with(routine: FlowRoutine) -> Flow {
        Flow::builder("f").routine("a", routine).build().unwrap()
    }

    fn chain() -> Flow {
        let flow = Flow::builder("f").routine("a", sum()).routine("b", sum()).connect("a.out", "b.in");
        flow.build().unwrap()
    }

    #[test]
    fn each_post_is_a_job_that_ends_with_its_last_consequence() {
        let mut engine = engine(chain());
        for id in 1..=3 {
            assert_eq!(post(&mut engine, id, "a.in", &[id as u64]), Admission::Taken);
        }
        let saved = save(&mut engine);
        assert_eq!(jobs(&saved), [1, 2, 3].map(|id| (id, JobStatus::Completed)));
        assert_eq!((state(&mut engine, "a"), state(&mut engine, "b")), (6, 6));
        assert_eq!((engine.open_count(), engine.unconnected, engine.is_dirty()), (0, 3, false));
        assert_eq!(saved.rows.len(), 2, "the states, once, and nothing of what passed through");
    }

    #[test]
    fn a_failure_stops_its_job_alone_and_leaves_no_trace_in_the_state() {
        let mut engine = engine(chain());
        post(&mut engine, 1, "a.in", &[5, 13, 666, 7]);
        let saved = save(&mut engine);
        let ended: Vec<_> = saved.jobs.iter().map(|write| (write.job.id.place(), write.job.status)).collect();
        use JobStatus::{Completed, Failed};
        assert_eq!(ended, [(0, Completed), (1, Failed), (2, Failed), (3, Completed)]);
        assert_eq!(saved.jobs[1].job.error.as_deref(), Some("a: failed: unlucky"));
        assert_eq!(saved.jobs[2].job.error.as_deref(), Some("a: panicked: as asked"));
        assert_eq!((state(&mut engine, "a"), state(&mut engine, "b")), (12, 12));
    }

    #[test]
    fn what_cannot_be_taken_fails_and_is_said() {
        let mut engine = engine(one());
        post(&mut engine, 1, "x.in", &[1]);
        let text = Post::new("a", "in", &["text".to_string()]).unwrap();
        engine.admit(&text, JobId::of(EnvelopeId(2), 0), Timestamp::default(), at(0));
        let saved = save(&mut engine);
        assert_eq!(saved.jobs[0].job.error.as_deref(), Some("the flow has no slot x.in"));
        assert!(saved.jobs[1].job.error.as_deref().unwrap().contains("not a u64"));
    }

    #[test]
    fn a_strategy_of_the_routine_goes_before_that_of_the_flow() {
        let run = |own: Option<ErrorStrategy>, flow: ErrorStrategy| {
            let routine = own.into_iter().fold(sum(), |routine, own| routine.on_error(own));
            let flow = Flow::builder("f").routine("a", routine).on_error(flow).build().unwrap();
            let mut engine = engine(flow);
            post(&mut engine, 1, "a.in", &[13]);
            let status = save(&mut engine).jobs[0].job.status;
            let counts = &engine.nodes[0].counts;
            (status, counts.continued, counts.skipped)
        };
        use ErrorStrategy::{Continue, Skip, Stop};
        assert_eq!(run(None, Stop), (JobStatus::Failed, 0, 0));
        assert_eq!(run(None, Continue), (JobStatus::Completed, 1, 0));
        assert_eq!(run(Some(Skip), Stop), (JobStatus::Completed, 0, 1));
        assert_eq!(run(Some(Stop), Skip), (JobStatus::Failed, 0, 0));
    }

    fn fails_twice() -> FlowRoutine {
        let logic = |call: &mut Call<()>| match call.attempt() {
            1 | 2 => Err(RoutineFailure::new(FailureKind::Returned, "not yet")),
            _ => Ok(()),
        };
        FlowRoutine::new(logic).slot::<u64>("in")
    }

    fn retrying(attempts_max: u32) -> ErrorStrategy {
        let policy = RetryPolicy { attempts_max, jitter_percent: 0, factor: 2.0, ..RetryPolicy::default() };
        ErrorStrategy::retry(policy)
    }

    #[test]
    fn a_retry_really_repeats_each_task_for_itself_after_its_back_off() {
        let flow = Flow::builder("f").routine("a", fails_twice().on_error(retrying(3))).build().unwrap();
        let mut engine = engine(flow);
        post(&mut engine, 1, "a.in", &[1]);
        assert_eq!(engine.due(), Some(Timestamp::from_seconds(1)));
        post(&mut engine, 2, "a.in", &[1]);
        engine.wake(at(1));
        assert_eq!((engine.due(), engine.open_count()), (Some(Timestamp::from_seconds(3)), 2));
        engine.wake(at(3));
        assert_eq!(jobs(&save(&mut engine)), [(1, JobStatus::Completed), (2, JobStatus::Completed)]);
        assert_eq!(engine.nodes[0].counts.retried, 4);
    }

    #[test]
    fn who_rests_has_no_moment_at_which_a_retry_comes_due() {
        let flow = Flow::builder("f").routine("a", fails_twice().on_error(retrying(3))).build().unwrap();
        let mut engine = engine(flow);
        post(&mut engine, 1, "a.in", &[1]);
        engine.rest(true);
        assert_eq!(engine.due(), None, "it would be woken again and again for what it may not begin");
        engine.rest(false);
        assert_eq!(engine.due(), Some(Timestamp::from_seconds(1)));
    }

    #[test]
    fn a_mapping_that_panics_is_the_end_of_all_that_its_turn_emitted() {
        let twice = |call: &mut Call<()>| {
            let number = call.first::<u64>("in").map_or(0, |number| *number);
            call.emit("out", number)?;
            Ok(call.emit("out", number + 1)?)
        };
        let twice = FlowRoutine::new(twice).slot::<u64>("in").event::<u64>("out");
        let flow = Flow::builder("f").routine("a", twice).routine("b", sum());
        let flow = flow.connect_mapped("a.out", "b.in", |number: &u64| {
            assert_ne!(*number, 13);
            *number
        });
        let mut engine = engine(flow.build().unwrap());
        post(&mut engine, 1, "a.in", &[13]);
        assert_eq!(jobs(&save(&mut engine)), [(1, JobStatus::Failed)]);
        assert_eq!(state(&mut engine, "b"), 0, "nothing goes on for a job that has ended");
    }

    #[test]
    fn a_retry_in_vain_or_of_what_is_not_retryable_is_a_failure() {
        let run = |strategy: ErrorStrategy| {
            let flow = Flow::builder("f").routine("a", fails_twice().on_error(strategy)).build().unwrap();
            let mut engine = engine(flow);
            post(&mut engine, 1, "a.in", &[1]);
            (0..9).for_each(|second| engine.wake(at(second)));
            let saved = save(&mut engine);
            (saved.jobs[0].job.status, engine.nodes[0].counts.failures)
        };
        assert_eq!(run(retrying(2)), (JobStatus::Failed, 2));
        let never = RetryPolicy { retryable: |_| false, ..RetryPolicy::default() };
        assert_eq!(run(ErrorStrategy::retry(never.clone())), (JobStatus::Failed, 1));
        let late = RetryPolicy { deadline: Some(Duration::from_millis(500)), ..RetryPolicy::default() };
        assert_eq!(run(ErrorStrategy::retry(late)), (JobStatus::Failed, 1));
        let then = Box::new(ErrorStrategy::Continue);
        assert_eq!(run(ErrorStrategy::Retry { policy: never, then }), (JobStatus::Completed, 1));
    }

    fn join(policy: ActivationPolicy) -> Flow {
        let logic = |call: &mut Call<Vec2>| {
            let pair = (call.first::<u64>("left").map_or(0, |x| *x), call.first::<u64>("right").map_or(0, |x| *x));
            call.state_mut().0.push(pair);
            Ok(())
        };
        let routine = FlowRoutine::new(logic).slot::<u64>("left").slot::<u64>("right").policy(policy);
        Flow::builder("f").routine("j", routine).build().unwrap()
    }

    #[derive(Default, Clone, Serialize, Deserialize)]
    struct Vec2(Vec<(u64, u64)>);
    impl crate::Durable for Vec2 {
        const TYPE: &'static str = "pairs";
    }

    #[test]
    fn a_join_pairs_in_order_of_arrival_and_drains_its_backlog_without_another_arrival() {
        let mut engine = engine(join(ActivationPolicy::all_ready()));
        post(&mut engine, 1, "j.left", &[1, 2, 3, 4]);
        post(&mut engine, 2, "j.right", &[5, 6]);
        let pairs = engine.state("j").unwrap().downcast_ref::<Vec2>().unwrap().0.clone();
        assert_eq!((pairs, engine.open_count()), (vec![(1, 5), (2, 6)], 2));
    }

    #[test]
    fn a_batch_flushes_its_tail_when_idle_and_its_jobs_end_with_it() {
        let policy = ActivationPolicy::batch(2).flush_when_idle();
        let flow = Flow::builder("f").routine("a", sum().policy(policy)).build().unwrap();
        let mut engine = engine(flow);
        post(&mut engine, 1, "a.in", &[1, 2, 3]);
        assert_eq!((state(&mut engine, "a"), engine.open_count()), (3, 1));
        engine.run(idle(0));
        assert_eq!((state(&mut engine, "a"), engine.open_count()), (6, 0));
    }

    #[test]
    fn a_full_slot_holds_posts_back_and_what_stops_its_routine_loses_nothing() {
        let flow = Flow::builder("f").routine("a", sum().holding(10, Overflow::Wait)).build().unwrap();
        let mut engine = engine(flow);
        engine.set_breakpoint(Breakpoint { routine: "a".into(), job: None });
        let admitted: Vec<_> = (1..=12).map(|id| post(&mut engine, id, "a.in", &[1])).collect();
        assert_eq!(admitted.iter().filter(|admission| **admission == Admission::Held).count(), 2);
        engine.step("a");
        engine.run(at(0));
        assert_eq!((state(&mut engine, "a"), engine.nodes[0].slots[0].len()), (1, 9));
        engine.clear_breakpoints("a");
        engine.run(at(0));
        assert_eq!(state(&mut engine, "a"), 10);
    }

    #[test]
    fn a_routine_before_a_full_slot_waits_and_goes_on_by_itself() {
        let slow = sum().holding(3, Overflow::Wait);
        let flow = Flow::builder("f").routine("a", sum()).routine("b", slow).connect("a.out", "b.in").build().unwrap();
        let mut engine = engine(flow);
        engine.set_breakpoint(Breakpoint { routine: "b".into(), job: None });
        post(&mut engine, 1, "a.in", &[1; 20]);
        assert_eq!((engine.nodes[0].slots[0].len(), engine.nodes[1].slots[0].len()), (17, 3));
        engine.clear_breakpoints("b");
        engine.run(at(0));
        assert_eq!((state(&mut engine, "b"), engine.open_count()), (20, 0));
    }

    #[test]
    fn what_a_full_slot_drops_is_counted_and_its_job_says_so() {
        for (overflow, lost) in [(Overflow::DropOldest, [0, 1]), (Overflow::DropNewest, [2, 3])] {
            let flow = Flow::builder("f").routine("a", sum().holding(2, overflow)).build().unwrap();
            let mut engine = engine(flow);
            engine.set_breakpoint(Breakpoint { routine: "a".into(), job: None });
            post(&mut engine, 1, "a.in", &[1; 4]);
            let saved = save(&mut engine);
            let failed = saved.jobs.iter().filter(|write| write.job.status == JobStatus::Failed);
            assert_eq!(failed.map(|write| write.job.id.place()).collect::<Vec<_>>(), lost);
            assert_eq!((engine.nodes[0].slots[0].dropped, engine.open_count()), (2, 2));
        }
    }

    #[test]
    fn what_is_dropped_on_the_way_is_counted_and_its_job_goes_on() {
        for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
            let flow = Flow::builder("f").routine("a", sum()).routine("b", sum().holding(2, overflow));
            let mut engine = engine(flow.connect("a.out", "b.in").build().unwrap());
            engine.set_breakpoint(Breakpoint { routine: "b".into(), job: None });
            post(&mut engine, 1, "a.in", &[1; 5]);
            assert_eq!((engine.nodes[1].slots[0].dropped, engine.open_count()), (3, 2));
            engine.clear_breakpoints("b");
            engine.run(at(0));
            let saved = save(&mut engine);
            assert!(saved.jobs.iter().all(|write| write.job.status == JobStatus::Completed), "{overflow:?}");
            assert_eq!((saved.jobs.len(), state(&mut engine, "b")), (5, 2));
        }
    }

    #[test]
    fn a_turn_whose_emission_is_rejected_has_failed_and_its_strategy_decides() {
        use ErrorStrategy::{Continue, Skip, Stop};
        for (strategy, ended) in
            [(Stop, JobStatus::Failed), (Continue, JobStatus::Completed), (Skip, JobStatus::Completed)]
        {
            let flow = Flow::builder("f").routine("a", sum().on_error(strategy));
            let flow = flow.routine("b", sum().holding(2, Overflow::Reject)).routine("c", sum());
            let mut engine = engine(flow.connect("a.out", "c.in").connect("a.out", "b.in").build().unwrap());
            engine.set_breakpoint(Breakpoint { routine: "b".into(), job: None });
            post(&mut engine, 1, "a.in", &[1; 5]);
            let saved = save(&mut engine);
            let ends = saved.jobs.iter().filter(|write| write.job.status.is_final()).map(|write| write.job.status);
            assert_eq!(ends.collect::<Vec<_>>(), [ended; 3]);
            // Such a turn leaves no trace, at the other ends of its connections either.
            assert_eq!((state(&mut engine, "a"), state(&mut engine, "c"), engine.nodes[1].slots[0].len()), (2, 2, 2));
        }
        let flow = Flow::builder("f").routine("a", sum().on_error(retrying(9)));
        let flow = flow.routine("b", sum().holding(1, Overflow::Reject));
        let mut engine = engine(flow.connect("a.out", "b.in").build().unwrap());
        engine.set_breakpoint(Breakpoint { routine: "b".into(), job: None });
        post(&mut engine, 1, "a.in", &[1; 2]);
        engine.clear_breakpoints("b");
        engine.run(at(0));
        engine.wake(at(1));
        let saved = save(&mut engine);
        assert!(saved.jobs.iter().all(|write| write.job.status == JobStatus::Completed));
        assert_eq!((state(&mut engine, "b"), engine.open_count()), (2, 0));
    }

    #[test]
    fn a_cycle_goes_round_until_nothing_is_emitted() {
        let countdown = |call: &mut Call<()>| {
            let number = call.first::<u64>("in").map_or(0, |number| *number);
            if number > 0 {
                call.emit("again", number - 1)?;
            }
            Ok(())
        };
        let routine = FlowRoutine::new(countdown).slot::<u64>("in").holding(1, Overflow::Wait).event::<u64>("again");
        let flow = Flow::builder("f").routine("a", routine).connect("a.again", "a.in").build().unwrap();
        let mut engine = engine(flow);
        post(&mut engine, 1, "a.in", &[1_000]);
        assert_eq!((engine.nodes[0].counts.activations, engine.open_count()), (1_001, 0));
    }

    #[test]
    fn a_deadline_fails_a_job_and_takes_what_waits_of_it() {
        let mut engine = engine(join(ActivationPolicy::all_ready()));
        let mut post = Post::new("j", "left", &[1_u64]).unwrap();
        post.deadline = Some(Timestamp::from_seconds(9));
        engine.admit(&post, JobId::of(EnvelopeId(1), 0), Timestamp::default(), at(0));
        assert_eq!(engine.due(), Some(Timestamp::from_seconds(9)));
        engine.wake(at(9));
        assert_eq!(jobs(&save(&mut engine)), [(1, JobStatus::Failed)]);
        assert_eq!((engine.nodes[0].slots[0].len(), engine.due()), (0, None));
    }

    #[test]
    fn a_job_ends_once_and_one_called_off_before_it_came_never_begins() {
        let mut engine = engine(join(ActivationPolicy::all_ready()));
        post(&mut engine, 1, "j.left", &[1]);
        let job = JobId::of(EnvelopeId(1), 0);
        assert!(engine.cancel(job, None, Timestamp::default()));
        assert!(!engine.cancel(job, None, Timestamp::default()));
        let next = JobId::of(EnvelopeId(2), 0);
        assert!(engine.cancel(next, Some(Timestamp::default()), Timestamp::default()));
        post(&mut engine, 2, "j.left", &[1]);
        assert_eq!(jobs(&save(&mut engine)), [(1, JobStatus::Cancelled), (2, JobStatus::Cancelled)]);
        assert_eq!((engine.open_count(), engine.cancelled.len()), (0, 0));
    }

    #[test]
    fn pooled_turns_wait_for_their_row_and_end_once() {
        let pooled = FlowRoutine::pooled(|call: &mut Call<u64>| {
            *call.state_mut() += 1;
            Ok(())
        });
        let flow = Flow::builder("f").routine("p", pooled.slot::<u64>("in")).build().unwrap();
        let mut engine = engine(flow);
        post(&mut engine, 1, "p.in", &[1, 1]);
        assert!(engine.starting(Timestamp::default()).is_empty(), "nothing of it is durable");
        save(&mut engine);
        for left in [1, 0] {
            let mut runs = engine.starting(Timestamp::default());
            assert_eq!(runs.len(), 1, "with a state, one at a time");
            engine.finish(runs.remove(0).perform(), at(1));
            save(&mut engine);
            assert_eq!(engine.open_count(), left);
        }
        assert_eq!(state(&mut engine, "p"), 2);
    }

    #[test]
    fn a_turn_gets_nothing_of_one_that_failed_before_it() {
        let pooled = |call: &mut Call<()>| match (call.attempt(), call.all::<u64>("in").len()) {
            (1, _) => Err(RoutineFailure::new(FailureKind::Returned, "not yet")),
            (_, 1) => Ok(()),
            (_, count) => panic!("{count} data"),
        };
        let pooled = FlowRoutine::pooled(pooled).slot::<u64>("in").on_error(retrying(2));
        let flow = Flow::builder("f").routine("p", pooled).build().unwrap();
        let mut engine = engine(flow);
        for second in 0..6 {
            post(&mut engine, 1 + second, "p.in", &[7]);
            save(&mut engine);
            for run in engine.starting(Timestamp::from_seconds(2 * second)) {
                engine.finish(run.perform(), at(2 * second));
            }
        }
        for _ in 0..3 {
            save(&mut engine);
            for run in engine.starting(Timestamp::from_seconds(99)) {
                engine.finish(run.perform(), at(99));
            }
        }
        assert_eq!(
            (engine.open_count(), engine.nodes[0].counts.activations, engine.nodes[0].counts.failures),
            (0, 6, 6)
        );
    }

    /// A store of one worker: rows and open jobs.
    #[derive(Default)]
    struct Disk {
        rows: BTreeMap<String, Payload>,
        jobs: BTreeMap<JobId, Job>,
    }

    impl Disk {
        fn write(&mut self, saved: FlowSaved) {
            for name in &saved.forgotten {
                self.rows.remove(name);
            }
            self.rows.extend(saved.rows.into_iter().map(|row| (row.name, row.payload)));
            for JobWrite { job, known } in saved.jobs {
                let before = self.jobs.insert(job.id, job);
                assert_eq!(before.is_some(), known);
                assert!(before.is_none_or(|before| !before.status.is_final()), "terminal exactly once");
            }
        }

        fn recover(&self, flow: Flow) -> Engine {
            let rows: Vec<_> = self.rows.iter().map(|(name, row)| (name.clone(), row.clone())).collect();
            let open = self.jobs.values().filter(|job| !job.status.is_final()).cloned().collect();
            Engine::recovered(flow, PersonId(1), 7, &rows, open, Timestamp::default()).unwrap()
        }
    }

    fn everything() -> Flow {
        let pooled = FlowRoutine::pooled(|call: &mut Call<u64>| {
            for number in call.all::<u64>("in") {
                *call.state_mut() += *number;
                call.emit("out", *number)?;
            }
            Ok(())
        });
        Flow::builder("f")
            .routine("a", sum().holding(4, Overflow::Wait))
            .routine("p", pooled.slot::<u64>("in").event::<u64>("out"))
            .routine("b", sum().policy(ActivationPolicy::batch(3).flush_when_idle()).on_error(ErrorStrategy::Skip))
            .routine("r", fails_twice().on_error(retrying(3)))
            .connect("a.out", "p.in")
            .connect("a.out", "b.in")
            .connect("p.out", "r.in")
            .build()
            .unwrap()
    }

    type Ending = (Vec<(JobId, JobStatus)>, Vec<(String, Payload)>);

    /// Plays posts with crashes before or after commits, at moments that follow from the seed; gives what was left.
    fn play(seed: u64, crashes: bool) -> Ending {
        let (mut disk, mut engine, mut step) = (Disk::default(), engine(everything()), 0);
        let mut dice = |sides: u64| {
            step += 1;
            chance(seed, &[step]) % sides
        };
        let (mut next, mut second) = (1, 0);
        while next <= 20 || engine.open_count() > 0 {
            second += 1;
            let taken = next <= 20 && {
                let number = if next % 7 == 0 { 13 } else { next as u64 };
                post(&mut engine, next, "a.in", &[number]) == Admission::Taken
            };
            engine.wake(FlowMoment { idle: next > 20, ..at(second) });
            if crashes && dice(3) == 0 {
                engine = disk.recover(everything());
                continue;
            }
            disk.write(save(&mut engine));
            next += i64::from(taken);
            if crashes && dice(3) == 0 {
                engine = disk.recover(everything());
            }
            for run in engine.starting(Timestamp::from_seconds(second)) {
                engine.finish(run.perform(), at(second));
            }
            if crashes && dice(3) == 0 {
                engine = disk.recover(everything());
                continue;
            }
            disk.write(save(&mut engine));
        }
        let jobs = disk.jobs.values().map(|job| (job.id, job.status)).collect();
        (jobs, disk.rows.into_iter().collect())
    }

    #[test]
    fn recovery_equals_life_wherever_it_is_cut() {
        let (jobs, rows) = play(0, false);
        assert_eq!((jobs.len(), rows.len()), (20, 3), "three states and nothing else: {rows:?}");
        assert_eq!(jobs.iter().filter(|(_, status)| *status == JobStatus::Failed).count(), 3);
        for seed in 1..300 {
            assert_eq!(play(seed, true), (jobs.clone(), rows.clone()), "seed {seed}");
        }
    }

    #[test]
    fn turns_that_a_new_version_may_not_have_at_once_wait_for_their_place() {
        fn pooled<S: crate::Durable + Default + Clone>(count: fn(&mut S)) -> Flow {
            let logic = move |call: &mut Call<S>| {
                count(call.state_mut());
                Ok(())
            };
            Flow::builder("f").routine("p", FlowRoutine::pooled(logic).slot::<u64>("in")).build().unwrap()
        }
        let mut engine = engine(pooled::<()>(|()| ()));
        post(&mut engine, 1, "p.in", &[1, 1, 1]);
        let mut disk = Disk::default();
        disk.write(save(&mut engine));
        assert_eq!(engine.starting(Timestamp::default()).len(), 3, "without a state, side by side");
        let mut engine = disk.recover(pooled::<u64>(|count| *count += 1));
        for left in [2, 1, 0] {
            let mut runs = engine.starting(Timestamp::default());
            assert_eq!(runs.len(), 1, "with a state, one at a time");
            engine.finish(runs.remove(0).perform(), at(1));
            disk.write(save(&mut engine));
            assert_eq!(engine.open_count(), left);
        }
        assert_eq!(state(&mut engine, "p"), 3);
    }

    #[test]
    fn an_interval_goes_on_over_a_restart() {
        let every_ten = || one_with(sum().policy(ActivationPolicy::interval(Duration::from_secs(10))));
        let mut engine = engine(every_ten());
        post(&mut engine, 1, "a.in", &[1]);
        let mut disk = Disk::default();
        disk.write(save(&mut engine));
        let mut engine = disk.recover(every_ten());
        post(&mut engine, 2, "a.in", &[2]);
        assert_eq!((state(&mut engine, "a"), engine.due()), (1, Some(Timestamp::from_seconds(10))));
        engine.wake(at(10));
        assert_eq!(state(&mut engine, "a"), 3);
    }

    #[test]
    fn what_a_new_version_of_the_flow_has_no_place_for_fails_and_says_so() {
        let mut engine = engine(join(ActivationPolicy::all_ready()));
        post(&mut engine, 1, "j.left", &[1]);
        let mut disk = Disk::default();
        disk.write(save(&mut engine));
        let mut engine = disk.recover(one());
        disk.write(save(&mut engine));
        let job = disk.jobs.values().next().unwrap();
        assert_eq!(job.error.as_deref(), Some("the slot j.left is not in this flow any more"));
        assert_eq!(disk.rows.len(), 0);
    }
}
