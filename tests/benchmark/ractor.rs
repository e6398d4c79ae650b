//! Volatile delivery against ractor 0.16: `cast`, the same work from another thread. Its runtime has one thread, as our
//! workers have.

use crate::Effort;
use crate::machine::{rate, timed};
use crate::table::{Line, Target};
use crate::volatile::{self, WORKERS, wait_for};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub fn line(effort: Effort) -> Line {
    let messages = 2_000_000 / effort.divisor;
    let pairs = (0..effort.repeats).map(|_| (volatile::ours(messages), ractor(messages))).collect();
    Line { name: "ractor".into(), unit: "messages/s", pairs, target: Some(Target::AtLeast(1.0)) }
}

struct Counting(Arc<AtomicUsize>);

/// 72 bytes.
struct Counter {
    _id: u64,
    sum: u64,
    _inbox: VecDeque<u64>,
    _states: Vec<u64>,
}

struct Add(u64);

impl Actor for Counting {
    type Msg = Add;
    type State = Counter;
    type Arguments = u64;

    async fn pre_start(&self, _: ActorRef<Add>, id: u64) -> Result<Counter, ActorProcessingErr> {
        Ok(Counter { _id: id, sum: 0, _inbox: VecDeque::new(), _states: Vec::new() })
    }

    async fn handle(&self, _: ActorRef<Add>, Add(add): Add, counter: &mut Counter) -> Result<(), ActorProcessingErr> {
        counter.sum += add;
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn ractor(messages: usize) -> f64 {
    let counted = Arc::new(AtomicUsize::new(0));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let counters: Vec<_> = runtime.block_on(async {
        let mut counters = Vec::with_capacity(WORKERS);
        for id in 0..WORKERS {
            let (counter, _ends) = Actor::spawn(None, Counting(counted.clone()), id as u64).await.expect("it starts");
            counters.push(counter);
        }
        counters
    });
    let cast = |index: usize| counters[index % WORKERS].cast(Add(1)).expect("it was sent");
    // Everybody has started before it counts.
    (0..WORKERS).for_each(cast);
    wait_for(&counted, WORKERS);
    let ((), took) = timed(|| {
        (0..messages).for_each(cast);
        wait_for(&counted, WORKERS + messages);
    });
    rate(messages, took)
}
