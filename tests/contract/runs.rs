//! The run queue: the checklist of seed 002, and its faults mended.

use rusqlite::Connection;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use worksite::model::{DISCONNECTED, LEASE_ENDED, NO_RUNNER};
use worksite::prelude::*;

pub const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// A site with a run queue, whose clock is moved by hand.
pub struct Yard {
    folder: tempfile::TempDir,
    pub clock: ManualClock,
    pub policy: RunPolicy,
}

impl Yard {
    pub fn new() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), ManualClock::new(START));
        Self { folder, clock, policy: RunPolicy::default() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("site.db")
    }

    pub async fn open(&self) -> (Worksite, RunQueue) {
        let site = Worksite::builder().clock(self.clock.clock()).open(self.path()).await.unwrap();
        let queue = site.run_queue_with(self.policy.clone()).await.unwrap();
        (site, queue)
    }

    /// Time passes, and what it brings is done.
    pub async fn pass(&self, queue: &RunQueue, seconds: u64) -> Vec<Arc<Run>> {
        self.clock.advance(Duration::from_secs(seconds));
        queue.fail_timed_out_runs().await.unwrap()
    }
}

pub fn runner(name: &str) -> RunnerInfo {
    RunnerInfo::new(name, Capabilities::none())
}

fn named(name: &str) -> RunDraft {
    RunDraft::new().agent(name)
}

fn agents<'a>(runs: impl IntoIterator<Item = &'a Arc<Run>>) -> Vec<String> {
    runs.into_iter().map(|run| run.draft.agent.clone().unwrap_or_default()).collect()
}

fn rejection(error: RunError) -> RunRejection {
    error.rejection().cloned().unwrap_or_else(|| panic!("{error}"))
}

#[test]
fn a_run_is_added_claimed_reported_and_read_back_from_the_store() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let run = queue.add_run(named("test-agent").in_session(SessionUse::Start(None))).await.unwrap();
        assert!(run.id.to_string().starts_with("run_") && run.session().unwrap().starts_with("ses_"));
        assert_eq!(queue.get_run(run.id).await.unwrap(), Some(run.clone()));
        site.shutdown().await;
        let (site, queue) = yard.open().await;
        let read = queue.get_run(run.id).await.unwrap().unwrap();
        assert_eq!((read.status, &read), (RunStatus::Pending, &run), "it survived the restart, whole");
        let claimed = queue.claim_run(&runner("a")).await.unwrap().unwrap();
        assert_eq!((claimed.id, claimed.status, claimed.fence), (run.id, RunStatus::Claimed, 1));
        assert_eq!((claimed.claimed_at, claimed.runner.clone()), (Some(START), Some("a".into())));
        assert_eq!(queue.claim_run(&runner("b")).await.unwrap(), None);
        queue.update_run_status(&claimed, RunStatus::Running, None).await.unwrap();
        let result = Payload::encode(&String::from("done")).unwrap();
        let ended = queue.report(&claimed, RunReport::Completed(Some(result.clone()))).await.unwrap();
        assert_eq!((ended.status, ended.started_at, ended.ended_at), (RunStatus::Completed, Some(START), Some(START)));
        assert_eq!(queue.get_run(run.id).await.unwrap(), None, "it has left the cache");
        let read = queue.get_run_with_fallback(run.id).await.unwrap().unwrap();
        assert_eq!((read.result.as_deref(), &*read), (Some(&result), &*ended));
        assert_eq!(queue.get_all_runs_from_db(&[RunStatus::Completed]).await.unwrap(), [Run::clone(&ended)]);
        assert_eq!(queue.session(run.session().unwrap()).await.unwrap().unwrap().status, Some(RunStatus::Completed));
        site.shutdown().await;
    });
}

#[test]
fn a_claim_takes_what_the_runner_meets_and_leaves_the_rest_pending() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (_site, queue) = yard.open().await;
        let demands = [
            Demands::none().is("hostname", "gaia"),
            Demands::none().tag("gpu").tag("linux"),
            Demands::none().at_least("cores", 16),
            Demands::none()
                .one_of("hostname", ["gaia", "iris"])
                .any([Demand::Tag("a".into()), Demand::Tag("b".into())]),
        ];
        let drafts = demands.iter().map(|demands| named(&demands.to_string()).demands(demands.clone()));
        let runs = queue.add_runs(drafts.collect()).await.unwrap();
        let some =
            RunnerInfo::new("some", Capabilities::none().field("hostname", "iris").tag("gpu").tag("linux").tag("b"));
        let claimed = queue.claim_runs(&some, 9).await.unwrap();
        assert_eq!(claimed.iter().map(|run| run.id).collect::<Vec<_>>(), [runs[1].id, runs[3].id]);
        let pending = queue.get_pending_runs().await.unwrap();
        assert_eq!(pending.iter().map(|run| run.id).collect::<Vec<_>>(), [runs[0].id, runs[2].id]);
        let choosy = Capabilities::none().field("hostname", "gaia").field("cores", 64).tag("gpu").exclusive();
        assert_eq!(queue.claim_run(&RunnerInfo::new("choosy", choosy)).await.unwrap(), None, "nobody asks for its tag");
        let all = RunnerInfo::new("all", Capabilities::none().field("hostname", "gaia").field("cores", 64));
        assert_eq!(queue.claim_runs(&all, 9).await.unwrap().len(), 2);
    });
}

#[test]
fn the_order_is_priority_then_due_then_first_in_first_out_before_and_after_a_restart() {
    let expected = ["urgent", "first", "second", "third", "early", "late", "last"];
    for restarts in [false, true] {
        worksite::block_on(async {
            let yard = Yard::new();
            let (site, mut queue) = yard.open().await;
            let at = |seconds| START.after(Duration::from_secs(seconds));
            let drafts = ["first", "second", "third"].map(named).into_iter();
            let drafts = drafts.chain([named("late").due(at(20)), named("early").due(at(10))]);
            let drafts = drafts.chain([named("urgent").priority(9), named("last").priority(-1)]);
            queue.add_runs(drafts.collect()).await.unwrap();
            assert_eq!(queue.claim_runs(&runner("a"), 9).await.unwrap().len(), 5, "two are for later");
            queue.deregister(&"a".into()).await.unwrap();
            yard.pass(&queue, 30).await;
            let mut _reopened = None;
            if restarts {
                site.shutdown().await;
                let (site, again) = yard.open().await;
                (queue, _reopened) = (again, Some(site));
            }
            assert_eq!(agents(&queue.get_pending_runs().await.unwrap()), expected);
            let mut claimed = Vec::new();
            while let Some(run) = queue.claim_run(&runner("b")).await.unwrap() {
                claimed.push(run);
            }
            assert_eq!(agents(&claimed), expected);
        });
    }
}

#[test]
fn no_transition_but_a_legal_one_and_terminal_is_final() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (_site, queue) = yard.open().await;
        queue.add_run(named("a")).await.unwrap();
        let claimed = queue.claim_run(&runner("a")).await.unwrap().unwrap();
        let said = |status| queue.update_run_status(&claimed, status, Some("why"));
        said(RunStatus::Running).await.unwrap();
        assert_eq!(said(RunStatus::Running).await.unwrap().status, RunStatus::Running, "said twice, it counts once");
        said(RunStatus::Completed).await.unwrap();
        assert_eq!(said(RunStatus::Completed).await.unwrap().status, RunStatus::Completed, "also after it has ended");
        for status in [RunStatus::Running, RunStatus::Failed, RunStatus::Stopped, RunStatus::Pending] {
            let refused = rejection(said(status).await.unwrap_err());
            assert!(matches!(refused, RunRejection::Illegal { from: RunStatus::Completed, .. }), "{refused}");
        }
        assert!(queue.report(&claimed, RunReport::Alive).await.is_err());
        let read = queue.get_run_with_fallback(claimed.id).await.unwrap().unwrap();
        assert_eq!((read.status, read.error.clone()), (RunStatus::Completed, None));
        let unknown = queue.report_under(Run::new(claimed.id, named("x"), START).id, 7, RunReport::Started).await;
        assert!(matches!(rejection(unknown.unwrap_err()), RunRejection::StaleClaim { given: 7, current: 1, .. }));
    });
}

#[test]
fn a_runner_that_died_and_comes_back_late_is_refused_and_the_run_is_another_s() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (_site, queue) = yard.open().await;
        let run = queue.add_run(named("a").lease(Duration::from_secs(30))).await.unwrap();
        let first = queue.claim_run(&runner("first")).await.unwrap().unwrap();
        queue.report(&first, RunReport::Started).await.unwrap();
        yard.pass(&queue, 20).await;
        queue.report(&first, RunReport::Alive).await.unwrap();
        assert_eq!(yard.pass(&queue, 20).await, [], "the lease began anew");
        let taken = yard.pass(&queue, 20).await;
        assert_eq!((taken[0].status, taken[0].error.as_deref()), (RunStatus::Pending, Some(LEASE_ENDED)));
        let late = rejection(queue.report(&first, RunReport::Alive).await.unwrap_err());
        assert!(matches!(late, RunRejection::Illegal { .. }), "{late}");
        let second = queue.claim_run(&runner("second")).await.unwrap().unwrap();
        assert_eq!((second.id, second.fence, second.attempts), (run.id, 2, 1));
        let late = rejection(queue.report(&first, RunReport::Completed(None)).await.unwrap_err());
        assert!(matches!(late, RunRejection::StaleClaim { given: 1, current: 2, .. }), "{late}");
        queue.report(&second, RunReport::Failed("no".into())).await.unwrap();
        let late = rejection(queue.report(&first, RunReport::Completed(None)).await.unwrap_err());
        assert!(matches!(late, RunRejection::StaleClaim { .. }), "{late}");
        let read = queue.get_run_with_fallback(run.id).await.unwrap().unwrap();
        assert_eq!((read.status, read.error.as_deref()), (RunStatus::Failed, Some("no")));
    });
}

#[test]
fn a_poison_run_fails_with_a_reason_after_its_attempts() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (_site, queue) = yard.open().await;
        let run = queue.add_run(named("poison").attempts_max(2)).await.unwrap();
        for attempt in 1..=2 {
            let claimed = queue.claim_run(&runner("a")).await.unwrap().unwrap();
            assert_eq!(claimed.fence, attempt);
            queue.report(&claimed, RunReport::Started).await.unwrap();
            queue.deregister(&"a".into()).await.unwrap();
        }
        assert_eq!(queue.claim_run(&runner("a")).await.unwrap(), None);
        let read = queue.get_run_with_fallback(run.id).await.unwrap().unwrap();
        let why = format!("{DISCONNECTED} (attempt 2 of 2)");
        assert_eq!((read.status, read.error.as_deref(), read.attempts), (RunStatus::Failed, Some(why.as_str()), 2));
        // What is given back counts for no attempt.
        queue.add_run(named("patient").attempts_max(1)).await.unwrap();
        for _ in 0..5 {
            let claimed = queue.claim_run(&runner("a")).await.unwrap().unwrap();
            queue.report(&claimed, RunReport::GivenBack).await.unwrap();
        }
        let claimed = queue.claim_run(&runner("a")).await.unwrap().unwrap();
        assert_eq!((claimed.fence, claimed.attempts), (6, 0));
        let failed = queue.report(&claimed, RunReport::Retry("crashed".into())).await.unwrap();
        assert_eq!((failed.status, failed.error.as_deref()), (RunStatus::Failed, Some("crashed (attempt 1 of 1)")));
    });
}

#[test]
fn a_deadline_fails_what_nobody_claimed_with_the_seed_s_words_demands_or_none() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (_site, queue) = yard.open().await;
        let within = Duration::from_secs(300);
        let drafts = [
            named("demanding").demands(Demands::none().tag("gpu")).claimed_within(within),
            named("plain").claimed_within(within),
            named("patient").demands(Demands::none().tag("gpu")),
            named("later").due(START.after(Duration::from_secs(200))).claimed_within(within),
        ];
        let runs = queue.add_runs(drafts.to_vec()).await.unwrap();
        assert_eq!(yard.pass(&queue, 299).await, []);
        let failed = yard.pass(&queue, 1).await;
        assert_eq!(agents(&failed), ["demanding", "plain"]);
        assert!(failed.iter().all(|run| run.error.as_deref() == Some(NO_RUNNER) && run.status == RunStatus::Failed));
        assert_eq!(agents(&yard.pass(&queue, 200).await), ["later"]);
        // Seed 002: demands in a second call, with a time to be claimed in.
        let changed = queue.set_run_demands(runs[2].id, Demands::none().tag("tpu"), Some(within)).await.unwrap();
        assert_eq!(changed.deadline, Some(yard.clock.now().after(within)));
        let gpu = RunnerInfo::new("gpu", Capabilities::none().tag("gpu"));
        assert_eq!(queue.claim_run(&gpu).await.unwrap(), None);
        assert_eq!(agents(&yard.pass(&queue, 300).await), ["patient"]);
        let refused = rejection(queue.set_run_demands(runs[2].id, Demands::none(), None).await.unwrap_err());
        assert!(matches!(refused, RunRejection::Illegal { from: RunStatus::Failed, .. }), "{refused}");
    });
}

#[test]
fn stopping_is_at_once_for_what_is_pending_and_by_command_for_what_is_held() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let runs = queue.add_runs(vec![named("held"), named("pending")]).await.unwrap();
        let me = runner("a").slots(5);
        queue.register(me.clone()).await.unwrap();
        let held = queue.claim_run(&me).await.unwrap().unwrap();
        assert_eq!(queue.stop_run(runs[1].id).await.unwrap().status, RunStatus::Stopped);
        assert_eq!(queue.stop_run(runs[1].id).await.unwrap().status, RunStatus::Stopped, "again");
        let polling = queue.poll(&me, 5, Duration::from_secs(60));
        let stopping = queue.stop_run(held.id).await.unwrap();
        assert_eq!((stopping.status, stopping.stop_requested_at), (RunStatus::Stopping, Some(START)));
        assert_eq!(polling.await.unwrap(), [RunnerCommand::Stop(stopping.clone())], "it was woken");
        assert_eq!(queue.stop_run(held.id).await.unwrap(), stopping, "again");
        let refused = rejection(queue.report(&held, RunReport::Started).await.unwrap_err());
        assert!(matches!(refused, RunRejection::Illegal { from: RunStatus::Stopping, .. }), "{refused}");
        assert_eq!(queue.report(&held, RunReport::Stopped).await.unwrap().status, RunStatus::Stopped);
        // Durable: what was to stop when the house ended has stopped.
        queue.add_run(named("third")).await.unwrap();
        let third = queue.claim_run(&me).await.unwrap().unwrap();
        queue.stop_run(third.id).await.unwrap();
        site.shutdown().await;
        let (_site, queue) = yard.open().await;
        assert_eq!(queue.recovery().marked_stopped, 1);
        assert_eq!(queue.get_run_with_fallback(third.id).await.unwrap().unwrap().status, RunStatus::Stopped);
    });
}

#[test]
fn a_failed_write_changes_nothing() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let run = queue.add_run(named("kept")).await.unwrap();
        // Somebody else holds the file's write lock.
        let other = Connection::open(yard.path()).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (claimed, added) =
            (queue.claim_run(&runner("a")), queue.add_run(named("lost").unique("k", Conflict::Reject)));
        assert!(matches!(claimed.await, Err(RunError::Store { .. })));
        let back = added.await.unwrap_err();
        assert_eq!(back.into_drafts(), [named("lost").unique("k", Conflict::Reject)], "the draft comes back");
        other.execute_batch("ROLLBACK").unwrap();
        assert_eq!(queue.get_all_runs().await.unwrap(), std::slice::from_ref(&run), "the cache is as the store");
        assert_eq!(queue.claim_run(&runner("b")).await.unwrap().map(|run| run.fence), Some(1));
        queue.add_run(named("kept, too").unique("k", Conflict::Reject)).await.unwrap();
        site.shutdown().await;
    });
}

#[test]
fn a_guarded_write_lets_one_of_two_connections_win_and_the_house_learns_of_it() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let runs = queue.add_runs(vec![named("stolen"), named("next")]).await.unwrap();
        let number = runs[0].id.high().cast_signed();
        let claim = "UPDATE runs SET status = 'claimed', runner = ?2, fence = fence + 1, claimed_at = 1 \
                     WHERE number = ?1 AND status = 'pending' AND fence = 0";
        let path = yard.path();
        let thieves = ["one", "two"].map(|name| {
            let path = path.clone();
            std::thread::spawn(move || {
                let connection = Connection::open(path).unwrap();
                connection.busy_timeout(Duration::from_secs(5)).unwrap();
                connection.execute(claim, rusqlite::params![number, name]).unwrap()
            })
        });
        let won: usize = thieves.into_iter().map(|thief| thief.join().unwrap()).sum();
        assert_eq!(won, 1, "exactly one claimed it");
        // The board still believes that it is pending: the guard refuses, the board learns, the next one is claimed.
        let claimed = queue.claim_run(&runner("house")).await.unwrap().unwrap();
        assert_eq!(claimed.id, runs[1].id);
        let known = queue.get_run_with_fallback(runs[0].id).await.unwrap().unwrap();
        assert_eq!((known.status, known.fence), (RunStatus::Claimed, 1));
        assert_eq!(queue.claim_run(&runner("house")).await.unwrap(), None);
        site.shutdown().await;
    });
}

#[test]
fn sixty_four_runners_on_all_threads_claim_ten_thousand_runs_once_each() {
    let yard = Yard::new();
    let (site, queue) = worksite::block_on(yard.open());
    let drafts = (0..10_000).map(|number| named(&number.to_string())).collect();
    worksite::block_on(queue.add_runs(drafts)).unwrap();
    let runners = (0..64).map(|number| {
        let queue = queue.clone();
        std::thread::spawn(move || {
            worksite::block_on(async {
                let (me, mut claimed) = (runner(&format!("runner {number}")), Vec::new());
                while let Some(run) = queue.claim_run(&me).await.unwrap() {
                    claimed.push(run.id);
                    queue.report(&run, RunReport::Completed(None)).await.unwrap();
                }
                claimed
            })
        })
    });
    let claimed: Vec<_> = runners.collect::<Vec<_>>().into_iter().flat_map(|runner| runner.join().unwrap()).collect();
    let distinct: BTreeSet<_> = claimed.iter().collect();
    assert_eq!((claimed.len(), distinct.len()), (10_000, 10_000));
    worksite::block_on(async {
        let counts = queue.metrics().await.unwrap().counts;
        assert_eq!((counts.created, counts.claimed, counts.completed), (10_000, 10_000, 10_000));
        assert_eq!(queue.get_all_runs().await.unwrap(), []);
        site.shutdown().await;
        let stored = Connection::open(yard.path()).unwrap();
        let sql = "SELECT count(*) FROM runs WHERE status = 'completed' AND fence = 1";
        assert_eq!(stored.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 10_000);
    });
}
