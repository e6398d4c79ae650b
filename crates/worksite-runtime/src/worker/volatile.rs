//! Volatile drafts: performed at once or when there is time, never acknowledged.

use super::{Doing, Worker};
use crate::execute::{self};
use crate::parcel::DeliverVolatile;
use actix::prelude::*;
use std::sync::Arc;
use worksite_model::{Change, Delivery, LiveState};

impl Handler<DeliverVolatile> for Worker {
    type Result = ();

    fn handle(&mut self, delivery: DeliverVolatile, ctx: &mut Self::Context) {
        if matches!(self.doing, Doing::Idle) && !self.finishing && !self.paused {
            return self.attend(delivery, ctx);
        }
        if matches!(self.doing, Doing::Held) || self.volatile_count() >= self.house.limits.volatile_drafts_max {
            if self.flow.is_some() {
                drop(delivery);
                self.tell_volatile();
            }
            return self.house.directory.lose_volatile(1);
        }
        self.volatile.get_or_insert_default().push_back(delivery);
    }
}

impl Worker {
    /// Performs a volatile draft. Its effects are proposed if it has any that must be durable; its state goes along
    /// with the next commit of this routine, or when the worker goes.
    pub(super) fn attend(&mut self, delivery: DeliverVolatile, ctx: &mut Context<Self>) {
        if self.flow.is_some() {
            return self.attend_post(delivery, ctx);
        }
        let (now, place) = (self.house.clock.now(), delivery.routine());
        let Some(routine) = self.house.registry.get(place) else { return self.house.directory.lose_volatile(1) };
        let envelope = delivery.open(self.person, routine.message_type(), now);
        let delivery = Delivery { envelope: Arc::new(envelope), attempt: 1 };
        self.doing = Doing::Busy { routine: Some(place) };
        self.with_state(place, ctx, move |worker, state, ctx| worker.perform_volatile(place, state, delivery, ctx));
    }

    pub(super) fn perform_volatile(
        &mut self,
        place: usize,
        state: LiveState,
        delivery: Delivery,
        ctx: &mut Context<Self>,
    ) {
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

    pub(super) fn volatile_count(&self) -> usize {
        self.volatile.as_ref().map_or(0, |volatile| volatile.len())
    }
}
