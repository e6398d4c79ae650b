#![doc = include_str!("../../../README.md")]
//!
//! # The face
//!
//! This crate puts the store and the runtime together and adds nothing else: [`Worksite::open`] gives a handle with all
//! the methods of [`Runtime`]. Routines, drafts and facts are the model's words, in [`prelude`].

use std::ops::Deref;
use std::path::Path;
use thiserror::Error;
use worksite_model::flow::Flow;
use worksite_model::{Advice, AsyncRoutine, InboxPolicy, Limits, Person, Retention, Routine};
use worksite_runtime::{
    AgentService, Clock, FlowSettings, Flows, Runtime, StartError, WorkerRuntimeManager, Workflow, WorkflowRoutine,
};
use worksite_store::{SqliteOptions, SqliteStore};

pub use pollster::block_on;
pub use worksite_model as model;
pub use worksite_runtime as runtime;
pub use worksite_store as store;

/// Derives and traits of serde, so that an application needs no dependency of its own: write
/// `#[serde(crate = "worksite::serde")]` beside the derive.
pub use serde;

/// What most programs need.
pub mod prelude {
    pub use crate::{Builder, OpenError, Worksite};
    pub use worksite_model::flow::{
        ActivationPolicy, AsyncCall, Breakpoint, Call, ErrorStrategy, Flow, FlowBuildError, FlowCatalog, FlowEnded,
        FlowReport, FlowRoutine, Job, JobFilter, JobId, JobStatus, Pressure,
    };
    pub use worksite_model::{
        Advice, Ageing, AsyncRoutine, Departure, Draft, Durable, Encoding, Ended, EnvelopeId, Fact, Filter,
        InboundMessage, InboxPolicy, Interest, Keep, KeepStates, Limits, Misfire, NamedWrite, Outcome, Overflow,
        Payload, PayloadError, Person, PersonId, Priority, Retention, RetryPolicy, Roster, Routine, RoutineFailure,
        Standing, Tally, Timestamp, Turn,
    };
    pub use worksite_model::{
        Capabilities, Conflict, Demand, Demands, ExecutionMode, KeyLimit, Missed, Recovery, Run, RunDraft, RunFilter,
        RunId, RunPolicy, RunRejection, RunReport, RunStatus, RunnerId, RunnerInfo, Schedule, SessionUse,
    };
    pub use worksite_runtime::{
        Activity, AgentError, AgentHandle, AgentService, AskError, Clock, DeskError, FlowError, FlowSettings,
        FlowWorker, Flows, InboxReport, JobHandle, ManualClock, Posting, Receipt, SendError, Slow, Status,
        Subscription, SubscriptionOptions, SubscriptionReport, Termination, Told, WorkerHandle, WorkerRuntime,
        WorkerRuntimeManager, Workflow,
    };
    pub use worksite_runtime::{RunError, RunQueue, RunnerCommand};
    pub use worksite_store::{SqliteOptions, SyncMode};
}

/// A site: one file with its people, their mail and their routines' states, and the house that works on it. Cheap to
/// clone; all clones are the same site. Its methods are those of [`Runtime`].
#[derive(Debug, Clone)]
pub struct Worksite(Runtime);

impl Worksite {
    /// Opens a site without routines: every worker is manual, and the application drains and acknowledges its mail, as
    /// in seed 000. A missing or empty file becomes a new site.
    ///
    /// ```
    /// use worksite::prelude::*;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("site.db");
    /// worksite::block_on(async {
    ///     let site = Worksite::open(path).await?;
    ///     site.sync([Person::new(1, "ada")]).await?;
    ///     site.send(Draft::to(1, &String::from("hello"))?).await?; // durable from here on
    ///     let mail = site.drain(1, 10).await?;
    ///     assert_eq!(mail[0].envelope.draft.payload.decode::<String>()?, "hello");
    ///     site.acknowledge(mail.iter().map(|delivery| delivery.id()).collect()).await?;
    ///     site.shutdown().await;
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`OpenError`]; a file that cannot be opened is left as it was.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Self::builder().open(path).await
    }

    /// Describes a site to be opened.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Worksite {
    /// The agents of a workflow: seed 004's service.
    pub fn agents<W: Workflow>(&self) -> AgentService<W> {
        AgentService::new(self.0.clone())
    }

    /// The flows of this site: seed 001's `Runtime`.
    pub fn flows(&self) -> Flows {
        Flows::new(self.0.clone())
    }

    /// The inboxes under the names of seed 000.
    pub fn worker_runtimes(&self) -> WorkerRuntimeManager {
        WorkerRuntimeManager::new(self.0.clone())
    }
}

impl Deref for Worksite {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        &self.0
    }
}

/// A site to be opened: its routines, limits, clock, seed, and how its file is kept.
#[derive(Debug, Default)]
pub struct Builder {
    runtime: worksite_runtime::Builder,
    store: SqliteOptions,
}

impl Builder {
    /// Adds a synchronous routine to all workers that are not manual.
    #[must_use]
    pub fn routine<R: Routine>(mut self, routine: R) -> Self {
        self.runtime = self.runtime.routine(routine);
        self
    }

    /// Adds a workflow to all workers that are not manual: its agents are had by [`Worksite::agents`].
    #[must_use]
    pub fn workflow<W: Workflow>(self, workflow: W) -> Self {
        self.routine(WorkflowRoutine(workflow))
    }

    /// Adds an asynchronous routine to all workers that are not manual.
    #[must_use]
    pub fn async_routine<R: AsyncRoutine>(mut self, routine: R) -> Self {
        self.runtime = self.runtime.async_routine(routine);
        self
    }

    /// Adds a flow; its workers are started by [`Worksite::flows`].
    #[must_use]
    pub fn flow(mut self, flow: Flow) -> Self {
        self.runtime = self.runtime.flow(flow);
        self
    }

    /// Sets how flows are run: the size of the pool, the posts that may wait, monitoring.
    #[must_use]
    pub fn flow_settings(mut self, settings: FlowSettings) -> Self {
        self.runtime = self.runtime.flow_settings(settings);
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.runtime = self.runtime.limits(limits);
        self
    }

    /// Sets the seed from which all chance in the house follows. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.runtime = self.runtime.seed(seed);
        self
    }

    /// Sets the clock. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.runtime = self.runtime.clock(clock);
        self
    }

    /// Says whose mail the application takes by hand. Default: everybody's when there is no routine, else nobody's.
    #[must_use]
    pub fn manual(mut self, manual: impl Fn(&Person) -> bool + Send + Sync + 'static) -> Self {
        self.runtime = self.runtime.manual(manual);
        self
    }

    /// Says how somebody's inbox takes mail: how much it holds, what becomes of the rest, whether low mail grows more
    /// urgent. Default: [`InboxPolicy::of`] the limits.
    #[must_use]
    pub fn inboxes(mut self, policy: impl Fn(&Person) -> InboxPolicy + Send + Sync + 'static) -> Self {
        self.runtime = self.runtime.inboxes(policy);
        self
    }

    /// Sets how long what has ended is kept.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.runtime = self.runtime.retention(retention);
        self
    }

    /// Sets how the file is kept: sync mode, size limit, and handlers for the application's own tables.
    #[must_use]
    pub fn store(mut self, options: SqliteOptions) -> Self {
        self.store = options;
        self
    }

    /// Opens the site on threads of its own; works under any executor. A missing or empty file becomes a new site. Mail
    /// that waits in the file is taken up at once.
    ///
    /// # Errors
    /// [`OpenError`]; a file that cannot be opened is left as it was.
    pub async fn open(self, path: impl AsRef<Path>) -> Result<Worksite, OpenError> {
        let (path, options) = (path.as_ref().to_path_buf(), self.store);
        let open = move || Ok(Box::new(SqliteStore::open(path, options)?) as Box<dyn worksite_model::Store>);
        self.runtime.start_with::<OpenError>(open).await.map(Worksite)
    }

    /// Opens the site on the calling thread, which must run a tokio `LocalSet` or an actix `System`; see
    /// [`worksite_runtime::Builder::start_local`].
    ///
    /// # Errors
    /// [`OpenError`]; a file that cannot be opened is left as it was.
    pub async fn open_local(self, path: impl AsRef<Path>) -> Result<Worksite, OpenError> {
        let store = SqliteStore::open(path, self.store)?;
        Ok(Worksite(self.runtime.start_local(Box::new(store)).await?))
    }
}

/// Why a site could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file could not be opened; the store's error names the remedy.
    #[error(transparent)]
    Store(#[from] worksite_store::OpenError),
    /// The house could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl OpenError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Store(error) => error.advice(),
            Self::Start(error) => error.advice(),
        }
    }
}
