//! Memory of an idle worker that is awake, against a bare actix actor with 72 bytes of its own. Each is measured in a
//! process of its own, as the growth of what is resident.

use crate::Effort;
use crate::machine::alone;
use crate::table::{Line, Target};
use actix::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use worksite::prelude::*;

/// The flag under which this program measures one side and prints bytes.
pub const CHILD: &str = "--measure-memory-of";

pub fn line(effort: Effort) -> Line {
    let count = (400_000 / effort.divisor).max(50_000).to_string();
    let measure = |who: &str| alone(CHILD, format!("{who}:{count}"))[0];
    let pairs = (0..effort.repeats.min(3)).map(|_| (measure("workers"), measure("actors"))).collect();
    Line { name: "memory-idle-worker".into(), unit: "bytes", pairs, target: Some(Target::AtMost(1.15)) }
}

pub fn child(who: &str) {
    let (who, count) = who.split_once(':').expect("WHO:COUNT");
    let count: usize = count.parse().expect("a count");
    let bytes = if who == "workers" { workers(count) } else { actors(count) };
    println!("{}", bytes as f64 / count as f64);
}

/// Bytes of this process that are in memory.
pub fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux tells how much is resident");
    let pages: usize = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("pages");
    pages * 4096
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

fn workers(count: usize) -> usize {
    let (folder, heard) = (tempfile::tempdir().expect("a folder"), Arc::new(AtomicUsize::new(0)));
    worksite::block_on(async {
        let site = Worksite::builder().routine(Counter(heard.clone()));
        let site = site.limits(Limits { worker_idle_ms_max: 3_600_000, ..Limits::default() });
        let site = site.open(folder.path().join("site.db")).await.expect("a site");
        site.sync((0..count as i64).map(|id| Person::new(id, "worker"))).await.expect("a roster");
        let tick = Payload::encode(&1_u64).expect("a number can be encoded");
        let before = resident();
        for id in 0..count {
            site.send_volatile(Draft::of(id as i64, tick.clone())).expect("it was sent");
            // In small groups, or the mailbox of the supervisor would be what is measured.
            while id >= heard.load(Ordering::Relaxed) + 64 {
                std::thread::yield_now();
            }
        }
        while heard.load(Ordering::Relaxed) < count {
            std::thread::yield_now();
        }
        let grown = resident() - before;
        assert_eq!(site.awake().len(), count);
        site.shutdown().await;
        grown
    })
}

/// 72 bytes, as a worker in the prototype had.
struct Bare {
    _id: u64,
    counter: u64,
    _inbox: std::collections::VecDeque<u64>,
    _states: Vec<u64>,
}

impl Actor for Bare {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "u64")]
struct Tick(u64);

impl Handler<Tick> for Bare {
    type Result = u64;

    fn handle(&mut self, Tick(add): Tick, _: &mut Self::Context) -> u64 {
        self.counter += add;
        self.counter
    }
}

fn actors(count: usize) -> usize {
    System::new().block_on(async {
        let before = resident();
        let mut actors = Vec::with_capacity(count);
        for id in 0..count {
            let actor = Bare { _id: id as u64, counter: 0, _inbox: Default::default(), _states: Vec::new() }.start();
            assert_eq!(actor.send(Tick(1)).await, Ok(1));
            actors.push(actor);
        }
        resident() - before
    })
}
