//! Flows do what seeds 001 and 003 promise: their printed programs, and the scenarios in which the originals fail.

use crate::site::Plot;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use worksite::prelude::*;

pub(crate) const SOON: Option<Duration> = Some(Duration::from_secs(20));

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Processed {
    processed_count: u64,
    last_value: i64,
}
impl Durable for Processed {
    const TYPE: &'static str = "processed";
}

fn processor() -> Flow {
    let process = |call: &mut Call<Processed>| {
        let Some(datum) = call.first::<Value>("input") else { return Ok(()) };
        let value = datum["value"].as_i64().unwrap_or(0);
        call.state_mut().processed_count += 1;
        call.state_mut().last_value = value;
        call.say(format!("Processed: {value} → {} (count: {})", value * 2, call.state().processed_count));
        Ok(call.emit("output", json!({"result": value * 2, "original": value}))?)
    };
    let routine = FlowRoutine::new(process).slot::<Value>("input").event::<Value>("output");
    Flow::builder("processor_flow").routine("processor", routine).build().unwrap()
}

/// Adds up what it gets and passes it on; 13 is unlucky, and 666 panics.
fn sum() -> FlowRoutine {
    let logic = |call: &mut Call<u64>| {
        for number in call.all::<u64>("in") {
            *call.state_mut() += *number;
            assert_ne!(*number, 666, "as asked");
            if *number == 13 {
                Err(std::io::Error::other("unlucky"))?;
            }
            call.emit("out", *number)?;
        }
        Ok(())
    };
    FlowRoutine::new(logic).slot::<u64>("in").event::<u64>("out")
}

pub(crate) fn one(routine: FlowRoutine) -> Flow {
    Flow::builder("f").routine("a", routine).build().unwrap()
}

pub(crate) async fn open(plot: &Plot, flow: Flow) -> Flows {
    Worksite::builder().flow(flow).open(plot.path()).await.unwrap().flows()
}

pub(crate) async fn finished(flows: &Flows) {
    assert!(flows.wait_until_all_jobs_finished(SOON).await.unwrap(), "jobs are still open");
}

async fn status(flows: &Flows, job: &JobHandle) -> JobStatus {
    flows.get_job(job.id()).await.unwrap().unwrap().status
}

#[tokio::test]
async fn the_printed_program_of_seed_001_does_what_it_prints() {
    let plot = Plot::new();
    let flows = open(&plot, processor()).await;
    let worker = flows.exec("processor_flow").await.unwrap();
    let mut jobs = Vec::new();
    for value in 0..5 {
        let (to, job) = flows.post("processor_flow", "processor", "input", &json!({"value": value})).await.unwrap();
        assert_eq!(to.id(), worker.id(), "of the worker that exec made");
        jobs.push(job);
    }
    finished(&flows).await;
    for (value, job) in jobs.iter().enumerate() {
        let job = job.get().await.unwrap().unwrap();
        assert_eq!(job.status, JobStatus::Completed);
        let said = format!("Processed: {value} → {} (count: {})", value * 2, value + 1);
        assert_eq!(job.notes().output, said);
    }
    let state = worker.state::<Processed>("processor").await.unwrap().unwrap();
    assert_eq!(state, Processed { processed_count: 5, last_value: 4 });
    assert_eq!(worker.report().await.unwrap().unconnected, 5, "nobody takes what it emits, and that is counted");
}

#[tokio::test]
async fn a_post_before_exec_and_every_wrong_post_is_an_error_and_leaves_no_job() {
    let plot = Plot::new();
    let flows = open(&plot, one(sum())).await;
    let post = |routine: &'static str, slot: &'static str| flows.posting("f", routine, slot);
    assert!(matches!(post("a", "in").post(&1_u64).await, Err(FlowError::NotRunning(_))));
    let worker = flows.exec("f").await.unwrap();
    assert!(matches!(flows.exec("g").await, Err(FlowError::UnknownFlow(_))));
    assert!(matches!(post("x", "in").post(&1_u64).await, Err(FlowError::UnknownTarget(_))));
    assert!(matches!(post("a", "x").post(&1_u64).await, Err(FlowError::UnknownTarget(_))));
    assert!(matches!(post("a", "in").post(&"text".to_string()).await, Err(FlowError::OtherType { .. })));
    assert!(matches!(post("a", "in").worker(7).post(&1_u64).await, Err(FlowError::UnknownWorker(_))));
    assert!(matches!(post("a", "in").post_all::<u64>(&[]).await, Err(FlowError::BadPost(0))));
    worker.stop().await.unwrap();
    assert!(post("a", "in").worker(worker.id()).post(&1_u64).await.is_err(), "a worker that has ended takes nothing");
    assert_eq!(flows.list_jobs(JobFilter::default(), 9).await.unwrap(), []);
    flows.shutdown(true).await.unwrap();
    assert!(post("a", "in").post(&1_u64).await.is_err());
    assert!(flows.wait_until_all_jobs_finished(SOON).await.is_err());
}

#[tokio::test]
async fn two_workers_of_one_flow_never_see_each_others_data() {
    let plot = Plot::new();
    let flows = open(&plot, one(sum().policy(ActivationPolicy::batch(3)))).await;
    let (one, two) = (flows.exec("f").await.unwrap(), flows.exec("f").await.unwrap());
    for number in 0..30_u64 {
        for (worker, number) in [(&one, 100 + number), (&two, 1_000 + number)] {
            flows.posting("f", "a", "in").worker(worker.id()).post(&number).await.unwrap();
        }
    }
    finished(&flows).await;
    assert_eq!(one.state::<u64>("a").await.unwrap(), Some((100..130).sum()));
    assert_eq!(two.state::<u64>("a").await.unwrap(), Some((1_000..1_030).sum()));
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Pairs(Vec<(u64, u64)>);
impl Durable for Pairs {
    const TYPE: &'static str = "pairs";
}

fn join(policy: ActivationPolicy) -> Flow {
    let source = || {
        let logic = |call: &mut Call<()>| {
            let number = call.first::<u64>("in").map_or(0, |number| *number);
            if number.is_multiple_of(2) {
                call.emit("left", number)?;
                call.emit("right", number)?;
            } else {
                call.emit("right", number)?;
                call.emit("left", number)?;
            }
            Ok(())
        };
        FlowRoutine::new(logic).slot::<u64>("in").event::<u64>("left").event::<u64>("right")
    };
    let slowed = FlowRoutine::asynchronous(|call: AsyncCall<()>| async move {
        let number = call.first::<u64>("in").map_or(0, |number| *number);
        tokio::time::sleep(Duration::from_millis(100 / (number + 1))).await;
        Ok(call.emit("out", number)?)
    });
    let pairs = |call: &mut Call<Pairs>| {
        let pair = (call.first::<u64>("left").map_or(0, |x| *x), call.first::<u64>("right").map_or(0, |x| *x));
        call.state_mut().0.push(pair);
        Ok(())
    };
    let pairs = FlowRoutine::new(pairs).slot::<u64>("left").slot::<u64>("right").policy(policy);
    Flow::builder("f")
        .routine("source", source())
        .routine("slow", slowed.slot::<u64>("in").event::<u64>("out"))
        .routine("pairs", pairs)
        .connect("source.left", "pairs.left")
        .connect("source.right", "slow.in")
        .connect("slow.out", "pairs.right")
        .build()
        .unwrap()
}

#[tokio::test]
async fn two_jobs_that_feed_a_join_are_paired_in_order_or_by_correlation_and_never_silently() {
    for (policy, mixed) in [(ActivationPolicy::all_ready(), true), (ActivationPolicy::all_ready().correlated(), false)]
    {
        let plot = Plot::new();
        let flows = open(&plot, join(policy)).await;
        let worker = flows.exec("f").await.unwrap();
        // What goes the slow way comes back in the opposite order.
        flows.posting("f", "source", "in").post_all(&[0_u64, 1, 2, 3]).await.unwrap();
        finished(&flows).await;
        let Pairs(pairs) = worker.state("pairs").await.unwrap().unwrap();
        assert_eq!(pairs.len(), 4);
        assert_eq!(pairs.iter().any(|(left, right)| left != right), mixed, "{pairs:?}");
    }
}

#[tokio::test]
async fn error_strategies_do_what_they_say_and_panics_harm_nobody() {
    use JobStatus::{Completed, Failed};
    let policy = RetryPolicy { attempts_max: 3, first_delay: Duration::from_millis(5), ..RetryPolicy::default() };
    let optional = ErrorStrategy::Retry { policy: policy.clone(), then: Box::new(ErrorStrategy::Skip) };
    for (strategy, expected, calls) in [
        (ErrorStrategy::Stop, Failed, 1),
        (ErrorStrategy::Continue, Completed, 1),
        (ErrorStrategy::Skip, Completed, 1),
        (ErrorStrategy::retry(policy.clone()), Failed, 3),
        (optional, Completed, 3),
        (ErrorStrategy::retry(RetryPolicy { retryable: |_| false, ..policy.clone() }), Failed, 1),
    ] {
        let plot = Plot::new();
        let flow = Flow::builder("f").routine("a", sum()).on_error(strategy).build().unwrap();
        let flows = open(&plot, flow).await;
        let worker = flows.exec("f").await.unwrap();
        for number in [1_u64, 13, 666, 2] {
            let (_, job) = flows.post("f", "a", "in", &number).await.unwrap();
            assert!(job.wait(SOON).await.unwrap());
            let expected = if number > 2 { expected } else { Completed };
            assert_eq!(status(&flows, &job).await, expected, "{number}");
        }
        let report = worker.report().await.unwrap();
        assert_eq!((report.routines[0].failures, worker.state::<u64>("a").await.unwrap()), (2 * calls, Some(3)));
    }
}

#[tokio::test]
async fn waiting_tells_the_truth_and_wakes_with_the_last_commit() {
    let plot = Plot::new();
    let slow = FlowRoutine::asynchronous(|call: AsyncCall<u64>| async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        call.update_state(|state| *state += 1);
        Ok(())
    });
    let flows = open(&plot, one(slow.slot::<u64>("in"))).await;
    flows.exec("f").await.unwrap();
    assert!(flows.wait_until_all_jobs_finished(Some(Duration::ZERO)).await.unwrap(), "of no jobs all have ended");
    let (_, job) = flows.post("f", "a", "in", &1_u64).await.unwrap();
    assert!(!flows.wait_until_all_jobs_finished(Some(Duration::from_millis(50))).await.unwrap());
    assert!(!job.wait(Some(Duration::from_millis(10))).await.unwrap());
    assert_eq!(status(&flows, &job).await, JobStatus::Running);
    assert!(job.wait(SOON).await.unwrap());
    finished(&flows).await;
    assert!(job.wait(Some(Duration::ZERO)).await.unwrap(), "it has ended already");
    assert!(matches!(flows.wait_for(JobId(77), SOON).await, Err(FlowError::UnknownJob(_))));
}

#[tokio::test]
async fn ten_thousand_increments_of_one_state_are_exactly_ten_thousand() {
    let plot = Plot::new();
    let flows = open(&plot, one(sum())).await;
    let worker = flows.exec("f").await.unwrap();
    let posters = (0..10).map(|_| {
        let (flows, worker) = (flows.clone(), worker.clone());
        tokio::spawn(async move {
            for _ in 0..5 {
                flows.posting("f", "a", "in").post_all(&[1_u64; 100]).await.unwrap();
                let by_hand = (0..10).map(|_| worker.update_state("a", |state: &mut u64| *state += 10));
                for changed in futures(by_hand).await {
                    changed.unwrap();
                }
            }
        })
    });
    for poster in posters.collect::<Vec<_>>() {
        poster.await.unwrap();
    }
    finished(&flows).await;
    assert_eq!(worker.state::<u64>("a").await.unwrap(), Some(10_000));
}

/// Waits for all of them, begun together.
async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut ended = Vec::new();
    for future in all.collect::<Vec<_>>() {
        ended.push(future.await);
    }
    ended
}

#[tokio::test]
async fn state_and_history_are_bounded_and_trimmed() {
    let plot = Plot::new();
    let keep = KeepStates { revisions_max: 3, ..KeepStates::default() };
    let grow = FlowRoutine::new(|call: &mut Call<String>| {
        let more = call.first::<u64>("in").map_or(0, |more| *more);
        call.state_mut().push_str(&"x".repeat(more as usize));
        Ok(())
    });
    let flow = one(grow.slot::<u64>("in").keep_states(keep));
    let limits = Limits { state_bytes_max: 100, ..Limits::default() };
    let site = Worksite::builder().flow(flow).limits(limits).open(plot.path()).await.unwrap();
    let flows = site.flows();
    let worker = flows.exec("f").await.unwrap();
    for (more, expected) in
        [(10_u64, "completed"), (20, "completed"), (90, "failed"), (30, "completed"), (1, "completed")]
    {
        let (_, job) = flows.post("f", "a", "in", &more).await.unwrap();
        assert!(job.wait(SOON).await.unwrap());
        let job = job.get().await.unwrap().unwrap();
        assert_eq!(job.status.to_string(), expected, "{:?}", job.error);
        assert!(expected != "failed" || job.error.unwrap().contains("state_bytes_max"));
    }
    assert_eq!(worker.state::<String>("a").await.unwrap().unwrap().len(), 61);
    let history = worker.state_history("a", 9).await.unwrap();
    let lengths: Vec<_> = history.iter().map(|revision| revision.payload.decode::<String>().unwrap().len()).collect();
    assert_eq!(lengths, [61, 60, 30], "three, the newest first");
}

fn paused_flow() -> Flow {
    let count = |call: &mut Call<u64>| {
        *call.state_mut() += call.all::<u64>("in").len() as u64;
        Ok(())
    };
    let counter = FlowRoutine::new(count).slot::<u64>("in").policy(ActivationPolicy::batch(4));
    Flow::builder("f").routine("a", sum()).routine("b", counter).connect("a.out", "b.in").build().unwrap()
}

#[tokio::test]
async fn what_waits_is_the_same_after_a_pause_a_restart_and_a_resume() {
    let plot = Plot::new();
    let flows = open(&plot, paused_flow()).await;
    let worker = flows.exec("f").await.unwrap();
    flows.posting("f", "a", "in").post_all(&[1_u64, 2, 3]).await.unwrap();
    assert!(!flows.wait_until_all_jobs_finished(Some(Duration::from_millis(50))).await.unwrap());
    worker.pause().await.unwrap();
    let (_, posted) = flows.post("f", "a", "in", &4_u64).await.unwrap();
    assert_eq!(status(&flows, &posted).await, JobStatus::Pending);
    flows.shutdown(false).await.unwrap();

    let flows = open(&plot, paused_flow()).await;
    let worker = flows.get_worker(worker.id()).unwrap();
    crate::site::until(|| worker.status() == Status::Paused).await;
    assert_eq!((worker.state::<u64>("a").await.unwrap(), status(&flows, &posted).await), (Some(6), JobStatus::Pending));
    let open_jobs = JobFilter { open: true, ..JobFilter::default() };
    assert_eq!(flows.list_jobs(open_jobs, 9).await.unwrap().len(), 3);
    assert_eq!(worker.report().await.unwrap().routines[1].slots[0].waiting, 3);
    worker.resume().await.unwrap();
    finished(&flows).await;
    assert_eq!((worker.state::<u64>("a").await.unwrap(), worker.state::<u64>("b").await.unwrap()), (Some(10), Some(4)));
    assert_eq!(status(&flows, &posted).await, JobStatus::Completed);
}

#[tokio::test]
async fn tails_are_flushed_by_idleness_by_time_and_by_shutdown_and_intervals_have_a_timer() {
    let policies = [
        (ActivationPolicy::batch(10).flush_when_idle(), true),
        (ActivationPolicy::batch(10).flush_after(Duration::from_millis(50)), true),
        (ActivationPolicy::debounce(Duration::from_millis(50)), true),
        (ActivationPolicy::window(Duration::from_millis(50)), true),
        (ActivationPolicy::interval(Duration::from_millis(50)), true),
        (ActivationPolicy::batch(10).flush_on_shutdown(), false),
    ];
    for (policy, ends) in policies {
        let plot = Plot::new();
        let flows = open(&plot, one(sum().policy(policy.clone()))).await;
        let worker = flows.exec("f").await.unwrap();
        for _ in 0..13 {
            flows.post("f", "a", "in", &1_u64).await.unwrap();
        }
        let wait = if ends { SOON } else { Some(Duration::from_millis(50)) };
        assert_eq!(flows.wait_until_all_jobs_finished(wait).await.unwrap(), ends, "{policy:?}");
        flows.shutdown(false).await.unwrap();
        let flows = open(&plot, one(sum().policy(policy.clone()))).await;
        let worker = flows.get_worker(worker.id()).unwrap();
        assert_eq!(worker.state::<u64>("a").await.unwrap(), Some(13), "{policy:?}");
        assert!(flows.wait_until_all_jobs_finished(Some(Duration::ZERO)).await.unwrap());
    }
}

#[tokio::test]
async fn pooled_work_runs_side_by_side_and_not_on_the_workers_thread() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let busy = FlowRoutine::pooled(move |call: &mut Call<()>| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        #[expect(clippy::disallowed_methods, reason = "it keeps a thread busy")]
        std::thread::sleep(Duration::from_millis(50));
        now.fetch_sub(1, Ordering::SeqCst);
        Ok(call.emit("out", call.first::<u64>("in").map_or(0, |number| *number))?)
    });
    let plot = Plot::new();
    let flow = Flow::builder("f").routine("p", busy.slot::<u64>("in").event::<u64>("out")).routine("a", sum());
    let flow = flow.connect("p.out", "a.in").build().unwrap();
    let settings = FlowSettings { pool_size: 3, ..FlowSettings::default() };
    let site = Worksite::builder().flow(flow).flow_settings(settings).open(plot.path()).await.unwrap();
    let flows = site.flows();
    let worker = flows.exec("f").await.unwrap();
    flows.posting("f", "p", "in").post_all(&[1_u64; 9]).await.unwrap();
    // The worker hears of other things meanwhile.
    let (_, quick) = flows.post("f", "a", "in", &1_000_u64).await.unwrap();
    assert!(quick.wait(SOON).await.unwrap());
    assert!(worker.state::<u64>("a").await.unwrap().unwrap() < 1_009);
    finished(&flows).await;
    assert_eq!((worker.state::<u64>("a").await.unwrap(), seen.load(Ordering::SeqCst)), (Some(1_009), 3));
}

#[tokio::test]
async fn a_job_is_called_off_once_wherever_it_is() {
    let plot = Plot::new();
    let flows = open(&plot, paused_flow()).await;
    let worker = flows.exec("f").await.unwrap();
    let (_, waiting) = flows.post("f", "a", "in", &1_u64).await.unwrap();
    assert!(!waiting.wait(Some(Duration::from_millis(50))).await.unwrap());
    worker.pause().await.unwrap();
    let (_, pending) = flows.post("f", "a", "in", &1_u64).await.unwrap();
    for job in [&waiting, &pending] {
        assert!(job.cancel().await.unwrap());
        assert!(!job.cancel().await.unwrap(), "it has ended");
        assert_eq!(status(&flows, job).await, JobStatus::Cancelled);
    }
    worker.resume().await.unwrap();
    finished(&flows).await;
    assert_eq!(status(&flows, &pending).await, JobStatus::Cancelled, "and it never begins");
    assert_eq!(worker.report().await.unwrap().routines[1].slots[0].waiting, 0);
    assert!(matches!(flows.cancel(JobId(1)).await, Err(FlowError::UnknownJob(_))));
}

#[tokio::test]
async fn a_job_carries_its_metadata_data_trace_deadline_key_and_parent() {
    let plot = Plot::new();
    let logic = |call: &mut Call<()>| {
        let count = call.job_data("count").and_then(|count| count.as_u64()).unwrap_or(0) + 1;
        call.set_job_data("count", count);
        call.trace(format!("round {count} of {}", call.metadata().unwrap_or_default()));
        if count < 3 {
            call.emit("again", 1_u64)?;
        }
        Ok(())
    };
    let routine = FlowRoutine::new(logic).slot::<u64>("in").event::<u64>("again");
    let flow = Flow::builder("f").routine("a", routine).connect("a.again", "a.in").build().unwrap();
    let flows = open(&plot, flow).await;
    flows.exec("f").await.unwrap();
    let (_, parent) = flows.posting("f", "a", "in").metadata("first").key("k").post(&1_u64).await.unwrap();
    let (_, again) = flows.posting("f", "a", "in").metadata("first").key("k").post(&1_u64).await.unwrap();
    assert_eq!((again.id(), again.is_known(), parent.is_known()), (parent.id(), true, false));
    let child = flows.posting("f", "a", "in").parent(parent.id()).deadline(Duration::from_secs(60));
    let (_, child) = child.post(&1_u64).await.unwrap();
    finished(&flows).await;
    let job = parent.get().await.unwrap().unwrap();
    let notes = job.notes();
    assert_eq!((notes.metadata, notes.data["count"].clone()), (Some("first".into()), 3.into()));
    assert_eq!(
        notes.trace.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(),
        ["round 1 of \"first\"", "round 2 of \"first\"", "round 3 of \"first\""]
    );
    let job = child.get().await.unwrap().unwrap();
    assert_eq!((job.parent, job.deadline.is_some()), (Some(parent.id()), true));
    assert_eq!(flows.list_jobs(JobFilter::default(), 9).await.unwrap().len(), 2);
}

#[tokio::test]
async fn nothing_is_lost_with_slots_of_ten_and_a_slow_routine_behind_them() {
    let slow = FlowRoutine::asynchronous(|call: AsyncCall<u64>| async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        call.update_state(|state| *state += 1);
        Ok(())
    });
    let plot = Plot::new();
    let flow = Flow::builder("f")
        .routine("a", sum().holding(10, Overflow::Wait))
        .routine("slow", slow.slot::<u64>("in").holding(10, Overflow::Wait))
        .connect("a.out", "slow.in")
        .build()
        .unwrap();
    let flows = open(&plot, flow).await;
    let worker = flows.exec("f").await.unwrap();
    for _ in 0..200 {
        flows.post("f", "a", "in", &1_u64).await.unwrap();
    }
    finished(&flows).await;
    assert_eq!(
        (worker.state::<u64>("a").await.unwrap(), worker.state::<u64>("slow").await.unwrap()),
        (Some(200), Some(200))
    );
    let report = worker.report().await.unwrap();
    assert!(report.routines[1].slots[0].highest <= 10, "{report:?}");
    let completed = JobFilter { status: Some(JobStatus::Completed), ..JobFilter::default() };
    assert_eq!(flows.list_jobs(completed, 999).await.unwrap().len(), 200);
}

#[tokio::test]
async fn the_poster_is_told_when_too_many_posts_wait() {
    let plot = Plot::new();
    let settings = FlowSettings { queue_posts_max: 5, ..FlowSettings::default() };
    let site = Worksite::builder().flow(one(sum())).flow_settings(settings).open(plot.path()).await.unwrap();
    let flows = site.flows();
    let worker = flows.exec("f").await.unwrap();
    worker.pause().await.unwrap();
    let mut refused = 0;
    for _ in 0..8 {
        if let Err(error) = flows.post("f", "a", "in", &1_u64).await {
            assert_eq!(error.advice(), Advice::RetryLater);
            refused += 1;
        }
    }
    assert_eq!(refused, 3);
    worker.resume().await.unwrap();
    finished(&flows).await;
    assert_eq!(worker.state::<u64>("a").await.unwrap(), Some(5));
}

#[tokio::test]
async fn breakpoints_hold_and_a_step_is_one_turn_also_after_a_restart() {
    let plot = Plot::new();
    let flows = open(&plot, one(sum())).await;
    let worker = flows.exec("f").await.unwrap();
    worker.set_breakpoint(Breakpoint { routine: "a".into(), job: None }).await.unwrap();
    flows.posting("f", "a", "in").post_all(&[1_u64, 2, 3]).await.unwrap();
    assert!(!flows.wait_until_all_jobs_finished(Some(Duration::from_millis(50))).await.unwrap());
    flows.shutdown(false).await.unwrap();
    let flows = open(&plot, one(sum())).await;
    let worker = flows.worker("f").unwrap();
    worker.step("a").await.unwrap();
    assert_eq!(worker.report().await.unwrap().routines[0].slots[0].waiting, 2);
    assert_eq!(worker.state::<u64>("a").await.unwrap(), Some(1));
    assert!(worker.step("x").await.is_err());
    assert!(worker.clear_breakpoints("a").await.unwrap());
    finished(&flows).await;
    assert_eq!(worker.state::<u64>("a").await.unwrap(), Some(6));
}

#[tokio::test]
async fn volatile_posts_are_jobs_that_leave_nothing_but_the_state() {
    let plot = Plot::new();
    let flows = open(&plot, one(sum())).await;
    let worker = flows.exec("f").await.unwrap();
    flows.post("f", "a", "in", &1_u64).await.unwrap();
    finished(&flows).await;
    let (_, first) = flows.posting("f", "a", "in").post_volatile(&[1_u64, 13, 2]).unwrap();
    finished(&flows).await;
    let mut statuses = Vec::new();
    for place in 0..3 {
        statuses.push(flows.get_job(JobId(first.0 - place)).await.unwrap().unwrap().status);
    }
    assert_eq!(statuses, [JobStatus::Completed, JobStatus::Failed, JobStatus::Completed]);
    assert_eq!(flows.list_jobs(JobFilter::default(), 9).await.unwrap().len(), 1);
    flows.shutdown(true).await.unwrap();
    let flows = open(&plot, one(sum())).await;
    assert_eq!(flows.get_worker(worker.id()).unwrap().state::<u64>("a").await.unwrap(), Some(4));
}

#[tokio::test]
async fn states_are_replaced_merged_and_changed_by_hand_and_system_status_is_apart() {
    let plot = Plot::new();
    let logic = |call: &mut Call<Value>| {
        call.state_mut()["count"] = (call.state()["count"].as_u64().unwrap_or(0) + 1).into();
        Ok(())
    };
    let flows = open(&plot, one(FlowRoutine::new(logic).slot::<u64>("in"))).await;
    let worker = flows.exec("f").await.unwrap();
    worker.replace_state("a", &json!({"count": 4, "theme": "dark"})).await.unwrap();
    let entries = json!({"theme": "light", "status": "mine"});
    worker.merge_state("a", entries.as_object().cloned().unwrap()).await.unwrap();
    flows.post("f", "a", "in", &1_u64).await.unwrap();
    finished(&flows).await;
    let expected = json!({"count": 5, "theme": "light", "status": "mine"});
    assert_eq!(worker.state::<Value>("a").await.unwrap(), Some(expected.clone()), "nobody else writes there");
    let panicked = worker.update_state("a", |state: &mut Value| state["x"]["y"].as_u64().unwrap()).await;
    assert!(matches!(panicked, Err(FlowError::Desk(DeskError::Panicked))));
    assert!(worker.update_state("a", |_: &mut u64| ()).await.is_err());
    assert!(worker.update_state("x", |_: &mut Value| ()).await.is_err());
    assert!(worker.replace_state("a", &7_u64).await.is_err());
    assert_eq!(worker.state::<Value>("a").await.unwrap(), Some(expected));
}

#[tokio::test]
async fn a_routine_writes_to_other_workers_in_its_commit() {
    let plot = Plot::new();
    let logic = |call: &mut Call<()>| {
        let to = call.first::<u64>("in").map_or(0, |to| *to);
        call.send(Draft::to(to as i64, &"from a flow".to_string())?);
        Ok(())
    };
    let flow = one(FlowRoutine::new(logic).slot::<u64>("in"));
    let site = Worksite::builder().flow(flow).open(plot.path()).await.unwrap();
    site.join(Person::new(7, "ada")).await.unwrap();
    let flows = site.flows();
    flows.exec("f").await.unwrap();
    let (_, jobs) = flows.posting("f", "a", "in").post_all(&[7_u64, 7]).await.unwrap();
    let (_, lost) = flows.post("f", "a", "in", &8_u64).await.unwrap();
    finished(&flows).await;
    assert_eq!(site.message_count(7), 2);
    assert_eq!(status(&flows, &jobs[0]).await, JobStatus::Completed);
    let job = lost.get().await.unwrap().unwrap();
    assert!(job.status == JobStatus::Failed && job.error.unwrap().contains("person 8 is not on the roster"));
}

#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
struct Cache {
    cache: std::collections::BTreeMap<String, String>,
    hits: u64,
    misses: u64,
}
impl Durable for Cache {
    const TYPE: &'static str = "cache";
}

#[tokio::test]
async fn the_printed_program_of_seed_003_counts_three_misses_and_three_hits() {
    let plot = Plot::new();
    let process = |call: &mut Call<Cache>| {
        if call.first::<Value>("clear_cache").is_some() {
            *call.state_mut() = Cache::default();
            return Ok(());
        }
        let Some(item) = call.first::<Value>("input") else { return Ok(()) };
        let data = item["data"].as_str().unwrap_or_default().to_string();
        let cached = call.state().cache.get(&data).cloned();
        let result = cached.clone().unwrap_or_else(|| format!("processed_{}", data.to_uppercase()));
        let state = call.state_mut();
        if cached.is_some() {
            state.hits += 1;
        } else {
            state.misses += 1;
            state.cache.insert(data, result.clone());
        }
        Ok(call.emit("output", json!({"result": result, "cached": cached.is_some()}))?)
    };
    let routine = FlowRoutine::new(process).slot::<Value>("input").slot::<Value>("clear_cache");
    let flow =
        Flow::builder("cached_processor").routine("processor", routine.event::<Value>("output")).build().unwrap();
    let flows = open(&plot, flow).await;
    let worker = flows.exec("cached_processor").await.unwrap();
    for data in ["hello", "world", "hello", "test", "hello", "world"] {
        flows.post("cached_processor", "processor", "input", &json!({"data": data})).await.unwrap();
    }
    finished(&flows).await;
    let state = worker.state::<Cache>("processor").await.unwrap().unwrap();
    assert_eq!((state.misses, state.hits, state.cache.len()), (3, 3, 3));
    flows.post("cached_processor", "processor", "clear_cache", &json!({})).await.unwrap();
    finished(&flows).await;
    assert_eq!(worker.state::<Cache>("processor").await.unwrap(), Some(Cache::default()));
}

/// Hears what happens, and forbids what is asked of it.
#[derive(Clone, Default)]
struct Ear(Arc<std::sync::Mutex<Vec<String>>>);

impl worksite::model::flow::FlowHook for Ear {
    fn begins(&self, turn: &worksite::model::flow::TurnView<'_>) -> bool {
        self.0.lock().unwrap().push(format!("begins {}", turn.routine));
        let heard = self.0.lock().unwrap().len();
        assert_ne!(heard, 1, "a hook that panics harms nobody");
        heard != 10
    }
    fn ends(&self, turn: &worksite::model::flow::TurnView<'_>, failure: Option<&RoutineFailure>) {
        self.0.lock().unwrap().push(format!(
            "ends {} {}",
            turn.routine,
            if failure.is_some() { "badly" } else { "well" }
        ));
    }
    fn job_ends(&self, _: JobId, status: JobStatus) {
        self.0.lock().unwrap().push(format!("job {status}"));
    }
}

#[tokio::test]
async fn hooks_hear_in_order_may_forbid_and_harm_nobody() {
    let plot = Plot::new();
    let ear = Ear::default();
    let flow = Flow::builder("f").routine("a", sum()).hook(ear.clone()).build().unwrap();
    let flows = open(&plot, flow).await;
    let worker = flows.exec("f").await.unwrap();
    for number in [1_u64, 13, 2, 4] {
        flows.post("f", "a", "in", &number).await.unwrap();
        finished(&flows).await;
    }
    let heard = ear.0.lock().unwrap().clone();
    assert_eq!(
        heard,
        [
            "begins a",
            "ends a well",
            "job completed",
            "begins a",
            "ends a badly",
            "job failed",
            "begins a",
            "ends a well",
            "job completed",
            "begins a",
            "job completed"
        ]
    );
    assert_eq!(worker.state::<u64>("a").await.unwrap(), Some(3), "the last one was forbidden");
    assert_eq!(worker.report().await.unwrap().routines[0].skipped, 1);
}

#[tokio::test]
async fn resources_are_made_once_in_each_life_of_a_worker() {
    let made = Arc::new(AtomicUsize::new(0));
    let flow = || {
        let made = made.clone();
        let query = |call: &mut Call<()>| {
            let pool = call.resource::<AtomicUsize>("pool")?;
            call.set_job_data("connection", pool.fetch_add(1, Ordering::SeqCst) as u64);
            assert!(call.resource::<u64>("pool").is_err() && call.resource::<u64>("x").is_err());
            Ok(())
        };
        let routine = FlowRoutine::new(query).slot::<u64>("query");
        let make = move || {
            made.fetch_add(1, Ordering::SeqCst);
            AtomicUsize::new(0)
        };
        Flow::builder("f").routine("db", routine).resource("pool", make).build().unwrap()
    };
    let plot = Plot::new();
    for life in 1..=2 {
        let flows = open(&plot, flow()).await;
        flows.attach("f", 7).await.unwrap();
        let (_, jobs) = flows.posting("f", "db", "query").post_all(&[1_u64, 2]).await.unwrap();
        finished(&flows).await;
        let job = jobs[1].get().await.unwrap().unwrap();
        assert_eq!((job.notes().data["connection"].clone(), made.load(Ordering::SeqCst)), (1.into(), life));
        flows.shutdown(true).await.unwrap();
    }
}

#[tokio::test]
async fn a_picture_shows_the_graph_and_how_full_it_is() {
    let plot = Plot::new();
    let flow = Flow::builder("f").routine("a", sum()).routine("b", sum().holding(2, Overflow::Wait));
    let flow = flow.connect("a.out", "b.in").build().unwrap();
    let flows = open(&plot, flow.clone()).await;
    let worker = flows.exec("f").await.unwrap();
    worker.set_breakpoint(Breakpoint { routine: "b".into(), job: None }).await.unwrap();
    flows.posting("f", "a", "in").post_all(&[1_u64; 3]).await.unwrap();
    let report = worker.report().await.unwrap();
    let mermaid = flow.mermaid(Some(&report));
    let expected = "flowchart LR\n    r0[\"a<br/>2 done, 0 failed<br/>in 1/1000\"]\n    \
                    r1[\"b<br/>0 done, 0 failed<br/>in 2/2 (full)\"]\n    r0 -- \"out → in\" --> r1\n";
    assert_eq!(mermaid, expected);
    let dot = flow.dot(None);
    assert!(dot.starts_with("digraph \"f\" {") && dot.contains("r0 -> r1 [label=\"out → in\"];"), "{dot}");
}
