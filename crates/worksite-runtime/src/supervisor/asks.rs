//! Who waits for answers; and workers that are held: of theirs there will be none, and whoever waits hears so.

use super::{Asked, Supervisor};
use crate::error::AskError;
use crate::persistence::AskAnswer;
use actix::prelude::*;
use std::collections::hash_map::Entry;
use tokio::sync::oneshot;
use worksite_model::{EnvelopeId, PersonId};

/// A worker takes nothing more: its state cannot be read, or the store is closed.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Held {
    pub(crate) person: PersonId,
    pub(crate) generation: u32,
}

impl Handler<Held> for Supervisor {
    type Result = ();

    fn handle(&mut self, Held { person, generation }: Held, ctx: &mut Self::Context) {
        if !self.house.directory.is_seated(person, generation) {
            return;
        }
        self.held.insert(person, generation);
        let asked = self.asks.iter().filter(|(_, asked)| asked.person == person);
        let asked: Vec<EnvelopeId> = asked.map(|(id, _)| *id).collect();
        for Asked { asker, others, .. } in asked.iter().filter_map(|id| self.asks.remove(id)) {
            for asker in std::iter::once(asker).chain(others) {
                let _gone = asker.send(Err(Box::new(AskError::Held(person))));
            }
        }
        // No place will come free there, and it tries nothing more.
        while let Some(parked) = self.parking.pop(person) {
            self.turn_away(person, parked, ctx);
        }
        self.blocked.remove(&person);
    }
}

/// Somebody who did not send an envelope waits for what becomes of it; answered when it is listened for.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Listen {
    /// Whose worker has it.
    pub(crate) person: PersonId,
    pub(crate) id: EnvelopeId,
    pub(crate) told: oneshot::Sender<AskAnswer>,
}

impl Handler<Listen> for Supervisor {
    type Result = ();

    fn handle(&mut self, Listen { person, id, told }: Listen, _: &mut Self::Context) {
        if !self.closed {
            self.await_fate(person, id, told);
        }
    }
}

impl Supervisor {
    /// Somebody waits for what becomes of an envelope that waits; of one at a worker that is held nobody hears anything.
    pub(super) fn await_fate(&mut self, person: PersonId, id: EnvelopeId, asker: oneshot::Sender<AskAnswer>) {
        if self.is_held(person) {
            let _gone = asker.send(Err(Box::new(AskError::Held(person))));
            return;
        }
        match self.asks.entry(id) {
            Entry::Occupied(mut asked) => asked.get_mut().others.push(asker),
            Entry::Vacant(nobody) => drop(nobody.insert(Asked { person, asker, others: Vec::new() })),
        }
    }

    /// Whoever listened and has gone need not be remembered.
    pub(super) fn forget_who_listened(&mut self) {
        self.asks.retain(|_, asked| {
            asked.others.retain(|asker| !asker.is_closed());
            !(asked.asker.is_closed() && asked.others.is_empty())
        });
    }

    /// Whether this person's worker, the one that is there now, is held.
    pub(super) fn is_held(&self, person: PersonId) -> bool {
        self.held.get(&person).is_some_and(|generation| self.house.directory.is_seated(person, *generation))
    }
}
