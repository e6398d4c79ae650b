//! The supervisor owns the set of workers: it keeps them equal to the roster, and routes what was committed.
//!
//! Asks: nobody. Tells: workers what was delivered and settled, and askers their replies. Never: writes, or decides
//! what a message means.
//!
//! A worker is started by its first delivery and goes when it is idle; one that crashed is started again from the
//! store, after a back-off, and is left alone for a while when that happens too often. Its mail waits on disk meanwhile.

use crate::directory::NoPlace;
use crate::error::{CommitFailure, DeskError, SendError};
use crate::parcel::DeliverVolatile;
use crate::parking::{Parked, Parking};
use crate::persistence::{Answer, AskAnswer, Close, Commit};
use crate::runtime::House;
use crate::status::Status;
use crate::worker::{self, Deliver, Dismiss, Finish, Forget, LookAgain, Passivate, Rest, Settled, Unsettled, Worker};
use actix::prelude::*;
use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use worksite_model::{
    Change, Committed, Departure, Draft, Entry, EnvelopeId, Fate, IdMap, Overflow, PersonId, Quarantined, Removal,
    RosterChange, Timestamp,
};

/// The back-off after a first crash; each further one within the window waits twice as long.
const RESTART_DELAY: Duration = Duration::from_millis(100);

/// Who waits for one reply: nearly always one.
type Askers = (oneshot::Sender<AskAnswer>, Vec<oneshot::Sender<AskAnswer>>);

/// Keeps workers equal to the roster, and routes what was committed.
pub(crate) struct Supervisor {
    /// What all workers share.
    house: Arc<House>,
    /// Who waits for the reply to which envelope.
    asks: IdMap<EnvelopeId, Askers>,
    /// Replies of the report in hand: told at its end, in one go, because each may wake a thread.
    replies: Vec<(oneshot::Sender<AskAnswer>, Fate)>,
    /// When workers crashed, within the window.
    crashes: BTreeMap<PersonId, Vec<Timestamp>>,
    /// Whose worker crashed and is not to be started before its back-off has passed: then a timer does it.
    resting: BTreeSet<PersonId>,
    /// Who waits for room in whose inbox.
    parking: Parking,
    /// Who is to leave once their worker has nothing left to do, and who waits for that.
    leaving: BTreeMap<PersonId, Leaving>,
    /// Who waits for the house to be quiet.
    quiescing: Vec<oneshot::Sender<()>>,
    /// Who waits for the house to rest.
    awaiting_rest: Vec<oneshot::Sender<()>>,
    /// Who waits for the house to be closed.
    closing: Vec<oneshot::Sender<()>>,
    /// Whether the house is closing: no worker is started any more.
    closed: bool,
}

/// Somebody who is to leave.
struct Leaving {
    departure: Departure,
    answer: oneshot::Sender<Result<(), DeskError>>,
}

impl Supervisor {
    pub(crate) fn new(house: Arc<House>) -> Self {
        Self {
            house,
            asks: IdMap::default(),
            replies: Vec::new(),
            crashes: BTreeMap::new(),
            resting: BTreeSet::new(),
            parking: Parking::default(),
            leaving: BTreeMap::new(),
            quiescing: Vec::new(),
            awaiting_rest: Vec::new(),
            closing: Vec::new(),
            closed: false,
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // actix starts an actor that was never polled while its thread ends, and then there are no timers.
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        ctx.set_mailbox_capacity(1024);
        let sweep = Duration::from_millis(self.house.limits.worker_idle_ms_max.div_ceil(2));
        ctx.run_interval(sweep, |supervisor, ctx| supervisor.sweep(ctx));
        for person in self.house.directory.roster().people() {
            if self.house.directory.has_work(person.id) {
                self.start(person.id, ctx);
            }
        }
        // What was to be dropped when an earlier life ended is still too much.
        for person in self.house.directory.overfull() {
            self.start(person, ctx);
        }
    }
}

/// What became of a group of changes, in commit order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Report(pub(crate) Vec<Reported>);

/// What became of one change.
pub(crate) enum Reported {
    /// It is durable, and this one waits for it.
    Committed { committed: Arc<Committed>, waiter: Option<Waiter> },
    /// These could not be read and were set aside.
    Quarantined(Vec<Quarantined>),
    /// It is not; the worker that proposed it is to be told.
    Failed(Option<Failed>),
}

/// A worker's change that did not become durable.
pub(crate) struct Failed {
    pub(crate) person: PersonId,
    pub(crate) generation: u32,
    pub(crate) tidies: bool,
    pub(crate) failure: CommitFailure,
}

/// Who waits for a commit to have been acted on.
pub(crate) enum Waiter {
    /// Somebody who asks: told when the envelope is settled.
    Asker { entry: Entry, replied: oneshot::Sender<AskAnswer> },
    /// The worker that proposed it.
    Worker { generation: u32, tidies: bool },
    /// Somebody who changed the house itself.
    House(oneshot::Sender<Result<Arc<Committed>, CommitFailure>>),
}

impl Handler<Report> for Supervisor {
    type Result = ();

    fn handle(&mut self, Report(reports): Report, ctx: &mut Self::Context) {
        for reported in reports {
            match reported {
                Reported::Committed { committed, waiter } => self.route(committed, waiter, ctx),
                Reported::Failed(Some(Failed { person, generation, tidies, failure })) => {
                    self.house.directory.tell_generation(person, generation, Unsettled { failure, tidies });
                }
                Reported::Failed(None) => {}
                Reported::Quarantined(rows) => {
                    for row in rows {
                        self.reply(row.id, || Fate::Buried(format!("unreadable: {}", row.reason)));
                    }
                }
            }
        }
        for (asker, fate) in self.replies.drain(..) {
            let _gone = asker.send(Ok(fate));
        }
        self.try_lines(ctx);
        self.tell_if_quiet(ctx);
    }
}

/// Puts a change in line until its recipient's inbox has room. The place in the line is counted already.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Park {
    pub(crate) person: PersonId,
    pub(crate) limit: &'static str,
    pub(crate) overflow: Overflow,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) answer: Answer,
}

impl Handler<Park> for Supervisor {
    type Result = ();

    fn handle(&mut self, Park { person, limit, overflow, drafts, answer }: Park, ctx: &mut Self::Context) {
        let mut parked = Parked { number: self.parking.number(), drafts, answer, limit, timer: None };
        if self.closed {
            self.house.directory.unpark(person);
            return parked.refuse(|drafts| SendError::Stopped { drafts });
        }
        if let Overflow::WaitFor(time) = overflow {
            let number = parked.number;
            parked.timer =
                Some(ctx.run_later(time, move |supervisor, ctx| supervisor.stop_waiting(person, number, ctx)));
        }
        self.parking.push(person, parked);
        // Room may have come free since the sender looked; and a worker that sleeps may hold what has expired.
        self.try_line(person, ctx);
        if !self.house.directory.is_awake(person) && !self.resting.contains(&person) {
            self.start(person, ctx);
        }
    }
}

/// Lets somebody leave for good: they take nothing more, their worker ends what it has, or does not, and goes.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Terminate {
    pub(crate) person: PersonId,
    pub(crate) drains: bool,
    pub(crate) departure: Departure,
    pub(crate) answer: oneshot::Sender<Result<(), DeskError>>,
}

impl Handler<Terminate> for Supervisor {
    type Result = ();

    fn handle(&mut self, Terminate { person, drains, departure, answer }: Terminate, ctx: &mut Self::Context) {
        if self.closed || !self.house.directory.begin_leaving(person) {
            let error = if self.closed { DeskError::Stopped } else { DeskError::UnknownPerson(person) };
            let _gone = answer.send(Err(error));
            return;
        }
        self.leaving.insert(person, Leaving { departure, answer });
        self.try_line(person, ctx);
        if !drains {
            return self.let_go(person, ctx);
        }
        self.house.directory.watch(true);
        // The clock may have been moved by hand.
        self.house.directory.rouse_one(person);
        self.house.directory.tell(person, || LookAgain);
        self.tell_if_quiet(ctx);
    }
}

/// A worker has less to do than it had, and somebody waits to hear that.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Rested;

impl Handler<Rested> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Rested, ctx: &mut Self::Context) {
        self.tell_if_quiet(ctx);
    }
}

/// Answers once nobody has anything to do now: what is scheduled, or waits for a worker that rests, stays.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AwaitRest(pub(crate) oneshot::Sender<()>);

impl Handler<AwaitRest> for Supervisor {
    type Result = ();

    fn handle(&mut self, AwaitRest(rested): AwaitRest, ctx: &mut Self::Context) {
        self.house.directory.watch(true);
        // The clock may have been moved by hand.
        for worker in self.house.directory.rouse() {
            worker.do_send(LookAgain);
        }
        for person in self.house.directory.overfull() {
            self.start(person, ctx);
            self.house.directory.tell(person, || LookAgain);
        }
        self.awaiting_rest.push(rested);
        self.tell_if_quiet(ctx);
    }
}

/// Starts the person's worker, if it is not awake, and gives its address; none when the person is not active.
#[derive(Message)]
#[rtype(result = "Option<Addr<Worker>>")]
pub(crate) struct Start(pub(crate) PersonId);

impl Handler<Start> for Supervisor {
    type Result = Option<Addr<Worker>>;

    fn handle(&mut self, Start(person): Start, ctx: &mut Self::Context) -> Self::Result {
        self.start(person, ctx)
    }
}

/// Delivers a draft that was never written to a worker that sleeps.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct WakeFor(pub(crate) PersonId, pub(crate) DeliverVolatile);

impl Handler<WakeFor> for Supervisor {
    type Result = ();

    fn handle(&mut self, WakeFor(person, delivery): WakeFor, ctx: &mut Self::Context) {
        match self.start(person, ctx) {
            Some(worker) => worker.do_send(delivery),
            None => self.house.directory.lose_volatile(1),
        }
    }
}

/// A worker has gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Left {
    pub(crate) person: PersonId,
    pub(crate) generation: u32,
    pub(crate) why: Departed,
}

/// Why a worker has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Departed {
    /// It had nothing to do.
    Passivated,
    /// It was told to: its person left, all was cleared, or the house closes.
    Stopped,
    /// It panicked, or could not be read in time.
    Crashed,
}

impl Handler<Left> for Supervisor {
    type Result = ();

    fn handle(&mut self, Left { person, generation, why }: Left, ctx: &mut Self::Context) {
        if !self.house.directory.unseat(person, generation) && why != Departed::Stopped {
            return;
        }
        if self.closed {
            return self.close_if_empty(ctx);
        }
        match why {
            Departed::Crashed => self.restart_later(person, ctx),
            // Mail may have come while it was going.
            Departed::Passivated | Departed::Stopped if self.house.directory.has_work(person) => {
                self.start(person, ctx);
            }
            Departed::Passivated | Departed::Stopped => {}
        }
    }
}

/// Answers once nothing waits for any routine and nobody performs one.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Quiesce(pub(crate) oneshot::Sender<()>);

impl Handler<Quiesce> for Supervisor {
    type Result = ();

    fn handle(&mut self, Quiesce(quiet): Quiesce, ctx: &mut Self::Context) {
        self.quiescing.push(quiet);
        self.tell_if_quiet(ctx);
    }
}

/// Closes the house: workers settle what they are doing, at most until the deadline; then the store is closed.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Shutdown {
    pub(crate) deadline: Duration,
    pub(crate) closed: oneshot::Sender<()>,
}

impl Handler<Shutdown> for Supervisor {
    type Result = ();

    fn handle(&mut self, Shutdown { deadline, closed }: Shutdown, ctx: &mut Self::Context) {
        self.house.directory.close();
        self.closing.push(closed);
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.asks.clear();
        for person in self.parking.people() {
            while let Some(parked) = self.unpark_first(person) {
                parked.refuse(|drafts| SendError::Stopped { drafts });
            }
        }
        for (_, leaving) in std::mem::take(&mut self.leaving) {
            let _gone = leaving.answer.send(Err(DeskError::Stopped));
        }
        for (_, worker) in self.house.directory.awake() {
            worker.do_send(Finish);
        }
        ctx.run_later(deadline, |supervisor, ctx| supervisor.close_store(ctx));
        self.close_if_empty(ctx);
    }
}

impl Supervisor {
    fn start(&mut self, person: PersonId, ctx: &mut Context<Self>) -> Option<Addr<Worker>> {
        if self.closed {
            return None;
        }
        let (house, supervisor) = (self.house.clone(), ctx.address().downgrade());
        self.house.directory.seat(person, |seat| Worker::new(house, supervisor, person, seat).start())
    }

    /// Acts on a commit, in the order in which its parts stand in a change.
    fn route(&mut self, committed: Arc<Committed>, waiter: Option<Waiter>, ctx: &mut Context<Self>) {
        if committed.cleared {
            for worker in self.house.directory.clear_seats() {
                worker.do_send(Dismiss { keep: false });
            }
        }
        if !committed.removed.is_empty() {
            self.forget_removed(&committed.removed, true);
        }
        if !committed.dropped.is_empty() {
            for removal in &committed.dropped {
                self.house.directory.count_dropped(removal.person, 1);
            }
            // The worker that dropped them hears of it as their author.
            self.forget_removed(&committed.dropped, false);
        }
        if let Some(difference) = &committed.roster {
            for person in &difference.left {
                let keep = !committed.purged.contains(person);
                self.house.directory.tell(*person, || Dismiss { keep });
                if let Some(leaving) = self.leaving.remove(person) {
                    // They left by another way than the one that was waited for.
                    let _gone = leaving.answer.send(Err(DeskError::UnknownPerson(*person)));
                }
            }
            self.house.directory.apply(difference);
            for person in &difference.joined {
                if self.house.directory.has_work(person.id) {
                    self.start(person.id, ctx);
                }
            }
        }
        for (person, rests) in &committed.paused {
            self.house.directory.rest(*person, *rests);
            self.house.directory.rouse_one(*person);
            self.house.directory.tell(*person, || Rest(*rests));
        }
        self.release_settled(&committed);
        for envelope in &committed.envelopes {
            let to = envelope.draft.to;
            let directory = &self.house.directory;
            let told = directory.tell(to, || Deliver(envelope.clone()));
            if !told && !self.resting.contains(&to) && (directory.has_work(to) || directory.is_over(to)) {
                self.start(to, ctx);
            }
        }
        self.answer(committed, waiter);
    }

    fn answer(&mut self, committed: Arc<Committed>, waiter: Option<Waiter>) {
        match waiter {
            None => {}
            Some(Waiter::Worker { generation, tidies }) => {
                if let Some(author) = committed.author {
                    self.house.directory.tell_generation(author, generation, Settled { committed, tidies });
                }
            }
            Some(Waiter::House(answer)) => {
                let _gone = answer.send(Ok(committed));
            }
            Some(Waiter::Asker { entry: Entry::Known { fate, .. }, replied }) if fate != Fate::Waiting => {
                let _gone = replied.send(Ok(fate));
            }
            Some(Waiter::Asker { entry, replied }) => match self.asks.entry(entry.id()) {
                MapEntry::Occupied(mut askers) => askers.get_mut().1.push(replied),
                MapEntry::Vacant(nobody) => drop(nobody.insert((replied, Vec::new()))),
            },
        }
    }

    /// Gives the places of settled and buried envelopes back, and tells askers.
    fn release_settled(&mut self, committed: &Committed) {
        let Some(author) = committed.author else { return };
        let settled = committed.settled.iter().map(|settlement| settlement.bytes());
        let gone = settled.chain(committed.buried.iter().map(|burial| burial.bytes()));
        self.house.directory.release(gone.map(|bytes| (author, bytes)));
        if self.asks.is_empty() {
            return;
        }
        for settlement in &committed.settled {
            self.reply(settlement.id(), || Fate::Settled(settlement.reply.clone()));
        }
        for burial in &committed.buried {
            self.reply(burial.id(), || Fate::Buried(burial.failure.to_string()));
        }
    }

    fn reply(&mut self, id: EnvelopeId, fate: impl FnOnce() -> Fate) {
        let Some((asker, others)) = self.asks.remove(&id) else { return };
        let fate = fate();
        self.replies.extend(others.into_iter().map(|asker| (asker, fate.clone())));
        self.replies.push((asker, fate));
    }

    fn forget_removed(&mut self, removed: &[Removal], tell: bool) {
        self.house.directory.release(removed.iter().map(|removal| (removal.person, removal.bytes)));
        let mut by_person: BTreeMap<PersonId, Vec<EnvelopeId>> = BTreeMap::new();
        for removal in removed {
            by_person.entry(removal.person).or_default().push(removal.id);
            self.reply(removal.id, || Fate::Removed);
        }
        for (person, ids) in by_person.into_iter().filter(|_| tell) {
            // What it has said of its sleeping mail may have been said of these.
            self.house.directory.rouse_one(person);
            self.house.directory.tell(person, || Forget(ids));
        }
    }

    fn unpark_first(&mut self, person: PersonId) -> Option<Parked> {
        let parked = self.parking.pop(person)?;
        self.house.directory.unpark(person);
        Some(parked)
    }

    /// Room may have come free anywhere: lets in what has waited for it.
    fn try_lines(&mut self, ctx: &mut Context<Self>) {
        for person in self.parking.people() {
            self.try_line(person, ctx);
        }
    }

    /// Hands the first of a line to the writer, and the next, until one has to go on waiting.
    fn try_line(&mut self, person: PersonId, ctx: &mut Context<Self>) {
        let house = self.house.clone();
        while let Some(mut parked) = self.parking.pop(person) {
            match house.directory.reserve(&parked.drafts, &house.registry, &house.limits, true) {
                Ok(()) => {
                    cancel(&mut parked, ctx);
                    house.directory.unpark(person);
                    house.directory.count_departure();
                    let change = Change::send(parked.drafts);
                    house.persistence.do_send(Commit { change, answer: parked.answer });
                }
                Err(NoPlace::Rejected(rejection)) => {
                    cancel(&mut parked, ctx);
                    house.directory.unpark(person);
                    parked.refuse(|drafts| SendError::Rejected { rejection, drafts });
                }
                // Another of its recipients may be the one without room: it keeps its place in this line all the same.
                Err(NoPlace::Full { limit, overflow: Overflow::Wait | Overflow::WaitFor(_), .. }) => {
                    parked.limit = limit;
                    return self.parking.return_first(person, parked);
                }
                // Unless that one lets nobody wait.
                Err(NoPlace::Full { draft, limit, overflow }) => {
                    cancel(&mut parked, ctx);
                    house.directory.unpark(person);
                    let full = parked.drafts[draft].to;
                    let count = parked.drafts.iter().filter(|draft| draft.to == full).count();
                    if overflow == Overflow::DropNewest {
                        house.directory.count_dropped(full, count);
                        parked.refuse(|drafts| SendError::Dropped { person: full, drafts });
                    } else {
                        house.directory.count_refused(full, count);
                        parked.refuse(|drafts| SendError::Overloaded { limit, drafts });
                    }
                }
            }
        }
    }

    fn stop_waiting(&mut self, person: PersonId, number: u64, ctx: &mut Context<Self>) {
        let Some(parked) = self.parking.take(person, number) else { return };
        self.house.directory.unpark(person);
        self.house.directory.count_refused(person, parked.drafts.len());
        let limit = parked.limit;
        parked.refuse(|drafts| SendError::Overloaded { limit, drafts });
        self.try_line(person, ctx);
    }

    /// Proposes that somebody who was to leave does so.
    fn let_go(&mut self, person: PersonId, ctx: &mut Context<Self>) {
        let Some(Leaving { departure, answer }) = self.leaving.remove(&person) else { return };
        let roster = RosterChange::Leave { people: vec![person], departure };
        let (committed, durable) = oneshot::channel();
        self.house.directory.count_departure();
        let change = Change { roster: Some(roster), ..Change::default() };
        self.house.persistence.do_send(Commit { change, answer: Answer::House(committed) });
        ctx.spawn(durable.into_actor(self).map(move |durable, supervisor, _| {
            let left = match durable {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(failure)) => {
                    supervisor.house.directory.stay(person);
                    Err(failure.into_desk_error())
                }
                Err(_closed) => Err(DeskError::Stopped),
            };
            let _gone = answer.send(left);
        }));
    }

    fn restart_later(&mut self, person: PersonId, ctx: &mut Context<Self>) {
        let now = self.house.clock.now();
        let crashes = self.recent_crashes(person, now);
        crashes.push(now);
        let (count, max) = (crashes.len() as u32, self.house.limits.restarts_max);
        let window = Duration::from_millis(self.house.limits.restart_window_ms);
        tracing::error!(person = person.0, count, max, "a worker crashed");
        self.house.directory.set_status(person, Status::Failed);
        // Left alone means: not started again before the window has passed.
        let delay = if count > max { window } else { RESTART_DELAY * 2_u32.saturating_pow(count - 1) };
        self.resting.insert(person);
        ctx.run_later(delay, move |supervisor, ctx| {
            supervisor.resting.remove(&person);
            if supervisor.house.directory.has_work(person) {
                supervisor.start(person, ctx);
            }
        });
    }

    fn recent_crashes(&mut self, person: PersonId, now: Timestamp) -> &mut Vec<Timestamp> {
        let window = Duration::from_millis(self.house.limits.restart_window_ms);
        let crashes = self.crashes.entry(person).or_default();
        crashes.retain(|crash| now.since(*crash) < window);
        crashes
    }

    fn sweep(&mut self, ctx: &mut Context<Self>) {
        self.try_lines(ctx);
        for worker in self.house.directory.sweep() {
            worker.do_send(Passivate);
        }
    }

    fn tell_if_quiet(&mut self, ctx: &mut Context<Self>) {
        if !self.quiescing.is_empty() && self.house.directory.is_quiet() {
            for quiet in self.quiescing.drain(..) {
                let _gone = quiet.send(());
            }
        }
        if !self.awaiting_rest.is_empty() && self.house.directory.is_resting() {
            for rested in self.awaiting_rest.drain(..) {
                let _gone = rested.send(());
            }
        }
        let rested: Vec<_> =
            self.leaving.keys().copied().filter(|person| self.house.directory.has_rest(*person)).collect();
        for person in rested {
            self.let_go(person, ctx);
        }
        self.house.directory.watch(!self.awaiting_rest.is_empty() || !self.leaving.is_empty());
    }

    fn close_if_empty(&mut self, ctx: &mut Context<Self>) {
        if !self.house.directory.is_anybody_awake() {
            self.close_store(ctx);
        }
    }

    fn close_store(&mut self, ctx: &mut Context<Self>) {
        let closing = self.house.persistence.send(Close).into_actor(self);
        ctx.spawn(closing.map(|_, supervisor, ctx| {
            supervisor.quiescing.clear();
            supervisor.awaiting_rest.clear();
            for closed in supervisor.closing.drain(..) {
                let _gone = closed.send(());
            }
            ctx.stop();
        }));
    }
}

/// Kills a worker as a mistake of our own would.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CrashWorker(pub(crate) PersonId);

impl Handler<CrashWorker> for Supervisor {
    type Result = ();

    fn handle(&mut self, CrashWorker(person): CrashWorker, _: &mut Self::Context) {
        self.house.directory.tell(person, || worker::Crash);
    }
}

/// Who is served waits for no deadline any more: a timer that is left behind is polled for as long as it was to wait.
fn cancel(parked: &mut Parked, ctx: &mut Context<Supervisor>) {
    if let Some(timer) = parked.timer.take() {
        ctx.cancel_future(timer);
    }
}
