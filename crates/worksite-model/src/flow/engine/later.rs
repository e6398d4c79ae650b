//! Later owns turns that do not happen at once: on the pool, as a future, after a back-off. Each has a row first, and is
//! started when that is durable.

use super::{Engine, FlowMoment};
use crate::flow::routine::LogicTurn;
use crate::flow::{TaskEnd, TaskRun};
use crate::{FailureKind, RoutineFailure, Timestamp};

impl Engine {
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
