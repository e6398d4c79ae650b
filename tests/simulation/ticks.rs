//! Time in steps: the same states at the end of every tick on one thread and on many, idle time skipped, any number of
//! workers, and a tick is over when all of it is durable.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use worksite_model::{
    Draft, Durable, Ended, Outcome, Person, PersonId, Priority, RetryPolicy, Routine, Store, Timestamp, Turn,
};
use worksite_runtime::{Builder, Runtime};
use worksite_simulation::{Beat, Chances, Fault, FaultyStore, MemoryDisk, MemoryStore, RecordingStore, Ticks, Trace};
use worksite_store::{SqliteOptions, SqliteStore, SyncMode};

const START: Timestamp = Timestamp::from_seconds(1_767_225_600);

fn beat(seed: u64) -> Beat {
    Beat { start: START, length: Duration::from_secs(60), seed }
}

/// A word that is passed on, with what it is worth.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rumour(u64);
impl Durable for Rumour {
    const TYPE: &'static str = "rumour";
}

/// All that a gossip has heard, in order: a number that depends on every bit of it, and on the dice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Heard {
    times: u64,
    digest: u64,
    chances: Chances,
}
impl Durable for Heard {
    const TYPE: &'static str = "heard";
}

/// Passes rumours on to people who follow from the dice; sometimes fails first, sometimes tells two.
struct Gossip {
    beat: Beat,
    people: u64,
}

impl Routine for Gossip {
    const NAME: &'static str = "gossip";
    type State = Heard;
    type Message = Rumour;

    fn perform(&self, turn: &mut Turn<Heard>, Rumour(worth): Rumour) -> Ended {
        let sender = turn.sender().unwrap_or(PersonId(0)).0.cast_unsigned();
        turn.state.times += 1;
        turn.state.digest = turn.state.digest.rotate_left(7) ^ worth.wrapping_mul(31) ^ sender;
        let mut chances = turn.state.chances;
        let mut roll = |sides| chances.roll(&self.beat, turn, sides);
        let (fails, twice) = (roll(50) == 0, roll(100) == 0);
        let calls: Vec<_> = (0..1 + u64::from(twice)).map(|_| (1 + roll(self.people), roll(4), roll(3))).collect();
        turn.state.chances = chances;
        if fails && turn.attempt() == 1 {
            return Ok(Outcome::Retry("what was that?".into()));
        }
        for (to, lane, later) in calls {
            let draft =
                Draft::to(to as i64, &Rumour(worth.wrapping_mul(17) ^ to))?.priority(Priority::ALL[lane as usize]);
            self.beat.send(turn, draft, if later == 0 { 7 } else { 1 });
        }
        Ok(Outcome::Done)
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { jitter_percent: 0, ..RetryPolicy::default() }
    }
}

fn house(seed: u64, people: i64, ticks: &Ticks) -> Builder {
    Runtime::builder().routine(Gossip { beat: beat(seed), people: people as u64 }).clock(ticks.clock()).seed(seed)
}

async fn populate(site: &Runtime, people: i64) {
    site.sync((1..=people).map(|id| Person::new(id, format!("person {id}")))).await.unwrap();
}

/// The first rumours, of which each has another sender.
fn rumours(seed: u64, people: i64) -> impl Iterator<Item = Draft> {
    (1..=people).map(move |id| {
        let draft = Draft::to(1 + (id * 7 + 3) % people, &Rumour(id as u64)).unwrap();
        beat(seed).draft(Draft { from: Some(PersonId(id)), ..draft }, 0)
    })
}

async fn states(site: &Runtime, people: i64) -> Vec<Heard> {
    let mut states = Vec::new();
    for person in 1..=people {
        states.push(site.state::<Heard>(person, "gossip").await.unwrap().unwrap_or_default());
    }
    states
}

fn on_one_thread<F: Future>(story: F) -> F::Output {
    let time = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&time, story)
}

/// On one thread: everybody's states at the end of each tick, and how many rumours there were.
fn in_the_world(seed: u64, people: i64, ticks: i64, store: Box<dyn Store>) -> Vec<Vec<Heard>> {
    on_one_thread(async {
        let mut time = Ticks::new(beat(seed));
        let site = house(seed, people, &time).start_local(store).await.unwrap();
        populate(&site, people).await;
        for draft in rumours(seed, people) {
            site.send(draft).await.unwrap();
        }
        let mut all = Vec::new();
        for _ in 0..ticks {
            time.step(&site).await.unwrap();
            all.push(states(&site, people).await);
        }
        site.shutdown().await;
        all
    })
}

/// On the house's own threads, with four more that send at once, in real time and on a real file.
fn in_the_real_world(seed: u64, people: i64, ticks: i64) -> Vec<Vec<Heard>> {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { sync: SyncMode::Normal, ..SqliteOptions::default() };
    let store = SqliteStore::open(folder.path().join("site.db"), options).unwrap();
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    executor.block_on(async {
        let mut time = Ticks::new(beat(seed));
        let site = house(seed, people, &time).start(Box::new(store)).await.unwrap();
        populate(&site, people).await;
        let mut senders = Vec::new();
        for part in 0..4 {
            let site = site.clone();
            senders.push(tokio::spawn(async move {
                for draft in rumours(seed, people).skip(part).step_by(4) {
                    site.send(draft).await.unwrap();
                }
            }));
        }
        for sender in senders {
            sender.await.unwrap();
        }
        let mut all = Vec::new();
        for _ in 0..ticks {
            time.step(&site).await.unwrap();
            all.push(states(&site, people).await);
        }
        site.shutdown().await;
        all
    })
}

fn memory() -> Box<dyn Store> {
    Box::new(MemoryStore::open(&MemoryDisk::default()))
}

#[test]
fn states_at_the_end_of_each_tick_are_equal_on_one_thread_and_on_many() {
    for seed in 1..4 {
        let world = in_the_world(seed, 40, 30, memory());
        assert!(world.windows(2).all(|pair| pair[0] != pair[1]), "every tick has something to do");
        for again in 0..3 {
            let real = in_the_real_world(seed, 40, 30);
            let differs = world.iter().zip(&real).position(|(world, real)| world != real);
            assert_eq!(differs, None, "seed {seed}, run {again}: the first tick that differs");
        }
        assert_ne!(world.last(), in_the_world(seed + 9, 40, 30, memory()).last(), "another seed, another world");
    }
}

#[test]
fn the_trace_of_a_ticking_house_is_the_same_byte_for_byte() {
    let trace = || {
        let trace = Trace::default();
        in_the_world(5, 30, 20, Box::new(RecordingStore::new(memory(), trace.clone())));
        trace.to_string()
    };
    let first = trace();
    assert!(first.len() > 100_000 && first == trace());
}

#[test]
fn ten_thousand_workers_tick() {
    let world = in_the_world(1, 10_000, 3, memory());
    let heard: u64 = world[2].iter().map(|heard| heard.times).sum();
    assert!(heard > 20_000, "{heard}");
}

#[test]
fn idle_time_is_skipped() {
    on_one_thread(async {
        let mut time = Ticks::new(beat(1));
        let site = house(1, 2, &time).start_local(memory()).await.unwrap();
        populate(&site, 2).await;
        assert_eq!(time.skip(&site).await.unwrap(), None, "nobody has anything to do, ever");
        let rumour = |tick| beat(1).draft(Draft::to(1, &Rumour(1)).unwrap(), tick);
        site.send(rumour(1_000_000)).await.unwrap();
        site.send(rumour(3)).await.unwrap();
        assert_eq!(time.skip(&site).await.unwrap(), Some(3));
        let next = time.skip(&site).await.unwrap();
        assert!(matches!(next, Some(4 | 10)), "it is passed on a tick later, or seven: {next:?}");
        site.shutdown().await;
    });
}

#[test]
fn a_tick_that_was_interrupted_is_finished_when_the_house_is_opened_again() {
    let whole = in_the_world(7, 20, 12, memory());
    for commit in [5, 9, 14, 23, 31] {
        let disk = MemoryDisk::default();
        let finished = |ticks: i64, faults| {
            let store = FaultyStore::new(Box::new(MemoryStore::open(&disk)), faults);
            on_one_thread(async {
                let mut time = Ticks::after(beat(7), ticks);
                let site = house(7, 20, &time).start_local(Box::new(store)).await.unwrap();
                if ticks < 0 {
                    let all = site.sync((1..=20).map(|id| Person::new(id, format!("person {id}")))).await;
                    all.map_err(drop)?;
                    for (number, draft) in rumours(7, 20).enumerate() {
                        site.send(draft.key(format!("{number}"))).await.map_err(drop)?;
                    }
                }
                while time.tick() < 11 {
                    // A store that has died never comes to rest.
                    let step = tokio::time::timeout(Duration::from_secs(60), time.step(&site)).await;
                    step.map_err(|_elapsed| ())?.map_err(drop)?;
                    site.tally().await.map_err(drop)?;
                }
                let last = states(&site, 20).await;
                site.shutdown().await;
                Ok::<_, ()>(last)
            })
        };
        let crashed = finished(-1, vec![Fault::CrashAfter(commit)]);
        assert!(crashed.is_err() || commit > 30, "commit {commit}");
        assert_eq!(finished(-1, vec![]).as_ref(), Ok(&whole[11]), "commit {commit}");
    }
}
