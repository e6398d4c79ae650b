//! A worker owns one person's inbox and routine states, as far as they are in memory.
//!
//! Asks: persistence, to be recovered. Tells: persistence what it proposes, the supervisor when it has gone.
//! Never: writes, counts on its memory, or shows anybody what is not committed.
//!
//! One activation at a time: from taking its deliveries until the commit that settles them has come back, the worker
//! is *busy* and takes no other. Its memory is a cache of the store; after any doubt it is read again.

mod by_hand;
mod depart;
mod due;
mod flow;
mod perform;
mod tidy;
mod updates;
mod volatile;

use crate::directory::Seat;
use crate::error::{CommitFailure, DeskError};
use crate::memory::Memories;
use crate::persistence::{Answer, Recover};
use crate::runtime::House;
use crate::status::Status;
use crate::supervisor::{Departed, Held, Left, Supervisor};
use actix::WeakAddr;
use actix::prelude::*;
pub(crate) use by_hand::{Drain, Forget, Lanes, Peek, PutBack, Remove};
pub(crate) use depart::{Crash, Dismiss, Finish, Passivate};
use flow::FlowDesk;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
pub(crate) use tidy::LookAgain;
use updates::Updates;
pub(crate) use volatile::DeliverVolatile;
use worksite_model::flow::JobStatus;
use worksite_model::{
    Change, Committed, Delivery, Envelope, Inbox, InboxPolicy, Overflow, PersonId, Recovered, Refusal, StoreError,
    Timestamp, next_activation,
};

/// How long a worker waits before it proposes again after the store had no room or no time.
const STORE_RETRY_DELAY: Duration = Duration::from_millis(500);

/// A person at work. In this order in memory: what every turn looks at lies together, since most workers are cold.
#[repr(C)]
pub(crate) struct Worker {
    /// What it is doing.
    doing: Doing,
    /// Routine states: stored ones are decoded at their first turn.
    states: Memories,
    /// What all workers share.
    house: Arc<House>,
    /// The flow it runs, if it runs one.
    flow: Option<Box<FlowDesk>>,
    /// Volatile drafts that came while it was busy.
    #[expect(clippy::box_collection, reason = "a pointer while there are none, which is nearly always")]
    volatile: Option<Box<VecDeque<DeliverVolatile>>>,
    /// Whose worker this is.
    person: PersonId,
    /// Whether only control mail is taken.
    paused: bool,
    /// Whether it goes once it is not busy.
    finishing: bool,
    /// Whether the application takes the mail by hand.
    manual: bool,
    /// Whether its last delivery failed.
    failed: bool,
    /// Whether expired or surplus mail is being written off.
    tidying: bool,
    /// How it stands, as it has told its desk.
    status: Status,
    /// How it goes, when it goes on purpose.
    leaving: Option<Departed>,
    /// What waits.
    inbox: Inbox,
    /// Who is told when this worker goes. Weak: it is above.
    supervisor: WeakAddr<Supervisor>,
    /// Which of the person's workers this is, so that answers to a predecessor are not taken for its own.
    generation: u32,
    /// How many of the next deliveries are to be performed one at a time.
    singly: u32,
    /// Changes of states that the application has asked for; and those that are being written.
    updates: Option<Box<Updates>>,
    /// The alarm for the next scheduled delivery.
    alarm: Option<Box<(Timestamp, SpawnHandle)>>,
    /// How the inbox takes mail.
    policy: Arc<InboxPolicy>,
    /// How much of its mail it has said that nobody takes now.
    slept: Option<usize>,
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
        Seat { generation, manual, paused, policy, flow }: Seat,
    ) -> Self {
        let mut worker = Self {
            house,
            supervisor,
            person,
            generation,
            inbox: Inbox::default(),
            states: Memories::default(),
            volatile: None,
            updates: None,
            flow: None,
            doing: Doing::Idle,
            singly: 0,
            alarm: None,
            manual,
            paused,
            policy,
            status: Status::Idle,
            failed: false,
            tidying: false,
            slept: None,
            finishing: false,
            leaving: None,
        };
        worker.flow = flow.map(|flow| Box::new(FlowDesk::new(flow, &worker)));
        worker
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
        if self.flow.is_some() {
            let failed = committed.jobs.iter().any(|write| write.job.status == JobStatus::Failed);
            self.flow_settled(failed);
        }
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
        if self.flow.is_some() {
            return self.flow_unsettled(failure, ctx);
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

impl Worker {
    /// Reads everything from the store; nothing else is handled before that. This is the only wait, and it has a
    /// deadline, because a waiting actor is deaf.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        self.doing = Doing::Busy { routine: None };
        self.tidying = false;
        self.stand(Status::Starting);
        let recovery = self.house.persistence.send(Recover(self.person));
        let limit = Duration::from_millis(self.house.limits.recovery_ms_max);
        let recovery = tokio::time::timeout(limit, recovery).into_actor(self);
        ctx.wait(recovery.map(|recovered, worker, ctx| match recovered {
            Ok(Ok(Ok(recovered))) => worker.begin(recovered, ctx),
            Ok(Ok(Err(StoreError::Busy(_) | StoreError::Full(_)))) => {
                // Still deaf: who takes mail by hand would find none.
                let delay = tokio::time::sleep(STORE_RETRY_DELAY).into_actor(worker);
                ctx.wait(delay.map(|(), worker, ctx| worker.recover(ctx)));
            }
            Ok(Ok(Err(error))) => worker.hold(&error.to_string()),
            Ok(Err(_closed)) => worker.hold("the house is closed"),
            Err(_elapsed) => ctx.stop(),
        }));
    }

    fn begin(&mut self, mut recovered: Recovered, ctx: &mut Context<Self>) {
        // Dismissed while it was deaf: it is about to hear of it, and the mail is its successor's.
        if !self.house.directory.is_seated(self.person, self.generation) {
            return;
        }
        let waiting = std::mem::take(&mut recovered.waiting);
        self.inbox = Inbox::recovered(waiting, recovered.watermark).ageing(self.policy.ageing);
        self.inbox.rest(self.paused && !self.manual);
        if self.flow.is_some() {
            self.doing = Doing::Idle;
            self.begin_flow(&mut recovered, ctx);
            return if matches!(self.doing, Doing::Held) { self.report_sleep() } else { self.resume(ctx) };
        }
        let registry = &self.house.registry;
        let known = recovered.states.into_iter().filter_map(|(name, state)| Some((registry.place(&name)?, state)));
        self.states = Memories::recovered(known);
        self.resume(ctx);
    }

    /// Idle again: goes if it was told to, and takes the next mail otherwise.
    fn resume(&mut self, ctx: &mut Context<Self>) {
        if matches!(self.doing, Doing::Held) {
            return;
        }
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

    /// Takes the next mail, if it is idle and any waits.
    fn activate(&mut self, ctx: &mut Context<Self>) {
        if self.finishing || !matches!(self.doing, Doing::Idle) {
            return;
        }
        self.tidy();
        if self.manual {
            self.stand(Status::Idle);
            return self.set_alarm(ctx);
        }
        if self.flow.is_some() {
            return self.advance(ctx);
        }
        let deliveries_max = if self.singly > 0 { 1 } else { self.house.limits.activation_deliveries_max };
        match next_activation(&mut self.inbox, &self.house.registry, deliveries_max) {
            Some(activation) => {
                self.stand(Status::Processing);
                // What it takes now does not sleep any more.
                self.report_sleep();
                self.execute(activation, ctx);
            }
            None => {
                self.stand(if self.failed { Status::Failed } else { Status::Idle });
                self.report_sleep();
                self.set_alarm(ctx);
            }
        }
    }

    fn note_failures(&mut self, committed: &Committed) {
        let retried = committed.retried.iter().filter_map(|retry| retry.failure.as_ref());
        let failure = retried.chain(committed.buried.iter().map(|burial| &burial.failure)).last();
        self.failed = failure.is_some();
        if let Some(failure) = failure {
            self.fault(failure.to_string());
        }
    }

    /// Says how it stands, if that is news.
    fn stand(&mut self, status: Status) {
        if std::mem::replace(&mut self.status, status) != status {
            self.house.directory.stand(self.person, self.generation, status);
        }
    }

    fn fault(&self, reason: String) {
        self.house.directory.fault(self.person, self.generation, reason);
    }

    fn propose(&mut self, change: Change) {
        let answer = Answer::Worker { generation: self.generation, tidies: false };
        self.house.propose(change, answer);
    }

    fn put_all_back(&mut self) {
        let out: Vec<_> = self.inbox.out().map(Delivery::id).collect();
        self.inbox.put_back(&out);
    }

    fn hold(&mut self, reason: &str) {
        tracing::error!(person = self.person.0, reason, "a worker is held; its mail waits on disk");
        self.doing = Doing::Held;
        if let Some(updates) = self.updates.take() {
            updates.waiting.into_iter().for_each(|update| update.refuse(DeskError::Held(self.person)));
        }
        if let Some(desk) = &mut self.flow {
            desk.refuse_acts(|| DeskError::Held(self.person));
        }
        self.fault(reason.to_string());
        self.stand(Status::Failed);
        self.report_sleep();
        if let Some(supervisor) = self.supervisor.upgrade() {
            supervisor.do_send(Held { person: self.person, generation: self.generation });
        }
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
