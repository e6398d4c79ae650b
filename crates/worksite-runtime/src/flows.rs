//! The surface of flows (seed 001's `Runtime`): start a worker of a flow, post to it, follow the jobs, wait for them, look
//! at the worker's states and change them.
//!
//! A worker is a person whose role names the flow; its mail are posts. So it is as durable as everybody, and goes on after
//! a restart without being started again.

mod act;
mod board;
mod error;
mod posting;
mod worker;

use crate::flows::error::told;
use crate::persistence::Read;
use crate::supervisor::AwaitJobs;
use crate::{DeskError, Runtime};
pub(crate) use act::{Act, Scene};
pub use board::FlowSettings;
pub(crate) use board::{Board, VolatileJobs};
pub use error::FlowError;
pub use posting::{JobHandle, Posting};
use std::time::Duration;
use tokio::sync::oneshot;
pub use worker::FlowWorker;
use worksite_model::flow::{Flow, Job, JobFilter, JobId};
use worksite_model::{Departure, Durable, Person, PersonId, RosterChange};

/// The first id that [`Flows::exec`] gives to a worker.
pub const FLOW_WORKERS_FROM: PersonId = PersonId(1 << 40);

/// All flows of a house.
#[derive(Clone, Debug)]
pub struct Flows {
    pub(crate) runtime: Runtime,
}

impl Flows {
    /// The flows of this house.
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime }
    }

    /// Starts another worker of a flow; posts that name no worker go to it from now on. Nothing runs before a post. Durable
    /// when it returns: after a restart the worker is there, and [`Flows::worker`] gives it.
    ///
    /// # Errors
    /// [`FlowError::UnknownFlow`], and what the store says.
    pub async fn exec(&self, flow: &str) -> Result<FlowWorker, FlowError> {
        loop {
            let workers = self.runtime.roster();
            let last = workers.people().map(|person| person.id).max();
            let id = PersonId(last.map_or(FLOW_WORKERS_FROM.0, |last| (last.0 + 1).max(FLOW_WORKERS_FROM.0)));
            match self.start(flow, id).await {
                // Somebody else was quicker.
                Err(FlowError::Desk(DeskError::Taken(_))) => {}
                started => return started,
            }
        }
    }

    /// The worker of this id, started if it is not there: for programs that go on where an earlier life of theirs ended.
    ///
    /// # Errors
    /// [`FlowError::UnknownFlow`], [`FlowError::OtherFlow`], and what the store says.
    pub async fn attach(&self, flow: &str, worker: impl Into<PersonId>) -> Result<FlowWorker, FlowError> {
        let worker = worker.into();
        match self.start(flow, worker).await {
            Err(FlowError::Desk(DeskError::Taken(_))) => {}
            started => return started,
        }
        let found = self.get_worker(worker)?;
        if found.flow() != flow {
            return Err(FlowError::OtherFlow { worker, runs: found.flow().to_string() });
        }
        self.runtime.0.house.board.set_current(flow, worker);
        Ok(found)
    }

    async fn start(&self, flow: &str, id: PersonId) -> Result<FlowWorker, FlowError> {
        let name = self.flow(flow)?.name().to_string();
        let person = Person { role: Flow::role_of(&name).into(), ..Person::new(id, format!("{name} {id}")) };
        let roster = Some(RosterChange::Create(vec![person]));
        self.runtime.propose(worksite_model::Change { roster, ..Default::default() }).await?;
        self.runtime.0.house.board.set_current(flow, id);
        FlowWorker::new(self.clone(), id)
    }

    /// A flow of this house.
    ///
    /// # Errors
    /// [`FlowError::UnknownFlow`].
    pub fn flow(&self, name: &str) -> Result<Flow, FlowError> {
        self.runtime.0.house.board.flow(name).cloned().ok_or_else(|| FlowError::UnknownFlow(name.into()))
    }

    /// The worker of a flow that posts go to: the one that was started last, or the one with the highest id.
    ///
    /// # Errors
    /// [`FlowError::UnknownFlow`], [`FlowError::NotRunning`].
    pub fn worker(&self, flow: &str) -> Result<FlowWorker, FlowError> {
        self.flow(flow)?;
        let current = self.runtime.0.house.board.current(flow).and_then(|worker| self.get_worker(worker).ok());
        let last = || self.workers(flow).pop();
        current.or_else(last).ok_or_else(|| FlowError::NotRunning(flow.into()))
    }

    /// All workers of a flow, in order of ids.
    pub fn workers(&self, flow: &str) -> Vec<FlowWorker> {
        let role = Flow::role_of(flow);
        let roster = self.runtime.roster();
        let running = roster.people().filter(|person| person.role.as_str() == role);
        running.filter_map(|person| FlowWorker::new(self.clone(), person.id).ok()).collect()
    }

    /// A worker by its id.
    ///
    /// # Errors
    /// [`FlowError::UnknownWorker`].
    pub fn get_worker(&self, worker: impl Into<PersonId>) -> Result<FlowWorker, FlowError> {
        FlowWorker::new(self.clone(), worker.into())
    }

    /// Posts a datum to a slot of the flow's worker: a job. Durable when it returns.
    ///
    /// ```
    /// use std::time::Duration;
    /// use worksite_model::flow::{Call, Flow, FlowRoutine};
    /// # use worksite_runtime::{Builder, FlowError, Flows};
    ///
    /// let count = FlowRoutine::new(|call: &mut Call<u64>| {
    ///     *call.state_mut() += call.first::<u64>("input").map_or(0, |number| *number);
    ///     Ok(())
    /// });
    /// let flow = Flow::builder("counter").routine("sum", count.slot::<u64>("input")).build()?;
    /// # let builder = Builder::default();
    /// let builder = builder.flow(flow);
    /// # async fn play(flows: Flows) -> Result<(), FlowError> {
    /// let worker = flows.exec("counter").await?;
    /// let (_, job) = flows.post("counter", "sum", "input", &7_u64).await?;
    /// assert!(flows.wait_until_all_jobs_finished(Some(Duration::from_secs(10))).await?);
    /// assert_eq!(worker.state::<u64>("sum").await?, Some(7));
    /// # drop(job); Ok(()) }
    /// # Ok::<(), worksite_model::flow::FlowBuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`FlowError`]; nothing was written, and there is no job.
    pub async fn post<T: Durable>(
        &self,
        flow: &str,
        routine: &str,
        slot: &str,
        datum: &T,
    ) -> Result<(FlowWorker, JobHandle), FlowError> {
        self.posting(flow, routine, slot).post(datum).await
    }

    /// A post of which more is to be said.
    pub fn posting(&self, flow: &str, routine: &str, slot: &str) -> Posting {
        Posting::new(self.clone(), flow, routine, slot)
    }

    /// A job as it stands; nothing when there is none of this id, or it is forgotten.
    ///
    /// # Errors
    /// [`FlowError::Desk`].
    pub async fn get_job(&self, id: JobId) -> Result<Option<Job>, FlowError> {
        if id.is_volatile() {
            return Ok(self.runtime.0.house.board.volatile_job(id));
        }
        let found = self.read(move |store| {
            let job = store.job(id)?;
            let waiting = match (&job, id.envelope()) {
                (None, Some(envelope)) => store.envelope(envelope)?,
                _ => None,
            };
            Ok((job, waiting))
        });
        let (job, waiting) = found.await?;
        let pending = waiting.and_then(|waiting| {
            let envelope = waiting.delivery.envelope;
            let worker = self.get_worker(envelope.draft.to).ok();
            Some(Job::waiting(id, &envelope, worker.as_ref().map(FlowWorker::flow))?.0)
        });
        Ok(job.or(pending))
    }

    /// The jobs that are meant, in order of ids, at most `limit`: those that have been taken from their posts.
    ///
    /// # Errors
    /// [`FlowError::Desk`].
    pub async fn list_jobs(&self, filter: JobFilter, limit: usize) -> Result<Vec<Job>, FlowError> {
        self.read(move |store| store.jobs(&filter, limit)).await
    }

    /// How many jobs are open, volatile ones included: those that have been taken from their posts.
    pub fn open_jobs(&self) -> usize {
        self.runtime.0.house.board.open_total()
    }

    /// Calls a job off: what waits of it is taken away, and what is under way counts for nothing. Whether it had not ended
    /// before. Durable when it returns.
    ///
    /// # Errors
    /// [`FlowError::UnknownJob`], [`FlowError::Desk`].
    pub async fn cancel(&self, id: JobId) -> Result<bool, FlowError> {
        let job = self.get_job(id).await?.ok_or(FlowError::UnknownJob(id))?;
        if job.status.is_final() {
            return Ok(false);
        }
        let worker = self.get_worker(job.worker)?;
        worker
            .act(None, move |scene| {
                let waiting = scene.waiting(id);
                Ok(scene.engine.cancel(id, waiting, scene.now))
            })
            .await
    }

    /// Waits until no job is open and no post waits: true; or until the time is over: false. Of no jobs all have ended.
    /// Whoever waits is woken by the commit that ends the last one.
    ///
    /// # Errors
    /// [`FlowError::Desk`] when the house is closed.
    pub async fn wait_until_all_jobs_finished(&self, time_max: Option<Duration>) -> Result<bool, FlowError> {
        self.wait(None, time_max).await
    }

    /// Waits until a job has ended: true; or until the time is over: false.
    ///
    /// # Errors
    /// [`FlowError::UnknownJob`], also when its post is removed before it was taken, all is cleared, or a volatile one is lost;
    /// and [`FlowError::Desk`].
    pub async fn wait_for(&self, id: JobId, time_max: Option<Duration>) -> Result<bool, FlowError> {
        // First in line, then looked at: it may end in between.
        let waiting = self.wait(Some(id), time_max);
        match self.get_job(id).await? {
            Some(job) if job.status.is_final() => Ok(true),
            None if !id.is_volatile() => Err(FlowError::UnknownJob(id)),
            _ => match waiting.await {
                Err(_dropped) if !self.runtime.0.house.directory.is_closed() => Err(FlowError::UnknownJob(id)),
                ended => ended,
            },
        }
    }

    /// Closes the house in order; with `wait`, once all jobs have ended.
    ///
    /// # Errors
    /// [`FlowError::Desk`] when it is closed already.
    pub async fn shutdown(&self, wait: bool) -> Result<(), FlowError> {
        if wait {
            self.wait_until_all_jobs_finished(None).await?;
        }
        self.runtime.shutdown().await;
        Ok(())
    }

    /// Ends a worker: its posts, its states, and its open jobs, which are called off. Its id is free when it returns.
    pub(crate) async fn stop(&self, worker: PersonId) -> Result<(), FlowError> {
        let roster = RosterChange::Leave { people: vec![worker], departure: Departure::Purge };
        self.runtime.propose(worksite_model::Change { roster: Some(roster), ..Default::default() }).await?;
        Ok(())
    }

    fn wait(
        &self,
        job: Option<JobId>,
        time_max: Option<Duration>,
    ) -> impl Future<Output = Result<bool, FlowError>> + use<> {
        let (answer, told) = oneshot::channel();
        self.runtime.0.supervisor.do_send(AwaitJobs { job, time_max, answer });
        async move { told.await.map_err(|_closed| DeskError::Stopped.into()) }
    }

    async fn read<R: Send + 'static>(
        &self,
        reading: impl FnOnce(&mut dyn worksite_model::Store) -> Result<R, worksite_model::StoreError> + Send + 'static,
    ) -> Result<R, FlowError> {
        let read = self.runtime.0.house.persistence.send(Read(Box::new(reading))).await;
        read.map_err(|_closed| DeskError::Stopped)?.map_err(|error| told(&self.runtime, error))
    }
}
