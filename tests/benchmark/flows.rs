//! Flows: jobs a second through one routine, a chain of ten, and a fan-out to a hundred, durable and volatile, posted a
//! thousand an envelope with two envelopes on their way; and how long a lone post takes to its end. The baselines are the
//! figures that the Python original documents for itself, in memory, on its author's machine: 22,000, 3,800 and 1,000 jobs
//! a second, 61 µs (median) and 162 µs (p99).

use crate::Effort;
use crate::machine::rate;
use crate::table::{Line, Target};
use std::time::Duration;
use worksite::prelude::*;

const TOGETHER: usize = 1_000;
const FOR_EVER: Option<Duration> = Some(Duration::from_secs(600));

/// Which graph.
#[derive(Clone, Copy)]
pub enum Shape {
    One,
    Chain,
    FanOut,
}

fn pass() -> FlowRoutine {
    let logic = |call: &mut Call<u64>| {
        let number = call.first::<u64>("in").map_or(0, |number| *number);
        *call.state_mut() += number;
        Ok(call.emit("out", number)?)
    };
    FlowRoutine::new(logic).slot::<u64>("in").event::<u64>("out")
}

impl Shape {
    fn flow(self) -> Flow {
        let mut flow = Flow::builder("f").routine("r0", pass());
        match self {
            Self::One => {}
            Self::Chain => {
                for next in 1..10 {
                    flow = flow.routine(format!("r{next}"), pass());
                    flow = flow.connect(format!("r{}.out", next - 1), format!("r{next}.in"));
                }
            }
            Self::FanOut => {
                for next in 1..=100 {
                    flow = flow.routine(format!("r{next}"), pass()).connect("r0.out", format!("r{next}.in"));
                }
            }
        }
        flow.build().expect("a flow")
    }

    fn name(self) -> &'static str {
        match self {
            Self::One => "flow-one",
            Self::Chain => "flow-chain-10",
            Self::FanOut => "flow-fan-100",
        }
    }

    fn documented(self) -> f64 {
        match self {
            Self::One => 22_000.0,
            Self::Chain => 3_800.0,
            Self::FanOut => 1_000.0,
        }
    }

    fn jobs(self, effort: Effort) -> usize {
        let full = match self {
            Self::One => 2_000_000,
            Self::Chain => 500_000,
            Self::FanOut => 100_000,
        };
        full / effort.divisor
    }

    fn last(self) -> &'static str {
        match self {
            Self::One => "r0",
            Self::Chain => "r9",
            Self::FanOut => "r100",
        }
    }
}

/// Jobs a second.
pub fn line(effort: Effort, shape: Shape, volatile: bool) -> Line {
    let jobs = shape.jobs(effort);
    let pairs = (0..effort.repeats).map(|_| (jobs_a_second(shape, jobs, volatile), shape.documented())).collect();
    let name = format!("{}{}", shape.name(), if volatile { "-volatile" } else { "" });
    Line { name, unit: "jobs/s", pairs, target: Some(Target::AtLeast(10.0)) }
}

fn jobs_a_second(shape: Shape, jobs: usize, volatile: bool) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the site");
    worksite::block_on(async {
        let site = Worksite::builder().flow(shape.flow()).open(folder.path().join("site.db")).await.expect("a site");
        let flows = site.flows();
        let worker = flows.exec("f").await.expect("a worker");
        flows.post("f", "r0", "in", &0_u64).await.expect("posted");
        flows.wait_until_all_jobs_finished(FOR_EVER).await.expect("awake");
        let data = vec![1_u64; TOGETHER];
        #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
        let start = std::time::Instant::now();
        let mut before = None;
        for _ in 0..jobs / TOGETHER {
            let posting = flows.posting("f", "r0", "in");
            // Posting is faster than working off, and an inbox has a bound.
            while flows.open_jobs() > 64 * TOGETHER {
                std::thread::yield_now();
            }
            if volatile {
                posting.post_volatile(&data).expect("posted");
                continue;
            }
            let posted = Box::pin(posting.post_many_later(&data).expect("handed over"));
            if let Some(before) = before.replace(posted) {
                before.await.expect("durable");
            }
        }
        if let Some(last) = before {
            last.await.expect("durable");
        }
        assert!(flows.wait_until_all_jobs_finished(FOR_EVER).await.expect("open"), "all have ended");
        let took = start.elapsed();
        site.shutdown().await;
        let site = Worksite::builder().flow(shape.flow()).open(folder.path().join("site.db")).await.expect("a site");
        let worker = site.flows().get_worker(worker.id()).expect("it is there");
        let counted = worker.state::<u64>(shape.last()).await.expect("readable").expect("a state");
        assert_eq!(counted as usize, jobs / TOGETHER * TOGETHER, "each job once");
        site.shutdown().await;
        rate(jobs, took)
    })
}

/// Microseconds from a lone post to the end of its job: the median against the original's, in memory.
pub fn latency(effort: Effort, volatile: bool, percent: usize) -> Line {
    let documented = if percent == 50 { 61.0 } else { 162.0 };
    let pairs = (0..effort.repeats).map(|_| (micros(20_000 / effort.divisor, volatile, percent), documented)).collect();
    let name = format!("flow-p{percent}{}", if volatile { "-volatile" } else { "" });
    Line { name, unit: "µs", pairs, target: None }
}

fn micros(posts: usize, volatile: bool, percent: usize) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for the site");
    worksite::block_on(async {
        let site = Worksite::builder().flow(Shape::One.flow()).open(folder.path().join("site.db")).await;
        let site = site.expect("a site");
        let flows = site.flows();
        flows.exec("f").await.expect("a worker");
        let mut times = Vec::with_capacity(posts);
        for _ in 0..posts {
            #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
            let start = std::time::Instant::now();
            if volatile {
                flows.posting("f", "r0", "in").post_volatile(&[1_u64]).expect("posted");
            } else {
                flows.post("f", "r0", "in", &1_u64).await.expect("posted");
            }
            assert!(flows.wait_until_all_jobs_finished(FOR_EVER).await.expect("open"));
            times.push(start.elapsed());
        }
        site.shutdown().await;
        times.sort();
        times[(posts * percent / 100).min(posts - 1)].as_secs_f64() * 1e6
    })
}
