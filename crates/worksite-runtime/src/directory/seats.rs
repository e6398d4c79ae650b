//! Where workers sit while they are awake: seated, told, and cleared.

use super::rows::Desks;
use super::{Desk, Directory, addressable};
use crate::flows::VolatileJobs;
use crate::intake::Course;
use crate::status::Status;
use crate::worker::{Deliver, DeliverVolatile, Finish, Passivate, Worker};
use actix::{Addr, Handler, Message};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use worksite_model::flow::{Flow, Post};
use worksite_model::{Change, Draft, Durable, Envelope, InboxPolicy, Overflow, PersonId, Registry, Rejection, law};

/// What a worker is told of its desk when it sits down.
pub(crate) struct Seat {
    pub(crate) generation: u32,
    pub(crate) manual: bool,
    pub(crate) paused: bool,
    pub(crate) policy: Arc<InboxPolicy>,
    pub(crate) flow: Option<Flow>,
}

/// The desk a volatile draft is for, and the place of the routine that performs it, if somebody there does.
#[inline(always)]
fn volatile_desk<'a>(desks: &'a Desks, draft: &Draft, registry: &Registry) -> Result<(&'a Desk, usize), Rejection> {
    let (desk, routine) = addressable(desks, draft, registry)?;
    let Some(place) = routine else {
        return Err(Rejection::Refused("a manual worker takes no volatile drafts".into()));
    };
    if registry.get(place).is_some_and(|routine| routine.is_async()) {
        return Err(Rejection::Refused("an asynchronous routine takes durable drafts only".into()));
    }
    Ok((desk, place))
}

impl Directory {
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
                flow: if desk.runs_flow { self.flow(person) } else { None },
            }));
            self.seated.fetch_add(1, Ordering::AcqRel);
            desk.use_in(self.sweeps.load(Ordering::Relaxed));
        }
        desk.address.clone()
    }

    /// The flow that the person's worker runs.
    fn flow(&self, person: PersonId) -> Option<Flow> {
        self.flow_people.read().unwrap_or_else(PoisonError::into_inner).get(&person).cloned()
    }

    /// Clears the seat of a worker that has gone; false when another sits there already.
    pub(crate) fn unseat(&self, person: PersonId, generation: u32) -> bool {
        let mut desks = self.write();
        let Some(desk) = desks.get_mut(&person).filter(|desk| desk.generation == generation) else { return false };
        self.stand_up(desk);
        true
    }

    pub(super) fn stand_up(&self, desk: &mut Desk) -> Option<Addr<Worker>> {
        let address = desk.address.take()?;
        self.seated.fetch_sub(1, Ordering::AcqRel);
        self.rouse_desk(desk);
        desk.stuck.store(false, Ordering::Release);
        desk.volatile.store(false, Ordering::Release);
        desk.stand(Status::Idle);
        Some(address)
    }

    /// Clears all seats and all counts: everything that waited was removed.
    pub(crate) fn clear_seats(&self) -> Vec<Addr<Worker>> {
        self.write().values_mut().filter_map(|desk| self.stand_up(desk)).collect()
    }

    /// Hands a volatile draft to its recipient's worker; gives it back when the worker sleeps, or with the reason why it
    /// can never be delivered.
    #[inline(always)]
    pub(crate) fn deliver_volatile(
        &self,
        draft: Draft,
        jobs: Option<VolatileJobs>,
        registry: &Registry,
    ) -> Result<Option<DeliverVolatile>, Box<(Rejection, Draft)>> {
        let desks = self.read();
        let (desk, routine) = match volatile_desk(&desks, &draft, registry) {
            Ok(found) => found,
            Err(rejection) => return Err(Box::new((rejection, draft))),
        };
        desk.use_in(self.sweeps.load(Ordering::Relaxed));
        if !desk.volatile.load(Ordering::Relaxed) {
            desk.volatile.store(true, Ordering::Release);
        }
        let delivery = match jobs {
            Some(jobs) => DeliverVolatile::Post(Box::new((draft, jobs))),
            None => DeliverVolatile::new(draft, routine),
        };
        match &desk.address {
            Some(worker) => worker.do_send(delivery),
            None => return Ok(Some(delivery)),
        }
        Ok(None)
    }

    /// Whether these drafts go to their workers while they are being written: all of them, or none, and then they are counted
    /// as on their way. Only to a worker awake, for a pure routine, and past nobody who is on the way already: mail is
    /// admitted in order of ids. And past no change that may take workers from their desks, or lets them rest.
    pub(crate) fn course(&self, change: &Change, registry: &Registry) -> Course {
        if change.unseats() {
            self.upheavals.fetch_add(1, Ordering::AcqRel);
        }
        let (drafts, is_calm) = (&change.drafts, self.is_calm());
        if !is_calm && change.stands_on_memory() {
            return Course::Held;
        }
        if drafts.is_empty() {
            return Course::Usual;
        }
        let desks = self.read();
        let sweep = self.sweeps.load(Ordering::Relaxed);
        let ready = |draft: &Draft| {
            let desk = desks.get(&draft.to).filter(|desk| desk.is_ready())?;
            if draft.key.is_some() && !desk.forgets_nothing() {
                return None;
            }
            // A flow starts what is not pure when it is durable.
            if !desk.runs_flow {
                registry.get(registry.find(draft)?).filter(|routine| routine.is_pure() && is_unconditional(draft))?;
            } else if draft.payload.type_name != Post::TYPE || !is_unconditional(draft) {
                return None;
            }
            desk.use_in(sweep);
            Some(())
        };
        if is_calm && drafts.iter().all(|draft| ready(draft).is_some()) {
            return Course::Ahead;
        }
        for desk in drafts.iter().filter_map(|draft| desks.get(&draft.to)) {
            desk.corridor.fetch_add(1, Ordering::AcqRel);
        }
        Course::Usual
    }

    /// Whether no change is on its way that may take workers from their desks, or lets them rest.
    pub(crate) fn is_calm(&self) -> bool {
        self.upheavals.load(Ordering::Acquire) == 0
    }

    /// A change that may take workers from their desks has been acted on, or has failed.
    pub(crate) fn calm_down(&self) {
        let less = |count: usize| count.checked_sub(1);
        let calmed = self.upheavals.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        law!(calmed.is_ok(), "order", "a change of the house was acted on twice");
    }

    /// Drafts that were being written are with their worker, or were not accepted.
    pub(crate) fn leave_corridor<'a>(&self, drafts: impl IntoIterator<Item = &'a Draft>) {
        let desks = self.read();
        for desk in drafts.into_iter().filter_map(|draft| desks.get(&draft.to)) {
            desk.leave_corridor();
        }
    }

    /// Delivers an envelope that has become durable, and takes it off the count of those on their way.
    pub(crate) fn deliver(&self, envelope: &Arc<Envelope>) -> bool {
        let desks = self.read();
        let Some(desk) = desks.get(&envelope.draft.to) else { return false };
        desk.use_in(self.sweeps.load(Ordering::Relaxed));
        let told = desk.address.as_ref().is_some_and(|worker| {
            worker.do_send(Deliver(envelope.clone()));
            true
        });
        // Afterwards: what goes ahead from now on comes behind it.
        desk.leave_corridor();
        told
    }

    /// Whether the worker of this generation is the one that sits there.
    pub(crate) fn is_seated(&self, person: PersonId, generation: u32) -> bool {
        self.read().get(&person).is_some_and(|desk| desk.generation == generation && desk.address.is_some())
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
        desk.use_in(self.sweeps.load(Ordering::Relaxed));
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

    /// Whether the person's worker is awake.
    pub(crate) fn is_awake(&self, person: PersonId) -> bool {
        self.read().get(&person).is_some_and(|desk| desk.address.is_some())
    }

    /// Whether any worker is awake.
    pub(crate) fn is_anybody_awake(&self) -> bool {
        self.seated.load(Ordering::Acquire) > 0
    }

    /// Everybody whose worker is awake, in order of ids.
    pub(crate) fn awake(&self) -> Vec<PersonId> {
        awake(&self.read(), |_| true).into_iter().map(|(person, _)| person).collect()
    }

    /// Tells all workers that are awake to finish, in order of ids.
    pub(crate) fn finish(&self) {
        self.tell_chosen(|_| true, || Finish);
    }

    /// Begins a new sweep, and lets the workers go that had nothing to do since before the last one.
    pub(crate) fn sweep(&self) {
        let sweep = self.sweeps.fetch_add(1, Ordering::Relaxed) + 1;
        self.tell_chosen(|desk| desk.used.load(Ordering::Relaxed) + 2 <= sweep, || Passivate);
    }

    /// Tells the workers awake at such desks, in order of ids. Under the lock, as [`Self::tell`] does.
    pub(super) fn tell_chosen<M>(&self, chosen: impl Fn(&Desk) -> bool, message: impl Fn() -> M)
    where
        M: Message<Result = ()> + Send + 'static,
        Worker: Handler<M>,
    {
        for (_, worker) in awake(&self.read(), chosen) {
            worker.do_send(message());
        }
    }
}

/// The workers awake at such desks, in order of ids. Chosen before they are sorted: often few of many are meant.
pub(super) fn awake(desks: &Desks, chosen: impl Fn(&Desk) -> bool) -> Vec<(PersonId, &Addr<Worker>)> {
    let awake = desks.iter().filter_map(|(person, desk)| Some((person, desk, desk.address.as_ref()?)));
    let chosen = awake.filter(|(_, desk, _)| chosen(desk));
    let mut awake: Vec<_> = chosen.map(|(person, _, worker)| (person, worker)).collect();
    awake.sort_unstable_by_key(|(person, _)| *person);
    awake
}

impl Desk {
    /// Notes that it has something to do in this sweep. Nothing is written that is known: several threads look at a desk.
    fn use_in(&self, sweep: u32) {
        if self.used.load(Ordering::Relaxed) != sweep {
            self.used.store(sweep, Ordering::Relaxed);
        }
    }

    /// Whether its worker can be given mail that is still being written.
    fn is_ready(&self) -> bool {
        self.address.is_some()
            && self.active
            && !(self.leaving || self.manual || self.paused)
            && self.policy.overflow != Overflow::DropOldest
            && self.corridor.load(Ordering::Acquire) == 0
    }

    /// Whether all that its worker has in memory is durable when it is at rest. Under a key a draft may be known already: then its
    /// turn was for nothing, and the worker is read from the store again.
    fn forgets_nothing(&self) -> bool {
        !self.runs_flow && !self.volatile.load(Ordering::Acquire)
    }

    fn leave_corridor(&self) {
        let less = |count: u32| count.checked_sub(1);
        let left = self.corridor.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        law!(left.is_ok(), "order", "somebody came out of the corridor who had not gone in");
    }
}

/// Whether it can be taken at once, and will hardly be refused.
fn is_unconditional(draft: &Draft) -> bool {
    draft.cooldown.is_none() && draft.not_before.is_none() && draft.expires_at.is_none()
}
