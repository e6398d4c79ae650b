//! The run queue: [`RunQueue`] is what an application holds: it adds runs, runners claim those whose demands they meet,
//! report on them, and everybody can ask why one is not running. Seed 002, with its faults mended.

mod command;
pub use command::RunnerCommand;

mod dispatcher;
pub use dispatcher::RunMetrics;
pub(crate) use dispatcher::{CloseRuns, Dispatcher};

mod process;
pub use process::CommandRunner;

mod letter;

mod person;
pub use person::PersonRunner;

mod opening;

mod error;
pub use error::RunError;

use crate::Runtime;
use actix::Addr;
use command::{Claim, Command, Reply};
use dispatcher::{Count, Do, Look, Looking};
use opening::OpenRuns;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use worksite_model::{
    Added, Demands, KeyLimit, RecoveryReport, Run, RunDraft, RunExplanation, RunFilter, RunId, RunPolicy, RunRejection,
    RunReport, RunStatus, RunnerExplanation, RunnerId, RunnerInfo, RunnerReport, Schedule, Session, StoreError,
};

/// How long a run waits for a runner when its demands are set later and nothing else is said: seed 002.
pub const RUN_DEMANDS_TIME: Duration = Duration::from_secs(300);

/// The run queue of a site. Cheap to clone; all clones are the same queue. Its futures need no particular executor, and
/// what they ask for has been handed over when the call returns: dropping one drops only the answer, and a run that was
/// claimed for nobody is given back.
///
/// Writes go to the store first, and the board in memory follows once they are durable: a write that failed changes nothing.
#[derive(Clone)]
pub struct RunQueue {
    runtime: Runtime,
    dispatcher: Addr<Dispatcher>,
    recovery: Arc<RecoveryReport>,
}

impl Runtime {
    /// The run queue of this site, working by [`RunPolicy::default`].
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn run_queue(&self) -> Result<RunQueue, RunError> {
        self.run_queue_with(RunPolicy::default()).await
    }

    /// The run queue of this site. Whoever asks first says how it works; it is the same for all later ones.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn run_queue_with(&self, policy: RunPolicy) -> Result<RunQueue, RunError> {
        let mut opened = self.0.runs.lock().await;
        if let Some(dispatcher) = opened.as_ref().filter(|dispatcher| dispatcher.connected()) {
            let (runtime, dispatcher) = (self.clone(), dispatcher.clone());
            return Ok(RunQueue { runtime, dispatcher, recovery: Arc::default() });
        }
        let opening = self.0.supervisor.send(OpenRuns(policy)).await.map_err(|_closed| RunError::Stopped)?;
        let (dispatcher, recovery) = opening?;
        *opened = Some(dispatcher.clone());
        Ok(RunQueue { runtime: self.clone(), dispatcher, recovery: Arc::new(recovery) })
    }
}

/// The answer to something asked.
type Asked<T> = Result<T, RunError>;

/// An answer that is still to come.
struct Answer<T>(oneshot::Receiver<Asked<T>>);

impl<T> Future for Answer<T> {
    type Output = Asked<T>;

    fn poll(mut self: Pin<&mut Self>, ctx: &mut task::Context<'_>) -> Poll<Asked<T>> {
        // A way back that was dropped says that the house has closed.
        Pin::new(&mut self.0).poll(ctx).map(|answer| answer.unwrap_or(Err(RunError::Stopped)))
    }
}

impl RunQueue {
    /// What became at the opening of runs that an earlier life left held.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Adds a run: its demands, its deadline and its session in one commit. Durable when it returns.
    ///
    /// # Errors
    /// [`RunError`], with the draft given back.
    pub fn add_run(&self, draft: RunDraft) -> impl Future<Output = Asked<Arc<Run>>> + Send + use<> {
        let added = self.add_runs(vec![draft]);
        async move { added.await?.into_iter().next().ok_or(RunError::Stopped) }
    }

    /// Adds runs as one change: all or none, in the order given. One whose unique key is that of a live run may be that
    /// run; see [`Conflict`](worksite_model::Conflict).
    ///
    /// # Errors
    /// [`RunError`], with the drafts given back.
    pub fn add_runs(&self, drafts: Vec<RunDraft>) -> impl Future<Output = Asked<Vec<Arc<Run>>>> + Send + use<> {
        let added = self.ask(|reply| Command::Add { drafts, sessions: None, reply });
        async move { Ok(added.await?.into_iter().map(Added::into_run).collect()) }
    }

    /// Adds a run and waits for its end: seed 002's mode `sync`.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn run(&self, draft: RunDraft) -> Asked<Arc<Run>> {
        let draft = draft.mode(worksite_model::ExecutionMode::Sync);
        let run = self.add_run(draft).await?;
        self.wait(run.id).await
    }

    /// Waits for the end of a run; of one that has ended it answers at once.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn wait(&self, id: RunId) -> impl Future<Output = Asked<Arc<Run>>> + Send + use<> {
        self.ask(|reply| Command::Await { id, reply })
    }

    /// Claims the run this runner gets: of those whose demands it meets, the first by priority, then by the moment it was
    /// due, then by the order of acceptance. Nothing when there is none. The claim is durable when it returns, and nobody
    /// else has it.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn claim_run(&self, runner: &RunnerInfo) -> impl Future<Output = Asked<Option<Arc<Run>>>> + Send + use<> {
        let claimed = self.claim(runner, 1, None, false);
        async move { Ok(runs(claimed.await?).pop()) }
    }

    /// Claims so many runs at most, in one commit.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn claim_runs(
        &self,
        runner: &RunnerInfo,
        most: usize,
    ) -> impl Future<Output = Asked<Vec<Arc<Run>>>> + Send + use<> {
        let claimed = self.claim(runner, most, None, false);
        async move { Ok(runs(claimed.await?)) }
    }

    /// [`RunQueue::claim_run`], waiting so long for one: woken by what makes it claimable, not by looking again.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn claim_run_within(
        &self,
        runner: &RunnerInfo,
        wait: Duration,
    ) -> impl Future<Output = Asked<Option<Arc<Run>>>> + Send + use<> {
        let claimed = self.claim(runner, 1, Some(wait), false);
        async move { Ok(runs(claimed.await?).pop()) }
    }

    /// What a registered runner is to do: runs to stop first, then whether it is to go, then at most so many runs to do.
    /// Waits for something. That it asks is a word from it.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn poll(
        &self,
        runner: &RunnerInfo,
        most: usize,
        wait: Duration,
    ) -> impl Future<Output = Asked<Vec<RunnerCommand>>> + Send + use<> {
        self.claim(runner, most, Some(wait), true)
    }

    fn claim(
        &self,
        runner: &RunnerInfo,
        most: usize,
        wait: Option<Duration>,
        polls: bool,
    ) -> impl Future<Output = Asked<Vec<RunnerCommand>>> + Send + use<> {
        let (runner, capabilities) = (runner.id.clone(), runner.capabilities.clone());
        let offered =
            self.ask(|reply| Command::Claim(Claim { runner, capabilities, most, wait, until: None, polls, reply }));
        async move { Ok(offered.await?.take()) }
    }

    /// Reports on a run as it was claimed. Said twice it counts once; said of a claim that is not the last one any more, or
    /// of a run that has ended otherwise, it is refused and changes nothing.
    ///
    /// # Errors
    /// [`RunRejection::StaleClaim`], [`RunRejection::Illegal`], and [`RunError`].
    pub fn report(&self, claimed: &Run, report: RunReport) -> impl Future<Output = Asked<Arc<Run>>> + Send + use<> {
        self.report_under(claimed.id, claimed.fence, report)
    }

    /// [`RunQueue::report`] for who has only the id and the fencing token of the claim.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn report_under(
        &self,
        id: RunId,
        fence: u32,
        report: RunReport,
    ) -> impl Future<Output = Asked<Arc<Run>>> + Send + use<> {
        self.ask(|reply| Command::Report { id, fence, report, reply })
    }

    /// [`RunQueue::report`] in the words of seed 002: running, completed, failed or stopped. Pending gives the run back.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn update_run_status(&self, claimed: &Run, status: RunStatus, error: Option<&str>) -> Asked<Arc<Run>> {
        let error = error.unwrap_or("no reason given").to_string();
        let report = match status {
            RunStatus::Pending => RunReport::GivenBack,
            RunStatus::Running => RunReport::Started,
            RunStatus::Completed => RunReport::Completed(None),
            RunStatus::Failed => RunReport::Failed(error),
            RunStatus::Stopped => RunReport::Stopped,
            RunStatus::Stopping => return self.stop_run(claimed.id).await,
            RunStatus::Claimed => {
                let (id, from, to) = (claimed.id, claimed.status, status);
                return Err(RunRejection::Illegal { id, from, to }.into());
            }
        };
        self.report(claimed, report).await
    }

    /// Stops a run: a pending one at once; one that is held becomes stopping, durably, and its runner is told by
    /// [`RunQueue::poll`]. Stopping it again, or one that has ended, changes nothing.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn stop_run(&self, id: RunId) -> impl Future<Output = Asked<Arc<Run>>> + Send + use<> {
        self.ask(|reply| Command::Stop { id, reply })
    }

    /// Stops what a session is at; nothing when it is at nothing.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn stop_session(&self, session: &str) -> Asked<Option<Arc<Run>>> {
        match self.get_run_by_session_id(session).await? {
            Some(run) => self.stop_run(run.id).await.map(Some),
            None => Ok(None),
        }
    }

    /// Changes what a pending run asks of a runner, and how long it waits for one from now on (seed 002: 300 s when it asks
    /// for anything; [`RUN_DEMANDS_TIME`]).
    ///
    /// # Errors
    /// [`RunError`].
    pub fn set_run_demands(
        &self,
        id: RunId,
        demands: Demands,
        within: Option<Duration>,
    ) -> impl Future<Output = Asked<Arc<Run>>> + Send + use<> {
        self.ask(|reply| Command::SetDemands { id, demands, within, reply })
    }

    /// Does what time has brought: fails runs that nobody claimed in time, takes runs from lost runners, fires schedules.
    /// Gives the runs that changed. A running clock does so by itself; with a [`ManualClock`](crate::ManualClock) it is for
    /// the application to call. Seed 002 `fail_timed_out_runs`.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn fail_timed_out_runs(&self) -> impl Future<Output = Asked<Vec<Arc<Run>>>> + Send + use<> {
        self.ask(|reply| Command::Tick { reply: Some(reply) })
    }

    /// A live run. One that has ended is not in the cache: [`RunQueue::get_run_with_fallback`].
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn get_run(&self, id: RunId) -> Asked<Option<Arc<Run>>> {
        self.look(Box::new(move |board, _| board.get(id).cloned())).await
    }

    /// A run, live or ended.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn get_run_with_fallback(&self, id: RunId) -> Asked<Option<Arc<Run>>> {
        match self.get_run(id).await? {
            Some(run) => Ok(Some(run)),
            None => Ok(self.read(move |store| store.run(id)).await?.map(Arc::new)),
        }
    }

    /// The pending runs in the order in which they are claimed; those for later come last.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn get_pending_runs(&self) -> Asked<Vec<Arc<Run>>> {
        self.look(Box::new(|board, _| board.pending())).await
    }

    /// All live runs, in the order of their acceptance.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn get_all_runs(&self) -> Asked<Vec<Arc<Run>>> {
        self.look(Box::new(|board, _| board.all())).await
    }

    /// The latest live run of a session.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn get_run_by_session_id(&self, session: &str) -> Asked<Option<Arc<Run>>> {
        let session = session.to_string();
        self.look(Box::new(move |board, _| board.by_session(&session).cloned())).await
    }

    /// Runs of the history, live or ended, the newest first, a page at a time.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn history(&self, filter: RunFilter) -> Asked<Vec<Run>> {
        self.read(move |store| store.run_history(&filter)).await
    }

    /// [`RunQueue::history`] by states alone, without a bound. Seed 002's name.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn get_all_runs_from_db(&self, statuses: &[RunStatus]) -> Asked<Vec<Run>> {
        self.history(RunFilter { statuses: statuses.to_vec(), limit: usize::MAX, ..RunFilter::all() }).await
    }

    /// A session, and how its latest run stands.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn session(&self, id: &str) -> Asked<Option<Session>> {
        let id = id.to_string();
        self.read(move |store| store.session(&id)).await
    }

    /// Registers a runner. One that was stale comes back with what it has to offer now.
    ///
    /// # Errors
    /// [`RunRejection::RunnerExists`] when one of its identity is at work, and [`RunError`].
    pub async fn register(&self, runner: RunnerInfo) -> Asked<()> {
        Ok(self.look(Box::new(move |board, now| board.register(runner, now))).await??)
    }

    /// A runner is still there: it may claim again if it was stale, and the leases of all it holds begin anew.
    ///
    /// # Errors
    /// [`RunRejection::UnknownRunner`], and [`RunError`].
    pub fn heartbeat(&self, runner: &RunnerId) -> impl Future<Output = Asked<()>> + Send + use<> {
        let runner = runner.clone();
        self.ask(|reply| Command::Heartbeat { runner, reply })
    }

    /// A runner has gone. What it held waits again, or fails after its last attempt; what was to stop has. Gives those runs.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn deregister(&self, runner: &RunnerId) -> impl Future<Output = Asked<Vec<Arc<Run>>>> + Send + use<> {
        let runner = runner.clone();
        self.ask(|reply| Command::Deregister { runner, reply })
    }

    /// Has a program of this machine work off runs, as a process of its own; see [`CommandRunner`]. It is started again when
    /// it dies, and ends with the house, or when it is dismissed.
    pub fn employ_command(&self, runner: CommandRunner) {
        self.dispatcher.do_send(process::EmployCommand(runner));
    }

    /// Has a worker of this house work off runs: each comes as a message to its person, whose routine's reply is the
    /// result; see [`PersonRunner`].
    pub fn employ_person(&self, runner: PersonRunner) {
        self.dispatcher.do_send(person::EmployPerson { runner, runtime: self.runtime.downgrade() });
    }

    /// Tells a runner to go, when it next polls; from now on it gets nothing.
    ///
    /// # Errors
    /// [`RunRejection::UnknownRunner`], and [`RunError`].
    pub async fn dismiss(&self, runner: &RunnerId) -> Asked<()> {
        let runner = runner.clone();
        Ok(self
            .look(Box::new(move |board, now| {
                board.dismiss(&runner)?;
                board.look_at_the_clock(now);
                Ok::<_, RunRejection>(())
            }))
            .await??)
    }

    /// All registered runners, in order of ids, with what they hold.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn runners(&self) -> Asked<Vec<RunnerReport>> {
        self.look(Box::new(|board, now| board.runners(now))).await
    }

    /// Why a live run is not running; nothing when it has ended or never was.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn explain(&self, id: RunId) -> Asked<Option<RunExplanation>> {
        self.look(Box::new(move |board, now| board.explain(id, now))).await
    }

    /// What a runner could do now, and what most runs ask of it that it has not.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn explain_runner(&self, runner: &RunnerInfo) -> Asked<RunnerExplanation> {
        let runner = runner.clone();
        self.look(Box::new(move |board, now| board.explain_runner(&runner, now))).await
    }

    /// Sets or replaces a schedule, durably.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn set_schedule(&self, schedule: Schedule) -> impl Future<Output = Asked<Arc<Schedule>>> + Send + use<> {
        self.ask(|reply| Command::Schedule { schedule: Box::new(schedule), parent: None, reply })
    }

    /// Ends a schedule, durably. What it has added stays.
    ///
    /// # Errors
    /// [`RunRejection::UnknownSchedule`], and [`RunError`].
    pub fn end_schedule(&self, name: &str) -> impl Future<Output = Asked<()>> + Send + use<> {
        let name = name.to_string();
        self.ask(|reply| Command::Unschedule { name, reply })
    }

    /// The schedules, in order of names.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn schedules(&self) -> Asked<Vec<Arc<Schedule>>> {
        self.look(Box::new(|board, _| board.schedules().cloned().collect())).await
    }

    /// Sets the limits of a key, until the house closes: what is to hold after that belongs into [`RunPolicy::limits`].
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn set_limit(&self, key: impl Into<String>, limit: KeyLimit) -> Asked<()> {
        let key = key.into();
        self.look(Box::new(move |board, _| board.set_limit(&key, limit))).await
    }

    /// What the queue has counted since it was opened.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn metrics(&self) -> Asked<RunMetrics> {
        self.dispatcher.send(Count).await.map_err(|_closed| RunError::Stopped)
    }

    /// The moment on the queue's clock.
    pub fn now(&self) -> worksite_model::Timestamp {
        self.runtime.0.house.clock.now()
    }

    /// Hands a command over, and waits for its answer.
    fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        self.dispatcher.do_send(Do(command(reply)));
        Answer(answer)
    }

    async fn look<R: Send + 'static>(&self, looking: Looking<R>) -> Asked<R> {
        self.dispatcher.send(Look(looking)).await.map_err(|_closed| RunError::Stopped)
    }

    async fn read<R: Send + 'static>(
        &self,
        reading: impl FnOnce(&mut dyn worksite_model::Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Asked<R> {
        self.runtime.read(Box::new(reading)).await.map_err(|error| match error {
            crate::DeskError::Store(error) => error.into(),
            _ => RunError::Stopped,
        })
    }
}

fn runs(commands: Vec<RunnerCommand>) -> Vec<Arc<Run>> {
    let run = |command| match command {
        RunnerCommand::Run(run) => Some(run),
        RunnerCommand::Stop(_) | RunnerCommand::Leave => None,
    };
    commands.into_iter().filter_map(run).collect()
}

impl std::fmt::Debug for RunQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RunQueue")
    }
}
