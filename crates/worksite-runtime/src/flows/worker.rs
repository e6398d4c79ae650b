//! A worker of a flow, as the application sees it: its states, its reports, its breakpoints.

use super::{Act, FlowError, Flows, Scene};
use crate::{DeskError, Status, WorkerHandle};
use worksite_model::flow::{Breakpoint, Flow, FlowReport, JobFilter};
use worksite_model::{Durable, Payload, PersonId, Revision};

/// A worker of a flow.
#[derive(Debug, Clone)]
pub struct FlowWorker {
    flows: Flows,
    handle: WorkerHandle,
    flow: String,
}

impl FlowWorker {
    pub(super) fn new(flows: Flows, id: PersonId) -> Result<Self, FlowError> {
        let roster = flows.runtime.roster();
        let person = roster.get(id).ok_or(FlowError::UnknownWorker(id))?;
        let flow = Flow::named_in(&person.role).ok_or(FlowError::UnknownWorker(id))?.to_string();
        let handle = flows.runtime.worker(id).map_err(|_gone| FlowError::UnknownWorker(id))?;
        Ok(Self { flows, handle, flow })
    }

    pub(super) fn flows(&self) -> &Flows {
        &self.flows
    }

    /// Its id.
    pub fn id(&self) -> PersonId {
        self.handle.person()
    }

    /// The name of its flow.
    pub fn flow(&self) -> &str {
        &self.flow
    }

    /// How it stands; [`Status::Terminated`] is final.
    pub fn status(&self) -> Status {
        self.handle.status()
    }

    /// A routine's state as last committed; nothing when it has none yet. Seed 003 `get_routine_state`.
    ///
    /// # Errors
    /// [`FlowError::Desk`].
    pub async fn state<S: Durable>(&self, routine: &str) -> Result<Option<S>, FlowError> {
        let row = self.flows.flow(&self.flow)?.state_row(routine);
        Ok(self.flows.runtime.state(self.id(), row).await?)
    }

    /// Changes a routine's state between two of its turns, atomically; durable when it returns, with what the closure gave.
    ///
    /// # Errors
    /// [`DeskError::OtherState`], [`DeskError::Panicked`] (the state is as it was), and [`FlowError::Desk`].
    pub async fn update_state<S: Durable, T: Send + 'static>(
        &self,
        routine: &str,
        change: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, FlowError> {
        let name = routine.to_string();
        let changed = self.act(Some(name.clone()), move |scene| {
            if scene.engine.state(&name).is_none_or(|state| !state.is::<S>()) {
                return Err(DeskError::OtherState);
            }
            let changed = scene.engine.update_state(&name, |state| state.downcast_mut::<S>().map(change));
            changed.flatten().ok_or(DeskError::Panicked)
        });
        changed.await
    }

    /// Puts a state in place of a routine's present one. Seed 003 `update_routine_state`.
    ///
    /// # Errors
    /// [`DeskError::OtherState`], [`FlowError::Payload`], and [`FlowError::Desk`].
    pub async fn replace_state<S: Durable>(&self, routine: &str, state: &S) -> Result<(), FlowError> {
        let (name, state) = (routine.to_string(), Payload::encode(state)?);
        let replaced = self.act(Some(name.clone()), move |scene| {
            let replaced = scene.engine.replace_state(&name, &state).map_err(DeskError::Payload)?;
            if replaced { Ok(()) } else { Err(DeskError::OtherState) }
        });
        replaced.await
    }

    /// Merges entries into a state that is a JSON object; what it does not name stays as it is.
    ///
    /// # Errors
    /// [`DeskError::OtherState`] when the state is no object, and [`FlowError::Desk`].
    pub async fn merge_state(
        &self,
        routine: &str,
        entries: serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), FlowError> {
        let merged = self.update_state(routine, move |state: &mut serde_json::Value| {
            if state.is_null() {
                *state = serde_json::Value::Object(serde_json::Map::new());
            }
            state.as_object_mut().map(|state| state.extend(entries)).is_some()
        });
        if merged.await? { Ok(()) } else { Err(DeskError::OtherState.into()) }
    }

    /// Earlier states of a routine that keeps them, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`FlowError::Desk`].
    pub async fn state_history(&self, routine: &str, limit: usize) -> Result<Vec<Revision>, FlowError> {
        let row = self.flows.flow(&self.flow)?.state_row(routine);
        Ok(self.flows.runtime.revisions(self.id(), row, limit).await?)
    }

    /// Lets it rest: posts wait, what is under way ends, and nothing else gets a turn, also after a restart.
    ///
    /// # Errors
    /// [`FlowError::Desk`].
    pub async fn pause(&self) -> Result<(), FlowError> {
        Ok(self.flows.runtime.pause(self.id()).await?)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// [`FlowError::Desk`].
    pub async fn resume(&self) -> Result<(), FlowError> {
        Ok(self.flows.runtime.resume(self.id()).await?)
    }

    /// Calls all its open jobs off; gives how many.
    ///
    /// # Errors
    /// [`FlowError::Desk`].
    pub async fn cancel_all(&self) -> Result<usize, FlowError> {
        let filter = JobFilter { worker: Some(self.id()), open: true, ..JobFilter::default() };
        let jobs = self.flows.list_jobs(filter, usize::MAX).await?;
        let called_off = self.act(None, move |scene| {
            let Scene { engine, now, .. } = scene;
            Ok(jobs.iter().filter(|job| engine.cancel(job.id, None, now)).count())
        });
        called_off.await
    }

    /// Ends it for good, with its posts and states; its open jobs are called off.
    ///
    /// # Errors
    /// [`FlowError::Desk`].
    pub async fn stop(&self) -> Result<(), FlowError> {
        self.flows.stop(self.id()).await
    }

    /// How the flow stands here.
    ///
    /// # Errors
    /// [`FlowError::Desk`].
    pub async fn report(&self) -> Result<FlowReport, FlowError> {
        self.act(None, |scene| Ok(FlowReport { held: scene.held, ..scene.engine.report() })).await
    }

    /// Holds a routine back: its data wait until it is stepped or the breakpoint goes. Durable.
    ///
    /// # Errors
    /// [`FlowError::UnknownTarget`], [`FlowError::Desk`].
    pub async fn set_breakpoint(&self, breakpoint: Breakpoint) -> Result<(), FlowError> {
        self.known(&breakpoint.routine)?;
        self.act(None, move |scene| {
            scene.engine.set_breakpoint(breakpoint);
            Ok(())
        })
        .await
    }

    /// Takes the breakpoints of a routine away; whether there were any.
    ///
    /// # Errors
    /// [`FlowError::UnknownTarget`], [`FlowError::Desk`].
    pub async fn clear_breakpoints(&self, routine: &str) -> Result<bool, FlowError> {
        let name = self.known(routine)?;
        self.act(None, move |scene| Ok(scene.engine.clear_breakpoints(&name))).await
    }

    /// Allows a routine one turn in spite of its breakpoints.
    ///
    /// # Errors
    /// [`FlowError::UnknownTarget`], [`FlowError::Desk`].
    pub async fn step(&self, routine: &str) -> Result<(), FlowError> {
        let name = self.known(routine)?;
        self.act(None, move |scene| Ok(scene.engine.step(&name))).await.map(drop)
    }

    fn known(&self, routine: &str) -> Result<String, FlowError> {
        let flow = self.flows.flow(&self.flow)?;
        if flow.routines().any(|known| known == routine) {
            return Ok(routine.to_string());
        }
        Err(worksite_model::flow::FlowBuildError::UnknownRoutine(routine.into()).into())
    }

    /// Does something on the worker, between two of its activations; told once it is durable.
    pub(super) async fn act<T: Send + 'static>(
        &self,
        routine: Option<String>,
        act: impl FnOnce(Scene<'_>) -> Result<T, DeskError> + Send + 'static,
    ) -> Result<T, FlowError> {
        let (act, result) = Act::new(routine, act);
        self.flows.runtime.wake(self.id()).await?.do_send(act);
        match self.flows.runtime.heard(self.id(), result).await {
            Err(DeskError::UnknownPerson(_)) => Err(FlowError::UnknownWorker(self.id())),
            heard => Ok(heard?),
        }
    }
}
