//! Facts to a thousand subscribers: deliveries a second, from the first of 2,000 messages that is sent until every
//! subscriber has heard of each that it was accepted and that it was settled. Every subscriber is a task of its own; all are
//! on one thread. The commits the facts come from are in the time.
//!
//! The baseline is as many deliveries of an `Arc` by actix: for each fact a `do_send` to each of a thousand `Recipient`s on
//! another thread; nothing is committed.

use crate::Effort;
use crate::durable;
use crate::machine::{rate, timed};
use crate::table::{Line, Target};
use crate::volatile::wait_for;
use actix::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use worksite::prelude::*;

const SUBSCRIBERS: usize = 1_000;
const PEOPLE: usize = 100;
/// Messages in a change.
const BATCH: usize = 100;
/// Accepted and settled.
const FACTS: usize = 2;

pub fn line(effort: Effort) -> Line {
    let messages = (2_000 / effort.divisor).max(400);
    let pairs = (0..effort.repeats).map(|_| (ours(messages), raw(messages * FACTS))).collect();
    Line { name: "broadcast-1000".into(), unit: "deliveries/s", pairs, target: Some(Target::AtLeast(3.0)) }
}

fn ours(messages: usize) -> f64 {
    let (folder, heard) = (tempfile::tempdir().expect("a folder"), Arc::new(AtomicUsize::new(0)));
    worksite::block_on(async {
        // Nobody may lag behind so far that facts are dropped: then less would have been delivered.
        let limits = Limits { subscriber_facts_max: messages * FACTS, ..Limits::default() };
        let site = durable::builder().limits(limits);
        let site = site.open(folder.path().join("site.db")).await.expect("a site");
        site.sync((0..PEOPLE as i64).map(|id| Person::new(id, "worker"))).await.expect("a roster");
        let listening = listen(&site, messages * FACTS, &heard);
        let work = durable::work();
        #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
        let start = std::time::Instant::now();
        for first in (0..messages).step_by(BATCH) {
            let batch = (first..first + BATCH).map(|index| Draft::of((index % PEOPLE) as i64, work.clone()));
            site.send_all(batch.collect()).await.expect("accepted");
        }
        let deliveries = messages * FACTS * SUBSCRIBERS;
        wait_for(&heard, deliveries);
        let took = start.elapsed();
        listening.join().expect("every subscriber heard everything");
        site.shutdown().await;
        rate(deliveries, took)
    })
}

/// A thread with all the subscribers.
fn listen(site: &Worksite, facts: usize, heard: &Arc<AtomicUsize>) -> std::thread::JoinHandle<()> {
    let subscriptions: Vec<_> = (0..SUBSCRIBERS).map(|_| site.subscribe()).collect();
    let heard = heard.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let tasks: Vec<_> =
                subscriptions.into_iter().map(|one| tokio::spawn(hear(one, facts, heard.clone()))).collect();
            for task in tasks {
                task.await.expect("nobody lagged");
            }
        });
    })
}

async fn hear(mut subscription: Subscription, facts: usize, heard: Arc<AtomicUsize>) {
    for _ in 0..facts {
        match subscription.next().await {
            Some(Told::Fact(_)) => heard.fetch_add(1, Ordering::Relaxed),
            other => panic!("not a fact: {other:?}"),
        };
    }
}

struct Listener(Arc<AtomicUsize>);

impl Actor for Listener {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "()")]
struct Heard(Arc<[u8]>);

impl Handler<Heard> for Listener {
    type Result = ();

    fn handle(&mut self, Heard(fact): Heard, _: &mut Self::Context) {
        std::hint::black_box(fact);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn raw(facts: usize) -> f64 {
    let heard = Arc::new(AtomicUsize::new(0));
    let (send_listeners, listeners) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let counted = heard.clone();
    let thread = std::thread::spawn(move || {
        System::new().block_on(async move {
            let listener = || Listener(counted.clone()).start().recipient::<Heard>();
            send_listeners.send((0..SUBSCRIBERS).map(|_| listener()).collect::<Vec<_>>()).expect("somebody waits");
            let _stopped = stopped.await;
        });
    });
    let listeners: Vec<Recipient<Heard>> = listeners.recv().expect("the listeners have started");
    let ((), took) = timed(|| {
        for _ in 0..facts {
            let fact: Arc<[u8]> = Arc::from([7_u8; 200]);
            listeners.iter().for_each(|listener| listener.do_send(Heard(fact.clone())));
        }
        wait_for(&heard, facts * SUBSCRIBERS);
    });
    drop((stop, listeners));
    thread.join().expect("the listeners have ended");
    rate(facts * SUBSCRIBERS, took)
}
