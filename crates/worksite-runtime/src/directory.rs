//! The directory owns what a sender must know before it writes: who is active, how full their inbox is, and, for
//! the workers awake, where they sit. It is shared by all handles and actors.
//!
//! It is a gate, not a truth: the store checks the roster again in the transaction. A place in an inbox is *reserved*
//! here before the change is proposed, so that the bound holds however many senders there are, and *released* when the
//! envelope has left the inbox, or was never accepted.

use crate::worker::Worker;
use actix::Addr;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use worksite_model::{Draft, Limits, Person, PersonId, Registry, Rejection, Roster, RosterDifference, law};

/// A worker's seat: present for everybody who is active, or has mail waiting for a return.
#[derive(Default)]
struct Desk {
    /// Whether the person is on the roster.
    active: bool,
    /// Whether the application takes the mail by hand.
    manual: bool,
    /// Which worker sits here: told apart from its predecessors, whose last words may still be on their way.
    generation: u32,
    /// Where the worker is, while it is awake.
    address: Option<Addr<Worker>>,
    /// Envelopes accepted, or about to be, that have not left the inbox.
    waiting: AtomicUsize,
    /// When it last had something to do, in sweeps.
    used: AtomicU64,
}

/// Why a place in an inbox could not be reserved.
#[derive(Debug, Clone)]
pub(crate) enum NoPlace {
    Rejected(Rejection),
    Full(&'static str),
}

/// Who is active, how full their inbox is, and where their worker sits.
#[derive(Default)]
pub(crate) struct Directory {
    desks: RwLock<HashMap<PersonId, Desk>>,
    roster: RwLock<Roster>,
    /// Envelopes waiting for active people whose workers have routines: none left means the house is quiet.
    due: AtomicUsize,
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
    /// Takes up a person: new, returned or renamed.
    pub(crate) fn join(&self, person: &Person, manual: bool) {
        let mut desks = self.write();
        let desk = desks.entry(person.id).or_default();
        // Who takes the mail is settled on joining: a new name does not change it under a worker that is awake.
        if desk.active {
            return;
        }
        if !manual {
            self.due.fetch_add(desk.waiting.load(Ordering::Acquire), Ordering::AcqRel);
        }
        (desk.active, desk.manual) = (true, manual);
    }

    /// Lets a person go; the mail that waits for a return stays counted. Gives the worker's address, if it is awake.
    fn leave(&self, person: PersonId) -> Option<Addr<Worker>> {
        let mut desks = self.write();
        let desk = desks.get_mut(&person)?;
        if desk.active && !desk.manual {
            self.due.fetch_sub(desk.waiting.load(Ordering::Acquire), Ordering::AcqRel);
        }
        desk.active = false;
        let address = self.stand_up(desk);
        if desk.waiting.load(Ordering::Acquire) == 0 {
            desks.remove(&person);
        }
        address
    }

    /// Makes a committed roster difference true here; gives the addresses of the workers that have to go.
    pub(crate) fn apply(&self, difference: &RosterDifference, manual: &dyn Fn(&Person) -> bool) -> Vec<Addr<Worker>> {
        self.roster.write().unwrap_or_else(PoisonError::into_inner).apply(difference);
        for person in difference.joined.iter().chain(&difference.changed) {
            self.join(person, manual(person));
        }
        difference.left.iter().filter_map(|person| self.leave(*person)).collect()
    }

    /// The people and waiting mail that the store had at the start.
    pub(crate) fn open(&self, roster: Roster, waiting: &[worksite_model::Waiting], manual: &dyn Fn(&Person) -> bool) {
        for entry in waiting {
            self.write().entry(entry.person).or_default().waiting = AtomicUsize::new(entry.envelopes);
        }
        for person in roster.people() {
            self.join(person, manual(person));
        }
        *self.roster.write().unwrap_or_else(PoisonError::into_inner) = roster;
    }

    pub(crate) fn roster(&self) -> Roster {
        self.roster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reserves a place in each recipient's inbox, in all or in none.
    pub(crate) fn reserve(&self, drafts: &[Draft], registry: &Registry, limits: &Limits) -> Result<(), NoPlace> {
        let desks = self.read();
        for (reserved, draft) in drafts.iter().enumerate() {
            if let Err(refused) = self.reserve_one(&desks, draft, registry, limits) {
                for draft in &drafts[..reserved] {
                    self.release_one(&desks, draft.to);
                }
                return Err(refused);
            }
        }
        Ok(())
    }

    fn reserve_one(
        &self,
        desks: &HashMap<PersonId, Desk>,
        draft: &Draft,
        registry: &Registry,
        limits: &Limits,
    ) -> Result<(), NoPlace> {
        let desk = addressable(desks, draft, registry).map_err(NoPlace::Rejected)?;
        if desk.waiting.fetch_add(1, Ordering::AcqRel) >= limits.inbox_envelopes_max {
            desk.waiting.fetch_sub(1, Ordering::AcqRel);
            return Err(NoPlace::Full("inbox_envelopes_max"));
        }
        if !desk.manual {
            self.due.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Gives reserved places back.
    pub(crate) fn release(&self, people: impl IntoIterator<Item = PersonId>) {
        let desks = self.read();
        for person in people {
            self.release_one(&desks, person);
        }
    }

    fn release_one(&self, desks: &HashMap<PersonId, Desk>, person: PersonId) {
        let Some(desk) = desks.get(&person) else { return };
        let one_less = desk.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| waiting.checked_sub(1));
        law!(one_less.is_ok(), "conservation", "person {person} gave back a place in the inbox that was not taken");
        if desk.active && !desk.manual {
            self.due.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Where the recipient of a volatile draft sits; nobody when the worker sleeps.
    pub(crate) fn volatile_recipient(
        &self,
        draft: &Draft,
        registry: &Registry,
    ) -> Result<Option<Addr<Worker>>, Rejection> {
        let desks = self.read();
        let desk = addressable(&desks, draft, registry)?;
        if desk.manual {
            return Err(Rejection::Refused("a manual worker takes no volatile drafts".into()));
        }
        if registry.find(draft).and_then(|place| registry.get(place)).is_some_and(|routine| routine.is_async()) {
            return Err(Rejection::Refused("an asynchronous routine takes durable drafts only".into()));
        }
        desk.used.store(self.sweeps.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(desk.address.clone())
    }

    /// The worker awake for this person, which has something to do now.
    pub(crate) fn address(&self, person: PersonId) -> Option<Addr<Worker>> {
        let desks = self.read();
        let desk = desks.get(&person)?;
        desk.used.store(self.sweeps.load(Ordering::Relaxed), Ordering::Relaxed);
        desk.address.clone()
    }

    /// The worker awake for this person, if it is the one of this generation.
    pub(crate) fn address_of(&self, person: PersonId, generation: u32) -> Option<Addr<Worker>> {
        let desks = self.read();
        desks.get(&person).filter(|desk| desk.generation == generation)?.address.clone()
    }

    /// Seats a worker, unless one sits there or the person is not active. The maker is given its generation.
    pub(crate) fn seat(&self, person: PersonId, make: impl FnOnce(u32, bool) -> Addr<Worker>) -> Option<Addr<Worker>> {
        let mut desks = self.write();
        let desk = desks.get_mut(&person).filter(|desk| desk.active)?;
        if desk.address.is_none() {
            desk.generation = desk.generation.wrapping_add(1);
            desk.address = Some(make(desk.generation, desk.manual));
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
    fn read(&self) -> RwLockReadGuard<'_, HashMap<PersonId, Desk>> {
        self.desks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<PersonId, Desk>> {
        self.desks.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The desk a draft is for, if the person is active and a routine, or the application, takes it.
fn addressable<'a>(
    desks: &'a HashMap<PersonId, Desk>,
    draft: &Draft,
    registry: &Registry,
) -> Result<&'a Desk, Rejection> {
    let desk = desks.get(&draft.to).filter(|desk| desk.active).ok_or(Rejection::UnknownPerson(draft.to))?;
    if !desk.manual && registry.find(draft).is_none() {
        return Err(Rejection::NoRoutine {
            type_name: draft.payload.type_name.to_string(),
            routine: draft.routine.as_ref().map(ToString::to_string),
        });
    }
    Ok(desk)
}
