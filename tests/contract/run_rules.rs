//! Runs and the rules around them: sessions, parents, unique keys, limits, schedules, runners, explanations, admission.

use crate::runs::{START, Yard, runner};
use std::time::Duration;
use worksite::model::{CallbackReport, Hold};
use worksite::prelude::*;

fn named(name: &str) -> RunDraft {
    RunDraft::new().agent(name)
}

fn in_session(session: &str) -> RunDraft {
    named("writer").project_dir("/book").in_session(SessionUse::Start(Some(session.into())))
}

#[test]
fn a_resumed_session_gives_its_agent_its_folder_and_its_place() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let first = queue.add_run(in_session("s")).await.unwrap();
        let again = queue.add_run(in_session("s")).await.unwrap_err();
        assert!(matches!(again.rejection(), Some(RunRejection::SessionExists(_))), "{again}");
        assert_eq!(queue.get_run_by_session_id("s").await.unwrap().map(|run| run.id), Some(first.id));
        let place = Capabilities::none().field("hostname", "gaia").field("executor_profile", "p").field("cores", 4);
        let gaia = RunnerInfo::at(place);
        let claimed = queue.claim_run(&gaia).await.unwrap().unwrap();
        queue.report(&claimed, RunReport::Completed(None)).await.unwrap();
        assert_eq!(queue.get_run_by_session_id("s").await.unwrap(), None);
        site.shutdown().await;
        let (site, queue) = yard.open().await;
        let again = queue.add_run(in_session("s")).await.unwrap_err();
        assert!(matches!(again.rejection(), Some(RunRejection::SessionExists(_))), "{again}");
        let resume = |session: &str| RunDraft::new().in_session(SessionUse::Resume(session.into()));
        let unknown = queue.add_run(resume("t")).await.unwrap_err();
        assert_eq!(unknown.rejection(), Some(&RunRejection::UnknownSession("t".into())));
        assert_eq!(unknown.into_drafts(), [resume("t")]);
        let resumed = queue.add_run(resume("s").demands(Demands::none().tag("fast"))).await.unwrap();
        assert_eq!(
            (resumed.draft.agent.as_deref(), resumed.draft.project_dir.as_deref()),
            (Some("writer"), Some("/book"))
        );
        let place = Demands::none().is("hostname", "gaia").is("executor_profile", "p").tag("fast");
        assert_eq!(*resumed.demands, place);
        assert_eq!(queue.claim_run(&runner("elsewhere")).await.unwrap(), None);
        assert_eq!(queue.stop_session("s").await.unwrap().map(|run| run.status), Some(RunStatus::Stopped));
        assert_eq!(queue.stop_session("s").await.unwrap(), None);
        assert_eq!(queue.history(RunFilter::all().session("s")).await.unwrap().len(), 2);
        site.shutdown().await;
    });
}

#[test]
fn children_call_their_parent_back_once_all_together_also_after_a_restart() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let parent = queue.add_run(in_session("parent")).await.unwrap();
        let busy = queue.claim_run(&runner("p")).await.unwrap().unwrap();
        let child = |number: u32| named(&format!("child {number}")).calls_back("parent").priority(1);
        queue.add_runs((0..5).map(child).collect()).await.unwrap();
        for (number, run) in queue.claim_runs(&runner("c"), 5).await.unwrap().iter().enumerate() {
            let report = match number {
                0 => RunReport::Failed("broken".into()),
                1 => RunReport::Stopped,
                _ => RunReport::Completed(Some(Payload::encode(&(number as u64)).unwrap())),
            };
            queue.report(run, report).await.unwrap();
        }
        // The parent is at work: nobody interrupts it, and what is owed is on the disk.
        assert_eq!(queue.get_all_runs().await.unwrap().len(), 1);
        site.shutdown().await;
        let (site, queue) = yard.open().await;
        let busy = queue.claim_run(&runner("p")).await.unwrap().filter(|run| run.id == busy.id).unwrap();
        queue.report(&busy, RunReport::Completed(None)).await.unwrap();
        let resumed = queue.claim_run_within(&runner("p"), Duration::from_secs(9)).await.unwrap().unwrap();
        assert_eq!((resumed.session(), resumed.draft.agent.as_deref()), (Some("parent"), Some("writer")));
        let news = resumed.draft.payload.as_ref().unwrap().decode::<CallbackReport>().unwrap();
        let statuses: Vec<_> = news.children.iter().map(|child| child.status).collect();
        use RunStatus::{Completed, Failed, Stopped};
        assert_eq!(statuses, [Failed, Stopped, Completed, Completed, Completed]);
        assert_eq!(news.children[0].error.as_deref(), Some("broken"));
        assert_eq!(news.children[4].result.as_ref().unwrap().decode::<u64>().unwrap(), 4);
        queue.report(&resumed, RunReport::Completed(None)).await.unwrap();
        assert_eq!(queue.get_all_runs().await.unwrap(), [], "nobody is told twice");
        // One that ends while the parent has nothing to do is told at once; one's own end nobody is told.
        let child = queue.add_run(child(9)).await.unwrap();
        queue.stop_run(child.id).await.unwrap();
        let resumed = queue.claim_run_within(&runner("p"), Duration::from_secs(9)).await.unwrap().unwrap();
        queue.report(&resumed, RunReport::Failed("a failed turn owes nothing".into())).await.unwrap();
        let selfish = RunDraft::new().calls_back("parent").in_session(SessionUse::Resume("parent".into()));
        let selfish = queue.add_run(selfish).await.unwrap();
        queue.stop_run(selfish.id).await.unwrap();
        assert_eq!(queue.get_all_runs().await.unwrap(), []);
        let told = queue.get_run_with_fallback(child.id).await.unwrap().unwrap();
        assert_eq!(told.called_back, Some(resumed.id));
        assert_ne!(parent.id, resumed.id);
        site.shutdown().await;
    });
}

#[test]
fn whoever_waits_for_a_run_is_woken_by_its_end() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (_site, queue) = yard.open().await;
        // The claim waits before there is anything; it is woken by the add, without anybody looking again.
        let waiting = queue.claim_run_within(&runner("a"), Duration::from_secs(60));
        let run = queue.add_run(named("x").mode(ExecutionMode::Sync)).await.unwrap();
        let end = queue.wait(run.id);
        let claimed = waiting.await.unwrap().unwrap();
        assert_eq!(claimed.id, run.id);
        queue.report(&claimed, RunReport::Completed(None)).await.unwrap();
        assert_eq!(end.await.unwrap().status, RunStatus::Completed);
        assert_eq!(queue.wait(run.id).await.unwrap().status, RunStatus::Completed, "also afterwards");
        // A claim that nobody waits for any more gives its run back.
        drop(queue.claim_run_within(&runner("gone"), Duration::from_secs(60)));
        queue.add_run(named("y")).await.unwrap();
        let given_back = queue.claim_run(&runner("b")).await.unwrap().unwrap();
        assert_eq!(given_back.draft.agent.as_deref(), Some("y"));
        queue.report(&given_back, RunReport::Completed(None)).await.unwrap();
        // A wait ends: under a clock that is moved by hand, when that is moved.
        let waiting = queue.claim_run_within(&runner("a"), Duration::from_secs(60));
        assert_eq!(queue.metrics().await.unwrap().claims_waiting, 1);
        yard.pass(&queue, 61).await;
        assert_eq!(waiting.await.unwrap(), None);
    });
}

#[test]
fn a_unique_run_is_there_once_while_it_lives() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let keyed = |conflict| named("x").unique("k", conflict);
        let first = queue.add_run(keyed(Conflict::Reject)).await.unwrap();
        let refused = queue.add_run(keyed(Conflict::Reject)).await.unwrap_err();
        let held = RunRejection::KeyHeld { key: "k".into(), holder: first.id };
        assert_eq!(refused.rejection(), Some(&held));
        assert_eq!(queue.add_run(keyed(Conflict::Existing)).await.unwrap().id, first.id);
        let second = queue.add_run(keyed(Conflict::Replace)).await.unwrap();
        let replaced = queue.get_run_with_fallback(first.id).await.unwrap().unwrap();
        assert_eq!((replaced.status, second.status), (RunStatus::Stopped, RunStatus::Pending));
        let twin = || named("j").unique("j", Conflict::Existing);
        let twice = queue.add_runs(vec![named("z"), twin(), twin(), named("z")]).await;
        assert!(twice.is_ok(), "twice in one change it is one run");
        assert_eq!(queue.get_all_runs().await.unwrap().len(), 4);
        // A dozen at once: one wins, and all the others are that one.
        let adds: Vec<_> = (0..12).map(|_| queue.add_run(named("w").unique("w", Conflict::Existing))).collect();
        let mut ids = Vec::new();
        for add in adds {
            ids.push(add.await.unwrap().id);
        }
        ids.dedup();
        assert_eq!(ids.len(), 1);
        site.shutdown().await;
        let (_site, queue) = yard.open().await;
        assert!(queue.add_run(keyed(Conflict::Reject)).await.is_err(), "the key is kept");
        queue.stop_run(second.id).await.unwrap();
        queue.add_run(keyed(Conflict::Reject)).await.unwrap();
    });
}

#[test]
fn limits_by_key_hold_how_many_run_and_how_often_one_begins() {
    worksite::block_on(async {
        let mut yard = Yard::new();
        let two = KeyLimit { at_once: Some(2), rate: None };
        yard.policy.limits.insert("api".into(), two);
        let (site, queue) = yard.open().await;
        let drafts = (0..6).map(|_| named("call").limit("api")).chain([named("free")]);
        queue.add_runs(drafts.collect()).await.unwrap();
        let claimed = queue.claim_runs(&runner("a"), 9).await.unwrap();
        assert_eq!(claimed.len(), 3, "two of the key, and the one without");
        let waits = queue.get_pending_runs().await.unwrap()[0].id;
        assert_eq!(queue.explain(waits).await.unwrap().unwrap().hold, Some(Hold::AtOnce(2)));
        let waiting = queue.claim_run_within(&runner("b"), Duration::from_secs(60));
        queue.report(&claimed[0], RunReport::Completed(None)).await.unwrap();
        assert!(waiting.await.unwrap().is_some(), "a place came free, and who waited was woken");
        let rate = KeyLimit { at_once: None, rate: Some((2, Duration::from_secs(60))) };
        queue.set_limit("api", rate).await.unwrap();
        assert_eq!(queue.claim_runs(&runner("a"), 9).await.unwrap().len(), 2);
        yard.pass(&queue, 30).await;
        assert_eq!(queue.claim_runs(&runner("a"), 9).await.unwrap().len(), 1);
        site.shutdown().await;
    });
}

#[test]
fn a_schedule_adds_its_runs_and_missed_moments_are_made_up_for() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let draft = named("report").unique("report", Conflict::Existing);
        let hourly = Schedule::new("hourly", "0 * * * *", "UTC", draft, START).unwrap();
        queue.set_schedule(hourly).await.unwrap();
        let each = Schedule::new("each", "0 * * * *", "UTC", named("each"), START).unwrap().missed(Missed::All(3));
        queue.set_schedule(each).await.unwrap();
        yard.pass(&queue, 3_600).await;
        let due = queue.schedules().await.unwrap()[0].last;
        let pending = queue.get_pending_runs().await.unwrap();
        assert_eq!(pending.len(), 2);
        assert!(pending.iter().all(|run| Some(run.due()) >= due && run.draft.schedule.is_some()));
        site.shutdown().await;
        yard.clock.advance(Duration::from_secs(86_400));
        let (_site, queue) = yard.open().await;
        queue.fail_timed_out_runs().await.unwrap();
        let pending = queue.get_pending_runs().await.unwrap();
        let of = |name: &str| pending.iter().filter(|run| run.draft.agent.as_deref() == Some(name)).count();
        assert_eq!(
            (of("report"), of("each")),
            (1, 4),
            "one that still waits under its key; one, and three made up for"
        );
        queue.end_schedule("each").await.unwrap();
        assert!(queue.end_schedule("each").await.is_err());
        yard.pass(&queue, 86_400).await;
        assert_eq!(
            queue.history(RunFilter { schedule: Some("each".into()), ..RunFilter::all() }).await.unwrap().len(),
            4
        );
    });
}

#[test]
fn a_runner_registers_goes_stale_comes_back_is_lost_and_its_runs_are_freed() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (site, queue) = yard.open().await;
        let me = RunnerInfo::at(Capabilities::none().field("hostname", "gaia")).slots(2);
        queue.register(me.clone()).await.unwrap();
        let again = queue.register(me.clone()).await.unwrap_err();
        assert_eq!(again.rejection(), Some(&RunRejection::RunnerExists(me.id.clone())));
        queue.add_runs((0..4).map(|_| RunDraft::new().lease(Duration::from_secs(9_999))).collect()).await.unwrap();
        assert_eq!(queue.claim_runs(&me, 9).await.unwrap().len(), 2, "no more than its slots");
        yard.pass(&queue, 120).await;
        let stale = queue.claim_run(&me).await.unwrap_err();
        assert_eq!(stale.rejection(), Some(&RunRejection::StaleRunner(me.id.clone())));
        queue.heartbeat(&me.id).await.unwrap();
        assert_eq!(queue.claim_run(&me).await.unwrap(), None, "online again, its slots are full");
        assert_eq!(queue.runners().await.unwrap()[0].held.len(), 2);
        let freed = yard.pass(&queue, 600).await;
        assert_eq!(freed.len(), 2, "it is lost");
        assert!(freed.iter().all(|run| run.status == RunStatus::Pending && run.attempts == 1));
        assert_eq!(queue.runners().await.unwrap(), []);
        assert!(queue.heartbeat(&me.id).await.is_err());
        // In the store as well.
        assert_eq!(queue.history(RunFilter::all().status(RunStatus::Pending)).await.unwrap().len(), 4);
        // Told to go, it hears so at its next poll, and what it holds is freed.
        queue.register(me.clone()).await.unwrap();
        assert_eq!(queue.poll(&me, 1, Duration::from_secs(9)).await.unwrap().len(), 1);
        queue.dismiss(&me.id).await.unwrap();
        assert_eq!(queue.poll(&me, 1, Duration::from_secs(9)).await.unwrap(), [RunnerCommand::Leave]);
        assert_eq!(queue.get_pending_runs().await.unwrap().len(), 4);
        site.shutdown().await;
    });
}

#[test]
fn it_is_said_why_a_run_does_not_run_and_what_a_runner_lacks() {
    worksite::block_on(async {
        let yard = Yard::new();
        let (_site, queue) = yard.open().await;
        for (name, cores) in [("small", 16), ("large", 36)] {
            let capabilities = Capabilities::none().field("cores", cores).field("queue", "default");
            queue.register(RunnerInfo::new(name, capabilities)).await.unwrap();
        }
        let wide = Demands::none().at_least("cores", 48).is("queue", "default");
        let wide = queue.add_run(named("wide").demands(wide)).await.unwrap();
        queue
            .add_runs(vec![named("a").priority(1), named("b").demands(Demands::none().at_least("cores", 36))])
            .await
            .unwrap();
        yard.pass(&queue, 192 * 60).await;
        let why = queue.explain(wide.id).await.unwrap().unwrap();
        assert_eq!((why.runners, why.able, why.unmet.len()), (0, 0, 0), "all are lost by now");
        for (name, cores) in [("small", 16), ("large", 36)] {
            let capabilities = Capabilities::none().field("cores", cores).field("queue", "default");
            queue.register(RunnerInfo::new(name, capabilities)).await.unwrap();
        }
        let why = queue.explain(wide.id).await.unwrap().unwrap();
        assert_eq!((why.runners, why.able, why.unmet[0].runners, why.unmet[0].best), (2, 0, 2, Some(36)));
        let said = "pending 3 h 12 min; needs queue = default, cores >= 48; 0 of 2 runners can, 0 free; \
                    2 without cores >= 48 (best 36); 0 ahead";
        assert_eq!(why.to_string(), said);
        let small = RunnerInfo::new("small", Capabilities::none().field("cores", 16).field("queue", "default"));
        let could = queue.explain_runner(&small).await.unwrap();
        assert_eq!((could.takeable, could.pending, could.lacking.len()), (1, 3, 2));
        assert!(could.to_string().contains("could take 1 of 3 pending"), "{could}");
    });
}

#[test]
fn a_full_queue_refuses_and_gives_back_and_counts_are_kept() {
    worksite::block_on(async {
        let mut yard = Yard::new();
        yard.policy.pending_max = 3;
        let (_site, queue) = yard.open().await;
        queue.add_runs(vec![named("a"), named("b")]).await.unwrap();
        let full = queue.add_runs(vec![named("c"), named("d")]).await.unwrap_err();
        assert!(matches!(full, RunError::Overloaded { limit: "runs_pending_max", .. }), "{full}");
        assert_eq!(full.into_drafts(), [named("c"), named("d")]);
        queue.add_run(named("c")).await.unwrap();
        let claimed = queue.claim_runs(&runner("a"), 2).await.unwrap();
        queue.report(&claimed[0], RunReport::Completed(None)).await.unwrap();
        queue.report(&claimed[1], RunReport::Failed("x".into())).await.unwrap();
        let metrics = queue.metrics().await.unwrap();
        let counts = metrics.counts;
        assert_eq!((counts.created, counts.completed, counts.failed, counts.pending, counts.held), (3, 1, 1, 1, 0));
        assert_eq!(metrics.waits.count(), 2);
    });
}
