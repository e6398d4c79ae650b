//! Storms own flows and runs in the weather of the soak: posts, a flow's worker that is purged at work, runs that a worker of
//! the house works off, letters that are given up and redriven; life after life, until all is done. Whatever happened on the
//! way, every post is a job that ends once, every run is done once, and every letter is noted once.
//!
//! `cargo test --release --test simulation storms -- --ignored --nocapture` plays 1,000 seeds; `WORKSITE_SEEDS` says how many,
//! `WORKSITE_FROM` from which one, `WORKSITE_SEED` plays one.

use super::flows::flow;
use super::soak::{hush, number};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use worksite_model::flow::{JobFilter, JobStatus};
use worksite_model::{
    Advice, Capabilities, Draft, Durable, Ended, Limits, Outcome, Person, Routine, RunDraft, RunFilter, RunStatus,
    Timestamp, Turn, chance,
};
use worksite_runtime::{Clock, Flows, PersonRunner, RunQueue, Runtime};
use worksite_simulation::{FaultyStore, Incident, MemoryDisk, MemoryStore, Mishap, Weather};

/// Who notes letters, who works off runs, whose flow goes on, and whose flow is purged.
const CLERK: i64 = 1;
const RUNNER: i64 = 2;
const FLOW: i64 = 7;
const PURGED: i64 = 8;

const LETTERS: u64 = 12;
const RUNS: u64 = 8;
const POSTS: u64 = 10;

/// Of such a quiet life: where faults and mishaps may strike.
const COMMITS: usize = 70;
const EVENTS: usize = 300;

/// Nothing takes so long in a house whose store lives.
const HOUR: Duration = Duration::from_secs(3_600);

/// Lives in which all is done in the end.
const LIVES_MAX: usize = 12;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Slip {
    Note(u64),
    /// From now on the unlucky ones are taken, too.
    Pardon,
}
impl Durable for Slip {
    const TYPE: &'static str = "slip";
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Slips {
    noted: BTreeMap<u64, u32>,
    pardoned: bool,
}
impl Durable for Slips {
    const TYPE: &'static str = "slips";
}

/// Notes slips; every third is turned away before the pardon.
struct Notes;

impl Routine for Notes {
    const NAME: &'static str = "notes";
    type State = Slips;
    type Message = Slip;

    fn perform(&self, turn: &mut Turn<Slips>, slip: Slip) -> Ended {
        match slip {
            Slip::Pardon => turn.state.pardoned = true,
            Slip::Note(number) if number.is_multiple_of(3) && !turn.state.pardoned => {
                return Ok(Outcome::Reject("not before the pardon".into()));
            }
            Slip::Note(number) => *turn.state.noted.entry(number).or_default() += 1,
        }
        turn.reply(&())?;
        Ok(Outcome::Done)
    }
}

/// Counts what it does.
struct Work;

impl Routine for Work {
    const NAME: &'static str = "work";
    type State = Worked;
    type Message = u64;

    fn perform(&self, turn: &mut Turn<Worked>, number: u64) -> Ended {
        *turn.state.0.entry(number).or_default() += 1;
        turn.reply(&(number * number))?;
        Ok(Outcome::Done)
    }
}

/// How often each number was worked on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Worked(BTreeMap<u64, u32>);
impl Durable for Worked {
    const TYPE: &'static str = "counts of numbers";
}

/// Tries again as long as that is advised; nothing when this life is over.
async fn patiently<T>(mut step: impl AsyncFnMut() -> Result<T, Advice>) -> Option<T> {
    for _ in 0..1_000 {
        // Whoever asks somebody who is held, because the store has died, waits for the next life.
        match tokio::time::timeout(HOUR, step()).await.ok()? {
            Ok(done) => return Some(done),
            Err(Advice::RetryLater) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(_) => return None,
        }
    }
    None
}

async fn post(flows: &Flows, worker: i64) -> Option<()> {
    for number in 0..POSTS {
        let key = format!("post {number} to {worker}");
        patiently(async || {
            let posting = flows.posting("f", "first", "in").worker(worker).key(key.clone());
            posting.post_many(&[number, number + 100]).await.map_err(|error| error.advice())
        })
        .await?;
    }
    Some(())
}

async fn add_runs(queue: &RunQueue) -> Option<()> {
    for number in 0..RUNS {
        let agent = number.to_string();
        patiently(async || {
            let known = queue.history(RunFilter::all().agent(agent.clone())).await.map_err(|error| error.advice())?;
            if known.is_empty() {
                let draft = RunDraft::of(&number).unwrap().agent(agent.clone()).attempts_max(1_000);
                queue.add_run(draft).await.map_err(|error| error.advice())?;
            }
            Ok(())
        })
        .await?;
    }
    Some(())
}

/// Everything, from its beginning: what was done in an earlier life is not done again.
async fn play(runtime: &Runtime) -> Option<()> {
    let flows = Flows::new(runtime.clone());
    for person in [Person::new(CLERK, "clerk"), Person::new(RUNNER, "runner")] {
        patiently(async || runtime.join(person.clone()).await.map_err(|error| error.advice())).await?;
    }
    let worker = patiently(async || flows.attach("f", FLOW).await.map_err(|error| error.advice())).await?;
    let doomed = patiently(async || flows.attach("f", PURGED).await.map_err(|error| error.advice())).await?;
    let queue = patiently(async || runtime.run_queue().await.map_err(|error| error.advice())).await?;
    queue.employ_person(PersonRunner::new(RUNNER, Capabilities::none()).slots(3));
    for number in 0..LETTERS {
        let slip = || Draft::to(CLERK, &Slip::Note(number)).unwrap().key(format!("slip {number}"));
        patiently(async || runtime.send(slip()).await.map_err(|error| error.advice())).await?;
    }
    let (posted, doomed_posted, added) = tokio::join!(post(&flows, FLOW), post(&flows, PURGED), add_runs(&queue));
    let (_, _, _) = (posted?, doomed_posted?, added?);
    patiently(async || doomed.stop().await.map_err(|error| error.advice())).await?;
    let pardon = || Draft::to(CLERK, &Slip::Pardon).unwrap().key("pardon");
    patiently(async || runtime.ask::<()>(pardon()).await.map_err(|error| error.advice())).await?;
    // Each look may find some that were given up meanwhile; after the pardon none are.
    loop {
        let dead = patiently(async || runtime.dead_letters(99).await.map_err(|error| error.advice())).await?;
        if dead.is_empty() {
            break;
        }
        let ids = || dead.iter().map(|letter| letter.delivery.id()).collect();
        patiently(async || runtime.redrive(ids()).await.map_err(|error| error.advice())).await?;
    }
    if !flows.wait_until_all_jobs_finished(Some(HOUR)).await.ok()? {
        return None;
    }
    for run in queue.get_all_runs_from_db(&[]).await.ok()? {
        tokio::time::timeout(HOUR, queue.wait(run.id)).await.ok()?.ok()?;
    }
    // Who is held because the store has died takes no mail in this life.
    let taken = async || if runtime.message_count(CLERK) > 0 { Err(Advice::RetryLater) } else { Ok(()) };
    patiently(taken).await?;
    look(runtime, &flows, &queue, worker.id().0).await
}

/// What must be so in the end.
async fn look(runtime: &Runtime, flows: &Flows, queue: &RunQueue, worker: i64) -> Option<()> {
    let jobs = flows.list_jobs(JobFilter::default(), usize::MAX).await.ok()?;
    let of = |worker: i64| jobs.iter().filter(move |job| job.worker.0 == worker);
    assert_eq!(of(worker).filter(|job| job.status == JobStatus::Completed).count() as u64, 2 * POSTS);
    assert!(of(PURGED).all(|job| matches!(job.status, JobStatus::Completed | JobStatus::Cancelled)), "{jobs:?}");
    assert_eq!((flows.open_jobs(), flows.get_worker(PURGED).is_err()), (0, true));
    let sum: u64 = (0..POSTS).map(|number| 2 * number + 100).sum();
    for routine in ["first", "threes"] {
        let worker = flows.get_worker(worker).ok()?;
        assert_eq!(worker.state::<u64>(routine).await.ok()?, Some(sum), "{routine}");
    }
    let runs = queue.get_all_runs_from_db(&[]).await.ok()?;
    assert_eq!(runs.len() as u64, RUNS);
    for run in runs {
        let square = run.result.as_ref().and_then(|result| result.decode::<u64>().ok());
        let number = run.draft.payload.as_ref().and_then(|payload| payload.decode::<u64>().ok());
        assert_eq!((run.status, square), (RunStatus::Completed, number.map(|number| number * number)), "{run:?}");
    }
    let once = |count: u64| (0..count).map(|number| (number, 1)).collect::<BTreeMap<_, _>>();
    let worked = runtime.state::<Worked>(RUNNER, "work").await.ok()?;
    assert_eq!(worked.map(|worked| worked.0), Some(once(RUNS)), "each run is done once");
    let noted = runtime.state::<Slips>(CLERK, "notes").await.ok()?;
    assert_eq!(noted.map(|slips| slips.noted), Some(once(LETTERS)), "each letter is noted once");
    Some(())
}

/// Lets everything happen that is to happen; returns when the process is to die.
async fn suffer(runtime: &Runtime, incidents: Vec<Incident>) {
    let mut passed = 0;
    for Incident { after, mishap } in incidents {
        tokio::time::sleep(Duration::from_millis((after - passed) as u64)).await;
        passed = after;
        match mishap {
            Mishap::CrashWorker(number) => {
                runtime.crash_worker([CLERK, RUNNER, FLOW, PURGED][(number - 1) as usize % 4]);
            }
            // Clocks that jump are the matter of the other soak.
            Mishap::Jump(_) => runtime.crash_worker(FLOW),
            Mishap::CrashSupervisor => runtime.crash_supervisor(),
            Mishap::CrashBroadcast => runtime.crash_broadcast(),
            Mishap::Kill => return,
        }
    }
    std::future::pending().await
}

async fn live(seed: u64, disk: &MemoryDisk, now: Timestamp, weather: Weather) -> Option<()> {
    let store = FaultyStore::new(Box::new(MemoryStore::open(disk)), weather.faults);
    let pick = |place: i64, of: [usize; 3]| of[(chance(seed, &[-1, place]) % 3) as usize];
    let limits = Limits {
        commit_changes_max: pick(1, [1, 3, 4_096]),
        activation_deliveries_max: pick(2, [1, 2, 256]),
        worker_idle_ms_max: pick(3, [300, 2_000, 60_000]) as u64,
        ..Limits::default()
    };
    let builder = Runtime::builder().flow(flow()).routine(Notes).routine(Work).limits(limits).seed(seed);
    let runtime = builder.clock(Clock::tokio(now)).start_local(Box::new(store)).await.ok()?;
    let lived = tokio::select! {
        biased;
        () = suffer(&runtime, weather.incidents) => return None,
        lived = play(&runtime) => lived,
    };
    runtime.shutdown_within(Duration::from_millis(100)).await;
    lived
}

/// Plays one seed, life after life; gives how many it took.
fn play_seed(seed: u64) -> usize {
    let disk = MemoryDisk::default();
    for life in 0..LIVES_MAX {
        let weather = Weather::generate(seed, life, 4, COMMITS, EVENTS);
        let time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let house = tokio::task::LocalSet::new();
        let now = Timestamp::from_seconds(1_767_225_600 + 3_600 * life as i64);
        let lived = house.block_on(&time, live(seed, &disk, now, weather));
        // Whoever is still there dies with the process, without a word.
        drop(house);
        if lived.is_some() {
            return life + 1;
        }
    }
    panic!("seed {seed}: it was not done after {LIVES_MAX} lives");
}

fn play_seeds(seeds: impl Iterator<Item = u64>) -> usize {
    hush();
    let mut lives = 0;
    for seed in seeds {
        let played = std::panic::catch_unwind(|| play_seed(seed));
        let command = "cargo test --test simulation storms -- --include-ignored --nocapture";
        lives += played.unwrap_or_else(|_| panic!("repeat it: WORKSITE_SEED={seed} {command}"));
    }
    lives
}

#[test]
fn flows_and_runs_are_done_once_in_the_storms_of_a_few_seeds() {
    let lives = play_seeds(super::seeds(25).into_iter());
    println!("{lives} lives");
}

#[test]
#[ignore = "plays a thousand seeds: cargo test --release --test simulation storms -- --ignored --nocapture"]
fn storms() {
    let (from, count) = (number("WORKSITE_FROM", 0), number("WORKSITE_SEEDS", 1_000));
    let lives = play_seeds(from..from + count);
    assert!(lives as u64 > count, "{lives} lives are no storm");
    println!("{count} seeds, {lives} lives");
}
