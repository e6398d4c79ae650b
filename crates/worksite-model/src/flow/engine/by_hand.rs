//! By hand owns what people do to a flow at work: calling jobs off, breakpoints, looking at states and changing them.

use super::{Breakpoint, Engine};
use crate::flow::accounts::OpenJob;
use crate::flow::{JobId, JobStatus, JobWrite};
use crate::{Payload, PayloadError, Timestamp};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Engine {
    /// Calls a job off: what else of it waits is taken away, what is under way counts for nothing. One whose post has not
    /// been taken, and was accepted at this moment, is remembered. False when it has ended, or is not known.
    pub fn cancel(&mut self, job: JobId, waiting: Option<Timestamp>, now: Timestamp) -> bool {
        let reason = Some("it was called off".to_string());
        if self.end_job(job, JobStatus::Cancelled, reason.clone(), now) {
            return true;
        }
        let Some(created_at) = waiting.filter(|_| !self.cancelled.contains(&job)) else { return false };
        let open =
            OpenJob { count: 0, created_at, deadline: None, parent: None, notes: None, known: false, touched: true };
        let ended = self.job_of(job, &open, JobStatus::Cancelled, reason, Some(now));
        self.ended.push(JobWrite { job: ended, known: false });
        self.cancelled.insert(job);
        self.header_dirty = true;
        true
    }

    /// Sets a breakpoint.
    pub fn set_breakpoint(&mut self, breakpoint: Breakpoint) {
        if !self.breakpoints.contains(&breakpoint) {
            self.breakpoints.push(breakpoint);
            self.header_dirty = true;
        }
    }

    /// Takes the breakpoints of a routine away; says whether there were any.
    pub fn clear_breakpoints(&mut self, routine: &str) -> bool {
        let before = self.breakpoints.len();
        self.breakpoints.retain(|breakpoint| breakpoint.routine != routine);
        let any = self.breakpoints.len() < before;
        self.header_dirty |= any;
        if let Some(place) = self.flow.place(routine) {
            self.nodes[place].steps = 0;
            self.enqueue(place);
        }
        any
    }

    /// Allows a routine one turn in spite of its breakpoints; false when there is no such routine.
    pub fn step(&mut self, routine: &str) -> bool {
        let Some(place) = self.flow.place(routine) else { return false };
        self.nodes[place].steps += 1;
        self.enqueue(place);
        true
    }

    /// A routine's state, to be looked at; nothing when there is no such routine.
    pub fn state(&mut self, routine: &str) -> Option<&dyn Any> {
        let place = self.flow.place(routine)?;
        self.nodes[place].kept.as_mut().map(|kept| &*kept.any())
    }

    /// Changes a routine's state by hand; it is to be written then. A change that panics changes nothing, and gives nothing,
    /// as one of a routine that is not there, or is [at work](Engine::is_at_work).
    pub fn update_state<R>(&mut self, routine: &str, change: impl FnOnce(&mut dyn Any) -> R) -> Option<R> {
        let place = self.flow.place(routine).filter(|place| self.nodes[*place].turns == 0)?;
        let node = &mut self.nodes[place];
        let kept = node.kept.as_mut()?;
        let before = kept.copy();
        match catch_unwind(AssertUnwindSafe(|| change(kept.any()))) {
            Ok(result) => {
                node.dirty = true;
                Some(result)
            }
            Err(_panic) => {
                node.kept = Some(before);
                None
            }
        }
    }

    /// Whether a routine is at work on its state, so that nobody else may change it now.
    pub fn is_at_work(&self, routine: &str) -> bool {
        self.flow.place(routine).is_some_and(|place| self.nodes[place].turns > 0)
    }

    /// Puts a state in place of the present one.
    ///
    /// # Errors
    /// [`PayloadError`] when it is no state of this routine.
    pub fn replace_state(&mut self, routine: &str, state: &Payload) -> Result<bool, PayloadError> {
        let Some(place) = self.flow.place(routine) else { return Ok(false) };
        let kept = self.flow.0.routines[place].logic.load(state)?;
        (self.nodes[place].kept, self.nodes[place].dirty) = (Some(kept), true);
        Ok(true)
    }
}
