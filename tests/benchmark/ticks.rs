//! Worker-ticks a second, in a world on one thread, against bare actix actors on one thread with a barrier per tick.
//!
//! *Volatile*: each tick everybody is sent one message that is never written, and changes its state; the tick is over when
//! all have. *Durable*: each tick everybody takes one envelope, changes its state, and sends one to somebody else for the
//! next tick; the tick is over when that is durable, in one commit (SQLite, synchronous=FULL). Actix does the work of the
//! volatile one.

use crate::Effort;
use crate::machine::{alone, rate};
use crate::table::{Figure, Line, Target};
use actix::prelude::*;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use worksite::prelude::*;
use worksite_runtime::Builder;
use worksite_simulation::{Beat, Ticks};
use worksite_store::SqliteStore;

/// Worker-ticks of a full-size repeat.
const WORKER_TICKS: usize = 2_000_000;

/// Nothing is measured in fewer ticks.
const TICKS_MIN: usize = 4;

/// How many are woken together.
const WOKEN: usize = 64;

fn ticks_of(effort: Effort, workers: usize, share: usize) -> usize {
    (WORKER_TICKS / share / effort.divisor / workers).max(TICKS_MIN)
}

/// The flag under which this program measures one side, in a process of its own: where actors lie in memory counts for half
/// of the rate with many of them, and each side would lie in what the other one has left of the heap.
pub const CHILD: &str = "--measure-ticks-of";

pub fn volatile(effort: Effort, workers: usize) -> Line {
    let ticks = ticks_of(effort, workers, 1);
    let measure = |who: &str| alone(CHILD, format!("{who}:{workers}:{ticks}"))[0];
    let pairs = (0..effort.repeats).map(|_| (measure("workers"), measure("actors"))).collect();
    let name = format!("ticks-volatile-{}k", workers / 1_000);
    Line { name, unit: "worker-ticks/s", pairs, target: Some(Target::AtLeast(0.5)) }
}

pub fn child(what: &str) {
    let [who, workers, ticks]: [&str; 3] = what.split(':').collect::<Vec<_>>().try_into().expect("WHO:WORKERS:TICKS");
    let [workers, ticks] = [workers, ticks].map(|count| count.parse().expect("a count"));
    println!("{}", if who == "workers" { sent(workers, ticks) } else { bare(workers, ticks) });
}

pub fn durable(effort: Effort, workers: usize) -> Line {
    let (ours, raw) = (ticks_of(effort, workers, 4), ticks_of(effort, workers, 1));
    let pairs = (0..effort.repeats).map(|_| (passed_on(workers, ours), bare(workers, raw))).collect();
    Line { name: format!("ticks-durable-{}k", workers / 1_000), unit: "worker-ticks/s", pairs, target: None }
}

/// The same with a thousand, without a baseline: as many as share a commit and still lie in the processor's cache.
pub fn durable_rate(effort: Effort) -> Figure {
    let ticks = ticks_of(effort, 1_000, 4);
    let values = (0..effort.repeats).map(|_| passed_on(1_000, ticks)).collect();
    let target = Some(Target::AtLeast(100_000.0));
    Figure { name: "ticks-durable-rate".into(), unit: "messages/s", values, target }
}

fn on_one_thread<F: Future>(story: F) -> F::Output {
    let executor = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("an executor");
    tokio::task::LocalSet::new().block_on(&executor, story)
}

fn beat() -> Beat {
    Beat { start: Timestamp::from_seconds(0), length: Duration::from_secs(60), seed: 1 }
}

fn roomy() -> Limits {
    Limits {
        commit_changes_max: usize::MAX,
        changes_in_flight_max: usize::MAX,
        worker_idle_ms_max: 3_600_000,
        ..Limits::default()
    }
}

async fn open(folder: &std::path::Path, builder: Builder, ticks: &Ticks, workers: usize) -> worksite_runtime::Runtime {
    let store = SqliteStore::open(folder.join("site.db"), SqliteOptions::default()).expect("a store");
    let site = builder.limits(roomy()).clock(ticks.clock()).start_local(Box::new(store)).await.expect("a site");
    site.sync((1..=workers as i64).map(|id| Person::new(id, "worker"))).await.expect("a roster");
    site
}

struct Counter(Arc<AtomicUsize>);

impl Routine for Counter {
    const NAME: &'static str = "counter";
    type State = u64;
    type Message = u64;

    fn perform(&self, turn: &mut Turn<u64>, add: u64) -> Ended {
        *turn.state += add;
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Outcome::Done)
    }
}

async fn until(count: impl Fn() -> usize, wanted: usize) {
    while count() < wanted {
        tokio::task::yield_now().await;
    }
}

/// Volatile worker-ticks a second.
pub fn sent(workers: usize, ticks: usize) -> f64 {
    let (folder, count) = (tempfile::tempdir().expect("a folder"), Arc::new(AtomicUsize::new(0)));
    on_one_thread(async {
        let builder = worksite_runtime::Runtime::builder().routine(Counter(count.clone()));
        let site = open(folder.path(), builder, &Ticks::new(beat()), workers).await;
        let one = Payload::encode(&1_u64).expect("a number can be encoded");
        let mut told = 0;
        let tick = async |told: &mut usize| {
            for worker in 1..=workers as i64 {
                site.send_volatile(Draft::of(worker, one.clone())).expect("it was sent");
            }
            *told += workers;
            until(|| count.load(Ordering::Relaxed), *told).await;
        };
        // Everybody is awake before it counts, a few after the others, as the actors are started: what each needs while it is
        // read would lie between them in memory ever after if all were woken at once, and that costs a fourth with ten thousand.
        for worker in 1..=workers as i64 {
            site.send_volatile(Draft::of(worker, one.clone())).expect("it was sent");
            told += 1;
            if told % WOKEN == 0 {
                until(|| count.load(Ordering::Relaxed), told).await;
            }
        }
        tick(&mut told).await;
        #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
        let begun = std::time::Instant::now();
        for _ in 0..ticks {
            tick(&mut told).await;
        }
        let took = begun.elapsed();
        site.shutdown().await;
        rate(workers * ticks, took)
    })
}

struct Relay(i64);

impl Routine for Relay {
    const NAME: &'static str = "relay";
    type State = u64;
    type Message = u64;

    fn perform(&self, turn: &mut Turn<u64>, add: u64) -> Ended {
        *turn.state += add;
        let next = turn.person().0 * 7 % self.0 + 1;
        beat().send(turn, Draft::to(next, &add)?, 1);
        Ok(Outcome::Done)
    }
}

/// Durable worker-ticks a second; each is a message accepted and one settled.
fn passed_on(workers: usize, ticks: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder");
    on_one_thread(async {
        let mut time = Ticks::new(beat());
        let builder = worksite_runtime::Runtime::builder().routine(Relay(workers as i64));
        let site = open(folder.path(), builder, &time, workers).await;
        let first = |to| beat().draft(Draft::to(to, &1_u64).expect("a number can be encoded"), 0);
        site.send_all((1..=workers as i64).map(first).collect()).await.expect("sent");
        time.step(&site).await.expect("a tick");
        let before = site.metrics().await.expect("figures").commits;
        #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
        let begun = std::time::Instant::now();
        for _ in 0..ticks {
            time.step(&site).await.expect("a tick");
        }
        let took = begun.elapsed();
        let (tally, metrics) = (site.tally().await.expect("it counts"), site.metrics().await.expect("figures"));
        assert_eq!(tally.settled as usize, workers * (ticks + 1), "everybody was done with each tick");
        assert_eq!((metrics.commits - before) as usize, ticks, "a commit a tick");
        site.shutdown().await;
        rate(workers * ticks, took)
    })
}

struct Bare(u64, Rc<Cell<usize>>);

impl Actor for Bare {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Tick(u64);

impl Handler<Tick> for Bare {
    type Result = ();

    fn handle(&mut self, Tick(add): Tick, _: &mut Self::Context) {
        self.0 += add;
        self.1.set(self.1.get() + 1);
    }
}

/// Worker-ticks a second of actix alone.
pub fn bare(workers: usize, ticks: usize) -> f64 {
    on_one_thread(async {
        let count = Rc::new(Cell::new(0));
        let actors: Vec<_> = (0..workers).map(|_| Bare(0, count.clone()).start()).collect();
        let mut told = 0;
        let tick = async |told: &mut usize| {
            actors.iter().for_each(|actor| actor.do_send(Tick(1)));
            *told += workers;
            until(|| count.get(), *told).await;
        };
        tick(&mut told).await;
        #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
        let begun = std::time::Instant::now();
        for _ in 0..ticks {
            tick(&mut told).await;
        }
        rate(workers * ticks, begun.elapsed())
    })
}
