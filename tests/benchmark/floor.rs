//! How far each shape could go: the durable line as it would be if the house did nothing but carry. Bare actix actors on
//! one thread, a writer on another, callers on a third, groups that form behind the last sync; no ids that outlive it, no
//! bounds, lanes, attempts, checksums, facts or recovery. What a shape cannot reach here, no tuning of the house reaches.
//!
//! `floor-rows`: a row an envelope and a row a state, as the house has them. `floor-ahead`: workers take mail while it is
//! being written, so that only states are. `floor-segments`: the envelopes of a group are one row, settled by a list of
//! ids, and a row a state. `floor-journal`: the states of a group are in such a row, too, and become rows every sixteenth
//! group. All against the same rows written by rusqlite alone, as `durable-1024` is.
//!
//! `floor-effectum-64` and `floor-effectum-batch`: the first shape with 64 and with 2,000 in flight and `synchronous = NORMAL`,
//! against effectum with 64 producers and with batches of a thousand, as those lines are.

use crate::Effort;
use crate::durable::{PEOPLE, in_turns, raw, raw_connection, recipient_of};
use crate::machine::rate;
use crate::peers;
use crate::table::{Line, Row, Target};
use actix::prelude::*;
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::oneshot;

const IN_FLIGHT: usize = 1_024;
const MESSAGES: usize = 240_000;
/// After so many groups what a journal holds becomes rows.
const GROUPS: usize = 16;

/// What the writer writes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Rows,
    Ahead,
    Segments,
    Journal,
}

pub fn line(effort: Effort, shape: Shape) -> Line {
    let messages = MESSAGES / effort.divisor;
    let ours = || carried(shape, messages, IN_FLIGHT, "FULL");
    let pairs = (0..effort.repeats).map(|_| (ours(), raw(messages, IN_FLIGHT))).collect();
    Line { name: format!("floor-{shape:?}").to_lowercase(), unit: "messages/s", pairs, target: None }
}

pub fn against_effectum(name: &'static str, effort: Effort, way: &str, in_flight: usize) -> Row {
    let target = Target::AtLeast(if way == "single" { 4.0 } else { 8.0 });
    peers::line("effectum", name, target, effort.repeats, |peer| {
        let messages = MESSAGES / effort.divisor;
        Ok((carried(Shape::Rows, messages, in_flight, "NORMAL"), peer.rate(&[way, &messages.to_string()])?))
    })
}

/// A message on its way, and who waits for its end.
#[derive(Message)]
#[rtype(result = "()")]
struct Mail {
    id: i64,
    to: usize,
    body: Arc<[u8]>,
    settled: oneshot::Sender<()>,
}

/// What is to be written.
enum Entry {
    Accepted(Mail),
    Settled { id: i64, person: i64, state: Vec<u8>, settled: oneshot::Sender<()> },
}

/// Where the writer finds it; `None` ends it.
#[derive(Default)]
struct Intake {
    entries: Mutex<Option<Vec<Entry>>>,
    come: Condvar,
}

impl Intake {
    fn push(&self, entry: Entry) {
        let mut entries = self.entries.lock().expect("nobody panics");
        let waiting = entries.get_or_insert_default();
        waiting.push(entry);
        if waiting.len() == 1 {
            self.come.notify_one();
        }
    }

    fn take(&self) -> Option<Vec<Entry>> {
        let entries = self.entries.lock().expect("nobody panics");
        let entries = self.come.wait_while(entries, |entries| entries.as_ref().is_some_and(Vec::is_empty));
        entries.expect("nobody panics").as_mut().map(take)
    }
}

struct Worker {
    person: i64,
    state: [u64; 16],
    intake: Arc<Intake>,
}

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Handler<Mail> for Worker {
    type Result = ();

    fn handle(&mut self, Mail { id, body, settled, .. }: Mail, _: &mut Self::Context) {
        self.state[0] += body.len() as u64;
        let state = self.state.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.intake.push(Entry::Settled { id, person: self.person, state, settled });
    }
}

/// Tells workers and callers what is durable, a group at a time.
struct Teller(Vec<Addr<Worker>>);

impl Actor for Teller {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Group(Vec<Entry>);

impl Handler<Group> for Teller {
    type Result = ();

    fn handle(&mut self, Group(entries): Group, _: &mut Self::Context) {
        let mut ended = Vec::new();
        for entry in entries {
            match entry {
                Entry::Accepted(mail) => self.0[mail.to].do_send(mail),
                Entry::Settled { settled, .. } => ended.push(settled),
            }
        }
        for settled in ended {
            settled.send(()).expect("the caller waits");
        }
    }
}

/// Messages a second.
fn carried(shape: Shape, messages: usize, in_flight: usize, sync: &'static str) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the database");
    let path = folder.path().join("floor.db");
    let intake = Arc::new(Intake { entries: Mutex::new(Some(Vec::new())), ..Intake::default() });
    let (started, actors) = std::sync::mpsc::channel();
    let actors_thread = {
        let intake = intake.clone();
        std::thread::spawn(move || {
            let system = System::new();
            let actors = system.block_on(async move {
                let worker = |person| Worker { person, state: [u64::MAX >> 8; 16], intake: intake.clone() }.start();
                let workers: Vec<_> = (0..PEOPLE as i64).map(worker).collect();
                (Teller(workers.clone()).start(), workers, System::current())
            });
            started.send(actors).expect("somebody waits");
            system.run().expect("it ends when it is told to");
        })
    };
    let (teller, workers, system) = actors.recv().expect("the actors have started");
    let writer = {
        let intake = intake.clone();
        std::thread::spawn(move || {
            let mut writer = Writer::new(shape, raw_connection(&path), sync);
            while let Some(entries) = intake.take() {
                writer.write(&entries);
                teller.do_send(Group(entries));
            }
        })
    };
    let body: Arc<[u8]> = vec![7_u8; 200].into();
    let send = |index: usize| {
        let (settled, end) = oneshot::channel();
        let mail = Mail { id: index as i64 + 1, to: recipient_of(index, PEOPLE) as usize, body: body.clone(), settled };
        match shape {
            Shape::Ahead => workers[mail.to].do_send(mail),
            _ => intake.push(Entry::Accepted(mail)),
        }
        end
    };
    #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
    let start = std::time::Instant::now();
    worksite::block_on(in_turns(in_flight, messages, send, |end| end.expect("it was settled")));
    let took = start.elapsed();
    *intake.entries.lock().expect("nobody panics") = None;
    intake.come.notify_one();
    writer.join().expect("the writer ends");
    system.stop();
    actors_thread.join().expect("the actors end");
    rate(messages, took)
}

struct Writer {
    shape: Shape,
    connection: Connection,
    groups: i64,
    /// How many of each segment's envelopes are still there, and in which segment an envelope is.
    left: BTreeMap<i64, usize>,
    segments: HashMap<i64, i64>,
    /// States that only the journal has.
    states: HashMap<i64, Vec<u8>>,
}

impl Writer {
    fn new(shape: Shape, connection: Connection, sync: &str) -> Self {
        let table = "CREATE TABLE segments (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT";
        connection.execute_batch(&format!("PRAGMA synchronous = {sync}; {table}")).expect("sql");
        let (left, segments, states) = Default::default();
        Self { shape, connection, groups: 0, left, segments, states }
    }

    fn write(&mut self, entries: &[Entry]) {
        self.connection.execute_batch("BEGIN IMMEDIATE").expect("begun");
        match self.shape {
            Shape::Rows | Shape::Ahead => entries.iter().for_each(|entry| self.write_row(entry)),
            Shape::Segments | Shape::Journal => self.write_segment(entries),
        }
        self.connection.execute_batch("COMMIT").expect("committed");
    }

    fn write_row(&self, entry: &Entry) {
        match entry {
            Entry::Accepted(Mail { id, to, body, .. }) => {
                self.execute("INSERT INTO envelopes VALUES (?1, ?2, ?3)", params![id, *to as i64, body]);
            }
            Entry::Settled { id, person, state, .. } => {
                if self.shape == Shape::Rows {
                    self.execute("DELETE FROM envelopes WHERE id = ?1", [id]);
                }
                self.write_state(*person, state);
            }
        }
    }

    fn write_state(&self, person: i64, state: &[u8]) {
        let upsert = "INSERT INTO states VALUES (?1, ?2) ON CONFLICT (person) DO UPDATE SET body = ?2";
        self.execute(upsert, params![person, state]);
    }

    /// One row a group: what was accepted, who was settled, and in a journal the states.
    fn write_segment(&mut self, entries: &[Entry]) {
        self.groups += 1;
        let mut row = Vec::with_capacity(entries.len() * 256);
        let mut accepted = 0;
        for entry in entries {
            match entry {
                Entry::Accepted(Mail { id, to, body, .. }) => {
                    for part in [&id.to_le_bytes(), &(*to as i64).to_le_bytes(), &body.len().to_le_bytes(), &body[..]] {
                        row.extend_from_slice(part);
                    }
                    self.segments.insert(*id, self.groups);
                    accepted += 1;
                }
                Entry::Settled { id, person, state, .. } => {
                    row.extend_from_slice(&(-id).to_le_bytes());
                    let segment = self.segments.remove(id).expect("it was accepted");
                    *self.left.get_mut(&segment).expect("it was written") -= 1;
                    if self.shape == Shape::Journal {
                        row.extend_from_slice(&person.to_le_bytes());
                        row.extend_from_slice(state);
                        self.states.insert(*person, state.clone());
                    } else {
                        self.write_state(*person, state);
                    }
                }
            }
        }
        self.left.insert(self.groups, accepted);
        self.execute("INSERT INTO segments VALUES (?1, ?2)", params![self.groups, row]);
        if self.groups % GROUPS as i64 == 0 {
            for (person, state) in take(&mut self.states) {
                self.write_state(person, &state);
            }
        }
        // A segment goes when nothing older is needed either: its list of ids speaks of older ones.
        while let Some(first) = self.left.first_entry()
            && *first.get() == 0
            && *first.key() <= self.groups - self.groups % GROUPS as i64
        {
            let id = first.remove_entry().0;
            self.execute("DELETE FROM segments WHERE id = ?1", [id]);
        }
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) {
        self.connection.prepare_cached(sql).expect("sql").execute(values).expect("written");
    }
}
