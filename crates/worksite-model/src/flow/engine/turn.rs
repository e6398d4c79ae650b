//! A turn owns who may have one, which data it gets, and performing it at once.

use super::{Engine, FlowMoment, Node};
use crate::flow::call::CallContext;
use crate::flow::graph::{Graph, RoutineSpec};
use crate::flow::hook::fenced;
use crate::flow::policy::{Activate, Decision, Take};
use crate::flow::routine::{LogicTurn, panicked};
use crate::flow::slot::{Item, SlotQueue};
use crate::flow::task::Task;
use crate::flow::{JobNotes, JobSet, PolicyView, TurnView};
use crate::{FailureKind, Overflow, RoutineFailure, Timestamp, chance};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

impl Engine {
    /// Gives a routine a turn, if it is its turn.
    pub(super) fn turn(&mut self, graph: &Graph, place: usize, moment: FlowMoment<'_>) {
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
        let Some(task) = self.take(place, activate, moment) else { return };
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
                let task = self.take(place, Activate::all(), moment)?;
                self.fail(graph, task, failure, moment.now);
                None
            }
        }
    }

    /// Takes the data of a turn out of their slots.
    fn take(&mut self, place: usize, activate: Activate, moment: FlowMoment<'_>) -> Option<Task> {
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

    pub(super) fn is_allowed(&self, graph: &Graph, task: &Task, now: Timestamp) -> bool {
        let turn = self.view(graph, task, now);
        graph.hooks.iter().all(|hook| fenced(|| hook.begins(&turn)))
    }

    /// Has a turn at once.
    pub(super) fn perform(&mut self, graph: &Graph, mut task: Task, moment: FlowMoment<'_>) {
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

    pub(super) fn chance(&self, task: &Task) -> u64 {
        let job = task.jobs.ids().first().map_or(0, |job| job.0);
        chance(self.seed, &[self.person.0, job, task.routine as i64, i64::from(task.attempt)])
    }

    pub(super) fn notes(&self, task: &Task) -> Option<Arc<JobNotes>> {
        self.jobs.get(task.jobs.ids().first()?)?.notes.clone()
    }

    pub(super) fn view<'a>(&self, graph: &'a Graph, task: &'a Task, now: Timestamp) -> TurnView<'a> {
        let routine = graph.routines[task.routine].name.as_str();
        TurnView { worker: self.person, routine, jobs: task.jobs.ids(), attempt: task.attempt, now }
    }
}
