//! The directory owns what a sender must know before it writes: who is active, how full their inbox is, and, for
//! the workers awake, where they sit. It is shared by all handles and actors.
//!
//! It is a gate, not a truth: the store checks the roster again in the transaction. A place in an inbox is *reserved*
//! here before the change is proposed, so that the bound holds however many senders there are, and *released* when the
//! envelope has left the inbox, or was never accepted.

use crate::parcel::DeliverVolatile;
use crate::status::{InboxReport, Status, Tenure, WorkerHandle};
use crate::worker::Worker;
use actix::{Addr, Handler, Message};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use worksite_model::{
    Draft, IdMap, InboxPolicy, Limits, Overflow, Person, PersonId, Priority, Registry, Rejection, Roster,
    RosterDifference, law,
};

/// How many policies are known by heart.
const POLICIES_KNOWN_MAX: usize = 64;

/// A worker's seat: present for everybody who is active, or has mail waiting for a return.
struct Desk {
    /// Whether the person is on the roster.
    active: bool,
    /// Whether the application takes the mail by hand.
    manual: bool,
    /// Whether only control mail is taken.
    paused: bool,
    /// Whether the person is leaving, and takes nothing more.
    leaving: bool,
    /// Which worker sits here: told apart from its predecessors, whose last words may still be on their way.
    generation: u32,
    /// Where the worker is, while it is awake.
    address: Option<Addr<Worker>>,
    /// How the inbox takes mail.
    policy: Arc<InboxPolicy>,
    /// Envelopes accepted, or about to be, that have not left the inbox.
    waiting: AtomicUsize,
    /// Bytes of their bodies.
    bytes: AtomicUsize,
    /// How many of them nobody takes now, as the worker has said last.
    sleeping: AtomicUsize,
    /// Whether its worker has nothing to drop although the inbox holds more than it should.
    stuck: AtomicBool,
    /// Changes whose senders wait for room.
    parked: AtomicUsize,
    /// When it last had something to do, in sweeps.
    used: AtomicU64,
    /// How the worker stands; made when somebody first looks, or it has something to say.
    tenure: OnceLock<Arc<Tenure>>,
}

impl Desk {
    fn new(policy: Arc<InboxPolicy>) -> Self {
        Self {
            active: false,
            manual: false,
            paused: false,
            leaving: false,
            generation: 0,
            address: None,
            policy,
            waiting: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            sleeping: AtomicUsize::new(0),
            stuck: AtomicBool::new(false),
            parked: AtomicUsize::new(0),
            used: AtomicU64::new(0),
            tenure: OnceLock::new(),
        }
    }

    fn tenure(&self) -> &Arc<Tenure> {
        self.tenure.get_or_init(|| Arc::new(Tenure::new(self.paused)))
    }

    /// Whether it has more than it should hold, so that something old has to go.
    fn is_over(&self) -> bool {
        let (waiting, bytes) = (self.waiting.load(Ordering::Acquire), self.bytes.load(Ordering::Acquire));
        self.policy.overflow == Overflow::DropOldest
            && (waiting > self.policy.envelopes_max || (waiting > 1 && bytes > self.policy.bytes_max))
    }
}

/// Why a place in an inbox could not be reserved.
#[derive(Debug, Clone)]
pub(crate) enum NoPlace {
    Rejected(Rejection),
    /// This draft's recipient, or the site, has no room.
    Full {
        draft: usize,
        limit: &'static str,
        overflow: Overflow,
    },
}

/// What a worker is told of its desk when it sits down.
pub(crate) struct Seat {
    pub(crate) generation: u32,
    pub(crate) manual: bool,
    pub(crate) paused: bool,
    pub(crate) policy: Arc<InboxPolicy>,
    pub(crate) tenure: Arc<Tenure>,
}

/// How a person's desk is set up: decided by the application when they join.
pub(crate) struct Setting {
    pub(crate) manual: Box<dyn Fn(&Person) -> bool + Send + Sync>,
    pub(crate) policy: Box<dyn Fn(&Person) -> InboxPolicy + Send + Sync>,
    /// What holds where the application's own words panic.
    pub(crate) usual: InboxPolicy,
}

impl Setting {
    /// Asks the application, inside a fence: its mistake must not end the house.
    fn of(&self, person: &Person) -> (bool, InboxPolicy) {
        let asked = catch_unwind(AssertUnwindSafe(|| ((self.manual)(person), (self.policy)(person))));
        asked.unwrap_or_else(|_panic| {
            tracing::error!(person = person.id.0, "deciding how this person takes mail panicked; the usual holds");
            (false, self.usual)
        })
    }
}

/// Who is active, how full their inbox is, and where their worker sits.
pub(crate) struct Directory {
    setting: Setting,
    /// The policies in use; most people share one.
    policies: RwLock<Vec<Arc<InboxPolicy>>>,
    desks: RwLock<IdMap<PersonId, Desk>>,
    roster: RwLock<Roster>,
    /// Envelopes waiting for active people whose workers have routines: none left means the house is quiet.
    due: AtomicUsize,
    /// How many of those nobody takes now: scheduled, or their worker rests or is held.
    sleeping: AtomicUsize,
    /// Envelopes waiting for anybody, and bytes of their bodies.
    site_waiting: AtomicUsize,
    site_bytes: AtomicUsize,
    /// Changes whose senders wait for room.
    parked: AtomicUsize,
    /// Whether somebody waits for the house to rest.
    watched: AtomicBool,
    /// Drafts of routines that came too soon after another.
    cooled: AtomicU64,
    /// How many workers have ever sat down.
    generations: AtomicU32,
    /// Workers that sit at their desks.
    seated: AtomicUsize,
    /// Changes from outside that the writer has not answered.
    in_flight: AtomicUsize,
    closed: AtomicBool,
    /// Volatile drafts that were lost: nobody home, too many waiting, or their routine failed.
    volatile_lost: AtomicU64,
    /// Counts sweeps for idle workers.
    sweeps: AtomicU64,
}

impl Directory {
    pub(crate) fn new(setting: Setting) -> Self {
        Self {
            setting,
            policies: RwLock::default(),
            desks: RwLock::default(),
            roster: RwLock::default(),
            due: AtomicUsize::new(0),
            sleeping: AtomicUsize::new(0),
            site_waiting: AtomicUsize::new(0),
            site_bytes: AtomicUsize::new(0),
            parked: AtomicUsize::new(0),
            watched: AtomicBool::new(false),
            cooled: AtomicU64::new(0),
            generations: AtomicU32::new(0),
            seated: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            volatile_lost: AtomicU64::new(0),
            sweeps: AtomicU64::new(0),
        }
    }

    /// Takes up a person: new, returned or renamed.
    fn join(&self, person: &Person) {
        let (manual, policy) = self.setting.of(person);
        let policy = self.policy(policy);
        let mut desks = self.write();
        if desks.get(&person.id).is_some_and(|desk| desk.active) {
            // Who takes the mail, and how, is settled on joining: a new name changes nothing under a worker awake.
            return;
        }
        let desk = desks.entry(person.id).or_insert_with(|| Desk::new(policy.clone()));
        (desk.active, desk.manual, desk.policy) = (true, manual, policy);
        if !manual {
            self.due.fetch_add(desk.waiting.load(Ordering::Acquire), Ordering::AcqRel);
        }
    }

    fn policy(&self, policy: InboxPolicy) -> Arc<InboxPolicy> {
        let mut policies = self.policies.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = policies.iter().find(|known| ***known == policy) {
            return known.clone();
        }
        let policy = Arc::new(policy);
        // Whoever gives everybody a policy of their own pays for it, but not by a search that grows.
        if policies.len() < POLICIES_KNOWN_MAX {
            policies.push(policy.clone());
        }
        policy
    }

    /// Lets a person go; the mail that waits for a return stays counted. An awake worker was told before.
    fn leave(&self, person: PersonId) {
        let mut desks = self.write();
        let Some(desk) = desks.get_mut(&person) else { return };
        if desk.active && !desk.manual {
            self.due.fetch_sub(desk.waiting.load(Ordering::Acquire), Ordering::AcqRel);
        }
        (desk.active, desk.leaving, desk.paused) = (false, false, false);
        self.stand_up(desk);
        if let Some(tenure) = desk.tenure.take() {
            tenure.set(Status::Terminated);
        }
        if desk.waiting.load(Ordering::Acquire) == 0 && desk.parked.load(Ordering::Acquire) == 0 {
            desks.remove(&person);
        }
    }

    /// Makes a committed roster difference true here. Those who leave cannot be told anything afterwards.
    pub(crate) fn apply(&self, difference: &RosterDifference) {
        self.roster.write().unwrap_or_else(PoisonError::into_inner).apply(difference);
        for person in &difference.joined {
            self.join(person);
        }
        for person in &difference.left {
            self.leave(*person);
        }
    }

    /// The people and waiting mail that the store had at the start.
    pub(crate) fn open(&self, roster: Roster, waiting: &[worksite_model::Waiting], paused: &[PersonId]) {
        // Who is away accepts nothing; on the return, the application says how.
        let away = Arc::new(InboxPolicy::of(&Limits::default()));
        for entry in waiting {
            let mut desk = Desk::new(away.clone());
            (desk.waiting, desk.bytes) = (AtomicUsize::new(entry.envelopes), AtomicUsize::new(entry.bytes));
            self.write().insert(entry.person, desk);
            self.site_waiting.fetch_add(entry.envelopes, Ordering::AcqRel);
            self.site_bytes.fetch_add(entry.bytes, Ordering::AcqRel);
        }
        for person in roster.people() {
            self.join(person);
        }
        for person in paused {
            self.rest(*person, true);
        }
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = roster;
    }

    /// Lets a person's worker rest, or go on.
    pub(crate) fn rest(&self, person: PersonId, paused: bool) {
        if let Some(desk) = self.write().get_mut(&person).filter(|desk| desk.active) {
            desk.paused = paused;
            if let Some(tenure) = desk.tenure.get() {
                tenure.rest(paused);
            }
        }
    }

    /// Closes the gate for somebody who is to leave: false when they are not active, or leaving already.
    pub(crate) fn begin_leaving(&self, person: PersonId) -> bool {
        let mut desks = self.write();
        let Some(desk) = desks.get_mut(&person).filter(|desk| desk.active && !desk.leaving) else { return false };
        desk.leaving = true;
        true
    }

    /// Opens the gate again for somebody who was to leave and could not.
    pub(crate) fn stay(&self, person: PersonId) {
        if let Some(desk) = self.write().get_mut(&person) {
            desk.leaving = false;
        }
    }

    /// A handle on the person's worker; nothing when they are not active.
    pub(crate) fn handle(&self, person: PersonId) -> Option<WorkerHandle> {
        let desks = self.read();
        let desk = desks.get(&person).filter(|desk| desk.active)?;
        Some(WorkerHandle::new(person, desk.tenure().clone()))
    }

    /// How much the person's inbox holds, and what it has turned away; nothing when they are not active.
    pub(crate) fn report(&self, person: PersonId) -> Option<InboxReport> {
        let desks = self.read();
        let desk = desks.get(&person).filter(|desk| desk.active)?;
        let tenure = desk.tenure.get();
        Some(InboxReport {
            waiting: desk.waiting.load(Ordering::Acquire),
            bytes: desk.bytes.load(Ordering::Acquire),
            parked: desk.parked.load(Ordering::Acquire),
            refused: tenure.map_or(0, |tenure| tenure.refused()),
            dropped: tenure.map_or(0, |tenure| tenure.dropped()),
        })
    }

    pub(crate) fn roster(&self) -> Roster {
        self.roster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reserves a place in each recipient's inbox, in all or in none. Who has waited in line may go before those that
    /// still do.
    pub(crate) fn reserve(
        &self,
        drafts: &[Draft],
        registry: &Registry,
        limits: &Limits,
        has_waited: bool,
    ) -> Result<(), NoPlace> {
        let (desks, mut due) = (self.read(), 0);
        for (place, draft) in drafts.iter().enumerate() {
            let refused = match addressable(&desks, draft, registry) {
                Err(rejection) => NoPlace::Rejected(rejection),
                Ok((desk, routine)) => match self.reserve_one(desk, draft, limits, has_waited) {
                    Ok(()) => {
                        due += usize::from(routine.is_some());
                        continue;
                    }
                    Err(limit) => match never_fits(desk, drafts, draft.to) {
                        Some(limit) => NoPlace::Rejected(Rejection::NeverFits { to: draft.to, limit }),
                        None => NoPlace::Full { draft: place, limit, overflow: desk.policy.overflow },
                    },
                },
            };
            for draft in &drafts[..place] {
                if let Some(desk) = desks.get(&draft.to) {
                    self.free(desk, draft.to, draft.payload.len());
                }
            }
            return Err(refused);
        }
        // Only now: a house that is quiet stays so while drafts are refused.
        self.due.fetch_add(due, Ordering::AcqRel);
        Ok(())
    }

    fn reserve_one(&self, desk: &Desk, draft: &Draft, limits: &Limits, has_waited: bool) -> Result<(), &'static str> {
        let bytes = draft.payload.len();
        let waiting = desk.waiting.fetch_add(1, Ordering::AcqRel);
        let inbox_bytes = desk.bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        let site = self.site_waiting.fetch_add(1, Ordering::AcqRel);
        let site_bytes = self.site_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes;
        // What drops its oldest mail is over its bound until that is durable, but not without bound.
        let slack = if desk.policy.overflow == Overflow::DropOldest { limits.changes_in_flight_max } else { 0 };
        let bytes_slack = if slack > 0 { desk.policy.bytes_max } else { 0 };
        let full = if draft.priority == Priority::Control {
            None
        } else if waiting >= desk.policy.envelopes_max.saturating_add(slack) {
            Some("inbox_envelopes_max")
        } else if waiting > 0 && inbox_bytes > desk.policy.bytes_max.saturating_add(bytes_slack) {
            Some("inbox_bytes_max")
        } else if site >= limits.site_envelopes_max {
            Some("site_envelopes_max")
        } else if site > 0 && site_bytes > limits.site_bytes_max {
            Some("site_bytes_max")
        } else if !has_waited && desk.parked.load(Ordering::Acquire) > 0 {
            Some("inbox_envelopes_max")
        } else {
            None
        };
        match full {
            None => Ok(()),
            Some(limit) => {
                self.free(desk, draft.to, bytes);
                Err(limit)
            }
        }
    }

    /// Gives reserved places back, with the bytes they held.
    pub(crate) fn release(&self, places: impl IntoIterator<Item = (PersonId, usize)>) {
        let desks = self.read();
        for (person, bytes) in places {
            if let Some(desk) = desks.get(&person) {
                self.give_back(desk, person, bytes);
            }
        }
    }

    /// Gives back the places of drafts that were not accepted.
    pub(crate) fn release_drafts<'a>(&self, drafts: impl IntoIterator<Item = &'a Draft>) {
        self.release(drafts.into_iter().map(|draft| (draft.to, draft.payload.len())));
    }

    fn give_back(&self, desk: &Desk, person: PersonId, bytes: usize) {
        self.free(desk, person, bytes);
        if desk.active && !desk.manual {
            self.due.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Frees a place that was not counted as due.
    fn free(&self, desk: &Desk, person: PersonId, bytes: usize) {
        let less = |by: usize| move |count: usize| count.checked_sub(by);
        let one_less = desk.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, less(1));
        law!(one_less.is_ok(), "conservation", "person {person} gave back a place in the inbox that was not taken");
        let fewer = desk.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, less(bytes));
        law!(fewer.is_ok(), "conservation", "person {person} gave back bytes of the inbox that were not taken");
        self.site_waiting.fetch_sub(1, Ordering::AcqRel);
        self.site_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Puts a change in line for this recipient; false when too many are in lines already.
    pub(crate) fn park(&self, person: PersonId, limits: &Limits) -> bool {
        if self.parked.fetch_add(1, Ordering::AcqRel) >= limits.changes_parked_max {
            self.parked.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        if let Some(desk) = self.read().get(&person) {
            desk.parked.fetch_add(1, Ordering::AcqRel);
        }
        true
    }

    /// Takes a change out of the line for this recipient.
    pub(crate) fn unpark(&self, person: PersonId) {
        self.parked.fetch_sub(1, Ordering::AcqRel);
        if let Some(desk) = self.read().get(&person) {
            let less = |parked: usize| parked.checked_sub(1);
            let _kept = desk.parked.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        }
    }

    /// Counts drafts that were refused for want of room.
    pub(crate) fn count_refused(&self, person: PersonId, drafts: usize) {
        if let Some(desk) = self.read().get(&person).filter(|desk| desk.active) {
            desk.tenure().refuse(drafts as u64);
        }
    }

    /// Counts drafts or envelopes that were dropped for want of room.
    pub(crate) fn count_dropped(&self, person: PersonId, envelopes: usize) {
        if let Some(desk) = self.read().get(&person).filter(|desk| desk.active) {
            desk.tenure().drop_mail(envelopes as u64);
        }
    }

    /// Envelopes that wait, changes whose senders wait, workers awake.
    pub(crate) fn gauges(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicUsize| count.load(Ordering::Acquire) as u64;
        (read(&self.site_waiting), read(&self.parked), read(&self.seated))
    }

    pub(crate) fn count_cooled(&self, drafts: usize) {
        self.cooled.fetch_add(drafts as u64, Ordering::Relaxed);
    }

    pub(crate) fn cooled(&self) -> u64 {
        self.cooled.load(Ordering::Relaxed)
    }

    /// Notes how much of a person's mail nobody takes now; whether somebody waits to hear that.
    pub(crate) fn report_sleeping(&self, person: PersonId, generation: u32, sleeping: usize) -> bool {
        let desks = self.read();
        let Some(desk) = desks.get(&person).filter(|desk| desk.generation == generation && desk.address.is_some())
        else {
            return false;
        };
        let before = desk.sleeping.swap(sleeping, Ordering::AcqRel);
        self.sleeping.fetch_add(sleeping, Ordering::AcqRel);
        self.sleeping.fetch_sub(before, Ordering::AcqRel);
        before != sleeping && self.watched.load(Ordering::Acquire)
    }

    /// The workers that hold mail which nobody took when they last looked. They are taken at nobody's word any more:
    /// time has passed.
    pub(crate) fn rouse(&self) -> Vec<Addr<Worker>> {
        let desks = self.read();
        let asleep = desks.iter().filter(|(_, desk)| desk.sleeping.load(Ordering::Acquire) > 0);
        let mut asleep: Vec<_> =
            asleep.filter_map(|(person, desk)| Some((*person, desk, desk.address.clone()?))).collect();
        asleep.sort_by_key(|(person, _, _)| *person);
        let roused = asleep.into_iter().map(|(_, desk, address)| {
            self.rouse_desk(desk);
            address
        });
        roused.collect()
    }

    /// What this person's worker has said of its sleeping mail holds no more; it is to look again.
    pub(crate) fn rouse_one(&self, person: PersonId) {
        if let Some(desk) = self.read().get(&person) {
            self.rouse_desk(desk);
        }
    }

    fn rouse_desk(&self, desk: &Desk) {
        self.sleeping.fetch_sub(desk.sleeping.swap(0, Ordering::AcqRel), Ordering::AcqRel);
    }

    /// Notes whether a worker has anything to drop, though its inbox holds more than it should.
    pub(crate) fn report_stuck(&self, person: PersonId, generation: u32, stuck: bool) -> bool {
        let desks = self.read();
        let Some(desk) = desks.get(&person).filter(|desk| desk.generation == generation) else { return false };
        desk.stuck.swap(stuck, Ordering::AcqRel) != stuck && self.watched.load(Ordering::Acquire)
    }

    /// Notes how a person's worker stands.
    pub(crate) fn set_status(&self, person: PersonId, status: Status) {
        if let Some(desk) = self.read().get(&person).filter(|desk| desk.active) {
            desk.tenure().set(status);
        }
    }

    /// Whether the person's worker is awake.
    pub(crate) fn is_awake(&self, person: PersonId) -> bool {
        self.read().get(&person).is_some_and(|desk| desk.address.is_some())
    }

    pub(crate) fn watch(&self, watched: bool) {
        self.watched.store(watched, Ordering::Release);
    }

    /// Whether no active person's routine has anything to do now, and no inbox holds more than it should.
    pub(crate) fn is_resting(&self) -> bool {
        self.due.load(Ordering::Acquire) <= self.sleeping.load(Ordering::Acquire) && self.overfull().is_empty()
    }

    /// Active people whose inboxes hold more than they should, until their workers have dropped something.
    pub(crate) fn overfull(&self) -> Vec<PersonId> {
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        // Nobody looks at every desk where no inbox ever drops anything.
        if policies.len() < POLICIES_KNOWN_MAX && policies.iter().all(|policy| policy.overflow != Overflow::DropOldest)
        {
            return Vec::new();
        }
        let desks = self.read();
        let overfull =
            desks.iter().filter(|(_, desk)| desk.active && desk.is_over() && !desk.stuck.load(Ordering::Acquire));
        let mut people: Vec<_> = overfull.map(|(person, _)| *person).collect();
        people.sort_unstable();
        people
    }

    /// Whether this person's worker has nothing to do now; a manual one never has.
    pub(crate) fn has_rest(&self, person: PersonId) -> bool {
        let desks = self.read();
        desks.get(&person).is_none_or(|desk| {
            desk.manual || desk.waiting.load(Ordering::Acquire) <= desk.sleeping.load(Ordering::Acquire)
        })
    }

    /// Whether the person's inbox holds more than it should, so that its worker has to drop something.
    pub(crate) fn is_over(&self, person: PersonId) -> bool {
        self.read().get(&person).is_some_and(|desk| desk.active && desk.is_over())
    }

    /// Hands a volatile draft to its recipient's worker; gives it back when the worker sleeps, or with the reason why it
    /// can never be delivered.
    pub(crate) fn deliver_volatile(
        &self,
        draft: Draft,
        registry: &Registry,
    ) -> Result<Option<DeliverVolatile>, Box<(Rejection, Draft)>> {
        let desks = self.read();
        let (desk, routine) = match volatile_desk(&desks, &draft, registry) {
            Ok(found) => found,
            Err(rejection) => return Err(Box::new((rejection, draft))),
        };
        desk.used.store(self.sweeps.load(Ordering::Relaxed), Ordering::Relaxed);
        let delivery = DeliverVolatile::new(draft, routine);
        match &desk.address {
            Some(worker) => worker.do_send(delivery),
            None => return Ok(Some(delivery)),
        }
        Ok(None)
    }

    /// Tells the worker awake for this person, which has something to do now; false when there is none. Under the lock,
    /// because to clone an address costs two allocations.
    pub(crate) fn tell<M>(&self, person: PersonId, message: impl FnOnce() -> M) -> bool
    where
        M: Message<Result = ()> + Send + 'static,
        Worker: Handler<M>,
    {
        let desks = self.read();
        let Some(desk) = desks.get(&person) else { return false };
        desk.used.store(self.sweeps.load(Ordering::Relaxed), Ordering::Relaxed);
        desk.address.as_ref().is_some_and(|worker| {
            worker.do_send(message());
            true
        })
    }

    /// Tells the worker of this generation, if it is still the one that sits there.
    pub(crate) fn tell_generation<M>(&self, person: PersonId, generation: u32, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Worker: Handler<M>,
    {
        let desks = self.read();
        let desk = desks.get(&person).filter(|desk| desk.generation == generation);
        if let Some(worker) = desk.and_then(|desk| desk.address.as_ref()) {
            worker.do_send(message);
        }
    }

    /// Seats a worker, unless one sits there or the person is not active.
    pub(crate) fn seat(&self, person: PersonId, make: impl FnOnce(Seat) -> Addr<Worker>) -> Option<Addr<Worker>> {
        let mut desks = self.write();
        let desk = desks.get_mut(&person).filter(|desk| desk.active)?;
        if desk.address.is_none() {
            // Of the whole house, so that somebody who left and returned is not taken for their predecessor.
            desk.generation = self.generations.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            desk.address = Some(make(Seat {
                generation: desk.generation,
                manual: desk.manual,
                paused: desk.paused,
                policy: desk.policy.clone(),
                tenure: desk.tenure().clone(),
            }));
            self.seated.fetch_add(1, Ordering::AcqRel);
            desk.used.store(self.sweeps.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        desk.address.clone()
    }

    /// Clears the seat of a worker that has gone; false when another sits there already.
    pub(crate) fn unseat(&self, person: PersonId, generation: u32) -> bool {
        let mut desks = self.write();
        let Some(desk) = desks.get_mut(&person).filter(|desk| desk.generation == generation) else { return false };
        self.stand_up(desk);
        true
    }

    fn stand_up(&self, desk: &mut Desk) -> Option<Addr<Worker>> {
        let address = desk.address.take()?;
        self.seated.fetch_sub(1, Ordering::AcqRel);
        self.rouse_desk(desk);
        desk.stuck.store(false, Ordering::Release);
        if let Some(tenure) = desk.tenure.get() {
            tenure.set(Status::Idle);
        }
        Some(address)
    }

    /// Whether any worker is awake.
    pub(crate) fn is_anybody_awake(&self) -> bool {
        self.seated.load(Ordering::Acquire) > 0
    }

    /// Clears all seats and all counts: everything that waited was removed.
    pub(crate) fn clear_seats(&self) -> Vec<Addr<Worker>> {
        self.write().values_mut().filter_map(|desk| self.stand_up(desk)).collect()
    }

    /// Whether the person is active, takes mail by routines, and has some.
    pub(crate) fn has_work(&self, person: PersonId) -> bool {
        let desks = self.read();
        desks.get(&person).is_some_and(|desk| desk.active && !desk.manual && desk.waiting.load(Ordering::Acquire) > 0)
    }

    pub(crate) fn is_active(&self, person: PersonId) -> bool {
        self.read().get(&person).is_some_and(|desk| desk.active)
    }

    pub(crate) fn is_manual(&self, person: PersonId) -> Option<bool> {
        self.read().get(&person).filter(|desk| desk.active).map(|desk| desk.manual)
    }

    pub(crate) fn waiting(&self, person: PersonId) -> usize {
        self.read().get(&person).map_or(0, |desk| desk.waiting.load(Ordering::Acquire))
    }

    /// Whether no active person's routine has anything to do.
    pub(crate) fn is_quiet(&self) -> bool {
        self.due.load(Ordering::Acquire) == 0
    }

    /// Everybody whose worker is awake, in order of ids.
    pub(crate) fn awake(&self) -> Vec<(PersonId, Addr<Worker>)> {
        let desks = self.read();
        let mut awake: Vec<_> =
            desks.iter().filter_map(|(person, desk)| Some((*person, desk.address.clone()?))).collect();
        awake.sort_by_key(|(person, _)| *person);
        awake
    }

    /// Begins a new sweep, and gives the workers that had nothing to do since before the last one.
    pub(crate) fn sweep(&self) -> Vec<Addr<Worker>> {
        let sweep = self.sweeps.fetch_add(1, Ordering::Relaxed) + 1;
        let desks = self.read();
        let idle = desks.iter().filter(|(_, desk)| desk.used.load(Ordering::Relaxed) + 2 <= sweep);
        let mut idle: Vec<_> = idle.filter_map(|(person, desk)| Some((*person, desk.address.clone()?))).collect();
        idle.sort_by_key(|(person, _)| *person);
        idle.into_iter().map(|(_, address)| address).collect()
    }

    /// Counts a change on its way to the writer; false when too many are.
    pub(crate) fn depart(&self, limits: &Limits) -> bool {
        if self.in_flight.fetch_add(1, Ordering::AcqRel) >= limits.changes_in_flight_max {
            self.arrive();
            return false;
        }
        true
    }

    /// Counts a change of the house itself on its way to the writer: there are few, and none is refused.
    pub(crate) fn count_departure(&self) {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a change from outside that the writer has answered.
    pub(crate) fn arrive(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn lose_volatile(&self, drafts: usize) {
        self.volatile_lost.fetch_add(drafts as u64, Ordering::Relaxed);
    }

    pub(crate) fn volatile_lost(&self) -> u64 {
        self.volatile_lost.load(Ordering::Relaxed)
    }

    // A panic elsewhere leaves the maps whole: every write to them is a single operation.
    fn read(&self) -> RwLockReadGuard<'_, IdMap<PersonId, Desk>> {
        self.desks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, IdMap<PersonId, Desk>> {
        self.desks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limit of this recipient's inbox that the change's drafts for them exceed by themselves, if they do.
fn never_fits(desk: &Desk, drafts: &[Draft], to: PersonId) -> Option<&'static str> {
    let bounded = drafts.iter().filter(|draft| draft.to == to && draft.priority != Priority::Control);
    let (envelopes, bytes) =
        bounded.fold((0_usize, 0_usize), |(count, bytes), draft| (count + 1, bytes + draft.payload.len()));
    if envelopes > desk.policy.envelopes_max {
        return Some("inbox_envelopes_max");
    }
    (envelopes > 1 && bytes > desk.policy.bytes_max).then_some("inbox_bytes_max")
}

/// The desk a volatile draft is for, and the place of the routine that performs it, if somebody there does.
fn volatile_desk<'a>(
    desks: &'a IdMap<PersonId, Desk>,
    draft: &Draft,
    registry: &Registry,
) -> Result<(&'a Desk, usize), Rejection> {
    let (desk, routine) = addressable(desks, draft, registry)?;
    let Some(place) = routine else {
        return Err(Rejection::Refused("a manual worker takes no volatile drafts".into()));
    };
    if registry.get(place).is_some_and(|routine| routine.is_async()) {
        return Err(Rejection::Refused("an asynchronous routine takes durable drafts only".into()));
    }
    Ok((desk, place))
}

/// The desk a draft is for, and the place of the routine that takes it, none when the application does; if the person is
/// active and somebody takes it.
fn addressable<'a>(
    desks: &'a IdMap<PersonId, Desk>,
    draft: &Draft,
    registry: &Registry,
) -> Result<(&'a Desk, Option<usize>), Rejection> {
    let desk = desks.get(&draft.to).filter(|desk| desk.active && !desk.leaving);
    let desk = desk.ok_or(Rejection::UnknownPerson(draft.to))?;
    if desk.manual {
        return Ok((desk, None));
    }
    let place = registry.find(draft).ok_or_else(|| Rejection::NoRoutine {
        type_name: draft.payload.type_name.to_string(),
        routine: draft.routine.as_ref().map(ToString::to_string),
    })?;
    Ok((desk, Some(place)))
}
