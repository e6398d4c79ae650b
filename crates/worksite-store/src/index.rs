//! The index owns who has what waiting, in memory: the ids of each person's waiting envelopes.
//!
//! It stands in for a database index that would make each message several times as expensive. Mail comes in at the back
//! and mostly leaves near the front, in the order of ids; so an inbox is a sorted ring of ids, eight bytes each.

use std::collections::VecDeque;
use worksite_model::{EnvelopeId, IdMap, PersonId, Waiting};

/// Ids of waiting envelopes, by person.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pending: IdMap<PersonId, Pending>,
    total: u64,
}

/// What waits for one person.
#[derive(Debug, Default)]
struct Pending {
    ids: VecDeque<i64>,
    /// Bytes of their bodies.
    bytes: usize,
}

impl Index {
    /// Adds an id, higher than all the person has.
    pub(crate) fn push(&mut self, person: PersonId, id: EnvelopeId, bytes: usize) {
        let pending = self.pending.entry(person).or_default();
        pending.ids.push_back(id.0);
        pending.bytes += bytes;
        self.total += 1;
    }

    /// Removes an id; false when the person does not have it.
    pub(crate) fn remove(&mut self, person: PersonId, id: EnvelopeId, bytes: usize) -> bool {
        let Some(Pending { ids, bytes: all }) = self.pending.get_mut(&person) else { return false };
        if ids.front() == Some(&id.0) {
            ids.pop_front();
        } else if let Ok(place) = ids.binary_search(&id.0) {
            ids.remove(place);
        } else {
            return false;
        }
        *all = all.saturating_sub(bytes);
        // An empty ring keeps its room: the person will get mail again. A large one is given back.
        if ids.is_empty() && ids.capacity() > 64 {
            self.pending.remove(&person);
        }
        self.total -= 1;
        true
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether the person has this id waiting.
    pub(crate) fn contains(&self, person: PersonId, id: EnvelopeId) -> bool {
        self.pending.get(&person).is_some_and(|pending| pending.ids.binary_search(&id.0).is_ok())
    }

    /// A person's ids, in order.
    pub(crate) fn ids(&self, person: PersonId) -> impl Iterator<Item = EnvelopeId> {
        self.pending.get(&person).into_iter().flat_map(|pending| &pending.ids).copied().map(EnvelopeId)
    }

    /// Whether the person has anything waiting.
    pub(crate) fn has_any(&self, person: PersonId) -> bool {
        self.pending.get(&person).is_some_and(|pending| !pending.ids.is_empty())
    }

    /// Everybody with mail waiting, in order of ids.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let people = self.pending.iter().filter(|(_, pending)| !pending.ids.is_empty());
        let mut waiting: Vec<_> = people
            .map(|(person, pending)| Waiting { person: *person, envelopes: pending.ids.len(), bytes: pending.bytes })
            .collect();
        waiting.sort_by_key(|entry| entry.person);
        waiting
    }

    /// How many envelopes wait.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_leave_from_the_front_the_middle_and_the_back() {
        let mut index = Index::default();
        let person = PersonId(7);
        for id in 1..=100 {
            index.push(person, EnvelopeId(id), 10);
        }
        for id in [1, 50, 100, 2, 99] {
            assert!(index.remove(person, EnvelopeId(id), 10));
            assert!(!index.remove(person, EnvelopeId(id), 10));
        }
        assert!(!index.remove(PersonId(8), EnvelopeId(3), 10));
        assert_eq!((index.total(), index.ids(person).count(), index.waiting()[0].envelopes), (95, 95, 95));
        assert_eq!(index.waiting()[0].bytes, 950);
        index.clear();
        assert_eq!((index.total(), index.waiting().len()), (0, 0));
    }
}
