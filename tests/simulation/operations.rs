//! Random operations own what no scenario thought of: everything an application may do with manual inboxes, in any order,
//! against a plain list that says what must come of it; with crashes in between, on both stores.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;
use worksite_model::{
    Delivery, Departure, Draft, EnvelopeId, Filter, Person, PersonId, Priority, Store, Timestamp, chance,
};
use worksite_runtime::{ManualClock, Runtime};
use worksite_simulation::{MemoryDisk, MemoryStore};
use worksite_store::{SqliteOptions, SqliteStore, SyncMode};

const PEOPLE: i64 = 4;
const KINDS: [&str; 3] = ["mail", "report", "event"];

/// What an application knows of an envelope it sent.
#[derive(Debug, Clone)]
struct Known {
    person: i64,
    priority: Priority,
    kind: &'static str,
    since: Timestamp,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    out: bool,
}

/// The plain list, and numbers from a seed.
struct Model {
    seed: u64,
    rolls: i64,
    known: BTreeMap<i64, Known>,
    active: Vec<bool>,
    accepted: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        Self { seed, rolls: 0, known: BTreeMap::new(), active: vec![true; PEOPLE as usize + 1], accepted: 0 }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.rolls += 1;
        chance(self.seed, &[self.rolls]) % sides
    }

    fn person(&mut self) -> i64 {
        1 + self.roll(PEOPLE as u64) as i64
    }

    /// What could be taken now, in order.
    fn ready(&self, person: i64, now: Timestamp, kind: Option<&str>) -> Vec<i64> {
        let ready = self.known.iter().filter(|(_, known)| {
            known.person == person
                && !known.out
                && known.not_before.is_none_or(|moment| moment <= now)
                && kind.is_none_or(|kind| known.kind == kind)
        });
        let mut ready: Vec<_> = ready.map(|(id, known)| (Reverse(known.priority), known.since, *id)).collect();
        ready.sort();
        ready.into_iter().map(|(_, _, id)| id).collect()
    }

    /// What has expired is gone at the next look.
    fn expire(&mut self, person: i64, now: Timestamp) {
        let gone = |known: &Known| known.person == person && !known.out && known.expires_at.is_some_and(|at| at <= now);
        self.known.retain(|_, known| !gone(known));
    }

    fn crash(&mut self) {
        self.known.values_mut().for_each(|known| known.out = false);
    }
}

/// Plays so many operations on stores that `open` opens again and again.
fn play(seed: u64, operations: usize, open: &mut dyn FnMut() -> Box<dyn Store>) {
    let mut model = Model::new(seed);
    let clock = ManualClock::new(Timestamp::from_seconds(1_000));
    let mut played = 0;
    while played < operations {
        let life = 20 + model.roll(200) as usize;
        let time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        // Dropped in the middle, as a crash would: nothing is closed in order.
        tokio::task::LocalSet::new().block_on(&time, async {
            let site = Runtime::builder().clock(clock.clock()).start_local(open()).await.unwrap();
            if played == 0 {
                site.sync((1..=PEOPLE).map(|id| Person::new(id, format!("{id}")))).await.unwrap();
            }
            for _ in 0..life {
                operate(&site, &mut model, &clock).await;
            }
            if model.roll(3) == 0 {
                site.shutdown().await;
            }
        });
        model.crash();
        played += life;
    }
}

async fn operate(site: &Runtime, model: &mut Model, clock: &ManualClock) {
    let person = model.person();
    match model.roll(20) {
        0..=6 => send(site, model, clock).await,
        7 => drop(clock.advance(Duration::from_secs(model.roll(30)))),
        8 => roster(site, model, person).await,
        9..=11 => acknowledge(site, model).await,
        _ if model.active[person as usize] => take(site, model, clock, person).await,
        _ => assert!(site.drain(person, 1).await.is_err(), "who is away has no desk"),
    }
    let tally = site.tally().await.unwrap();
    assert!(tally.is_conserved() && tally.accepted == model.accepted, "{tally:?}, {} accepted", model.accepted);
}

async fn send(site: &Runtime, model: &mut Model, clock: &ManualClock) {
    let now = clock.now();
    let mut drafts = Vec::new();
    for _ in 0..model.roll(4) {
        let known = Known {
            person: model.person(),
            priority: Priority::ALL[model.roll(5) as usize],
            kind: KINDS[model.roll(3) as usize],
            since: now,
            not_before: (model.roll(4) == 0).then(|| now.after(Duration::from_secs(1 + model.roll(60)))),
            expires_at: (model.roll(4) == 0).then(|| now.after(Duration::from_secs(70 + model.roll(60)))),
            out: false,
        };
        drafts.push(Known { since: known.not_before.unwrap_or(now), ..known });
    }
    let sent = drafts.iter().map(|known| {
        let draft = Draft::to(known.person, &String::from("x")).unwrap().priority(known.priority).kind(known.kind);
        Draft { not_before: known.not_before, expires_at: known.expires_at, ..draft }
    });
    let sent = site.send_all(sent.collect()).await;
    let all_active = drafts.iter().all(|known| model.active[known.person as usize]);
    assert_eq!(sent.is_ok(), all_active);
    for (receipt, known) in sent.into_iter().flatten().zip(drafts) {
        model.accepted += 1;
        model.known.insert(receipt.id.0, known);
    }
}

async fn roster(site: &Runtime, model: &mut Model, person: i64) {
    let active = &mut model.active[person as usize];
    if !*active {
        site.join(Person::new(person, "back")).await.unwrap();
        *active = true;
        return;
    }
    *active = false;
    if model.roll(2) == 0 {
        site.leave(person, Departure::Purge).await.unwrap();
        model.known.retain(|_, known| known.person != person);
    } else {
        site.leave(person, Departure::Keep).await.unwrap();
        // Its worker has gone, and what it had handed out waits for the return.
        model.known.values_mut().filter(|known| known.person == person).for_each(|known| known.out = false);
    }
}

async fn acknowledge(site: &Runtime, model: &mut Model) {
    let all: Vec<_> = model.known.iter().map(|(id, known)| (*id, known.out)).collect();
    let chosen: Vec<_> = all
        .into_iter()
        .filter(|(_, out)| model.roll(if *out { 2 } else { 30 }) == 0)
        .map(|(id, _)| id)
        .chain([999_999_999])
        .collect();
    let removed = site.acknowledge(chosen.iter().copied().map(EnvelopeId).collect()).await.unwrap();
    // What has expired may have gone before, unseen; nothing else.
    assert!(removed < chosen.len());
    model.known.retain(|id, _| !chosen.contains(id));
}

async fn take(site: &Runtime, model: &mut Model, clock: &ManualClock, person: i64) {
    let kind = (model.roll(3) == 0).then(|| KINDS[model.roll(3) as usize]);
    let filter = kind.map_or(Filter::all(), |kind| Filter::all().kind(kind));
    let limit = model.roll(6) as usize;
    model.expire(person, clock.now());
    let ready = model.ready(person, clock.now(), kind);
    let first: Vec<_> = ready.iter().copied().take(limit).collect();
    match model.roll(5) {
        0 => assert_eq!(ids(&site.peek_by(person, filter, limit).await.unwrap()), first),
        1 | 2 => {
            assert_eq!(ids(&site.drain_by(person, filter, limit).await.unwrap()), first);
            for id in first {
                model.known.get_mut(&id).unwrap().out = true;
            }
        }
        3 => {
            let out: Vec<_> = model.known.iter().filter(|(_, known)| known.person == person && known.out).collect();
            let back: Vec<_> = out.into_iter().map(|(id, _)| *id).collect();
            let back: Vec<_> = back.into_iter().filter(|_| model.roll(2) == 0).collect();
            let put = back.iter().copied().map(EnvelopeId).collect();
            assert_eq!(site.put_back(person, put).await.unwrap(), back.len());
            for id in back {
                model.known.get_mut(&id).unwrap().out = false;
            }
        }
        _ => {
            // Scheduled mail is meant too.
            assert_eq!(ids(&site.peek_by(person, filter.clone(), limit).await.unwrap()), first);
            let meant =
                |known: &Known| known.person == person && !known.out && kind.is_none_or(|kind| known.kind == kind);
            let expected = model.known.values().filter(|known| meant(known)).count();
            assert_eq!(site.remove_by(PersonId(person), filter).await.unwrap(), expected);
            model.known.retain(|_, known| !meant(known));
        }
    }
}

fn ids(mail: &[Delivery]) -> Vec<i64> {
    mail.iter().map(|mail| mail.id().0).collect()
}

fn in_memory(seed: u64, operations: usize) {
    let disk = MemoryDisk::default();
    play(seed, operations, &mut || Box::new(MemoryStore::open(&disk)));
}

fn in_a_file(seed: u64, operations: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.db");
    // What is proved here does not rest on the disk's sync, and is a hundred times quicker without.
    let options = || SqliteOptions { sync: SyncMode::Normal, ..SqliteOptions::default() };
    play(seed, operations, &mut || Box::new(SqliteStore::open(&path, options()).unwrap()));
}

#[test]
fn random_operations_mean_what_a_plain_list_says() {
    for seed in 0..4 {
        in_memory(seed, 1_500);
    }
    in_a_file(9, 1_500);
}

/// `cargo test --release --test simulation -- --ignored a_hundred_thousand`: more than 100,000 operations.
#[test]
#[ignore = "a soak"]
fn a_hundred_thousand_random_operations() {
    for seed in 100..110 {
        in_memory(seed, 12_000);
        in_a_file(seed, 3_000);
    }
}
