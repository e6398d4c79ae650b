//! A worker owns one person's inbox and routine states, as far as they are in memory.
//!
//! Asks: persistence, to be recovered. Tells: persistence what it proposes, the supervisor when it has gone.
//! Never: writes, counts on its memory, or shows anybody what is not committed.
//!
//! One activation at a time: from taking its deliveries until the commit that settles them has come back, the worker
//! is *busy* and takes no other. Its memory is a cache of the store; after any doubt it is read again.

use crate::directory::Seat;
use crate::error::{CommitFailure, DeskError};
use crate::execute::{self, Executed};
use crate::memory::{Memories, Memory};
use crate::parcel::DeliverVolatile;
use crate::persistence::{Answer, Commit, Read, Recover};
use crate::runtime::House;
use crate::status::{Status, Tenure};
use crate::supervisor::{Departed, Left, Rested, Supervisor};
use crate::update::{Made, Update};
use actix::WeakAddr;
use actix::prelude::*;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use worksite_model::{
    Activation, Burial, Change, Committed, Delivery, Envelope, EnvelopeId, FailureKind, Filter, Inbox, InboxPolicy,
    LiveState, Overflow, Payload, Performed, PersonId, Recovered, Refusal, RoutineFailure, Settling, StateWrite,
    StoreError, Timestamp, chance, next_activation, settle,
};

/// How long a worker waits before it proposes again after the store had no room or no time.
const STORE_RETRY_DELAY: Duration = Duration::from_millis(500);

/// How many expired envelopes one change buries: the writer is everybody's.
const TIDIED_MAX: usize = 1_024;

/// A person at work.
pub(crate) struct Worker {
    /// What all workers share.
    house: Arc<House>,
    /// Who is told when this worker goes. Weak: it is above.
    supervisor: WeakAddr<Supervisor>,
    /// Whose worker this is.
    person: PersonId,
    /// Which of the person's workers this is, so that answers to a predecessor are not taken for its own.
    generation: u32,
    /// What waits.
    inbox: Inbox,
    /// Routine states: stored ones are decoded at their first turn.
    states: Memories,
    /// Volatile drafts that came while it was busy.
    #[expect(clippy::box_collection, reason = "a pointer while there are none, which is nearly always")]
    volatile: Option<Box<VecDeque<DeliverVolatile>>>,
    /// Changes of states that the application has asked for; and those that are being written.
    updates: Option<Box<Updates>>,
    /// What it is doing.
    doing: Doing,
    /// How many of the next deliveries are to be performed one at a time.
    singly: u32,
    /// The alarm for the next scheduled delivery.
    alarm: Option<Box<(Timestamp, SpawnHandle)>>,
    /// Whether the application takes the mail by hand.
    manual: bool,
    /// Whether only control mail is taken.
    paused: bool,
    /// How the inbox takes mail.
    policy: Arc<InboxPolicy>,
    /// How it stands, for whoever holds a handle.
    tenure: Arc<Tenure>,
    /// Whether its last delivery failed.
    failed: bool,
    /// Whether expired or surplus mail is being written off.
    tidying: bool,
    /// How much of its mail it has said that nobody takes now.
    slept: Option<usize>,
    /// Whether it goes once it is not busy.
    finishing: bool,
    /// How it goes, when it goes on purpose.
    leaving: Option<Departed>,
}

/// What the application changes itself.
#[derive(Default)]
struct Updates {
    /// Asked for.
    waiting: VecDeque<Update>,
    /// Made, and being written.
    written: Vec<Made>,
}

/// What a worker is doing. Only an idle one takes mail.
enum Doing {
    /// Nothing.
    Idle,
    /// Performing, waiting for the commit of this routine's activation, or reading a state again.
    Busy { routine: Option<usize> },
    /// Nothing any more, for this reason: its state cannot be read, or the store is closed. Its mail waits on disk.
    Held,
}

impl Worker {
    pub(crate) fn new(
        house: Arc<House>,
        supervisor: WeakAddr<Supervisor>,
        person: PersonId,
        Seat { generation, manual, paused, policy, tenure }: Seat,
    ) -> Self {
        Self {
            house,
            supervisor,
            person,
            generation,
            inbox: Inbox::default(),
            states: Memories::default(),
            volatile: None,
            updates: None,
            doing: Doing::Idle,
            singly: 0,
            alarm: None,
            manual,
            paused,
            policy,
            tenure,
            failed: false,
            tidying: false,
            slept: None,
            finishing: false,
            leaving: None,
        }
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // actix starts an actor that was never polled while its thread ends, and then there are no timers.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.recover(ctx);
        }
    }

    /// Also runs while a panic unwinds; so it may do one thing.
    fn stopped(&mut self, _: &mut Self::Context) {
        let why = self.leaving.take().unwrap_or(Departed::Crashed);
        if let Some(supervisor) = self.supervisor.upgrade() {
            supervisor.do_send(Left { person: self.person, generation: self.generation, why });
        }
    }
}

/// Lets an envelope into the inbox.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Deliver(pub(crate) Arc<Envelope>);

impl Handler<Deliver> for Worker {
    type Result = ();

    fn handle(&mut self, Deliver(envelope): Deliver, ctx: &mut Self::Context) {
        if self.inbox.admit(envelope) {
            self.activate(ctx);
        }
        // However busy it is: its inbox is kept within its bound.
        if self.policy.overflow == Overflow::DropOldest && !matches!(self.doing, Doing::Idle) {
            self.tidy();
        }
        if matches!(self.doing, Doing::Held) {
            self.report_sleep();
        }
    }
}

impl Handler<DeliverVolatile> for Worker {
    type Result = ();

    fn handle(&mut self, delivery: DeliverVolatile, ctx: &mut Self::Context) {
        if matches!(self.doing, Doing::Idle) && !self.finishing && !self.paused {
            return self.attend(delivery, ctx);
        }
        if self.volatile_count() >= self.house.limits.volatile_drafts_max || matches!(self.doing, Doing::Held) {
            return self.house.directory.lose_volatile(1);
        }
        self.volatile.get_or_insert_default().push_back(delivery);
    }
}

impl Handler<Update> for Worker {
    type Result = ();

    fn handle(&mut self, update: Update, ctx: &mut Self::Context) {
        if matches!(self.doing, Doing::Held) {
            return update.refuse(DeskError::Held(self.person));
        }
        let updates = self.updates.get_or_insert_default();
        if updates.waiting.len() >= self.house.limits.volatile_drafts_max {
            return update.refuse(DeskError::NoRoom("volatile_drafts_max"));
        }
        updates.waiting.push_back(update);
        if matches!(self.doing, Doing::Idle) && !self.finishing {
            self.update(ctx);
        }
    }
}

/// What this worker proposed has become durable.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Settled {
    pub(crate) committed: Arc<Committed>,
    /// Whether only expired or surplus mail has gone.
    pub(crate) tidies: bool,
}

impl Handler<Settled> for Worker {
    type Result = ();

    fn handle(&mut self, Settled { committed, tidies }: Settled, ctx: &mut Self::Context) {
        for settlement in &committed.settled {
            self.inbox.acknowledge(&[settlement.id()]);
        }
        for burial in &committed.buried {
            self.inbox.acknowledge(&[burial.id()]);
        }
        if tidies {
            for removal in &committed.dropped {
                self.inbox.acknowledge(&[removal.id]);
            }
            self.tidying = false;
            return self.activate(ctx);
        }
        self.finish_updates(&Ok(()));
        for retry in &committed.retried {
            self.inbox.retry(retry.id, retry.attempt, retry.due);
        }
        let performed = committed.settled.len() + committed.buried.len() + committed.retried.len();
        self.singly = self.singly.saturating_sub(performed as u32);
        self.note_failures(&committed);
        self.resume(ctx);
    }
}

/// What this worker proposed was refused, or could not be written.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Unsettled {
    pub(crate) failure: CommitFailure,
    /// Whether only expired or surplus mail was to go.
    pub(crate) tidies: bool,
}

impl Handler<Unsettled> for Worker {
    type Result = ();

    fn handle(&mut self, Unsettled { failure, tidies }: Unsettled, ctx: &mut Self::Context) {
        if tidies {
            return self.untidied(&failure, ctx);
        }
        if let Doing::Busy { routine: Some(routine) } = self.doing {
            self.states.spoil(routine);
        }
        if self.finish_updates(&Err(failure.clone())) {
            return self.after_failed_update(failure, ctx);
        }
        match failure {
            CommitFailure::Store(StoreError::Busy(_) | StoreError::Full(_)) => {
                self.put_all_back();
                ctx.run_later(STORE_RETRY_DELAY, |worker, ctx| worker.resume(ctx));
            }
            CommitFailure::Store(error) => self.hold(&error.to_string()),
            // Somebody else has settled what this worker holds: its memory is wrong, and the store is right.
            CommitFailure::Refused(Refusal::NotWaiting(_)) => self.recover(ctx),
            CommitFailure::Refused(refusal) => self.refused(refusal.to_string(), ctx),
        }
    }
}

/// Takes only control mail from now on, or all mail again.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Rest(pub(crate) bool);

impl Handler<Rest> for Worker {
    type Result = ();

    fn handle(&mut self, Rest(paused): Rest, ctx: &mut Self::Context) {
        (self.paused, self.slept) = (paused, None);
        self.inbox.rest(paused && !self.manual);
        if matches!(self.doing, Doing::Idle) {
            self.resume(ctx);
        }
    }
}

/// Looks at the clock again: it may have been moved by hand.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LookAgain;

impl Handler<LookAgain> for Worker {
    type Result = ();

    fn handle(&mut self, _: LookAgain, ctx: &mut Self::Context) {
        self.slept = None;
        match self.doing {
            Doing::Idle => self.activate(ctx),
            // It reports when it is done.
            Doing::Busy { .. } => {}
            Doing::Held => self.report_sleep(),
        }
    }
}

/// Forgets envelopes that the application has acknowledged, and goes on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Forget(pub(crate) Vec<EnvelopeId>);

impl Handler<Forget> for Worker {
    type Result = ();

    fn handle(&mut self, Forget(ids): Forget, ctx: &mut Self::Context) {
        self.inbox.acknowledge(&ids);
        self.slept = None;
        match self.doing {
            Doing::Idle => self.activate(ctx),
            Doing::Busy { .. } | Doing::Held => self.report_sleep(),
        }
    }
}

/// Takes mail that is meant out by hand, up to so many; what is not acknowledged comes back after a restart. Seed 000
/// `drain`.
#[derive(Message)]
#[rtype(result = "Vec<Delivery>")]
pub(crate) struct Drain {
    pub(crate) filter: Filter,
    pub(crate) limit: usize,
}

impl Handler<Drain> for Worker {
    type Result = MessageResult<Drain>;

    fn handle(&mut self, Drain { filter, limit }: Drain, _: &mut Self::Context) -> Self::Result {
        self.tidy();
        MessageResult(self.inbox.drain_by(&filter, limit))
    }
}

/// Looks at mail that is meant without taking it, up to so many.
#[derive(Message)]
#[rtype(result = "Vec<Delivery>")]
pub(crate) struct Peek {
    pub(crate) filter: Filter,
    pub(crate) limit: usize,
}

impl Handler<Peek> for Worker {
    type Result = MessageResult<Peek>;

    fn handle(&mut self, Peek { filter, limit }: Peek, _: &mut Self::Context) -> Self::Result {
        self.tidy();
        MessageResult(self.inbox.peek(&filter, limit))
    }
}

/// Counts what could be taken in each lane.
#[derive(Message)]
#[rtype(result = "[usize; 5]")]
pub(crate) struct Lanes;

impl Handler<Lanes> for Worker {
    type Result = MessageResult<Lanes>;

    fn handle(&mut self, _: Lanes, _: &mut Self::Context) -> Self::Result {
        self.tidy();
        MessageResult(self.inbox.lane_counts())
    }
}

/// Removes all waiting mail that is meant, in one commit; what a routine has, or was drained, stays.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Remove {
    pub(crate) filter: Filter,
    pub(crate) answer: oneshot::Sender<Result<Arc<Committed>, CommitFailure>>,
}

impl Handler<Remove> for Worker {
    type Result = ();

    fn handle(&mut self, Remove { filter, answer }: Remove, _: &mut Self::Context) {
        let change = Change::acknowledge(self.inbox.waiting(&filter));
        self.house.directory.count_departure();
        self.house.persistence.do_send(Commit { change, answer: Answer::House(answer) });
    }
}

/// Puts drained mail back where it stood.
#[derive(Message)]
#[rtype(result = "usize")]
pub(crate) struct PutBack(pub(crate) Vec<EnvelopeId>);

impl Handler<PutBack> for Worker {
    type Result = usize;

    fn handle(&mut self, PutBack(ids): PutBack, ctx: &mut Self::Context) -> Self::Result {
        let put_back = self.inbox.put_back(&ids);
        // Some of it may have expired meanwhile, or be too much.
        self.activate(ctx);
        put_back
    }
}

/// Goes, if it has nothing to do: it is started again by the next delivery.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Passivate;

impl Handler<Passivate> for Worker {
    type Result = ();

    fn handle(&mut self, _: Passivate, ctx: &mut Self::Context) {
        if matches!(self.doing, Doing::Idle)
            && self.inbox.is_idle()
            && self.volatile_count() == 0
            && self.updates.is_none()
        {
            self.leaving = Some(Departed::Passivated);
            self.finish(ctx);
        }
    }
}

/// Goes as soon as what it is doing is settled.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Finish;

impl Handler<Finish> for Worker {
    type Result = ();

    fn handle(&mut self, _: Finish, ctx: &mut Self::Context) {
        self.leaving = Some(Departed::Stopped);
        self.finishing = true;
        if !matches!(self.doing, Doing::Busy { .. }) {
            self.finish(ctx);
        }
    }
}

/// Goes at once: its person left, or all was cleared. What it has proposed is the store's to decide.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Dismiss {
    /// Whether what only volatile drafts have changed is still to be written.
    pub(crate) keep: bool,
}

impl Handler<Dismiss> for Worker {
    type Result = ();

    fn handle(&mut self, Dismiss { keep }: Dismiss, ctx: &mut Self::Context) {
        self.leaving = Some(Departed::Stopped);
        // By nobody: its person is not active any more.
        let change = Change { states: self.dirty_states(), ..Change::default() };
        if keep && !change.states.is_empty() && matches!(self.doing, Doing::Idle) {
            self.propose(change);
        }
        self.house.directory.lose_volatile(self.volatile_count());
        ctx.stop();
    }
}

/// Dies as from a mistake of our own: for simulations of exactly that.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Crash;

impl Handler<Crash> for Worker {
    type Result = ();

    fn handle(&mut self, _: Crash, _: &mut Self::Context) {
        panic!("worker {} was told to crash", self.person);
    }
}

impl Worker {
    /// Reads everything from the store; nothing else is handled before that. This is the only wait, and it has a
    /// deadline, because a waiting actor is deaf.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        self.doing = Doing::Busy { routine: None };
        self.tidying = false;
        self.tenure.set(Status::Starting);
        let recovery = self.house.persistence.send(Recover(self.person));
        let limit = Duration::from_millis(self.house.limits.recovery_ms_max);
        let recovery = tokio::time::timeout(limit, recovery).into_actor(self);
        ctx.wait(recovery.map(|recovered, worker, ctx| match recovered {
            Ok(Ok(Ok(recovered))) => worker.begin(recovered, ctx),
            Ok(Ok(Err(StoreError::Busy(_) | StoreError::Full(_)))) => {
                ctx.run_later(STORE_RETRY_DELAY, |worker, ctx| worker.recover(ctx));
            }
            Ok(Ok(Err(error))) => worker.hold(&error.to_string()),
            Ok(Err(_closed)) => worker.hold("the house is closed"),
            Err(_elapsed) => ctx.stop(),
        }));
    }

    fn begin(&mut self, recovered: Recovered, ctx: &mut Context<Self>) {
        self.inbox = Inbox::recovered(recovered.waiting, recovered.watermark).ageing(self.policy.ageing);
        self.inbox.rest(self.paused && !self.manual);
        let registry = &self.house.registry;
        let known = recovered.states.into_iter().filter_map(|(name, state)| Some((registry.place(&name)?, state)));
        self.states = Memories::recovered(known);
        self.resume(ctx);
    }

    /// Idle again: goes if it was told to, and takes the next mail otherwise.
    fn resume(&mut self, ctx: &mut Context<Self>) {
        self.doing = Doing::Idle;
        if self.finishing {
            return self.finish(ctx);
        }
        self.update(ctx);
        self.activate(ctx);
        while let (Doing::Idle, false, Some(volatile)) = (&self.doing, self.paused, &mut self.volatile) {
            match volatile.pop_front() {
                Some(delivery) => self.attend(delivery, ctx),
                None => self.volatile = None,
            }
        }
    }

    /// Makes the changes of one routine's state that the application has asked for, all in one proposal.
    fn update(&mut self, ctx: &mut Context<Self>) {
        if !matches!(self.doing, Doing::Idle) {
            return;
        }
        let Some(updates) = &mut self.updates else { return };
        let Some(place) = updates.waiting.front().map(|update| update.routine) else { return };
        let (now, later) = updates.waiting.drain(..).partition(|update| update.routine == place);
        updates.waiting = later;
        self.doing = Doing::Busy { routine: Some(place) };
        self.with_state(place, ctx, move |worker, state, ctx| worker.make_updates(place, state, now, ctx));
    }

    /// Each change stands on those before it; one that panics is undone alone, by way of the encoded state before it.
    fn make_updates(
        &mut self,
        place: usize,
        mut state: LiveState,
        mut updates: VecDeque<Update>,
        ctx: &mut Context<Self>,
    ) {
        let mut written: Option<StateWrite> = None;
        while let Some(update) = updates.pop_front() {
            let made = catch_unwind(AssertUnwindSafe(|| update.apply(&mut state)));
            let encoded = made.map_err(drop).and_then(|made| match self.encode(place, &state) {
                Ok(write) => Ok((made, write)),
                Err(failure) => {
                    made.into_iter().for_each(|made| made(Err(DeskError::Unencodable(failure.reason.clone()))));
                    Err(())
                }
            });
            if let Ok((made, write)) = encoded {
                self.updates.get_or_insert_default().written.extend(made);
                written = write;
                continue;
            }
            let before = written.as_ref().and_then(|write| self.load_state(place, &write.payload));
            let Some(before) = before else {
                // Nothing was made yet: the state is read again, and the others are made then.
                self.states.spoil(place);
                let waiting = &mut self.updates.get_or_insert_default().waiting;
                updates.into_iter().rev().for_each(|update| waiting.push_front(update));
                return ctx.notify(Resume);
            };
            state = before;
        }
        self.states.remember(place, state, false);
        let states = written.into_iter().collect();
        self.propose(Change { author: Some(self.person), states, ..Change::default() });
    }

    fn load_state(&self, place: usize, payload: &Payload) -> Option<LiveState> {
        let routine = self.house.registry.get(place)?;
        execute::Desk { house: &self.house, person: self.person, routine }.load(Some(payload)).ok()
    }

    /// Tells those whose changes were being written; whether there were any.
    fn finish_updates(&mut self, durable: &Result<(), CommitFailure>) -> bool {
        let Some(updates) = &mut self.updates else { return false };
        let written = std::mem::take(&mut updates.written);
        let any = !written.is_empty();
        for finish in written {
            finish(durable.clone().map_err(CommitFailure::into_desk_error));
        }
        if updates.waiting.is_empty() {
            self.updates = None;
        }
        any
    }

    fn after_failed_update(&mut self, failure: CommitFailure, ctx: &mut Context<Self>) {
        match failure {
            CommitFailure::Store(StoreError::Busy(_) | StoreError::Full(_)) | CommitFailure::Refused(_) => {
                self.resume(ctx);
            }
            failure => self.hold(&failure.into_desk_error().to_string()),
        }
    }

    /// Takes the next mail, if it is idle and any waits.
    fn activate(&mut self, ctx: &mut Context<Self>) {
        if self.finishing || !matches!(self.doing, Doing::Idle) {
            return;
        }
        self.tidy();
        if self.manual {
            self.tenure.set(Status::Idle);
            return self.set_alarm(ctx);
        }
        let deliveries_max = if self.singly > 0 { 1 } else { self.house.limits.activation_deliveries_max };
        match next_activation(&mut self.inbox, &self.house.registry, deliveries_max) {
            Some(activation) => {
                self.tenure.set(Status::Processing);
                // What it takes now does not sleep any more.
                self.report_sleep();
                self.execute(activation, ctx);
            }
            None => {
                self.tenure.set(if self.failed { Status::Failed } else { Status::Idle });
                self.report_sleep();
                self.set_alarm(ctx);
            }
        }
    }

    /// Looks at the clock, and proposes that what has expired is buried and what an overfull inbox has too much goes.
    fn tidy(&mut self) {
        self.inbox.wake(self.house.clock.now());
        let expired = self.inbox.expire(if self.tidying { 0 } else { TIDIED_MAX });
        if self.tidying {
            return;
        }
        let drops = self.policy.overflow == Overflow::DropOldest;
        let dropped = if drops { self.inbox.overflow(&self.policy) } else { Vec::new() };
        if drops && dropped.is_empty() {
            self.report_stuck();
        }
        if expired.is_empty() && dropped.is_empty() {
            return;
        }
        let failure = RoutineFailure::new(FailureKind::Expired, "nobody took it in time");
        let buried = expired.iter().map(|delivery| Burial::of(delivery, failure.clone())).collect();
        self.tidying = true;
        let change = Change { author: Some(self.person), dropped, buried, ..Change::default() };
        let answer = Answer::Worker { generation: self.generation, tidies: true };
        self.house.persistence.do_send(Commit { change, answer });
    }

    /// Expired or surplus mail could not go: it waits again, except what has gone by another way.
    fn untidied(&mut self, failure: &CommitFailure, ctx: &mut Context<Self>) {
        self.tidying = false;
        if let CommitFailure::Refused(Refusal::NotWaiting(id)) = failure {
            self.inbox.acknowledge(&[*id]);
            self.inbox.stay();
            return self.activate(ctx);
        }
        self.inbox.stay();
        match failure {
            CommitFailure::Store(StoreError::Busy(_) | StoreError::Full(_)) => {
                ctx.run_later(STORE_RETRY_DELAY, |worker, ctx| worker.activate(ctx));
            }
            failure => self.hold(&failure.clone().into_desk_error().to_string()),
        }
    }

    /// Says whether there is nothing to drop although the inbox holds more than it should.
    fn report_stuck(&self) {
        let stuck = self.inbox.is_over(&self.policy);
        if self.house.directory.report_stuck(self.person, self.generation, stuck)
            && let Some(supervisor) = self.supervisor.upgrade()
        {
            supervisor.do_send(Rested);
        }
    }

    /// Says how much of its mail nobody takes now.
    fn report_sleep(&mut self) {
        let directory = &self.house.directory;
        let held = matches!(self.doing, Doing::Held);
        let sleeping = if held { directory.waiting(self.person) } else { self.inbox.sleeping_count() };
        if self.slept == Some(sleeping) && !held {
            return;
        }
        self.slept = Some(sleeping);
        if !self.manual
            && directory.report_sleeping(self.person, self.generation, sleeping)
            && let Some(supervisor) = self.supervisor.upgrade()
        {
            supervisor.do_send(Rested);
        }
    }

    fn note_failures(&mut self, committed: &Committed) {
        let retried = committed.retried.iter().filter_map(|retry| retry.failure.as_ref());
        let failure = retried.chain(committed.buried.iter().map(|burial| &burial.failure)).last();
        self.failed = failure.is_some();
        if let Some(failure) = failure {
            self.tenure.fail(failure.to_string());
        }
    }

    fn execute(&mut self, Activation { routine, deliveries }: Activation, ctx: &mut Context<Self>) {
        self.doing = Doing::Busy { routine };
        let Some(routine) = routine else {
            let failure = RoutineFailure::new(FailureKind::NoRoutine, "no routine takes this type any more");
            let performed = deliveries.into_iter().map(|delivery| (delivery, Performed::failed(failure.clone())));
            let change = self.settle(None, performed.collect(), None);
            return self.propose(change);
        };
        self.with_state(routine, ctx, move |worker, state, ctx| worker.perform(routine, state, deliveries, ctx));
    }

    fn perform(&mut self, place: usize, state: LiveState, mut deliveries: Vec<Delivery>, ctx: &mut Context<Self>) {
        let house = self.house.clone();
        let Some(routine) = house.registry.get(place) else { return };
        let desk = execute::Desk { house: &house, person: self.person, routine };
        if !routine.is_async() {
            let executed = desk.execute(state, deliveries);
            return self.executed(place, executed, ctx);
        }
        let Some(delivery) = deliveries.pop() else { return };
        let running = desk.execute_async(state, delivery).into_actor(self);
        ctx.spawn(running.map(move |(delivery, state, performed), worker, ctx| {
            let house = worker.house.clone();
            let Some(routine) = house.registry.get(place) else { return };
            let desk = execute::Desk { house: &house, person: worker.person, routine };
            let performed = desk.inspect(performed);
            let state = state.filter(|_| performed.is_done());
            worker.executed(place, Executed::Settle { performed: vec![(delivery, performed)], state }, ctx);
        }));
    }

    fn executed(&mut self, routine: usize, executed: Executed, ctx: &mut Context<Self>) {
        match executed {
            Executed::Singly { deliveries } => {
                self.singly = deliveries as u32;
                self.put_all_back();
                self.states.spoil(routine);
                // Through the mailbox, so that a poison envelope does not keep others from being heard.
                ctx.notify(Resume);
            }
            Executed::Settle { performed, state: None } => {
                // The first of several failed: its neighbours were not performed, and wait again.
                let failed: Vec<_> = performed.iter().map(|(delivery, _)| delivery.id()).collect();
                let out = self.inbox.out().map(Delivery::id);
                let unperformed: Vec<_> = out.filter(|id| !failed.contains(id)).collect();
                self.inbox.put_back(&unperformed);
                self.states.spoil(routine);
                let change = self.settle(Some(routine), performed, None);
                self.propose(change);
            }
            Executed::Settle { performed, state: Some(state) } => self.save(routine, performed, state, ctx),
        }
    }

    /// Encodes the new state and proposes it with the deliveries that made it.
    fn save(&mut self, place: usize, performed: Vec<(Delivery, Performed)>, state: LiveState, ctx: &mut Context<Self>) {
        match self.encode(place, &state) {
            Ok(write) => {
                self.states.remember(place, state, false);
                let change = self.settle(Some(place), performed, write);
                self.propose(change);
            }
            Err(failure) => {
                let drafts = performed.iter().flat_map(|(_, performed)| &performed.drafts);
                self.house.directory.release_drafts(drafts);
                self.states.spoil(place);
                self.refused(failure.reason, ctx);
            }
        }
    }

    fn encode(&self, place: usize, state: &LiveState) -> Result<Option<StateWrite>, RoutineFailure> {
        let Some(routine) = self.house.registry.get(place) else { return Ok(None) };
        let desk = execute::Desk { house: &self.house, person: self.person, routine };
        let (name, keep) = (routine.name().into(), routine.keep_states());
        Ok(desk.save(state)?.map(|payload| StateWrite { person: self.person, routine: name, payload, keep }))
    }

    /// What was performed cannot be kept. Several deliveries are performed again one at a time; a single one fails.
    fn refused(&mut self, reason: String, ctx: &mut Context<Self>) {
        let Doing::Busy { routine } = self.doing else { return };
        let (first, out) = (self.inbox.out().next().cloned(), self.inbox.out_count());
        match first {
            Some(delivery) if out == 1 => {
                let failure = RoutineFailure::new(FailureKind::Refused, reason);
                let change = self.settle(routine, vec![(delivery, Performed::failed(failure))], None);
                return self.propose(change);
            }
            Some(_) => {
                self.singly = out as u32;
                self.put_all_back();
                return ctx.notify(Resume);
            }
            None => {}
        }
        // Only volatile drafts were performed: they are lost, by their own wish.
        self.house.directory.lose_volatile(1);
        ctx.notify(Resume);
    }

    fn settle(
        &self,
        routine: Option<usize>,
        performed: Vec<(Delivery, Performed)>,
        state: Option<StateWrite>,
    ) -> Change {
        let routine = routine.and_then(|place| self.house.registry.get(place));
        let retry = routine.map(|routine| routine.retry()).unwrap_or_default();
        let first = performed.first().map_or(0, |(delivery, _)| delivery.id().0);
        let settling = Settling {
            person: self.person,
            routine: routine.map_or("", |routine| routine.name()),
            retry: &retry,
            now: self.house.clock.now(),
            chance: chance(self.house.seed, &[self.person.0, first]),
        };
        settle(&settling, performed, state)
    }

    fn propose(&mut self, change: Change) {
        let answer = Answer::Worker { generation: self.generation, tidies: false };
        self.house.persistence.do_send(Commit { change, answer });
    }

    /// Performs a volatile draft. Its effects are proposed if it has any that must be durable; its state goes along
    /// with the next commit of this routine, or when the worker goes.
    fn attend(&mut self, delivery: DeliverVolatile, ctx: &mut Context<Self>) {
        let (now, place) = (self.house.clock.now(), delivery.routine());
        let Some(routine) = self.house.registry.get(place) else { return self.house.directory.lose_volatile(1) };
        let envelope = delivery.open(self.person, routine.message_type(), now);
        let delivery = Delivery { envelope: Arc::new(envelope), attempt: 1 };
        self.doing = Doing::Busy { routine: Some(place) };
        self.with_state(place, ctx, move |worker, state, ctx| worker.perform_volatile(place, state, delivery, ctx));
    }

    fn perform_volatile(&mut self, place: usize, state: LiveState, delivery: Delivery, ctx: &mut Context<Self>) {
        let house = self.house.clone();
        let Some(routine) = house.registry.get(place) else { return };
        let desk = execute::Desk { house: &house, person: self.person, routine };
        let (state, performed) = desk.perform_untimed(state, &delivery, delivery.envelope.accepted_at);
        let Some(state) = state.filter(|_| performed.is_done()) else {
            self.house.directory.lose_volatile(1);
            self.states.spoil(place);
            return self.resume(ctx);
        };
        if performed.drafts.is_empty() && performed.announcements.is_empty() && performed.writes.is_empty() {
            self.states.remember(place, state, true);
            self.doing = Doing::Idle;
            return;
        }
        let effects = Change {
            author: Some(self.person),
            drafts: performed.drafts,
            announcements: performed.announcements,
            writes: performed.writes,
            ..Change::default()
        };
        match self.encode(place, &state) {
            Ok(write) => {
                self.states.remember(place, state, false);
                self.propose(Change { states: write.into_iter().collect(), ..effects });
            }
            Err(failure) => {
                self.house.directory.release_drafts(&effects.drafts);
                self.states.spoil(place);
                self.refused(failure.reason, ctx);
            }
        }
    }

    /// Hands the routine's state to `then`: from memory, or read from the store first.
    fn with_state(
        &mut self,
        place: usize,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, LiveState, &mut Context<Self>) + 'static,
    ) {
        match self.states.take(place) {
            Some(Memory::Live { state, .. }) => then(self, state, ctx),
            Some(Memory::Stored(stored)) => self.load(place, Some(&stored), ctx, then),
            // All stored states were recovered: this routine has none yet.
            None => self.load(place, None, ctx, then),
            Some(Memory::Spoilt) => {
                let Some(routine) = self.house.registry.get(place) else { return };
                let (person, name) = (self.person, routine.name());
                let read = self.house.persistence.send(Read(Box::new(move |store| store.state(person, name))));
                ctx.spawn(read.into_actor(self).map(move |read, worker, ctx| {
                    match read {
                        Ok(Ok(stored)) => worker.load(place, stored.as_ref(), ctx, then),
                        Ok(Err(error)) => worker.hold(&error.to_string()),
                        Err(_closed) => worker.hold("the house is closed"),
                    }
                    // A volatile turn ends without a commit that would wake it for the mail that came meanwhile.
                    if matches!(worker.doing, Doing::Idle) {
                        worker.resume(ctx);
                    }
                }));
            }
        }
    }

    fn load(
        &mut self,
        place: usize,
        stored: Option<&Payload>,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self, LiveState, &mut Context<Self>) + 'static,
    ) {
        let house = self.house.clone();
        let Some(routine) = house.registry.get(place) else { return };
        match (execute::Desk { house: &house, person: self.person, routine }).load(stored) {
            Ok(state) => then(self, state, ctx),
            Err(reason) => {
                self.put_all_back();
                self.hold(&format!("the state of its routine {:?} cannot be read: {reason}", routine.name()));
            }
        }
    }

    fn put_all_back(&mut self) {
        let out: Vec<_> = self.inbox.out().map(Delivery::id).collect();
        self.inbox.put_back(&out);
    }

    /// Writes what only volatile drafts have changed, then goes.
    fn finish(&mut self, ctx: &mut Context<Self>) {
        self.finishing = true;
        let change = Change { author: Some(self.person), states: self.dirty_states(), ..Change::default() };
        if change.states.is_empty() || matches!(self.doing, Doing::Held) {
            self.house.directory.lose_volatile(self.volatile_count());
            return ctx.stop();
        }
        self.doing = Doing::Busy { routine: None };
        self.propose(change);
    }

    fn dirty_states(&mut self) -> Vec<StateWrite> {
        let mut states = std::mem::take(&mut self.states);
        let writes = states.wash(|place, state| self.encode(place, state).ok().flatten());
        self.states = states;
        writes
    }

    fn volatile_count(&self) -> usize {
        self.volatile.as_ref().map_or(0, |volatile| volatile.len())
    }

    fn hold(&mut self, reason: &str) {
        tracing::error!(person = self.person.0, reason, "a worker is held; its mail waits on disk");
        self.doing = Doing::Held;
        if let Some(updates) = self.updates.take() {
            updates.waiting.into_iter().for_each(|update| update.refuse(DeskError::Held(self.person)));
        }
        self.tenure.fail(reason.to_string());
        self.tenure.set(Status::Failed);
        self.report_sleep();
    }

    /// Wakes up when the next scheduled delivery comes due.
    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        // Who moves the clock by hand says so.
        let due = self.inbox.next_due().filter(|_| !self.house.clock.is_manual());
        if self.alarm.as_deref().map(|(set, _)| *set) == due {
            return;
        }
        if let Some(alarm) = self.alarm.take() {
            ctx.cancel_future(alarm.1);
        }
        let Some(due) = due else { return };
        // A millisecond more, since timers count in milliseconds and must not ring before the moment.
        let delay = due.since(self.house.clock.now()) + Duration::from_millis(1);
        let alarm = ctx.run_later(delay, |worker, ctx| {
            worker.alarm = None;
            worker.activate(ctx);
        });
        self.alarm = Some(Box::new((due, alarm)));
    }
}

/// Goes on after what other messages are waiting.
#[derive(Message)]
#[rtype(result = "()")]
struct Resume;

impl Handler<Resume> for Worker {
    type Result = ();

    fn handle(&mut self, _: Resume, ctx: &mut Self::Context) {
        self.resume(ctx);
    }
}
