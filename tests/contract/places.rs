//! Where a site runs: under tokio, under actix, in a plain main, and on one thread under a paused clock.

use crate::site::{Notes, Plot, note, people, routines};
use std::time::Duration;
use worksite::prelude::*;

async fn a_life(site: Worksite) {
    site.sync(people()).await.unwrap();
    assert_eq!(site.ask::<String>(note(1, "hello")).await.unwrap(), "hello");
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["hello"]);
    site.shutdown().await;
}

#[test]
fn a_site_runs_in_a_plain_main() {
    let plot = Plot::new();
    worksite::block_on(async { a_life(plot.open().await).await });
    // The file is free: the shutdown has closed it.
    worksite::block_on(async { plot.open().await.shutdown().await });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_runs_under_tokio() {
    let plot = Plot::new();
    a_life(plot.open().await).await;
}

#[actix::test]
async fn a_site_runs_under_actix() {
    let plot = Plot::new();
    a_life(plot.open().await).await;
}

#[test]
fn a_site_runs_on_one_thread_under_a_paused_clock() {
    let plot = Plot::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let clock = Clock::tokio(Timestamp::from_seconds(1_000));
        let site = routines().clock(clock.clone()).open_local(plot.path()).await.unwrap();
        site.sync(people()).await.unwrap();
        // A day of virtual time passes at once.
        let tomorrow = clock.now().after(Duration::from_secs(86_400));
        let answer = site.ask::<String>(note(1, "tomorrow").not_before(tomorrow));
        assert_eq!(answer.await.unwrap(), "tomorrow");
        assert!(clock.now() >= tomorrow);
        site.shutdown().await;
    });
}

#[test]
fn a_site_whose_handles_are_dropped_lets_the_file_go_and_loses_nothing() {
    let plot = Plot::new();
    worksite::block_on(async {
        let site = plot.open().await;
        site.sync(people()).await.unwrap();
        site.send(note(1, "kept")).await.unwrap();
        drop(site);
        let site = loop {
            match routines().open(plot.path()).await {
                Ok(site) => break site,
                Err(error) => assert!(error.to_string().contains("lock"), "{error}"),
            }
        };
        site.quiesce().await.unwrap();
        assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["kept"]);
        site.shutdown().await;
    });
}

#[tokio::test]
async fn a_closed_site_says_so_and_gives_drafts_back() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.shutdown().await;
    let error = site.send(note(1, "late")).await.unwrap_err();
    assert_eq!((error.advice(), error.into_drafts().len()), (Advice::StopSending, 1));
    assert!(matches!(site.tally().await.unwrap_err(), DeskError::Stopped));
    assert!(matches!(site.quiesce().await.unwrap_err(), DeskError::Stopped));
    assert!(site.sync(people()).await.is_err());
    site.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_routines_but_not_beyond_its_deadline() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let quick = site.ask::<u64>(Draft::to(1, &crate::site::Task { ms: 100 }).unwrap().key("quick"));
    site.send(Draft::to(2, &crate::site::Task { ms: 3_600_000 }).unwrap()).await.unwrap();
    site.shutdown_within(Duration::from_secs(4)).await;
    assert!(matches!(quick.await, Err(AskError::Stopped) | Ok(1)));
    let site = Worksite::open(plot.path()).await.unwrap();
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.settled, tally.waiting), (1, 1), "the long errand waits for the next life");
}
