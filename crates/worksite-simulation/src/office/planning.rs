//! Planning owns how questions are answered: from a recording, by a planner within its time and the budget, and by the rules
//! when all else fails ([`Planning`]). Calls run side by side, on threads of their own; what they decide does not depend on
//! who is quicker.

use super::{Answer, AnswerBook, Planner, PlannerError, Question, Recorded, RulesPlanner};
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use worksite_runtime::Clock;

/// How much longer than its time a planner is waited for, so that it can say itself that it was too long.
const GRACE: Duration = Duration::from_millis(100);

/// What becomes of a run whose budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBudget {
    /// It pauses where it is, and goes on when there is more.
    #[default]
    Pause,
    /// The rules plan from then on.
    FallBack,
}

/// How questions are answered. Public fields, units last.
#[derive(Clone)]
pub struct Planning {
    /// Who is asked.
    pub planner: Arc<dyn Planner>,
    /// Answers that are known already: who has one is not asked.
    pub book: AnswerBook,
    /// How long an answer may take. Default 30 s.
    pub time_ms_max: u64,
    /// How often a question is asked. Default 2: once more after a failure.
    pub attempts_max: u32,
    /// How many questions are asked at a time. Default 4.
    pub calls_max: usize,
    /// What the run may cost in all, in millionths, what it has cost before included. Default: no limit.
    pub budget_micros: Option<i64>,
    /// What happens then.
    pub on_budget: OnBudget,
    /// Whether the rules answer for a planner that has failed so often; else the run ends with its error. Default true.
    pub falls_back: bool,
}

impl Default for Planning {
    fn default() -> Self {
        Self::by(RulesPlanner)
    }
}

/// A question that was answered.
pub(crate) struct Answered {
    pub(crate) person: i64,
    pub(crate) recorded: Result<Recorded, PlannerError>,
}

/// Calls that are being made.
pub(crate) struct Calls {
    sender: UnboundedSender<Answered>,
    pub(crate) receiver: UnboundedReceiver<Answered>,
    pub(crate) running: usize,
}

impl Calls {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { sender, receiver, running: 0 }
    }

    /// Waits for the next call to end.
    pub(crate) async fn next(&mut self) -> Option<Answered> {
        if self.running == 0 {
            return None;
        }
        let answered = self.receiver.recv().await;
        self.running -= 1;
        answered
    }
}

impl Planning {
    /// Has this planner asked.
    pub fn by(planner: impl Planner) -> Self {
        Self {
            planner: Arc::new(planner),
            book: AnswerBook::default(),
            time_ms_max: 30_000,
            attempts_max: 2,
            calls_max: 4,
            budget_micros: None,
            on_budget: OnBudget::Pause,
            falls_back: true,
        }
    }

    /// Whether a call may be made when so much is spent, and as much may be spent by calls that are being made.
    pub(crate) fn affords(&self, spent_micros: i64, calls: usize) -> bool {
        let most = self.planner.cost_micros_max();
        let calls = i64::try_from(calls).unwrap_or(i64::MAX).saturating_add(1);
        self.budget_micros.is_none_or(|budget| spent_micros.saturating_add(most.saturating_mul(calls)) <= budget)
    }

    /// What is known already of this question.
    pub(crate) fn known(&self, hash: &str) -> Option<Recorded> {
        self.book.get(hash).cloned()
    }

    /// Asks at once, of a planner that waits for nothing.
    pub(crate) fn ask(&self, question: &Question, hash: String) -> Result<Recorded, PlannerError> {
        let answer = believe(self.planner.plan(question, Duration::from_millis(self.time_ms_max))?)?;
        Ok(Recorded { hash, planner: self.planner.name().into(), answer, attempts: 1, fallback: None, took_ms: 0 })
    }

    /// What the rules say, for this reason.
    pub(crate) fn fall_back(&self, question: &Question, hash: String, attempts: u32, why: String) -> Recorded {
        let answer = RulesPlanner.plan(question, Duration::ZERO).unwrap_or_default();
        Recorded { hash, planner: RulesPlanner.name().into(), answer, attempts, fallback: Some(why), took_ms: 0 }
    }

    /// Makes a call on threads of its own.
    pub(crate) fn call(&self, calls: &mut Calls, question: Question, hash: String) {
        calls.running += 1;
        let (planning, sender, person) = (self.clone(), calls.sender.clone(), question.person);
        let call = move || {
            let recorded = planning.call_now(&question, hash);
            let _run_was_dropped = sender.send(Answered { person, recorded });
        };
        std::thread::spawn(call);
    }

    /// Asks until there is an answer, no attempt is left, or the rules have to do.
    fn call_now(&self, question: &Question, hash: String) -> Result<Recorded, PlannerError> {
        let clock = Clock::system();
        let began = clock.now();
        let mut failure = PlannerError::Failed("it was not asked".into());
        for attempt in 1..=self.attempts_max.max(1) {
            match self.attempt(question) {
                Ok(answer) => {
                    let took_ms = u64::try_from(clock.now().since(began).as_millis()).unwrap_or(u64::MAX);
                    let planner = self.planner.name().to_string();
                    return Ok(Recorded { hash, planner, answer, attempts: attempt, fallback: None, took_ms });
                }
                Err(error) => failure = error,
            }
        }
        if !self.falls_back {
            return Err(failure);
        }
        let took_ms = u64::try_from(clock.now().since(began).as_millis()).unwrap_or(u64::MAX);
        Ok(Recorded { took_ms, ..self.fall_back(question, hash, self.attempts_max.max(1), failure.to_string()) })
    }

    /// One attempt. A planner that goes on after its time is left to itself.
    fn attempt(&self, question: &Question) -> Result<Answer, PlannerError> {
        let time = Duration::from_millis(self.time_ms_max);
        let (answered, answer) = std::sync::mpsc::channel();
        let (planner, question) = (self.planner.clone(), question.clone());
        std::thread::spawn(move || {
            let _too_late = answered.send(planner.plan(&question, time));
        });
        match answer.recv_timeout(time + GRACE) {
            Ok(answer) => answer.and_then(believe),
            Err(RecvTimeoutError::Timeout) => Err(PlannerError::TooLong { ms: self.time_ms_max }),
            Err(RecvTimeoutError::Disconnected) => Err(PlannerError::Failed("the planner panicked".into())),
        }
    }
}

/// Bytes of a plan: a message has to hold it, and a person could not read more.
pub const PLAN_BYTES_MAX: usize = 64 * 1024;

/// What can be believed of an answer: it is no longer than a plan, and nobody is paid for planning.
fn believe(answer: Answer) -> Result<Answer, PlannerError> {
    if answer.plan.len() > PLAN_BYTES_MAX {
        let problem = format!("it has {} bytes, and a plan has at most {PLAN_BYTES_MAX}", answer.plan.len());
        return Err(PlannerError::Unreadable(problem));
    }
    Ok(Answer { cost_micros: answer.cost_micros.max(0), ..answer })
}

impl std::fmt::Debug for Planning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planning").field("planner", &self.planner.name()).field("book", &self.book.len()).finish()
    }
}
