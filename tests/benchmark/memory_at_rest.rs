//! Memory of what is at rest: an envelope that waits for somebody who sleeps or is absent, and a person on the roster whose
//! worker is not awake. Each figure is a slope: a child opens a site with so many and another one with twice as many, and
//! what the second has more of resident memory is divided by the difference; so what every site costs cancels out. The
//! sites are larger than the store's page cache, so that it is full in both.

use crate::Effort;
use crate::memory::resident;
use crate::table::{Figure, Target};
use std::path::Path;
use std::process::Command;
use worksite::prelude::*;
use worksite_model::{Change, Store};
use worksite_store::SqliteStore;

/// The flag under which this program opens a site and prints by how many bytes it has grown.
pub const CHILD: &str = "--measure-opening";

/// Envelopes of a thousand bytes that fill the page cache of 64 MiB.
const BALLAST: usize = 80_000;
const CHANGES: usize = 10_000;

/// What a site holds.
#[derive(Clone, Copy)]
struct Holdings {
    people: usize,
    envelopes: usize,
    body_bytes: usize,
}

pub fn envelopes(effort: Effort) -> Figure {
    let envelopes = (1_000_000 / effort.divisor).max(400_000);
    let holdings = |factor: usize| Holdings { people: 10_000, envelopes: envelopes * factor, body_bytes: 200 };
    Figure {
        name: "memory-cold-envelope".into(),
        unit: "bytes",
        values: slopes(effort, holdings, envelopes),
        target: Some(Target::AtMost(24.0)),
    }
}

pub fn people(effort: Effort) -> Figure {
    let people = 500_000 / effort.divisor.min(5);
    let holdings = |factor: usize| Holdings { people: people * factor, envelopes: BALLAST, body_bytes: 1_000 };
    Figure {
        name: "memory-passivated-person".into(),
        unit: "bytes",
        values: slopes(effort, holdings, people),
        target: Some(Target::AtMost(200.0)),
    }
}

/// Bytes a thing: by how much the site with twice as many of them is larger.
fn slopes(effort: Effort, holdings: impl Fn(usize) -> Holdings, things: usize) -> Vec<f64> {
    let folder = tempfile::tempdir().expect("a folder for the sites");
    let (once, twice) = (folder.path().join("once.db"), folder.path().join("twice.db"));
    fill(&once, holdings(1));
    fill(&twice, holdings(2));
    (0..effort.repeats.min(3)).map(|_| (growth(&twice) - growth(&once)) / things as f64).collect()
}

fn growth(path: &Path) -> f64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program).arg(CHILD).arg(path).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("no figure: {output:?}"))
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

/// Mail for the first ten thousand; of these every other one has left.
fn fill(path: &Path, Holdings { people, envelopes, body_bytes }: Holdings) {
    let mut store = SqliteStore::open(path, SqliteOptions::default()).expect("a new site");
    let body = Payload::encode(&"x".repeat(body_bytes)).expect("text can be encoded");
    let everybody = (0..people as i64).map(|id| Person::new(id, format!("person {id}")));
    commit(&mut store, &[Change::sync(everybody.clone().collect(), Departure::Keep)]);
    for first in (0..envelopes).step_by(CHANGES) {
        let to = |index: usize| (index % people.min(CHANGES)) as i64;
        let drafts = (first..envelopes.min(first + CHANGES)).map(|index| Draft::of(to(index), body.clone()));
        commit(&mut store, &[Change::send(drafts.collect())]);
    }
    let present = everybody.filter(|person| person.id.0 >= CHANGES as i64 || person.id.0 % 2 == 0);
    commit(&mut store, &[Change::sync(present.collect(), Departure::Keep)]);
}

fn commit(store: &mut SqliteStore, changes: &[Change]) {
    let verdicts = store.commit(changes, Timestamp::default()).expect("it is written");
    assert!(verdicts.iter().all(Result::is_ok));
}
