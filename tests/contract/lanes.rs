//! Lanes: four priorities and one for control; first in first out inside each; no wake-up is lost; nobody starves.

use crate::site::{Note, Notes, Plot, note, people, routines};
use std::time::Duration;
use worksite::prelude::*;

const LANES: [Priority; 5] = [Priority::Low, Priority::Normal, Priority::High, Priority::Urgent, Priority::Control];

/// Seed 004 parked on its highest lane alone: five normal messages to an idle runtime were never processed.
#[tokio::test(flavor = "multi_thread")]
async fn normal_mail_to_an_idle_worker_is_taken_at_once_at_any_mix_under_a_thousand_senders() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    for _ in 0..5 {
        assert_eq!(site.ask::<String>(note(1, "x")).await.unwrap(), "x");
    }
    let senders = (0..1_000_usize).map(|sender| {
        let site = site.clone();
        tokio::spawn(async move { site.ask::<String>(note(1, "y").priority(LANES[sender % 5])).await })
    });
    for sender in senders.collect::<Vec<_>>() {
        assert_eq!(sender.await.unwrap().unwrap(), "y");
    }
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.settled, tally.waiting), (1_005, 0));
}

#[tokio::test]
async fn higher_lanes_go_first_and_each_lane_is_first_in_first_out() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let drafts = (0..50_usize).map(|place| note(1, &format!("{place:02}")).priority(LANES[place % 5]));
    site.send_all(drafts.collect()).await.unwrap();
    let mail = site.drain(1, 99).await.unwrap();
    let order: Vec<_> = mail.iter().map(|mail| (mail.envelope.draft.priority, mail.id().0)).collect();
    let mut expected = order.clone();
    expected.sort_by_key(|(priority, id)| (std::cmp::Reverse(*priority), *id));
    assert_eq!(order, expected);
    assert_eq!(Draft::to(1, &Note("x".into())).unwrap().priority, Priority::Normal, "who says nothing is normal");
}

/// Mail is sent while a routine holds the worker, so that all of it competes.
#[tokio::test]
async fn urgent_mail_overtakes_what_waits() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.pause(1).await.unwrap();
    for (text, priority) in [("low", Priority::Low), ("normal", Priority::Normal), ("urgent", Priority::Urgent)] {
        site.send(note(1, text).priority(priority)).await.unwrap();
    }
    site.resume(1).await.unwrap();
    site.quiesce().await.unwrap();
    let diary = site.state::<Notes>(1, "diary").await.unwrap().unwrap();
    assert_eq!(diary.texts(), ["urgent", "normal", "low"]);
}

/// An endless stream of urgent mail: with strict lanes low mail waits for ever, with ageing it does not.
#[tokio::test]
async fn low_mail_is_taken_in_the_end_when_lanes_age() {
    for (ageing, passed) in [(Ageing::Never, false), (Ageing::Step(Duration::from_secs(60)), true)] {
        let (plot, clock) = (Plot::new(), ManualClock::new(Timestamp::from_seconds(0)));
        let site = Worksite::builder()
            .clock(clock.clock())
            .inboxes(move |_| InboxPolicy { ageing, ..InboxPolicy::of(&Limits::default()) })
            .open(plot.path())
            .await
            .unwrap();
        site.sync(people()).await.unwrap();
        let low = site.send(note(1, "low").priority(Priority::Low)).await.unwrap().id;
        let mut taken = Vec::new();
        for _minute in 0..10 {
            site.send_all(vec![note(1, "u").priority(Priority::Urgent); 2]).await.unwrap();
            let mail = site.drain(1, 1).await.unwrap();
            site.acknowledge(vec![mail[0].id()]).await.unwrap();
            taken.push(mail[0].id());
            clock.advance(Duration::from_secs(60));
        }
        assert_eq!(taken.contains(&low), passed, "{ageing:?}");
    }
}

#[tokio::test]
async fn the_control_lane_is_never_refused_or_dropped_and_is_heard_while_its_worker_rests() {
    for overflow in [Overflow::Reject, Overflow::DropNewest, Overflow::DropOldest] {
        let plot = Plot::new();
        let policy = InboxPolicy { envelopes_max: 2, overflow, ..InboxPolicy::of(&Limits::default()) };
        let site = routines().inboxes(move |_| policy).open(plot.path()).await.unwrap();
        site.sync(people()).await.unwrap();
        site.pause(1).await.unwrap();
        for _ in 0..6 {
            let _verdict = site.send(note(1, "common")).await;
        }
        for index in 0..10 {
            let control = note(1, &format!("control {index}")).priority(Priority::Control);
            assert_eq!(site.ask::<String>(control).await.unwrap(), format!("control {index}"), "{overflow:?}");
        }
        assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().0.len(), 10, "and nothing else was");
        assert!(site.message_count(1) <= 2, "{overflow:?}");
    }
}
