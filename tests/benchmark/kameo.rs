//! Volatile delivery against kameo 0.22: `tell` to actors with unbounded mailboxes, the same work from another thread. Its
//! runtime has one thread, as our workers have.

use crate::Effort;
use crate::machine::{rate, timed};
use crate::table::{Line, Target};
use crate::volatile::{self, WORKERS, wait_for};
use kameo::actor::{ActorRef, Spawn};
use kameo::error::Infallible;
use kameo::mailbox;
use kameo::message::{Context, Message};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub fn line(effort: Effort) -> Line {
    let messages = 2_000_000 / effort.divisor;
    let pairs = (0..effort.repeats).map(|_| (volatile::ours(messages), kameo(messages))).collect();
    Line { name: "kameo".into(), unit: "messages/s", pairs, target: Some(Target::AtLeast(1.0)) }
}

/// 72 bytes, and where it counts.
struct Counter {
    _id: u64,
    sum: u64,
    _inbox: VecDeque<u64>,
    _states: Vec<u64>,
    counted: Arc<AtomicUsize>,
}

impl kameo::Actor for Counter {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(counter: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(counter)
    }
}

struct Add(u64);

impl Message<Add> for Counter {
    type Reply = ();

    async fn handle(&mut self, Add(add): Add, _: &mut Context<Self, ()>) {
        self.sum += add;
        self.counted.fetch_add(1, Ordering::Relaxed);
    }
}

fn kameo(messages: usize) -> f64 {
    let counted = Arc::new(AtomicUsize::new(0));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let counters: Vec<_> = runtime.block_on(async {
        let counter = |id| Counter {
            _id: id as u64,
            sum: 0,
            _inbox: VecDeque::new(),
            _states: Vec::new(),
            counted: counted.clone(),
        };
        (0..WORKERS).map(|id| Counter::spawn_with_mailbox(counter(id), mailbox::unbounded())).collect()
    });
    let tell = |index: usize| counters[index % WORKERS].tell(Add(1)).try_send().expect("it was sent");
    // Everybody has started before it counts.
    (0..WORKERS).for_each(tell);
    wait_for(&counted, WORKERS);
    let ((), took) = timed(|| {
        (0..messages).for_each(tell);
        wait_for(&counted, WORKERS + messages);
    });
    rate(messages, took)
}
