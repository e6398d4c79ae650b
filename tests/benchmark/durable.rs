//! Durable send-and-settle: a message of 200 bytes to one of 1,000 workers, accepted, performed, its state of 128 bytes
//! written and its envelope removed, with so many in flight, against the same rows written by rusqlite alone.
//!
//! The baseline does what the contract demands in the same batches: with C in flight, each transaction accepts C/2
//! messages and settles the C/2 before (insert, delete, state upsert); one in flight takes two transactions a message.

use crate::Effort;
use crate::machine::{rate, timed};
use crate::table::{Line, Target};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use std::path::Path;
use worksite::prelude::*;

pub const PEOPLE: usize = 1_000;
/// How many are asked at once to wake up.
const WOKEN: usize = 1_024;
/// Whose states are read at the end: everybody's, unless that takes too long.
const CHECKED: usize = 10_000;

pub fn line(effort: Effort, in_flight: usize, ahead: bool) -> Line {
    let full = match in_flight {
        1 => 10_000,
        64 => 100_000,
        _ => 240_000,
    };
    let messages = full / effort.divisor;
    let shallow = Load { messages, in_flight, ahead, ..Load::default() };
    let pairs = (0..effort.repeats).map(|_| (ours(shallow), raw(messages, in_flight))).collect();
    // One at a time, the target is a latency of at most one and a half raw commits.
    let target = match (in_flight, ahead) {
        (1, _) => Some(Target::AtLeast(1.0 / 1.5)),
        (1024, false) => Some(Target::AtLeast(0.90)),
        (1024, true) => Some(Target::AtLeast(1.3)),
        _ => None,
    };
    let kind = if ahead { "ahead" } else { "durable" };
    Line { name: format!("{kind}-{in_flight}"), unit: "messages/s", pairs, target }
}

/// What is asked of the house.
#[derive(Clone, Copy)]
pub struct Load {
    pub messages: usize,
    pub in_flight: usize,
    pub people: usize,
    /// Envelopes that wait in the same inboxes for tomorrow.
    pub pending: usize,
    /// Whether the messages take turns in four lanes.
    pub mixed: bool,
    pub sync: SyncMode,
    /// Whether the routine is pure, and runs ahead of the disk.
    pub ahead: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self { ahead: false, messages: 0, in_flight: 1, people: PEOPLE, pending: 0, mixed: false, sync: SyncMode::Full }
    }
}

/// The same work with 200,000 envelopes waiting in the same inboxes, against itself with none.
pub fn backlog(effort: Effort) -> Line {
    let shallow = Load { messages: 240_000 / effort.divisor, in_flight: 1024, ..Load::default() };
    let deep = Load { pending: 200_000, ..shallow };
    let pairs = (0..effort.repeats).map(|_| (ours(deep), ours(shallow))).collect();
    Line { name: "backlog-200k".into(), unit: "messages/s", pairs, target: Some(Target::AtLeast(0.45)) }
}

/// The same work in four lanes, against itself in one.
pub fn mixed(effort: Effort) -> Line {
    let plain = Load { messages: 240_000 / effort.divisor, in_flight: 1024, ..Load::default() };
    let mixed = Load { mixed: true, ..plain };
    let pairs = (0..effort.repeats).map(|_| (ours(mixed), ours(plain))).collect();
    Line { name: "mixed-priorities".into(), unit: "messages/s", pairs, target: None }
}

/// A thousand messages in one change, drained and acknowledged in another, against the same rows by rusqlite alone.
pub fn bulk(effort: Effort) -> Line {
    let messages = 400_000 / effort.divisor;
    let pairs = (0..effort.repeats).map(|_| (ours_in_bulk(messages), raw_in_bulk(messages))).collect();
    Line { name: "bulk-1000".into(), unit: "messages/s", pairs, target: None }
}

pub const BULK: usize = 1_000;

fn ours_in_bulk(messages: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the site");
    worksite::block_on(async {
        let site = Worksite::open(folder.path().join("site.db")).await.expect("a site");
        site.sync([Person::new(1, "worker")]).await.expect("a roster");
        let work = work();
        #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
        let start = std::time::Instant::now();
        for _ in 0..messages / BULK {
            site.send_all((0..BULK).map(|_| Draft::of(1, work.clone())).collect()).await.expect("accepted");
            let mail = site.drain(1, BULK).await.expect("drained");
            let ids = mail.iter().map(|mail| mail.id()).collect();
            assert_eq!(site.acknowledge(ids).await.expect("acknowledged"), BULK);
        }
        let took = start.elapsed();
        site.shutdown().await;
        rate(messages, took)
    })
}

fn raw_in_bulk(messages: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the database");
    let connection = raw_connection(&folder.path().join("raw.db"));
    let work = vec![7_u8; 200];
    let ((), took) = timed(|| {
        for first in (0..messages).step_by(BULK) {
            for sql in
                ["INSERT INTO envelopes VALUES (?1, 1, ?2)", "DELETE FROM envelopes WHERE id = ?1 AND ?2 IS NOT NULL"]
            {
                connection.execute_batch("BEGIN IMMEDIATE").expect("begun");
                let mut statement = connection.prepare_cached(sql).expect("sql");
                for id in first..first + BULK {
                    statement.execute(params![id as i64 + 1, work]).expect("written");
                }
                connection.execute_batch("COMMIT").expect("committed");
            }
        }
    });
    rate(messages, took)
}

#[derive(Serialize, Deserialize)]
struct Work(String);
impl Durable for Work {
    const TYPE: &'static str = "work";
}

#[derive(Serialize, Deserialize)]
struct Memory(u64, Vec<u64>);
impl Durable for Memory {
    const TYPE: &'static str = "memory";
}
impl Default for Memory {
    fn default() -> Self {
        // Fifteen numbers that take nine bytes each, encoded: about 128 with the rest.
        Self(0, vec![u64::MAX; 14])
    }
}

/// Adds up what it gets; whether it runs ahead of the disk is told.
struct Worker(bool);

impl Routine for Worker {
    const NAME: &'static str = "worker";
    type State = Memory;
    type Message = Work;

    fn perform(&self, turn: &mut Turn<Memory>, work: Work) -> Ended {
        turn.state.0 += work.0.len() as u64;
        Ok(Outcome::Done)
    }

    fn is_pure(&self) -> bool {
        self.0
    }
}

/// Messages a second.
pub fn ours(Load { messages, in_flight, people, pending, mixed, sync, ahead }: Load) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the site");
    worksite::block_on(async {
        let site = open_with(builder_of(ahead), folder.path(), people, sync).await;
        let work = work();
        // Settled, and no reply was wanted: that answer comes after the commit that settled it.
        let priority = |index: usize| if mixed { Priority::ALL[1 + index % 4] } else { Priority::Normal };
        let ask = |index: usize, to: i64| site.ask::<()>(Draft::of(to, work.clone()).priority(priority(index)));
        fill(&site, people, pending).await;
        in_turns(WOKEN.min(people), people, |index| ask(index, index as i64), settled).await;
        #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
        let start = std::time::Instant::now();
        in_turns(in_flight, messages, |index| ask(index, recipient_of(index, people)), settled).await;
        let took = start.elapsed();
        check(&site, messages, people).await;
        site.shutdown().await;
        rate(messages, took)
    })
}

/// Sites whose workers add up what they get.
pub fn builder() -> Builder {
    builder_of(false)
}

/// The same, ahead of the disk or after it.
pub fn builder_of(ahead: bool) -> Builder {
    Worksite::builder().routine(Worker(ahead))
}

/// A site with people whose workers add up what they get.
pub async fn open(folder: &Path, people: usize, sync: SyncMode) -> Worksite {
    open_with(builder(), folder, people, sync).await
}

/// The same, of these workers.
pub async fn open_with(builder: Builder, folder: &Path, people: usize, sync: SyncMode) -> Worksite {
    // Awake as long as it takes: a worker that goes would have to be read again.
    let limits = Limits { worker_idle_ms_max: 3_600_000, ..Limits::default() };
    let site = builder.limits(limits).store(SqliteOptions { sync, ..SqliteOptions::default() });
    let site = site.open(folder.join("site.db")).await.expect("a site");
    site.sync((0..people as i64).map(|id| Person::new(id, "worker"))).await.expect("a roster");
    site
}

/// Two hundred bytes, encoded.
pub fn work() -> Payload {
    Payload::encode(&Work("x".repeat(198))).expect("work can be encoded")
}

/// Envelopes that wait for tomorrow.
async fn fill(site: &Worksite, people: usize, pending: usize) {
    let (work, tomorrow) = (work(), Clock::system().now().after(std::time::Duration::from_secs(86_400)));
    for first in (0..pending).step_by(BULK) {
        let later = (first..pending.min(first + BULK))
            .map(|index| Draft::of(recipient_of(index, people), work.clone()).not_before(tomorrow));
        site.send_all(later.collect()).await.expect("accepted");
    }
}

/// Sends so many, a thousand in a change and the next on its way, and waits until all are settled.
pub async fn send_and_settle(site: &Worksite, messages: usize) {
    let work = work();
    let mut sent = None;
    for first in (0..messages).step_by(BULK) {
        let batch =
            (first..messages.min(first + BULK)).map(|index| Draft::of(recipient_of(index, PEOPLE), work.clone()));
        if let Some(before) = sent.replace(site.send_all(batch.collect())) {
            before.await.expect("accepted");
        }
    }
    if let Some(last) = sent {
        last.await.expect("accepted");
    }
    site.quiesce().await.expect("settled");
}

/// It was settled without a reply.
fn settled(answer: Result<(), AskError>) {
    assert!(matches!(answer, Err(AskError::NoReply)), "it was settled");
}

/// Asks so often, with so many in flight.
pub async fn in_turns<F: Future>(in_flight: usize, count: usize, ask: impl Fn(usize) -> F, check: impl Fn(F::Output)) {
    let mut next = in_flight.min(count);
    let mut asked: FuturesUnordered<_> = (0..next).map(&ask).collect();
    while let Some(answer) = asked.next().await {
        check(answer);
        if next < count {
            asked.push(ask(next));
            next += 1;
        }
    }
}

/// Every message was performed once: that which woke a worker, and those that were measured.
async fn check(site: &Worksite, messages: usize, people: usize) {
    let settled = site.tally().await.expect("it counts").settled;
    assert_eq!(settled, (messages + people) as u64);
    if people > CHECKED {
        return;
    }
    let mut bytes = 0;
    for person in 0..people as i64 {
        bytes += site.state::<Memory>(person, "worker").await.expect("readable").map_or(0, |memory| memory.0);
    }
    assert_eq!(bytes, 198 * settled);
}

/// People in an order that looks random, the same for both.
fn recipient(index: usize) -> i64 {
    recipient_of(index, PEOPLE)
}

pub fn recipient_of(index: usize, people: usize) -> i64 {
    (worksite_model::chance(1, &[index as i64]) % people as u64) as i64
}

pub fn raw_connection(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
             CREATE TABLE envelopes (id INTEGER PRIMARY KEY, recipient INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
             CREATE TABLE states (person INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;",
        )
        .expect("tables");
    connection
}

/// Messages a second of the rows alone.
pub fn raw(messages: usize, in_flight: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the database");
    let connection = raw_connection(&folder.path().join("raw.db"));
    let (work, memory) = (vec![7_u8; 200], vec![7_u8; 128]);
    let batch = (in_flight / 2).max(1);
    let insert = |index: usize| {
        let mut insert = connection.prepare_cached("INSERT INTO envelopes VALUES (?1, ?2, ?3)").expect("sql");
        insert.execute(params![index as i64 + 1, recipient(index), work]).expect("inserted");
    };
    let settle = |index: usize| {
        let mut delete = connection.prepare_cached("DELETE FROM envelopes WHERE id = ?1").expect("sql");
        delete.execute([index as i64 + 1]).expect("deleted");
        let upsert = "INSERT INTO states VALUES (?1, ?2) ON CONFLICT (person) DO UPDATE SET body = ?2";
        let mut upsert = connection.prepare_cached(upsert).expect("sql");
        upsert.execute(params![recipient(index), memory]).expect("upserted");
    };
    let transaction = |work: &dyn Fn()| {
        connection.execute_batch("BEGIN IMMEDIATE").expect("begun");
        work();
        connection.execute_batch("COMMIT").expect("committed");
    };
    let ((), took) = timed(|| {
        let mut first = 0;
        while first < messages {
            let range = first..(first + batch).min(messages);
            if in_flight == 1 {
                transaction(&|| range.clone().for_each(insert));
                transaction(&|| range.clone().for_each(settle));
            } else {
                // The messages of this batch come in while those of the one before leave.
                transaction(&|| {
                    range.clone().for_each(insert);
                    range.start.checked_sub(batch).into_iter().flat_map(|from| from..range.start).for_each(settle);
                });
            }
            first = range.end;
        }
    });
    rate(messages, took)
}
