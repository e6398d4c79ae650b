//! Failure: panics are isolated, failures retried, poison buried; neighbours are not harmed.

use crate::site::{Errand, Notes, Plot, Task, note, people, routines};
use std::time::Duration;
use worksite::prelude::*;

#[tokio::test]
async fn a_panicking_routine_harms_only_its_own_envelope() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let texts = ["a", "b", "panic", "c", "fail", "d", "reject", "e"];
    site.send_all(texts.iter().map(|text| note(1, text)).collect()).await.unwrap();
    site.quiesce().await.unwrap();
    let diary = site.state::<Notes>(1, "diary").await.unwrap().unwrap();
    assert_eq!(diary.texts(), ["a", "b", "c", "d", "e"]);
    let dead = site.dead_letters(10).await.unwrap();
    let mut reasons: Vec<_> = dead.iter().map(|dead| (dead.delivery.attempt, dead.failure.to_string())).collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            (1, "failed: as the note says".to_string()),
            (3, "failed: as the note says".to_string()),
            (3, "panicked: as the note says".to_string())
        ]
    );
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.settled, tally.buried, tally.is_conserved()), (5, 3, true));
}

#[tokio::test]
async fn a_retried_delivery_really_runs_again_and_its_attempt_survives_a_restart() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    assert_eq!(site.ask::<String>(note(1, "fail twice")).await.unwrap(), "fail twice");
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().0.len(), 1, "failed attempts leave no state");
}

#[tokio::test]
async fn a_routine_that_runs_too_long_is_ended_and_buried() {
    let plot = Plot::new();
    let limits = Limits { routine_time_ms_max: 1_000, ..Limits::default() };
    let site = Worksite::builder().async_routine(Errand).limits(limits).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let error = site.ask::<u64>(Draft::to(1, &Task { ms: 60_000 }).unwrap()).await.unwrap_err();
    assert!(matches!(&error, AskError::Buried(reason) if reason.starts_with("ran too long")), "{error}");
    assert_eq!(site.ask::<u64>(Draft::to(1, &Task { ms: 0 }).unwrap()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_crashed_worker_is_rebuilt_from_the_store() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.ask::<String>(note(1, "before")).await.unwrap();
    site.crash_worker(1);
    let sent: Vec<_> = (0..20).map(|index| site.send(note(1, &format!("during {index}")))).collect();
    for sent in sent {
        sent.await.unwrap();
    }
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().0.len(), 21);
}

#[tokio::test]
async fn a_worker_that_crashes_too_often_is_left_alone_and_loses_nothing() {
    let plot = Plot::new();
    let limits = Limits { restarts_max: 1, restart_window_ms: 700, ..Limits::default() };
    let site = routines().limits(limits).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    for _ in 0..4 {
        site.crash_worker(1);
        site.send(note(1, "x")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().0.len(), 4);
}

#[tokio::test]
async fn an_idle_worker_goes_and_comes_back_with_its_state() {
    let plot = Plot::new();
    let limits = Limits { worker_idle_ms_max: 40, ..Limits::default() };
    let site = routines().limits(limits).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.ask::<String>(note(1, "one")).await.unwrap();
    site.send_volatile(note(1, "two")).unwrap();
    for _ in 0..2_000 {
        if site.awake().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(site.awake().is_empty());
    site.ask::<String>(note(1, "three")).await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["one", "two", "three"]);
}

/// Found by the simulation: a worker that crashed while it had nothing to do was never started again.
#[tokio::test]
async fn a_worker_that_crashed_while_idle_wakes_up_for_its_next_mail() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.ask::<String>(note(1, "before")).await.unwrap();
    site.crash_worker(1);
    // Longer than the back-off, shorter than the window in which crashes are counted.
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(site.ask::<String>(note(1, "after")).await.unwrap(), "after");
}
