//! Recovery of a million waiting envelopes: opening the store, with its one scan and the index it builds, against a
//! raw scan of the same two columns of the same file. The page cache is warm for both.

use crate::Effort;
use crate::machine::{rate, timed};
use crate::table::{Line, Target};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use worksite_model::{Change, Departure, Draft, Payload, Person, Roster, Store, Timestamp};
use worksite_store::{SqliteOptions, SqliteStore};

const PEOPLE: i64 = 10_000;

pub fn line(effort: Effort) -> Line {
    let envelopes = 1_000_000 / effort.divisor;
    let folder = tempfile::tempdir().expect("a folder for the site");
    let path = folder.path().join("site.db");
    fill(&path, envelopes);
    let pairs = (0..effort.repeats).map(|_| (ours(&path, envelopes), raw(&path, envelopes))).collect();
    Line { name: "recovery-1m".into(), unit: "envelopes/s", pairs, target: Some(Target::AtLeast(0.4)) }
}

fn fill(path: &Path, envelopes: usize) {
    let mut store = SqliteStore::open(path, SqliteOptions::default()).expect("a new site");
    let people: Roster = (0..PEOPLE).map(|id| Person::new(id, "worker")).collect();
    let work = Payload::encode(&"x".repeat(198)).expect("text can be encoded");
    let mut batch = vec![Change::sync(people, Departure::Keep)];
    for index in 0..envelopes {
        let to = (worksite_model::chance(1, &[index as i64]) % PEOPLE as u64) as i64;
        batch.push(Change::send(vec![Draft::of(to, work.clone())]));
        if batch.len() == 10_000 || index + 1 == envelopes {
            store.commit(&batch, Timestamp::default()).expect("it is written");
            batch.clear();
        }
    }
}

fn ours(path: &Path, envelopes: usize) -> f64 {
    let (mut store, took) = timed(|| SqliteStore::open(path, SqliteOptions::default()).expect("it opens"));
    assert_eq!(store.tally().expect("it counts").waiting, envelopes as u64);
    rate(envelopes, took)
}

fn raw(path: &Path, envelopes: usize) -> f64 {
    let (sum, took) = timed(|| {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("it opens");
        let mut scan = connection.prepare("SELECT id, recipient FROM envelopes ORDER BY id").expect("sql");
        let rows = scan.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).expect("rows");
        rows.fold(0_usize, |count, row| count + usize::from(row.is_ok_and(|(id, _)| id > 0)))
    });
    assert_eq!(sum, envelopes);
    rate(envelopes, took)
}
