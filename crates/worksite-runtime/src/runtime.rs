//! The handle of the house: [`Runtime`] is what an application holds. It checks what comes from outside, hands it to
//! the actors, and gives back an answer once it is durable.
//!
//! Its futures need no particular executor. Whatever is sent has been handed to the writer when the call returns, in
//! the order of calls; dropping the future drops only the answer.

use crate::broadcast::Broadcast;
use crate::directory::{Directory, NoPlace};
use crate::error::CommitFailure;
use crate::hub::{Hub, Outbox, Slow, SubscriptionOptions, SubscriptionReport};
use crate::metrics::{Counters, Metrics};
use crate::persistence::{Answer, Commit, Persistence, Read, Reading, SendAnswer};
use crate::status::{InboxReport, Status, WorkerHandle};
use crate::supervisor::{AwaitRest, CrashWorker, Park, Quiesce, Shutdown, Start, Supervisor, Terminate, WakeFor};
use crate::update::Update;
use crate::worker::{Drain, Lanes, Peek, PutBack, Remove, Worker};
use crate::{AskError, Builder, Clock, DeskError, DurableSubscription, SendError, Subscription};
use actix::Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use worksite_model::{
    Change, Committed, Cursor, CursorChange, DeadLetter, Delivery, Departure, Draft, Durable, Entry, EnvelopeId,
    FactOffset, Fate, Filter, Interest, Limits, LoggedFact, NamedWrite, Overflow, Payload, Person, PersonId, Registry,
    Rejection, Revision, Roster, RosterChange, RosterDifference, StateWrite, StoreError, Tally, ThreadEntry, Timestamp,
    accept,
};

/// What all workers share.
pub(crate) struct House {
    pub(crate) registry: Registry,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) seed: u64,
    pub(crate) directory: Arc<Directory>,
    pub(crate) counters: Arc<Counters>,
    /// The room below: the only writer.
    pub(crate) persistence: Addr<Persistence>,
}

/// The proof that a draft is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// The envelope it became.
    pub id: EnvelopeId,
    /// Whether it was accepted before, under the same idempotency key.
    pub known: bool,
}

impl Receipt {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self { id: entry.id(), known: matches!(entry, Entry::Known { .. }) }
    }
}

/// What becomes of the mail of somebody who is terminated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Termination {
    /// What can be taken now is dealt with first. What is scheduled, waits for another attempt or for a worker that rests
    /// stays behind.
    #[default]
    Drain,
    /// Nothing more is taken; what a routine is at is broken off, and counts for nothing.
    AtOnce,
}

/// How many dead letters one commit redrives at most.
const REDRIVEN_MAX: usize = 1_000;

/// How long [`Runtime::shutdown`] waits for routines to end.
pub const SHUTDOWN_TIME: Duration = Duration::from_secs(10);

/// A running house. Cheap to clone; all clones are the same house. It closes when the last clone is dropped, losing
/// nothing that was accepted; [`Runtime::shutdown`] does so in order.
#[derive(Clone)]
pub struct Runtime(Arc<Handle>);

pub(crate) struct Handle {
    pub(crate) house: Arc<House>,
    pub(crate) supervisor: Addr<Supervisor>,
    /// The queues of subscribers.
    pub(crate) hub: Arc<Hub>,
    /// Keeps the actor that tells subscribers, until the house closes.
    pub(crate) broadcast: Mutex<Option<Addr<Broadcast>>>,
    /// Ends the house's own thread, if it has one.
    pub(crate) thread: Mutex<Option<Thread>>,
}

/// The house's own thread.
pub(crate) struct Thread {
    /// Dropped to end it.
    pub(crate) stop: oneshot::Sender<()>,
    /// Answered when it has ended.
    pub(crate) ended: oneshot::Receiver<()>,
}

impl Runtime {
    /// Describes a house to be started.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn from_handle(handle: Handle) -> Self {
        Self(Arc::new(handle))
    }

    fn house(&self) -> &House {
        &self.0.house
    }

    /// Makes these people the roster; mail and state of those who leave stay for their return. Seed 000
    /// `sync_runtimes`. When it returns, the new roster is durable and workers are equal to it.
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn sync(&self, people: impl IntoIterator<Item = Person>) -> Result<RosterDifference, SendError> {
        self.sync_with(people, Departure::Keep).await
    }

    /// [`Runtime::sync`], saying what becomes of the mail and state of those who leave.
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn sync_with(
        &self,
        people: impl IntoIterator<Item = Person>,
        departure: Departure,
    ) -> Result<RosterDifference, SendError> {
        let committed = self.change_house(Change::sync(Roster::new(people), departure)).await?;
        Ok(committed.roster.clone().unwrap_or_default())
    }

    /// Adds somebody to the roster, or gives them another name; the others stay. Seed 000 `get_runtime`, seed 004 `create`.
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn join(&self, person: Person) -> Result<RosterDifference, SendError> {
        let roster = RosterChange::Join(vec![person]);
        let committed = self.change_house(Change { roster: Some(roster), ..Change::default() }).await?;
        Ok(committed.roster.clone().unwrap_or_default())
    }

    /// Adds somebody who is not active yet, with this state of this routine, in one commit. Of several who create one id at
    /// once, one succeeds.
    ///
    /// # Errors
    /// [`DeskError::Taken`], and [`DeskError`].
    pub async fn create<S: Durable>(&self, person: Person, routine: &str, state: &S) -> Result<(), DeskError> {
        let (id, payload) = (person.id, Payload::encode(state)?);
        let place = self.house().registry.place(routine);
        let keep = place.and_then(|place| self.house().registry.get(place)).and_then(|routine| routine.keep_states());
        let state = StateWrite { person: id, routine: routine.to_string().into(), payload, keep };
        let roster = Some(RosterChange::Create(vec![person]));
        self.propose(Change { roster, states: vec![state], ..Change::default() }).await.map(drop)
    }

    /// Changes a routine's state on the worker, between two activations and atomically: nobody sees a half-made change,
    /// and none is lost however many are made at once. Durable when it returns, with what the closure gave. Of a routine
    /// without a state yet it is given the default.
    ///
    /// # Errors
    /// [`DeskError::OtherState`], [`DeskError::Panicked`] (the state is as it was), and [`DeskError`].
    pub async fn update_state<S: Durable, T: Send + 'static>(
        &self,
        person: impl Into<PersonId>,
        routine: &str,
        change: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, DeskError> {
        let place = self.house().registry.place(routine).ok_or(DeskError::OtherState)?;
        let (person, (update, result)) = (person.into(), Update::new(place, change));
        self.wake(person).await?.do_send(update);
        match result.await {
            Ok(result) => result,
            Err(_dropped) if self.house().directory.is_closed() => Err(DeskError::Stopped),
            // Its person left before its turn came.
            Err(_dropped) if !self.house().directory.is_active(person) => Err(DeskError::UnknownPerson(person)),
            Err(_dropped) => Err(DeskError::Panicked),
        }
    }

    /// Takes somebody off the roster at once; the others stay. With [`Departure::Purge`] also what somebody left behind
    /// who has gone already. Says whether they were active.
    ///
    /// # Errors
    /// [`SendError::Stopped`] and [`SendError::Store`].
    pub async fn leave(&self, person: impl Into<PersonId>, departure: Departure) -> Result<bool, SendError> {
        let roster = RosterChange::Leave { people: vec![person.into()], departure };
        let committed = self.change_house(Change { roster: Some(roster), ..Change::default() }).await?;
        Ok(committed.roster.as_ref().is_some_and(|difference| !difference.left.is_empty()))
    }

    /// Lets a worker rest: its mail waits, except for the control lane. Durable: it rests after a restart too, until it is
    /// resumed or its person leaves. A manual worker's mail is the application's to leave alone.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn pause(&self, person: impl Into<PersonId>) -> Result<(), DeskError> {
        let paused = vec![(person.into(), true)];
        self.propose(Change { paused, ..Change::default() }).await.map(drop)
    }

    /// Lets a worker go on that rests.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn resume(&self, person: impl Into<PersonId>) -> Result<(), DeskError> {
        let paused = vec![(person.into(), false)];
        self.propose(Change { paused, ..Change::default() }).await.map(drop)
    }

    /// Lets somebody leave for good: from now on nothing is accepted for them, and whoever waits for room in their inbox
    /// is told so; then their worker ends as `how` says; then they are off the roster, and what is left of their mail and
    /// state is kept or purged. Purged, the id may be used again by somebody new. Durable when it returns; of several who
    /// ask for it one succeeds. If the house stops before, they are still on the roster.
    ///
    /// # Errors
    /// [`DeskError::UnknownPerson`] when they are not active or leaving already, and [`DeskError`].
    pub async fn terminate(
        &self,
        person: impl Into<PersonId>,
        how: Termination,
        departure: Departure,
    ) -> Result<(), DeskError> {
        let (answer, left) = oneshot::channel();
        let (person, drains) = (person.into(), how == Termination::Drain);
        self.0.supervisor.do_send(Terminate { person, drains, departure, answer });
        left.await.map_err(|_closed| DeskError::Stopped)?
    }

    /// A handle on somebody's worker, which shows how it stands; it outlives the worker and its person's time here.
    ///
    /// # Errors
    /// [`DeskError::UnknownPerson`].
    pub fn worker(&self, person: impl Into<PersonId>) -> Result<WorkerHandle, DeskError> {
        let person = person.into();
        self.house().directory.handle(person).ok_or(DeskError::UnknownPerson(person))
    }

    /// How somebody's worker stands. The worker says so itself, beside the answers it causes: right after one it may still
    /// say what it did before.
    ///
    /// # Errors
    /// [`DeskError::UnknownPerson`].
    pub fn status(&self, person: impl Into<PersonId>) -> Result<Status, DeskError> {
        Ok(self.worker(person)?.status())
    }

    /// How much somebody's inbox holds, and what it has turned away.
    ///
    /// # Errors
    /// [`DeskError::UnknownPerson`].
    pub fn inbox(&self, person: impl Into<PersonId>) -> Result<InboxReport, DeskError> {
        let person = person.into();
        self.house().directory.report(person).ok_or(DeskError::UnknownPerson(person))
    }

    /// The active people, as last committed.
    pub fn roster(&self) -> Roster {
        self.house().directory.roster()
    }

    /// Sends a draft. Resolves when it is durable: then it survives the process, and with the default sync mode the
    /// machine. The order of calls is the order of ids.
    ///
    /// # Errors
    /// [`SendError`], with the draft given back.
    pub fn send(&self, draft: Draft) -> impl Future<Output = Result<Receipt, SendError>> + Send + 'static {
        let sent = self.send_all(vec![draft]);
        async move {
            let receipts = sent.await?;
            receipts.into_iter().next().ok_or(SendError::Stopped { drafts: vec![] })
        }
    }

    /// Sends drafts as one change: all are accepted or none, with ids in the order given. No drafts are fine.
    ///
    /// # Errors
    /// [`SendError`], with the drafts given back.
    pub fn send_all(
        &self,
        drafts: Vec<Draft>,
    ) -> impl Future<Output = Result<Vec<Receipt>, SendError>> + Send + 'static {
        let (accepted, answer) = oneshot::channel();
        let handed = self.hand_over(drafts, Answer::Sender(accepted));
        async move {
            handed?;
            receipts(answer).await
        }
    }

    /// Sends a draft that is never written: it is delivered if the house lives so long, and counted when it is lost.
    /// It is not acknowledged, timed, retried or buried. For ticks, presence and progress.
    ///
    /// # Errors
    /// [`SendError`], with the draft given back.
    pub fn send_volatile(&self, draft: Draft) -> Result<(), SendError> {
        let house = self.house();
        if house.directory.is_closed() {
            return Err(SendError::Stopped { drafts: vec![draft] });
        }
        if draft.payload.len() > house.limits.payload_bytes_max {
            let rejection =
                Rejection::PayloadTooLarge { bytes: draft.payload.len(), limit: house.limits.payload_bytes_max };
            return Err(SendError::Rejected { rejection, drafts: vec![draft] });
        }
        let person = draft.to;
        match house.directory.deliver_volatile(draft, &house.registry) {
            Ok(None) => {}
            Ok(Some(delivery)) => self.0.supervisor.do_send(WakeFor(person, delivery)),
            Err(rejected) => {
                let (rejection, draft) = *rejected;
                return Err(SendError::Rejected { rejection, drafts: vec![draft] });
            }
        }
        Ok(())
    }

    /// How many volatile drafts were lost in this life of the house.
    pub fn volatile_lost(&self) -> u64 {
        self.house().directory.volatile_lost()
    }

    /// Sends a draft and waits for its routine's reply. Resolves after the commit that settled it. Under an
    /// idempotency key the reply is kept: asking again, also after a crash, gives the same reply and does nothing twice.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn ask<R: Durable>(&self, draft: Draft) -> impl Future<Output = Result<R, AskError>> + Send + 'static {
        let (replied, reply) = oneshot::channel();
        let handed = self.hand_over(vec![draft], Answer::Asker(replied));
        async move {
            handed?;
            let fate = reply.await.map_err(|_closed| AskError::Stopped)?;
            match fate.map_err(|refused| *refused)? {
                Fate::Settled(Some(reply)) => Ok(reply.decode()?),
                Fate::Settled(None) => Err(AskError::NoReply),
                Fate::Buried(reason) => Err(AskError::Buried(reason)),
                Fate::Removed => Err(AskError::Removed),
                Fate::Waiting => Err(AskError::Stopped),
            }
        }
    }

    /// Subscribes to all facts from now on, in commit order. Who lags behind [`Limits::subscriber_facts_max`] loses the
    /// oldest, and is told how many.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_to(self.subscription(Interest::everything()))
    }

    /// Subscribes to what is wanted of the facts from now on. Each subscriber has a queue of its own: a slow one slows
    /// nobody.
    pub fn subscribe_to(&self, options: SubscriptionOptions) -> Subscription {
        let outbox = Arc::new(Outbox::new(options));
        self.0.hub.add(outbox.clone());
        Subscription::new(outbox)
    }

    /// The usual options for a subscription of this interest.
    pub fn subscription(&self, interest: Interest) -> SubscriptionOptions {
        let facts_max = self.house().limits.subscriber_facts_max;
        SubscriptionOptions { interest, facts_max, slow: Slow::default(), until_left: None }
    }

    /// Subscribes to what is told about somebody, until they leave: their leaving is told last.
    pub fn subscribe_person(&self, person: impl Into<PersonId>) -> Subscription {
        let person = person.into();
        let options = self.subscription(Interest::everything().person(person));
        self.subscribe_to(SubscriptionOptions { until_left: Some(person), ..options })
    }

    /// Opens a durable subscription: a new one stands at the end of the log, one that is known goes on after what it has
    /// acknowledged, and wants this from now on. Facts are logged only while some durable subscription wants them.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn subscribe_durably(
        &self,
        name: impl Into<String>,
        interest: Interest,
    ) -> Result<DurableSubscription, DeskError> {
        let name = name.into();
        // Before the cursor is read, so that nothing can be told in between.
        let live = self.subscribe_to(SubscriptionOptions { facts_max: 1, ..self.subscription(interest.clone()) });
        let open = CursorChange::Open { name: name.clone(), interest: interest.clone() };
        self.move_cursor(open, Vec::new()).await?;
        let cursors = self.cursors().await?;
        let position = cursors.iter().find(|cursor| cursor.name == name).map(|cursor| cursor.position);
        Ok(DurableSubscription::new(self.clone(), name, interest, position.unwrap_or_default(), live))
    }

    /// The durable subscriptions, in order of names: where each stands, and how far behind.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn cursors(&self) -> Result<Vec<Cursor>, DeskError> {
        self.read(Box::new(|store| store.cursors())).await
    }

    /// Ends a durable subscription for good; one that is not there is fine.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn close_cursor(&self, name: impl Into<String>) -> Result<(), DeskError> {
        self.move_cursor(CursorChange::Close { name: name.into() }, Vec::new()).await
    }

    /// Logged facts after this one that this interest fits, at most `limit`: a replay, whoever logged them.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn facts(
        &self,
        interest: Interest,
        after: FactOffset,
        limit: usize,
    ) -> Result<Vec<LoggedFact>, DeskError> {
        self.read(Box::new(move |store| store.facts(&interest, after, limit))).await
    }

    /// The place in the log before the first fact of this moment or later: to seek a time.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn offset_at(&self, moment: Timestamp) -> Result<FactOffset, DeskError> {
        let mut after = FactOffset(0);
        loop {
            let page = self.facts(Interest::everything(), after, 1_000).await?;
            let Some(last) = page.last().map(|logged| logged.offset) else { return Ok(after) };
            match page.iter().position(|logged| logged.at >= moment) {
                Some(0) => return Ok(after),
                Some(place) => return Ok(page[place - 1].offset),
                None => after = last,
            }
        }
    }

    pub(crate) async fn move_cursor(&self, change: CursorChange, writes: Vec<NamedWrite>) -> Result<(), DeskError> {
        self.propose(Change { cursors: vec![change], writes, ..Change::default() }).await.map(drop)
    }

    /// Writes rows to the application's own tables, through the handlers the store was opened with, and sends drafts, in
    /// one commit: all or nothing.
    ///
    /// # Errors
    /// [`DeskError`]; nothing was written.
    pub async fn transact(&self, writes: Vec<NamedWrite>, drafts: Vec<Draft>) -> Result<Vec<Receipt>, DeskError> {
        let house = self.house();
        let now = house.clock.now();
        if let Some(rejection) = drafts.iter().find_map(|draft| accept(draft, &house.limits, now).err()) {
            return Err(DeskError::Rejected(rejection));
        }
        self.propose_drafts(Change { writes, ..Change::send(drafts) }).await
    }

    /// What the house has counted about itself.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn metrics(&self) -> Result<Metrics, DeskError> {
        let tally = self.tally().await?;
        let (house, directory) = (self.house(), &self.house().directory);
        let (waiting, parked, awake) = directory.gauges();
        Ok(Metrics {
            tally,
            waiting,
            parked,
            awake,
            volatile_lost: directory.volatile_lost(),
            cooled: directory.cooled(),
            ..house.counters.read()
        })
    }

    /// How many envelopes wait in each lane of somebody's inbox, the control lane first; scheduled ones are not among them.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn lanes(&self, person: impl Into<PersonId>) -> Result<[usize; 5], DeskError> {
        self.wake(person.into()).await?.send(Lanes).await.map_err(|_closed| DeskError::Stopped)
    }

    /// Earlier states of a routine, the newest first, at most `limit`; the present one is the first. A routine keeps them if
    /// it says so ([`Routine::keep_states`](worksite_model::Routine::keep_states)).
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn revisions(
        &self,
        person: impl Into<PersonId>,
        routine: impl Into<String>,
        limit: usize,
    ) -> Result<Vec<Revision>, DeskError> {
        let (person, routine) = (person.into(), routine.into());
        self.read(Box::new(move |store| store.revisions(person, &routine, limit))).await
    }

    /// A routine's state as it was at this moment; nothing when none is kept from then.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn state_at<S: Durable>(
        &self,
        person: impl Into<PersonId>,
        routine: impl Into<String>,
        moment: Timestamp,
    ) -> Result<Option<S>, DeskError> {
        let revisions = self.revisions(person, routine, usize::MAX).await?;
        let then = revisions.into_iter().find(|revision| revision.written_at <= moment);
        Ok(then.map(|revision| revision.payload.decode()).transpose()?)
    }

    /// A routine's state as it was once this envelope had been dealt with; nothing when none is kept from then.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn state_after<S: Durable>(
        &self,
        person: impl Into<PersonId>,
        routine: impl Into<String>,
        envelope: EnvelopeId,
    ) -> Result<Option<S>, DeskError> {
        let revisions = self.revisions(person, routine, usize::MAX).await?;
        let then = revisions.into_iter().find(|revision| revision.envelope.is_some_and(|id| id <= envelope));
        Ok(then.map(|revision| revision.payload.decode()).transpose()?)
    }

    /// Makes an earlier state the present one, on the worker and durably; it becomes a revision of its own.
    ///
    /// # Errors
    /// [`DeskError::NoRevision`], and [`DeskError`].
    pub async fn restore(&self, person: impl Into<PersonId>, routine: &str, revision: i64) -> Result<(), DeskError> {
        let person = person.into();
        let place = self.house().registry.place(routine).ok_or(DeskError::OtherState)?;
        let known = self.house().registry.get(place).cloned().ok_or(DeskError::OtherState)?;
        let revisions = self.revisions(person, routine, usize::MAX).await?;
        let wanted =
            revisions.into_iter().find(|known| known.number == revision).ok_or(DeskError::NoRevision(revision))?;
        let (update, result) = Update::replace(place, known, wanted.payload);
        self.wake(person).await?.do_send(update);
        result.await.map_err(|_dropped| DeskError::Stopped)?
    }

    /// How all subscriptions stand, in the order in which they were made.
    pub fn subscriptions(&self) -> Vec<SubscriptionReport> {
        self.0.hub.reports()
    }

    /// Looks at mail that could be taken now, without taking it.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn peek(&self, person: impl Into<PersonId>, limit: usize) -> Result<Vec<Delivery>, DeskError> {
        self.peek_by(person, Filter::all(), limit).await
    }

    /// [`Runtime::peek`] at mail that is meant.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn peek_by(
        &self,
        person: impl Into<PersonId>,
        filter: Filter,
        limit: usize,
    ) -> Result<Vec<Delivery>, DeskError> {
        let worker = self.wake(person.into()).await?;
        worker.send(Peek { filter, limit }).await.map_err(|_closed| DeskError::Stopped)
    }

    /// Takes mail of a manual worker, in order, up to so many. What is not acknowledged comes back after a restart.
    /// Seed 000 `drain`.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn drain(&self, person: impl Into<PersonId>, limit: usize) -> Result<Vec<Delivery>, DeskError> {
        self.drain_by(person, Filter::all(), limit).await
    }

    /// [`Runtime::drain`] of mail that is meant; the rest keeps its place.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn drain_by(
        &self,
        person: impl Into<PersonId>,
        filter: Filter,
        limit: usize,
    ) -> Result<Vec<Delivery>, DeskError> {
        let worker = self.manual_worker(person.into()).await?;
        worker.send(Drain { filter, limit }).await.map_err(|_closed| DeskError::Stopped)
    }

    /// Removes all waiting mail that is meant, durably, in one commit; says how many it was. What a routine is at, or was
    /// drained, stays.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn remove_by(&self, person: impl Into<PersonId>, filter: Filter) -> Result<usize, DeskError> {
        let (answer, removed) = oneshot::channel();
        self.wake(person.into()).await?.do_send(Remove { filter, answer });
        let removed = removed.await.map_err(|_closed| DeskError::Stopped)?;
        Ok(removed.map_err(CommitFailure::into_desk_error)?.removed.len())
    }

    /// Puts drained mail back where it stood; says how many it was. Unknown ids are ignored.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn put_back(&self, person: impl Into<PersonId>, ids: Vec<EnvelopeId>) -> Result<usize, DeskError> {
        let worker = self.manual_worker(person.into()).await?;
        worker.send(PutBack(ids)).await.map_err(|_closed| DeskError::Stopped)
    }

    /// Acknowledges envelopes: they leave their inboxes, durably, in one commit; says how many it was. Unknown ids are
    /// ignored, so acknowledging twice is harmless. Seed 000 `remove_messages`.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn acknowledge(&self, ids: Vec<EnvelopeId>) -> Result<usize, DeskError> {
        let committed = self.propose(Change::acknowledge(ids)).await?;
        Ok(committed.removed.len())
    }

    /// How many envelopes wait for this person, or are being worked on.
    pub fn message_count(&self, person: impl Into<PersonId>) -> usize {
        self.house().directory.waiting(person.into())
    }

    /// A routine's state as last committed; nothing when it has none yet.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn state<T: Durable>(
        &self,
        person: impl Into<PersonId>,
        routine: impl Into<String>,
    ) -> Result<Option<T>, DeskError> {
        let (person, routine) = (person.into(), routine.into());
        let stored = self.read(Box::new(move |store| store.state(person, &routine))).await?;
        Ok(stored.map(|state| state.decode()).transpose()?)
    }

    /// How much mail there has ever been, and what became of it.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn tally(&self) -> Result<Tally, DeskError> {
        self.read(Box::new(|store| store.tally())).await
    }

    /// The dead letters, oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, DeskError> {
        self.read(Box::new(move |store| store.dead_letters(EnvelopeId(0), limit))).await
    }

    /// Sends dead letters again, all or none: each becomes a new envelope, with its first attempt before it, under its old
    /// key; it is due at once and does not expire. An id that is no dead letter is an error, and nothing is redriven
    /// twice.
    ///
    /// # Errors
    /// [`DeskError::NotBuried`], [`DeskError::NoRoom`], [`DeskError::UnknownPerson`] and [`DeskError`].
    pub async fn redrive(&self, ids: Vec<EnvelopeId>) -> Result<Vec<Receipt>, DeskError> {
        let wanted = ids.clone();
        let letters = self.read(Box::new(move |store| {
            let one = |id: &EnvelopeId| {
                let found = store.dead_letters(EnvelopeId(id.0.saturating_sub(1)), 1)?.pop();
                Ok(found.filter(|letter| letter.delivery.id() == *id))
            };
            wanted.iter().map(one).collect::<Result<Vec<_>, StoreError>>()
        }));
        let mut drafts = Vec::with_capacity(ids.len());
        for (id, letter) in ids.iter().zip(letters.await?) {
            let draft = letter.ok_or(DeskError::NotBuried(*id))?.delivery.envelope.draft.clone();
            drafts.push(Draft { not_before: None, expires_at: None, ..draft });
        }
        loop {
            let change = Change { exhumed: ids.clone(), ..Change::send(drafts.clone()) };
            match self.propose_drafts(change).await {
                // It was forgotten, and given to another message since.
                Err(DeskError::KeyTaken(key)) => {
                    let same = drafts.iter_mut().filter(|draft| draft.key.as_ref() == Some(&key));
                    same.for_each(|draft| draft.key = None);
                }
                redriven => return redriven,
            }
        }
    }

    /// [`Runtime::redrive`] for all that are meant and are dead now, a thousand in one commit; says how many it was. Those
    /// whose recipients have left, or that nobody takes any more, stay.
    ///
    /// # Errors
    /// [`DeskError::NoRoom`] and what the store says; what was redriven before stays so.
    pub async fn redrive_by(&self, filter: Filter) -> Result<usize, DeskError> {
        // All of them first: what is redriven may die again, under another id, and is not meant.
        let (mut after, mut meant, roster) = (EnvelopeId(0), Vec::new(), self.roster());
        loop {
            let page = self.read(Box::new(move |store| store.dead_letters(after, REDRIVEN_MAX))).await?;
            let Some(last) = page.last() else { break };
            after = last.delivery.id();
            let letters = page.iter().map(|letter| &letter.delivery.envelope);
            let letters = letters.filter(|letter| filter.matches(letter) && roster.contains(letter.draft.to));
            meant.extend(letters.map(|letter| letter.id));
        }
        let mut redriven = 0;
        for ids in meant.chunks(REDRIVEN_MAX) {
            match self.redrive(ids.to_vec()).await {
                Ok(receipts) => redriven += receipts.len(),
                Err(error) if is_about_one(&error) => redriven += self.redrive_singly(ids).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(redriven)
    }

    async fn redrive_singly(&self, ids: &[EnvelopeId]) -> Result<usize, DeskError> {
        let mut redriven = 0;
        for id in ids {
            match self.redrive(vec![*id]).await {
                Ok(receipts) => redriven += receipts.len(),
                Err(error) if is_about_one(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(redriven)
    }

    /// Forgets dead letters nobody wants, all or none.
    ///
    /// # Errors
    /// [`DeskError::NotBuried`] and [`DeskError`].
    pub async fn forget_dead(&self, ids: Vec<EnvelopeId>) -> Result<(), DeskError> {
        self.propose(Change { exhumed: ids, ..Change::default() }).await.map(drop)
    }

    /// The envelopes of a thread in order, at most `limit` after this id: those that wait, those that were given up, and
    /// those that were dealt with, as long as the history is kept.
    ///
    /// # Errors
    /// [`DeskError`].
    pub async fn thread(
        &self,
        thread: impl Into<String>,
        after: EnvelopeId,
        limit: usize,
    ) -> Result<Vec<ThreadEntry>, DeskError> {
        let thread = thread.into();
        self.read(Box::new(move |store| store.thread(&thread, after, limit))).await
    }

    /// How many drafts of routines were not accepted in this life of the house because they came too soon after another.
    pub fn cooled(&self) -> u64 {
        self.house().directory.cooled()
    }

    /// Waits until nobody has anything to do now, and no inbox holds more than it should: what is scheduled for later, and
    /// what waits for a worker that rests or is held, stays. With a [`ManualClock`](crate::ManualClock) this is the end of a tick.
    ///
    /// # Errors
    /// [`DeskError::Stopped`].
    pub async fn rest(&self) -> Result<(), DeskError> {
        let (rested, answer) = oneshot::channel();
        self.0.supervisor.do_send(AwaitRest(rested));
        answer.await.map_err(|_closed| DeskError::Stopped)
    }

    /// Waits until no mail waits for any routine, scheduled mail included, and nobody performs one.
    ///
    /// # Errors
    /// [`DeskError::Stopped`].
    pub async fn quiesce(&self) -> Result<(), DeskError> {
        let (quiet, answer) = oneshot::channel();
        self.0.supervisor.do_send(Quiesce(quiet));
        answer.await.map_err(|_closed| DeskError::Stopped)
    }

    /// Removes all waiting mail and all routine state, durably, in one commit. The roster stays. Seed 000 `clear_all`.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn clear_all(&self) -> Result<(), SendError> {
        self.change_house(Change { clear: true, ..Change::default() }).await.map(drop)
    }

    /// Closes the house in order: accepts nothing more, lets routines end what they are doing (at most
    /// [`SHUTDOWN_TIME`]), and closes the store. When it returns the file is free for another owner.
    pub async fn shutdown(&self) {
        self.shutdown_within(SHUTDOWN_TIME).await;
    }

    /// [`Runtime::shutdown`] with another deadline. What has not ended by then is performed again after reopening.
    pub async fn shutdown_within(&self, deadline: Duration) {
        let (closed, answer) = oneshot::channel();
        self.0.supervisor.do_send(Shutdown { deadline, closed });
        let _already_closed = answer.await;
        self.0.broadcast.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            drop(thread.stop);
            let _ended = thread.ended.await;
        }
    }

    /// Kills a worker as a mistake of our own would: for simulations of exactly that. It is rebuilt from the store.
    pub fn crash_worker(&self, person: impl Into<PersonId>) {
        self.0.supervisor.do_send(CrashWorker(person.into()));
    }

    /// Whose workers are awake, in order of ids.
    pub fn awake(&self) -> Vec<PersonId> {
        self.house().directory.awake().into_iter().map(|(person, _)| person).collect()
    }

    /// Checks drafts, reserves their places, and hands them to the writer.
    fn hand_over(&self, drafts: Vec<Draft>, answer: Answer) -> Result<(), SendError> {
        let house = self.house();
        if house.directory.is_closed() {
            return Err(SendError::Stopped { drafts });
        }
        let now = house.clock.now();
        if let Some(rejection) = drafts.iter().find_map(|draft| accept(draft, &house.limits, now).err()) {
            return Err(SendError::Rejected { rejection, drafts });
        }
        if !house.directory.depart(&house.limits) {
            return Err(SendError::Overloaded { limit: "changes_in_flight_max", drafts });
        }
        match house.directory.reserve(&drafts, &house.registry, &house.limits, false) {
            Ok(()) => {
                house.persistence.do_send(Commit { change: Change::send(drafts), answer });
                Ok(())
            }
            Err(no_place) => {
                house.directory.arrive();
                self.without_place(no_place, drafts, answer)
            }
        }
    }

    /// What becomes of drafts for which there is no place: the recipient's policy says so.
    fn without_place(&self, no_place: NoPlace, drafts: Vec<Draft>, answer: Answer) -> Result<(), SendError> {
        let house = self.house();
        let (draft, limit, overflow) = match no_place {
            NoPlace::Rejected(rejection) => return Err(SendError::Rejected { rejection, drafts }),
            NoPlace::Full { draft, limit, overflow } => (draft, limit, overflow),
        };
        let person = drafts[draft].to;
        let count = drafts.iter().filter(|draft| draft.to == person).count();
        if !house.directory.is_awake(person) {
            // What has expired there holds room until somebody looks.
            self.0.supervisor.do_send(Start(person));
        }
        match overflow {
            Overflow::DropNewest => {
                house.directory.count_dropped(person, count);
                return Err(SendError::Dropped { person, drafts });
            }
            Overflow::Wait | Overflow::WaitFor(_) => {
                if house.directory.park(person, &house.limits) {
                    self.0.supervisor.do_send(Park { person, limit, overflow, drafts, answer });
                    return Ok(());
                }
                house.directory.count_refused(person, count);
                return Err(SendError::Overloaded { limit: "changes_parked_max", drafts });
            }
            Overflow::Reject | Overflow::DropOldest => house.directory.count_refused(person, count),
        }
        Err(SendError::Overloaded { limit, drafts })
    }

    /// Hands a change that also sends drafts to the writer, once there is a place for each.
    async fn propose_drafts(&self, change: Change) -> Result<Vec<Receipt>, DeskError> {
        let house = self.house();
        house.directory.reserve(&change.drafts, &house.registry, &house.limits, false).map_err(|no_place| {
            match no_place {
                NoPlace::Rejected(Rejection::UnknownPerson(person)) => DeskError::UnknownPerson(person),
                NoPlace::Rejected(rejection) => DeskError::Rejected(rejection),
                NoPlace::Full { limit, .. } => DeskError::NoRoom(limit),
            }
        })?;
        if house.directory.is_closed() {
            house.directory.release_drafts(&change.drafts);
            return Err(DeskError::Stopped);
        }
        let committed = self.propose(change).await?;
        Ok(committed.envelopes.iter().map(|envelope| Receipt { id: envelope.id, known: false }).collect())
    }

    async fn change_house(&self, change: Change) -> Result<Arc<Committed>, SendError> {
        self.propose(change).await.map_err(|error| match error {
            DeskError::Store(error) => SendError::Store { error, drafts: vec![] },
            DeskError::UnknownPerson(person) => {
                SendError::Rejected { rejection: Rejection::UnknownPerson(person), drafts: vec![] }
            }
            _ => SendError::Stopped { drafts: vec![] },
        })
    }

    /// Hands a change of the house itself to the writer; answered once the supervisor has acted on it.
    async fn propose(&self, change: Change) -> Result<Arc<Committed>, DeskError> {
        if self.house().directory.is_closed() {
            return Err(DeskError::Stopped);
        }
        let (answer, answered) = oneshot::channel();
        self.house().directory.count_departure();
        self.house().persistence.do_send(Commit { change, answer: Answer::House(answer) });
        let verdict = answered.await.map_err(|_closed| DeskError::Stopped)?;
        verdict.map_err(CommitFailure::into_desk_error)
    }

    async fn read<R: Send + 'static>(&self, reading: Reading<R>) -> Result<R, DeskError> {
        let read = self.house().persistence.send(Read(reading)).await.map_err(|_closed| DeskError::Stopped)?;
        read.map_err(|error| match error {
            StoreError::Closed(_) if self.house().directory.is_closed() => DeskError::Stopped,
            error => DeskError::Store(error),
        })
    }

    async fn wake(&self, person: PersonId) -> Result<Addr<Worker>, DeskError> {
        if !self.house().directory.is_active(person) {
            return Err(DeskError::UnknownPerson(person));
        }
        let worker = self.0.supervisor.send(Start(person)).await.map_err(|_closed| DeskError::Stopped)?;
        worker.ok_or(if self.house().directory.is_closed() {
            DeskError::Stopped
        } else {
            DeskError::UnknownPerson(person)
        })
    }

    async fn manual_worker(&self, person: PersonId) -> Result<Addr<Worker>, DeskError> {
        if self.house().directory.is_manual(person) == Some(false) {
            return Err(DeskError::NotManual(person));
        }
        self.wake(person).await
    }
}

/// Whether one letter of several is at fault, and not the house.
fn is_about_one(error: &DeskError) -> bool {
    matches!(error, DeskError::NotBuried(_) | DeskError::UnknownPerson(_) | DeskError::Rejected(_))
}

async fn receipts(answer: oneshot::Receiver<SendAnswer>) -> Result<Vec<Receipt>, SendError> {
    match answer.await {
        Ok(Ok(receipts)) => Ok(receipts),
        Ok(Err(error)) => Err(error),
        Err(_closed) => Err(SendError::Stopped { drafts: vec![] }),
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("routines", &self.house().registry).finish()
    }
}
