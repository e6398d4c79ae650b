//! The command owns a child process that plans: a question is a line of JSON to it, an answer a line of JSON from it, in any
//! order, told apart by their ids. A child that is silent for too long, or speaks nonsense, is ended and started again.

use super::{Planner, PlannerError};
use crate::office::{Answer, Question};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of a line that are read; a child that writes longer ones speaks nonsense.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// A question as the child reads it.
#[derive(Serialize)]
struct Line<'a> {
    /// The question's hash: the child's idempotency key.
    id: &'a str,
    prompt: String,
    question: &'a Question,
}

/// An answer as the child writes it: `{"id": …, "plan": …}`, and what it cost.
#[derive(Deserialize)]
struct Reply {
    id: String,
    #[serde(flatten)]
    answer: Answer,
}

type Said = Result<Answer, PlannerError>;

/// Who waits for an answer, by the question's hash; each child has its own.
type Waiting = Arc<Mutex<BTreeMap<String, Sender<Said>>>>;

struct Running {
    child: Child,
    input: ChildStdin,
    waiting: Waiting,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its output ends with it, and then its reader does.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Plans by a child process that speaks JSON Lines.
pub struct CommandPlanner {
    program: String,
    arguments: Vec<String>,
    cost_micros_max: i64,
    running: Mutex<Option<Running>>,
}

impl CommandPlanner {
    /// Plans by this program; it is started with the first question.
    pub fn new(program: impl Into<String>, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, cost_micros_max: 0, running: Mutex::new(None) }
    }

    /// Says what an answer costs at most, in millionths.
    #[must_use]
    pub fn cost_micros_max(mut self, micros: i64) -> Self {
        self.cost_micros_max = micros;
        self
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<Running, PlannerError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let failed = |error: std::io::Error| PlannerError::Failed(format!("{}: {error}", self.program));
        let mut child = command.spawn().map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(PlannerError::Failed("the child has no pipes".into()));
        };
        let waiting = Waiting::default();
        let listening = waiting.clone();
        std::thread::spawn(move || listen(output, &listening));
        Ok(Running { child, input, waiting })
    }

    /// Writes a question; the answer comes through the channel.
    fn ask(&self, hash: &str, question: &Question) -> Result<(Receiver<Said>, Waiting), PlannerError> {
        let mut running = self.running();
        if running.is_none() {
            *running = Some(self.start()?);
        }
        let Some(process) = running.as_mut() else { return Err(PlannerError::Failed("it is not running".into())) };
        let (answered, answer) = channel();
        let waiting = process.waiting.clone();
        process.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(hash.to_string(), answered);
        let line = Line { id: hash, prompt: question.prompt(), question };
        let written = serde_json::to_string(&line).map_err(|error| error.to_string()).and_then(|line| {
            writeln!(process.input, "{line}").and_then(|()| process.input.flush()).map_err(|error| error.to_string())
        });
        if let Err(error) = written {
            *running = None;
            return Err(PlannerError::Failed(error));
        }
        Ok((answer, waiting))
    }

    /// Ends this child; if it was ended already, the one after it goes on.
    fn end(&self, waiting: &Waiting) {
        let mut running = self.running();
        if running.as_ref().is_some_and(|process| Arc::ptr_eq(&process.waiting, waiting)) {
            *running = None;
        }
    }
}

/// Hands answers to who waits for them; at the end of the output whoever still waits is told so.
fn listen(output: ChildStdout, waiting: &Waiting) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match output.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&line);
        // Whatever else it prints is talk.
        if !line.trim_start().starts_with('{') {
            continue;
        }
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match serde_json::from_str::<Reply>(&line) {
            Ok(reply) => {
                if let Some(answered) = waiting.remove(&reply.id) {
                    let _gone = answered.send(Ok(reply.answer));
                }
            }
            // Nobody knows whose answer it was: all are told.
            Err(error) => {
                for (_, answered) in std::mem::take(&mut *waiting) {
                    let _gone = answered.send(Err(PlannerError::Unreadable(error.to_string())));
                }
            }
        }
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

impl Planner for CommandPlanner {
    fn name(&self) -> &str {
        "command"
    }

    fn plan(&self, question: &Question, time: Duration) -> Result<Answer, PlannerError> {
        let hash = question.hash();
        let (answer, waiting) = self.ask(&hash, question)?;
        match answer.recv_timeout(time) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                // It may never answer anything again: whoever asks next gets a new one.
                self.end(&waiting);
                Err(PlannerError::TooLong { ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX) })
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.end(&waiting);
                Err(PlannerError::Failed("the child ended".into()))
            }
        }
    }

    fn cost_micros_max(&self) -> i64 {
        self.cost_micros_max
    }
}
