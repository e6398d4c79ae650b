//! The dispatcher owns the board of runs: the live runs, who waits for one, and what time will bring.
//!
//! Asks: persistence, to look up what the board does not have. Tells: whoever asked, after the commit. Never: changes the
//! board ahead of the store, or polls: a runner that waits is woken by what makes a run claimable.

use super::command::{Claim, Command, Offer, OnTheWay, Reply, RunnerCommand, Setback, Then, Told};
use super::error::RunError;
use crate::error::CommitFailure;
use crate::metrics::Histogram;
use crate::persistence::{Answer, Read};
use crate::runtime::House;
use actix::WeakAddr;
use actix::prelude::*;
use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use worksite_model::{
    Added, Change, Committed, Decision, IdMap, Refusal, Run, RunBoard, RunCounts, RunDraft, RunId, RunRejection,
    RunStatus, RunWrite, RunnerId, Schedule, Session, SessionUse, Standby, Store, StoreError, Timestamp, reported,
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

/// A claim has waited long enough.
#[derive(Message)]
#[rtype(result = "()")]
struct StopWaiting(u64);

impl Handler<StopWaiting> for Dispatcher {
    type Result = ();

    fn handle(&mut self, StopWaiting(number): StopWaiting, ctx: &mut Self::Context) {
        if let Some(place) = self.waiting.iter().position(|(waiting, _)| *waiting == number)
            && let Some((_, claim)) = self.waiting.remove(place)
        {
            let _gone = claim.reply.send(Ok(Offer::of_nothing(claim.runner, ctx.address())));
        }
    }
}

/// What a runner was told, and nobody looked at: what it was to do is another's, and what it was to stop is told again.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Unheard {
    pub(crate) runner: RunnerId,
    pub(crate) commands: Vec<RunnerCommand>,
}

impl Handler<Unheard> for Dispatcher {
    type Result = ();

    fn handle(&mut self, Unheard { runner, commands }: Unheard, ctx: &mut Self::Context) {
        for command in commands {
            match command {
                RunnerCommand::Run(run) => {
                    let (reply, _nobody) = oneshot::channel();
                    let (id, fence, report) = (run.id, run.fence, worksite_model::RunReport::GivenBack);
                    self.perform(Command::Report { id, fence, report, reply }, ctx);
                }
                RunnerCommand::Stop(run) => {
                    self.told.remove(&(runner.clone(), run.id));
                    self.board.look_at_the_clock(self.house.clock.now());
                }
                RunnerCommand::Leave => {}
            }
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
                let decision = known.and_then(|()| self.board.schedule(worksite_model::Schedule::clone(&schedule)));
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

    fn add(
        &mut self,
        drafts: Vec<RunDraft>,
        sessions: Option<Vec<Session>>,
        reply: Reply<Vec<Added>>,
        now: Timestamp,
        ctx: &mut Context<Self>,
    ) {
        let refuse = |reply: Reply<_>, error: RunError, drafts| drop(reply.send(Err(error.with(drafts))));
        if drafts.len() > self.board.room() {
            let full = RunError::Overloaded { limit: "runs_pending_max", drafts: Vec::new() };
            return refuse(reply, full, drafts);
        }
        let payload = |draft: &RunDraft| draft.payload.as_ref().map_or(0, |payload| payload.len());
        if drafts.iter().any(|draft| payload(draft) > self.house.limits.payload_bytes_max) {
            return refuse(reply, RunRejection::Impossible("its payload exceeds payload_bytes_max").into(), drafts);
        }
        let Some(sessions) = sessions else {
            return self.read_sessions(drafts, reply, ctx);
        };
        let known = self.board.know_parents(&drafts, &sessions);
        match known.and_then(|()| self.board.add(&drafts, &sessions, now)) {
            Err(rejection) => refuse(reply, rejection.into(), drafts),
            Ok(Decision::Done(added)) => drop(reply.send(Ok(added))),
            Ok(Decision::Wait | Decision::LookUp) => {
                self.parked.push(Command::Add { drafts, sessions: Some(sessions), reply });
            }
            Ok(Decision::Write(writes, added)) => {
                let then: Then = Box::new(move |said| {
                    let _gone = reply.send(said.map(|()| added).map_err(|setback| setback.into_error().with(drafts)));
                    None
                });
                self.propose(writes, then);
            }
        }
    }

    /// Reads the sessions that drafts resume, and those they are to report to.
    fn read_sessions(&mut self, drafts: Vec<RunDraft>, reply: Reply<Vec<Added>>, ctx: &mut Context<Self>) {
        let resumed = |draft: &RunDraft| match &draft.session {
            SessionUse::Resume(session) => Some(session.clone()),
            _ => None,
        };
        let told = drafts.iter().filter_map(RunDraft::reports_to).map(str::to_string);
        let wanted: BTreeSet<_> = drafts.iter().filter_map(resumed).chain(told).collect();
        if wanted.is_empty() {
            return self.perform(Command::Add { drafts, sessions: Some(Vec::new()), reply }, ctx);
        }
        let read = self.read(move |store| {
            let sessions = wanted.iter().map(|session| store.session(session));
            Ok(sessions.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect::<Vec<_>>())
        });
        ctx.spawn(read.into_actor(self).map(move |read, dispatcher, ctx| {
            match read {
                Ok(sessions) => dispatcher.perform(Command::Add { drafts, sessions: Some(sessions), reply }, ctx),
                Err(error) => drop(reply.send(Err(error.with(drafts)))),
            }
            dispatcher.go_on(ctx);
        }));
    }

    /// Reads the session that a schedule's runs are to report to.
    fn read_parent(&mut self, schedule: Box<Schedule>, reply: Reply<Arc<Schedule>>, ctx: &mut Context<Self>) {
        let wanted = schedule.draft.reports_to().unwrap_or_default().to_string();
        let read = self.read(move |store| Ok((store.session(&wanted)?, wanted)));
        ctx.spawn(read.into_actor(self).map(move |read, dispatcher, ctx| {
            match read {
                Ok((parent @ Some(_), _)) => dispatcher.perform(Command::Schedule { schedule, parent, reply }, ctx),
                Ok((None, wanted)) => drop(reply.send(Err(RunRejection::UnknownSession(wanted).into()))),
                Err(error) => drop(reply.send(Err(error))),
            }
            dispatcher.go_on(ctx);
        }));
    }

    fn claim(&mut self, claim: Claim, now: Timestamp, ctx: &mut Context<Self>) {
        if claim.reply.is_closed() {
            return;
        }
        if claim.polls {
            let _known = self.board.hear(&claim.runner, now);
            let commands = self.stops(&claim);
            if !commands.is_empty() {
                let offer = Offer { runner: claim.runner, commands, dispatcher: ctx.address() };
                let _gone = claim.reply.send(Ok(offer));
                return;
            }
            if self.board.standby(&claim.runner, now) == Some(Standby::Leaving) {
                if self.board.is_speaking(&claim.runner) {
                    return self.parked.push(Command::Claim(claim));
                }
                let writes = self.board.deregister(&claim.runner, now);
                let commands = vec![RunnerCommand::Leave];
                let offer = Offer { runner: claim.runner, commands, dispatcher: ctx.address() };
                return self.propose_or_answer(writes, offer, claim.reply);
            }
        }
        if let Err(rejection) = self.board.may_claim(&claim.runner, now) {
            let _gone = claim.reply.send(Err(rejection.into()));
            return;
        }
        let held = self.board.held_count(&claim.runner);
        let slots = self.board.runner(&claim.runner).map_or(usize::MAX, |runner| runner.slots as usize);
        let most = claim.most.min(slots.saturating_sub(held));
        let (writes, claimed) = self.board.claim(&claim.runner, &claim.capabilities, most, now);
        if writes.is_empty() {
            return self.wait_for_work(claim, ctx);
        }
        for run in &claimed {
            self.waits.add(run.waited(now));
        }
        let dispatcher = ctx.address();
        let then: Then = Box::new(move |said| match said {
            Ok(()) => {
                let commands = claimed.into_iter().map(RunnerCommand::Run).collect();
                // Dropped unheard, it gives back what it says.
                let _gone = claim.reply.send(Ok(Offer { runner: claim.runner, commands, dispatcher }));
                None
            }
            Err(Setback::Moved) => Some(Command::Claim(claim)),
            Err(Setback::Error(error)) => {
                let _gone = claim.reply.send(Err(error));
                None
            }
        });
        self.propose(writes, then);
    }

    /// The runs a runner is to stop and has not been told of: before it gets anything to do.
    fn stops(&mut self, claim: &Claim) -> Vec<RunnerCommand> {
        let stopping = self.board.held_by(&claim.runner).filter(|run| run.status == RunStatus::Stopping);
        let untold = stopping.filter(|run| !self.told.contains(&(claim.runner.clone(), run.id)));
        let untold: Vec<_> = untold.cloned().collect();
        self.told.extend(untold.iter().map(|run| (claim.runner.clone(), run.id)));
        untold.into_iter().map(RunnerCommand::Stop).collect()
    }

    fn wait_for_work(&mut self, claim: Claim, ctx: &mut Context<Self>) {
        let now = self.house.clock.now();
        let until = claim.until.or_else(|| claim.wait.map(|wait| now.after(wait)));
        let Some(until) = until.filter(|until| *until > now) else {
            let _gone = claim.reply.send(Ok(Offer::of_nothing(claim.runner, ctx.address())));
            return;
        };
        if self.waiting.len() >= self.board.policy().waiting_claims_max {
            let full = RunError::Overloaded { limit: "waiting_claims_max", drafts: Vec::new() };
            let _gone = claim.reply.send(Err(full));
            return;
        }
        self.last_waiting += 1;
        let number = self.last_waiting;
        // A clock that stands does not end anybody's wait either.
        if !self.house.clock.is_manual() {
            ctx.notify_later(StopWaiting(number), until.since(now));
        }
        self.waiting.push_back((number, Claim { until: Some(until), ..claim }));
    }

    /// Gives those that wait what there is for them now.
    fn serve_waiting(&mut self, ctx: &mut Context<Self>) {
        let now = self.house.clock.now();
        let waiting = std::mem::take(&mut self.waiting);
        for (number, claim) in waiting {
            if claim.reply.is_closed() {
                continue;
            }
            let stops = claim.polls
                && (self.board.standby(&claim.runner, now) == Some(Standby::Leaving)
                    || self.board.held_by(&claim.runner).any(|run| {
                        run.status == RunStatus::Stopping && !self.told.contains(&(claim.runner.clone(), run.id))
                    }));
            let work = stops || self.board.has_work(&claim.capabilities, now);
            if work {
                self.perform(Command::Claim(claim), ctx);
            } else {
                self.waiting.push_back((number, claim));
            }
        }
    }

    fn tick(&mut self, reply: Option<Reply<Vec<Arc<Run>>>>, now: Timestamp, ctx: &Context<Self>) {
        let mut writes = self.board.fail_timed_out(now);
        writes.extend(self.board.reclaim(now));
        self.board.look_at_the_clock(now);
        let (over, waiting) =
            self.waiting.drain(..).partition(|(_, claim)| claim.until.is_some_and(|until| until <= now));
        self.waiting = waiting;
        let over: VecDeque<(u64, Claim)> = over;
        for (_, claim) in over {
            let _gone = claim.reply.send(Ok(Offer::of_nothing(claim.runner, ctx.address())));
        }
        let mut runs: Vec<_> = writes.iter().filter_map(RunWrite::run).cloned().collect();
        let mut fired: VecDeque<_> = self.board.fire(now).into();
        runs.extend(fired.iter().flatten().filter_map(RunWrite::run).cloned());
        match reply {
            None if writes.is_empty() => {}
            None => self.propose(writes, Box::new(|_| None)),
            // Verdicts come in order: with the last one all are known.
            Some(reply) if fired.is_empty() => return self.propose_or_answer(writes, runs, reply),
            Some(reply) => {
                if !writes.is_empty() {
                    self.propose(writes, Box::new(|_| None));
                }
                let last = fired.pop_back().unwrap_or_default();
                fired.into_iter().for_each(|writes| self.propose_fired(writes, None));
                return self.propose_fired(last, Some((runs, reply)));
            }
        }
        fired.into_iter().for_each(|writes| self.propose_fired(writes, None));
    }

    /// Proposes what a schedule asks for. If that is refused, the schedule goes on without it: nobody asks again and again for
    /// what cannot be.
    fn propose_fired(&mut self, writes: Vec<RunWrite>, told: Option<Told>) {
        let asked_for = writes.clone();
        let then: Then = Box::new(move |said| match (said, told) {
            (Err(Setback::Error(RunError::Rejected { rejection, .. })), told) => {
                tracing::error!(%rejection, "what a schedule asks for was refused; it goes on with its next moment");
                let refused =
                    |run: &Arc<Run>| asked_for.iter().filter_map(RunWrite::run).any(|asked| asked.id == run.id);
                let told = told.map(|(mut runs, reply)| {
                    runs.retain(|run| !refused(run));
                    (runs, reply)
                });
                Some(Command::PassOver { asked_for, told })
            }
            (said, Some((runs, reply))) => {
                let _gone = reply.send(said.map(|()| runs).map_err(Setback::into_error));
                None
            }
            (_, None) => None,
        });
        self.propose(writes, then);
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

    /// Whether the store is left alone now: a clock that was put back makes that no longer.
    fn rests(&self, now: Timestamp) -> bool {
        now < self.resting_until && self.resting_until <= now.after(REST_TIME)
    }

    /// The store failed: it is left alone for a moment.
    fn rest(&mut self) {
        self.resting_until = self.house.clock.now().after(REST_TIME);
    }

    fn call_back(&mut self, session: String, ctx: &mut Context<Self>) {
        self.board.expect_callback(&session);
        let wanted = session.clone();
        let read = self.read(move |store| store.session(&wanted));
        ctx.spawn(read.into_actor(self).map(move |known, dispatcher, ctx| {
            let now = dispatcher.house.clock.now();
            dispatcher.board.expect_no_callback(&session);
            if known.is_err() {
                dispatcher.rest();
            }
            if let Ok(known) = known {
                match dispatcher.board.call_back(&session, known.as_ref(), now) {
                    Ok(writes) if !writes.is_empty() => dispatcher.propose(writes, Box::new(|_| None)),
                    Ok(_) => {}
                    Err(error) => tracing::error!(session, %error, "a callback could not be made"),
                }
            }
            dispatcher.go_on(ctx);
        }));
    }

    fn set_timer(&mut self, ctx: &mut Context<Self>) {
        if self.house.clock.is_manual() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let now = self.house.clock.now();
        let owed = (!self.board.callable().is_empty()).then_some(now);
        let next = self.board.next_moment(now).into_iter().chain(owed).min();
        let earliest = if self.rests(now) { self.resting_until } else { now };
        let next = next.map(|moment| moment.max(earliest));
        // What is due already and has a write on its way is looked at again when that has landed.
        let next = next.filter(|moment| *moment > now || self.on_the_way.is_empty());
        if next == self.timer.as_ref().map(|(moment, _)| *moment) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        if let Some(moment) = next {
            let delay = moment.since(now).clamp(TICK_MIN, LOOK_MAX);
            let timer = ctx.run_later(delay, |dispatcher, ctx| {
                dispatcher.timer = None;
                dispatcher.perform(Command::Tick { reply: None }, ctx);
                dispatcher.go_on(ctx);
            });
            self.timer = Some((moment, timer));
        }
    }
}

/// How long the store is left alone after it failed, before what time has brought is tried again.
const REST_TIME: std::time::Duration = std::time::Duration::from_secs(1);

/// How long a timer waits before the clock is read again: timers do not notice when it is put forward or back, or the machine
/// sleeps.
const LOOK_MAX: std::time::Duration = std::time::Duration::from_secs(60);

/// Timers are no finer than this.
const TICK_MIN: std::time::Duration = std::time::Duration::from_millis(1);
