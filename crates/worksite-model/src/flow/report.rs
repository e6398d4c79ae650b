//! How a flow stands at one worker: counts of its routines, and how full its slots are.

use crate::flow::{Engine, Pressure};
use crate::{PersonId, RoutineFailure};
use std::sync::Arc;
use std::time::Duration;

/// How a flow stands at one worker, in this life of it.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowReport {
    /// Whose worker.
    pub worker: PersonId,
    /// Which flow.
    pub flow: Arc<str>,
    /// Jobs that have not ended.
    pub jobs_open: usize,
    /// Emissions that no connection took.
    pub unconnected: u64,
    /// Posts that wait in the inbox because their slot is full.
    pub held: usize,
    /// Its routines, in order.
    pub routines: Vec<RoutineReport>,
}

/// How a routine stands.
#[derive(Debug, Clone, PartialEq)]
pub struct RoutineReport {
    /// Its name.
    pub name: String,
    /// Turns that counted.
    pub activations: u64,
    /// Turns that failed, repeated ones included.
    pub failures: u64,
    /// Turns that were repeated.
    pub retried: u64,
    /// Failures its jobs went on in spite of.
    pub continued: u64,
    /// Turns that were skipped.
    pub skipped: u64,
    /// What it has emitted.
    pub emitted: u64,
    /// Turns under way on the pool, or that wait for the outside.
    pub working: usize,
    /// How long its turns at once took in all, and the longest; measured when the house monitors flows.
    pub busy: Duration,
    /// The longest of them.
    pub longest: Duration,
    /// What went wrong last.
    pub last_failure: Option<String>,
    /// Its slots, in order.
    pub slots: Vec<SlotReport>,
}

/// How a slot stands.
#[derive(Debug, Clone, PartialEq)]
pub struct SlotReport {
    /// Its name.
    pub name: String,
    /// Data in it.
    pub waiting: usize,
    /// Data it holds.
    pub data_max: usize,
    /// The most there have been at once.
    pub highest: usize,
    /// Data that have come.
    pub came: u64,
    /// Data that were dropped or turned away because it was full.
    pub dropped: u64,
    /// How full it is.
    pub pressure: Pressure,
}

/// What is counted of a routine.
#[derive(Debug, Default)]
pub(crate) struct RoutineCounts {
    pub(crate) activations: u64,
    pub(crate) failures: u64,
    pub(crate) retried: u64,
    pub(crate) continued: u64,
    pub(crate) skipped: u64,
    pub(crate) emitted: u64,
    busy: Duration,
    longest: Duration,
    last_failure: Option<String>,
}

impl RoutineCounts {
    pub(crate) fn note_failure(&mut self, failure: &RoutineFailure) {
        self.failures += 1;
        self.last_failure = Some(failure.to_string());
    }

    pub(crate) fn took(&mut self, time: Duration) {
        self.busy += time;
        self.longest = self.longest.max(time);
    }
}

impl Engine {
    /// How it stands.
    pub fn report(&self) -> FlowReport {
        let routines = self.flow.0.routines.iter().zip(&self.nodes).map(|(spec, node)| {
            let slots = spec.slots.iter().zip(&node.slots).map(|(slot, queue)| SlotReport {
                name: slot.name.clone(),
                waiting: queue.len(),
                data_max: slot.data_max,
                highest: queue.highest,
                came: queue.came,
                dropped: queue.dropped,
                pressure: slot.pressure(queue.len()),
            });
            let counts = &node.counts;
            RoutineReport {
                name: spec.name.clone(),
                activations: counts.activations,
                failures: counts.failures,
                retried: counts.retried,
                continued: counts.continued,
                skipped: counts.skipped,
                emitted: counts.emitted,
                working: node.turns,
                busy: counts.busy,
                longest: counts.longest,
                last_failure: counts.last_failure.clone(),
                slots: slots.collect(),
            }
        });
        FlowReport {
            worker: self.person,
            flow: self.flow.0.name.clone(),
            jobs_open: self.jobs.len(),
            unconnected: self.unconnected,
            held: 0,
            routines: routines.collect(),
        }
    }
}
