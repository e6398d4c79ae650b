//! What a parent session is told of its children: [`CallbackReport`], one for all that have ended since it was told last.

use crate::{Durable, Encoding, Payload, Run, RunId, RunStatus};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a parent session is told when it is resumed: the payload of that run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackReport {
    /// The children that have ended since it was told last, in order of ids.
    pub children: Vec<ChildReport>,
}

/// How a child ended: failures and stops are told as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildReport {
    /// Which run.
    pub run: RunId,
    /// Its session.
    pub session: Option<String>,
    /// Who did it.
    pub agent: Option<String>,
    /// How it ended.
    pub status: RunStatus,
    /// What went wrong.
    pub error: Option<String>,
    /// What it came to.
    pub result: Option<Payload>,
}

impl Durable for CallbackReport {
    const TYPE: &'static str = "run callback";
    const ENCODING: Encoding = Encoding::Json;
}

impl CallbackReport {
    pub(crate) fn of<'a>(runs: impl Iterator<Item = &'a Arc<Run>>) -> Self {
        let child = |run: &'a Arc<Run>| ChildReport {
            run: run.id,
            session: run.session().map(str::to_string),
            agent: run.draft.agent.clone(),
            status: run.status,
            error: run.error.clone(),
            result: run.result.as_deref().cloned(),
        };
        Self { children: runs.map(child).collect() }
    }
}
