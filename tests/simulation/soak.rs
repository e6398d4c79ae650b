//! The soak owns thousands of seeds: a scenario and the weather of all its lives follow from each, the laws watch every
//! event, and what is remembered in the end is what a calm life remembers.
//!
//! `cargo test --release --test simulation soak -- --ignored --nocapture`; `WORKSITE_SEEDS=10000` plays more of them, from
//! `WORKSITE_FROM`. A seed that fails is printed as the command that repeats it.

use super::played;
use std::collections::BTreeMap;
use std::time::Duration;
use worksite_model::chance;
use worksite_simulation::{
    Broken, Event, MemoryDisk, MemoryStore, PowerDisk, Scenario, Weather, World, recovery_equals_life,
};

/// How long the scripts of the soak are.
const STEPS: usize = 20;

pub(super) fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |number| number.parse().expect("it is a number"))
}

/// What has been played.
#[derive(Default)]
pub struct Played {
    lives: u64,
    events: u64,
    commits: u64,
    weather: BTreeMap<String, u64>,
}

impl Played {
    fn count(&mut self, world: &World) {
        for event in world.trace().events() {
            self.events += 1;
            self.lives += u64::from(matches!(event, Event::Opened(_)));
            self.commits += u64::from(matches!(event, Event::Counted { .. }));
        }
    }

    fn note(&mut self, weather: &Weather) {
        let faults = weather.faults.iter().map(|fault| format!("{fault:?}"));
        let mishaps = weather.incidents.iter().map(|incident| format!("{:?}", incident.mishap));
        let listeners = weather.listeners.iter().map(|listener| format!("Listener {listener:?}"));
        for name in faults.chain(mishaps).chain(listeners) {
            let kind = name.split(['(', '{']).next().unwrap_or_default().trim().to_string();
            *self.weather.entry(kind).or_default() += 1;
        }
    }
}

/// Plays one seed: calm, in the weather of each life, and with failing power.
pub fn play(seed: u64, played_so_far: &mut Played) -> Result<(), Broken> {
    let scenario = Scenario::generate(seed, STEPS);
    let (calm, world) = played(seed, &scenario, &[]);
    played_so_far.count(&world);
    let events = world.trace().len();
    let commits = world.trace().events().iter().filter(|event| matches!(event, Event::Counted { .. })).count();

    let (mut world, disk) = (World::tight(seed), MemoryDisk::default());
    let remembered = world.lives(&scenario, |life| {
        let weather = Weather::generate(seed, life, 4, commits, events);
        played_so_far.note(&weather);
        (Box::new(MemoryStore::open(&disk)), weather)
    });
    played_so_far.count(&world);
    recovery_equals_life(&calm, &remembered?)?;

    // Synced after each commit, nothing is lost; synced now and then, what is lost is lost whole, and done again.
    for sync_every in [1, 2 + chance(seed, &[1]) % 9] {
        let (mut world, disk) = (World::new(seed), PowerDisk::new(sync_every));
        let remembered = world.lives(&scenario, |life| {
            let fails_at = 1 + chance(seed, &[2, life as i64]) % (commits as u64 + 1);
            let weather = Weather { forgets: sync_every > 1 && life > 0, ..Weather::default() };
            *played_so_far.weather.entry("Power".into()).or_default() += u64::from(life < 4);
            (Box::new(disk.open((life < 4).then_some(fails_at))), weather)
        });
        played_so_far.count(&world);
        recovery_equals_life(&calm, &remembered?)?;
    }
    Ok(())
}

/// Panics are part of the weather here: only those nobody asked for are told.
pub fn hush() {
    static HUSHED: std::sync::Once = std::sync::Once::new();
    HUSHED.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let said = panic.to_string();
            if !said.contains("was told to crash") && !said.ends_with("poison") {
                loud(panic);
            }
        }));
    });
}

#[test]
#[ignore = "plays thousands of seeds: cargo test --release --test simulation soak -- --ignored --nocapture"]
fn soak() {
    hush();
    let one = std::env::var("WORKSITE_SEED").ok().map(|seed| seed.parse::<u64>().expect("a seed is a number"));
    let (from, count) = one.map_or((number("WORKSITE_FROM", 0), number("WORKSITE_SEEDS", 3_000)), |seed| (seed, 1));
    let mut so_far = Played::default();
    for seed in from..from + count {
        let unheard_of = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(seed, &mut so_far)));
        let broken = match unheard_of {
            Ok(Ok(())) => continue,
            Ok(Err(broken)) => broken.to_string(),
            Err(_panic) => "it panicked, as said above".into(),
        };
        let command = "cargo test --release --test simulation soak -- --ignored --nocapture";
        panic!("seed {seed}: {broken}\nrepeat it: WORKSITE_SEED={seed} {command}");
    }
    println!(
        "{count} seeds, {} lives, {} commits, {} events, no law broken",
        so_far.lives, so_far.commits, so_far.events
    );
    so_far.weather.iter().for_each(|(kind, times)| println!("{times:>7} {kind}"));
}

#[test]
fn a_few_seeds_of_the_soak_in_every_run() {
    let mut so_far = Played::default();
    for seed in super::seeds(12) {
        if let Err(broken) = play(seed, &mut so_far) {
            panic!("{broken}\nrepeat it: WORKSITE_SEED={seed} cargo test --test simulation a_few_seeds_of_the_soak");
        }
    }
    assert!(so_far.lives > 60, "{} lives are no storm", so_far.lives);
}

#[test]
fn nothing_is_waited_for_in_real_time() {
    #[expect(clippy::disallowed_methods, reason = "that is what is measured")]
    let begun = std::time::Instant::now();
    let (_, world) = played(1, &Scenario::generate(1, STEPS), &[]);
    assert!(world.now().since(World::new(1).now()) > Duration::from_secs(60), "virtual time passed");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
