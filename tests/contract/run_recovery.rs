//! Runs after a restart: the table of seed 002's recovery, epochs, leases, and a process killed with SIGKILL.

use crate::killed;
use crate::runs::{Yard, runner};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;
use worksite::prelude::*;

/// Leaves one run of each kind behind: pending, claimed and running both old and fresh, stopping, and one of each end.
async fn leave_behind(yard: &Yard) -> BTreeMap<&'static str, RunId> {
    let (site, queue) = yard.open().await;
    let draft = || RunDraft::new().lease(Duration::from_secs(1_000_000));
    let mut left = BTreeMap::new();
    for name in ["claimed old", "running old", "stopping", "completed", "failed", "stopped"] {
        let run = queue.add_run(draft()).await.unwrap();
        left.insert(name, run.id);
        let claimed = queue.claim_run(&runner(name)).await.unwrap().unwrap();
        match name {
            "running old" => drop(queue.report(&claimed, RunReport::Started).await.unwrap()),
            "stopping" => drop(queue.stop_run(run.id).await.unwrap()),
            "completed" => drop(queue.report(&claimed, RunReport::Completed(None)).await.unwrap()),
            "failed" => drop(queue.report(&claimed, RunReport::Failed("x".into())).await.unwrap()),
            "stopped" => drop(queue.report(&claimed, RunReport::Stopped).await.unwrap()),
            _ => {}
        }
    }
    yard.pass(&queue, 1_000).await;
    for name in ["claimed fresh", "running fresh"] {
        left.insert(name, queue.add_run(draft()).await.unwrap().id);
        let claimed = queue.claim_run(&runner(name)).await.unwrap().unwrap();
        if name == "running fresh" {
            queue.report(&claimed, RunReport::Started).await.unwrap();
        }
    }
    left.insert("pending", queue.add_run(draft()).await.unwrap().id);
    site.shutdown().await;
    left
}

#[test]
fn what_an_earlier_life_left_is_resolved_as_the_table_says() {
    use RunStatus::{Claimed, Completed, Failed, Pending, Running, Stopped, Stopping};
    let names = [
        "pending",
        "claimed old",
        "claimed fresh",
        "running old",
        "running fresh",
        "stopping",
        "completed",
        "failed",
        "stopped",
    ];
    let stale = Recovery::Stale(Duration::from_secs(300));
    let table = [
        (
            Recovery::Orphans,
            [Pending, Pending, Pending, Pending, Pending, Stopped, Completed, Failed, Stopped],
            [4, 0, 1],
        ),
        (
            Recovery::None,
            [Pending, Claimed, Claimed, Running, Running, Stopping, Completed, Failed, Stopped],
            [0, 0, 0],
        ),
        (stale, [Pending, Pending, Claimed, Failed, Running, Stopped, Completed, Failed, Stopped], [1, 1, 1]),
        (Recovery::All, [Pending, Pending, Pending, Failed, Failed, Stopped, Completed, Failed, Stopped], [2, 2, 1]),
    ];
    for (recovery, expected, counts) in table {
        worksite::block_on(async {
            let mut yard = Yard::new();
            let left = leave_behind(&yard).await;
            yard.policy.recovery = recovery;
            let (site, queue) = yard.open().await;
            let report = queue.recovery();
            assert_eq!([report.reset_to_pending, report.marked_failed, report.marked_stopped], counts, "{recovery:?}");
            for (name, status) in names.iter().zip(expected) {
                let run = queue.get_run_with_fallback(left[name]).await.unwrap().unwrap();
                assert_eq!(run.status, status, "{name} under {recovery:?}");
                // What was at work counts an attempt; what was only claimed does not.
                if recovery == Recovery::Orphans {
                    assert_eq!(run.attempts, u32::from(name.starts_with("running")), "{name}");
                }
            }
            // No row is stuck: what stayed held ends by its lease.
            yard.pass(&queue, 1_000_000).await;
            assert!(queue.get_all_runs().await.unwrap().iter().all(|run| run.status == Pending), "{recovery:?}");
            site.shutdown().await;
        });
    }
}

#[test]
fn a_late_report_from_an_earlier_life_is_refused() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        queue.add_run(RunDraft::new()).await.unwrap();
        let before = queue.claim_run(&runner("a")).await.unwrap().unwrap();
        queue.report(&before, RunReport::Started).await.unwrap();
        site.shutdown().await;
        let (_site, queue) = yard.open().await;
        let late = queue.report(&before, RunReport::Completed(None)).await.unwrap_err();
        assert!(matches!(late.rejection(), Some(RunRejection::Illegal { from: RunStatus::Pending, .. })), "{late}");
        let after = queue.claim_run(&runner("b")).await.unwrap().unwrap();
        let late = queue.report(&before, RunReport::Completed(None)).await.unwrap_err();
        assert!(matches!(late.rejection(), Some(RunRejection::StaleClaim { given: 1, current: 2, .. })), "{late}");
        queue.report(&after, RunReport::Completed(None)).await.unwrap();
    });
}

/// A life of the process that is killed: adds, claims and completes without end, and says what it was told.
///
/// It is a test so that the test binary can start itself; alone it does nothing.
#[test]
fn a_life_of_runs_to_be_ended() {
    let Ok(path) = std::env::var("WORKSITE_RUNS_PATH") else { return };
    worksite::block_on(async {
        let site = Worksite::open(Path::new(&path)).await.unwrap();
        let queue = site.run_queue().await.unwrap();
        println!("open");
        loop {
            let drafts = (0..5).map(|_| RunDraft::new().attempts_max(1_000)).collect();
            for run in queue.add_runs(drafts).await.unwrap() {
                println!("said added {}", run.id);
            }
            for run in queue.claim_runs(&runner("a"), 3).await.unwrap() {
                println!("said claimed {}", run.id);
                queue.report(&run, RunReport::Started).await.unwrap();
                queue.report(&run, RunReport::Completed(None)).await.unwrap();
                println!("said completed {}", run.id);
            }
        }
    });
}

#[test]
fn a_process_killed_between_store_cache_and_answer_loses_no_run_and_completes_none_twice() {
    let yard = Yard::new();
    let (mut added, mut completed) = (Vec::new(), Vec::new());
    for life in 0..10 {
        let moment = 20 + worksite::model::chance(20_261_121, &[life]) % 300;
        let mut lines = 0;
        let path = yard.path();
        let variables: [(&str, &dyn AsRef<OsStr>); 1] = [("WORKSITE_RUNS_PATH", &path)];
        killed::live_and_die("run_recovery::a_life_of_runs_to_be_ended", &variables, |line| {
            let Some((_, said)) = line.split_once("said ") else { return false };
            let (what, id) = said.split_once(' ').unwrap();
            match what {
                "added" => added.push(id.parse::<RunId>().unwrap()),
                "completed" => completed.push(id.parse::<RunId>().unwrap()),
                _ => {}
            }
            lines += 1;
            lines >= moment
        });
    }
    worksite::block_on(async {
        let site = Worksite::open(yard.path()).await.unwrap();
        let queue = site.run_queue().await.unwrap();
        let mut distinct = completed.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), completed.len(), "a run completed twice");
        for id in &added {
            let run = queue.get_run_with_fallback(*id).await.unwrap().expect("what was acknowledged is there");
            assert!(run.status == RunStatus::Completed || !completed.contains(id), "{id} was completed");
        }
        // Nothing is stuck: a runner can do all that is left.
        while let Some(run) = queue.claim_run(&runner("last")).await.unwrap() {
            queue.report(&run, RunReport::Completed(None)).await.unwrap();
        }
        assert_eq!(queue.get_all_runs().await.unwrap(), []);
        let all = queue.get_all_runs_from_db(&[]).await.unwrap();
        assert!(all.len() >= added.len() && all.iter().all(|run| run.status == RunStatus::Completed));
        site.shutdown().await;
    });
}
