//! The run queue beside the figures documented of seed 002's original: 1,100 adds and 1,100 claims a second, 215 claims a
//! second when 100,000 runs wait that the runner cannot take, 2.05 s and 522 MB to start again with 100,000 runs. Those
//! were taken on another machine: the ratios are for orders of magnitude. Every add and claim of ours is durable.

use crate::Effort;
use crate::durable::in_turns;
use crate::machine::{alone, rate, timed};
use crate::memory::resident;
use crate::table::{Figure, Line, Target};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use worksite::prelude::*;
use worksite_model::RunBoard;

/// The flag under which this program opens a queue and prints how long it took and by how many bytes it has grown.
pub const CHILD: &str = "--measure-run-queue";

const RUNS: usize = 100_000;
const TOGETHER: usize = 1_000;
/// Distinct sets of demands, as in the job log of `night_shift`.
const SETS: usize = 60;

fn draft(number: usize) -> RunDraft {
    let demands = Demands::none().tag("unmet").at_least("cores", 1 + (number % SETS) as i64);
    let prompt = Payload::encode(&"x".repeat(100)).expect("text can be encoded");
    RunDraft { payload: Some(prompt), demands, ..RunDraft::new().agent("agent") }
}

fn able() -> RunnerInfo {
    RunnerInfo::new("able", Capabilities::none().tag("unmet").field("cores", 1_000))
}

async fn open(path: &Path) -> (Worksite, RunQueue) {
    let site = Worksite::open(path).await.expect("it opens");
    let queue = site.run_queue().await.expect("it opens");
    (site, queue)
}

async fn add(queue: &RunQueue, runs: usize) {
    let mut adding = VecDeque::new();
    for first in (0..runs).step_by(TOGETHER) {
        adding.push_back(queue.add_runs((first..runs.min(first + TOGETHER)).map(draft).collect()));
        if adding.len() > 4
            && let Some(added) = adding.pop_front()
        {
            added.await.expect("they are added");
        }
    }
    for added in adding {
        added.await.expect("they are added");
    }
}

fn against(name: &str, original: f64, target: f64, values: Vec<f64>) -> Line {
    let pairs = values.into_iter().map(|value| (value, original)).collect();
    Line { name: name.into(), unit: "runs/s", pairs, target: Some(Target::AtLeast(target)) }
}

pub fn adds(effort: Effort) -> Line {
    let runs = RUNS / effort.divisor.min(5);
    let once = |_| {
        let folder = tempfile::tempdir().expect("a folder for the site");
        worksite::block_on(async {
            let (site, queue) = open(&folder.path().join("site.db")).await;
            let ((), took) = timed(|| worksite::block_on(add(&queue, runs)));
            site.shutdown().await;
            rate(runs, took)
        })
    };
    against("runs-add", 1_100.0, 100.0, (0..effort.repeats).map(once).collect())
}

pub fn claims(effort: Effort) -> Line {
    let runs = RUNS / effort.divisor.min(5);
    let once = |_| {
        let folder = tempfile::tempdir().expect("a folder for the site");
        worksite::block_on(async {
            let (site, queue) = open(&folder.path().join("site.db")).await;
            add(&queue, runs).await;
            let (claimed, took) = timed(|| {
                worksite::block_on(async {
                    let mut claiming: VecDeque<_> = (0..4).map(|_| queue.claim_runs(&able(), TOGETHER)).collect();
                    let mut claimed = 0;
                    while let Some(claim) = claiming.pop_front() {
                        let got = claim.await.expect("it is claimed").len();
                        claimed += got;
                        if got > 0 {
                            claiming.push_back(queue.claim_runs(&able(), TOGETHER));
                        }
                    }
                    claimed
                })
            });
            assert_eq!(claimed, runs);
            site.shutdown().await;
            rate(runs, took)
        })
    };
    against("runs-claim", 1_100.0, 100.0, (0..effort.repeats).map(once).collect())
}

/// What `instructions-claim` counts: runs are added, and claimed one by one, or not.
pub fn counted(runs: usize, claims: bool, in_flight: usize) {
    let folder = tempfile::tempdir().expect("a folder for the site");
    worksite::block_on(async {
        let (site, queue) = open(&folder.path().join("site.db")).await;
        add(&queue, runs).await;
        let (able, claims) = (able(), if claims { runs } else { 0 });
        let check = |claim: Result<Option<_>, _>| assert!(claim.is_ok_and(|run| run.is_some()), "it is claimed");
        in_turns(in_flight, claims, |_| queue.claim_run(&able), check).await;
        site.shutdown().await;
    });
}

/// Claims that find nothing, behind 100,000 runs that the runner cannot take; sixty-four of them asked at once.
pub fn no_match(effort: Effort) -> Line {
    let (folder, claims) = (tempfile::tempdir().expect("a folder for the site"), 1_000_000 / effort.divisor);
    let values = worksite::block_on(async {
        let (site, queue) = open(&folder.path().join("site.db")).await;
        add(&queue, RUNS).await;
        let once = |_| {
            let unable = RunnerInfo::new("unable", Capabilities::none().field("cores", 1_000));
            let ((), took) = timed(|| {
                worksite::block_on(async {
                    let mut claiming = VecDeque::new();
                    for _ in 0..claims {
                        claiming.push_back(queue.claim_run(&unable));
                        if claiming.len() == 64
                            && let Some(claim) = claiming.pop_front()
                        {
                            assert_eq!(claim.await.expect("it is answered"), None);
                        }
                    }
                    for claim in claiming {
                        assert_eq!(claim.await.expect("it is answered"), None);
                    }
                })
            });
            rate(claims, took)
        };
        let values = (0..effort.repeats).map(once).collect();
        site.shutdown().await;
        values
    });
    against("runs-claim-no-match", 215.0, 1_000.0, values)
}

/// The search alone, in nanoseconds: 100,000 runs that cannot be taken ahead of one that can.
pub fn search(effort: Effort) -> Figure {
    let at = Timestamp::from_seconds(1_000);
    let mut board = RunBoard::new(RunPolicy::default(), worksite_model::RecoveredRuns::default(), 1, at);
    let last = RunDraft::new().demands(Demands::none().tag("other")).priority(-1);
    for draft in (0..RUNS).map(draft).chain([last]) {
        let Ok(worksite_model::Decision::Write(writes, _)) = board.add(&[draft], &[], at) else { panic!("refused") };
        writes.iter().for_each(|write| board.apply(write, at));
    }
    let other = Arc::new(Capabilities::none().tag("other"));
    let searches = 10_000_000 / effort.divisor;
    let once = |_| {
        let (found, took) = timed(|| (0..searches).filter(|_| board.has_work(&other, at)).count());
        assert_eq!(found, searches);
        took.as_nanos() as f64 / searches as f64
    };
    let values = (0..effort.repeats).map(once).collect();
    Figure { name: "runs-search".into(), unit: "ns", values, target: Some(Target::AtMost(1_000.0)) }
}

pub fn restart(effort: Effort) -> Figure {
    figure("runs-restart-100k", "s", effort, 0, 0.3)
}

pub fn restart_memory(effort: Effort) -> Figure {
    figure("runs-restart-memory", "MB", effort, 1, 100.0)
}

fn figure(name: &str, unit: &'static str, effort: Effort, column: usize, most: f64) -> Figure {
    let folder = tempfile::tempdir().expect("a folder for the site");
    let path = folder.path().join("site.db");
    worksite::block_on(async {
        let (site, queue) = open(&path).await;
        add(&queue, RUNS).await;
        site.shutdown().await;
    });
    let values = (0..effort.repeats.min(3)).map(|_| alone(CHILD, &path)[column]).collect();
    Figure { name: name.into(), unit, values, target: Some(Target::AtMost(most)) }
}

pub fn child(path: &str) {
    let before = resident();
    let ((site, queue), took) = timed(|| worksite::block_on(async { open(Path::new(path)).await }));
    worksite::block_on(async {
        println!("{} {}", took.as_secs_f64(), (resident() - before) as f64 / 1e6);
        assert_eq!(queue.metrics().await.expect("it counts").counts.pending, RUNS);
        site.shutdown().await;
    });
}
