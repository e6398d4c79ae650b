//! Workers that are held: whoever waits for an answer of theirs hears so, for there will be none in this life of the worker.

use super::{Asked, Supervisor};
use crate::error::AskError;
use actix::prelude::*;
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

    fn handle(&mut self, Held { person, generation }: Held, _: &mut Self::Context) {
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
    }
}

impl Supervisor {
    /// Whether this person's worker, the one that is there now, is held.
    pub(super) fn is_held(&self, person: PersonId) -> bool {
        self.held.get(&person).is_some_and(|generation| self.house.directory.is_seated(person, *generation))
    }
}
