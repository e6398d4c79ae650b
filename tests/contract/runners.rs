//! Runners of two kinds: child processes that speak JSON Lines and are killed at random, and workers of the house.

use crate::runs::runner;
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::time::Duration;
use worksite::model::{Order, Which, Word};
use worksite::prelude::*;

/// Takes so long that there is more to do than is done before somebody is killed.
#[expect(clippy::disallowed_methods, reason = "the work is to take time; nobody waits for a fact by it")]
fn work() {
    std::thread::sleep(Duration::from_millis(5));
}

/// A runner in a process of its own: does what it is told, and says so.
///
/// It is a test so that the test binary can start itself; alone it does nothing.
#[test]
fn a_runner_to_be_killed() {
    let Ok(folder) = std::env::var("WORKSITE_RUNNER_FOLDER") else { return };
    std::fs::write(format!("{folder}/{}", std::process::id()), "").unwrap();
    let hangs =
        std::env::var_os("WORKSITE_RUNNER_HANGS").is_some() && std::fs::create_dir(format!("{folder}/hung")).is_ok();
    let say = |word: Word| {
        // Not `print!`: the harness keeps that to itself.
        let mut out = std::io::stdout().lock();
        out.write_all(format!("\n{}", word.to_line()).as_bytes()).unwrap();
        out.flush().unwrap();
    };
    for line in std::io::stdin().lock().lines() {
        if hangs {
            // It says nothing more, and does not hear that its standard input ends.
            loop {
                std::thread::park();
            }
        }
        match Order::from_line(&line.unwrap()) {
            Some(Order::Run { id, fence, payload, .. }) => {
                say(Word::Started(Which { id: id.clone(), fence }));
                work();
                let squared = payload.and_then(|payload| payload.as_str()?.parse::<u64>().ok()).map(|n| n * n);
                say(Word::Completed { id, fence, result: squared.map(Into::into) });
            }
            Some(Order::Stop { id, fence }) => say(Word::Stopped(Which { id, fence })),
            None => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_as_child_processes_killed_at_random_end_every_run_once() {
    const RUNS: u64 = 400;
    let folder = tempfile::tempdir().unwrap();
    let site = Worksite::open(folder.path().join("site.db")).await.unwrap();
    let queue = site.run_queue().await.unwrap();
    let pids = folder.path().join("pids");
    std::fs::create_dir(&pids).unwrap();
    let program = std::env::current_exe().unwrap();
    for number in 0..3 {
        let info = RunnerInfo::new(format!("child {number}"), Capabilities::none().tag("child")).slots(4);
        // The variable reaches the child through `env`, which also is the first program it finds.
        let folder = format!("WORKSITE_RUNNER_FOLDER={}", pids.display());
        let runner = worksite::runtime::CommandRunner::new(info, "env").argument(folder).argument(&program);
        let runner = ["--exact", "runners::a_runner_to_be_killed", "--nocapture", "--test-threads=1"]
            .into_iter()
            .fold(runner, |runner, argument| runner.argument(argument));
        queue.employ_command(runner);
    }
    let mut draft = |number: u64| {
        let demands = Demands::none().tag("child");
        RunDraft::of(&number.to_string()).unwrap().demands(demands).attempts_max(1_000)
    };
    let mut waits = BTreeMap::new();
    let (mut killed, mut rolls) = (0, 0);
    for part in 0..RUNS / 20 {
        for run in queue.add_runs((part * 20..(part + 1) * 20).map(&mut draft).collect()).await.unwrap() {
            waits.insert(run.id, queue.wait(run.id));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        // One of those that live is killed.
        let living: Vec<_> = std::fs::read_dir(&pids).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        rolls += 1;
        if living.len() > 1 {
            let victim = &living[(worksite::model::chance(7, &[rolls]) % living.len() as u64) as usize];
            let kill = std::process::Command::new("kill").arg("-9").arg(victim).status().unwrap();
            killed += u32::from(kill.success());
            std::fs::remove_file(pids.join(victim)).unwrap();
        }
    }
    let mut sum = 0;
    for (id, end) in waits {
        let run = tokio::time::timeout(Duration::from_secs(60), end).await.expect("it ends").unwrap();
        assert_eq!((run.id, run.status), (id, RunStatus::Completed), "{:?}", run.error);
        sum += run.result.as_ref().unwrap().decode::<serde_json::Value>().unwrap().as_u64().unwrap();
    }
    assert_eq!(sum, (0..RUNS).map(|number| number * number).sum::<u64>());
    assert!(killed >= 5, "{killed} were killed");
    let counts = queue.metrics().await.unwrap().counts;
    assert_eq!((counts.completed, counts.failed, counts.held, counts.pending), (RUNS, 0, 0, 0));
    assert!(counts.requeued > 0, "somebody was killed at work");
    site.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_hangs_is_killed_when_its_lease_has_ended_and_its_run_is_done_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let site = Worksite::open(folder.path().join("site.db")).await.unwrap();
    let queue = site.run_queue().await.unwrap();
    let pids = folder.path().join("pids");
    std::fs::create_dir(&pids).unwrap();
    let runner = worksite::runtime::CommandRunner::new(RunnerInfo::new("child", Capabilities::none()), "env");
    let runner =
        runner.argument("WORKSITE_RUNNER_HANGS=1").argument(format!("WORKSITE_RUNNER_FOLDER={}", pids.display()));
    let program = std::env::current_exe().unwrap();
    let harness = ["--exact", "runners::a_runner_to_be_killed", "--nocapture", "--test-threads=1"];
    queue.employ_command(
        harness.into_iter().fold(runner.argument(program), |runner, argument| runner.argument(argument)),
    );
    let lease = Duration::from_millis(500);
    let run = queue.add_run(RunDraft::of(&"7".to_string()).unwrap().lease(lease)).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(60), queue.wait(run.id)).await.expect("it ends").unwrap();
    assert_eq!((end.status, end.attempts, &end.error), (RunStatus::Completed, 1, &None));
    let pids = std::fs::read_dir(&pids).unwrap().map(|entry| entry.unwrap().file_name());
    let living = |pid: &std::ffi::OsString| {
        let asked = std::process::Command::new("kill").arg("-0").arg(pid).stderr(std::process::Stdio::null()).status();
        asked.unwrap().success()
    };
    let pids: Vec<_> = pids.filter(|name| *name != "hung").collect();
    assert_eq!((pids.len(), pids.iter().filter(|pid| living(pid)).count()), (2, 1), "the one that hung is dead");
    site.shutdown().await;
}

/// Squares a number.
struct Square;

impl Routine for Square {
    const NAME: &'static str = "square";
    type State = u64;
    type Message = u64;

    fn perform(&self, turn: &mut Turn<u64>, number: u64) -> Ended {
        *turn.state += 1;
        if number == 13 {
            return Ok(Outcome::Reject("unlucky".into()));
        }
        turn.reply(&(number * number))?;
        Ok(Outcome::Done)
    }
}

#[tokio::test]
async fn a_worker_of_the_house_works_off_runs_and_does_none_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.db");
    let open = || Worksite::builder().routine(Square).open(&path);
    let site = open().await.unwrap();
    site.sync([Person::new(1, "ada")]).await.unwrap();
    let queue = site.run_queue().await.unwrap();
    let able = || Capabilities::none().tag("square");
    let drafts = (0..20_u64).map(|number| RunDraft::of(&number).unwrap().demands(Demands::none().tag("square")));
    let runs = queue.add_runs(drafts.collect()).await.unwrap();
    // A life that ended between the worker's settlement and the report: the message is done, the run is not.
    let early = queue.claim_run(&RunnerInfo::new("person 1", able())).await.unwrap().unwrap();
    queue.report(&early, RunReport::Started).await.unwrap();
    let draft = Draft::of(1, early.draft.payload.clone().unwrap()).key(early.id.to_string());
    assert_eq!(site.ask::<u64>(draft).await.unwrap(), 0);
    drop(queue);
    site.shutdown().await;
    let site = open().await.unwrap();
    let queue = site.run_queue().await.unwrap();
    // It is no orphan: it ends as its message has, and counts for no attempt.
    assert_eq!((queue.recovery().reset_to_pending, queue.recovery().kept), (0, 20));
    queue.employ_person(worksite::runtime::PersonRunner::new(1, able()).slots(4));
    for (number, run) in (0..20_u64).zip(runs) {
        let end = tokio::time::timeout(Duration::from_secs(30), queue.wait(run.id)).await.expect("it ends").unwrap();
        match number {
            13 => assert!(end.error.as_deref().is_some_and(|why| why.contains("unlucky")), "{:?}", end.error),
            _ => assert_eq!(end.result.as_ref().unwrap().decode::<u64>().unwrap(), number * number),
        }
    }
    // The one that was rejected leaves no state: nineteen, each once.
    assert_eq!(site.state::<u64>(1, "square").await.unwrap(), Some(19));
    assert_eq!(queue.claim_run(&runner("b")).await.unwrap(), None);
    site.shutdown().await;
}

#[tokio::test]
async fn a_run_whose_message_waits_over_a_restart_stays_claimed_and_is_done_at_its_only_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.db");
    let open = || Worksite::builder().routine(Square).open(&path);
    for employed_again in [false, true] {
        let site = open().await.unwrap();
        site.sync([Person::new(1, "ada")]).await.unwrap();
        // Her mail waits, so that the house ends in between.
        site.pause(1).await.unwrap();
        let queue = site.run_queue().await.unwrap();
        let ada = || worksite::runtime::PersonRunner::new(1, Capabilities::none());
        queue.employ_person(ada());
        let run = queue.add_run(RunDraft::of(&5_u64).unwrap().attempts_max(1)).await.unwrap();
        crate::site::until(|| site.message_count(1) == 1).await;
        drop(queue);
        site.shutdown().await;
        let site = open().await.unwrap();
        let queue = site.run_queue().await.unwrap();
        assert_eq!((queue.recovery().marked_failed, queue.recovery().kept), (0, 1));
        let kept = queue.get_run(run.id).await.unwrap().expect("it lives");
        assert!(matches!(kept.status, RunStatus::Claimed | RunStatus::Running), "{kept:?}");
        assert_eq!(kept.runner, Some("person 1".into()));
        assert_eq!(queue.claim_run(&runner("b")).await.unwrap(), None, "nobody else gets it");
        if employed_again {
            queue.employ_person(ada());
        }
        site.resume(1).await.unwrap();
        let end = tokio::time::timeout(Duration::from_secs(30), queue.wait(run.id)).await.expect("it ends").unwrap();
        assert_eq!((end.status, end.attempts, end.fence), (RunStatus::Completed, 0, 1), "{:?}", end.error);
        assert_eq!(end.result.as_ref().unwrap().decode::<u64>().unwrap(), 25);
        site.shutdown().await;
    }
}
