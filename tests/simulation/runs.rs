//! The run queue under crashes: the house dies at every commit, before and after the store has it, and everything still ends
//! once.

use std::collections::BTreeMap;
use std::time::Duration;
use worksite_model::{
    Advice, CallbackReport, Capabilities, Conflict, Ended, Outcome, Payload, Person, Routine, RunDraft, RunFilter,
    RunReport, RunStatus, RunnerInfo, SessionUse, Store, Timestamp, Turn,
};
use worksite_runtime::{Clock, PersonRunner, RunError, RunQueue, Runtime};
use worksite_simulation::{Fault, FaultyStore, MemoryDisk, MemoryStore};
use worksite_store::{SqliteOptions, SqliteStore};

const START: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// How each run ended, by its key, and how many children its callbacks named.
type End = (BTreeMap<String, (RunStatus, u32)>, BTreeMap<String, usize>);

/// Plays the script on what an earlier life left; nothing when the store died on the way.
async fn play(queue: &RunQueue) -> Result<End, RunError> {
    let keyed = |key: &str| RunDraft::new().agent(key).unique(key, Conflict::Existing).attempts_max(1_000);
    // What was added in an earlier life, and has ended since, is not added again.
    let add = async |draft: RunDraft| {
        let key = draft.unique.clone().unwrap_or_default();
        let known = queue.history(RunFilter::all().agent(key)).await?;
        if known.is_empty() { queue.add_run(draft).await.map(drop) } else { Ok(()) }
    };
    let (runner, other) = (RunnerInfo::new("a", Capabilities::none()), RunnerInfo::new("b", Capabilities::none()));
    let start = SessionUse::Start(Some("parent".into()));
    if queue.session("parent").await?.is_none() {
        add(keyed("parent").in_session(start).priority(9)).await?;
    }
    for key in ["one", "two", "three"] {
        add(keyed(key)).await?;
    }
    for key in ["child 1", "child 2"] {
        add(keyed(key).calls_back("parent")).await?;
    }
    add(keyed("doomed").priority(-9)).await?;
    let doomed = queue.history(RunFilter::all().agent("doomed")).await?;
    queue.stop_run(doomed[0].id).await?;
    // One runner claims and is lost; another does everything.
    if let Some(lost) = queue.claim_run(&other).await? {
        queue.report(&lost, RunReport::Started).await?;
        queue.deregister(&other.id).await?;
        assert!(queue.report(&lost, RunReport::Completed(None)).await.is_err(), "a late report counts for nothing");
    }
    while let Some(run) = queue.claim_run_within(&runner, Duration::from_secs(1)).await? {
        queue.report(&run, RunReport::Started).await?;
        let result = Payload::encode(&run.draft.agent.clone().unwrap_or_default()).ok();
        queue.report(&run, RunReport::Completed(result)).await?;
    }
    let (mut ended, mut told) = (BTreeMap::new(), BTreeMap::new());
    for run in queue.get_all_runs_from_db(&[]).await? {
        let key = run.draft.unique.clone().unwrap_or_else(|| "callback".into());
        let entry = ended.entry(key).or_insert((run.status, 0));
        assert_eq!(entry.0, run.status);
        entry.1 += 1;
        if let Some(news) = run.draft.payload.as_ref().and_then(|payload| payload.decode::<CallbackReport>().ok()) {
            for child in news.children {
                *told.entry(child.agent.unwrap_or_default()).or_default() += 1;
            }
        }
    }
    // In how many callbacks the children were told depends on the way; that each was told once does not.
    ended.remove("callback");
    Ok((ended, told))
}

/// One life on this store, with these faults.
fn live(store: Box<dyn Store>, faults: Vec<Fault>) -> Option<End> {
    let time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&time, async {
        let store = Box::new(FaultyStore::new(store, faults));
        let runtime = Runtime::builder().seed(7).clock(Clock::tokio(START)).start_local(store).await.ok()?;
        let Ok(queue) = runtime.run_queue().await else { return None };
        let end = play(&queue).await;
        runtime.shutdown().await;
        end.ok()
    })
}

/// Squares numbers.
struct Square;

impl Routine for Square {
    const NAME: &'static str = "square";
    type State = u64;
    type Message = u64;

    fn perform(&self, turn: &mut Turn<u64>, number: u64) -> Ended {
        *turn.state += 1;
        turn.reply(&(number * number))?;
        Ok(Outcome::Done)
    }
}

/// A worker of the house works off runs that have one attempt each, through these faults; gives how many runs completed,
/// and how many messages were done.
async fn work_off(faults: Vec<Fault>) -> (usize, Option<u64>) {
    const RUNS: u64 = 6;
    let patiently = async |tried: Result<(), Advice>| match tried {
        Ok(()) => true,
        Err(advice) => {
            assert_eq!(advice, Advice::RetryLater);
            tokio::time::sleep(Duration::from_millis(100)).await;
            false
        }
    };
    let store = FaultyStore::new(Box::new(MemoryStore::open(&MemoryDisk::default())), faults);
    let builder = Runtime::builder().routine(Square).seed(7).clock(Clock::tokio(START));
    let runtime = builder.start_local(Box::new(store)).await.unwrap();
    while !patiently(runtime.join(Person::new(1, "ada")).await.map(drop).map_err(|error| error.advice())).await {}
    let queue = runtime.run_queue().await.unwrap();
    queue.employ_person(PersonRunner::new(1, Capabilities::none()).slots(2));
    for number in 0..RUNS {
        let draft = || RunDraft::of(&number).unwrap().attempts_max(1).unique(number.to_string(), Conflict::Existing);
        while !patiently(queue.add_run(draft()).await.map(drop).map_err(|error| error.advice())).await {}
    }
    let mut completed = 0;
    for run in queue.get_all_runs_from_db(&[]).await.unwrap() {
        let end = tokio::time::timeout(Duration::from_secs(3_600), queue.wait(run.id)).await.expect("it ends").unwrap();
        completed += usize::from(end.status == RunStatus::Completed);
    }
    let done = runtime.state(1, "square").await.unwrap();
    runtime.shutdown().await;
    (completed, done)
}

#[test]
fn a_worker_of_the_house_works_on_when_room_returns_and_what_it_has_done_is_reported() {
    for commit in 2..30 {
        for fault in [Fault::Full(commit, commit + 1), Fault::Busy(commit, commit)] {
            let time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let worked = tokio::task::LocalSet::new().block_on(&time, work_off(vec![fault]));
            assert_eq!(worked, (6, Some(6)), "through {fault:?}");
        }
    }
}

fn expected() -> End {
    let completed = ["parent", "one", "two", "three", "child 1", "child 2"];
    let mut ended: BTreeMap<_, _> = completed.map(|key| (key.to_string(), (RunStatus::Completed, 1))).into();
    ended.insert("doomed".into(), (RunStatus::Stopped, 1));
    (ended, BTreeMap::from([("child 1".to_string(), 1), ("child 2".to_string(), 1)]))
}

#[test]
fn runs_survive_a_crash_at_every_step_between_store_and_cache() {
    let mut steps = 0;
    for commit in 1.. {
        let mut crashed = false;
        for fault in [Fault::CrashBefore(commit), Fault::CrashAfter(commit)] {
            let disk = MemoryDisk::default();
            let first = live(Box::new(MemoryStore::open(&disk)), vec![fault]);
            crashed |= first.is_none();
            let end = first.or_else(|| live(Box::new(MemoryStore::open(&disk)), vec![]));
            assert_eq!(end, Some(expected()), "after {fault:?}");
        }
        if !crashed {
            break;
        }
        steps = commit;
    }
    assert!(steps > 20, "the script has {steps} commits");
}

#[test]
fn runs_in_a_file_survive_crashes_full_disks_and_unknown_outcomes() {
    for commit in (1..30).step_by(4) {
        for fault in [Fault::CrashAfter(commit), Fault::UnknownWritten(commit), Fault::UnknownLost(commit)] {
            let folder = tempfile::tempdir().unwrap();
            let open = || Box::new(SqliteStore::open(folder.path().join("site.db"), SqliteOptions::default()).unwrap());
            let end = live(open(), vec![fault]).or_else(|| live(open(), vec![]));
            assert_eq!(end, Some(expected()), "after {fault:?}");
        }
        // A full disk refuses, and nothing is different afterwards.
        let disk = MemoryDisk::default();
        let first = live(Box::new(MemoryStore::open(&disk)), vec![Fault::Full(commit, commit)]);
        let end = first.or_else(|| live(Box::new(MemoryStore::open(&disk)), vec![]));
        assert_eq!(end, Some(expected()), "after a full disk at {commit}");
    }
}
