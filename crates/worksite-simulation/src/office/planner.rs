//! Who plans: [`Planner`] is asked what somebody does next. The rules are built in; the others ask a recording, a child
//! process or a server.

mod command;
#[cfg(feature = "http")]
mod http;
mod recorded;
mod rules;

pub use command::CommandPlanner;
#[cfg(feature = "http")]
pub use http::HttpPlanner;
pub use recorded::{AnswerBook, Recorded, RecordedPlanner};
pub use rules::RulesPlanner;

use super::{Answer, Question};
use std::time::Duration;
use thiserror::Error;

/// Says what somebody does next. It is asked on a thread of its own, and not waited for longer than its time.
pub trait Planner: Send + Sync + 'static {
    /// Its name in the chronicle.
    fn name(&self) -> &str;

    /// Answers a question within this time. [`Question::hash`] is the question's idempotency key: after a crash between an
    /// answer and its commit the same question is asked once more, under the same key.
    ///
    /// # Errors
    /// [`PlannerError`]; it is asked again, and then the rules answer in its place.
    fn plan(&self, question: &Question, time: Duration) -> Result<Answer, PlannerError>;

    /// Whether it answers at once, without waiting for anything.
    fn is_quick(&self) -> bool {
        false
    }

    /// What an answer costs at most, in millionths: a call that could cost more than is left of the budget is not made.
    fn cost_micros_max(&self) -> i64 {
        0
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlannerError {
    /// It took too long. Give it more time, or choose a quicker one.
    #[error("no answer within {ms} ms")]
    TooLong {
        /// How long was waited.
        ms: u64,
    },
    /// It could not be reached, or said that it cannot. Its reason says what to do.
    #[error("the planner failed: {0}")]
    Failed(String),
    /// It said something that cannot be read. Correct it.
    #[error("the planner's answer cannot be read: {0}")]
    Unreadable(String),
    /// The recording does not have it: the run is not the one that was recorded. Compare their charters and inputs.
    #[error("the question {0} was not recorded")]
    NotRecorded(String),
}
