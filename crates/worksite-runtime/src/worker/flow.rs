//! A flow at a worker: its mail are posts, and an activation takes as many of them as there are, runs the engine as far as
//! it goes, and proposes all of it as one change. What does not happen at once is started when it is durable.

use super::{Doing, LookAgain, STORE_RETRY_DELAY, Worker};
use crate::directory::NoPlace;
use crate::error::{CommitFailure, DeskError};
use crate::flows::{Act, Scene, VolatileJobs};
use crate::status::Status;
use crate::supervisor::FoundNoRoom;
use crate::update::Made;
use actix::prelude::*;
use futures_util::FutureExt;
use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use worksite_model::flow::{Admission, Engine, Flow, FlowMoment, FlowSaved, JobId, LogicKind, Post, TaskEnd, TaskRun};
use worksite_model::{
    Burial, Change, Delivery, Draft, EnvelopeId, FailureKind, Overflow, PersonId, Recovered, Refusal, RoutineFailure,
    Settlement, StateWrite, StoreError, Timestamp, accept,
};

/// How often a change that nobody in particular is to blame for may be refused before the worker is held.
const TROUBLES_MAX: u32 = 5;

/// What a worker has that runs a flow.
pub(crate) struct FlowDesk {
    flow: Flow,
    engine: Engine,
    /// Posts whose slot is full. They are out of the inbox, and not settled.
    held: VecDeque<(Delivery, Post)>,
    /// What is to be done by hand; and what was, and is being written.
    acts: VecDeque<Act>,
    made: Vec<Made>,
    /// Volatile jobs that have not ended.
    volatile: VolatileJobs,
    /// Tasks that have ended, to be settled; and those under way.
    ends: VecDeque<TaskEnd>,
    running: BTreeMap<u64, SpawnHandle>,
    /// What cannot be written, and why: it is turned away when it comes again.
    blamed: Option<(Culprit, String)>,
    /// Who is in the change that is being written, if it is a single step.
    alone: Option<Culprit>,
    /// How many of the next steps are taken one at a time.
    singly: usize,
    troubles: u32,
}

/// Who may be to blame for a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Culprit {
    Post(EnvelopeId),
    Task(u64),
    /// What came due: turns of a policy's moment, of a flush, after a back-off.
    Due,
}

/// What is taken in one activation, and what becomes of it.
struct Taking<'a> {
    moment: FlowMoment<'a>,
    /// How many steps it may have, and what each of them was.
    steps_max: usize,
    steps: Vec<Culprit>,
    /// What is proposed of the mail.
    change: Change,
}

impl<'a> Taking<'a> {
    fn begin(person: PersonId, moment: FlowMoment<'a>, steps_max: usize) -> Self {
        let change = Change { author: Some(person), ..Change::default() };
        Self { moment, steps_max, steps: Vec::new(), change }
    }

    /// Whether it may have another step.
    fn goes_on(&self) -> bool {
        self.steps.len() < self.steps_max
    }

    /// A post was taken, or turned away: it is settled.
    fn settle(&mut self, delivery: &Delivery) {
        self.steps.push(Culprit::Post(delivery.id()));
        self.change.settled.push(settlement(delivery));
    }
}

impl FlowDesk {
    pub(super) fn new(flow: Flow, worker: &Worker) -> Self {
        let engine = Engine::new(flow.clone(), worker.person, worker.house.seed);
        Self {
            flow,
            engine,
            held: VecDeque::new(),
            acts: VecDeque::new(),
            made: Vec::new(),
            volatile: VolatileJobs::none(worker.house.board.clone()),
            ends: VecDeque::new(),
            running: BTreeMap::new(),
            blamed: None,
            alone: None,
            singly: 0,
            troubles: 0,
        }
    }

    /// When something comes due that is not mail.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let held = self.held.iter().filter_map(|(delivery, post)| self.waits_until(delivery, post));
        self.engine.due().into_iter().chain(held).min()
    }

    /// Until when a post waits for room in its slot, if that says so.
    fn waits_until(&self, delivery: &Delivery, post: &Post) -> Option<Timestamp> {
        match self.flow.slot(&post.routine, &post.slot).ok()?.overflow {
            Overflow::WaitFor(time) => Some(delivery.envelope.accepted_at.after(time)),
            _ => None,
        }
    }

    /// Nothing is done by hand any more, for this reason.
    pub(super) fn refuse_acts(&mut self, error: impl Fn() -> DeskError) {
        self.acts.drain(..).for_each(|act| act.refuse(error()));
    }

    /// Whether a post that is held could be taken now.
    fn could_go_on(&self) -> bool {
        self.held.iter().any(|(_, post)| self.engine.has_room(post))
    }

    /// Whether nothing of it is open.
    pub(super) fn is_idle(&self) -> bool {
        self.engine.open_count() == 0 && self.acts.is_empty() && self.held.is_empty()
    }
}

impl Handler<Act> for Worker {
    type Result = ();

    fn handle(&mut self, act: Act, ctx: &mut Self::Context) {
        let held = matches!(self.doing, Doing::Held);
        match &mut self.flow {
            Some(_) if held => act.refuse(DeskError::Held(self.person)),
            Some(desk) if desk.acts.len() >= self.house.limits.volatile_drafts_max => {
                act.refuse(DeskError::NoRoom("volatile_drafts_max"));
            }
            Some(desk) => {
                desk.acts.push_back(act);
                self.activate(ctx);
            }
            None => act.refuse(DeskError::OtherState),
        }
    }
}

impl Worker {
    /// Takes the flow up as the store has it.
    pub(super) fn begin_flow(&mut self, recovered: &mut Recovered, ctx: &mut Context<Self>) {
        let Some(desk) = &mut self.flow else { return };
        for (_, running) in std::mem::take(&mut desk.running) {
            ctx.cancel_future(running);
        }
        desk.volatile.lose();
        desk.held.clear();
        desk.ends.clear();
        let (states, jobs) = (std::mem::take(&mut recovered.states), std::mem::take(&mut recovered.jobs));
        let (flow, now) = (desk.flow.clone(), self.house.clock.now());
        match Engine::recovered(flow, self.person, self.house.seed, &states, jobs, now) {
            Ok(engine) => desk.engine = engine.traced(self.house.board.settings.monitoring),
            Err(error) => self.hold(&format!("the state of its flow cannot be read: {error}")),
        }
    }

    /// Takes mail, ends of tasks and acts as far as there are any, and proposes what follows. The worker is idle.
    pub(super) fn advance(&mut self, ctx: &mut Context<Self>) {
        let Some(mut desk) = self.flow.take() else { return };
        let house = self.house.clone();
        let clock = || house.clock.now();
        let clock: Option<&dyn Fn() -> Timestamp> = house.board.settings.monitoring.then_some(&clock);
        let now = house.clock.now();
        let moment = FlowMoment { clock, ..FlowMoment::at(now) };
        desk.engine.rest(self.paused);
        self.start_tasks(&mut desk, ctx);
        self.act_by_hand(&mut desk, now);
        let steps_max = if desk.singly == 0 { house.limits.activation_deliveries_max } else { 1 };
        let mut taking = Taking::begin(self.person, moment, steps_max);
        if desk.singly == 0 {
            self.step_flow(&mut desk, &mut taking);
            desk.engine.wake(FlowMoment { idle: self.is_idle_but_for(&desk), ..moment });
            desk.alone = None;
        } else {
            self.step_singly(&mut desk, &mut taking);
        }
        let Taking { change, steps, .. } = taking;
        desk.volatile.end(desk.engine.ended_volatile(), || self.tell_volatile());
        let settles = !change.settled.is_empty() || !change.buried.is_empty();
        let by_hand = !desk.made.is_empty() && desk.engine.is_dirty();
        if !settles && !by_hand && !desk.engine.wants_commit() {
            for made in desk.made.drain(..) {
                made(Ok(()));
            }
            self.start_tasks(&mut desk, ctx);
            desk.singly = 0;
            if desk.could_go_on() {
                // Room came free without a commit, which would have brought it here again.
                ctx.notify(LookAgain);
            }
            let working = desk.engine.is_working();
            self.flow = Some(desk);
            self.stand(if working {
                Status::Processing
            } else if self.failed {
                Status::Failed
            } else {
                Status::Idle
            });
            self.report_sleep();
            return self.set_alarm(ctx);
        }
        self.stand(Status::Processing);
        self.report_sleep();
        self.doing = Doing::Busy { routine: None };
        let saved = desk.engine.save(house.limits.state_bytes_max);
        self.flow = Some(desk);
        match saved {
            Ok(saved) => self.propose_flow(change, saved, steps.len(), ctx),
            Err(failure) => self.flow_refused(failure.reason, steps.len(), ctx),
        }
    }

    /// Whether there is no mail, so that what waits for company may be flushed.
    fn is_idle_but_for(&self, desk: &FlowDesk) -> bool {
        self.inbox.next().is_none() && desk.held.is_empty() && self.volatile.is_none()
    }

    /// One step, and nothing beside it, so that it is known who is to blame: first what was done by hand, then what comes
    /// due, then one of the rest.
    fn step_singly(&mut self, desk: &mut FlowDesk, taking: &mut Taking<'_>) {
        desk.alone = None;
        if !desk.made.is_empty() && desk.engine.is_dirty() {
            return;
        }
        let turns = desk.engine.turns();
        let blamed = desk.blamed.take_if(|(culprit, _)| *culprit == Culprit::Due).map(|(_, reason)| reason);
        let idle = self.is_idle_but_for(desk);
        desk.engine.wake(FlowMoment { idle, refused: blamed.as_deref(), ..taking.moment });
        if desk.engine.turns() > turns {
            desk.alone = Some(Culprit::Due);
            return;
        }
        self.step_flow(desk, taking);
        desk.alone = taking.steps.first().copied();
    }

    /// What there is to be taken, as far as it goes on.
    fn step_flow(&mut self, desk: &mut FlowDesk, taking: &mut Taking<'_>) {
        while taking.goes_on()
            && let Some(end) = desk.ends.pop_front()
        {
            taking.steps.push(Culprit::Task(end.id()));
            desk.running.remove(&end.id());
            let end = match desk.blamed.take_if(|(culprit, _)| *culprit == Culprit::Task(end.id())) {
                Some((_, reason)) => TaskEnd::failed(end.id(), RoutineFailure::new(FailureKind::Refused, reason)),
                None => end,
            };
            desk.engine.finish(end, taking.moment);
        }
        for (delivery, post) in std::mem::take(&mut desk.held) {
            self.offer_in_order(desk, taking, delivery, post);
        }
        while taking.goes_on()
            && let Some(delivery) = self.inbox.take()
        {
            let post = match delivery.envelope.draft.payload.decode::<Post>() {
                Ok(post) => post,
                Err(error) => {
                    let failure = RoutineFailure::new(FailureKind::Undecodable, error.to_string());
                    taking.change.buried.push(Burial::of(&delivery, failure));
                    continue;
                }
            };
            self.offer_in_order(desk, taking, delivery, post);
        }
    }

    /// Offers a post to the engine, unless an earlier one waits for the same slot: nobody overtakes it.
    fn offer_in_order(&self, desk: &mut FlowDesk, taking: &mut Taking<'_>, delivery: Delivery, post: Post) {
        let waits = |(_, held): &(Delivery, Post)| held.slot == post.slot && held.routine == post.routine;
        let (may, now) = (taking.goes_on(), taking.moment.now);
        if may && !desk.held.iter().any(waits) && self.offer(desk, &delivery, &post, taking.moment) {
            taking.settle(&delivery);
        } else if may && desk.waits_until(&delivery, &post).is_some_and(|until| until <= now) {
            let reason = format!("the slot {}.{} was full for too long", post.routine, post.slot);
            let (first, accepted_at) = (JobId::of(delivery.id(), 0), delivery.envelope.accepted_at);
            desk.engine.refuse(&post, first, accepted_at, &reason, now);
            taking.settle(&delivery);
        } else {
            desk.held.push_back((delivery, post));
        }
    }

    /// Offers a post to the engine; false when its slot is full.
    fn offer(&self, desk: &mut FlowDesk, delivery: &Delivery, post: &Post, moment: FlowMoment<'_>) -> bool {
        let (id, accepted_at) = (delivery.id(), delivery.envelope.accepted_at);
        let first = JobId::of(id, 0);
        if let Some((_, reason)) = desk.blamed.take_if(|(culprit, _)| *culprit == Culprit::Post(id)) {
            desk.engine.refuse(post, first, accepted_at, &reason, moment.now);
            return true;
        }
        self.house.counters.turn(moment.now.since(accepted_at), Duration::ZERO);
        desk.engine.admit(post, first, accepted_at, moment) == Admission::Taken
    }

    fn act_by_hand(&mut self, desk: &mut FlowDesk, now: Timestamp) {
        for act in std::mem::take(&mut desk.acts) {
            if act.routine.as_deref().is_some_and(|routine| desk.engine.is_at_work(routine)) {
                desk.acts.push_back(act);
                continue;
            }
            let scene = Scene { engine: &mut desk.engine, inbox: &self.inbox, held: desk.held.len(), now };
            desk.made.extend(act.apply(scene));
        }
    }

    fn propose_flow(&mut self, change: Change, saved: FlowSaved, steps: usize, ctx: &mut Context<Self>) {
        let FlowSaved { rows, forgotten, jobs, mut drafts, announcements, writes } = saved;
        if let Err(trouble) = self.reserve_for_flow(&mut drafts) {
            return match trouble {
                NoPlace::Rejected(rejection) => self.flow_refused(rejection.to_string(), steps, ctx),
                NoPlace::Full { draft, limit, .. } => {
                    // Several may fit one by one.
                    if steps <= 1
                        && let Some(supervisor) = self.supervisor.upgrade()
                    {
                        let reason = format!("the inbox of person {} is full: {limit} is reached", drafts[draft].to);
                        supervisor.do_send(FoundNoRoom { person: self.person, reason });
                    }
                    self.again_later(steps, ctx);
                }
            };
        }
        let person = self.person;
        let states = rows.into_iter().map(|row| StateWrite {
            person,
            routine: row.name.into(),
            payload: row.payload,
            keep: row.keep,
        });
        let forgotten = forgotten.into_iter().map(|name| (person, name)).collect();
        self.propose(Change { states: states.collect(), forgotten, jobs, drafts, announcements, writes, ..change });
    }

    fn reserve_for_flow(&self, drafts: &mut Vec<worksite_model::Draft>) -> Result<(), NoPlace> {
        if drafts.is_empty() {
            return Ok(());
        }
        let (house, now) = (&self.house, self.house.clock.now());
        for draft in drafts.iter() {
            accept(draft, &house.limits, now).map_err(NoPlace::Rejected)?;
        }
        loop {
            match house.directory.reserve(drafts, &house.registry, &house.limits, false) {
                Err(NoPlace::Full { draft, overflow: Overflow::DropNewest, .. }) => {
                    house.directory.count_dropped(drafts.remove(draft).to, 1);
                }
                reserved => return reserved,
            }
        }
    }

    /// What a flow proposed is durable.
    pub(super) fn flow_settled(&mut self, failed: bool) {
        self.failed = failed;
        let Some(desk) = &mut self.flow else { return };
        for made in desk.made.drain(..) {
            made(Ok(()));
        }
        (desk.singly, desk.troubles) = (desk.singly.saturating_sub(1), 0);
    }

    /// What a flow proposed is not durable: its memory is wrong, and the store is right.
    pub(super) fn flow_unsettled(&mut self, failure: CommitFailure, ctx: &mut Context<Self>) {
        let made = self.flow.as_mut().map(|desk| std::mem::take(&mut desk.made)).unwrap_or_default();
        for made in made {
            made(Err(failure.clone().into_desk_error()));
        }
        match failure {
            CommitFailure::Store(StoreError::Busy(_) | StoreError::Full(_)) => self.again_later(0, ctx),
            CommitFailure::Store(error) => self.hold(&error.to_string()),
            CommitFailure::Refused(Refusal::NotWaiting(_) | Refusal::JobEnded(_)) => self.recover(ctx),
            CommitFailure::Refused(refusal) => self.flow_refused(refusal.to_string(), 0, ctx),
        }
    }

    fn again_later(&mut self, steps: usize, ctx: &mut Context<Self>) {
        if let Some(desk) = self.flow.as_mut().filter(|_| steps > 1) {
            desk.singly = steps;
        }
        self.doing = Doing::Busy { routine: None };
        ctx.run_later(STORE_RETRY_DELAY, |worker, ctx| worker.recover(ctx));
    }

    /// A change cannot be written. Of several parts each is tried alone; one alone is turned away.
    fn flow_refused(&mut self, reason: String, steps: usize, ctx: &mut Context<Self>) {
        let Some(desk) = &mut self.flow else { return };
        for made in std::mem::take(&mut desk.made) {
            made(Err(DeskError::Unencodable(reason.clone())));
        }
        desk.troubles += 1;
        if desk.troubles > TROUBLES_MAX {
            return self.hold(&reason);
        }
        match desk.alone.take() {
            Some(culprit) => desk.blamed = Some((culprit, reason)),
            None => desk.singly = steps.max(self.inbox.out_count()).max(2),
        }
        self.recover(ctx);
    }

    /// Starts what is durable and does not happen at once.
    fn start_tasks(&mut self, desk: &mut FlowDesk, ctx: &mut Context<Self>) {
        for run in desk.engine.starting(self.house.clock.now()) {
            let id = run.id();
            let running = self.run_task(run).into_actor(self);
            let running = ctx.spawn(running.map(move |end, worker, ctx| worker.task_ended(end, ctx)));
            desk.running.insert(id, running);
        }
    }

    fn run_task(&self, run: TaskRun) -> impl Future<Output = TaskEnd> + 'static {
        let limit = run.time_max().unwrap_or(Duration::from_millis(self.house.limits.routine_time_ms_max));
        let (id, pool) = (run.id(), self.house.board.pool.clone());
        let failed = move |kind, reason: String| TaskEnd::failed(id, RoutineFailure::new(kind, reason));
        let too_long = move || failed(FailureKind::TooLong, format!("it ran longer than {limit:?}"));
        async move {
            match (run.kind(), pool) {
                (LogicKind::Pooled, Some(pool)) => {
                    let Ok(place) = pool.acquire_owned().await else {
                        return failed(FailureKind::Refused, "the pool is closed".into());
                    };
                    let performing = tokio::task::spawn_blocking(move || {
                        let end = run.perform();
                        drop(place);
                        end
                    });
                    match tokio::time::timeout(limit, performing).await {
                        Ok(Ok(end)) => end,
                        Ok(Err(error)) => failed(FailureKind::Panicked, error.to_string()),
                        Err(_elapsed) => too_long(),
                    }
                }
                (LogicKind::Asynchronous, _) => {
                    let running = AssertUnwindSafe(run.start()).catch_unwind();
                    match tokio::time::timeout(limit, running).await {
                        Ok(Ok(end)) => end,
                        Ok(Err(panic)) => failed(FailureKind::Panicked, panic_text(panic.as_ref())),
                        Err(_elapsed) => too_long(),
                    }
                }
                _ => run.perform(),
            }
        }
    }

    fn task_ended(&mut self, end: TaskEnd, ctx: &mut Context<Self>) {
        let Some(desk) = &mut self.flow else { return };
        desk.ends.push_back(end);
        if matches!(self.doing, Doing::Idle) {
            self.resume(ctx);
        }
    }

    /// Takes a volatile post: nothing of it is written but what must be durable.
    pub(super) fn attend_post(&mut self, draft: &Draft, jobs: VolatileJobs, ctx: &mut Context<Self>) {
        let now = self.house.clock.now();
        let Ok(post) = draft.payload.decode::<Post>() else { return self.house.directory.lose_volatile(1) };
        let Some(mut desk) = self.flow.take() else { return };
        let (house, moment) = (self.house.clone(), FlowMoment::at(now));
        let first = post.volatile_from.unwrap_or(JobId(-1));
        match desk.engine.admit(&post, first, now, moment) {
            Admission::Taken => desk.volatile.take_over(jobs),
            Admission::Held => {
                house.directory.lose_volatile(1);
                drop(jobs);
                self.tell_volatile();
            }
        }
        let idle = self.inbox.next().is_none() && self.volatile_count() == 0;
        desk.engine.run(FlowMoment { idle, ..moment });
        desk.volatile.end(desk.engine.ended_volatile(), || self.tell_volatile());
        self.start_tasks(&mut desk, ctx);
        let wants = desk.engine.wants_commit() || desk.could_go_on();
        self.flow = Some(desk);
        if wants {
            self.advance(ctx);
        } else {
            self.set_alarm(ctx);
        }
    }

    /// Volatile jobs have ended or are lost, and somebody may wait to hear that.
    pub(super) fn tell_volatile(&self) {
        if let Some(supervisor) = self.supervisor.upgrade() {
            supervisor.do_send(crate::supervisor::Rested);
        }
    }

    /// Hands over what is to be handed over before the house closes; whether the worker may go. If not, it will be asked
    /// again.
    pub(super) fn finish_flow(&mut self, ctx: &mut Context<Self>) -> bool {
        let Some(mut desk) = self.flow.take() else { return true };
        if matches!(self.doing, Doing::Held) {
            self.flow = Some(desk);
            return true;
        }
        let closing = self.house.directory.is_closed();
        let moment = FlowMoment { closing, ..FlowMoment::at(self.house.clock.now()) };
        while let Some(end) = desk.ends.pop_front() {
            desk.running.remove(&end.id());
            desk.engine.finish(end, moment);
        }
        desk.engine.run(moment);
        desk.volatile.end(desk.engine.ended_volatile(), || {});
        desk.refuse_acts(|| DeskError::Stopped);
        if !desk.engine.is_dirty() {
            let working = desk.engine.is_working();
            self.doing = Doing::Idle;
            self.flow = Some(desk);
            return !working;
        }
        self.doing = Doing::Busy { routine: None };
        let saved = desk.engine.save(self.house.limits.state_bytes_max);
        self.flow = Some(desk);
        match saved {
            Ok(saved) => self.propose_flow(Change { author: Some(self.person), ..Change::default() }, saved, 0, ctx),
            Err(failure) => {
                self.hold(&failure.reason);
                return true;
            }
        }
        false
    }
}

fn settlement(delivery: &Delivery) -> Settlement {
    Settlement { envelope: delivery.envelope.clone(), routine: "flow", reply: None }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message").to_string()
}
