//! A task is a turn that does not happen at once: on the pool, waiting for the outside, or after a back-off. It is durable
//! before it is started, so that a crash repeats it and nothing else.

use crate::flow::routine::{AnyLogic, LogicTurn};
use crate::flow::{Datum, FlowEnded, JobSet, LogicKind};
use crate::{RoutineFailure, Timestamp};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// A turn to come, or under way.
pub(crate) struct Task {
    pub(crate) routine: usize,
    pub(crate) inputs: Vec<(u16, Datum)>,
    pub(crate) jobs: JobSet,
    pub(crate) attempt: u32,
    /// Not before this moment.
    pub(crate) due: Option<Timestamp>,
    /// When its data were taken.
    pub(crate) since: Timestamp,
    pub(crate) flushed: bool,
    pub(crate) note: Option<String>,
    pub(crate) volatile: bool,
    /// Whether it is under way.
    pub(crate) started: bool,
    /// Whether its row is as it is here.
    pub(crate) saved: bool,
    /// Whether it has a row.
    pub(crate) has_row: bool,
}

/// A turn to be run outside: on the pool or as a future.
pub struct TaskRun {
    pub(crate) id: u64,
    pub(crate) routine: String,
    pub(crate) logic: Arc<dyn AnyLogic>,
    pub(crate) turn: LogicTurn,
    pub(crate) time_max: Option<Duration>,
}

impl TaskRun {
    /// Its number at its worker.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Which routine's.
    pub fn routine(&self) -> &str {
        &self.routine
    }

    /// How it is run.
    pub fn kind(&self) -> LogicKind {
        self.logic.kind()
    }

    /// How long it may take; the site's limit when it says nothing.
    pub fn time_max(&self) -> Option<Duration> {
        self.time_max
    }

    /// Runs it here; it is fenced.
    pub fn perform(self) -> TaskEnd {
        let (turn, ended) = self.logic.perform(self.turn);
        TaskEnd { id: self.id, turn: Some(turn), ended }
    }

    /// Begins it. A panic passes through: the caller has the fence.
    pub fn start(self) -> Pin<Box<dyn Future<Output = TaskEnd> + Send>> {
        Box::pin(async move {
            let (turn, ended) = self.logic.start(self.turn).await;
            TaskEnd { id: self.id, turn, ended }
        })
    }
}

/// How a task has ended.
pub struct TaskEnd {
    pub(crate) id: u64,
    pub(crate) turn: Option<LogicTurn>,
    pub(crate) ended: FlowEnded,
}

impl TaskEnd {
    /// Which task.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A task that came to no end of its own.
    pub fn failed(id: u64, failure: RoutineFailure) -> Self {
        Self { id, turn: None, ended: Err(failure) }
    }
}
