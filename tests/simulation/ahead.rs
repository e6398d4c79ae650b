//! Running ahead of the disk on real threads, where a worker is quicker than a slow writer: the laws watch, and what is
//! remembered is what those remember who wait for the disk.

use super::{letter, played};
use std::time::Duration;
use worksite_model::{Change, Store, StoreError, Timestamp, Verdict, chance};
use worksite_simulation::{
    Event, Fault, Layer, Layered, Letter, MemoryDisk, MemoryStore, Scenario, Step, World, recovery_equals_life,
};

/// A store that takes its time over each commit.
struct Slow(Box<dyn Store>);

impl Layer for Slow {
    fn below(&mut self) -> Result<&mut dyn Store, StoreError> {
        Ok(self.0.as_mut())
    }

    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        #[expect(clippy::disallowed_methods, reason = "a disk that takes its time is what this is about")]
        std::thread::sleep(Duration::from_micros(chance(batch.len() as u64, &[at.as_micros()]) % 3_000));
        self.0.commit(batch, at)
    }
}

/// Letters that need no timer, by people who come and go, so that it is played in real time.
fn brisk(seed: u64) -> Scenario {
    let mut rolls = 0;
    let mut roll = |sides: i64| {
        rolls += 1;
        (chance(seed, &[rolls]) % sides.cast_unsigned()).cast_signed()
    };
    let (all, mut number) = (vec![1, 2, 3, 4], 0_u32);
    let mut steps = vec![Step::Sync(all.clone())];
    for _ in 0..12 {
        let drafts = (0..1 + roll(12)).map(|_| {
            number += 1;
            let route = (0..roll(6)).map(|_| 1 + roll(4)).collect();
            let what = if roll(3) == 0 { Letter::Circular(number, route) } else { Letter::Note(number) };
            letter(1 + roll(4), what, &format!("letter {number}"))
        });
        let drafts: Vec<_> = drafts.collect();
        steps.push(match roll(4) {
            0 => Step::SendTogether(drafts),
            1 => Step::Ask(drafts),
            _ => Step::Send(drafts),
        });
        match roll(5) {
            0 => steps.extend([Step::Sync(vec![1 + roll(4)]), Step::Sync(all.clone())]),
            1 => steps.push(Step::Quiesce),
            _ => {}
        }
    }
    steps.push(Step::Quiesce);
    Scenario { steps }
}

/// How many envelopes were accepted and settled in one group.
fn come_and_gone(world: &World) -> usize {
    let (mut come, mut gone) = (std::collections::BTreeSet::new(), 0);
    for event in world.trace().events() {
        match event {
            Event::Counted { .. } => come.clear(),
            Event::Committed { committed, .. } => {
                gone += committed.settled.iter().filter(|settled| come.contains(&settled.id())).count();
                come.extend(committed.envelopes.iter().map(|envelope| envelope.id));
            }
            _ => {}
        }
    }
    gone
}

#[test]
fn who_runs_ahead_on_real_threads_remembers_what_those_do_who_wait_for_the_disk() {
    let mut never_written = 0;
    for seed in [1, 3] {
        let scenario = brisk(seed);
        let (calm, _) = played(seed, &scenario, &[]);
        let commit = 3 + seed % 9;
        let faults =
            [vec![], vec![Fault::Full(commit, commit + 1)], vec![Fault::CrashAfter(commit)], vec![Fault::Torn(commit)]];
        for faults in faults {
            let told = format!("seed {seed}, {faults:?}");
            let (disk, mut faults) = (MemoryDisk::default(), Some(faults));
            let mut world = World::new(seed).real().between(|store| Box::new(Layered::of(Slow(store))));
            let remembered = world.lives(&scenario, |_| {
                (Box::new(MemoryStore::open(&disk)) as Box<dyn Store>, faults.take().unwrap_or_default())
            });
            let remembered = remembered.unwrap_or_else(|broken| panic!("{told}: {broken}\n{}", world.trace()));
            recovery_equals_life(&calm, &remembered).unwrap_or_else(|broken| panic!("{told}: {broken}"));
            never_written += come_and_gone(&world);
        }
    }
    assert!(never_written > 20, "{never_written} envelopes came and went in one group: nobody ran ahead");
}
