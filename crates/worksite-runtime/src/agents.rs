//! The names of seed 004, for who knows them: an agent is a worker with a typed [`Workflow`] over its state, created,
//! sent activities, asked, watched and terminated through [`AgentService`] or an [`AgentHandle`].
//!
//! Where the original loses activities or hides errors, this does what its document promises: no priority is ever left
//! waiting, subscribers hear after the commit and each in a queue of its own, an activity for another agent is refused,
//! ten concurrent creations make one agent, and a handle of a terminated agent says so.

use crate::{AskError, DeskError, Receipt, Runtime, SendError, Status, Subscription, Termination, WorkerHandle};
use std::fmt::Display;
use std::marker::PhantomData;
use thiserror::Error;
use worksite_model::{
    Advice, Departure, Draft, Durable, Ended, EnvelopeId, Outcome, PayloadError, Person, PersonId, Priority, Routine,
    Turn,
};

/// What an agent does with an activity: a function of its state.
///
/// ```
/// use worksite_runtime::Workflow;
///
/// struct Counter;
///
/// impl Workflow for Counter {
///     const NAME: &'static str = "counter";
///     type State = u64;
///     type Activity = u64;
///     type Error = String;
///
///     fn step(&self, state: u64, add: u64) -> Result<u64, String> {
///         state.checked_add(add).ok_or_else(|| "it counts no further".to_string())
///     }
/// }
/// ```
pub trait Workflow: Send + Sync + 'static {
    /// Its name, unique in a site; states are stored under it.
    const NAME: &'static str;
    /// What an agent knows.
    type State: Durable + Default + Clone;
    /// What it can be told.
    type Activity: Durable;
    /// Why an activity cannot be taken.
    type Error: Display;

    /// The state after this activity.
    ///
    /// # Errors
    /// The activity cannot be taken: it becomes a dead letter with this reason, the state stays as it was, and the agent
    /// goes on. It stands as [`Status::Failed`] until its next success.
    fn step(&self, state: Self::State, activity: Self::Activity) -> Result<Self::State, Self::Error>;
}

/// A workflow as a routine: for [`Builder::routine`](crate::Builder::routine).
pub struct WorkflowRoutine<W>(pub W);

impl<W: Workflow> Routine for WorkflowRoutine<W> {
    const NAME: &'static str = W::NAME;
    type State = W::State;
    type Message = W::Activity;

    fn perform(&self, turn: &mut Turn<W::State>, activity: W::Activity) -> Ended {
        match self.0.step((*turn.state).clone(), activity) {
            Ok(state) => {
                *turn.state = state;
                let state = (*turn.state).clone();
                turn.reply(&state)?;
                Ok(Outcome::Done)
            }
            Err(error) => Ok(Outcome::Reject(error.to_string())),
        }
    }
}

/// Something an agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity<T> {
    /// Whom it is for.
    pub agent: PersonId,
    /// How urgent it is.
    pub priority: Priority,
    /// What it says.
    pub body: T,
}

impl<T> Activity<T> {
    /// A usual activity for this agent.
    pub fn new(agent: impl Into<PersonId>, body: T) -> Self {
        Self { agent: agent.into(), priority: Priority::default(), body }
    }

    /// Chooses its lane.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }
}

/// Why an agent could not be created, told, asked or looked at.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AgentError {
    /// There is an agent of this id already. Choose another id.
    #[error("agent {0} already exists")]
    Exists(PersonId),
    /// There is no agent of this id, or no more. Create it.
    #[error("agent {0} is not found")]
    NotFound(PersonId),
    /// The activity is for another agent than the one it was given to. Correct one of the two.
    #[error("the activity is for agent {wanted}, and was sent to agent {given}")]
    OtherAgent {
        /// Whom it is for.
        wanted: PersonId,
        /// Whom it was given to.
        given: PersonId,
    },
    /// It was not accepted.
    #[error(transparent)]
    Send(SendError),
    /// It got no answer.
    #[error(transparent)]
    Ask(AskError),
    /// The agent could not be looked at or changed.
    #[error(transparent)]
    Desk(DeskError),
    /// The activity or the state cannot be encoded or decoded.
    #[error(transparent)]
    Payload(#[from] PayloadError),
}

impl AgentError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Exists(_) | Self::NotFound(_) | Self::OtherAgent { .. } | Self::Payload(_) => Advice::FixRequest,
            Self::Send(error) => error.advice(),
            Self::Ask(error) => error.advice(),
            Self::Desk(error) => error.advice(),
        }
    }
}

impl From<SendError> for AgentError {
    fn from(error: SendError) -> Self {
        match error.unknown_person() {
            Some(agent) => Self::NotFound(agent),
            None => Self::Send(error),
        }
    }
}

impl From<DeskError> for AgentError {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::UnknownPerson(agent) => Self::NotFound(agent),
            DeskError::Taken(agent) => Self::Exists(agent),
            error => Self::Desk(error),
        }
    }
}

impl From<AskError> for AgentError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Send(error) => error.into(),
            error => Self::Ask(error),
        }
    }
}

/// All agents of one workflow.
pub struct AgentService<W> {
    runtime: Runtime,
    workflow: PhantomData<fn() -> W>,
}

/// One agent.
pub struct AgentHandle<W> {
    service: AgentService<W>,
    worker: WorkerHandle,
}

impl<W> Clone for AgentService<W> {
    fn clone(&self) -> Self {
        Self { runtime: self.runtime.clone(), workflow: PhantomData }
    }
}

impl<W> Clone for AgentHandle<W> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), worker: self.worker.clone() }
    }
}

impl<W: Workflow> AgentService<W> {
    /// The agents of this house, which has the workflow as a routine ([`WorkflowRoutine`]).
    pub fn new(runtime: Runtime) -> Self {
        Self { runtime, workflow: PhantomData }
    }

    /// Creates an agent with this state. Of several who create one id at once, one succeeds. Durable when it returns.
    ///
    /// # Errors
    /// [`AgentError::Exists`], and what the store says.
    pub async fn create(
        &self,
        id: impl Into<PersonId>,
        name: &str,
        state: W::State,
    ) -> Result<AgentHandle<W>, AgentError> {
        let id = id.into();
        self.runtime.create(Person::new(id, name), W::NAME, &state).await?;
        self.agent(id)
    }

    /// A handle on an agent.
    ///
    /// # Errors
    /// [`AgentError::NotFound`].
    pub fn agent(&self, id: impl Into<PersonId>) -> Result<AgentHandle<W>, AgentError> {
        Ok(AgentHandle { service: self.clone(), worker: self.runtime.worker(id)? })
    }

    /// Sends an activity. Its receipt, with its sequence number, says that it is durable.
    ///
    /// # Errors
    /// [`AgentError::OtherAgent`], [`AgentError::NotFound`], [`AgentError::Send`].
    pub async fn send(&self, id: impl Into<PersonId>, activity: Activity<W::Activity>) -> Result<Receipt, AgentError> {
        let draft = draft::<W>(id.into(), &activity)?;
        Ok(self.runtime.send(draft).await?)
    }

    /// Sends an activity and waits until it has been taken; gives the state after it.
    ///
    /// # Errors
    /// As for [`AgentService::send`], and [`AgentError::Ask`] with the workflow's reason.
    pub async fn ask(&self, id: impl Into<PersonId>, activity: Activity<W::Activity>) -> Result<W::State, AgentError> {
        let draft = draft::<W>(id.into(), &activity)?;
        Ok(self.runtime.ask(draft).await?)
    }

    /// An agent's state, as last committed.
    ///
    /// # Errors
    /// [`AgentError::NotFound`].
    pub async fn get_state(&self, id: impl Into<PersonId>) -> Result<W::State, AgentError> {
        let id = id.into();
        self.runtime.worker(id)?;
        Ok(self.runtime.state(id, W::NAME).await?.unwrap_or_default())
    }

    /// Changes an agent's state between two activities, atomically; durable when it returns.
    ///
    /// # Errors
    /// [`AgentError::NotFound`], and what the store says.
    pub async fn update_state<T: Send + 'static>(
        &self,
        id: impl Into<PersonId>,
        change: impl FnOnce(&mut W::State) -> T + Send + 'static,
    ) -> Result<T, AgentError> {
        Ok(self.runtime.update_state(id, W::NAME, change).await?)
    }

    /// What is told about an agent from now on; the stream ends when it is terminated.
    ///
    /// # Errors
    /// [`AgentError::NotFound`].
    pub fn subscribe(&self, id: impl Into<PersonId>) -> Result<Subscription, AgentError> {
        let id = id.into();
        self.runtime.worker(id)?;
        Ok(self.runtime.subscribe_person(id))
    }

    /// Ends an agent, its mail and its state; the id is free when it returns. Of several who do so, one succeeds.
    ///
    /// # Errors
    /// [`AgentError::NotFound`].
    pub async fn terminate(&self, id: impl Into<PersonId>, how: Termination) -> Result<(), AgentError> {
        Ok(self.runtime.terminate(id, how, Departure::Purge).await?)
    }
}

fn draft<W: Workflow>(given: PersonId, activity: &Activity<W::Activity>) -> Result<Draft, AgentError> {
    if activity.agent != given {
        return Err(AgentError::OtherAgent { wanted: activity.agent, given });
    }
    Ok(Draft::to(given, &activity.body)?.routine(W::NAME).priority(activity.priority))
}

impl<W: Workflow> AgentHandle<W> {
    /// The agent's id.
    pub fn id(&self) -> PersonId {
        self.worker.person()
    }

    /// How it stands; [`Status::Terminated`] is final.
    pub fn status(&self) -> Status {
        self.worker.status()
    }

    /// What went wrong last, in this life of the house.
    pub fn last_error(&self) -> Option<String> {
        self.worker.last_error()
    }

    /// [`AgentService::send`] of a usual activity; gives its sequence number.
    ///
    /// # Errors
    /// As there; a terminated agent is not found, whoever has its id now.
    pub async fn send(&self, activity: W::Activity) -> Result<EnvelopeId, AgentError> {
        self.alive()?;
        Ok(self.service.send(self.id(), Activity::new(self.id(), activity)).await?.id)
    }

    /// [`AgentService::ask`] with a usual activity.
    ///
    /// # Errors
    /// As there.
    pub async fn ask(&self, activity: W::Activity) -> Result<W::State, AgentError> {
        self.alive()?;
        self.service.ask(self.id(), Activity::new(self.id(), activity)).await
    }

    /// [`AgentService::get_state`].
    ///
    /// # Errors
    /// As there.
    pub async fn get_state(&self) -> Result<W::State, AgentError> {
        self.alive()?;
        self.service.get_state(self.id()).await
    }

    /// [`AgentService::update_state`].
    ///
    /// # Errors
    /// As there.
    pub async fn update_state<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut W::State) -> T + Send + 'static,
    ) -> Result<T, AgentError> {
        self.alive()?;
        self.service.update_state(self.id(), change).await
    }

    /// [`AgentService::subscribe`].
    ///
    /// # Errors
    /// As there.
    pub fn subscribe(&self) -> Result<Subscription, AgentError> {
        self.alive()?;
        self.service.subscribe(self.id())
    }

    /// [`AgentService::terminate`].
    ///
    /// # Errors
    /// As there.
    pub async fn terminate(&self, how: Termination) -> Result<(), AgentError> {
        self.alive()?;
        self.service.terminate(self.id(), how).await
    }

    fn alive(&self) -> Result<(), AgentError> {
        match self.status() {
            Status::Terminated => Err(AgentError::NotFound(self.id())),
            _ => Ok(()),
        }
    }
}
