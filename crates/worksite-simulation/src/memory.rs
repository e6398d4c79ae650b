//! The memory store owns a site that lives as long as its disk handle: the contract of [`Store`] in its plainest form.
//!
//! It has no transactions: a change is checked whole before any of it is applied, and applying cannot fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use worksite_model::{
    Change, DeadLetter, Delivery, Departure, Draft, Entry, Envelope, EnvelopeId, Fate, Grant, NamedWrite, Payload,
    PersonId, Recovered, Refusal, Roster, Store, StoreError, Tally, Timestamp, Verdict, Waiting, WaitingDelivery,
};

/// What survives a crash: hand it to [`MemoryStore::open`] again. A clone is the same disk; [`MemoryDisk::image`] copies.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Contents>>);

#[derive(Debug, Clone, Default)]
struct Contents {
    roster: Roster,
    envelopes: BTreeMap<EnvelopeId, WaitingDelivery>,
    states: BTreeMap<(PersonId, String), Payload>,
    keys: BTreeMap<String, Key>,
    dead: BTreeMap<EnvelopeId, DeadLetter>,
    writes: Vec<NamedWrite>,
    last_id: i64,
    tally: Tally,
}

#[derive(Debug, Clone)]
struct Key {
    envelope: EnvelopeId,
    accepted_at: Timestamp,
    fate: Fate,
}

impl MemoryDisk {
    /// A disk with the same contents that goes its own way from now on.
    #[must_use]
    pub fn image(&self) -> Self {
        Self(Arc::new(Mutex::new(self.contents().clone())))
    }

    /// What was written by names, in order.
    pub fn writes(&self) -> Vec<NamedWrite> {
        self.contents().writes.clone()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    disk: MemoryDisk,
    /// Names of writes that have a handler.
    handlers: BTreeSet<String>,
}

impl MemoryStore {
    /// Opens what is on this disk.
    pub fn open(disk: &MemoryDisk) -> Self {
        Self { disk: disk.clone(), handlers: BTreeSet::new() }
    }

    /// Accepts writes of this name, which [`MemoryDisk::writes`] shows.
    #[must_use]
    pub fn write_handler(mut self, name: impl Into<String>) -> Self {
        self.handlers.insert(name.into());
        self
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        let mut contents = self.disk.contents();
        let verdicts = batch.iter().map(|change| match contents.refusal(change, &self.handlers) {
            Some(refusal) => Err(refusal),
            None => Ok(contents.apply(change, at)),
        });
        Ok(verdicts.collect())
    }

    fn roster(&mut self) -> Result<Roster, StoreError> {
        Ok(self.disk.contents().roster.clone())
    }

    fn waiting(&mut self) -> Result<Vec<Waiting>, StoreError> {
        let mut counts: BTreeMap<PersonId, usize> = BTreeMap::new();
        for waiting in self.disk.contents().envelopes.values() {
            *counts.entry(waiting.delivery.envelope.draft.to).or_default() += 1;
        }
        Ok(counts.into_iter().map(|(person, envelopes)| Waiting { person, envelopes }).collect())
    }

    fn recover(&mut self, person: PersonId) -> Result<Recovered, StoreError> {
        let contents = self.disk.contents();
        let waiting = contents.envelopes.values().filter(|waiting| waiting.delivery.envelope.draft.to == person);
        let states = contents.states.iter().filter(|((owner, _), _)| *owner == person);
        Ok(Recovered {
            waiting: waiting.cloned().collect(),
            states: states.map(|((_, routine), state)| (routine.clone(), state.clone())).collect(),
            watermark: EnvelopeId(contents.last_id),
            quarantined: Vec::new(),
        })
    }

    fn state(&mut self, person: PersonId, routine: &str) -> Result<Option<Payload>, StoreError> {
        Ok(self.disk.contents().states.get(&(person, routine.to_string())).cloned())
    }

    fn dead_letters(&mut self, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(self.disk.contents().dead.values().take(limit).cloned().collect())
    }

    fn tally(&mut self) -> Result<Tally, StoreError> {
        let contents = self.disk.contents();
        Ok(Tally { waiting: contents.envelopes.len() as u64, ..contents.tally })
    }

    fn prune(&mut self, key_retention: Duration, at: Timestamp) -> Result<usize, StoreError> {
        let mut contents = self.disk.contents();
        let before = contents.keys.len();
        let expired = |key: &Key| key.fate != Fate::Waiting && key.accepted_at.after(key_retention) < at;
        contents.keys.retain(|_, key| !expired(key));
        Ok(before - contents.keys.len())
    }
}

impl Contents {
    fn refusal(&self, change: &Change, handlers: &BTreeSet<String>) -> Option<Refusal> {
        let roster = change.roster.as_ref().map_or(&self.roster, |change| &change.target);
        if let Some(draft) = change.drafts.iter().find(|draft| !roster.contains(draft.to)) {
            return Some(Refusal::UnknownPerson(draft.to));
        }
        let settled = change.settled.iter().map(|settlement| settlement.id);
        let retried = change.retried.iter().map(|retry| retry.id);
        let purged = change.roster.as_ref().is_some_and(|change| change.departure == Departure::Purge);
        let mut seen = BTreeSet::new();
        for id in settled.chain(retried).chain(change.buried.iter().map(|burial| burial.id)) {
            let owner = self.envelopes.get(&id).map(|waiting| waiting.delivery.envelope.draft.to);
            // What the change itself takes away does not wait any more when it is to be settled.
            let purged = purged && owner.is_some_and(|owner| !roster.contains(owner) && self.roster.contains(owner));
            let removed = change.clear || purged || change.removed.contains(&id);
            if owner.is_none() || owner != change.author || removed || !seen.insert(id) {
                return Some(Refusal::NotWaiting(id));
            }
        }
        let unknown = change.writes.iter().find(|write| !handlers.contains(write.name.as_ref()))?;
        Some(Refusal::UnknownWrite(unknown.name.to_string()))
    }

    fn apply(&mut self, change: &Change, at: Timestamp) -> Grant {
        let mut grant = Grant::default();
        if change.clear {
            let all: Vec<_> = self.envelopes.keys().copied().collect();
            all.into_iter().for_each(|id| self.remove(id, &mut grant));
            grant.removed.sort_unstable();
            self.states.clear();
        }
        if let Some(roster) = &change.roster {
            let difference = self.roster.difference(&roster.target);
            if roster.departure == Departure::Purge {
                difference.left.iter().for_each(|person| self.purge(*person, &mut grant));
            }
            self.roster.apply(&difference);
            grant.roster = Some(difference);
        }
        change.removed.iter().for_each(|id| self.remove(*id, &mut grant));
        for settlement in &change.settled {
            self.envelopes.remove(&settlement.id);
            self.tally.settled += 1;
            self.remember(settlement.key.as_deref(), Fate::Settled(settlement.reply.clone()));
        }
        for retry in &change.retried {
            if let Some(waiting) = self.envelopes.get_mut(&retry.id) {
                (waiting.delivery.attempt, waiting.due) = (retry.attempt, Some(retry.due));
            }
        }
        for burial in &change.buried {
            if let Some(WaitingDelivery { delivery, .. }) = self.envelopes.remove(&burial.id) {
                let delivery = Delivery { attempt: burial.attempts, ..delivery };
                let letter = DeadLetter { delivery, failure: burial.failure.clone(), buried_at: at };
                self.dead.insert(burial.id, letter);
                self.tally.buried += 1;
            }
            self.remember(burial.key.as_deref(), Fate::Buried(burial.failure.to_string()));
        }
        for state in &change.states {
            self.states.insert((state.person, state.routine.to_string()), state.payload.clone());
        }
        self.writes.extend(change.writes.iter().cloned());
        grant.entries = change.drafts.iter().map(|draft| self.accept(draft, at)).collect();
        grant
    }

    fn accept(&mut self, draft: &Draft, at: Timestamp) -> Entry {
        if let Some(known) = draft.key.as_ref().and_then(|key| self.keys.get(key)) {
            return Entry::Known { id: known.envelope, fate: known.fate.clone() };
        }
        self.last_id += 1;
        let id = EnvelopeId(self.last_id);
        let envelope = Arc::new(Envelope { id, accepted_at: at, draft: draft.clone() });
        let delivery = Delivery { envelope, attempt: 1 };
        self.envelopes.insert(id, WaitingDelivery { delivery, due: draft.not_before });
        self.tally.accepted += 1;
        if let Some(key) = &draft.key {
            self.keys.insert(key.clone(), Key { envelope: id, accepted_at: at, fate: Fate::Waiting });
        }
        Entry::Accepted(id)
    }

    fn remove(&mut self, id: EnvelopeId, grant: &mut Grant) {
        let Some(WaitingDelivery { delivery, .. }) = self.envelopes.remove(&id) else { return };
        self.tally.removed += 1;
        self.remember(delivery.envelope.draft.key.as_deref(), Fate::Removed);
        grant.removed.push((delivery.envelope.draft.to, id));
    }

    fn purge(&mut self, person: PersonId, grant: &mut Grant) {
        let mail = self.envelopes.values().filter(|waiting| waiting.delivery.envelope.draft.to == person);
        let ids: Vec<_> = mail.map(|waiting| waiting.delivery.id()).collect();
        ids.into_iter().for_each(|id| self.remove(id, grant));
        self.states.retain(|(owner, _), _| *owner != person);
    }

    fn remember(&mut self, key: Option<&str>, fate: Fate) {
        if let Some(key) = key.and_then(|key| self.keys.get_mut(key)) {
            key.fate = fate;
        }
    }
}
