//! The memory store owns a site that lives as long as its disk handle: the contract of [`Store`] in its plainest form.
//!
//! It has no transactions: a change is checked whole before any of it is applied, and applying cannot fail.

use crate::memory_runs::{MemoryRuns, ended};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use worksite_model::flow::{Job, JobFilter, JobId, JobStatus};
use worksite_model::{
    Change, Committed, Cursor, CursorChange, DeadLetter, Delivery, Draft, Entry, Envelope, EnvelopeId, FactOffset,
    Fate, Grant, Interest, Keep, KeepStates, LoggedFact, NamedWrite, Payload, PersonId, Pruned, Recovered,
    RecoveredRuns, Refusal, Removal, Retention, Revision, Roster, Run, RunFilter, RunId, RunStatus, Session, Standing,
    StateWrite, Store, StoreError, Tally, ThreadEntry, Timestamp, Verdict, Waiting, WaitingDelivery,
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
    paused: BTreeSet<PersonId>,
    /// Envelopes of threads that have left their inboxes, with when.
    history: BTreeMap<EnvelopeId, (ThreadEntry, Timestamp)>,
    /// Until when nothing else goes through this channel, from this sender, to this recipient.
    cooldowns: BTreeMap<Cooling, Timestamp>,
    /// Durable subscriptions by name: what each wants, where it stands, what it missed.
    cursors: BTreeMap<String, Cursor>,
    facts: Vec<LoggedFact>,
    last_fact: i64,
    revisions: BTreeMap<(PersonId, String), Vec<Revision>>,
    jobs: BTreeMap<JobId, Job>,
    /// Who left, and when.
    departed: BTreeMap<PersonId, Timestamp>,
    writes: Vec<NamedWrite>,
    last_id: i64,
    tally: Tally,
    runs: MemoryRuns,
}

/// A channel, a sender and a recipient.
type Cooling = (String, PersonId, PersonId);

fn cooling(draft: &Draft) -> Cooling {
    (draft.channel.as_deref().unwrap_or_default().to_string(), draft.from.unwrap_or(PersonId(0)), draft.to)
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

    /// Makes the contents those of another disk.
    pub(crate) fn revert(&self, to: &Self) {
        let contents = to.contents().clone();
        *self.contents() = contents;
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
        disk.contents().runs.open();
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
        let verdicts = batch.iter().map(|change| match contents.refusal(change, at, &self.handlers) {
            Some(refusal) => Err(refusal),
            None => Ok(contents.apply(change, at)),
        });
        Ok(verdicts.collect())
    }

    fn roster(&mut self) -> Result<Roster, StoreError> {
        Ok(self.disk.contents().roster.clone())
    }

    fn last_id(&mut self) -> Result<EnvelopeId, StoreError> {
        Ok(EnvelopeId(self.disk.contents().last_id))
    }

    fn last_accepted(&mut self) -> Result<Timestamp, StoreError> {
        let contents = self.disk.contents();
        let last = contents.envelopes.values().next_back();
        Ok(last.map_or(Timestamp::from_micros(i64::MIN), |waiting| waiting.delivery.envelope.accepted_at))
    }

    fn waiting(&mut self) -> Result<Vec<Waiting>, StoreError> {
        let mut counts: BTreeMap<PersonId, Waiting> = BTreeMap::new();
        for WaitingDelivery { delivery, .. } in self.disk.contents().envelopes.values() {
            let person = delivery.envelope.draft.to;
            let entry = counts.entry(person).or_insert(Waiting { person, envelopes: 0, bytes: 0 });
            entry.envelopes += 1;
            entry.bytes += delivery.envelope.draft.payload.len();
        }
        Ok(counts.into_values().collect())
    }

    fn recover(&mut self, person: PersonId, _at: Timestamp) -> Result<Recovered, StoreError> {
        let contents = self.disk.contents();
        let waiting = contents.envelopes.values().filter(|waiting| waiting.delivery.envelope.draft.to == person);
        let states = contents.states.iter().filter(|((owner, _), _)| *owner == person);
        Ok(Recovered {
            waiting: waiting.cloned().collect(),
            states: states.map(|((_, routine), state)| (routine.clone(), state.clone())).collect(),
            jobs: contents
                .jobs
                .values()
                .filter(|job| job.worker == person && !job.status.is_final())
                .cloned()
                .collect(),
            watermark: EnvelopeId(contents.last_id),
            quarantined: Vec::new(),
        })
    }

    fn paused(&mut self) -> Result<Vec<PersonId>, StoreError> {
        Ok(self.disk.contents().paused.iter().copied().collect())
    }

    fn state(&mut self, person: PersonId, routine: &str) -> Result<Option<Payload>, StoreError> {
        Ok(self.disk.contents().states.get(&(person, routine.to_string())).cloned())
    }

    fn dead_letters(&mut self, after: EnvelopeId, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let contents = self.disk.contents();
        let letters = contents.dead.range(EnvelopeId(after.0.saturating_add(1))..);
        Ok(letters.take(limit).map(|(_, letter)| letter.clone()).collect())
    }

    fn thread(&mut self, thread: &str, after: EnvelopeId, limit: usize) -> Result<Vec<ThreadEntry>, StoreError> {
        let contents = self.disk.contents();
        let waiting = contents.envelopes.values().map(|waiting| (&waiting.delivery, Standing::Waiting));
        let dead = contents.dead.values().map(|letter| (&letter.delivery, Standing::Buried));
        let entry =
            |(delivery, standing): (&Delivery, _)| ThreadEntry { envelope: delivery.envelope.clone(), standing };
        let gone = contents.history.values().map(|(entry, _)| entry.clone());
        let mut entries: Vec<_> = waiting.chain(dead).map(entry).chain(gone).collect();
        entries.retain(|entry| entry.envelope.draft.thread.as_deref() == Some(thread) && entry.envelope.id > after);
        entries.sort_by_key(|entry| entry.envelope.id);
        entries.truncate(limit);
        Ok(entries)
    }

    fn revisions(&mut self, person: PersonId, routine: &str, limit: usize) -> Result<Vec<Revision>, StoreError> {
        let contents = self.disk.contents();
        let revisions = contents.revisions.get(&(person, routine.to_string()));
        Ok(revisions.into_iter().flatten().rev().take(limit).cloned().collect())
    }

    fn cursors(&mut self) -> Result<Vec<Cursor>, StoreError> {
        let contents = self.disk.contents();
        let last = FactOffset(contents.last_fact);
        Ok(contents.cursors.values().map(|cursor| Cursor { last, ..cursor.clone() }).collect())
    }

    fn facts(&mut self, interest: &Interest, after: FactOffset, limit: usize) -> Result<Vec<LoggedFact>, StoreError> {
        let contents = self.disk.contents();
        let wanted = contents.facts.iter().filter(|logged| logged.offset > after && interest.fits(&logged.fact));
        Ok(wanted.take(limit).cloned().collect())
    }

    fn runs(&mut self) -> Result<RecoveredRuns, StoreError> {
        Ok(self.disk.contents().runs.recovered())
    }

    fn fate(&mut self, key: &str) -> Result<Option<(EnvelopeId, Fate)>, StoreError> {
        Ok(self.disk.contents().keys.get(key).map(|known| (known.envelope, known.fate.clone())))
    }

    fn run(&mut self, id: RunId) -> Result<Option<Run>, StoreError> {
        Ok(self.disk.contents().runs.run(id))
    }

    fn run_history(&mut self, filter: &RunFilter) -> Result<Vec<Run>, StoreError> {
        Ok(self.disk.contents().runs.history(filter))
    }

    fn session(&mut self, id: &str) -> Result<Option<Session>, StoreError> {
        Ok(self.disk.contents().runs.session(id))
    }

    fn job(&mut self, id: JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.disk.contents().jobs.get(&id).cloned())
    }

    fn jobs(&mut self, filter: &JobFilter, limit: usize) -> Result<Vec<Job>, StoreError> {
        let contents = self.disk.contents();
        Ok(contents.jobs.values().filter(|job| filter.fits(job)).take(limit).cloned().collect())
    }

    fn open_jobs(&mut self) -> Result<Vec<(PersonId, usize)>, StoreError> {
        let mut counts: BTreeMap<PersonId, usize> = BTreeMap::new();
        for job in self.disk.contents().jobs.values().filter(|job| !job.status.is_final()) {
            *counts.entry(job.worker).or_default() += 1;
        }
        Ok(counts.into_iter().collect())
    }

    fn envelope(&mut self, id: EnvelopeId) -> Result<Option<WaitingDelivery>, StoreError> {
        Ok(self.disk.contents().envelopes.get(&id).cloned())
    }

    fn tally(&mut self) -> Result<Tally, StoreError> {
        let contents = self.disk.contents();
        Ok(Tally { waiting: contents.envelopes.len() as u64, ..contents.tally })
    }

    fn prune(&mut self, retention: &Retention, at: Timestamp) -> Result<Pruned, StoreError> {
        let mut contents = self.disk.contents();
        let contents = &mut *contents;
        let keys = contents.keys.iter().filter(|(_, key)| key.fate != Fate::Waiting);
        let keys = keys.map(|(name, key)| (key.accepted_at, name.clone())).collect();
        let dead = contents.dead.iter().map(|(id, letter)| (letter.buried_at, *id)).collect();
        let history = contents.history.iter().map(|(id, (_, left))| (*left, *id)).collect();
        let waits = |person| contents.envelopes.values().any(|waiting| waiting.delivery.envelope.draft.to == person);
        let remembers = |person| contents.states.keys().any(|(owner, _)| *owner == person);
        let gone = contents.departed.iter().filter(|(person, _)| !waits(**person) && !remembers(**person));
        let gone = gone.map(|(person, left)| (*left, *person)).collect();
        let jobs = contents.jobs.values().filter(|job| job.status.is_final());
        let jobs = jobs.map(|job| (job.created_at, job.id)).collect();
        let cooled = contents.cooldowns.len();
        contents.cooldowns.retain(|_, until| *until > at);
        let runs = &mut contents.runs;
        let kinds = [
            (RunStatus::Completed, retention.runs_completed),
            (RunStatus::Failed, retention.runs_failed),
            (RunStatus::Stopped, retention.runs_stopped),
        ];
        let pruned_runs = kinds.map(|(status, keep)| {
            let (rows, forgettable) = ended(&runs.runs, status);
            doom(forgettable, rows, keep, at, |id| drop(runs.runs.remove(&id)))
        });
        let (rows, sessions) = runs.forgettable_sessions();
        let sessions = doom(sessions, rows, retention.sessions, at, |id| drop(runs.sessions.remove(&id)));
        Ok(Pruned {
            runs: pruned_runs.iter().sum(),
            sessions,
            keys: doom(keys, contents.keys.len(), retention.keys, at, |key| drop(contents.keys.remove(&key))),
            dead_letters: doom(dead, contents.dead.len(), retention.dead_letters, at, |id| {
                contents.dead.remove(&id);
            }),
            history: doom(history, contents.history.len(), retention.history, at, |id| {
                contents.history.remove(&id);
            }),
            quarantine: 0,
            facts: prune_facts(contents, retention.facts, at),
            jobs: doom(jobs, 0, retention.jobs, at, |id| {
                contents.jobs.remove(&id);
            }),
            people: doom(gone, 0, retention.people, at, |person| {
                contents.departed.remove(&person);
            }),
            cooldowns: (cooled - contents.cooldowns.len()) as u64,
        })
    }
}

fn prune_facts(contents: &mut Contents, keep: Keep, at: Timestamp) -> u64 {
    let unwanted = contents.cursors.is_empty();
    let surplus = contents.facts.len().saturating_sub(usize::try_from(keep.rows).unwrap_or(usize::MAX));
    let mut pruned = 0;
    while let Some(first) = contents.facts.first() {
        if !unwanted {
            if first.at.after(keep.age) >= at && pruned >= surplus {
                break;
            }
            let wanting = contents.cursors.values_mut().filter(|cursor| cursor.interest.fits(&first.fact));
            wanting.filter(|cursor| cursor.position < first.offset).for_each(|cursor| cursor.missed += 1);
        }
        contents.facts.remove(0);
        pruned += 1;
    }
    pruned as u64
}

/// Removes what is older, or more, than is to be kept; `rows` of the table count, if more than those that may go.
fn doom<T: Ord>(
    mut ended: Vec<(Timestamp, T)>,
    rows: usize,
    keep: Keep,
    at: Timestamp,
    mut remove: impl FnMut(T),
) -> u64 {
    ended.sort();
    let old = ended.iter().take_while(|(then, _)| then.after(keep.age) < at).count();
    let left = rows.max(ended.len()) - old;
    let surplus = left.saturating_sub(usize::try_from(keep.rows).unwrap_or(usize::MAX));
    let doomed: Vec<_> = ended.into_iter().take(old + surplus).collect();
    let count = doomed.len() as u64;
    doomed.into_iter().for_each(|(_, row)| remove(row));
    count
}

impl Contents {
    fn refusal(&self, change: &Change, at: Timestamp, handlers: &BTreeSet<String>) -> Option<Refusal> {
        if let Some(taken) = change.roster.as_ref().and_then(|roster| roster.taken(&self.roster)) {
            return Some(Refusal::Taken(taken));
        }
        if let Some(author) = change.writes_for_nobody(&self.roster) {
            return Some(Refusal::UnknownPerson(author));
        }
        if let Some(used) = change.reuses(self.last_id) {
            return Some(Refusal::IdUsed(used));
        }
        let admits = |person| match &change.roster {
            Some(roster) => roster.admits(&self.roster, person),
            None => self.roster.contains(person),
        };
        let mut named =
            change.drafts.iter().map(|draft| draft.to).chain(change.paused.iter().map(|(person, _)| *person));
        if let Some(stranger) = named.find(|person| !admits(*person)) {
            return Some(Refusal::UnknownPerson(stranger));
        }
        let settled = change.settled.iter().map(|settlement| settlement.id());
        let retried = change.retried.iter().map(|retry| retry.id);
        let purged = change.roster.as_ref().map(|roster| roster.purged(&roster.difference(&self.roster)));
        let purged = purged.unwrap_or_default();
        let mut seen = BTreeSet::new();
        for id in settled.chain(retried).chain(change.buried.iter().map(|burial| burial.id())) {
            let owner = self.envelopes.get(&id).map(|waiting| waiting.delivery.envelope.draft.to);
            // What the change itself takes away does not wait any more when it is to be settled.
            let purged = owner.is_some_and(|owner| purged.contains(&owner));
            let removed = change.clear || purged || change.removed.contains(&id) || change.dropped.contains(&id);
            if owner.is_none() || owner != change.author || removed || !seen.insert(id) {
                return Some(Refusal::NotWaiting(id));
            }
        }
        let mut seen = BTreeSet::new();
        let not_buried = change.exhumed.iter().find(|id| !seen.insert(**id) || !self.dead.contains_key(*id));
        if let Some(id) = not_buried {
            return Some(Refusal::NotBuried(*id));
        }
        let keys = change.drafts.iter().filter_map(|draft| draft.key.as_ref()).filter(|_| !change.exhumed.is_empty());
        let others = |key: &&String| self.keys.get(*key).is_some_and(|known| !change.exhumed.contains(&known.envelope));
        if let Some(key) = keys.into_iter().find(others) {
            return Some(Refusal::KeyTaken(key.clone()));
        }
        if change.author.is_none()
            && let Some(refusal) = self.too_soon(&change.drafts, at)
        {
            return Some(refusal);
        }
        let mut open: BTreeSet<&str> = self.cursors.keys().map(String::as_str).collect();
        for change in &change.cursors {
            match change {
                CursorChange::Open { name, .. } => drop(open.insert(name)),
                CursorChange::Close { name } => drop(open.remove(name.as_str())),
                change if open.contains(change.name()) => {}
                change => return Some(Refusal::UnknownCursor(change.name().to_string())),
            }
        }
        if let Err(refusal) = self.runs.after(&change.runs) {
            return Some(refusal);
        }
        if let Some(unknown) = change.writes.iter().find(|write| !handlers.contains(write.name.as_ref())) {
            return Some(Refusal::UnknownWrite(unknown.name.to_string()));
        }
        // What this change has said of a job counts for what it says of it later.
        let mut open: BTreeMap<JobId, bool> = BTreeMap::new();
        for write in &change.jobs {
            let id = write.job.id;
            let stands = |job: &Job| !job.status.is_final() && !purged.contains(&job.worker);
            let stored = self.jobs.get(&id).filter(|_| !change.clear).map(stands);
            let known = open.insert(id, !write.job.status.is_final()).or(stored);
            if known != write.known.then_some(true) {
                return Some(Refusal::JobEnded(id));
            }
        }
        None
    }

    fn too_soon(&self, drafts: &[Draft], at: Timestamp) -> Option<Refusal> {
        let (mut seen, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for draft in drafts {
            let Some(time) = draft.cooldown else { continue };
            if draft.key.as_ref().is_some_and(|key| !keys.insert(key) || self.keys.contains_key(key)) {
                continue;
            }
            let until = self.cooling_until(draft, at).or((!seen.insert(cooling(draft))).then(|| at.after(time)));
            if let Some(until) = until {
                return Some(Refusal::Cooling { to: draft.to, until });
            }
        }
        None
    }

    fn cooling_until(&self, draft: &Draft, at: Timestamp) -> Option<Timestamp> {
        self.cooldowns.get(&cooling(draft)).copied().filter(|until| *until > at)
    }

    fn apply(&mut self, change: &Change, at: Timestamp) -> Grant {
        let mut grant = Grant::default();
        if change.clear {
            let all: Vec<_> = self.envelopes.keys().copied().collect();
            grant.removed = all.into_iter().filter_map(|id| self.remove(id, Some(Standing::Removed), at)).collect();
            grant.removed.sort_unstable();
            self.tally.removed += grant.removed.len() as u64;
            self.states.clear();
            self.revisions.clear();
            self.jobs.clear();
        }
        if let Some(roster) = &change.roster {
            let difference = roster.difference(&self.roster);
            for person in &difference.joined {
                self.departed.remove(&person.id);
            }
            for person in &difference.left {
                self.departed.insert(*person, at);
                self.paused.remove(person);
            }
            for person in roster.purged(&difference) {
                self.purge(person, &mut grant, at);
            }
            self.roster = difference.target.clone();
            grant.roster = Some(difference);
        }
        for (person, rests) in &change.paused {
            if *rests {
                self.paused.insert(*person)
            } else {
                self.paused.remove(person)
            };
        }
        for id in &change.removed {
            grant.removed.extend(self.remove(*id, Some(Standing::Removed), at).inspect(|_| self.tally.removed += 1));
        }
        for id in &change.dropped {
            grant.dropped.extend(self.remove(*id, Some(Standing::Dropped), at).inspect(|_| self.tally.dropped += 1));
        }
        for id in &change.exhumed {
            if let Some(key) = self.dead.remove(id).and_then(|letter| letter.delivery.envelope.draft.key.clone())
                && self.keys.get(&key).is_some_and(|known| known.envelope == *id)
            {
                self.keys.remove(&key);
            }
        }
        self.settle(change, at);
        for state in &change.states {
            self.states.insert((state.person, state.routine.to_string()), state.payload.clone());
            if let Some(keep) = state.keep {
                self.revise(state, keep, change.settled.last().map(|settlement| settlement.id()), at);
            }
        }
        for (person, routine) in &change.forgotten {
            self.states.remove(&(*person, routine.clone()));
        }
        for write in &change.jobs {
            self.jobs.insert(write.job.id, write.job.clone());
        }
        change.cursors.iter().for_each(|cursor| self.change_cursor(cursor));
        self.writes.extend(change.writes.iter().cloned());
        let drafts = change.drafts.iter().enumerate();
        let accepted = drafts.map(|(place, draft)| {
            let numbered = change.numbering.map(|numbering| (numbering.id(place), numbering.at));
            self.accept(draft, numbered, at)
        });
        grant.entries = accepted.collect();
        if let Some(numbering) = change.numbering.filter(|_| !change.drafts.is_empty()) {
            self.last_id = numbering.id(change.drafts.len() - 1).0;
        }
        if let Ok(Some(runs)) = self.runs.after(&change.runs) {
            self.runs = runs;
        }
        if !self.cursors.is_empty() {
            for fact in Committed::new(change.clone(), grant.clone(), at).facts() {
                if self.cursors.values().any(|cursor| cursor.interest.fits(&fact)) {
                    self.last_fact += 1;
                    self.facts.push(LoggedFact { offset: FactOffset(self.last_fact), at, fact });
                }
            }
        }
        grant
    }

    fn revise(&mut self, state: &StateWrite, keep: KeepStates, envelope: Option<EnvelopeId>, at: Timestamp) {
        let ring = self.revisions.entry((state.person, state.routine.to_string())).or_default();
        let number = ring.last().map_or(1, |last| last.number + 1);
        ring.push(Revision { number, written_at: at, envelope, payload: state.payload.clone() });
        let bytes = |ring: &[Revision]| ring.iter().map(|revision| revision.payload.len() as u64).sum::<u64>();
        while ring.len() > 1 && (ring.len() as u32 > keep.revisions_max.max(1) || bytes(ring) > keep.bytes_max) {
            ring.remove(0);
        }
    }

    fn change_cursor(&mut self, change: &CursorChange) {
        let last = FactOffset(self.last_fact);
        match change {
            CursorChange::Open { name, interest } => {
                let fresh = Cursor { name: name.clone(), interest: interest.clone(), position: last, last, missed: 0 };
                self.cursors.entry(name.clone()).or_insert(fresh).interest = interest.clone();
            }
            CursorChange::Acknowledge { name, to } => {
                if let Some(cursor) = self.cursors.get_mut(name) {
                    cursor.position = cursor.position.max((*to).min(last));
                }
            }
            CursorChange::Seek { name, to } => {
                if let Some(cursor) = self.cursors.get_mut(name) {
                    cursor.position = (*to).min(last).max(FactOffset(0));
                }
            }
            CursorChange::Close { name } => drop(self.cursors.remove(name)),
        }
    }

    fn settle(&mut self, change: &Change, at: Timestamp) {
        for settlement in &change.settled {
            if let Some(WaitingDelivery { delivery, .. }) = self.envelopes.remove(&settlement.id())
                && settlement.is_threaded()
            {
                self.keep(&delivery, Standing::Settled, at);
            }
            self.tally.settled += 1;
            self.remember(settlement.key(), Fate::Settled(settlement.reply.clone()));
        }
        for retry in &change.retried {
            if let Some(waiting) = self.envelopes.get_mut(&retry.id) {
                (waiting.delivery.attempt, waiting.due) = (retry.attempt, Some(retry.due));
            }
        }
        for burial in &change.buried {
            if let Some(WaitingDelivery { delivery, .. }) = self.envelopes.remove(&burial.id()) {
                let delivery = Delivery { attempt: burial.attempts, ..delivery };
                let letter = DeadLetter { delivery, failure: burial.failure.clone(), buried_at: at };
                self.dead.insert(burial.id(), letter);
                self.tally.buried += 1;
            }
            self.remember(burial.key(), Fate::Buried(burial.failure.to_string()));
        }
    }

    fn accept(&mut self, draft: &Draft, numbered: Option<(EnvelopeId, Timestamp)>, at: Timestamp) -> Entry {
        if let Some(known) = draft.key.as_ref().and_then(|key| self.keys.get(key)) {
            return Entry::Known { id: known.envelope, fate: known.fate.clone() };
        }
        if let Some(time) = draft.cooldown {
            if let Some(until) = self.cooling_until(draft, at) {
                return Entry::Cooling { until };
            }
            self.cooldowns.insert(cooling(draft), at.after(time));
        }
        let (id, accepted_at) = numbered.unwrap_or((EnvelopeId(self.last_id + 1), at));
        self.last_id = id.0;
        let draft = Draft { cooldown: None, ..draft.clone() };
        if let Some(key) = &draft.key {
            self.keys.insert(key.clone(), Key { envelope: id, accepted_at: at, fate: Fate::Waiting });
        }
        let due = draft.not_before;
        let delivery = Delivery { envelope: Arc::new(Envelope { id, accepted_at, draft }), attempt: 1 };
        self.envelopes.insert(id, WaitingDelivery { delivery, due });
        self.tally.accepted += 1;
        Entry::Accepted(id)
    }

    /// Removes what waits; it is remembered in its thread as standing so, if at all.
    fn remove(&mut self, id: EnvelopeId, standing: Option<Standing>, at: Timestamp) -> Option<Removal> {
        let WaitingDelivery { delivery, .. } = self.envelopes.remove(&id)?;
        if let Some(standing) = standing {
            self.keep(&delivery, standing, at);
        }
        let draft = &delivery.envelope.draft;
        self.remember(draft.key.as_deref(), Fate::Removed);
        Some(Removal { person: draft.to, id, bytes: draft.payload.len() })
    }

    fn keep(&mut self, delivery: &Delivery, standing: Standing, at: Timestamp) {
        if delivery.envelope.draft.thread.is_some() {
            let entry = ThreadEntry { envelope: delivery.envelope.clone(), standing };
            self.history.insert(delivery.id(), (entry, at));
        }
    }

    fn purge(&mut self, person: PersonId, grant: &mut Grant, at: Timestamp) {
        let mail = self.envelopes.values().filter(|waiting| waiting.delivery.envelope.draft.to == person);
        let ids: Vec<_> = mail.map(|waiting| waiting.delivery.id()).collect();
        let removed: Vec<_> = ids.into_iter().filter_map(|id| self.remove(id, None, at)).collect();
        self.tally.removed += removed.len() as u64;
        grant.removed.extend(removed);
        self.states.retain(|(owner, _), _| *owner != person);
        self.revisions.retain(|(owner, _), _| *owner != person);
        for job in self.jobs.values_mut().filter(|job| job.worker == person && !job.status.is_final()) {
            (job.status, job.ended_at) = (JobStatus::Cancelled, Some(at));
            job.error = Some("its worker was purged".into());
        }
        self.dead.retain(|_, letter| letter.delivery.envelope.draft.to != person);
        self.history.retain(|_, (entry, _)| entry.envelope.draft.to != person);
        self.cooldowns.retain(|(_, sender, recipient), _| *sender != person && *recipient != person);
    }

    fn remember(&mut self, key: Option<&str>, fate: Fate) {
        if let Some(key) = key.and_then(|key| self.keys.get_mut(key)) {
            key.fate = fate;
        }
    }
}
