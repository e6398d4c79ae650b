//! Settling owns what becomes of a turn: what it emitted goes along its connections; one that failed has a strategy.

use super::{Engine, FlowMoment};
use crate::flow::call::{CallContext, JobEffect};
use crate::flow::graph::{Graph, Map};
use crate::flow::hook::fenced;
use crate::flow::routine::panicked;
use crate::flow::task::Task;
use crate::flow::{Datum, ErrorStrategy, FlowEnded, JobStatus};
use crate::{FailureKind, Overflow, RoutineFailure, Timestamp};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Engine {
    /// What a turn did counts, or not.
    pub(super) fn settle(
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
    pub(super) fn find_room(&self, graph: &Graph, place: usize, emitted: &[(u16, Datum)]) -> FlowEnded {
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
    pub(super) fn fail(&mut self, graph: &Graph, task: Task, failure: RoutineFailure, now: Timestamp) {
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

    fn repeat(&mut self, graph: &Graph, task: Task, failure: &RoutineFailure, due: Timestamp, now: Timestamp) {
        self.nodes[task.routine].counts.retried += 1;
        let text = format!("attempt {} failed: {failure}", task.attempt);
        self.note(graph, &task, text, now);
        let attempt = task.attempt.saturating_add(1);
        let again = Task { attempt, due: Some(due), started: false, saved: false, has_row: false, ..task };
        let id = self.number();
        self.tasks.insert(id, again);
    }

    pub(super) fn skip(&mut self, graph: &Graph, task: Task, reason: String, now: Timestamp) {
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
}
