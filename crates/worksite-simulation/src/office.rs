//! An office on a real house: every colleague is a worker, every mail a draft, every tick a moment of a clock moved by hand.
//!
//! [`Office`] runs a [`Charter`] tick by tick. What enters ([`Input`], and answers of a [`Planner`]) is kept as rows of a
//! [`Transcript`], in the commits that hold its consequences; so a run can be killed at any moment, replayed, forked at a tick
//! and verified, and the seed alone decides what its digest is.
//!
//! ```
//! use worksite_runtime::{ManualClock, Runtime};
//! use worksite_simulation::office::*;
//! use worksite_simulation::{MemoryDisk, MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), OfficeError> {
//! let clock = ManualClock::default();
//! let house = Runtime::builder().routine(LedgerRoutine).routine(DeskRoutine).routine(ChronicleRoutine);
//! let house = house.clock(clock.clock()).retention(retention());
//! let runtime = house.start(Box::new(MemoryStore::open(&MemoryDisk::default()))).await?;
//! let charter = Charter::new(7, vec![Colleague::new(1, "Ada"), Colleague::new(2, "Bob")]);
//! let mut office = Office::open(runtime, clock, charter).await?;
//! office.enter(Input::Inject(Happening::new(HappeningKind::Meeting, [1, 2], 30))).await?;
//! office.run_to(480, &Planning::by(RulesPlanner), |_, _| true).await?;
//! assert!(office.verify().await?.holds());
//! # Ok(())
//! # }
//! ```

mod calendar;
pub use calendar::{Almanac, Calendar, Hours, TICKS_PER_DAY_MAX, parse_minute};

mod colleague;
pub use colleague::{Absence, Colleague, Habits, StatusOverride};

mod mail;
pub use mail::{Channel, Mail, MailId, MailKind};

mod happening;
pub use happening::{Happening, HappeningKind, Odds};

mod ledger;
pub use ledger::{COLLEAGUES_MAX, Charter, HAPPENINGS_MAX, Input, Ledger, LedgerPost, LedgerRoutine, Noted, OFFICE};

mod plan;
pub use plan::{AHEAD_MAX, Answer, PLAN_LINES_MAX, PlanLine, Question, read_plan};

mod hub;
pub use hub::{Dispatch, Hub, HubLimits, Outgoing, Said};

mod desk;
pub use desk::{Act, Counts, Desk, DeskPost, DeskRoutine, RECENT_MAILS_MAX};

mod planner;
#[cfg(feature = "http")]
pub use planner::HttpPlanner;
pub use planner::{AnswerBook, CommandPlanner, Planner, PlannerError, Recorded, RecordedPlanner, RulesPlanner};

mod planning;
pub use planning::{OnBudget, PLAN_BYTES_MAX, Planning};

mod chronicle;
pub use chronicle::{AnswerRow, CHRONICLE, ChronicleRoutine, DailyReport, InputRow, OfficeEntry, Transcript};

mod engine;
pub use engine::{Office, Progress, RunEnd, retention};

mod agenda;

mod replay;
pub use replay::Verified;

mod export;

mod pace;
pub use pace::Pace;

use thiserror::Error;
use worksite_model::{Advice, PayloadError};
use worksite_runtime::{AskError, DeskError, SendError};

/// Why the office cannot go on. What was durable stays so.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OfficeError {
    /// A time cannot be read, or is none. Write it as `09:00`, a date as `2026-01-05`.
    #[error("{0:?} is no time of an office")]
    Time(String),
    /// There is no such time zone. Name one like `Europe/Vienna`.
    #[error("{0:?} is no time zone")]
    TimeZone(String),
    /// A colleague cannot be as described. Correct the description.
    #[error("colleague {id}: {problem}")]
    Colleague {
        /// Whose description.
        id: i64,
        /// What is wrong with it.
        problem: String,
    },
    /// The site holds an office that was founded otherwise. Give its own charter, or another site.
    #[error("the site holds an office that was founded otherwise; give its own charter, or another site")]
    OtherCharter,
    /// There is no office here yet. Found one.
    #[error("no office was founded here")]
    NotFounded,
    /// A tick was begun and has not ended: what enters now would be seen by half of the office. Let it end, by
    /// [`Office::step`].
    #[error("tick {0} has not ended; let it end first")]
    MidTick(u64),
    /// The recording is of another run: it lacks a question. Compare charters and inputs.
    #[error(transparent)]
    Planner(#[from] PlannerError),
    /// A line of a transcript or a recording cannot be read. Correct it, or export it again.
    #[error("line {line}: {problem}")]
    Line {
        /// Which, counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The house did not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The house could not be looked at.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The house did not accept something.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Something cannot be encoded or decoded.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A house in memory, for a fork or a verification, could not be started.
    #[error(transparent)]
    Start(#[from] worksite_runtime::StartError),
}

impl OfficeError {
    /// What the caller should do next.
    pub fn advice(&self) -> Advice {
        match self {
            Self::Ask(error) => error.advice(),
            Self::Desk(error) => error.advice(),
            Self::Send(error) => error.advice(),
            Self::Start(error) => error.advice(),
            Self::MidTick(_) => Advice::RetryLater,
            _ => Advice::FixRequest,
        }
    }
}
