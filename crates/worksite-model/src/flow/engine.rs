//! The engine runs a flow for one worker. It is plain data and functions of them; the worker writes what it says and tells
//! it the time. This file owns what an engine is, and when there is something to do; the others own what is done: what comes
//! in (`admit`), a turn (`turn`), what becomes of it (`settle`), turns that take their time (`later`), and what people do
//! (`by_hand`).
//!
//! *No lost wake-up:* a routine stands in the queue of those that may have a turn whenever something came to it, it has
//! ended a turn, room came free behind it, or the moment came that its policy named. It leaves the queue only by being
//! asked.

mod admit;
mod by_hand;
mod later;
mod settle;
mod turn;

use crate::flow::accounts::OpenJob;
use crate::flow::call::{CallContext, Resources};
use crate::flow::kept::AnyKept;
use crate::flow::report::RoutineCounts;
use crate::flow::slot::SlotQueue;
use crate::flow::task::Task;
use crate::flow::{Flow, JobId, JobStatus, JobWrite};
use crate::{Announcement, Draft, IdMap, NamedWrite, PersonId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

    /// Whether a job has not ended.
    pub fn is_open(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// Whether a turn is under way that does not happen at once.
    pub fn is_working(&self) -> bool {
        self.tasks.values().any(|task| task.started)
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

    pub(crate) fn number(&mut self) -> u64 {
        let number = self.next_row;
        self.next_row += 1;
        number
    }
}

#[cfg(test)]
mod tests;
