//! The rooms of Worksite: four kinds of actors carry a message from a sender to its settlement.
//!
//! A [`Runtime`] hands a draft to *Persistence*, the only writer; once it is durable the *Supervisor* routes it to its
//! *Worker*, which performs a routine and proposes the outcome to Persistence; *Broadcast* tells subscribers. Proposals
//! go down, facts come up. This crate is the only one that names actix; no actix type is in its public signatures.

mod runtime;
pub use runtime::{Receipt, Runtime, SHUTDOWN_TIME, Termination};

mod builder;
pub use builder::Builder;

mod directory;

mod intake;

mod persistence;

mod supervisor;
pub use supervisor::Blocked;

mod parking;

mod worker;

mod memory;

mod status;
pub use status::{InboxReport, Status, WorkerHandle};

mod execute;

mod cursor;
pub use cursor::DurableSubscription;

mod metrics;
pub use metrics::{Histogram, Metrics};

mod hub;
pub use hub::{Slow, SubscriptionOptions, SubscriptionReport};

mod broadcast;
pub use broadcast::{Subscription, Told};

mod clock;
pub use clock::{Clock, ManualClock};

mod agents;
pub use agents::{Activity, AgentError, AgentHandle, AgentService, Workflow, WorkflowRoutine};

mod flows;
pub use flows::{FLOW_WORKERS_FROM, FlowError, FlowSettings, FlowWorker, Flows, JobHandle, Posting};

mod runs;
pub use runs::{CommandRunner, PersonRunner, RUN_DEMANDS_TIME, RunError, RunMetrics, RunQueue, RunnerCommand};

mod update;

mod crash;

mod worker_runtime;
pub use worker_runtime::{WorkerRuntime, WorkerRuntimeManager};

mod error;
pub use error::{AskError, DeskError, SendError, StartError};
