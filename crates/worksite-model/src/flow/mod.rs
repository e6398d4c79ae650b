//! The words and laws of flows (seeds 001 and 003), in the order a datum lives: a [`Post`] puts a [`Datum`] into a
//! [`Slot`], where it belongs to a [`Job`]; a [`FlowRoutine`]'s [`ActivationPolicy`] gives it a turn, a [`Call`]; what the
//! turn emits goes along the connections of the [`Flow`]; when the last consequence has ended, the job has.
//!
//! The [`Engine`] does that for one worker. It is a function of what it is told: it has no clock, and writes nothing.

mod datum;
pub use datum::{AnyDatum, DataType, Datum, Taken};

mod job;
pub use job::{Job, JobFilter, JobId, JobNotes, JobSet, JobStatus, JobWrite, NotAJobId, POST_DATA_MAX, TraceEntry};

mod post;
pub use post::Post;

mod slot;
pub use crate::limits::{SLOT_DATA_MAX, VOLATILE_JOBS_ENDED_MAX};
pub use slot::{Pressure, SLOT_WATERMARK_PERCENT, Slot};

mod policy;
pub use policy::{Activate, ActivationPolicy, PolicyView};

mod strategy;
pub use strategy::ErrorStrategy;

mod kept;

mod call;
pub use call::{AsyncCall, Call, CallError};

mod routine;
pub use routine::{FlowEnded, FlowRoutine, LogicKind};

mod hook;
pub use hook::{FlowHook, TurnView};

mod graph;
pub use graph::{Event, Flow, FlowBuildError, FlowBuilder};

mod engine;
pub use engine::{Admission, Breakpoint, Engine, FlowMoment};

mod accounts;

mod task;
pub use task::{TaskEnd, TaskRun};

mod rows;
pub use rows::{FlowRow, FlowSaved};

mod waiting;
pub use waiting::FlowWaiting;

mod report;
pub use report::{FlowReport, RoutineReport, SlotReport};

mod definition;
pub use definition::{DEFINITION_VERSION, DefinitionError, DefinitionPlace, FlowCatalog, FlowConfig, TypeTaken};

mod diagram;
