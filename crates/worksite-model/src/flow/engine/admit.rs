//! Admission owns what comes in: a post's data become jobs and are put into their slot, or wait, or give way, as the slot
//! says.

use super::{Admission, Engine, FlowMoment};
use crate::flow::graph::Route;
use crate::flow::routine::panicked;
use crate::flow::slot::Item;
use crate::flow::{Datum, JobId, JobSet, JobStatus, Post};
use crate::{Overflow, Timestamp};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Engine {
    /// Whether a post would be taken now.
    pub fn has_room(&self, post: &Post) -> bool {
        self.target(post).is_none_or(|(routine, slot)| !self.is_held_back(routine, slot))
    }

    fn target(&self, post: &Post) -> Option<(usize, usize)> {
        let routine = self.flow.place(&post.routine)?;
        let slot = self.flow.0.routines[routine].slots.iter().position(|slot| slot.name == post.slot)?;
        Some((routine, slot))
    }

    /// Whether a slot is full and lets posts wait.
    fn is_held_back(&self, routine: usize, slot: usize) -> bool {
        let spec = &self.flow.0.routines[routine].slots[slot];
        let waits = matches!(spec.overflow, Overflow::Wait | Overflow::WaitFor(_));
        waits && self.nodes[routine].slots[slot].len() >= spec.data_max
    }

    /// Takes a post: each datum becomes a job, counted from `first`, and is worked on as far as it goes. One whose slot is
    /// full stays with the caller, when the slot says so; of a post of many, what does not fit waits behind the slot.
    pub fn admit(&mut self, post: &Post, first: JobId, created_at: Timestamp, moment: FlowMoment<'_>) -> Admission {
        let flow = self.flow.clone();
        let id = |place: usize| {
            let place = i64::try_from(place).unwrap_or(i64::MAX);
            JobId(if first.is_volatile() { first.0 - place } else { first.0 + place })
        };
        let Some((routine, slot)) = self.target(post) else {
            for place in 0..post.len() {
                let error = format!("the flow has no slot {}.{}", post.routine, post.slot);
                self.stillborn(id(place), created_at, post, error, moment.now);
            }
            return Admission::Taken;
        };
        if self.is_held_back(routine, slot) {
            return Admission::Held;
        }
        let spec = &flow.0.routines[routine].slots[slot];
        for place in 0..post.len() {
            let job = id(place);
            if self.was_called_off(job) {
                continue;
            }
            let datum = match catch_unwind(AssertUnwindSafe(|| post.decode(place, &spec.takes))) {
                Ok(Ok(datum)) => datum,
                Ok(Err(error)) => {
                    self.stillborn(job, created_at, post, error.to_string(), moment.now);
                    continue;
                }
                Err(panic) => {
                    self.stillborn(job, created_at, post, panicked(panic.as_ref()).to_string(), moment.now);
                    continue;
                }
            };
            if self.nodes[routine].slots[slot].len() >= spec.data_max {
                match spec.overflow {
                    Overflow::Wait | Overflow::WaitFor(_) => {}
                    Overflow::DropOldest => self.drop_oldest(routine, slot, moment.now),
                    Overflow::Reject | Overflow::DropNewest => {
                        self.nodes[routine].slots[slot].dropped += 1;
                        let error = format!("the slot {}.{} is full", post.routine, post.slot);
                        self.stillborn(job, created_at, post, error, moment.now);
                        continue;
                    }
                }
            }
            self.open_job(job, created_at, post);
            let volatile = first.is_volatile();
            self.put(routine, slot, datum, JobSet::One(job), volatile, moment.now);
            self.run(moment);
        }
        Admission::Taken
    }

    /// Turns a post away: all its jobs have failed, for this reason.
    pub fn refuse(&mut self, post: &Post, first: JobId, created_at: Timestamp, reason: &str, now: Timestamp) {
        for place in 0..post.len() {
            let place = i64::try_from(place).unwrap_or(i64::MAX);
            let id = JobId(if first.is_volatile() { first.0 - place } else { first.0 + place });
            self.stillborn(id, created_at, post, reason.to_string(), now);
        }
    }

    pub(super) fn put(
        &mut self,
        routine: usize,
        slot: usize,
        datum: Datum,
        jobs: JobSet,
        volatile: bool,
        at: Timestamp,
    ) {
        self.retain(&jobs);
        let node = &mut self.nodes[routine];
        node.slots[slot].push(Item { datum, jobs, at, row: None, volatile });
        node.filled = true;
        self.enqueue(routine);
    }

    pub(super) fn drop_oldest(&mut self, routine: usize, slot: usize, now: Timestamp) {
        let queue = &mut self.nodes[routine].slots[slot];
        let Some(item) = queue.pop() else { return };
        queue.dropped += 1;
        self.forget_item(item.row);
        let flow = self.flow.clone();
        let feeds = |route: &Route| (route.routine, route.slot) == (routine, slot);
        if flow.0.routes.iter().flatten().flatten().any(feeds) {
            // A piece that was made on the way: it is counted, and its job goes on without it.
            return self.release(&item.jobs, now);
        }
        let error = format!("it gave way in the full slot {}", flow.0.routines[routine].slots[slot].name);
        for job in item.jobs.ids() {
            let Some(open) = self.jobs.get_mut(job) else { continue };
            open.count = open.count.saturating_sub(1);
            // Only posts come here, and this was all its job was.
            if open.count == 0 {
                self.end_job(*job, JobStatus::Failed, Some(error.clone()), now);
            }
        }
    }
}
