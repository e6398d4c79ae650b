//! What somebody wants run: [`RunDraft`]. It has no id, and nothing is promised until the queue has accepted it.

use crate::{Demands, Durable, Payload, PayloadError, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Which session a run belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SessionUse {
    /// None.
    #[default]
    None,
    /// A new one, with this id or one that is made up.
    Start(Option<String>),
    /// One that is there: agent and project folder are taken from it where the run names none, and its place is demanded.
    Resume(String),
}

/// How whoever asked for a run hears of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionMode {
    /// They wait for it.
    Sync,
    /// They look now and then.
    #[default]
    AsyncPoll,
    /// The session it was asked for in is resumed with the result, or with several at once.
    AsyncCallback,
}

impl ExecutionMode {
    /// The word in files, as in seed 002.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::AsyncPoll => "async_poll",
            Self::AsyncCallback => "async_callback",
        }
    }
}

/// What becomes of a draft whose unique key a live run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Conflict {
    /// It is refused.
    #[default]
    Reject,
    /// It is that run: nothing is added.
    Existing,
    /// That run is stopped, if it is still pending, and this one takes its place; else it is refused.
    Replace,
}

/// How often a run is tried, unless it says otherwise.
pub const RUN_ATTEMPTS_MAX: u32 = 3;

/// What somebody wants run.
///
/// ```
/// use std::time::Duration;
/// use worksite_model::{Demands, RunDraft};
///
/// let draft = RunDraft::of(&String::from("render frame 12"))?
///     .agent("renderer")
///     .demands(Demands::none().tag("gpu").at_least("cores", 4))
///     .claimed_within(Duration::from_secs(300))
///     .priority(5);
/// assert_eq!(draft.attempts_max, 3);
/// # Ok::<(), worksite_model::PayloadError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDraft {
    /// Who, or what program, is to do it: seed 002 `agent_name`.
    pub agent: Option<String>,
    /// What is to be done: seed 002 `prompt`, later its parameters.
    pub payload: Option<Payload>,
    /// Where: seed 002 `project_dir`.
    pub project_dir: Option<String>,
    /// Which session it belongs to.
    pub session: SessionUse,
    /// The session it was asked for in: seed 002 `parent_session_id`.
    pub parent: Option<String>,
    /// How whoever asked for it hears of its end.
    pub mode: ExecutionMode,
    /// What it asks of a runner.
    pub demands: Demands,
    /// Higher ones first. Default 0.
    pub priority: i32,
    /// Not before this moment.
    pub due: Option<Timestamp>,
    /// How long it waits for a runner once it is due, at most; then it fails. Without, it waits for ever.
    pub claimed_within: Option<Duration>,
    /// How often it is tried at most, when runners fail it or are lost.
    pub attempts_max: u32,
    /// How long a claim of it holds without a word from its runner. Default: the queue's.
    pub lease: Option<Duration>,
    /// No other live run has this key.
    pub unique: Option<String>,
    /// What becomes of this one if another has.
    pub conflict: Conflict,
    /// Whose limits on how many run at once, and how often one may begin, it is under.
    pub limit: Option<String>,
    /// The cron schedule that asked for it.
    pub schedule: Option<String>,
}

impl Default for RunDraft {
    fn default() -> Self {
        Self {
            agent: None,
            payload: None,
            project_dir: None,
            session: SessionUse::None,
            parent: None,
            mode: ExecutionMode::default(),
            demands: Demands::none(),
            priority: 0,
            due: None,
            claimed_within: None,
            attempts_max: RUN_ATTEMPTS_MAX,
            lease: None,
            unique: None,
            conflict: Conflict::default(),
            limit: None,
            schedule: None,
        }
    }
}

macro_rules! chosen {
    ($($(#[$doc:meta])* $field:ident: $type:ty => $value:expr;)*) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = $value;
            self
        }
    )*};
}

impl RunDraft {
    /// A run that is told nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A run that is told this.
    ///
    /// # Errors
    /// [`PayloadError::Unencodable`].
    pub fn of<T: Durable>(what: &T) -> Result<Self, PayloadError> {
        Ok(Self { payload: Some(Payload::encode(what)?), ..Self::default() })
    }

    /// Belongs to a session; see [`SessionUse`].
    #[must_use]
    pub fn in_session(mut self, session: SessionUse) -> Self {
        self.session = session;
        self
    }

    /// Was asked for in this session, which is resumed with the result when it has ended.
    #[must_use]
    pub fn calls_back(mut self, parent: impl Into<String>) -> Self {
        (self.parent, self.mode) = (Some(parent.into()), ExecutionMode::AsyncCallback);
        self
    }

    /// The session that is to be told of its end. To itself nobody reports.
    pub fn reports_to(&self) -> Option<&str> {
        let own = match &self.session {
            SessionUse::None => None,
            SessionUse::Start(session) => session.as_deref(),
            SessionUse::Resume(session) => Some(session.as_str()),
        };
        let calls_back = self.mode == ExecutionMode::AsyncCallback;
        self.parent.as_deref().filter(|parent| calls_back && Some(*parent) != own)
    }

    /// Who, or what program, is to do it.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// Where.
    #[must_use]
    pub fn project_dir(mut self, folder: impl Into<String>) -> Self {
        self.project_dir = Some(folder.into());
        self
    }

    /// No other live run has this key; `conflict` says what becomes of this one if another has.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>, conflict: Conflict) -> Self {
        (self.unique, self.conflict) = (Some(key.into()), conflict);
        self
    }

    /// Whose limits on how many run at once, and how often one may begin, it is under.
    #[must_use]
    pub fn limit(mut self, key: impl Into<String>) -> Self {
        self.limit = Some(key.into());
        self
    }

    chosen! {
        /// What it asks of a runner.
        demands: Demands => demands;
        /// Higher ones first.
        priority: i32 => priority;
        /// Not before this moment.
        due: Timestamp => Some(due);
        /// Fails if no runner has claimed it so long after it is due.
        claimed_within: Duration => Some(claimed_within);
        /// How often it is tried at most.
        attempts_max: u32 => attempts_max;
        /// How long a claim of it holds without a word from its runner.
        lease: Duration => Some(lease);
        /// How whoever asked for it hears of its end.
        mode: ExecutionMode => mode;
    }
}
