//! Runs, in the order one lives: somebody writes a [`RunDraft`] with its [`Demands`]; the [`RunBoard`] accepts it as a
//! [`Run`]; a runner whose [`Capabilities`] meet them claims it, reports on it, and it ends. What is decided is
//! [`RunWrite`]s of a change; what has become durable is applied to the board.

mod id;
pub use id::{NotARunId, RunId, RunIds};

mod status;
pub use status::RunStatus;

mod demand;
pub use demand::{Demand, Demands, Value};

mod capability;
pub use capability::Capabilities;

mod draft;
pub use draft::{Conflict, ExecutionMode, RUN_ATTEMPTS_MAX, RunDraft, SessionUse};

mod entry;
pub use entry::{Guard, RecoveredRuns, Run, RunFilter, RunWrite, RunnerId, Session};

mod policy;
pub use policy::{KeyLimit, Recovery, RecoveryReport, RunPolicy};

mod index;
pub use index::Hold;

mod board;
pub use board::{RunBoard, RunCounts};

mod decide;
pub use decide::{Added, DISCONNECTED, Decision, LEASE_ENDED, NO_RUNNER, RunReport, reported};

mod runner;
pub use runner::{RunnerInfo, RunnerReport, Standby};

mod schedule;
pub use schedule::{Missed, Schedule};

mod callback;
pub use callback::{CallbackReport, ChildReport};

mod explain;
pub use explain::{RunExplanation, RunnerExplanation, Unmet};

mod line;
pub use line::{Order, RunName, Which, Word};

mod rejection;
pub use rejection::RunRejection;
