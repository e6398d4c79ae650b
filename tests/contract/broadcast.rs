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

#[tokio::test]
async fn a_subscriber_hears_only_what_it_is_interested_in() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let options = |interest| site.subscription(interest);
    let all = Interest::everything;
    let mut by_person = site.subscribe_to(options(all().person(2)));
    let mut by_kind = site.subscribe_to(options(all().kind("report")));
    let mut by_priority = site.subscribe_to(options(all().at_least(Priority::Urgent).processed()));
    let mut by_routine = site.subscribe_to(options(all().routine("forwarder")));
    site.send(note(1, "a").kind("report")).await.unwrap();
    site.send(note(2, "b").priority(Priority::Urgent)).await.unwrap();
    site.send(note(1, "reject").priority(Priority::Urgent)).await.unwrap();
    site.send(Draft::to(3, &Circular { route: vec![] }).unwrap()).await.unwrap();
    site.quiesce().await.unwrap();
    site.shutdown().await;
    assert_eq!(words(&mut by_person).await, ["accepted 2", "settled 2"]);
    assert_eq!(words(&mut by_kind).await, ["accepted 1", "settled 1"]);
    let mut processed = words(&mut by_priority).await;
    processed.sort();
    assert_eq!(processed, ["buried 3", "settled 2"]);
    assert_eq!(words(&mut by_routine).await, ["settled 4"]);
}

async fn words(subscription: &mut Subscription) -> Vec<String> {
    let mut heard = Vec::new();
    while let Some(told) = subscription.next().await {
        heard.push(word(told));
    }
    heard
}

/// Scenario 6: one stalled subscriber out of three; the others and the workers do not notice, and drops are counted.
#[tokio::test]
async fn each_slow_subscriber_is_dealt_with_by_its_own_policy_and_slows_nobody() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let slow =
        |slow| SubscriptionOptions { facts_max: 5, slow, ..site.subscription(Interest::everything().processed()) };
    let mut oldest = site.subscribe_to(slow(Slow::DropOldest));
    let mut newest = site.subscribe_to(slow(Slow::DropNewest));
    let mut cut_off = site.subscribe_to(slow(Slow::Disconnect));
    let mut quick = site.subscribe_to(site.subscription(Interest::everything().processed()));
    for _ in 0..20 {
        site.ask::<String>(note(1, "x")).await.unwrap();
    }
    let counts = |subscription: &Subscription| {
        let report = subscription.report();
        (report.delivered, report.dropped, report.lag)
    };
    // Told beside the answer: wait until the last one has been.
    while quick.report().lag < 20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(counts(&quick), (0, 0, 20));
    assert_eq!((counts(&oldest), counts(&newest)), ((0, 15, 5), (0, 15, 5)));
    assert_eq!(counts(&cut_off), (0, 1, 5), "it is cut off at the first fact it has no room for");
    assert_eq!(site.subscriptions().len(), 3, "and forgotten");
    assert_eq!(
        words(&mut cut_off).await,
        ["missed 1", "settled 1", "settled 2", "settled 3", "settled 4", "settled 5"]
    );
    site.shutdown().await;
    assert_eq!(words(&mut quick).await.len(), 20);
    let heard = |from: i64| (from..from + 5).map(|id| format!("settled {id}"));
    let missed = || std::iter::once("missed 15".to_string());
    assert_eq!(words(&mut oldest).await, missed().chain(heard(16)).collect::<Vec<_>>());
    assert_eq!(words(&mut newest).await, missed().chain(heard(1)).collect::<Vec<_>>());
    assert_eq!(counts(&oldest), (5, 15, 0));
}

#[tokio::test]
async fn a_late_subscriber_hears_what_comes_later_and_one_that_leaves_early_is_forgotten() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let early = site.subscribe();
    site.ask::<String>(note(1, "before")).await.unwrap();
    site.quiesce().await.unwrap();
    let mut late = site.subscribe();
    drop(early);
    site.ask::<String>(note(1, "after")).await.unwrap();
    assert_eq!(word(late.next().await.unwrap()), "accepted 2");
    assert_eq!(word(late.next().await.unwrap()), "settled 2");
    assert_eq!(site.subscriptions().len(), 1);
}
