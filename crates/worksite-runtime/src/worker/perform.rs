//! A turn: from an activation, by way of the routine, to the change that settles it.

use super::{Doing, Resume, STORE_RETRY_DELAY, Worker};
use crate::execute::{self, Executed};
use crate::memory::Memory;
use crate::persistence::Read;
use actix::prelude::*;
use worksite_model::{
    Activation, Change, Delivery, FailureKind, LiveState, Payload, Performed, RoutineFailure, Settling, StateWrite,
    StoreError, chance, settle,
};

impl Worker {
    pub(super) fn execute(&mut self, Activation { routine, deliveries }: Activation, ctx: &mut Context<Self>) {
        self.doing = Doing::Busy { routine };
        let Some(routine) = routine else {
            let failure = RoutineFailure::new(FailureKind::NoRoutine, "no routine takes this type any more");
            let performed = deliveries.into_iter().map(|delivery| (delivery, Performed::failed(failure.clone())));
            let change = self.settle(None, performed.collect(), None);
            return self.propose(change);
        };
        self.with_state(routine, ctx, move |worker, state, ctx| worker.perform(routine, state, deliveries, ctx));
    }

    pub(super) fn perform(
        &mut self,
        place: usize,
        state: LiveState,
        mut deliveries: Vec<Delivery>,
        ctx: &mut Context<Self>,
    ) {
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

    pub(super) fn executed(&mut self, routine: usize, executed: Executed, ctx: &mut Context<Self>) {
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
    pub(super) fn save(
        &mut self,
        place: usize,
        performed: Vec<(Delivery, Performed)>,
        state: LiveState,
        ctx: &mut Context<Self>,
    ) {
        match self.encode(place, &state) {
            Ok(write) => {
                self.states.remember(place, state, false);
                let change = self.settle(Some(place), performed, write);
                self.propose(change);
            }
            Err(failure) => {
                let drafts = performed.iter().flat_map(|(_, performed)| performed.drafts());
                self.house.directory.release_drafts(drafts);
                self.states.spoil(place);
                self.refused(failure.reason, ctx);
            }
        }
    }

    pub(super) fn encode(&self, place: usize, state: &LiveState) -> Result<Option<StateWrite>, RoutineFailure> {
        let Some(routine) = self.house.registry.get(place) else { return Ok(None) };
        let desk = execute::Desk { house: &self.house, person: self.person, routine };
        let (name, keep) = (routine.name().into(), routine.keep_states());
        Ok(desk.save(state)?.map(|payload| StateWrite { person: self.person, routine: name, payload, keep }))
    }

    /// What was performed cannot be kept. Several deliveries are performed again one at a time; a single one fails.
    pub(super) fn refused(&mut self, reason: String, ctx: &mut Context<Self>) {
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

    pub(super) fn settle(
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

    /// Hands the routine's state to `then`: from memory, or read from the store first.
    pub(super) fn with_state(
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
                        Ok(Err(StoreError::Busy(_) | StoreError::Full(_))) => {
                            worker.states.spoil(place);
                            ctx.run_later(STORE_RETRY_DELAY, move |worker, ctx| worker.with_state(place, ctx, then));
                        }
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

    pub(super) fn load(
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
}
