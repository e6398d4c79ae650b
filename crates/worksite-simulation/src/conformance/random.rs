//! Random changes own what no hand-written case thought of: from a seed, against two models, with restarts in between.

use super::{AT, Open, commit, draft, opened, people, removal, settle, settle_draft, state, waiting};
use crate::memory::{MemoryDisk, MemoryStore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use worksite_model::flow::{Job, JobFilter, JobId, JobNotes, JobStatus, JobWrite};
use worksite_model::{
    Burial, Change, CursorChange, Departure, Draft, Envelope, EnvelopeId, FactOffset, FailureKind, Interest, Keep,
    KeepStates, NamedWrite, Numbering, Payload, PersonId, Priority, Refusal, Retention, Retry, RosterChange,
    RoutineFailure, Settlement, StateWrite, Store, Timestamp, Verdict, chance,
};

/// Thousands of changes from a seed, good and bad, in batches, with restarts; a set of ids says what must wait.
pub(super) fn random_changes_mean_what_a_plain_model_says(open: Open<'_>) {
    let mut store = opened(open);
    let mut model: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for round in 0..400 {
        let roll = |place: i64, sides: u64| (chance(round, &[place]) % sides) as i64;
        let batch: Vec<_> = (0..1 + roll(0, 8)).map(|place| random_change(&model, 10 * (place + 1), &roll)).collect();
        for (change, verdict) in batch.iter().zip(commit(store.as_mut(), &batch)) {
            apply(&mut model, change, verdict);
        }
        if roll(1, 40) == 0 {
            drop(store);
            store = open();
        }
        for person in 1..=3 {
            let expected: Vec<_> = model.get(&person).into_iter().flatten().copied().collect();
            assert_eq!(waiting(store.as_mut(), person), expected, "round {round}, person {person}");
        }
    }
}

fn random_change(model: &BTreeMap<i64, BTreeSet<i64>>, place: i64, roll: &dyn Fn(i64, u64) -> i64) -> Change {
    let person = 1 + roll(place, 3);
    let mail = model.get(&person).cloned().unwrap_or_default();
    let known = mail.iter().nth(roll(place + 1, 1 + mail.len() as u64) as usize);
    let id = EnvelopeId(known.copied().unwrap_or(1));
    match roll(place + 2, 6) {
        0 | 1 => Change::send((0..1 + roll(place + 3, 4)).map(|_| draft(1 + roll(place + 4, 3))).collect()),
        2 => Change { drafts: vec![draft(1 + roll(place + 3, 4))], ..settle(person, id) },
        3 => settle(1 + roll(place + 3, 3), id),
        4 => Change::acknowledge(vec![id, EnvelopeId(1 + roll(place + 3, 50))]),
        _ => Change { states: vec![state(person, place as u64)], ..settle(person, id) },
    }
}

fn apply(model: &mut BTreeMap<i64, BTreeSet<i64>>, change: &Change, verdict: Verdict) {
    let settled = change.settled.iter().map(|settlement| settlement.id().0);
    let author = change.author.map_or(0, |author| author.0);
    let waits = |id: i64| model.get(&author).is_some_and(|mail| mail.contains(&id));
    let good = change.drafts.iter().all(|draft| draft.to.0 <= 3) && settled.clone().all(waits);
    assert_eq!(verdict.is_ok(), good, "{change:?}");
    let Ok(grant) = verdict else { return };
    for id in settled {
        model.entry(author).or_default().remove(&id);
    }
    for id in &change.removed {
        let removed = model.iter_mut().find_map(|(person, mail)| mail.remove(&id.0).then_some(*person));
        assert_eq!(removed.is_some_and(|person| grant.removed.contains(&removal(person, *id))), removed.is_some());
    }
    for (draft, entry) in change.drafts.iter().zip(&grant.entries) {
        model.entry(draft.to.0).or_default().insert(entry.id().0);
    }
}

/// How many batches the two stores are given: about ten thousand changes.
const BATCHES: u64 = 2_000;

/// Changes that use every field, given to this store and to one in memory: every answer and all that can be read is equal.
pub(super) fn random_changes_mean_the_same_as_in_memory(open: Open<'_>) {
    let disk = MemoryDisk::default();
    let mut store = opened(open);
    let mut twin = opened(&mut || Box::new(MemoryStore::open(&disk)));
    let (mut granted, mut refused) = (0, 0);
    for round in 0..BATCHES {
        let mut dice = Dice { seed: round, rolls: 0 };
        let mut batch: Vec<_> = (0..dice.roll(10)).map(|_| dice.change(twin.as_mut())).collect();
        if dice.roll(2) == 0 {
            dice.run_ahead(&mut batch, twin.last_id().expect("the store can be read").0);
        }
        let (verdicts, expected) = (commit(store.as_mut(), &batch), commit(twin.as_mut(), &batch));
        for (place, change) in batch.iter().enumerate() {
            assert_eq!(plain(&verdicts[place]), plain(&expected[place]), "round {round}, {change:?}");
            *(if verdicts[place].is_ok() { &mut granted } else { &mut refused }) += 1;
        }
        if dice.roll(40) == 0 {
            drop(store);
            store = open();
        }
        if dice.roll(100) == 0 {
            let at = AT.after(Duration::from_secs(dice.roll(2)));
            let retention = dice.retention();
            assert_eq!(store.prune(&retention, at), twin.prune(&retention, at), "round {round}");
        }
        assert_equal(store.as_mut(), twin.as_mut(), round);
    }
    assert!(granted > 3_000 && refused > 1_000, "good and bad ones: {granted} and {refused}");
}

/// Which one of several that do not wait is named in a refusal is nobody's promise.
fn plain(verdict: &Verdict) -> Verdict {
    match verdict {
        Err(Refusal::NotWaiting(_)) => Err(Refusal::NotWaiting(EnvelopeId(0))),
        Err(Refusal::JobEnded(_)) => Err(Refusal::JobEnded(JobId(0))),
        Err(Refusal::UnknownPerson(_)) => Err(Refusal::UnknownPerson(PersonId(0))),
        verdict => verdict.clone(),
    }
}

fn assert_equal(store: &mut dyn Store, twin: &mut dyn Store, round: u64) {
    assert_eq!(store.tally(), twin.tally(), "round {round}");
    assert_eq!(store.roster(), twin.roster(), "round {round}");
    assert_eq!(store.waiting(), twin.waiting(), "round {round}");
    assert_eq!(store.last_id(), twin.last_id(), "round {round}");
    let after = EnvelopeId((round * 3).cast_signed());
    assert_eq!(store.envelope(after), twin.envelope(after), "round {round}");
    assert_eq!(store.dead_letters(after, 5), twin.dead_letters(after, 5), "round {round}");
    assert_eq!(store.paused(), twin.paused(), "round {round}");
    let mut filter = JobFilter { flow: round.is_multiple_of(3).then(|| "f".to_string()), ..JobFilter::default() };
    (filter.open, filter.after) = (round.is_multiple_of(5), Some(JobId((round % 50).cast_signed())));
    assert_eq!(store.jobs(&filter, 20), twin.jobs(&filter, 20), "round {round}");
    assert_eq!(store.open_jobs(), twin.open_jobs(), "round {round}");
    let job = JobId((round % 80).cast_signed());
    assert_eq!(store.job(job), twin.job(job), "round {round}");
    assert_eq!(store.cursors(), twin.cursors(), "round {round}");
    let from = FactOffset((round * 2).cast_signed());
    let everything = Interest::everything();
    assert_eq!(store.facts(&everything, from, 20), twin.facts(&everything, from, 20), "round {round}");
    let thread = format!("thread {}", round % 4);
    assert_eq!(store.thread(&thread, after, 20), twin.thread(&thread, after, 20), "round {round}");
    let person = PersonId(1 + (round % PEOPLE.cast_unsigned()).cast_signed());
    assert_eq!(store.recover(person, AT), twin.recover(person, AT), "round {round}, person {person}");
    assert_eq!(store.state(person, "r"), twin.state(person, "r"), "round {round}, person {person}");
    assert_eq!(store.revisions(person, "r", 4), twin.revisions(person, "r", 4), "round {round}, person {person}");
}

/// How many people come and go.
const PEOPLE: i64 = 5;

/// Numbers from a seed.
struct Dice {
    seed: u64,
    rolls: i64,
}

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.rolls += 1;
        chance(self.seed, &[self.rolls]) % sides
    }

    fn person(&mut self) -> i64 {
        1 + self.roll(PEOPLE.cast_unsigned()).cast_signed()
    }

    /// A change that may use any field, for what waits in this store.
    fn change(&mut self, store: &mut dyn Store) -> Change {
        let person = PersonId(self.person());
        let mail = store.recover(person, AT).expect("the store can be read").waiting;
        let mut mail: Vec<_> = mail.into_iter().map(|waiting| waiting.delivery.envelope).collect();
        let mut change = Change { author: (self.roll(20) > 0).then_some(person), ..Change::default() };
        for _ in 0..self.roll(4) {
            let Some(envelope) = self.pick(&mut mail) else { break };
            self.dispose(&mut change, &envelope);
        }
        if self.roll(60) == 0 {
            // What does not wait for them: it is somebody else's, or was never there.
            let others = store.recover(PersonId(self.person()), AT).expect("the store can be read").waiting;
            let other = others.first().map(|waiting| waiting.delivery.envelope.clone());
            let other = other.filter(|other| other.draft.to != person);
            let envelope = other.unwrap_or_else(|| super::envelope(EnvelopeId(1_000_000), draft(person.0)));
            change.settled.push(Settlement { envelope, routine: "r", reply: None });
        }
        for _ in 0..self.roll(2) {
            let keep = KeepStates { revisions_max: self.roll(5) as u32, bytes_max: self.roll(12) };
            let keep = (self.roll(2) == 0).then_some(keep);
            change.states.push(StateWrite { keep, ..state(self.person(), self.roll(1_000)) });
        }
        change.drafts = (0..self.roll(4)).map(|_| self.draft()).collect();
        match self.roll(60) {
            0 => change.clear = true,
            1..=4 => change.roster = Some(self.roster_change()),
            6..=8 => change.paused.push((PersonId(self.person()), self.roll(2) == 0)),
            9..=14 => return self.exhume(store),
            15..=20 => change.cursors.push(self.cursor_change()),
            21..=40 => change.jobs = (0..1 + self.roll(3)).map(|_| self.job()).collect(),
            41..=45 => change.forgotten.push((PersonId(self.person()), "r".into())),
            // Nothing else is wrong with it: which of two faults is told is nobody's promise.
            5 => {
                let write = NamedWrite { name: "nobody".into(), bytes: vec![1] };
                return Change { writes: vec![write], ..Change::send(change.drafts) };
            }
            _ => {}
        }
        change
    }

    /// Numbers the drafts of a batch, and settles some of them in the same batch; some of that is bad.
    fn run_ahead(&mut self, batch: &mut Vec<Change>, last: i64) {
        let mut next = last + 1 + self.roll(3).cast_signed();
        let mut settling = Vec::new();
        for change in batch.iter_mut() {
            let first = if self.roll(40) == 0 { EnvelopeId(last) } else { EnvelopeId(next) };
            let numbering = Numbering { first, at: AT.after(Duration::from_secs(self.roll(2))) };
            change.numbering = Some(numbering);
            next += change.drafts.len() as i64;
            // What is refused settles nothing: its ids are others'.
            let accepted = change.drafts.iter().enumerate().filter(|_| first.0 > last);
            for (place, draft) in accepted {
                let id = numbering.id(place);
                let author = if self.roll(10) == 0 { self.person() } else { draft.to.0 };
                let envelope = Envelope { id, accepted_at: numbering.at, draft: draft.clone() };
                match self.roll(8) {
                    0..=4 => settling.push(settle_draft(author, id, envelope.draft, None)),
                    5 => {
                        let mut change = Change { author: Some(PersonId(author)), ..Change::default() };
                        self.dispose(&mut change, &Arc::new(envelope));
                        settling.push(change);
                    }
                    6 => settling.push(Change {
                        drafts: vec![draft.clone(), self::draft(99)],
                        ..settle_draft(author, id, envelope.draft, None)
                    }),
                    _ => {}
                }
            }
        }
        batch.append(&mut settling);
    }

    fn roster_change(&mut self) -> RosterChange {
        let some: Vec<_> = (1..=PEOPLE).filter(|_| self.roll(4) > 0).collect();
        let departure = if self.roll(2) == 0 { Departure::Keep } else { Departure::Purge };
        match self.roll(4) {
            0 => RosterChange::Join(people(&some).people().cloned().collect()),
            1 => RosterChange::Leave { people: some.into_iter().skip(2).map(PersonId).collect(), departure },
            _ => RosterChange::Sync { target: people(&some), departure },
        }
    }

    /// Redrives a dead letter, or forgets it, or tries to do so to one that is not there.
    fn exhume(&mut self, store: &mut dyn Store) -> Change {
        let mut dead = store.dead_letters(EnvelopeId(0), 20).expect("the store can be read");
        let Some(letter) = self.pick(&mut dead) else {
            return Change { exhumed: vec![EnvelopeId(1 + self.roll(300).cast_signed())], ..Change::default() };
        };
        let drafts = if self.roll(2) == 0 { vec![letter.delivery.envelope.draft.clone()] } else { Vec::new() };
        let known = store.roster().expect("the store can be read");
        let drafts = drafts.into_iter().filter(|draft| known.contains(draft.to)).collect();
        Change { exhumed: vec![letter.delivery.id()], ..Change::send(drafts) }
    }

    /// Opens, moves or closes one of a few durable subscriptions: all names are opened before they are moved.
    fn cursor_change(&mut self) -> CursorChange {
        let name = format!("cursor {}", self.roll(3));
        let interest = match self.roll(3) {
            0 => Interest::everything(),
            1 => Interest::everything().person(self.person()),
            _ => Interest::everything().processed(),
        };
        match self.roll(8) {
            0 => CursorChange::Close { name },
            _ => CursorChange::Open { name, interest },
        }
    }

    /// A job that may be there or not, and may have ended.
    fn job(&mut self) -> JobWrite {
        let id = 1 + self.roll(80).cast_signed();
        let status = JobStatus::ALL[1 + self.roll(4) as usize];
        let notes = JobNotes { output: "x".repeat(self.roll(5) as usize), ..JobNotes::default() };
        let job = Job {
            id: JobId(id),
            worker: PersonId(self.person()),
            flow: if self.roll(2) == 0 { "f".into() } else { "g".into() },
            status,
            // As ids follow the order of acceptance.
            created_at: Timestamp::from_seconds(id),
            ended_at: status.is_final().then(|| Timestamp::from_seconds(id + 9)),
            deadline: (self.roll(3) == 0).then(|| Timestamp::from_seconds(99)),
            parent: (self.roll(3) == 0).then_some(JobId(7)),
            error: (self.roll(3) == 0).then(|| "no".into()),
            body: (self.roll(3) == 0).then(|| Payload::encode(&notes).expect("notes can be encoded")),
        };
        JobWrite { job, known: self.roll(2) == 0 }
    }

    fn retention(&mut self) -> Retention {
        let mut keep = || Keep { age: Duration::from_secs(self.roll(2)), rows: self.roll(60) };
        Retention {
            keys: keep(),
            dead_letters: keep(),
            history: keep(),
            quarantine: keep(),
            facts: keep(),
            jobs: keep(),
            people: keep(),
            ..Retention::default()
        }
    }

    fn pick<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        let place = self.roll(from.len().max(1) as u64) as usize;
        (place < from.len()).then(|| from.swap_remove(place))
    }

    fn dispose(&mut self, change: &mut Change, envelope: &Arc<Envelope>) {
        let (id, envelope) = (envelope.id, envelope.clone());
        let failure = RoutineFailure::new(FailureKind::Panicked, format!("for {id}"));
        match self.roll(12) {
            0 | 1 => {
                let due = Timestamp::from_seconds(self.roll(5_000).cast_signed());
                change.retried.push(Retry { id, attempt: 2 + self.roll(3) as u32, due, failure: Some(failure) });
            }
            2 => change.buried.push(Burial { envelope, attempts: 3, failure }),
            3 if self.roll(2) == 0 => change.dropped.push(id),
            3 => change.removed.push(id),
            // Settled, and acknowledged besides: that cannot be.
            4 => {
                change.removed.push(id);
                change.settled.push(Settlement { envelope, routine: "r", reply: None });
            }
            _ => {
                let reply = Payload::encode(&self.roll(99)).expect("a number can be encoded");
                let reply = (self.roll(2) == 0).then_some(reply);
                change.settled.push(Settlement { envelope, routine: "r", reply });
            }
        }
    }

    fn draft(&mut self) -> Draft {
        let mut draft = draft(self.person()).priority(Priority::ALL[self.roll(5) as usize]);
        if self.roll(3) == 0 {
            draft = draft.key(format!("key {}", self.roll(200)));
        }
        if self.roll(4) == 0 {
            draft = draft.thread(format!("thread {}", self.roll(4)));
        }
        if self.roll(6) == 0 {
            draft = draft.from(self.person()).channel("chat").cooldown(Duration::from_secs(self.roll(3)));
        }
        if self.roll(5) == 0 {
            draft = draft.not_before(Timestamp::from_seconds(self.roll(5_000).cast_signed()));
        }
        draft
    }
}
