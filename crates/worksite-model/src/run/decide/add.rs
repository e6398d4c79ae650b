//! Adding owns how drafts become runs: with a session, under a key, all or none.

use super::{Decision, ended};
use crate::run::board::RunBoard;
use crate::{
    Conflict, Demands, Run, RunDraft, RunId, RunRejection, RunStatus, RunWrite, Session, SessionUse, Timestamp, chance,
};
use std::sync::Arc;

/// A draft that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added {
    /// As this new run.
    New(Arc<Run>),
    /// Its unique key is that of this live run: it is the same.
    Existing(Arc<Run>),
}

impl Added {
    /// The run, new or known.
    pub fn into_run(self) -> Arc<Run> {
        match self {
            Self::New(run) | Self::Existing(run) => run,
        }
    }
}

impl RunBoard {
    /// Accepts drafts, all or none, in order. `sessions` are those that drafts resume, as the store has them.
    ///
    /// # Errors
    /// [`RunRejection`].
    pub fn add(
        &mut self,
        drafts: &[RunDraft],
        sessions: &[Session],
        now: Timestamp,
    ) -> Result<Decision<Vec<Added>>, RunRejection> {
        let (mut writes, mut added) = (Vec::with_capacity(drafts.len()), Vec::with_capacity(drafts.len()));
        for draft in drafts {
            match self.add_one(draft, sessions, &mut writes, now) {
                Ok(Some(one)) => added.push(one),
                unfit => {
                    // All or none: what was reserved for the earlier ones is free again.
                    writes.iter().for_each(|write| self.undo(write, now));
                    return unfit.map(|_| Decision::Wait);
                }
            }
        }
        Ok(if writes.is_empty() { Decision::Done(added) } else { Decision::Write(writes, added) })
    }

    /// Accepts a draft; nothing when it has to wait for another write.
    fn add_one(
        &mut self,
        draft: &RunDraft,
        sessions: &[Session],
        writes: &mut Vec<RunWrite>,
        now: Timestamp,
    ) -> Result<Option<Added>, RunRejection> {
        if draft.attempts_max == 0 {
            return Err(RunRejection::Impossible("attempts_max is zero"));
        }
        if let Some(holder) = draft.unique.as_ref().and_then(|key| self.keys.get(key)).copied() {
            if let Some(twin) = writes.iter().filter_map(RunWrite::run).find(|run| run.id == holder) {
                // Twice in one change.
                return match draft.conflict {
                    Conflict::Existing => Ok(Some(Added::Existing(twin.clone()))),
                    _ => Err(RunRejection::KeyHeld { key: draft.unique.clone().unwrap_or_default(), holder }),
                };
            }
            let Some(card) = self.cards.get(&holder).filter(|card| !card.is_reserved) else { return Ok(None) };
            let known = card.run.clone();
            match draft.conflict {
                Conflict::Existing => return Ok(Some(Added::Existing(known))),
                Conflict::Replace if known.status == RunStatus::Pending => {
                    let after = ended(&known, RunStatus::Stopped, Some("replaced by another with its key"), now);
                    writes.push(self.update(&known, after));
                }
                Conflict::Reject | Conflict::Replace => {
                    let key = draft.unique.clone().unwrap_or_default();
                    return Err(RunRejection::KeyHeld { key, holder });
                }
            }
        }
        let id = self.ids.next(now);
        let mut draft = draft.clone();
        self.enter_session(id, &mut draft, sessions, writes, now)?;
        if let Some(key) = &draft.unique {
            self.keys.insert(key.clone(), id);
        }
        // It has been decided.
        draft.conflict = Conflict::default();
        self.coming += 1;
        let run = Run::new(id, draft, now);
        let demands = self.index.shared(run.demands, run.draft.limit.as_deref());
        let run = Arc::new(Run { demands, ..run });
        writes.push(RunWrite::Add(run.clone()));
        Ok(Some(Added::New(run)))
    }

    /// Gives a draft its session: a new one, or what a known one says of agent, folder and place.
    fn enter_session(
        &self,
        id: RunId,
        draft: &mut RunDraft,
        sessions: &[Session],
        writes: &mut Vec<RunWrite>,
        now: Timestamp,
    ) -> Result<(), RunRejection> {
        match &mut draft.session {
            SessionUse::None => {}
            SessionUse::Start(session) => {
                let name = session.get_or_insert_with(|| format!("ses_{:012x}", chance(id.low(), &[2]) >> 16)).clone();
                if self.sessions.contains_key(&name) {
                    return Err(RunRejection::SessionExists(name));
                }
                writes.push(RunWrite::Open(Box::new(Session {
                    id: name,
                    agent: draft.agent.clone(),
                    project_dir: draft.project_dir.clone(),
                    parent: draft.parent.clone(),
                    created_at: now,
                    place: Demands::none(),
                    status: None,
                })));
            }
            SessionUse::Resume(name) => {
                let known = sessions.iter().find(|session| session.id == *name);
                let known = known.ok_or_else(|| RunRejection::UnknownSession(name.clone()))?;
                draft.agent = draft.agent.take().or_else(|| known.agent.clone());
                draft.project_dir = draft.project_dir.take().or_else(|| known.project_dir.clone());
                let demands = std::mem::take(&mut draft.demands);
                draft.demands = Demands::layered([known.place.clone(), demands]);
            }
        }
        Ok(())
    }

    /// Whether the sessions are there to which these drafts are to report: those that are `known`, those that live runs are in,
    /// and those that start with them.
    ///
    /// # Errors
    /// [`RunRejection::UnknownSession`]: it could never be told.
    pub fn know_parents(&self, drafts: &[RunDraft], known: &[Session]) -> Result<(), RunRejection> {
        let starts =
            |draft: &RunDraft, name: &str| matches!(&draft.session, SessionUse::Start(Some(new)) if new == name);
        for parent in drafts.iter().filter_map(RunDraft::reports_to) {
            let is_there = self.sessions.contains_key(parent)
                || known.iter().any(|session| session.id == parent)
                || drafts.iter().any(|draft| starts(draft, parent));
            if !is_there {
                return Err(RunRejection::UnknownSession(parent.to_string()));
            }
        }
        Ok(())
    }

    /// How many more runs may be pending, those on their way included.
    pub fn room(&self) -> usize {
        self.policy.pending_max.saturating_sub(self.counts.pending + self.coming)
    }
}
