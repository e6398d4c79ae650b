//! A run the queue has accepted: [`Run`], what a change does to it ([`RunWrite`]), and the [`Session`] it may belong to.

use crate::{Demands, Payload, RunDraft, RunId, RunStatus, SessionUse, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A run of the queue, as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// What was asked for. Its session has an id by now, and its demands stand in `demands`.
    pub draft: Arc<RunDraft>,
    /// What it asks of a runner now.
    pub demands: Arc<Demands>,
    /// Until when a runner must have claimed it.
    pub deadline: Option<Timestamp>,
    /// How it stands.
    pub status: RunStatus,
    /// Who has it, or had it last.
    pub runner: Option<RunnerId>,
    /// How often it has been claimed: the fencing token of the last claim. Reports under an earlier one are refused.
    pub fence: u32,
    /// Attempts that have failed. What was given back or stopped counts for none.
    pub attempts: u32,
    /// The life of the house in which it was last claimed.
    pub epoch: i64,
    /// When it was last claimed.
    pub claimed_at: Option<Timestamp>,
    /// When its runner last said that it has begun.
    pub started_at: Option<Timestamp>,
    /// Until when the claim holds without a word from its runner.
    pub lease_until: Option<Timestamp>,
    /// When somebody asked for it to stop.
    pub stop_requested_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it failed, or what went wrong at the last attempt.
    pub error: Option<String>,
    /// What it came to. In a box: no live run has one.
    pub result: Option<Box<Payload>>,
    /// The run that told its parent session of its end; itself, when that session was not there to be told.
    pub called_back: Option<RunId>,
}

impl Run {
    /// A new run of this draft.
    pub fn new(id: RunId, mut draft: RunDraft, at: Timestamp) -> Self {
        let demands = Arc::new(std::mem::take(&mut draft.demands));
        Self::sharing(id, draft, demands, at)
    }

    /// The same, with demands that it shares with others; those in the draft are not looked at.
    pub fn sharing(id: RunId, draft: RunDraft, demands: Arc<Demands>, at: Timestamp) -> Self {
        let due = draft.due.unwrap_or(at).max(at);
        Self {
            id,
            created_at: at,
            deadline: draft.claimed_within.map(|time| due.after(time)),
            draft: Arc::new(draft),
            demands,
            status: RunStatus::Pending,
            runner: None,
            fence: 0,
            attempts: 0,
            epoch: 0,
            claimed_at: None,
            started_at: None,
            lease_until: None,
            stop_requested_at: None,
            ended_at: None,
            error: None,
            result: None,
            called_back: None,
        }
    }

    /// The moment from which it may be claimed; its place between runs of one priority.
    pub fn due(&self) -> Timestamp {
        self.draft.due.unwrap_or(self.created_at).max(self.created_at)
    }

    /// The session it belongs to.
    pub fn session(&self) -> Option<&str> {
        match &self.draft.session {
            SessionUse::None => None,
            SessionUse::Start(session) => session.as_deref(),
            SessionUse::Resume(session) => Some(session),
        }
    }

    /// Whether its parent session is to be told of its end and has not been. To itself nobody reports.
    pub fn owes_callback(&self) -> bool {
        self.status.is_terminal() && self.called_back.is_none() && self.draft.reports_to().is_some()
    }

    /// Whether its parent session was to be told of its end, and was not there.
    pub(crate) fn is_unheard(&self) -> bool {
        self.called_back == Some(self.id)
    }

    /// How long it waited for the runner that has it, or has waited until now.
    pub fn waited(&self, now: Timestamp) -> Duration {
        self.claimed_at.or(self.ended_at).unwrap_or(now).since(self.due())
    }

    /// What must hold in the store for this run to be written over.
    pub fn guard(&self) -> Guard {
        Guard { id: self.id, status: self.status, fence: self.fence }
    }
}

/// The name of a runner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunnerId(pub Arc<str>);

impl From<&str> for RunnerId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for RunnerId {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl std::fmt::Display for RunnerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a run must stand in the store, for a write to it to count. If it does not, somebody else was quicker, and the
/// whole change is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Which run.
    pub id: RunId,
    /// How it must stand.
    pub status: RunStatus,
    /// How often it must have been claimed.
    pub fence: u32,
}

/// What a change does to the run queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunWrite {
    /// A new run. A live one with its unique key refuses the change.
    Add(Arc<Run>),
    /// A run is to be so, if it stands as the guard says.
    Update {
        /// How it must stand.
        guard: Guard,
        /// How it is to be.
        run: Arc<Run>,
    },
    /// A new session. One that is there refuses the change.
    Open(Box<Session>),
    /// A session that is there has this place from now on.
    Bind {
        /// Which.
        session: String,
        /// Its place, as demands.
        place: Demands,
    },
    /// A cron schedule is to be so, if its next moment is still that one; without, whatever it was.
    Schedule {
        /// Its next moment must be this.
        guard: Option<Timestamp>,
        /// How it is to be.
        schedule: Arc<crate::Schedule>,
    },
    /// There is to be no schedule of this name.
    Unschedule(String),
}

impl RunWrite {
    /// The run it leaves, if it is about one.
    pub fn run(&self) -> Option<&Arc<Run>> {
        match self {
            Self::Add(run) | Self::Update { run, .. } => Some(run),
            _ => None,
        }
    }
}

/// A conversation that runs belong to, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id: `ses_` and a number, or what the application chose.
    pub id: String,
    /// Who works in it.
    pub agent: Option<String>,
    /// Where.
    pub project_dir: Option<String>,
    /// The session it was asked for in.
    pub parent: Option<String>,
    /// When it began.
    pub created_at: Timestamp,
    /// Where it was last worked on, as demands for its resumption.
    pub place: Demands,
    /// How its latest run stands: sessions have no status of their own that could disagree.
    pub status: Option<RunStatus>,
}

/// What the run queue needs to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveredRuns {
    /// The runs that have not ended, in order of ids.
    pub active: Vec<Arc<Run>>,
    /// Runs that have ended and owe their parent session a callback.
    pub owing: Vec<Arc<Run>>,
    /// The schedules, in order of names.
    pub schedules: Vec<Arc<crate::Schedule>>,
    /// The highest id there is.
    pub last: Option<RunId>,
    /// Which life of the house this is.
    pub epoch: i64,
    /// Rows that could not be read, with the reason: they stay as they are, and nobody runs them.
    pub unreadable: Vec<(RunId, String)>,
}

/// Which runs of the history are wanted. Nothing set: all.
///
/// ```
/// use worksite_model::{RunFilter, RunStatus};
///
/// let failed = RunFilter::all().status(RunStatus::Failed).agent("renderer").limit(20);
/// assert_eq!(failed.limit, 20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFilter {
    /// In one of these states; in any when there is none here.
    pub statuses: Vec<RunStatus>,
    /// Of this session.
    pub session: Option<String>,
    /// Asked for in this session.
    pub parent: Option<String>,
    /// By this agent.
    pub agent: Option<String>,
    /// Last claimed by this runner.
    pub runner: Option<RunnerId>,
    /// Of this schedule.
    pub schedule: Option<String>,
    /// Accepted at this moment or later.
    pub since: Option<Timestamp>,
    /// Accepted before this moment.
    pub until: Option<Timestamp>,
    /// Older than this one: the last of the page before.
    pub before: Option<RunId>,
    /// How many at most. Default 100.
    pub limit: usize,
}

impl RunFilter {
    /// All runs, the newest first.
    pub const fn all() -> Self {
        Self {
            statuses: Vec::new(),
            session: None,
            parent: None,
            agent: None,
            runner: None,
            schedule: None,
            since: None,
            until: None,
            before: None,
            limit: 100,
        }
    }

    /// In this state, or another that was named.
    #[must_use]
    pub fn status(mut self, status: RunStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// Of this session.
    #[must_use]
    pub fn session(mut self, session: impl Into<String>) -> Self {
        self.session = Some(session.into());
        self
    }

    /// Asked for in this session.
    #[must_use]
    pub fn parent(mut self, session: impl Into<String>) -> Self {
        self.parent = Some(session.into());
        self
    }

    /// By this agent.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// Older than this one.
    #[must_use]
    pub fn before(mut self, id: RunId) -> Self {
        self.before = Some(id);
        self
    }

    /// At most so many.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Whether it means this run.
    pub fn matches(&self, run: &Run) -> bool {
        let is =
            |wanted: &Option<String>, has: Option<&str>| wanted.as_deref().is_none_or(|wanted| has == Some(wanted));
        (self.statuses.is_empty() || self.statuses.contains(&run.status))
            && is(&self.session, run.session())
            && is(&self.parent, run.draft.parent.as_deref())
            && is(&self.agent, run.draft.agent.as_deref())
            && is(&self.schedule, run.draft.schedule.as_deref())
            && self.runner.as_ref().is_none_or(|runner| run.runner.as_ref() == Some(runner))
            && self.since.is_none_or(|since| run.created_at >= since)
            && self.until.is_none_or(|until| run.created_at < until)
            && self.before.is_none_or(|before| run.id < before)
    }
}

impl Default for RunFilter {
    fn default() -> Self {
        Self::all()
    }
}
