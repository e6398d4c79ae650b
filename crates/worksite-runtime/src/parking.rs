//! Parking owns the lines of changes whose senders wait for room in an inbox: one line a recipient, in the order in which
//! they came. It decides nothing: the supervisor tries the first of each line again whenever room may have come free.

use crate::error::SendError;
use crate::persistence::Answer;
use actix::SpawnHandle;
use std::collections::{BTreeMap, VecDeque};
use worksite_model::{Draft, PersonId};

/// A change that waits for room, and who waits for it.
pub(crate) struct Parked {
    /// Tells it from the others in its line.
    pub(crate) number: u64,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) answer: Answer,
    /// The limit that was reached when it was last tried.
    pub(crate) limit: &'static str,
    /// Ends its waiting.
    pub(crate) timer: Option<SpawnHandle>,
}

impl Parked {
    /// Gives the drafts back with a reason.
    pub(crate) fn refuse(self, why: impl FnOnce(Vec<Draft>) -> SendError) {
        match self.answer {
            Answer::Sender(accepted) => drop(accepted.send(Err(why(self.drafts)))),
            Answer::Asker(replied) => drop(replied.send(Err(Box::new(why(self.drafts).into())))),
            // The house itself never waits in line.
            Answer::Worker { .. } | Answer::House(_) => {}
        }
    }
}

/// The lines.
#[derive(Default)]
pub(crate) struct Parking {
    lines: BTreeMap<PersonId, VecDeque<Parked>>,
    numbers: u64,
}

impl Parking {
    /// The next number.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Who has a line.
    pub(crate) fn people(&self) -> Vec<PersonId> {
        self.lines.keys().copied().collect()
    }

    /// Joins the line at its end.
    pub(crate) fn push(&mut self, person: PersonId, parked: Parked) {
        self.lines.entry(person).or_default().push_back(parked);
    }

    /// Goes back to the head of the line.
    pub(crate) fn return_first(&mut self, person: PersonId, parked: Parked) {
        self.lines.entry(person).or_default().push_front(parked);
    }

    /// Takes the first of a line.
    pub(crate) fn pop(&mut self, person: PersonId) -> Option<Parked> {
        let line = self.lines.get_mut(&person)?;
        let first = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&person);
        }
        first
    }

    /// Takes one out of a line by its number. Numbers grow along a line.
    pub(crate) fn take(&mut self, person: PersonId, number: u64) -> Option<Parked> {
        let line = self.lines.get_mut(&person)?;
        let place = line.binary_search_by_key(&number, |parked| parked.number).ok()?;
        let parked = line.remove(place)?;
        if line.is_empty() {
            self.lines.remove(&person);
        }
        Some(parked)
    }
}
