//! What a flow's worker writes, and reads back: a row for each state, for each datum that has to wait across a commit, and
//! for each turn that is to come, so that nothing is written whole again because a little of it has changed. They are
//! rows of the worker's states under names of their own, `flow/state/routine`, `flow/item/number`, `flow/task/number`;
//! the house's own (`flow/run`) are apart from them.

use crate::flow::accounts::OpenJob;
use crate::flow::engine::Engine;
use crate::flow::slot::Item;
use crate::flow::task::Task;
use crate::flow::{Breakpoint, Flow, Job, JobId, JobSet, JobStatus, JobWrite};
use crate::{
    Announcement, Draft, Durable, Encoding, KeepStates, NamedWrite, Payload, PayloadError, PersonId, RoutineFailure,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A row of a flow's worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRow {
    /// Its name.
    pub name: String,
    /// What it says.
    pub payload: Payload,
    /// How many earlier ones are kept.
    pub keep: Option<KeepStates>,
}

/// All that an engine wants written since it was asked last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FlowSaved {
    /// Rows as they are to be.
    pub rows: Vec<FlowRow>,
    /// Rows that are to go.
    pub forgotten: Vec<String>,
    /// Jobs as they are to be.
    pub jobs: Vec<JobWrite>,
    /// What is sent.
    pub drafts: Vec<Draft>,
    /// What subscribers are told.
    pub announcements: Vec<Announcement>,
    /// Rows for the application's own tables.
    pub writes: Vec<NamedWrite>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredItem {
    pub(crate) routine: String,
    pub(crate) slot: String,
    pub(crate) jobs: Vec<JobId>,
    pub(crate) at: Timestamp,
    pub(crate) datum: Payload,
}
impl Durable for StoredItem {
    const TYPE: &'static str = "flow item";
}

#[derive(Serialize, Deserialize)]
pub(crate) struct StoredTask {
    pub(crate) routine: String,
    pub(crate) inputs: Vec<(String, Payload)>,
    pub(crate) jobs: Vec<JobId>,
    pub(crate) attempt: u32,
    pub(crate) due: Option<Timestamp>,
    pub(crate) since: Timestamp,
    pub(crate) flushed: bool,
    pub(crate) note: Option<String>,
}
impl Durable for StoredTask {
    const TYPE: &'static str = "flow task";
}

#[derive(Default, Serialize, Deserialize)]
struct Header {
    breakpoints: Vec<Breakpoint>,
    cancelled: BTreeSet<JobId>,
    /// When routines that have intervals had their last turns.
    #[serde(default)]
    last: BTreeMap<String, Timestamp>,
}
impl Durable for Header {
    const TYPE: &'static str = "flow run";
    const ENCODING: Encoding = Encoding::Json;
}

/// The name of the row of a routine's state.
pub(crate) fn state_row(flow: &str, routine: &str) -> String {
    format!("{flow}/state/{routine}")
}

impl Flow {
    /// The name under which the store keeps the state of a routine of this flow.
    pub fn state_row(&self, routine: &str) -> String {
        state_row(self.name(), routine)
    }
}

impl Engine {
    fn item_row(&self, row: u64) -> String {
        format!("{}/item/{row:016x}", self.flow.name())
    }

    fn task_row(&self, row: u64) -> String {
        format!("{}/task/{row:016x}", self.flow.name())
    }

    pub(crate) fn forget_item(&mut self, row: Option<u64>) {
        if let Some(row) = row {
            self.forgotten.push(self.item_row(row));
        }
    }

    pub(crate) fn forget_task(&mut self, id: u64) {
        self.forgotten.push(self.task_row(id));
    }

    /// Whether it wants something written that cannot wait for another commit. States that only volatile posts have
    /// changed can.
    pub fn wants_commit(&self) -> bool {
        let durable = self.ended.iter().any(|write| !write.job.id.is_volatile());
        durable
            || self.header_dirty
            || !self.touched.is_empty()
            || !self.forgotten.is_empty()
            || !self.drafts.is_empty()
            || !self.announcements.is_empty()
            || !self.writes.is_empty()
    }

    /// Whether it wants anything written.
    pub fn is_dirty(&self) -> bool {
        self.wants_commit() || self.nodes.iter().any(|node| node.dirty)
    }

    /// The volatile jobs that have ended since it was asked last.
    pub fn ended_volatile(&mut self) -> Vec<Job> {
        let (volatile, durable): (Vec<_>, _) =
            std::mem::take(&mut self.ended).into_iter().partition(|write| write.job.id.is_volatile());
        self.ended = durable;
        volatile.into_iter().map(|write| write.job).collect()
    }

    /// All that is to be written since it was asked last; it counts as written from now on. If it cannot be, the worker has
    /// to be recovered.
    ///
    /// # Errors
    /// A state or a datum that cannot be encoded, or is too large: then nothing was gathered that counts.
    pub fn save(&mut self, state_bytes_max: usize) -> Result<FlowSaved, RoutineFailure> {
        let mut saved = FlowSaved::default();
        self.save_states(&mut saved, state_bytes_max)?;
        self.save_items(&mut saved)?;
        self.save_tasks(&mut saved)?;
        if std::mem::take(&mut self.header_dirty) {
            let (breakpoints, cancelled) = (self.breakpoints.clone(), self.cancelled.clone());
            let header = Header { breakpoints, cancelled, last: self.last_of_intervals() };
            let name = format!("{}/run", self.flow.name());
            saved.rows.push(FlowRow { name, payload: Payload::encode(&header)?, keep: None });
        }
        self.save_jobs(&mut saved);
        saved.forgotten = std::mem::take(&mut self.forgotten);
        saved.drafts = std::mem::take(&mut self.drafts);
        saved.announcements = std::mem::take(&mut self.announcements);
        saved.writes = std::mem::take(&mut self.writes);
        Ok(saved)
    }

    fn save_states(&mut self, saved: &mut FlowSaved, bytes_max: usize) -> Result<(), RoutineFailure> {
        let flow = self.flow.clone();
        for (spec, node) in flow.0.routines.iter().zip(&mut self.nodes) {
            let Some(kept) = node.kept.as_ref().filter(|_| node.dirty) else { continue };
            let Some(payload) = kept.encode()? else { continue };
            if payload.len() > bytes_max {
                let bytes = payload.len();
                let reason =
                    format!("the state of {} has {bytes} bytes; {bytes_max} are allowed (state_bytes_max)", spec.name);
                return Err(RoutineFailure::new(crate::FailureKind::Refused, reason));
            }
            node.dirty = false;
            saved.rows.push(FlowRow { name: flow.state_row(&spec.name), payload, keep: spec.keep_states });
        }
        Ok(())
    }

    fn save_items(&mut self, saved: &mut FlowSaved) -> Result<(), RoutineFailure> {
        let flow = self.flow.clone();
        for (place, spec) in flow.0.routines.iter().enumerate() {
            if !std::mem::take(&mut self.nodes[place].filled) {
                continue;
            }
            for (number, slot) in spec.slots.iter().enumerate() {
                let mut row = self.next_row;
                let queue = &mut self.nodes[place].slots[number];
                // What has no row yet came last.
                let unsaved = queue.iter().rev().take_while(|item| item.row.is_none()).count();
                let first = queue.len() - unsaved;
                for item in queue.iter_mut().skip(first).filter(|item| !item.volatile) {
                    let stored = StoredItem {
                        routine: spec.name.clone(),
                        slot: slot.name.clone(),
                        jobs: item.jobs.ids().to_vec(),
                        at: item.at,
                        datum: item.datum.encode()?,
                    };
                    item.row = Some(row);
                    let name = format!("{}/item/{row:016x}", flow.name());
                    saved.rows.push(FlowRow { name, payload: Payload::encode(&stored)?, keep: None });
                    row += 1;
                }
                self.next_row = row;
            }
        }
        Ok(())
    }

    fn save_tasks(&mut self, saved: &mut FlowSaved) -> Result<(), RoutineFailure> {
        let flow = self.flow.clone();
        for (id, task) in self.tasks.iter_mut().filter(|(_, task)| !task.saved && !task.volatile) {
            let spec = &flow.0.routines[task.routine];
            let slot = |place: u16| spec.slots.get(usize::from(place)).map_or("", |slot| slot.name.as_str());
            let inputs = task.inputs.iter().map(|(place, datum)| Ok((slot(*place).to_string(), datum.encode()?)));
            let stored = StoredTask {
                routine: spec.name.clone(),
                inputs: inputs.collect::<Result<_, PayloadError>>()?,
                jobs: task.jobs.ids().to_vec(),
                attempt: task.attempt,
                due: task.due,
                since: task.since,
                flushed: task.flushed,
                note: task.note.clone(),
            };
            (task.saved, task.has_row) = (true, true);
            let name = format!("{}/task/{id:016x}", flow.name());
            saved.rows.push(FlowRow { name, payload: Payload::encode(&stored)?, keep: None });
        }
        Ok(())
    }

    fn save_jobs(&mut self, saved: &mut FlowSaved) {
        saved.jobs = std::mem::take(&mut self.ended);
        for id in std::mem::take(&mut self.touched) {
            let Some(open) = self.jobs.get(&id) else { continue };
            let job = self.job_of(id, open, JobStatus::Running, None, None);
            saved.jobs.push(JobWrite { job, known: open.known });
            if let Some(open) = self.jobs.get_mut(&id) {
                (open.known, open.touched) = (true, false);
            }
        }
    }

    /// Reads a flow back: its rows in order of names, and its jobs that have not ended. Rows of routines or slots that the
    /// flow does not have any more, or whose data it cannot read, are given up with their jobs, which have failed then. A row
    /// that is damaged stays for whoever wants to look at it; the jobs it names have failed.
    ///
    /// # Errors
    /// [`PayloadError`] when a state cannot be read: then the worker has to rest until somebody looks.
    pub fn recovered(
        flow: Flow,
        person: PersonId,
        seed: u64,
        rows: &[(String, Payload)],
        jobs: Vec<Job>,
        now: Timestamp,
    ) -> Result<Self, PayloadError> {
        let mut engine = Self::new(flow, person, seed);
        for job in jobs {
            engine.recover_job(job);
        }
        let prefix = format!("{}/", engine.flow.name());
        let mut lost: Vec<Lost> = Vec::new();
        for (name, payload) in rows {
            let Some((kind, rest)) =
                name.strip_prefix(&prefix).and_then(|name| name.split_once('/').or(Some((name, ""))))
            else {
                continue;
            };
            match kind {
                "state" => engine.recover_state(rest, payload)?,
                "run" => {
                    let header: Header = payload.decode()?;
                    (engine.breakpoints, engine.cancelled) = (header.breakpoints, header.cancelled);
                    for (routine, last) in header.last {
                        if let Some(place) = engine.flow.place(&routine) {
                            // The clock may have been set back: nobody waits longer than an interval for that.
                            engine.nodes[place].last = Some(last.min(now));
                        }
                    }
                }
                "item" => {
                    let Ok(row) = u64::from_str_radix(rest, 16) else { continue };
                    engine.next_row = engine.next_row.max(row.saturating_add(1));
                    lost.extend(engine.recover_item(row, payload).err());
                }
                "task" => {
                    let Ok(id) = u64::from_str_radix(rest, 16) else { continue };
                    engine.next_row = engine.next_row.max(id.saturating_add(1));
                    lost.extend(engine.recover_task(id, payload).err());
                }
                _ => {}
            }
        }
        for Lost { row, jobs, reason } in lost {
            engine.forgotten.extend(row);
            for job in jobs {
                engine.end_job(job, JobStatus::Failed, Some(reason.clone()), now);
            }
        }
        let empty: Vec<JobId> = engine.jobs.iter().filter(|(_, open)| open.count == 0).map(|(id, _)| *id).collect();
        for job in empty {
            let reason = "nothing of it could be read back".to_string();
            engine.end_job(job, JobStatus::Failed, Some(reason), now);
        }
        for place in 0..engine.nodes.len() {
            engine.enqueue(place);
        }
        Ok(engine)
    }

    fn last_of_intervals(&self) -> BTreeMap<String, Timestamp> {
        let routines = self.flow.0.routines.iter().zip(&self.nodes);
        let intervals = routines.filter(|(spec, _)| spec.policy.is_interval());
        intervals.filter_map(|(spec, node)| Some((spec.name.clone(), node.last?))).collect()
    }

    fn recover_job(&mut self, job: Job) {
        let notes = job.body.is_some().then(|| Arc::new(job.notes()));
        if let Some(deadline) = job.deadline {
            self.deadlines.insert((deadline, job.id));
        }
        let Job { id, created_at, deadline, parent, .. } = job;
        self.jobs.insert(id, OpenJob { count: 0, created_at, deadline, parent, notes, known: true, touched: false });
    }

    fn recover_state(&mut self, routine: &str, payload: &Payload) -> Result<(), PayloadError> {
        // The state of a routine that is not there now stays where it is, for its return.
        let Some(place) = self.flow.place(routine) else { return Ok(()) };
        self.nodes[place].kept = Some(self.flow.0.routines[place].logic.load(payload)?);
        Ok(())
    }

    fn recover_item(&mut self, row: u64, payload: &Payload) -> Result<(), Lost> {
        let stored = Lost::unless_intact(payload, |stored: StoredItem| stored.jobs)?;
        let given_up = |jobs, reason| Lost { row: Some(self.item_row(row)), jobs, reason };
        let StoredItem { routine, slot, jobs, at, datum } = stored;
        let place = self.flow.place(&routine).and_then(|place| {
            let slot = self.flow.0.routines[place].slots.iter().position(|known| known.name == slot)?;
            Some((place, slot))
        });
        let gone = || format!("the slot {routine}.{slot} is not in this flow any more");
        let Some((place, number)) = place else { return Err(given_up(jobs, gone())) };
        let takes = self.flow.0.routines[place].slots[number].takes;
        let datum = takes.read(&datum).map_err(|error| given_up(jobs.clone(), error.to_string()))?;
        let jobs = job_set(jobs);
        self.retain(&jobs);
        self.nodes[place].slots[number].push(Item { datum, jobs, at, row: Some(row), volatile: false });
        Ok(())
    }

    fn recover_task(&mut self, id: u64, payload: &Payload) -> Result<(), Lost> {
        let stored = Lost::unless_intact(payload, |stored: StoredTask| stored.jobs)?;
        let given_up = |jobs, reason| Lost { row: Some(self.task_row(id)), jobs, reason };
        let Some(routine) = self.flow.place(&stored.routine) else {
            let reason = format!("the routine {} is not in this flow any more", stored.routine);
            return Err(given_up(stored.jobs, reason));
        };
        let spec = self.flow.0.routines[routine].clone();
        let mut inputs = Vec::with_capacity(stored.inputs.len());
        for (slot, datum) in &stored.inputs {
            let Some(place) = spec.slots.iter().position(|known| known.name == *slot) else {
                let reason = format!("the slot {}.{slot} is not in this flow any more", spec.name);
                return Err(given_up(stored.jobs, reason));
            };
            let read = spec.slots[place].takes.read(datum);
            let datum = read.map_err(|error| given_up(stored.jobs.clone(), error.to_string()))?;
            inputs.push((u16::try_from(place).unwrap_or(u16::MAX), datum));
        }
        let jobs = job_set(stored.jobs);
        self.retain(&jobs);
        // What was at once before and is not now, or the other way, is repeated as it is now; and of what may have fewer
        // turns at once than before, the others wait for their place.
        let waits = spec.is_inline() || self.nodes[routine].turns >= spec.turns_max();
        let due = stored.due.or_else(|| waits.then_some(stored.since));
        if due.is_none() {
            self.nodes[routine].turns += 1;
        }
        let task = Task {
            routine,
            inputs,
            jobs,
            attempt: stored.attempt,
            due,
            since: stored.since,
            flushed: stored.flushed,
            note: stored.note,
            volatile: false,
            started: false,
            saved: true,
            has_row: true,
        };
        self.tasks.insert(id, task);
        Ok(())
    }
}

/// A row that is given up, with the jobs it names.
struct Lost {
    /// Its name, if it is to go.
    row: Option<String>,
    jobs: Vec<JobId>,
    reason: String,
}

impl Lost {
    /// Reads a row. Of one that is not as it was written, what can still be read are perhaps its jobs.
    fn unless_intact<T: Durable>(payload: &Payload, jobs: impl FnOnce(T) -> Vec<JobId>) -> Result<T, Self> {
        payload.decode().map_err(|error| {
            let jobs = payload.decode_body().map(jobs).unwrap_or_default();
            Self { row: None, jobs, reason: error.to_string() }
        })
    }
}

pub(crate) fn job_set(jobs: Vec<JobId>) -> JobSet {
    match jobs[..] {
        [one] => JobSet::One(one),
        _ => JobSet::Many(jobs.into()),
    }
}
