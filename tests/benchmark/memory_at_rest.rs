//! Memory of what is at rest: an envelope that waits for somebody who sleeps or is absent, and a person on the roster whose
//! worker is not awake. A child opens a site with so many of them, another child one without; what the first has more of
//! resident memory is divided by what it holds more, so that what every site costs cancels out. Both hold a ballast larger
//! than the store's page cache, so that it is full in both.

use crate::Effort;
use crate::machine::alone;
use crate::memory::resident;
use crate::table::{Figure, Target};
use std::path::Path;
use worksite::prelude::*;
use worksite_model::{Change, Store};
use worksite_store::SqliteStore;

/// The flag under which this program opens a site and prints by how many bytes it has grown.
pub const CHILD: &str = "--measure-opening";

/// Envelopes of a thousand bytes, for somebody who has left: more than the page cache of 64 MiB.
const BALLAST: usize = 80_000;
const CHANGES: usize = 10_000;
/// On every site.
const PEOPLE: usize = 10_000;

/// What a site holds beside its ballast.
#[derive(Clone, Copy)]
struct Holdings {
    people: usize,
    /// Of 200 bytes, for the first ten thousand people, of whom every other one has left.
    envelopes: usize,
}

const NOTHING: Holdings = Holdings { people: PEOPLE, envelopes: 0 };

pub fn envelopes(effort: Effort) -> Figure {
    // Never fewer: with few a person, what a person's queue costs would be measured.
    let envelopes = 1_000_000;
    figure("memory-cold-envelope", effort, Holdings { envelopes, ..NOTHING }, envelopes, 24.0)
}

pub fn people(effort: Effort) -> Figure {
    let people = 1_000_000 / effort.divisor.min(10);
    figure("memory-passivated-person", effort, Holdings { people: PEOPLE + people, ..NOTHING }, people, 200.0)
}

fn figure(name: &str, effort: Effort, much: Holdings, things: usize, most: f64) -> Figure {
    let folder = tempfile::tempdir().expect("a folder for the sites");
    let (empty, full) = (folder.path().join("empty.db"), folder.path().join("full.db"));
    fill(&empty, NOTHING);
    fill(&full, much);
    let growth = |path: &Path| alone(CHILD, path)[0];
    let each = |_| (growth(&full) - growth(&empty)) / things as f64;
    let values = (0..effort.repeats.min(3)).map(each).collect();
    Figure { name: name.into(), unit: "bytes", values, target: Some(Target::AtMost(most)) }
}

pub fn child(path: &str) {
    worksite::block_on(async {
        let before = resident();
        // Without routines, all workers are manual: nobody wakes.
        let site = Worksite::open(path).await.expect("it opens");
        site.tally().await.expect("it counts");
        println!("{}", resident() as f64 - before as f64);
        assert!(site.awake().is_empty());
        site.shutdown().await;
    });
}

fn fill(path: &Path, Holdings { people, envelopes }: Holdings) {
    let mut store = SqliteStore::open(path, SqliteOptions::default()).expect("a new site");
    let everybody = (0..people as i64).map(|id| Person::new(id, format!("person {id}")));
    commit(&mut store, Change::sync(everybody.clone().chain([Person::new(-1, "ballast")]).collect(), Departure::Keep));
    send(&mut store, BALLAST, 1_000, |_| -1);
    send(&mut store, envelopes, 200, |index| (index % PEOPLE) as i64);
    let present = everybody.filter(|person| person.id.0 >= PEOPLE as i64 || person.id.0 % 2 == 0);
    commit(&mut store, Change::sync(present.collect(), Departure::Keep));
}

fn send(store: &mut SqliteStore, count: usize, bytes: usize, to: impl Fn(usize) -> i64) {
    let body = Payload::encode(&"x".repeat(bytes)).expect("text can be encoded");
    for first in (0..count).step_by(CHANGES) {
        let drafts = (first..count.min(first + CHANGES)).map(|index| Draft::of(to(index), body.clone()));
        commit(store, Change::send(drafts.collect()));
    }
}

fn commit(store: &mut SqliteStore, change: Change) {
    let verdicts = store.commit(&[change], Timestamp::default()).expect("it is written");
    assert!(verdicts.iter().all(Result::is_ok));
}
