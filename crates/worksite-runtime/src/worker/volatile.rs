//! Volatile drafts: performed at once or when there is time, never acknowledged.

use super::{Doing, Worker};
use crate::execute::{self};
use crate::flows::VolatileJobs;
use crate::memory::Memory;
use crate::runtime::House;
use actix::prelude::*;
use std::sync::Arc;
use worksite_model::{Change, Draft, Effects, Parcel, VolatileEnd};

/// Performs a draft that was never written. It is lost with its worker's memory.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) enum DeliverVolatile {
    /// To the routine at this place.
    Parcel { routine: u32, parcel: Parcel },
    /// To a flow, with the jobs it is.
    Post(Box<(Draft, VolatileJobs)>),
}

impl DeliverVolatile {
    /// A draft for the routine at this place.
    #[inline(always)]
    pub(crate) fn new(draft: Draft, routine: usize) -> Self {
        Self::Parcel { routine: u32::try_from(routine).unwrap_or(u32::MAX), parcel: Parcel::new(draft) }
    }
}

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

/// A parcel that waits for its worker's state; counted as lost when that cannot be read, or the worker goes.
struct Waiting {
    parcel: Option<Parcel>,
    house: Arc<House>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.parcel.is_some() {
            self.house.directory.lose_volatile(1);
        }
    }
}

impl Worker {
    /// Performs a volatile draft. Its effects are proposed if it has any that must be durable; its state goes along
    /// with the next commit of this routine, or when the worker goes.
    #[inline(always)]
    pub(super) fn attend(&mut self, delivery: DeliverVolatile, ctx: &mut Context<Self>) {
        let (routine, parcel) = match delivery {
            DeliverVolatile::Parcel { routine, parcel } if self.flow.is_none() => (routine, parcel),
            DeliverVolatile::Post(post) if self.flow.is_some() => return self.attend_post(&post.0, post.1, ctx),
            // What its worker is has changed since it was sent.
            DeliverVolatile::Parcel { .. } | DeliverVolatile::Post(_) => return self.house.directory.lose_volatile(1),
        };
        self.perform_parcel(routine as usize, parcel, ctx);
    }

    /// Performs it on the state where it stands; reads the state first if it is not there.
    #[inline(always)]
    fn perform_parcel(&mut self, place: usize, parcel: Parcel, ctx: &mut Context<Self>) {
        let house = &self.house;
        let Some(routine) = house.registry.get(place) else { return house.directory.lose_volatile(1) };
        let Some((state, dirty)) = self.states.live(place) else { return self.read_and_perform(place, parcel, ctx) };
        let ended = execute::Desk { house, person: self.person, routine }.perform_parcel(state, parcel);
        match ended {
            VolatileEnd::Done(Some(effects)) if effects.want_commit() => self.propose_effects(place, *effects, ctx),
            VolatileEnd::Done(_) => *dirty = true,
            VolatileEnd::Missed => house.directory.lose_volatile(1),
            VolatileEnd::Failed => {
                house.directory.lose_volatile(1);
                self.states.spoil(place);
            }
        }
    }

    fn read_and_perform(&mut self, place: usize, parcel: Parcel, ctx: &mut Context<Self>) {
        self.doing = Doing::Busy { routine: Some(place) };
        let mut waiting = Waiting { parcel: Some(parcel), house: self.house.clone() };
        self.with_state(place, ctx, move |worker, state, ctx| {
            worker.states.remember(place, state, false);
            worker.doing = Doing::Idle;
            if let Some(parcel) = waiting.parcel.take() {
                worker.perform_parcel(place, parcel, ctx);
            }
        });
    }

    /// Proposes what a turn wants beside its state, and the state with it.
    fn propose_effects(&mut self, place: usize, effects: Effects, ctx: &mut Context<Self>) {
        let Effects { drafts, announcements, reply: _, writes } = effects;
        let effects = Change { author: Some(self.person), drafts, announcements, writes, ..Change::default() };
        let Some(Memory::Live { state, .. }) = self.states.take(place) else { return };
        self.doing = Doing::Busy { routine: Some(place) };
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
