//! The memory store's runs own the contract of the queue's tables in its plainest form: writes with guards, in order, all or
//! none.

use std::collections::BTreeMap;
use std::sync::Arc;
use worksite_model::{
    ExecutionMode, RecoveredRuns, Refusal, Run, RunFilter, RunId, RunStatus, RunWrite, Schedule, Session, SessionUse,
    Timestamp,
};

/// The queue's tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryRuns {
    pub(crate) runs: BTreeMap<RunId, Arc<Run>>,
    pub(crate) sessions: BTreeMap<String, Session>,
    schedules: BTreeMap<String, Arc<Schedule>>,
    epoch: i64,
}

impl MemoryRuns {
    /// Another life begins.
    pub(crate) fn open(&mut self) {
        self.epoch += 1;
    }

    /// The tables after these writes; nothing when there are none.
    pub(crate) fn after(&self, writes: &[RunWrite]) -> Result<Option<Self>, Refusal> {
        if writes.is_empty() {
            return Ok(None);
        }
        let mut after = self.clone();
        writes.iter().try_for_each(|write| after.write(write))?;
        Ok(Some(after))
    }

    fn write(&mut self, write: &RunWrite) -> Result<(), Refusal> {
        match write {
            RunWrite::Add(run) => self.add(run),
            RunWrite::Update { guard, run } => {
                let known = self.runs.get_mut(&run.id).filter(|known| known.guard() == *guard);
                let known = known.ok_or(Refusal::RunMoved(run.id))?;
                if !known.status.is_terminal() {
                    *known = run.clone();
                } else if known.called_back.is_some() {
                    return Err(Refusal::RunMoved(run.id));
                } else {
                    Arc::make_mut(known).called_back = run.called_back;
                }
                Ok(())
            }
            RunWrite::Open(session) => {
                let known = self.sessions.insert(session.id.clone(), Session::clone(session));
                known.map_or(Ok(()), |_| Err(Refusal::SessionMoved(session.id.clone())))
            }
            RunWrite::Bind { session, place } => {
                let known = self.sessions.get_mut(session).ok_or_else(|| Refusal::SessionMoved(session.clone()))?;
                known.place = place.clone();
                Ok(())
            }
            RunWrite::Schedule { guard, schedule } => {
                let stands = self.schedules.get(&schedule.name).map(|known| known.next);
                if guard.is_some() && stands != Some(*guard) {
                    return Err(Refusal::ScheduleMoved(schedule.name.clone()));
                }
                self.schedules.insert(schedule.name.clone(), schedule.clone());
                Ok(())
            }
            RunWrite::Unschedule(name) => {
                self.schedules.remove(name);
                Ok(())
            }
        }
    }

    fn add(&mut self, run: &Arc<Run>) -> Result<(), Refusal> {
        if let Some(key) = &run.draft.unique {
            let mut live = self.runs.values().filter(|known| !known.status.is_terminal());
            if live.any(|known| known.draft.unique.as_ref() == Some(key)) {
                return Err(Refusal::RunKeyHeld(key.clone()));
            }
        }
        if let SessionUse::Resume(session) = &run.draft.session
            && !self.sessions.contains_key(session)
        {
            return Err(Refusal::SessionMoved(session.clone()));
        }
        let known = self.runs.insert(run.id, run.clone());
        known.map_or(Ok(()), |_| Err(Refusal::RunMoved(run.id)))
    }

    pub(crate) fn recovered(&self) -> RecoveredRuns {
        let these = |wanted: &dyn Fn(&Run) -> bool| self.runs.values().filter(|run| wanted(run)).cloned().collect();
        RecoveredRuns {
            active: these(&|run| !run.status.is_terminal()),
            owing: these(&Run::owes_callback),
            schedules: self.schedules.values().cloned().collect(),
            last: self.runs.last_key_value().map(|(id, _)| *id),
            epoch: self.epoch,
            unreadable: Vec::new(),
        }
    }

    pub(crate) fn run(&self, id: RunId) -> Option<Run> {
        self.runs.get(&id).map(|run| Run::clone(run))
    }

    pub(crate) fn history(&self, filter: &RunFilter) -> Vec<Run> {
        let meant = self.runs.values().rev().filter(|run| filter.matches(run));
        meant.take(filter.limit).map(|run| Run::clone(run)).collect()
    }

    pub(crate) fn session(&self, id: &str) -> Option<Session> {
        let latest = self.runs.values().rev().find(|run| run.session() == Some(id));
        self.sessions.get(id).map(|session| Session { status: latest.map(|run| run.status), ..session.clone() })
    }

    /// How many sessions there are, and those without any run, and without any child that will call back.
    pub(crate) fn forgettable_sessions(&self) -> (usize, Vec<(Timestamp, String)>) {
        let is_awaited = |run: &Run| run.draft.mode == ExecutionMode::AsyncCallback && run.called_back.is_none();
        let uses = |run: &Run, id: &str| {
            run.session() == Some(id) || (is_awaited(run) && run.draft.parent.as_deref() == Some(id))
        };
        let used = |id: &str| self.runs.values().any(|run| uses(run, id));
        let idle = self.sessions.values().filter(|session| !used(&session.id));
        (self.sessions.len(), idle.map(|session| (session.created_at, session.id.clone())).collect())
    }
}

/// How many runs have ended so, and those of them that owe nobody anything.
pub(crate) fn ended(runs: &BTreeMap<RunId, Arc<Run>>, status: RunStatus) -> (usize, Vec<(Timestamp, RunId)>) {
    let ended = || runs.values().filter(|run| run.status == status);
    let settled = ended().filter(|run| !run.owes_callback());
    (ended().count(), settled.filter_map(|run| Some((run.ended_at?, run.id))).collect())
}
