//! What every store must mean by runs: writes with guards, all or none; reads of what is live, of the history, of sessions.

use super::{AT, Open, granted};
use std::sync::Arc;
use std::time::Duration;
use worksite_model::{
    Change, Demands, ExecutionMode, Keep, Payload, Refusal, Retention, Run, RunDraft, RunFilter, RunIds, RunStatus,
    RunWrite, Schedule, Session, SessionUse, Store, Timestamp, Verdict,
};

fn change(runs: Vec<RunWrite>) -> Change {
    Change { runs, ..Change::default() }
}

fn write(store: &mut dyn Store, runs: Vec<RunWrite>) -> Verdict {
    store.commit(&[change(runs)], AT).expect("the store can write").remove(0)
}

fn ids() -> RunIds {
    RunIds::after(7, None)
}

fn add(store: &mut dyn Store, ids: &mut RunIds, draft: RunDraft) -> Arc<Run> {
    let run = Arc::new(Run::new(ids.next(AT), draft, AT));
    granted(store, change(vec![RunWrite::Add(run.clone())]));
    run
}

fn to(run: &Run, after: Run) -> RunWrite {
    RunWrite::Update { guard: run.guard(), run: Arc::new(after) }
}

fn claimed(run: &Run) -> Run {
    let (runner, lease_until) = (Some("r".into()), Some(AT.after(Duration::from_secs(60))));
    let status = RunStatus::Claimed;
    Run { status, runner, fence: run.fence + 1, epoch: 3, claimed_at: Some(AT), lease_until, ..run.clone() }
}

fn ended(run: &Run, status: RunStatus, at: Timestamp) -> Run {
    Run { status, ended_at: Some(at), lease_until: None, ..run.clone() }
}

fn session(id: &str) -> Session {
    Session {
        id: id.into(),
        agent: Some("writer".into()),
        project_dir: Some("/work".into()),
        parent: Some("p".into()),
        created_at: AT,
        place: Demands::none().is("hostname", "h"),
        status: None,
    }
}

pub(super) fn every_field_of_a_run_comes_back(open: Open<'_>) {
    let mut store = open();
    let draft = RunDraft {
        agent: Some("a".into()),
        payload: Some(Payload::encode(&7_u64).expect("a number can be encoded")),
        project_dir: Some("/d".into()),
        session: SessionUse::Start(Some("s".into())),
        parent: Some("p".into()),
        mode: ExecutionMode::AsyncCallback,
        demands: Demands::none().tag("t").at_least("n", 4),
        priority: -3,
        due: Some(AT.after(Duration::from_secs(9))),
        claimed_within: Some(Duration::from_secs(300)),
        attempts_max: 9,
        lease: Some(Duration::from_secs(8)),
        unique: Some("u".into()),
        limit: Some("l".into()),
        schedule: Some("c".into()),
        ..RunDraft::default()
    };
    let mut ids = ids();
    let full = add(store.as_mut(), &mut ids, draft);
    let plain = add(store.as_mut(), &mut ids, RunDraft::new());
    let result = Some(Payload::encode(&String::from("r")).expect("text can be encoded"));
    let held = Run {
        attempts: 2,
        started_at: Some(AT.after(Duration::from_secs(1))),
        stop_requested_at: Some(AT.after(Duration::from_secs(2))),
        error: Some("e".into()),
        ..claimed(&full)
    };
    granted(store.as_mut(), change(vec![to(&full, held.clone())]));
    drop(store);
    let mut store = open();
    let active: Vec<_> = store.runs().expect("readable").active.iter().map(|run| Run::clone(run)).collect();
    assert_eq!(active, [held.clone(), Run::clone(&plain)]);
    let over = Run { result: result.map(Box::new), ..ended(&held, RunStatus::Completed, AT) };
    granted(store.as_mut(), change(vec![to(&held, over.clone())]));
    let again = Run { demands: Arc::new(Demands::none().tag("z")), deadline: Some(AT), ..Run::clone(&plain) };
    granted(store.as_mut(), change(vec![to(&plain, again.clone())]));
    drop(store);
    let mut store = open();
    assert_eq!(store.run(full.id), Ok(Some(over)));
    assert_eq!(store.run(plain.id), Ok(Some(again)));
    assert_eq!(store.run(ids.next(AT)), Ok(None));
    assert_eq!(store.runs().expect("readable").last, Some(plain.id));
}

pub(super) fn a_guard_that_does_not_hold_refuses_its_change_alone(open: Open<'_>) {
    let mut store = open();
    let mut ids = ids();
    let one = add(store.as_mut(), &mut ids, RunDraft::new());
    let other = add(store.as_mut(), &mut ids, RunDraft::new());
    let late = Run { runner: Some("late".into()), ..claimed(&one) };
    let batch = [
        change(vec![to(&one, claimed(&one))]),
        change(vec![to(&other, claimed(&other)), to(&one, late)]),
        change(vec![RunWrite::Add(Arc::new(Run::new(ids.next(AT), RunDraft::new(), AT)))]),
    ];
    let verdicts = store.commit(&batch, AT).expect("the store can write");
    assert!(verdicts[0].is_ok() && verdicts[2].is_ok());
    assert_eq!(verdicts[1], Err(Refusal::RunMoved(one.id)));
    let read = |store: &mut dyn Store, id| store.run(id).expect("readable").expect("it is there");
    assert_eq!(read(store.as_mut(), one.id), claimed(&one));
    assert_eq!(read(store.as_mut(), other.id), Run::clone(&other), "a refused change has no effect");
    // Of a claim that is not the last one any more nothing counts.
    let second = Run { fence: 2, ..claimed(&one) };
    granted(store.as_mut(), change(vec![to(&claimed(&one), second.clone())]));
    let stale = to(&claimed(&one), ended(&claimed(&one), RunStatus::Completed, AT));
    assert_eq!(write(store.as_mut(), vec![stale]), Err(Refusal::RunMoved(one.id)));
    assert_eq!(write(store.as_mut(), vec![RunWrite::Add(one.clone())]), Err(Refusal::RunMoved(one.id)));
    assert_eq!(read(store.as_mut(), one.id), second);
}

pub(super) fn a_unique_key_belongs_to_one_live_run(open: Open<'_>) {
    let mut store = open();
    let mut ids = ids();
    let keyed = || RunDraft { unique: Some("k".into()), ..RunDraft::default() };
    let first = add(store.as_mut(), &mut ids, keyed());
    let second = Arc::new(Run::new(ids.next(AT), keyed(), AT));
    let verdict = write(store.as_mut(), vec![RunWrite::Add(second.clone())]);
    assert_eq!(verdict, Err(Refusal::RunKeyHeld("k".into())));
    let replaced = vec![to(&first, ended(&first, RunStatus::Stopped, AT)), RunWrite::Add(second.clone())];
    granted(store.as_mut(), change(replaced));
    assert_eq!(store.runs().expect("readable").active, [second]);
}

pub(super) fn a_session_is_opened_once_bound_and_stands_as_its_latest_run(open: Open<'_>) {
    let mut store = open();
    let mut ids = ids();
    assert_eq!(store.session("s"), Ok(None));
    let of = |session| RunDraft { session, ..RunDraft::default() };
    let orphan = Arc::new(Run::new(ids.next(AT), of(SessionUse::Resume("s".into())), AT));
    let refused = Err(Refusal::SessionMoved("s".into()));
    assert_eq!(write(store.as_mut(), vec![RunWrite::Add(orphan)]), refused);
    let open_it = || RunWrite::Open(Box::new(session("s")));
    let started = Arc::new(Run::new(ids.next(AT), of(SessionUse::Start(Some("s".into()))), AT));
    granted(store.as_mut(), change(vec![open_it(), RunWrite::Add(started.clone())]));
    assert_eq!(write(store.as_mut(), vec![open_it()]), refused);
    let stands = |status| Ok(Some(Session { status: Some(status), ..session("s") }));
    assert_eq!(store.session("s"), stands(RunStatus::Pending));
    let stopped = ended(&started, RunStatus::Stopped, AT);
    granted(store.as_mut(), change(vec![to(&started, stopped)]));
    assert_eq!(store.session("s"), stands(RunStatus::Stopped));
    add(store.as_mut(), &mut ids, of(SessionUse::Resume("s".into())));
    let place = Demands::none().is("hostname", "elsewhere");
    let bind = |session: &str| RunWrite::Bind { session: session.into(), place: place.clone() };
    granted(store.as_mut(), change(vec![bind("s")]));
    assert_eq!(write(store.as_mut(), vec![bind("t")]), Err(Refusal::SessionMoved("t".into())));
    let read = store.session("s").expect("readable").expect("it is there");
    assert_eq!((read.place, read.status), (place, Some(RunStatus::Pending)));
}

pub(super) fn what_owes_a_callback_is_known_until_it_has_called_once(open: Open<'_>) {
    let mut store = open();
    let mut ids = ids();
    let owing = RunDraft { parent: Some("p".into()), mode: ExecutionMode::AsyncCallback, ..RunDraft::default() };
    let run = add(store.as_mut(), &mut ids, owing);
    let over = ended(&run, RunStatus::Failed, AT);
    granted(store.as_mut(), change(vec![to(&run, over.clone())]));
    drop(store);
    let mut store = open();
    assert_eq!(store.runs().expect("readable").owing, [Arc::new(over.clone())]);
    let caller = add(store.as_mut(), &mut ids, RunDraft::new());
    let told = to(&over, Run { called_back: Some(caller.id), ..over.clone() });
    granted(store.as_mut(), change(vec![told.clone()]));
    assert_eq!(write(store.as_mut(), vec![told]), Err(Refusal::RunMoved(run.id)), "nobody is told twice");
    assert_eq!(store.runs().expect("readable").owing, []);
    assert_eq!(store.run(run.id).map(|run| run.and_then(|run| run.called_back)), Ok(Some(caller.id)));
}

pub(super) fn the_history_is_filtered_and_paged_the_newest_first(open: Open<'_>) {
    let mut store = open();
    let mut ids = ids();
    let of = |number: u64| RunDraft::new().agent(if number.is_multiple_of(2) { "even" } else { "odd" });
    let runs: Vec<_> = (0..20).map(|number| add(store.as_mut(), &mut ids, of(number))).collect();
    for run in &runs[..10] {
        granted(store.as_mut(), change(vec![to(run, claimed(run))]));
        let held = claimed(run);
        granted(store.as_mut(), change(vec![to(&held, ended(&held, RunStatus::Completed, AT))]));
    }
    let mut of = |filter: RunFilter| {
        let page = store.run_history(&filter).expect("readable");
        page.iter().map(|run| runs.iter().position(|known| known.id == run.id).expect("known")).collect::<Vec<_>>()
    };
    assert_eq!(of(RunFilter::all()), (0..20).rev().collect::<Vec<_>>());
    assert_eq!(of(RunFilter::all().limit(3)), [19, 18, 17]);
    assert_eq!(of(RunFilter::all().limit(3).before(runs[17].id)), [16, 15, 14]);
    assert_eq!(of(RunFilter::all().status(RunStatus::Completed).agent("odd")), [9, 7, 5, 3, 1]);
    assert_eq!(of(RunFilter::all().status(RunStatus::Completed).status(RunStatus::Pending).limit(2)), [19, 18]);
    assert_eq!(of(RunFilter { runner: Some("r".into()), ..RunFilter::all().limit(1) }), [9]);
    assert_eq!(of(RunFilter { until: Some(AT), ..RunFilter::all() }), Vec::<usize>::new());
    assert_eq!(of(RunFilter { since: Some(AT), ..RunFilter::all().limit(1) }), [19]);
    assert_eq!(of(RunFilter::all().session("s")), Vec::<usize>::new());
}

pub(super) fn a_schedule_moves_once(open: Open<'_>) {
    let mut store = open();
    let schedule = Schedule::new("n", "0 * * * *", "UTC", RunDraft::new().agent("a"), AT).expect("it can be read");
    let first = Arc::new(schedule.clone());
    granted(store.as_mut(), change(vec![RunWrite::Schedule { guard: None, schedule: first.clone() }]));
    let moved = Arc::new(Schedule {
        next: schedule.after(AT.after(Duration::from_secs(7_200))).expect("readable"),
        ..schedule
    });
    let fire = || vec![RunWrite::Schedule { guard: first.next, schedule: moved.clone() }];
    granted(store.as_mut(), change(fire()));
    assert_eq!(write(store.as_mut(), fire()), Err(Refusal::ScheduleMoved("n".into())));
    drop(store);
    let mut store = open();
    assert_eq!(store.runs().expect("readable").schedules, [moved]);
    granted(store.as_mut(), change(vec![RunWrite::Unschedule("n".into())]));
    assert_eq!(store.runs().expect("readable").schedules, []);
}

pub(super) fn each_opening_is_another_life(open: Open<'_>) {
    let first = open().runs().expect("readable").epoch;
    let second = open().runs().expect("readable").epoch;
    assert!(second > first);
}

pub(super) fn a_session_stays_as_long_as_a_child_may_call_it_back(open: Open<'_>) {
    let mut store = open();
    let mut ids = ids();
    let starting = |name: &str| RunDraft { session: SessionUse::Start(Some(name.into())), ..RunDraft::default() };
    for name in ["awaited", "idle"] {
        granted(store.as_mut(), change(vec![RunWrite::Open(Box::new(session(name)))]));
        let run = add(store.as_mut(), &mut ids, starting(name));
        granted(store.as_mut(), change(vec![to(&run, ended(&run, RunStatus::Completed, AT))]));
    }
    let calls_back = || RunDraft::new().calls_back("awaited");
    let child = add(store.as_mut(), &mut ids, calls_back());
    let none = Keep { age: Duration::ZERO, rows: 0 };
    let retention = Retention { runs_completed: none, runs_stopped: none, sessions: none, ..Retention::default() };
    let later = |seconds| AT.after(Duration::from_secs(seconds));
    assert_eq!(store.prune(&retention, later(10)).expect("the store can write").sessions, 1);
    let is_there = |store: &mut dyn Store, id| store.session(id).expect("readable").is_some();
    assert!(is_there(store.as_mut(), "awaited") && !is_there(store.as_mut(), "idle"), "a child is still at work");
    let over = ended(&child, RunStatus::Stopped, later(11));
    granted(store.as_mut(), change(vec![to(&child, over.clone())]));
    store.prune(&retention, later(20)).expect("the store can write");
    assert!(is_there(store.as_mut(), "awaited"), "it has not been told");
    let told = Run { called_back: Some(child.id), ..over.clone() };
    granted(store.as_mut(), change(vec![to(&over, told)]));
    store.prune(&retention, later(30)).expect("the store can write");
    assert!(!is_there(store.as_mut(), "awaited"));
}

pub(super) fn runs_are_forgotten_by_status_age_and_count(open: Open<'_>) {
    let mut store = open();
    let mut ids = ids();
    let at = |seconds| AT.after(Duration::from_secs(seconds));
    let owing = RunDraft { parent: Some("p".into()), mode: ExecutionMode::AsyncCallback, ..RunDraft::default() };
    let mut end = |draft: RunDraft, status, seconds| {
        let run = add(store.as_mut(), &mut ids, draft);
        granted(store.as_mut(), change(vec![to(&run, ended(&run, status, at(seconds)))]));
        run.id
    };
    let owed = end(owing, RunStatus::Failed, 0);
    for seconds in 0..10 {
        end(RunDraft::new(), RunStatus::Stopped, seconds);
        end(RunDraft::new(), RunStatus::Failed, seconds);
    }
    let live = add(store.as_mut(), &mut ids, RunDraft::new());
    let keep = |age, rows| Keep { age: Duration::from_secs(age), rows };
    let retention = Retention { runs_stopped: keep(5, 100), runs_failed: keep(100, 4), ..Retention::default() };
    let pruned = store.prune(&retention, at(10)).expect("the store can write");
    // Five stopped ones are older than five seconds; of eleven failed ones four are kept, the one that owes among them
    // or besides.
    assert_eq!(pruned.runs, 5 + 7);
    let left =
        |store: &mut dyn Store, status| store.run_history(&RunFilter::all().status(status)).expect("readable").len();
    assert_eq!((left(store.as_mut(), RunStatus::Stopped), left(store.as_mut(), RunStatus::Failed)), (5, 4));
    assert!(store.run(owed).expect("readable").is_some() && store.run(live.id).expect("readable").is_some());
}
