//! Flows under faults: a crash before, in the middle of or after every commit, a store without room or locked in between.
//! Whatever happens, every post is a job that ends once, and the sums are those of a loop.

use std::time::Duration;
use worksite_model::flow::{ActivationPolicy, Call, ErrorStrategy, Flow, FlowEnded, FlowRoutine, JobFilter, JobStatus};
use worksite_model::{FailureKind, Overflow, RetryPolicy, RoutineFailure, Timestamp};
use worksite_runtime::{Clock, Flows, Runtime};
use worksite_simulation::{Fault, FaultyStore, MemoryDisk, MemoryStore};

const POSTS: u64 = 24;

/// Numbers pass a slot of three, the pool (which fails once for each fifth), and are added up in threes.
pub(super) fn flow() -> Flow {
    let add = |call: &mut Call<u64>| -> FlowEnded {
        for number in call.all::<u64>("in") {
            *call.state_mut() += *number;
            call.emit("out", *number)?;
        }
        Ok(())
    };
    let pooled = |call: &mut Call<()>| -> FlowEnded {
        let number = call.first::<u64>("in").map_or(0, |number| *number);
        if number.is_multiple_of(5) && call.attempt() == 1 {
            return Err(RoutineFailure::new(FailureKind::Returned, "not yet"));
        }
        Ok(call.emit("out", number)?)
    };
    let retry = RetryPolicy { first_delay: Duration::from_millis(20), ..RetryPolicy::default() };
    let adding = || FlowRoutine::new(add).slot::<u64>("in").event::<u64>("out");
    let pooled = FlowRoutine::pooled(pooled).slot::<u64>("in").event::<u64>("out");
    Flow::builder("f")
        .routine("first", adding().holding(3, Overflow::Wait))
        .routine("pooled", pooled.on_error(ErrorStrategy::retry(retry)))
        .routine("threes", adding().policy(ActivationPolicy::batch(3).flush_when_idle()))
        .connect("first.out", "pooled.in")
        .connect("pooled.out", "threes.in")
        .build()
        .unwrap()
}

/// Plays all posts on this disk under these faults; gives how far it came: nothing when it died on the way.
async fn live(disk: &MemoryDisk, faults: Vec<Fault>) -> Option<(u64, u64)> {
    let store = FaultyStore::new(Box::new(MemoryStore::open(disk)), faults);
    let clock = Clock::tokio(Timestamp::from_seconds(1_000));
    let runtime = Runtime::builder().flow(flow()).clock(clock).start_local(Box::new(store)).await.ok()?;
    let flows = Flows::new(runtime.clone());
    let lived = play(&flows).await;
    runtime.shutdown_within(Duration::from_millis(100)).await;
    lived
}

async fn play(flows: &Flows) -> Option<(u64, u64)> {
    let minute = Duration::from_secs(60);
    let worker = loop {
        match flows.attach("f", 7).await {
            Ok(worker) => break worker,
            Err(error) if error.advice() == worksite_model::Advice::RetryLater => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(_) => return None,
        }
    };
    for number in 0..POSTS {
        loop {
            let posting = flows.posting("f", "first", "in").key(format!("post {number}"));
            match posting.post_many(&[number, number + 100]).await {
                Ok(_) => break,
                Err(error) if error.advice() == worksite_model::Advice::RetryLater => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(_) => return None,
            }
        }
    }
    if !flows.wait_until_all_jobs_finished(Some(minute)).await.ok()? {
        return None;
    }
    let jobs = flows.list_jobs(JobFilter::default(), usize::MAX).await.ok()?;
    assert_eq!(jobs.len() as u64, 2 * POSTS);
    assert!(jobs.iter().all(|job| job.status == JobStatus::Completed), "{jobs:?}");
    Some((worker.state("first").await.ok()??, worker.state("threes").await.ok()??))
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

#[test]
fn a_flow_that_crashes_at_every_commit_counts_everything_once() {
    let sum: u64 = (0..POSTS).map(|number| 2 * number + 100).sum();
    assert_eq!(block_on(live(&MemoryDisk::default(), vec![])), Some((sum, sum)));
    let mut died = 0;
    for commit in 1..60 {
        for fault in [Fault::CrashBefore(commit), Fault::CrashAfter(commit), Fault::Torn(commit)] {
            let disk = MemoryDisk::default();
            let first = block_on(live(&disk, vec![fault]));
            died += u64::from(first.is_none());
            let again = block_on(live(&disk, vec![]));
            assert_eq!(again, Some((sum, sum)), "after {fault:?}");
        }
    }
    assert!(died > 30, "the faults came to pass: {died}");
}

#[test]
fn who_changes_a_state_by_hand_is_answered_when_the_store_dies() {
    for fault in [Fault::UnknownLost(3), Fault::Damaged(3), Fault::CrashAfter(3)] {
        block_on(async {
            let store = FaultyStore::new(Box::new(MemoryStore::open(&MemoryDisk::default())), vec![fault]);
            let clock = Clock::tokio(Timestamp::from_seconds(1_000));
            let runtime = Runtime::builder().flow(flow()).clock(clock).start_local(Box::new(store)).await.unwrap();
            let worker = Flows::new(runtime.clone()).attach("f", 7).await.unwrap();
            worker.update_state("first", |state: &mut u64| *state = 1).await.unwrap();
            // The second comes while the first is being written.
            let change = || worker.update_state("first", |state: &mut u64| *state += 1);
            let both = async { tokio::join!(change(), change()) };
            let (first, second) =
                tokio::time::timeout(Duration::from_secs(600), both).await.expect("both are answered");
            assert!(first.is_err() && second.is_err(), "{fault:?}: {first:?}, {second:?}");
            runtime.shutdown_within(Duration::from_millis(100)).await;
        });
    }
}

#[test]
fn a_flow_goes_on_when_room_returns() {
    let sum: u64 = (0..POSTS).map(|number| 2 * number + 100).sum();
    for commit in 2..40 {
        for fault in [Fault::Full(commit, commit + 2), Fault::Busy(commit, commit + 1)] {
            let disk = MemoryDisk::default();
            let lived = block_on(live(&disk, vec![fault]));
            assert_eq!(lived, Some((sum, sum)), "through {fault:?}");
        }
    }
}
