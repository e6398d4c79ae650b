//! A roster of a million new people, durable, against the same rows inserted by rusqlite alone in one transaction.

use crate::Effort;
use crate::machine::{rate, timed};
use crate::table::{Line, Target};
use rusqlite::{Connection, params};
use worksite::prelude::*;

pub fn line(effort: Effort) -> Line {
    let people = 1_000_000 / effort.divisor;
    let pairs = (0..effort.repeats).map(|_| (ours(people), raw(people))).collect();
    Line { name: "roster-1m".into(), unit: "people/s", pairs, target: Some(Target::AtLeast(0.5)) }
}

fn name(id: usize) -> String {
    format!("person {id}")
}

fn ours(count: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the site");
    let people: Vec<_> = (0..count).map(|id| Person::new(id as i64, name(id))).collect();
    worksite::block_on(async {
        let site = Worksite::open(folder.path().join("site.db")).await.expect("a site");
        #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
        let start = std::time::Instant::now();
        let difference = site.sync(people).await.expect("a roster");
        let took = start.elapsed();
        assert_eq!(difference.joined.len(), count);
        site.shutdown().await;
        rate(count, took)
    })
}

fn raw(count: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the database");
    let connection = Connection::open(folder.path().join("raw.db")).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
             CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL,
                                  active INTEGER NOT NULL, joined_at INTEGER NOT NULL, left_at INTEGER) STRICT;",
        )
        .expect("tables");
    let people: Vec<_> = (0..count).map(name).collect();
    let ((), took) = timed(|| {
        connection.execute_batch("BEGIN IMMEDIATE").expect("begun");
        let sql = "INSERT INTO people VALUES (?1, ?2, '', 1, 1700000000000000, NULL)";
        let mut insert = connection.prepare_cached(sql).expect("sql");
        for (id, name) in people.iter().enumerate() {
            insert.execute(params![id as i64, name]).expect("inserted");
        }
        connection.execute_batch("COMMIT").expect("committed");
    });
    rate(count, took)
}
