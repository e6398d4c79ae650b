//! Command runners own child processes that work off runs: each is told its orders on its standard input and says its words
//! on its standard output, one JSON object a line. What a process holds when it dies is taken from it at once.

use super::command::{Claim, Command, Offer, Reply, RunnerCommand};
use super::dispatcher::{Dispatcher, Do, Look};
use super::error::RunError;
use actix::prelude::*;
use futures_util::future::{Either, select};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::pin::Pin;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use worksite_model::{Advice, Order, RunId, RunReport, RunnerInfo, Word};

/// How long a process that ended is left alone before it is started again; each further time without a word twice as long.
const RESTART_DELAY: Duration = Duration::from_millis(100);

/// The longest it is left alone.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(30);

/// How long a process that is to end may take, once its standard input is closed, before it is killed.
const END_TIME: Duration = Duration::from_secs(2);

/// How long a store that failed is left alone.
pub(super) const STORE_TIME: Duration = Duration::from_secs(1);

/// How long one poll of a process waits; then it polls again, which is a word from it.
const POLL_TIME: Duration = Duration::from_secs(30);

/// A program that works off runs as a process of its own.
///
/// On its standard input it finds a line for each [`Order`]: `{"run":{"id":…,"fence":…,"payload":…}}` and
/// `{"stop":{"id":…,"fence":…}}`. On its standard output it says a [`Word`] a line, with the id and the fence it was given:
/// `{"started":{"id":…,"fence":…}}`, `{"completed":{"id":…,"fence":…,"result":…}}`, `{"failed":{…,"error":…}}`,
/// `{"retry":{…,"error":…}}`, `{"stopped":{…}}`, `{"given_back":{…}}`, `{"alive":{…}}`. Other lines are passed over; any line
/// is a sign of life, and who says nothing for the time of a lease loses what it holds, and is killed: it would hang with the
/// next run as well. When its standard input ends, it is to end.
#[derive(Debug, Clone)]
pub struct CommandRunner {
    /// Who it is, what it has to offer, and how many runs it holds at once.
    pub runner: RunnerInfo,
    /// The program.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl CommandRunner {
    /// This program, without arguments.
    pub fn new(runner: RunnerInfo, program: impl Into<OsString>) -> Self {
        Self { runner, program: program.into(), arguments: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    fn start(&self) -> std::io::Result<Process> {
        let mut command = std::process::Command::new(&self.program);
        let mut child = command.args(&self.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, to_write) = std::sync::mpsc::channel();
        let (say, words) = mpsc::unbounded_channel();
        if let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) {
            std::thread::Builder::new().name("runner orders".into()).spawn(move || write_orders(stdin, &to_write))?;
            std::thread::Builder::new().name("runner words".into()).spawn(move || read_words(stdout, &say))?;
        }
        Ok(Process { child, orders: Some(orders), words })
    }
}

/// A process, and the ways to it and from it.
struct Process {
    child: Child,
    orders: Option<std::sync::mpsc::Sender<String>>,
    words: mpsc::UnboundedReceiver<String>,
}

fn write_orders(mut stdin: ChildStdin, orders: &std::sync::mpsc::Receiver<String>) {
    // A process that does not read any more will be heard to have ended.
    while let Ok(order) = orders.recv()
        && stdin.write_all(order.as_bytes()).and_then(|()| stdin.flush()).is_ok()
    {}
}

fn read_words(stdout: ChildStdout, say: &mpsc::UnboundedSender<String>) {
    for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
        if say.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
            return;
        }
    }
}

impl Process {
    /// Closes its standard input, waits a little for its end, and kills it otherwise.
    async fn end(mut self) {
        self.orders = None;
        let silence = async { while self.words.recv().await.is_some() {} };
        let _in_time = tokio::time::timeout(END_TIME, silence).await;
    }
}

impl Drop for Process {
    /// Whatever the way on which nobody needs it any more: it does not outlive that.
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Has a program work off runs.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct EmployCommand(pub(crate) CommandRunner);

impl Handler<EmployCommand> for Dispatcher {
    type Result = ();

    fn handle(&mut self, EmployCommand(runner): EmployCommand, ctx: &mut Self::Context) {
        actix::spawn(employ(ctx.address(), runner));
    }
}

/// How a process came to its end.
enum Ended {
    /// It was told to go, or the house closes.
    Told,
    /// It died; whether it had said anything.
    Died { worked: bool },
}

async fn employ(dispatcher: Addr<Dispatcher>, command: CommandRunner) {
    let mut delay = RESTART_DELAY;
    loop {
        let ended = match command.start() {
            Err(error) => {
                tracing::error!(runner = %command.runner.id, %error, "a command runner could not be started");
                Ended::Died { worked: false }
            }
            Ok(mut process) => {
                let ended = serve(&dispatcher, &command.runner, &mut process).await;
                process.end().await;
                let runner = command.runner.id.clone();
                let freed = ask(&dispatcher, |reply| Command::Deregister { runner, reply }).await;
                if matches!(freed, Err(RunError::Stopped)) { Ended::Told } else { ended }
            }
        };
        match ended {
            Ended::Told => return,
            Ended::Died { worked: true } => delay = RESTART_DELAY,
            Ended::Died { worked: false } => delay = (delay * 2).min(RESTART_DELAY_MAX),
        }
        tracing::warn!(runner = %command.runner.id, ?delay, "a command runner has died, and is started again");
        tokio::time::sleep(delay).await;
    }
}

async fn serve(dispatcher: &Addr<Dispatcher>, runner: &RunnerInfo, process: &mut Process) -> Ended {
    if !register(dispatcher, runner).await {
        return Ended::Told;
    }
    let mut worked = false;
    let mut given = BTreeMap::new();
    let mut polling = poll(dispatcher, runner);
    loop {
        let offer = {
            let word = Box::pin(process.words.recv());
            match select(word, &mut polling).await {
                Either::Left((None, _)) => return Ended::Died { worked },
                Either::Left((Some(line), _)) => {
                    worked = true;
                    hear(dispatcher, runner, &line, &mut given);
                    continue;
                }
                Either::Right((offer, _)) => offer,
            }
        };
        let Ok(offer) = offer else { return Ended::Told };
        if has_lost_any(dispatcher, runner, &given).await {
            // What it was to do next is given back with the offer.
            tracing::error!(runner = %runner.id, "a command runner said nothing for the time of a lease, and is killed");
            return Ended::Died { worked };
        }
        polling = poll(dispatcher, runner);
        for command in offer.take() {
            let order = match command {
                RunnerCommand::Run(run) => {
                    given.insert(run.id, run.fence);
                    Order::run(&run)
                }
                RunnerCommand::Stop(run) => Order::stop(&run),
                RunnerCommand::Leave => return Ended::Told,
            };
            if let Some(orders) = &process.orders {
                let _ending = orders.send(order.to_line());
            }
        }
    }
}

/// Whether something that a process was given, and has not said the end of, is not its own any more.
async fn has_lost_any(dispatcher: &Addr<Dispatcher>, runner: &RunnerInfo, given: &BTreeMap<RunId, u32>) -> bool {
    let (runner, given) = (runner.id.clone(), given.clone());
    let looking = Look(Box::new(move |board, _| {
        let holds = |id, fence| {
            let held = board.get(id).filter(|run| run.status.is_held() && run.fence == fence);
            held.is_some_and(|run| run.runner.as_ref() == Some(&runner))
        };
        given.iter().any(|(id, fence)| !holds(*id, *fence))
    }));
    dispatcher.send(looking).await.unwrap_or(false)
}

/// Takes a line of a process for what it says, and for a sign of life.
fn hear(dispatcher: &Addr<Dispatcher>, runner: &RunnerInfo, line: &str, given: &mut BTreeMap<RunId, u32>) {
    let (reply, _unheard) = oneshot::channel();
    dispatcher.do_send(Do(Command::Heartbeat { runner: runner.id.clone(), reply }));
    if let Some((id, fence, report)) = Word::from_line(line).and_then(Word::report) {
        let is_at_it = matches!(report, RunReport::Started | RunReport::Alive);
        if !is_at_it && given.get(&id) == Some(&fence) {
            given.remove(&id);
        }
        // A report that is refused is of a run that it does not have any more.
        actix::spawn(say_until_heard(dispatcher.clone(), id, fence, report));
    }
}

/// Reports until that is durable or refused: what has been done is not lost because the store had no room just then.
pub(super) fn say_until_heard(
    dispatcher: Addr<Dispatcher>,
    id: RunId,
    fence: u32,
    report: RunReport,
) -> impl Future<Output = ()> {
    let say = move || {
        let report = report.clone();
        ask(&dispatcher, move |reply| Command::Report { id, fence, report, reply })
    };
    // Handed over now, in the order in which it was said.
    let first = say();
    async move {
        let mut said = first.await;
        while said.is_err_and(|error| error.advice() == Advice::RetryLater) {
            tokio::time::sleep(STORE_TIME).await;
            said = say().await;
        }
    }
}

/// Makes a runner known; false when the house closes.
pub(super) async fn register(dispatcher: &Addr<Dispatcher>, runner: &RunnerInfo) -> bool {
    let info = runner.clone();
    dispatcher.send(Look(Box::new(move |board, now| board.register(info, now)))).await.is_ok()
}

type Polling = Pin<Box<dyn Future<Output = Result<Offer, RunError>>>>;

/// Asks for what there is to do, as a runner that waits for it, also for the store. An error says that the house closes.
pub(super) fn poll(dispatcher: &Addr<Dispatcher>, runner: &RunnerInfo) -> Polling {
    let (dispatcher, runner) = (dispatcher.clone(), runner.clone());
    Box::pin(async move {
        loop {
            let (name, capabilities) = (runner.id.clone(), runner.capabilities.clone());
            let (most, wait) = (runner.slots as usize, Some(POLL_TIME));
            let offered = ask(&dispatcher, |reply| {
                Command::Claim(Claim { runner: name, capabilities, most, wait, until: None, polls: true, reply })
            });
            match offered.await {
                Err(error) if error.advice() == Advice::RetryLater => tokio::time::sleep(STORE_TIME).await,
                offered => return offered,
            }
        }
    })
}

/// Hands a command over, and waits for its answer.
pub(super) fn ask<T: 'static, C: FnOnce(Reply<T>) -> Command>(
    dispatcher: &Addr<Dispatcher>,
    command: C,
) -> impl Future<Output = Result<T, RunError>> + use<T, C> {
    let (reply, answer) = oneshot::channel();
    dispatcher.do_send(Do(command(reply)));
    async move { answer.await.unwrap_or(Err(RunError::Stopped)) }
}
