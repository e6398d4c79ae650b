//! Volatile delivery through the public API to 10,000 workers on another thread, against actix `do_send` to as many
//! bare actors on another thread.

use crate::Effort;
use crate::machine::{rate, timed};
use crate::table::{Line, Target};
use actix::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use worksite::prelude::*;

pub const WORKERS: usize = 10_000;

pub fn line(effort: Effort) -> Line {
    let messages = 2_000_000 / effort.divisor;
    let pairs = (0..effort.repeats).map(|_| (ours(messages), raw(messages))).collect();
    Line { name: "volatile".into(), unit: "messages/s", pairs, target: Some(Target::AtLeast(0.85)) }
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

/// Until so many were counted.
pub fn wait_for(count: &AtomicUsize, wanted: usize) {
    while count.load(Ordering::Relaxed) < wanted {
        std::thread::yield_now();
    }
}

/// Messages a second.
pub fn ours(messages: usize) -> f64 {
    let (folder, count) = (tempfile::tempdir().expect("a folder"), Arc::new(AtomicUsize::new(0)));
    worksite::block_on(async {
        let limits = Limits { volatile_drafts_max: usize::MAX, ..Limits::default() };
        let site = Worksite::builder().routine(Counter(count.clone())).limits(limits);
        let site = site.open(folder.path().join("site.db")).await.expect("a site");
        site.sync((0..WORKERS as i64).map(|id| Person::new(id, "worker"))).await.expect("a roster");
        let tick = Payload::encode(&1_u64).expect("a number can be encoded");
        let send = |index: usize| {
            site.send_volatile(Draft::of((index % WORKERS) as i64, tick.clone())).expect("it was sent");
        };
        // Everybody is awake before it counts.
        (0..WORKERS).for_each(send);
        wait_for(&count, WORKERS);
        let ((), took) = timed(|| {
            (0..messages).for_each(send);
            wait_for(&count, WORKERS + messages);
        });
        site.shutdown().await;
        rate(messages, took)
    })
}

struct Bare(u64, Arc<AtomicUsize>);

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
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

fn raw(messages: usize) -> f64 {
    let count = Arc::new(AtomicUsize::new(0));
    let (send_actors, actors) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let counted = count.clone();
    let thread = std::thread::spawn(move || {
        System::new().block_on(async move {
            let actors: Vec<_> = (0..WORKERS).map(|_| Bare(0, counted.clone()).start()).collect();
            send_actors.send(actors).expect("somebody waits for the actors");
            let _stopped = stopped.await;
        });
    });
    let actors = actors.recv().expect("the actors have started");
    let ((), took) = timed(|| {
        for index in 0..messages {
            actors[index % WORKERS].do_send(Tick(1));
        }
        wait_for(&count, messages);
    });
    drop((stop, actors));
    thread.join().expect("the actors have ended");
    rate(messages, took)
}
