//! Failing power on a real file: the write-ahead log ends anywhere after what was acknowledged, or in rubbish.

use super::{lives, played, small_scenario, sqlite};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use worksite_model::{Change, Store, StoreError, Timestamp, Verdict, chance};
use worksite_simulation::{Layer, Layered, PowerDisk, Weather, World};

/// Copies the file as the machine's disk may have it when the power fails during a commit: everything up to the commit
/// before, and any part of what this one has written.
struct TornFile {
    store: Box<dyn Store>,
    path: PathBuf,
    image: PathBuf,
    commits: u64,
    fails_at: u64,
    seed: u64,
    failed: Arc<Mutex<bool>>,
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

impl Layer for TornFile {
    fn below(&mut self) -> Result<&mut dyn Store, StoreError> {
        if *self.failed.lock().unwrap() {
            return Err(StoreError::Closed("there is no power".into()));
        }
        Ok(self.store.as_mut())
    }

    fn commit(&mut self, batch: &[Change], at: Timestamp) -> Result<Vec<Verdict>, StoreError> {
        self.below()?;
        self.commits += 1;
        if self.commits != self.fails_at {
            return self.store.commit(batch, at);
        }
        // The log only grows between two checkpoints, and these scenarios are too short for one.
        let (file, before) = (fs::read(&self.path).unwrap(), fs::read(log_of(&self.path)).unwrap_or_default());
        self.store.commit(batch, at)?;
        *self.failed.lock().unwrap() = true;
        assert_eq!(file, fs::read(&self.path).unwrap(), "a checkpoint came in between");
        let mut log = fs::read(log_of(&self.path)).unwrap();
        assert!(log.starts_with(&before) && log.len() > before.len(), "the log was begun anew");
        let written = log.len() - before.len();
        log.truncate(before.len() + (chance(self.seed, &[1]) as usize) % written);
        for (place, byte) in log.iter_mut().enumerate().skip(before.len()).skip(written / 2) {
            *byte = chance(self.seed, &[2, place as i64]) as u8;
        }
        fs::write(&self.image, &file).unwrap();
        fs::write(log_of(&self.image), &log).unwrap();
        Err(StoreError::Unknown("the power failed".into()))
    }
}

#[test]
fn a_log_torn_by_failing_power_at_any_commit_keeps_all_that_was_acknowledged() {
    let scenario = small_scenario();
    let (calm, _) = played(1, &scenario, &[]);
    for fails_at in 1.. {
        let folder = tempfile::tempdir().unwrap();
        let (path, image) = (folder.path().join("site.db"), folder.path().join("image.db"));
        let failed = Arc::new(Mutex::new(false));
        let mut world = World::new(1);
        let remembered = world.lives(&scenario, |life| {
            let (store, _) = sqlite(if life == 0 { &path } else { &image }, vec![]);
            let torn = TornFile {
                store,
                path: path.clone(),
                image: image.clone(),
                commits: 0,
                fails_at: if life == 0 { fails_at } else { u64::MAX },
                seed: fails_at,
                failed: if life == 0 { failed.clone() } else { Arc::default() },
            };
            (Box::new(Layered::of(torn)), Weather::default())
        });
        let remembered = remembered.unwrap_or_else(|broken| panic!("commit {fails_at}: {broken}\n{}", world.trace()));
        assert_eq!(remembered, calm, "commit {fails_at}");
        assert!(length(&path) > 0);
        if !*failed.lock().unwrap() {
            assert!(fails_at > 10 && lives(&world) == 1);
            break;
        }
    }
}

#[test]
fn power_that_fails_at_any_commit_loses_nothing_when_each_is_synced_and_whole_commits_when_not() {
    let scenario = small_scenario();
    let (calm, _) = played(1, &scenario, &[]);
    for sync_every in [1, 3, 7] {
        for fails_at in 1..14 {
            let (mut world, disk) = (World::new(1), PowerDisk::new(sync_every));
            let remembered = world.lives(&scenario, |life| {
                let weather = Weather { forgets: sync_every > 1 && life > 0, ..Weather::default() };
                (Box::new(disk.open((life == 0).then_some(fails_at))), weather)
            });
            let remembered = remembered.unwrap_or_else(|broken| panic!("{sync_every}, {fails_at}: {broken}"));
            assert_eq!((remembered, lives(&world)), (calm.clone(), 2), "{sync_every}, {fails_at}");
        }
    }
}
