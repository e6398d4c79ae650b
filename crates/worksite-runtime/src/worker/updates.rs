//! Changes of states that the application makes itself, between two activations.

use super::{Doing, Resume, Worker};
use crate::error::{CommitFailure, DeskError};
use crate::execute::{self};
use crate::update::{Made, Update};
use actix::prelude::*;
use std::collections::VecDeque;
use worksite_model::{Change, LiveState, Payload, StateWrite, StoreError};

/// What the application changes itself.
#[derive(Default)]
pub(super) struct Updates {
    /// Asked for.
    pub(super) waiting: VecDeque<Update>,
    /// Made, and being written.
    pub(super) written: Vec<Made>,
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

impl Worker {
    /// Makes the changes of one routine's state that the application has asked for, all in one proposal.
    pub(super) fn update(&mut self, ctx: &mut Context<Self>) {
        if !matches!(self.doing, Doing::Idle) {
            return;
        }
        let Some(updates) = &mut self.updates else { return };
        let Some(place) = updates.waiting.front().map(|update| update.routine) else { return };
        self.doing = Doing::Busy { routine: Some(place) };
        // They wait until the state is there: if it cannot be read, the worker is held, and they hear that.
        self.with_state(place, ctx, move |worker, state, ctx| {
            let updates = worker.updates.get_or_insert_default();
            let (now, later) = updates.waiting.drain(..).partition(|update| update.routine == place);
            updates.waiting = later;
            worker.make_updates(place, state, now, ctx);
        });
    }

    /// Each change stands on those before it; one that panics is undone alone, by way of the encoded state before it.
    pub(super) fn make_updates(
        &mut self,
        place: usize,
        mut state: LiveState,
        mut updates: VecDeque<Update>,
        ctx: &mut Context<Self>,
    ) {
        let mut written: Option<StateWrite> = None;
        while let Some(update) = updates.pop_front() {
            let made = update.apply(&mut state);
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

    pub(super) fn load_state(&self, place: usize, payload: &Payload) -> Option<LiveState> {
        let routine = self.house.registry.get(place)?;
        execute::Desk { house: &self.house, person: self.person, routine }.load(Some(payload)).ok()
    }

    /// Tells those whose changes were being written; whether there were any.
    pub(super) fn finish_updates(&mut self, durable: &Result<(), CommitFailure>) -> bool {
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

    pub(super) fn after_failed_update(&mut self, failure: CommitFailure, ctx: &mut Context<Self>) {
        match failure {
            CommitFailure::Store(StoreError::Busy(_) | StoreError::Full(_)) | CommitFailure::Refused(_) => {
                self.resume(ctx);
            }
            failure => self.hold(&failure.into_desk_error().to_string()),
        }
    }
}
