//! The dispatcher owns the board of runs: the live runs, who waits for one, and what time will bring.
//!
//! Asks: persistence, to look up what the board does not have. Tells: whoever asked, after the commit. Never: changes the
//! board ahead of the store, or polls: a runner that waits is woken by what makes a run claimable.

mod adding;
mod claiming;
mod moments;

use super::command::{Claim, Command, OnTheWay, Reply, Setback, Then};
use super::error::RunError;
use crate::error::CommitFailure;
use crate::metrics::Histogram;
use crate::persistence::{Answer, Read};
use crate::runtime::House;
use actix::WeakAddr;
use actix::prelude::*;
pub(crate) use claiming::Unheard;
use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use worksite_model::{
    Change, Committed, Decision, IdMap, Refusal, Run, RunBoard, RunCounts, RunId, RunRejection, RunStatus, RunWrite,
    RunnerId, Standby, Store, StoreError, Timestamp, reported,
};

type Verdict = Result<Arc<Committed>, CommitFailure>;

/// Decides about runs, and tells what has become durable.
pub(crate) struct Dispatcher {
    house: Arc<House>,
    board: RunBoard,
    /// Changes on their way, in the order in which they were proposed: their verdicts come in that order.
    on_the_way: VecDeque<OnTheWay>,
    /// Where verdicts are waited for.
    verdicts: mpsc::UnboundedSender<oneshot::Receiver<Verdict>>,
    /// Taken at the start by who waits for verdicts.
    pump: Option<mpsc::UnboundedReceiver<oneshot::Receiver<Verdict>>>,
    /// Commands that wait for a write on its way.
    parked: Vec<Command>,
    /// Runners that wait for something to do, the longest waiting first.
    waiting: VecDeque<(u64, Claim)>,
    /// The number of the last that waits.
    last_waiting: u64,
    /// Who waits for the end of which run.
    watching: IdMap<RunId, Vec<Reply<Arc<Run>>>>,
    /// Stops that runners have been told of.
    told: BTreeSet<(RunnerId, RunId)>,
    /// When the timer will go off, and the timer.
    timer: Option<(Timestamp, SpawnHandle)>,
    /// How long runs waited for their runners.
    waits: Histogram,
    /// The store failed: until then nothing is tried without being asked for.
    resting_until: Timestamp,
    closed: bool,
}

/// What the run queue has counted since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunMetrics {
    /// What has become of runs.
    pub counts: RunCounts,
    /// Runners that are registered and have been heard of lately.
    pub runners_online: usize,
    /// Claims that wait for a run.
    pub claims_waiting: usize,
    /// How long runs waited for their runners, from the moment they were due.
    pub waits: Histogram,
}

impl Dispatcher {
    pub(crate) fn new(house: Arc<House>, board: RunBoard) -> Self {
        let (verdicts, pump) = mpsc::unbounded_channel();
        Self {
            house,
            board,
            on_the_way: VecDeque::new(),
            verdicts,
            pump: Some(pump),
            parked: Vec::new(),
            waiting: VecDeque::new(),
            last_waiting: 0,
            watching: IdMap::default(),
            told: BTreeSet::new(),
            timer: None,
            waits: Histogram::default(),
            resting_until: Timestamp::from_micros(i64::MIN),
            closed: false,
        }
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // actix starts an actor that was never polled while its thread ends, and then there are no timers.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        ctx.set_mailbox_capacity(1024);
        if let Some(pump) = self.pump.take() {
            actix::spawn(hear_verdicts(pump, ctx.address().downgrade()));
        }
        self.go_on(ctx);
    }
}

/// Waits for verdicts in the order in which changes were proposed, which is that of their commits, and hands over all that
/// are there at once.
async fn hear_verdicts(
    mut pump: mpsc::UnboundedReceiver<oneshot::Receiver<Verdict>>,
    dispatcher: WeakAddr<Dispatcher>,
) {
    let mut next = pump.recv().await;
    while let Some(verdict) = next.take() {
        let mut landed = vec![verdict.await.ok()];
        loop {
            match pump.try_recv() {
                Err(_nothing_more) => break,
                Ok(mut verdict) => match verdict.try_recv() {
                    Ok(verdict) => landed.push(Some(verdict)),
                    Err(oneshot::error::TryRecvError::Closed) => landed.push(None),
                    Err(oneshot::error::TryRecvError::Empty) => {
                        next = Some(verdict);
                        break;
                    }
                },
            }
        }
        let Some(dispatcher) = dispatcher.upgrade() else { return };
        dispatcher.do_send(Landed(landed));
        if next.is_none() {
            next = pump.recv().await;
        }
    }
}

/// Do this, and answer when it is durable.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Do(pub(crate) Command);

impl Handler<Do> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Do(command): Do, ctx: &mut Self::Context) {
        self.perform(command, ctx);
        self.go_on(ctx);
    }
}

/// What a [`Look`] does with the board.
pub(crate) type Looking<R> = Box<dyn FnOnce(&mut RunBoard, Timestamp) -> R + Send>;

/// Look at the board.
#[derive(Message)]
#[rtype(result = "R")]
pub(crate) struct Look<R: Send + 'static>(pub(crate) Looking<R>);

impl<R: Send + 'static> Handler<Look<R>> for Dispatcher {
    type Result = MessageResult<Look<R>>;

    fn handle(&mut self, Look(looking): Look<R>, ctx: &mut Self::Context) -> Self::Result {
        let looked = looking(&mut self.board, self.house.clock.now());
        // A limit or a runner may be another now.
        self.go_on(ctx);
        MessageResult(looked)
    }
}

/// How the queue stands.
#[derive(Message)]
#[rtype(result = "RunMetrics")]
pub(crate) struct Count;

impl Handler<Count> for Dispatcher {
    type Result = MessageResult<Count>;

    fn handle(&mut self, _: Count, _: &mut Self::Context) -> Self::Result {
        let runners = self.board.runners(self.house.clock.now());
        MessageResult(RunMetrics {
            counts: self.board.counts(),
            runners_online: runners.iter().filter(|runner| runner.standby == Standby::Online).count(),
            claims_waiting: self.waiting.len(),
            waits: self.waits,
        })
    }
}

/// These changes are durable or refused; nothing when the house closed before that was known.
#[derive(Message)]
#[rtype(result = "()")]
struct Landed(Vec<Option<Verdict>>);

impl Handler<Landed> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Landed(verdicts): Landed, ctx: &mut Self::Context) {
        let mut again = Vec::new();
        for verdict in verdicts {
            let Some(OnTheWay { writes, then }) = self.on_the_way.pop_front() else { continue };
            let said = match verdict {
                Some(Ok(_committed)) => {
                    self.apply(&writes);
                    Ok(())
                }
                Some(Err(failure)) => {
                    self.undo(&writes, &failure, ctx);
                    if matches!(failure, CommitFailure::Store(_) | CommitFailure::Refused(Refusal::ScheduleMoved(_))) {
                        self.rest();
                    }
                    Err(match failure {
                        CommitFailure::Refused(Refusal::RunMoved(_)) => Setback::Moved,
                        failure => Setback::Error(failure.into()),
                    })
                }
                None => {
                    let now = self.house.clock.now();
                    writes.iter().for_each(|write| self.board.undo(write, now));
                    Err(Setback::Error(RunError::Stopped))
                }
            };
            again.extend(then(said));
        }
        again.append(&mut self.parked);
        for command in again {
            self.perform(command, ctx);
        }
        self.go_on(ctx);
    }
}

/// The house closes: nobody waits any longer.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CloseRuns;

impl Handler<CloseRuns> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: CloseRuns, ctx: &mut Self::Context) {
        self.closed = true;
        self.waiting.clear();
        self.watching.clear();
        self.parked.clear();
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
    }
}

impl Dispatcher {
    fn perform(&mut self, command: Command, ctx: &mut Context<Self>) {
        if self.closed || self.house.directory.is_closed() {
            // Its way back is dropped: that is an answer, too.
            return;
        }
        let now = self.house.clock.now();
        match command {
            Command::Add { drafts, sessions, reply } => self.add(drafts, sessions, reply, now, ctx),
            Command::Claim(claim) => self.claim(claim, now, ctx),
            Command::Report { id, fence, report, reply } => match self.board.report(id, fence, &report, now) {
                Ok(Decision::LookUp) => {
                    let (lease, said) = (self.board.policy().lease, report.clone());
                    let judge = move |run: &Run| Ok(reported(run, fence, &said, lease, now).map(drop)?);
                    self.look_up(id, judge, reply, ctx, move |reply| Command::Report { id, fence, report, reply });
                }
                decision => self.decide(decision, reply, move |reply| Command::Report { id, fence, report, reply }),
            },
            Command::Stop { id, reply } => match self.board.stop(id, now) {
                Decision::LookUp => self.look_up(id, |_| Ok(()), reply, ctx, move |reply| Command::Stop { id, reply }),
                decision => self.decide(Ok(decision), reply, move |reply| Command::Stop { id, reply }),
            },
            Command::SetDemands { id, demands, within, reply } => {
                match self.board.set_demands(id, demands.clone(), within, now) {
                    Ok(Decision::LookUp) => {
                        let judge = |run: &Run| {
                            Err(RunRejection::Illegal { id: run.id, from: run.status, to: RunStatus::Pending }.into())
                        };
                        self.look_up(id, judge, reply, ctx, move |reply| Command::SetDemands {
                            id,
                            demands,
                            within,
                            reply,
                        });
                    }
                    decision => {
                        self.decide(decision, reply, move |reply| Command::SetDemands { id, demands, within, reply });
                    }
                }
            }
            Command::Heartbeat { runner, reply } => match self.board.hear(&runner, now) {
                Err(rejection) => drop(reply.send(Err(rejection.into()))),
                Ok(()) => {
                    let writes = self.board.renew(&runner, now);
                    self.propose_or_answer(writes, (), reply);
                }
            },
            Command::Deregister { runner, reply } if self.board.is_speaking(&runner) => {
                self.parked.push(Command::Deregister { runner, reply });
            }
            Command::Deregister { runner, reply } => {
                let writes = self.board.deregister(&runner, now);
                let runs = writes.iter().filter_map(RunWrite::run).cloned().collect();
                self.propose_or_answer(writes, runs, reply);
            }
            Command::Schedule { schedule, parent: None, reply } if schedule.draft.reports_to().is_some() => {
                self.read_parent(schedule, reply, ctx);
            }
            Command::Schedule { schedule, parent, reply } => {
                let known = self.board.know_parents(std::slice::from_ref(&schedule.draft), parent.as_slice());
                let decision =
                    known.and_then(|()| self.board.schedule(worksite_model::Schedule::clone(&schedule), now));
                self.decide(decision, reply, move |reply| Command::Schedule { schedule, parent, reply });
            }
            Command::Unschedule { name, reply } => {
                let decision = self.board.unschedule(&name);
                self.decide(decision, reply, move |reply| Command::Unschedule { name, reply });
            }
            Command::PassOver { asked_for, told } => {
                let writes = self.board.pass_over(&asked_for).into_iter().collect();
                match told {
                    Some((runs, reply)) => self.propose_or_answer(writes, runs, reply),
                    None if writes.is_empty() => {}
                    None => self.propose(writes, Box::new(|_| None)),
                }
            }
            Command::Tick { reply } => self.tick(reply, now, ctx),
            Command::Await { id, reply } => match self.board.get(id) {
                Some(_) => self.watching.entry(id).or_default().push(reply),
                None => self.look_up(id, |_| Ok(()), reply, ctx, move |reply| Command::Await { id, reply }),
            },
        }
    }

    /// Does what a decision says: proposes, answers, or keeps the command for later.
    fn decide<T: Send + 'static>(
        &mut self,
        decision: Result<Decision<T>, RunRejection>,
        reply: Reply<T>,
        again: impl FnOnce(Reply<T>) -> Command + Send + 'static,
    ) {
        match decision {
            Err(rejection) => drop(reply.send(Err(rejection.into()))),
            Ok(Decision::Done(answer)) => drop(reply.send(Ok(answer))),
            Ok(Decision::Wait | Decision::LookUp) => self.parked.push(again(reply)),
            Ok(Decision::Write(writes, answer)) => {
                let then: Then = Box::new(move |said| match said {
                    Ok(()) => {
                        let _gone = reply.send(Ok(answer));
                        None
                    }
                    // Somebody else changed the run under us: the board has been corrected, and it is decided anew.
                    Err(Setback::Moved) => Some(again(reply)),
                    Err(Setback::Error(error)) => {
                        let _gone = reply.send(Err(error));
                        None
                    }
                });
                self.propose(writes, then);
            }
        }
    }

    fn propose_or_answer<T: Send + 'static>(&mut self, writes: Vec<RunWrite>, answer: T, reply: Reply<T>) {
        let then: Then = Box::new(move |said| {
            let _gone = reply.send(said.map(|()| answer).map_err(Setback::into_error));
            None
        });
        if writes.is_empty() {
            then(Ok(()));
        } else {
            self.propose(writes, then);
        }
    }

    fn propose(&mut self, writes: Vec<RunWrite>, then: Then) {
        let (answer, verdict) = oneshot::channel();
        self.house.directory.count_departure();
        self.house.propose(Change { runs: writes.clone(), ..Change::default() }, Answer::House(answer));
        self.on_the_way.push_back(OnTheWay { writes, then });
        let _always_heard = self.verdicts.send(verdict);
    }

    fn apply(&mut self, writes: &[RunWrite]) {
        let now = self.house.clock.now();
        for write in writes {
            self.board.apply(write, now);
            let Some(run) = write.run().filter(|run| run.status.is_terminal()) else { continue };
            for watcher in self.watching.remove(&run.id).unwrap_or_default() {
                let _gone = watcher.send(Ok(run.clone()));
            }
            if let Some(runner) = &run.runner {
                self.told.remove(&(runner.clone(), run.id));
            }
        }
    }

    /// A change was refused. If that was because somebody else changed a run, the board learns how it stands.
    fn undo(&mut self, writes: &[RunWrite], failure: &CommitFailure, ctx: &mut Context<Self>) {
        let now = self.house.clock.now();
        writes.iter().for_each(|write| self.board.undo(write, now));
        let CommitFailure::Refused(Refusal::RunMoved(id)) = failure else { return };
        let id = *id;
        self.board.correct(id, None, now);
        let read = self.read(move |store| store.run(id));
        ctx.spawn(read.into_actor(self).map(move |read, dispatcher, ctx| {
            if let Ok(run) = read {
                let now = dispatcher.house.clock.now();
                let run = run.map(Arc::new);
                if let Some(run) = run.as_ref().filter(|run| run.status.is_terminal()) {
                    for watcher in dispatcher.watching.remove(&id).unwrap_or_default() {
                        let _gone = watcher.send(Ok(run.clone()));
                    }
                }
                dispatcher.board.correct(id, run, now);
            }
            dispatcher.go_on(ctx);
        }));
    }

    /// Reads a run that the board does not have, and answers with what `judge` says of one that has ended. A live one
    /// comes back to the board, and it is asked `again`.
    fn look_up(
        &mut self,
        id: RunId,
        judge: impl FnOnce(&Run) -> Result<(), RunError> + Send + 'static,
        reply: Reply<Arc<Run>>,
        ctx: &mut Context<Self>,
        again: impl FnOnce(Reply<Arc<Run>>) -> Command + Send + 'static,
    ) {
        let read = self.read(move |store| store.run(id));
        ctx.spawn(read.into_actor(self).map(move |read, dispatcher, ctx| match read {
            Err(error) => drop(reply.send(Err(error))),
            Ok(None) => drop(reply.send(Err(RunRejection::UnknownRun(id).into()))),
            Ok(Some(run)) if run.status.is_terminal() => {
                let judged = judge(&run).map(|()| Arc::new(run));
                let _gone = reply.send(judged);
            }
            Ok(Some(run)) => {
                if dispatcher.board.get(id).is_none() {
                    dispatcher.board.correct(id, Some(Arc::new(run)), dispatcher.house.clock.now());
                }
                dispatcher.perform(again(reply), ctx);
                dispatcher.go_on(ctx);
            }
        }));
    }

    fn read<R: Send + 'static>(
        &self,
        reading: impl FnOnce(&mut dyn Store) -> Result<R, StoreError> + Send + 'static,
    ) -> Pin<Box<dyn Future<Output = Result<R, RunError>>>> {
        let asked = self.house.persistence.send(Read(Box::new(reading)));
        Box::pin(async move { asked.await.map_err(|_closed| RunError::Stopped)?.map_err(RunError::from) })
    }

    /// What follows from what has just been done: callbacks, runners that can be served, and the next moment.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        if self.closed {
            return;
        }
        if !self.rests(self.house.clock.now()) {
            for session in self.board.callable() {
                self.call_back(session, ctx);
            }
        }
        if self.board.is_fresh() {
            self.serve_waiting(ctx);
            // What was served has been taken out: that makes nothing claimable.
            let _served = self.board.is_fresh();
        }
        self.set_timer(ctx);
    }
}
