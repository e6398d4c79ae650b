//! What waits of a flow, for who looks at its rows without having it: [`FlowWaiting`], a datum in a slot or a turn to come.

use crate::flow::JobSet;
use crate::flow::rows::{StoredItem, StoredTask, job_set};
use crate::{Payload, PayloadError, Timestamp};

/// A datum that waits in a slot, or a turn to come, as its row says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowWaiting {
    /// At which routine.
    pub routine: String,
    /// The data, each with its slot.
    pub data: Vec<(String, Payload)>,
    /// Whose they are.
    pub jobs: JobSet,
    /// Since when it waits.
    pub since: Timestamp,
    /// Which attempt of its turn comes; nothing for a datum in a slot.
    pub attempt: Option<u32>,
    /// The moment its turn waits for.
    pub due: Option<Timestamp>,
}

impl FlowWaiting {
    /// What this row of a worker of this flow says; nothing for one that is no datum and no turn.
    ///
    /// # Errors
    /// [`PayloadError`] when the row is damaged.
    pub fn read(flow: &str, name: &str, row: &Payload) -> Option<Result<Self, PayloadError>> {
        let (kind, _number) = name.strip_prefix(flow)?.strip_prefix('/')?.split_once('/')?;
        match kind {
            "item" => Some(row.decode().map(Self::in_slot)),
            "task" => Some(row.decode().map(Self::to_come)),
            _ => None,
        }
    }

    fn in_slot(item: StoredItem) -> Self {
        let StoredItem { routine, slot, jobs, at, datum } = item;
        Self { routine, data: vec![(slot, datum)], jobs: job_set(jobs), since: at, attempt: None, due: None }
    }

    fn to_come(task: StoredTask) -> Self {
        let StoredTask { routine, inputs, jobs, attempt, due, since, flushed: _, note: _ } = task;
        Self { routine, data: inputs, jobs: job_set(jobs), since, attempt: Some(attempt), due }
    }
}
