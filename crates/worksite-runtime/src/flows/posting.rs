//! A post on its way in: checked against the flow before anything is written, so that a mistake leaves no job behind.

use super::{FlowError, FlowWorker, Flows};
use crate::Receipt;
use std::time::Duration;
use worksite_model::flow::{Job, JobId, POST_DATA_MAX, Post};
use worksite_model::{Draft, Durable, PersonId, Priority};

/// A post of which more is to be said before it is sent.
#[derive(Debug, Clone)]
pub struct Posting {
    flows: Flows,
    flow: String,
    routine: String,
    slot: String,
    worker: Option<PersonId>,
    key: Option<String>,
    priority: Priority,
    time_max: Option<Duration>,
    metadata: Option<serde_json::Value>,
    parent: Option<JobId>,
}

/// A job that was posted.
#[derive(Debug, Clone)]
pub struct JobHandle {
    flows: Flows,
    id: JobId,
    known: bool,
}

impl Posting {
    pub(super) fn new(flows: Flows, flow: &str, routine: &str, slot: &str) -> Self {
        let (flow, routine, slot) = (flow.to_string(), routine.to_string(), slot.to_string());
        Self {
            flows,
            flow,
            routine,
            slot,
            worker: None,
            key: None,
            priority: Priority::Normal,
            time_max: None,
            metadata: None,
            parent: None,
        }
    }

    /// To this worker, instead of the one that was started last.
    #[must_use]
    pub fn worker(mut self, worker: impl Into<PersonId>) -> Self {
        self.worker = Some(worker.into());
        self
    }

    /// Gives it an idempotency key: posted again under the same key, it is the same job.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Chooses its lane in the worker's inbox.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The job has failed if it has not ended after such a time.
    #[must_use]
    pub fn deadline(mut self, time: Duration) -> Self {
        self.time_max = Some(time);
        self
    }

    /// Says something of the job, for whoever looks at it.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<serde_json::Value>) -> Self {
        self.metadata = Some(metadata.into());
        self
    }

    /// Says which job posts it.
    #[must_use]
    pub fn parent(mut self, parent: JobId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Posts a datum: a job. Durable when it returns.
    ///
    /// # Errors
    /// [`FlowError`]; nothing was written, and there is no job.
    pub async fn post<T: Durable>(self, datum: &T) -> Result<(FlowWorker, JobHandle), FlowError> {
        let (worker, mut jobs) = self.post_all(std::slice::from_ref(datum)).await?;
        jobs.pop().map(|job| (worker, job)).ok_or(FlowError::BadPost(0))
    }

    /// Posts data, each a job, in one envelope: all are accepted or none. Durable when it returns.
    ///
    /// # Errors
    /// [`FlowError`]; nothing was written, and there is no job.
    pub async fn post_all<T: Durable>(self, data: &[T]) -> Result<(FlowWorker, Vec<JobHandle>), FlowError> {
        let (worker, first, known) = self.post_many(data).await?;
        let flows = worker.flows().clone();
        let handle = |place| JobHandle { flows: flows.clone(), id: JobId(first.0 + place as i64), known };
        Ok((worker, (0..data.len()).map(handle).collect()))
    }

    /// [`Posting::post_all`] for very many: gives the first job's id; the others follow it, and whether it was known.
    ///
    /// # Errors
    /// [`FlowError`]; nothing was written, and there is no job.
    pub async fn post_many<T: Durable>(self, data: &[T]) -> Result<(FlowWorker, JobId, bool), FlowError> {
        let (worker, draft) = self.draft(data)?;
        let Receipt { id, known } = worker.flows().runtime.send(draft).await?;
        Ok((worker, JobId::of(id, 0), known))
    }

    /// [`Posting::post_many`] that is handed over when called: its future only waits until it is durable.
    ///
    /// # Errors
    /// [`FlowError`]; nothing was written, and there is no job.
    pub fn post_many_later<T: Durable>(
        self,
        data: &[T],
    ) -> Result<impl Future<Output = Result<JobId, FlowError>> + Send + use<T>, FlowError> {
        let (worker, draft) = self.draft(data)?;
        let sent = worker.flows().runtime.send(draft);
        Ok(async move { Ok(JobId::of(sent.await?.id, 0)) })
    }

    /// Posts data of which nothing is written: each is a job that is lost with the process. Gives the first job's id; the
    /// others count down from it.
    ///
    /// # Errors
    /// [`FlowError`].
    pub fn post_volatile<T: Durable>(mut self, data: &[T]) -> Result<(FlowWorker, JobId), FlowError> {
        let house = self.flows.runtime.0.house.clone();
        self.key = None;
        let (worker, mut post) = self.prepare(data)?;
        let (first, jobs) = house.board.open_volatile(data.len());
        post.volatile_from = Some(first);
        worker.flows().runtime.hand_over_volatile(Draft::to(worker.id(), &post)?, Some(jobs))?;
        Ok((worker, first))
    }

    fn draft<T: Durable>(&self, data: &[T]) -> Result<(FlowWorker, Draft), FlowError> {
        let (worker, post) = self.prepare(data)?;
        let mut draft = Draft::to(worker.id(), &post)?.priority(self.priority);
        draft.key.clone_from(&self.key);
        Ok((worker, draft))
    }

    fn prepare<T: Durable>(&self, data: &[T]) -> Result<(FlowWorker, Post), FlowError> {
        let house = &self.flows.runtime.0.house;
        let flow = self.flows.flow(&self.flow)?;
        let slot = flow.slot(&self.routine, &self.slot)?;
        let name = || format!("{}.{}", self.routine, self.slot);
        if slot.takes.name() != T::TYPE {
            return Err(FlowError::OtherType { slot: name(), takes: slot.takes.name(), given: T::TYPE.into() });
        }
        if data.is_empty() || data.len() > POST_DATA_MAX {
            return Err(FlowError::BadPost(data.len()));
        }
        let worker = match self.worker {
            Some(worker) => self.flows.get_worker(worker)?,
            None => self.flows.worker(&self.flow)?,
        };
        if worker.flow() != self.flow {
            return Err(FlowError::OtherFlow { worker: worker.id(), runs: worker.flow().to_string() });
        }
        let mut post = Post::new(self.routine.clone(), self.slot.clone(), data)?;
        post.deadline = self.time_max.map(|time| house.clock.now().after(time));
        post.parent = self.parent;
        post.metadata = self.metadata.as_ref().map(ToString::to_string);
        Ok((worker, post))
    }
}

impl JobHandle {
    /// Its id.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Whether it was posted before, under the same idempotency key.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// How it stands; nothing when it is forgotten.
    ///
    /// # Errors
    /// [`FlowError::Desk`].
    pub async fn get(&self) -> Result<Option<Job>, FlowError> {
        self.flows.get_job(self.id).await
    }

    /// Waits until it has ended: true; or until the time is over: false.
    ///
    /// # Errors
    /// [`FlowError::UnknownJob`], [`FlowError::Desk`].
    pub async fn wait(&self, time_max: Option<Duration>) -> Result<bool, FlowError> {
        self.flows.wait_for(self.id, time_max).await
    }

    /// Calls it off; whether it had not ended before.
    ///
    /// # Errors
    /// [`FlowError::UnknownJob`], [`FlowError::Desk`].
    pub async fn cancel(&self) -> Result<bool, FlowError> {
        self.flows.cancel(self.id).await
    }
}
