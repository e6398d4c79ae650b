//! The laws under seeds, scenarios and faults; a crash at every commit; the same seed twice.
//!
//! A failing seed is printed as the command that repeats it. `WORKSITE_SEED` plays one seed; `cargo test --release --test
//! simulation soak -- --ignored --nocapture` plays thousands.

mod ahead;
mod flows;
mod operations;
mod planted;
mod power;
mod runs;
mod soak;
mod storms;
mod ticks;
mod weather;
mod wounds;

use std::path::Path;
use std::time::Duration;
use worksite_model::{Draft, Limits, Store};
use worksite_simulation::{
    BY_HAND, Event, Fault, Letter, MemoryDisk, MemoryStore, Remembered, Scenario, Step, World, recovery_equals_life,
};
use worksite_store::{SqliteOptions, SqliteStore};

/// A crash around the commit of this number.
type Crash = fn(u64) -> Fault;

/// A crash before a commit and one after it, in a house that runs ahead of the disk (an odd seed) and in one that does not.
const BOTH_WAYS: [(u64, Crash); 4] =
    [(1, Fault::CrashBefore), (1, Fault::CrashAfter), (2, Fault::CrashBefore), (2, Fault::CrashAfter)];

/// Seeds that failed once. They are played every time.
const OLD_WOUNDS: &[u64] = &[];

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("WORKSITE_SEED") {
        Ok(seed) => vec![seed.parse().expect("WORKSITE_SEED is a number")],
        Err(_) => OLD_WOUNDS.iter().copied().chain(0..count).collect(),
    }
}

fn letter(to: i64, letter: Letter, key: &str) -> Draft {
    Draft::to(to, &letter).unwrap().key(key)
}

/// A little of everything, small enough to be crashed at each of its commits.
fn small_scenario() -> Scenario {
    let together = vec![letter(1, Letter::Note(6), "f"), letter(3, Letter::Note(7), "g")];
    let slow = letter(2, Letter::Flaky(3, 2), "c");
    let all = vec![1, 2, 3, BY_HAND];
    Scenario {
        steps: vec![
            Step::Sync(all.clone()),
            Step::Send(vec![
                letter(1, Letter::Note(1), "a"),
                letter(2, Letter::Circular(2, vec![3, 1, 2]), "b"),
                slow,
                letter(3, Letter::Poison(4), "d"),
                letter(BY_HAND, Letter::Note(8), "h"),
            ]),
            Step::CrashWorker(1),
            Step::Drain(BY_HAND, 1),
            Step::Pause(1),
            Step::SendTogether(together),
            Step::Wait(Duration::from_secs(2)),
            Step::Resume(1),
            Step::Sync(vec![1, 2, BY_HAND]),
            Step::Ask(vec![letter(1, Letter::Circular(5, vec![2]), "e")]),
            Step::Sync(all),
            Step::Quiesce,
            Step::Drain(BY_HAND, 9),
            Step::Acknowledge(BY_HAND),
        ],
    }
}

fn memory(disk: &MemoryDisk, faults: Vec<Fault>) -> (Box<dyn Store>, Vec<Fault>) {
    (Box::new(MemoryStore::open(disk)), faults)
}

fn sqlite(path: &Path, faults: Vec<Fault>) -> (Box<dyn Store>, Vec<Fault>) {
    (Box::new(SqliteStore::open(path, SqliteOptions::default()).unwrap()), faults)
}

/// Plays a scenario on memory, through all lives it takes: the first one has these faults.
fn played(seed: u64, scenario: &Scenario, faults: &[Fault]) -> (Remembered, World) {
    let (mut world, disk) = (World::new(seed), MemoryDisk::default());
    let faults = |life| if life == 0 { faults.to_vec() } else { vec![] };
    let ended = world.lives(scenario, |life| memory(&disk, faults(life)));
    let remembered = ended.unwrap_or_else(|broken| {
        panic!("{broken}\nrepeat it: WORKSITE_SEED={seed} cargo test --test simulation\n{}", world.trace())
    });
    (remembered, world)
}

fn lives(world: &World) -> usize {
    world.trace().events().iter().filter(|event| matches!(event, Event::Opened(_))).count()
}

#[test]
fn the_same_seed_twice_gives_the_same_trace_and_another_seed_another() {
    for seed in seeds(5) {
        let scenario = Scenario::generate(seed, 12);
        let trace = || played(seed, &scenario, &[]).1.trace().to_string();
        let first = trace();
        assert_eq!(first, trace(), "seed {seed}");
        let other = played(seed + 1, &scenario, &[]).1.trace().to_string();
        assert_ne!(first, other, "the seed decides the jitter of retries");
    }
}

#[test]
fn laws_hold_under_many_seeds() {
    for seed in seeds(40) {
        let (remembered, _) = played(seed, &Scenario::generate(seed, 15), &[]);
        let noted: Vec<_> = remembered.noted.values().flat_map(|letters| letters.keys()).collect();
        assert!(!noted.is_empty(), "seed {seed} wrote no letter");
    }
}

/// How many turns began before their envelope was durable.
fn turns_ahead(world: &World) -> usize {
    let (mut accepted, mut ahead) = (std::collections::BTreeSet::new(), 0);
    for event in world.trace().events() {
        match event {
            Event::Committed { committed, .. } => {
                accepted.extend(committed.envelopes.iter().map(|envelope| envelope.id))
            }
            // A volatile draft has no id, and is never durable.
            Event::Performed { id, .. } if id.0 > 0 => ahead += usize::from(!accepted.contains(&id)),
            _ => {}
        }
    }
    ahead
}

#[test]
fn pure_routines_run_ahead_of_the_disk_and_others_never() {
    let scenario = Scenario::generate(7, 15);
    let ahead = turns_ahead(&played(7, &scenario, &[]).1);
    assert!(ahead > 5, "{ahead} turns");
    assert_eq!(turns_ahead(&played(8, &scenario, &[]).1), 0);
}

#[test]
fn a_crash_at_every_commit_in_memory_ends_as_the_unbroken_run() {
    let scenario = small_scenario();
    for (seed, crash) in BOTH_WAYS {
        let (unbroken, _) = played(seed, &scenario, &[]);
        for commit in 1.. {
            let (remembered, world) = played(seed, &scenario, &[crash(commit)]);
            recovery_equals_life(&unbroken, &remembered)
                .unwrap_or_else(|broken| panic!("{:?}: {broken}", crash(commit)));
            if lives(&world) == 1 {
                assert!(commit > 10, "the scenario has more commits than {commit}");
                break;
            }
        }
    }
}

#[test]
fn a_crash_at_every_commit_in_a_file_ends_as_the_unbroken_run() {
    let scenario = small_scenario();
    for (seed, crash) in BOTH_WAYS {
        let (unbroken, _) = played(seed, &scenario, &[]);
        for commit in 1.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("site.db");
            let mut world = World::new(seed);
            let faults = |life| if life == 0 { vec![crash(commit)] } else { vec![] };
            let remembered = world.lives(&scenario, |life| sqlite(&path, faults(life))).unwrap();
            recovery_equals_life(&unbroken, &remembered)
                .unwrap_or_else(|broken| panic!("{:?}: {broken}", crash(commit)));
            if lives(&world) == 1 {
                break;
            }
        }
    }
}

#[test]
fn generated_scenarios_survive_crashes_in_several_lives() {
    for seed in seeds(15) {
        let scenario = Scenario::generate(seed, 12);
        let (unbroken, _) = played(seed, &scenario, &[]);
        let (mut world, disk) = (World::new(seed), MemoryDisk::default());
        let crash = |life: usize| match life {
            0 => vec![Fault::CrashAfter(3)],
            1 => vec![Fault::CrashBefore(4)],
            2 => vec![Fault::UnknownWritten(6)],
            3 => vec![Fault::UnknownLost(5)],
            _ => vec![],
        };
        let remembered = world.lives(&scenario, |life| memory(&disk, crash(life)));
        let remembered = remembered.unwrap_or_else(|broken| panic!("{broken}, seed {seed}\n{}", world.trace()));
        assert_eq!(remembered, unbroken, "repeat it: WORKSITE_SEED={seed} cargo test --test simulation");
    }
}

#[test]
fn a_full_disk_and_a_busy_file_lose_nothing_and_the_site_goes_on() {
    for seed in seeds(10) {
        let scenario = Scenario::generate(seed, 10);
        let (unbroken, _) = played(seed, &scenario, &[]);
        for faults in [[Fault::Full(2, 6)], [Fault::Busy(3, 9)]] {
            let (remembered, world) = played(seed, &scenario, &faults);
            assert_eq!(remembered, unbroken, "seed {seed}, {faults:?}");
            assert_eq!(lives(&world), 1, "the site need not be reopened");
        }
    }
}

#[test]
fn a_worker_or_state_that_cannot_be_read_for_a_while_is_read_later() {
    let scenario = small_scenario();
    let (unbroken, _) = played(1, &scenario, &[]);
    for reading in 1..30 {
        let (remembered, world) = played(1, &scenario, &[Fault::ReadBusy(reading, reading + 2)]);
        assert_eq!((remembered, lives(&world)), (unbroken.clone(), 1), "reading {reading}");
    }
}

#[test]
fn tight_limits_change_nothing_but_the_way() {
    for seed in seeds(20) {
        let (scenario, disk) = (Scenario::generate(seed, 15), MemoryDisk::default());
        let (unbroken, _) = played(seed, &scenario, &[]);
        let mut world = World::tight(seed);
        let remembered = world.lives(&scenario, |_| memory(&disk, vec![]));
        let remembered = remembered.unwrap_or_else(|broken| panic!("{broken}, seed {seed}\n{}", world.trace()));
        assert_eq!(remembered, unbroken, "repeat it: WORKSITE_SEED={seed} cargo test --test simulation");
    }
}

#[test]
fn an_unknown_outcome_is_cleared_up_by_reopening() {
    let scenario = small_scenario();
    let (unbroken, _) = played(1, &scenario, &[]);
    for commit in 1..12 {
        for fault in [Fault::UnknownWritten(commit), Fault::UnknownLost(commit)] {
            let (remembered, world) = played(1, &scenario, &[fault]);
            assert_eq!((remembered, lives(&world)), (unbroken.clone(), 2), "{fault:?}");
        }
    }
}

#[test]
fn inboxes_stay_within_their_bounds_under_pressure() {
    let limits = Limits { inbox_envelopes_max: 3, ..Limits::default() };
    let notes = (0..40).map(|number| letter(1 + number % 2, Letter::Note(number as u32), &format!("n{number}")));
    let scenario = Scenario { steps: vec![Step::Sync(vec![1, 2]), Step::Send(notes.collect()), Step::Quiesce] };
    let (mut world, disk) = (World::with_limits(3, limits), MemoryDisk::default());
    let remembered = world.lives(&scenario, |_| memory(&disk, vec![])).unwrap();
    assert_eq!(remembered.noted.values().map(std::collections::BTreeMap::len).sum::<usize>(), 40);
}
