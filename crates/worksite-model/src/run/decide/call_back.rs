//! Calling back owns what a parent session is told: all its children that have ended since, in one run.

use super::Decision;
use crate::run::board::RunBoard;
use crate::{Payload, Run, RunDraft, RunRejection, RunWrite, Session, SessionUse, Timestamp};
use std::sync::Arc;

impl RunBoard {
    /// Sessions that are owed a callback, and have nothing else to do now.
    pub fn callable(&self) -> Vec<String> {
        let idle = self.owing.keys().filter(|session| !self.sessions.contains_key(*session));
        idle.filter(|session| !self.calling.contains(*session)).cloned().collect()
    }

    /// Resumes a session with what its children came to, all of them in one run. They owe nothing then. A session that is
    /// gone, or never was, is owed nothing: that is written down, so that its children can be forgotten, and counted.
    ///
    /// # Errors
    /// [`RunRejection`] when the report cannot be encoded.
    pub fn call_back(
        &mut self,
        session: &str,
        known: Option<&Session>,
        now: Timestamp,
    ) -> Result<Vec<RunWrite>, RunRejection> {
        if self.sessions.contains_key(session) || self.calling.contains(session) {
            return Ok(Vec::new());
        }
        let Some(children) = self.owing.get(session).cloned() else { return Ok(Vec::new()) };
        let Some(known) = known else {
            self.calling.insert(session.to_string());
            let unheard = |child: &Arc<Run>| Run { called_back: Some(child.id), ..Run::clone(child) };
            let write = |child: &Arc<Run>| RunWrite::Update { guard: child.guard(), run: Arc::new(unheard(child)) };
            return Ok(children.values().map(write).collect());
        };
        let news = crate::CallbackReport::of(children.values());
        let payload = Payload::encode(&news).map_err(|error| RunRejection::Refused(error.to_string()))?;
        let draft = RunDraft {
            payload: Some(payload),
            session: SessionUse::Resume(session.to_string()),
            parent: known.parent.clone(),
            ..RunDraft::default()
        };
        let Decision::Write(mut writes, _) = self.add(&[draft], std::slice::from_ref(known), now)? else {
            return Ok(Vec::new());
        };
        let caller = writes.iter().filter_map(RunWrite::run).next_back().map(|run| run.id);
        writes.extend(children.values().map(|child| {
            let run = Arc::new(Run { called_back: caller, ..Run::clone(child) });
            RunWrite::Update { guard: child.guard(), run }
        }));
        self.calling.insert(session.to_string());
        Ok(writes)
    }

    /// A session's callback is being made.
    pub fn expect_callback(&mut self, session: &str) {
        self.calling.insert(session.to_string());
    }

    /// It was not made, or is to be decided now.
    pub fn expect_no_callback(&mut self, session: &str) {
        self.calling.remove(session);
    }
}
