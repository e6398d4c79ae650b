//! The seed of an office decides what happens in it: not the store, not the number of threads, not where it was interrupted
//! (scenario 25 of the seeds: the same trace twice).

use super::*;
use worksite_model::chance;

async fn whole(seed: u64, tick: u64) -> Office {
    let mut office = in_memory(&MemoryDisk::default(), charter(seed)).await;
    run(&mut office, tick).await;
    office
}

#[tokio::test]
async fn the_same_seed_gives_the_same_digest_and_another_seed_another() {
    let first = whole(7, 2 * DAY).await;
    let transcript = first.transcript().await.unwrap();
    assert!(transcript.mail().count() > 50, "{} mails", transcript.mail().count());
    assert_eq!(digest(&whole(7, 2 * DAY).await).await, transcript.digest());
    assert_ne!(digest(&whole(8, 2 * DAY).await).await, transcript.digest());
}

#[tokio::test]
async fn one_thread_and_two_and_either_store_give_the_same_digest() {
    let expected = digest(&whole(7, DAY).await).await;
    let folder = tempfile::tempdir().unwrap();
    let mut on_file = on_file(&folder.path().join("two.db"), charter(7)).await;
    run(&mut on_file, DAY).await;
    assert_eq!(digest(&on_file).await, expected, "the writer on a thread of its own");
    on_file.runtime().shutdown().await;
    let path = folder.path().join("one.db");
    let one_thread = tokio::task::LocalSet::new();
    let found = one_thread
        .run_until(async {
            let clock = ManualClock::default();
            let store = SqliteStore::open(&path, SqliteOptions::default()).unwrap();
            let runtime = house(&clock).start_local(Box::new(store)).await.unwrap();
            let mut office = Office::open(runtime, clock, charter(7)).await.unwrap();
            run(&mut office, DAY).await;
            let found = digest(&office).await;
            office.runtime().shutdown().await;
            found
        })
        .await;
    assert_eq!(found, expected, "everything on one thread");
}

#[tokio::test]
async fn an_office_that_is_opened_again_and_again_comes_to_the_same() {
    let expected = digest(&whole(7, DAY).await).await;
    let disk = MemoryDisk::default();
    let mut tick = 0;
    for life in 0.. {
        tick = DAY.min(tick + 1 + chance(7, &[life]) % 60);
        let mut office = in_memory(&disk, charter(7)).await;
        run(&mut office, tick).await;
        if tick == DAY {
            assert_eq!(digest(&office).await, expected);
            return;
        }
        office.runtime().shutdown().await;
    }
}

/// What enters after a restart enters where the run had come to, not where something happened last.
#[tokio::test]
async fn an_office_that_is_opened_again_is_where_it_was() {
    let disk = MemoryDisk::default();
    for tick in [3, 59, 200, 201, DAY, DAY + 1] {
        let mut office = in_memory(&disk, charter(7)).await;
        run(&mut office, tick).await;
        office.runtime().shutdown().await;
        let mut office = in_memory(&disk, charter(7)).await;
        assert_eq!(office.tick(), tick);
        let row = office.enter(worksite_simulation::office::Input::ClearOverride { person: 1 }).await.unwrap();
        assert_eq!(row.tick, tick);
        office.runtime().shutdown().await;
    }
}

#[tokio::test]
async fn a_site_with_another_office_is_refused() {
    let disk = MemoryDisk::default();
    let office = in_memory(&disk, charter(7)).await;
    office.runtime().shutdown().await;
    let clock = ManualClock::default();
    let runtime = house(&clock).start(Box::new(MemoryStore::open(&disk))).await.unwrap();
    let refused = Office::open(runtime, clock, charter(8)).await.unwrap_err();
    assert!(refused.to_string().contains("founded otherwise"), "{refused}");
}

/// Seed 000 went through every tick of the night; here what is idle costs nothing.
#[tokio::test]
async fn ticks_in_which_nothing_happens_are_passed_over() {
    let mut office = in_memory(&MemoryDisk::default(), charter(7)).await;
    let mut ticks = Vec::new();
    let watch = |_: &Office, progress: &worksite_simulation::office::Progress| {
        ticks.push(progress.tick);
        true
    };
    office.run_to(7 * DAY, &Planning::default(), watch).await.unwrap();
    let weekend = ticks.iter().filter(|tick| **tick >= 5 * DAY).count();
    assert!(weekend < 40, "{weekend} ticks of the weekend");
    assert!(ticks.len() < 5 * DAY as usize, "{} ticks of the week", ticks.len());
    assert!(ticks.is_sorted());
    assert_eq!(office.tick(), 7 * DAY);
}
