//! Subscribers hear what has become durable, in commit order, and how much they missed.

use crate::site::{Circular, Plot, note, people, routines};
use worksite::prelude::*;

fn word(told: Told) -> String {
    match told {
        Told::Fact(Fact::Joined { person }) => format!("joined {}", person.id),
        Told::Fact(Fact::Left { person }) => format!("left {person}"),
        Told::Fact(Fact::Accepted { envelope }) => format!("accepted {}", envelope.id),
        Told::Fact(Fact::Settled { envelope, .. }) => format!("settled {}", envelope.id),
        Told::Fact(Fact::Buried { burial, .. }) => format!("buried {}", burial.id()),
        Told::Fact(Fact::Announced { person, announcement }) => format!("{person} {}", announcement.topic),
        Told::Fact(other) => format!("{other:?}"),
        Told::Lagged(missed) => format!("missed {missed}"),
    }
}

#[tokio::test]
async fn facts_are_told_in_commit_order_and_the_stream_ends_with_the_site() {
    let plot = Plot::new();
    let site = plot.open().await;
    let mut told = site.subscribe();
    site.sync([Person::new(1, "ada"), Person::new(2, "grace")]).await.unwrap();
    site.send(Draft::to(1, &Circular { route: vec![2] }).unwrap()).await.unwrap();
    site.quiesce().await.unwrap();
    site.sync([Person::new(1, "ada")]).await.unwrap();
    site.shutdown().await;
    let mut heard = Vec::new();
    while let Some(next) = told.next().await {
        heard.push(word(next));
    }
    assert_eq!(
        heard,
        [
            "joined 1",
            "joined 2",
            "accepted 1",
            "settled 1",
            "accepted 2",
            "1 passed",
            "settled 2",
            "2 passed",
            "left 2"
        ]
    );
}

#[tokio::test]
async fn a_fact_is_durable_when_it_is_told() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let mut told = site.subscribe();
    let _unawaited = site.send(note(1, "hello"));
    let Some(Told::Fact(Fact::Accepted { envelope })) = told.next().await else { panic!("accepted first") };
    // Another connection sees only what is committed.
    let reader =
        rusqlite::Connection::open_with_flags(plot.path(), rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let found: i64 = reader.query_row("SELECT id FROM envelopes", [], |row| row.get(0)).unwrap();
    assert_eq!(found, envelope.id.0);
}

#[tokio::test]
async fn a_slow_subscriber_is_told_how_much_it_missed_and_holds_nobody_up() {
    let plot = Plot::new();
    let limits = Limits { subscriber_facts_max: 8, ..Limits::default() };
    let site = routines().limits(limits).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let mut slow = site.subscribe();
    for _ in 0..50 {
        site.send(note(1, "x")).await.unwrap();
    }
    site.quiesce().await.unwrap();
    site.shutdown().await;
    let (mut missed, mut heard) = (0, 0);
    while let Some(told) = slow.next().await {
        match told {
            Told::Lagged(facts) => missed += facts,
            Told::Fact(_) => heard += 1,
        }
    }
    assert_eq!((missed + heard, heard), (100, 8), "50 accepted and 50 settled");
}

#[tokio::test]
async fn a_closed_site_ends_a_subscription_at_once() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.shutdown().await;
    assert_eq!(site.subscribe().next().await, None);
}
