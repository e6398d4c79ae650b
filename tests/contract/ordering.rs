//! Order: first in, first out within a lane; the more urgent lane first; scheduled mail at its time.

use crate::site::{Notes, Plot, note, people, routines};
use std::time::Duration;
use worksite::prelude::*;

#[tokio::test]
async fn mail_of_one_lane_is_performed_in_the_order_it_was_sent() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let sent: Vec<_> = (0..500).map(|index| site.send(note(1, &index.to_string()))).collect();
    let mut ids = Vec::new();
    for sent in sent {
        ids.push(sent.await.unwrap().id);
    }
    assert!(ids.is_sorted());
    site.quiesce().await.unwrap();
    let diary = site.state::<Notes>(1, "diary").await.unwrap().unwrap();
    assert_eq!(diary.texts(), (0..500).map(|index| index.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn urgent_mail_overtakes() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let lanes = [Priority::Low, Priority::Normal, Priority::Urgent, Priority::High, Priority::Urgent];
    for (index, lane) in lanes.into_iter().enumerate() {
        site.send(note(1, &index.to_string()).priority(lane)).await.unwrap();
    }
    site.shutdown().await;
    let site = routines().open(plot.path()).await.unwrap();
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["2", "4", "3", "1", "0"]);
}

#[tokio::test]
async fn scheduled_mail_waits_for_its_moment_also_across_a_restart() {
    let plot = Plot::new();
    let clock = Clock::system();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let soon = clock.now().after(Duration::from_millis(2_000));
    site.send(note(1, "later").not_before(soon)).await.unwrap();
    site.send(note(1, "now")).await.unwrap();
    site.ask::<String>(note(1, "also now")).await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["now", "also now"]);
    site.shutdown().await;
    let site = plot.open().await;
    site.quiesce().await.unwrap();
    assert!(clock.now() >= soon);
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["now", "also now", "later"]);
}

#[tokio::test]
async fn mail_that_expired_before_its_turn_is_a_dead_letter() {
    let plot = Plot::new();
    let clock = Clock::system();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    site.send(note(1, "stale").expires_at(clock.now().after(Duration::from_millis(1_000)))).await.unwrap();
    site.send(note(1, "fresh")).await.unwrap();
    site.shutdown().await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let site = plot.open().await;
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["fresh"]);
    assert!(site.dead_letters(1).await.unwrap()[0].failure.to_string().starts_with("expired"));
}
