//! A worker with a state of a mebibyte that takes 100,000 small messages: bytes this process hands to the operating system
//! for writing, a message (`wchar` of `/proc/self/io`: the write-ahead log, and the file at checkpoints). The state is
//! written once for a group of deliveries; the baseline writes it for each message, by rusqlite, an update a message.
//!
//! Every message changes every page of the state: SQLite does not write pages of a large value that stay as they are.

use crate::Effort;
use crate::table::Line;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use worksite::prelude::*;

const STATE_BYTES: usize = 1 << 20;
/// Messages in a change: small enough to be on their way while others are performed.
const BATCH: usize = 1_000;
/// So many updates tell what one writes.
const RAW_MESSAGES: usize = 200;

pub fn line(effort: Effort) -> Line {
    let messages = 100_000 / effort.divisor;
    let pairs = (0..effort.repeats.min(3)).map(|_| (ours(messages), raw())).collect();
    Line { name: "state-1mib".into(), unit: "bytes/message", pairs, target: None }
}

#[derive(Serialize, Deserialize)]
struct Archive {
    count: u64,
    text: String,
}

impl Durable for Archive {
    const TYPE: &'static str = "archive";
}

impl Default for Archive {
    fn default() -> Self {
        Self { count: 0, text: text(0) }
    }
}

/// Another one for each count.
fn text(count: u64) -> String {
    char::from(b'a' + (count % 26) as u8).to_string().repeat(STATE_BYTES)
}

struct Archivist;

impl Routine for Archivist {
    const NAME: &'static str = "archivist";
    type State = Archive;
    type Message = u64;

    fn perform(&self, turn: &mut Turn<Archive>, add: u64) -> Ended {
        turn.state.count += add;
        turn.state.text = text(turn.state.count);
        Ok(Outcome::Done)
    }
}

/// Bytes this process has written, to any file.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux tells what a process has written");
    let bytes = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    bytes.and_then(|bytes| bytes.parse().ok()).expect("bytes")
}

fn ours(messages: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the site");
    worksite::block_on(async {
        let site = Worksite::builder().routine(Archivist).open(folder.path().join("site.db")).await.expect("a site");
        site.sync([Person::new(1, "archivist")]).await.expect("a roster");
        let one = Payload::encode(&1_u64).expect("a number can be encoded");
        let before = written();
        for _ in 0..messages / BATCH {
            site.send_all((0..BATCH).map(|_| Draft::of(1, one.clone())).collect()).await.expect("accepted");
        }
        site.quiesce().await.expect("settled");
        let bytes = written() - before;
        let archive = site.state::<Archive>(1, "archivist").await.expect("readable").expect("a state");
        assert_eq!(archive.count, messages as u64, "every message was performed once");
        site.shutdown().await;
        bytes as f64 / messages as f64
    })
}

fn raw() -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the database");
    let connection = Connection::open(folder.path().join("raw.db")).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE states (person INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;",
        )
        .expect("tables");
    let before = written();
    for count in 0..RAW_MESSAGES {
        let upsert = "INSERT INTO states VALUES (1, ?1) ON CONFLICT (person) DO UPDATE SET body = ?1";
        connection.execute(upsert, params![text(count as u64).into_bytes()]).expect("upserted");
    }
    (written() - before) as f64 / RAW_MESSAGES as f64
}
