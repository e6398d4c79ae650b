//! The board owns what everybody must know of flows: which there are, how they are run, and how many jobs are open. It is
//! shared by handles and actors; what it counts is counted after the commit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use worksite_model::flow::{Flow, Job, JobId, JobWrite, VOLATILE_JOBS_ENDED_MAX};
use worksite_model::{IdMap, PersonId};

/// How flows are run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowSettings {
    /// Threads for what keeps a core busy. Default: the machine's cores.
    pub pool_size: usize,
    /// Posts that may wait for one worker, unless the application says how its inbox takes mail. Default: 1,000, as seed
    /// 001's `max_queue_size`.
    pub queue_posts_max: usize,
    /// Whether turns are measured, and traced with their jobs. Default: no.
    pub monitoring: bool,
}

impl Default for FlowSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { pool_size: cores, queue_posts_max: 1_000, monitoring: false }
    }
}

/// What everybody must know of flows.
pub(crate) struct Board {
    flows: BTreeMap<String, Flow>,
    pub(crate) settings: FlowSettings,
    /// Places on the pool; none when everything happens on the caller's thread.
    pub(crate) pool: Option<Arc<Semaphore>>,
    /// Durable jobs that have not ended, by worker.
    open: Mutex<IdMap<PersonId, usize>>,
    open_total: AtomicUsize,
    /// Volatile jobs that have not ended.
    volatile_open: AtomicUsize,
    /// The number of the last volatile job.
    last_volatile: AtomicI64,
    ended_volatile: Mutex<VecDeque<Job>>,
    /// The worker of each flow that posts go to, when they name none.
    current: Mutex<BTreeMap<String, PersonId>>,
    /// Whether somebody waits for jobs to end.
    watched: AtomicBool,
}

impl Board {
    pub(crate) fn new(flows: BTreeMap<String, Flow>, settings: FlowSettings, open: Vec<(PersonId, usize)>) -> Self {
        Self {
            flows,
            settings,
            pool: None,
            open_total: AtomicUsize::new(open.iter().map(|(_, count)| count).sum()),
            open: Mutex::new(open.into_iter().collect()),
            volatile_open: AtomicUsize::new(0),
            last_volatile: AtomicI64::new(0),
            ended_volatile: Mutex::default(),
            current: Mutex::default(),
            watched: AtomicBool::new(false),
        }
    }

    pub(crate) fn flow(&self, name: &str) -> Option<&Flow> {
        self.flows.get(name)
    }

    /// Notes jobs that have become durable; gives those that have ended.
    pub(crate) fn note(&self, jobs: &[JobWrite]) -> Vec<JobId> {
        if jobs.is_empty() {
            return Vec::new();
        }
        let mut ended = Vec::new();
        let watched = self.is_watched();
        let mut open = lock(&self.open);
        for JobWrite { job, known } in jobs {
            let (was, is) = (usize::from(*known), usize::from(!job.status.is_final()));
            if was != is {
                let count = open.entry(job.worker).or_default();
                *count = (*count + is).saturating_sub(was);
                self.open_total.fetch_add(is, Ordering::AcqRel);
                self.open_total.fetch_sub(was, Ordering::AcqRel);
            }
            if watched && is == 0 {
                ended.push(job.id);
            }
        }
        ended
    }

    /// Everything was cleared, or all a worker had: no job of it is open any more.
    pub(crate) fn forget(&self, worker: Option<PersonId>) {
        let mut open = lock(&self.open);
        let gone = match worker {
            Some(worker) => open.remove(&worker).unwrap_or(0),
            None => open.drain().map(|(_, count)| count).sum(),
        };
        self.open_total.fetch_sub(gone, Ordering::AcqRel);
    }

    /// Durable jobs of this worker that have not ended.
    pub(crate) fn open(&self, worker: PersonId) -> usize {
        lock(&self.open).get(&worker).copied().unwrap_or(0)
    }

    /// Jobs that have not ended.
    pub(crate) fn open_total(&self) -> usize {
        self.open_total.load(Ordering::Acquire) + self.volatile_open.load(Ordering::Acquire)
    }

    /// Ids for so many volatile jobs, of which this is the first; they are open as long as somebody has them.
    pub(crate) fn open_volatile(self: &Arc<Self>, jobs: usize) -> (JobId, VolatileJobs) {
        let count = i64::try_from(jobs).unwrap_or(i64::MAX);
        self.volatile_open.fetch_add(jobs, Ordering::AcqRel);
        let first = JobId(-1 - self.last_volatile.fetch_add(count, Ordering::AcqRel));
        (first, VolatileJobs { board: self.clone(), open: jobs })
    }

    fn keep_ended_volatile(&self, jobs: Vec<Job>) {
        let mut ended = lock(&self.ended_volatile);
        let keep = jobs.len().saturating_sub(VOLATILE_JOBS_ENDED_MAX);
        ended.extend(jobs.into_iter().skip(keep));
        let surplus = ended.len().saturating_sub(VOLATILE_JOBS_ENDED_MAX);
        ended.drain(..surplus);
    }

    /// Whether a volatile job has not ended.
    pub(crate) fn has_open_volatile(&self) -> bool {
        self.volatile_open.load(Ordering::Acquire) > 0
    }

    /// A volatile job that has ended not long ago.
    pub(crate) fn volatile_job(&self, id: JobId) -> Option<Job> {
        lock(&self.ended_volatile).iter().rev().find(|job| job.id == id).cloned()
    }

    pub(crate) fn current(&self, flow: &str) -> Option<PersonId> {
        lock(&self.current).get(flow).copied()
    }

    pub(crate) fn set_current(&self, flow: &str, worker: PersonId) {
        lock(&self.current).insert(flow.to_string(), worker);
    }

    pub(crate) fn watch(&self, watched: bool) {
        self.watched.store(watched, Ordering::Release);
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Acquire)
    }
}

/// Volatile jobs that somebody has, and has not ended. Who goes with some has lost them, whatever the way: nobody waits for
/// them any longer.
pub(crate) struct VolatileJobs {
    board: Arc<Board>,
    open: usize,
}

impl VolatileJobs {
    /// None, to begin with.
    pub(crate) fn none(board: Arc<Board>) -> Self {
        Self { board, open: 0 }
    }

    /// Takes these over.
    pub(crate) fn take_over(&mut self, mut others: Self) {
        self.open += std::mem::take(&mut others.open);
    }

    /// These have ended, if there are any; who waits is to be told.
    pub(crate) fn end(&mut self, jobs: Vec<Job>, tell: impl FnOnce()) {
        if jobs.is_empty() {
            return;
        }
        let ended = jobs.len().min(self.open);
        // They can be looked at before they are not open any more: in between they would look lost.
        self.board.keep_ended_volatile(jobs);
        self.let_go(ended);
        if self.board.is_watched() {
            tell();
        }
    }

    /// All of them are lost.
    pub(crate) fn lose(&mut self) {
        self.let_go(self.open);
    }

    fn let_go(&mut self, jobs: usize) {
        self.open -= jobs;
        self.board.volatile_open.fetch_sub(jobs, Ordering::AcqRel);
    }
}

impl Drop for VolatileJobs {
    fn drop(&mut self) {
        self.lose();
    }
}

// A panic elsewhere leaves these whole: every write is a single operation.
fn lock<T>(guarded: &Mutex<T>) -> MutexGuard<'_, T> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}
