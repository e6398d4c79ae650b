//! The accounts of jobs: each open job counts the data and turns that belong to it, and ends when there are none left.

use crate::flow::call::JobEffect;
use crate::flow::engine::Engine;
use crate::flow::hook::fenced;
use crate::flow::{Job, JobId, JobNotes, JobSet, JobStatus, JobWrite, Post, TraceEntry};
use crate::{Payload, Timestamp};
use std::sync::Arc;

/// A job that has not ended.
pub(crate) struct OpenJob {
    /// Data in slots and turns under way that belong to it.
    pub(crate) count: u32,
    pub(crate) created_at: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) parent: Option<JobId>,
    pub(crate) notes: Option<Arc<JobNotes>>,
    /// Whether the store has it.
    pub(crate) known: bool,
    /// Whether the store has to hear of it, and it is in the list of those.
    pub(crate) touched: bool,
}

impl Engine {
    /// Opens a job that is not there yet.
    pub(crate) fn open_job(&mut self, id: JobId, created_at: Timestamp, post: &Post) {
        let notes = Some(post.notes()).filter(|notes| !notes.is_empty()).map(Arc::new);
        if let Some(deadline) = post.deadline {
            self.deadlines.insert((deadline, id));
        }
        let (deadline, parent) = (post.deadline, post.parent);
        let touched = !id.is_volatile();
        self.jobs.insert(id, OpenJob { count: 0, created_at, deadline, parent, notes, known: false, touched });
        if touched {
            self.touched.push(id);
        }
    }

    pub(crate) fn retain(&mut self, jobs: &JobSet) {
        for id in jobs.ids() {
            if let Some(open) = self.jobs.get_mut(id) {
                open.count += 1;
            }
        }
    }

    /// Gives back what was retained; a job of which nothing is left is completed.
    pub(crate) fn release(&mut self, jobs: &JobSet, now: Timestamp) {
        for id in jobs.ids() {
            let Some(open) = self.jobs.get_mut(id) else { continue };
            open.count = open.count.saturating_sub(1);
            if open.count == 0 {
                self.end_job(*id, JobStatus::Completed, None, now);
            }
        }
    }

    /// Ends a job, once; false when it is not open. What else of it waits is taken away.
    pub(crate) fn end_job(&mut self, id: JobId, status: JobStatus, error: Option<String>, now: Timestamp) -> bool {
        let Some(open) = self.jobs.remove(&id) else { return false };
        if let Some(deadline) = open.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        let known = open.known;
        self.ended.push(JobWrite { job: self.job_of(id, &open, status, error, Some(now)), known });
        let flow = self.flow.clone();
        for hook in &flow.0.hooks {
            fenced(|| {
                hook.job_ends(id, status);
                true
            });
        }
        if status != JobStatus::Completed && open.count > 0 {
            self.sweep(now);
        }
        true
    }

    /// Whether a job was called off before its post was taken; it is not remembered any longer then.
    pub(crate) fn was_called_off(&mut self, id: JobId) -> bool {
        let called_off = !self.cancelled.is_empty() && self.cancelled.remove(&id);
        self.header_dirty |= called_off;
        called_off
    }

    /// A job that could not even begin.
    pub(crate) fn stillborn(&mut self, id: JobId, created_at: Timestamp, post: &Post, error: String, now: Timestamp) {
        // One that was called off has ended already.
        if self.was_called_off(id) {
            return;
        }
        self.open_job(id, created_at, post);
        self.end_job(id, JobStatus::Failed, Some(error), now);
    }

    /// Takes away what belongs to no open job.
    fn sweep(&mut self, now: Timestamp) {
        for place in 0..self.nodes.len() {
            for slot in 0..self.nodes[place].slots.len() {
                let jobs = &self.jobs;
                let gone = self.nodes[place].slots[slot]
                    .extract(|item| item.jobs.ids().iter().all(|id| !jobs.contains_key(id)));
                if !gone.is_empty() {
                    self.unblock(place);
                    self.enqueue(place);
                }
                gone.into_iter().for_each(|item| self.forget_item(item.row));
            }
        }
        let dead = |jobs: &JobSet| jobs.ids().iter().all(|id| !self.jobs.contains_key(id));
        let doomed: Vec<u64> = self.tasks.iter().filter(|(_, task)| dead(&task.jobs)).map(|(id, _)| *id).collect();
        for id in doomed {
            self.drop_task(id, now);
        }
    }

    /// What a turn wanted done for its jobs.
    pub(crate) fn apply_effects(&mut self, jobs: &JobSet, routine: &str, effects: Vec<JobEffect>, now: Timestamp) {
        if effects.is_empty() {
            return;
        }
        for id in jobs.ids() {
            let Some(open) = self.jobs.get_mut(id) else { continue };
            let notes = Arc::make_mut(open.notes.get_or_insert_default());
            for effect in &effects {
                match effect {
                    JobEffect::Data(key, value) => drop(notes.data.insert(key.clone(), value.clone())),
                    JobEffect::Trace(action) => notes.note(TraceEntry {
                        at: now.as_micros(),
                        routine: routine.to_string(),
                        action: action.clone(),
                    }),
                    JobEffect::Say(text) => notes.say(text),
                }
            }
            self.touch(*id);
        }
    }

    /// The store has to hear of this job.
    pub(crate) fn touch(&mut self, id: JobId) {
        if let Some(open) = self.jobs.get_mut(&id)
            && !open.touched
            && !id.is_volatile()
        {
            open.touched = true;
            self.touched.push(id);
        }
    }

    /// The job as it is kept.
    pub(crate) fn job_of(
        &self,
        id: JobId,
        open: &OpenJob,
        status: JobStatus,
        error: Option<String>,
        ended_at: Option<Timestamp>,
    ) -> Job {
        Job {
            id,
            worker: self.person,
            flow: self.flow.0.name.clone(),
            status,
            created_at: open.created_at,
            ended_at,
            deadline: open.deadline,
            parent: open.parent,
            error,
            body: open.notes.as_ref().and_then(|notes| Payload::encode(&**notes).ok()),
        }
    }
}
