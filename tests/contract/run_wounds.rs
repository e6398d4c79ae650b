//! Mistakes that the run queue once had: each test failed before it was mended.

use crate::runs::{START, Yard, runner};
use rusqlite::Connection;
use std::time::Duration;
use worksite::model::CallbackReport;
use worksite::prelude::*;

fn named(name: &str) -> RunDraft {
    RunDraft::new().agent(name)
}

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it waits for ever")
}

#[test]
fn what_a_runner_is_just_speaking_of_is_freed_as_well_when_it_goes() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let me = runner("a").slots(3);
        queue.register(me.clone()).await.unwrap();
        queue.add_runs(vec![named("one"), named("two"), named("three")]).await.unwrap();
        let held = queue.claim_runs(&me, 3).await.unwrap();
        // Its last words are on their way when it goes.
        let started = queue.report(&held[0], RunReport::Started);
        let alive = queue.heartbeat(&me.id);
        let freed = queue.deregister(&me.id);
        started.await.unwrap();
        alive.await.unwrap();
        assert_eq!(freed.await.unwrap().len(), 3);
        assert_eq!(queue.get_pending_runs().await.unwrap().len(), 3);
        // The same for one that was told to go, and asks while its last words are on their way.
        queue.register(me.clone()).await.unwrap();
        let held = queue.claim_runs(&me, 3).await.unwrap();
        queue.dismiss(&me.id).await.unwrap();
        let started = queue.report(&held[0], RunReport::Started);
        let leave = queue.poll(&me, 1, Duration::from_secs(9));
        started.await.unwrap();
        assert_eq!(leave.await.unwrap(), [RunnerCommand::Leave]);
        assert_eq!(queue.get_pending_runs().await.unwrap().len(), 3);
        site.shutdown().await;
    });
}

#[tokio::test]
async fn what_was_claimed_for_or_told_to_somebody_who_does_not_look_is_another_s() {
    {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let run = queue.add_run(named("x")).await.unwrap();
        let answered = queue.claim_run_within(&runner("gone"), Duration::from_secs(60));
        while queue.get_run(run.id).await.unwrap().is_none_or(|run| run.status == RunStatus::Pending) {}
        // The answer lies there, and nobody looks at it.
        drop(answered);
        let claimed = queue.claim_run_within(&runner("b"), Duration::from_secs(60));
        let claimed = soon(claimed).await.unwrap().expect("it was given back");
        assert_eq!((claimed.id, claimed.fence, claimed.attempts), (run.id, 2, 0));
        // A stop that nobody heard is told again.
        let me = runner("b");
        queue.register(me.clone()).await.unwrap();
        queue.stop_run(run.id).await.unwrap();
        let unheard = queue.poll(&me, 1, Duration::from_secs(60));
        assert_eq!(queue.metrics().await.unwrap().claims_waiting, 0);
        drop(unheard);
        let told = soon(queue.poll(&me, 1, Duration::from_secs(60))).await.unwrap();
        assert!(matches!(&told[..], [RunnerCommand::Stop(stop)] if stop.id == run.id), "{told:?}");
        site.shutdown().await;
    }
}

#[tokio::test]
async fn a_callback_whose_child_is_gone_is_not_made_for_ever_and_the_others_are_told() {
    {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let parent = named("p").in_session(SessionUse::Start(Some("parent".into())));
        queue.add_run(parent).await.unwrap();
        let busy = queue.claim_run(&runner("p")).await.unwrap().unwrap();
        let children = vec![named("lost").calls_back("parent"), named("kept").calls_back("parent")];
        let children = queue.add_runs(children).await.unwrap();
        for child in &children {
            queue.stop_run(child.id).await.unwrap();
        }
        let file = Connection::open(yard.path()).unwrap();
        let gone = file.execute("DELETE FROM runs WHERE number = ?1", [children[0].id.high().cast_signed()]).unwrap();
        assert_eq!(gone, 1);
        queue.report(&busy, RunReport::Completed(None)).await.unwrap();
        let resumed = soon(queue.claim_run_within(&runner("p"), Duration::from_secs(9))).await.unwrap().unwrap();
        let news = resumed.draft.payload.as_ref().unwrap().decode::<CallbackReport>().unwrap();
        assert_eq!(news.children.iter().map(|child| child.run).collect::<Vec<_>>(), [children[1].id]);
        site.shutdown().await;
    }
}

#[test]
fn a_schedule_whose_run_is_refused_goes_on_with_its_next_moment() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let hourly = |name: &str, draft| Schedule::new(name, "0 * * * *", "UTC", draft, START).unwrap();
        // What can never be is refused when it is set.
        for session in [SessionUse::Start(Some("s".into())), SessionUse::Resume("s".into())] {
            let refused = queue.set_schedule(hourly("again", named("x").in_session(session))).await.unwrap_err();
            assert!(matches!(refused.rejection(), Some(RunRejection::Schedule(_))), "{refused}");
        }
        // A key that a row holds which nobody can read.
        queue.add_run(named("blind").unique("k", Conflict::Reject)).await.unwrap();
        site.shutdown().await;
        let file = Connection::open(yard.path()).unwrap();
        file.execute("UPDATE runs SET demands = '{'", []).unwrap();
        let (site, queue) = yard.open().await;
        assert_eq!(queue.recovery().unreadable, 1);
        queue.set_schedule(hourly("blocked", named("x").unique("k", Conflict::Reject))).await.unwrap();
        let before = queue.schedules().await.unwrap()[0].next.unwrap();
        yard.pass(&queue, 3_600).await;
        let after = queue.schedules().await.unwrap()[0].next.unwrap();
        assert_eq!(after, before.after(Duration::from_secs(3_600)));
        file.execute("UPDATE runs SET demands = NULL, status = 'stopped', ended_at = 1", []).unwrap();
        yard.pass(&queue, 3_600).await;
        assert_eq!(queue.get_pending_runs().await.unwrap().len(), 1);
        site.shutdown().await;
    });
}

#[test]
fn missed_moments_of_a_unique_run_are_one_run_and_not_none() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let draft = named("report").unique("report", Conflict::Reject);
        let hourly = Schedule::new("hourly", "0 * * * *", "UTC", draft, START).unwrap().missed(Missed::All(5));
        queue.set_schedule(hourly).await.unwrap();
        yard.pass(&queue, 5 * 3_600).await;
        assert_eq!(queue.get_pending_runs().await.unwrap().len(), 1);
        site.shutdown().await;
    });
}

#[test]
fn a_row_whose_numbers_cannot_be_is_unreadable_and_the_others_run() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let runs = queue.add_runs(vec![named("bad"), named("good")]).await.unwrap();
        site.shutdown().await;
        let file = Connection::open(yard.path()).unwrap();
        let number = runs[0].id.high().cast_signed();
        assert_eq!(file.execute("UPDATE runs SET fence = 1 << 40 WHERE number = ?1", [number]).unwrap(), 1);
        let (site, queue) = yard.open().await;
        assert_eq!(queue.recovery().unreadable, 1);
        let claimed = queue.claim_run(&runner("a")).await.unwrap().unwrap();
        assert_eq!(claimed.id, runs[1].id);
        assert_eq!(queue.history(RunFilter::all()).await.unwrap().len(), 1);
        site.shutdown().await;
    });
}

#[tokio::test]
async fn nobody_reports_to_a_session_that_never_was_and_what_is_owed_to_one_that_has_gone_is_dropped() {
    let yard = Yard::new();
    let (site, queue) = yard.open().await;
    let parent = || named("p").in_session(SessionUse::Start(Some("p".into())));
    let refused = queue.add_runs(vec![named("x"), named("y").calls_back("p")]).await.unwrap_err();
    assert_eq!(refused.rejection(), Some(&RunRejection::UnknownSession("p".into())));
    let hourly = |draft| Schedule::new("hourly", "0 * * * *", "UTC", draft, START).unwrap();
    let refused = queue.set_schedule(hourly(named("x").calls_back("p"))).await.unwrap_err();
    assert_eq!(refused.rejection(), Some(&RunRejection::UnknownSession("p".into())));
    assert_eq!(queue.get_all_runs().await.unwrap(), []);
    // It may start in the same change.
    let runs = queue.add_runs(vec![named("y").calls_back("p"), parent()]).await.unwrap();
    queue.set_schedule(hourly(named("x").calls_back("p"))).await.unwrap();
    queue.end_schedule("hourly").await.unwrap();
    queue.stop_run(runs[1].id).await.unwrap();
    // As an earlier build let it be.
    site.shutdown().await;
    let file = Connection::open(yard.path()).unwrap();
    file.execute("DELETE FROM sessions", []).unwrap();
    let (site, queue) = yard.open().await;
    queue.stop_run(runs[0].id).await.unwrap();
    soon(async { while queue.metrics().await.unwrap().counts.callbacks_dropped == 0 {} }).await;
    let child = queue.get_run_with_fallback(runs[0].id).await.unwrap().unwrap();
    assert_eq!((child.status, child.called_back), (RunStatus::Stopped, Some(child.id)));
    assert_eq!(queue.get_all_runs().await.unwrap(), [], "nobody was resumed");
    site.shutdown().await;
    let owing = "SELECT count(*) FROM runs WHERE mode = 'async_callback' AND called_back IS NULL";
    assert_eq!(file.query_row(owing, [], |row| row.get(0)), Ok(0), "it can be forgotten");
}
