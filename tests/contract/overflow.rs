//! Overflow: what becomes of mail that finds an inbox full. The sender always gets a verdict, and
//! delivered + refused + dropped = sent.

use crate::site::{Meter, Note, Plot, note, people};
use std::time::Duration;
use worksite::prelude::*;

async fn manual(plot: &Plot, envelopes_max: usize, overflow: Overflow) -> Worksite {
    let policy = InboxPolicy { envelopes_max, overflow, ..InboxPolicy::of(&Limits::default()) };
    let site = Worksite::builder().inboxes(move |_| policy).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site
}

fn texts(mail: &[worksite::model::Delivery]) -> Vec<String> {
    mail.iter().map(|mail| mail.envelope.draft.payload.decode::<Note>().unwrap().0).collect()
}

#[tokio::test]
async fn reject_gives_the_draft_back_at_once_and_counts_it() {
    let plot = Plot::new();
    let site = manual(&plot, 2, Overflow::Reject).await;
    for _ in 0..2 {
        site.send(note(1, "in")).await.unwrap();
    }
    let error = site.send(note(1, "out")).await.unwrap_err();
    assert!(matches!(error, SendError::Overloaded { limit: "inbox_envelopes_max", .. }), "{error}");
    assert_eq!((error.advice(), error.into_drafts().len()), (Advice::RetryLater, 1));
    let report = site.inbox(1).unwrap();
    assert_eq!((report.waiting, report.refused, report.dropped), (2, 1, 0));
}

#[tokio::test]
async fn who_waits_gets_room_in_order_or_a_verdict_at_the_deadline() {
    let plot = Plot::new();
    let site = manual(&plot, 1, Overflow::WaitFor(Duration::from_millis(400))).await;
    let first = site.send(note(1, "first")).await.unwrap();
    let second = site.send(note(1, "second"));
    let third = site.send(note(1, "third"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(site.inbox(1).unwrap().parked, 2);
    site.acknowledge(vec![first.id]).await.unwrap();
    assert_eq!(second.await.unwrap().id, EnvelopeId(2), "who came first is served first");
    let error = third.await.unwrap_err();
    assert!(matches!(error, SendError::Overloaded { limit: "inbox_envelopes_max", .. }), "{error}");
    assert_eq!(error.into_drafts(), [note(1, "third")]);
    let report = site.inbox(1).unwrap();
    assert_eq!((report.waiting, report.parked, report.refused), (1, 0, 1));
}

#[tokio::test]
async fn who_waits_without_a_deadline_gets_room_in_the_end_and_nobody_overtakes() {
    let plot = Plot::new();
    let site = manual(&plot, 3, Overflow::Wait).await;
    let sent: Vec<_> = (0..40).map(|index| site.send(note(1, &format!("{index:02}")))).collect();
    let mut taken = Vec::new();
    while taken.len() < 40 {
        let mail = site.drain(1, 2).await.unwrap();
        assert!(site.message_count(1) <= 3);
        taken.extend(texts(&mail));
        site.acknowledge(mail.iter().map(|mail| mail.id()).collect()).await.unwrap();
    }
    for sent in sent {
        sent.await.unwrap();
    }
    assert!(taken.is_sorted(), "{taken:?}");
}

#[tokio::test]
async fn drop_oldest_lets_the_newest_in_and_the_oldest_of_the_lowest_lane_go() {
    let plot = Plot::new();
    let site = manual(&plot, 3, Overflow::DropOldest).await;
    site.send(note(1, "urgent").priority(Priority::Urgent)).await.unwrap();
    for index in 0..10 {
        site.send(note(1, &index.to_string())).await.unwrap();
    }
    site.rest().await.unwrap();
    assert_eq!(texts(&site.peek(1, 9).await.unwrap()), ["urgent", "8", "9"]);
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.dropped, tally.waiting, tally.is_conserved()), (11, 8, 3, true));
    assert_eq!(site.inbox(1).unwrap().dropped, 8);
    site.shutdown().await;
    let site = manual(&plot, 3, Overflow::DropOldest).await;
    assert_eq!(texts(&site.drain(1, 9).await.unwrap()), ["urgent", "8", "9"], "memory and disk agree");
}

#[tokio::test]
async fn drop_newest_tells_the_sender_and_spares_a_routine() {
    let plot = Plot::new();
    let policy = |person: &Person| {
        let overflow = if person.name == "grace" { Overflow::DropNewest } else { Overflow::Reject };
        let envelopes_max = if person.name == "grace" { 1 } else { 1_000 };
        InboxPolicy { envelopes_max, overflow, ..InboxPolicy::of(&Limits::default()) }
    };
    let site = crate::site::routines().inboxes(policy).manual(|person| person.name == "grace");
    let site = site.open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send(note(2, "kept")).await.unwrap();
    let error = site.send(note(2, "dropped")).await.unwrap_err();
    assert!(matches!(error, SendError::Dropped { person: PersonId(2), .. }));
    assert_eq!(error.advice(), Advice::CarryOn);
    site.send(Draft::to(1, &crate::site::Circular { route: vec![2] }).unwrap()).await.unwrap();
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<u64>(1, "forwarder").await.unwrap(), Some(1), "the turn counts");
    assert_eq!(
        (site.inbox(2).unwrap().dropped, texts(&site.drain(2, 9).await.unwrap())),
        (2, vec!["kept".to_string()])
    );
}

#[tokio::test]
async fn an_inbox_is_bounded_in_bytes_and_a_single_large_letter_may_still_enter() {
    let plot = Plot::new();
    let policy = InboxPolicy { bytes_max: 1_000, ..InboxPolicy::of(&Limits::default()) };
    let site = Worksite::builder().inboxes(move |_| policy).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let large = "x".repeat(4_000);
    let receipt = site.send(note(1, &large)).await.unwrap();
    let error = site.send(note(1, "x")).await.unwrap_err();
    assert!(matches!(error, SendError::Overloaded { limit: "inbox_bytes_max", .. }));
    site.acknowledge(vec![receipt.id]).await.unwrap();
    for _ in 0..3 {
        site.send(note(1, &"x".repeat(300))).await.unwrap();
    }
    assert!(site.send(note(1, &"x".repeat(300))).await.is_err());
    assert_eq!(site.inbox(1).unwrap().bytes, 3 * 303);
    // The count is right after a restart too.
    site.shutdown().await;
    let site = Worksite::builder().inboxes(move |_| policy).open(plot.path()).await.unwrap();
    assert_eq!((site.inbox(1).unwrap().bytes, site.inbox(1).unwrap().waiting), (909, 3));
    assert!(site.send(note(1, &"x".repeat(300))).await.is_err());
    assert_eq!(site.remove_by(1, Filter::all()).await.unwrap(), 3);
    assert_eq!(site.inbox(1).unwrap().bytes, 0);
}

#[tokio::test]
async fn the_whole_site_is_bounded_too() {
    let plot = Plot::new();
    let limits = Limits { site_envelopes_max: 5, ..Limits::default() };
    let site = Worksite::builder().limits(limits).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    for index in 0..5 {
        site.send(note(1 + index % 3, "x")).await.unwrap();
    }
    let error = site.send(note(2, "x")).await.unwrap_err();
    assert!(matches!(error, SendError::Overloaded { limit: "site_envelopes_max", .. }), "{error}");
    site.drain(1, 9).await.unwrap();
    site.acknowledge(vec![EnvelopeId(1)]).await.unwrap();
    site.send(note(2, "x")).await.unwrap();
}

/// Scenario 5: whatever the policy, every sender gets a verdict and the counts add up.
#[tokio::test(flavor = "multi_thread")]
async fn delivered_and_refused_and_dropped_make_up_what_was_sent() {
    let wait = Overflow::WaitFor(Duration::from_millis(30));
    for overflow in [Overflow::Reject, wait, Overflow::Wait, Overflow::DropOldest, Overflow::DropNewest] {
        let plot = Plot::new();
        let site = manual(&plot, 5, overflow).await;
        let (delivered, sender) = (Meter::default(), Meter::default());
        let all_sent = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let taker = {
            let (site, delivered, all_sent) = (site.clone(), delivered.clone(), all_sent.clone());
            tokio::spawn(async move {
                while site.message_count(1) > 0 || !all_sent.load(std::sync::atomic::Ordering::SeqCst) {
                    let mail = site.drain(1, 3).await.unwrap();
                    let ids: Vec<_> = mail.iter().map(|mail| mail.id()).collect();
                    for _ in 0..site.acknowledge(ids).await.unwrap() {
                        delivered.tick();
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        };
        let senders: Vec<_> = (0..300)
            .map(|_| {
                let (site, sender) = (site.clone(), sender.clone());
                tokio::spawn(async move {
                    let verdict = site.send(note(1, "x")).await;
                    sender.tick();
                    match verdict {
                        Ok(_) => 0,
                        Err(SendError::Overloaded { .. } | SendError::Dropped { .. }) => 1,
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        let mut turned_away = 0;
        for sender in senders {
            turned_away += sender.await.unwrap();
        }
        all_sent.store(true, std::sync::atomic::Ordering::SeqCst);
        taker.await.unwrap();
        let report = site.inbox(1).unwrap();
        let sum = delivered.count() as u64 + report.refused + report.dropped;
        assert_eq!((sum, sender.count()), (300, 300), "{overflow:?}: {report:?}");
        let tally = site.tally().await.unwrap();
        assert_eq!(tally.accepted + turned_away, 300, "{overflow:?}");
        assert!(tally.is_conserved() && report.bytes == 0 && report.parked == 0, "{overflow:?}: {tally:?}");
    }
}

#[tokio::test]
async fn senders_that_wait_hear_when_the_house_closes() {
    let plot = Plot::new();
    let site = manual(&plot, 1, Overflow::Wait).await;
    site.send(note(1, "in")).await.unwrap();
    let waiting = site.send(note(1, "waits"));
    tokio::time::sleep(Duration::from_millis(30)).await;
    site.shutdown().await;
    let error = waiting.await.unwrap_err();
    assert!(matches!(error, SendError::Stopped { .. }), "{error}");
    assert_eq!(error.into_drafts().len(), 1, "and get back what they sent");
}

/// Grace takes one and drops what is newer; the others let senders wait, at most so long.
async fn grace_is_strict(plot: &Plot) -> Worksite {
    let policy = |person: &Person| {
        let strict = person.name == "grace";
        let overflow = if strict { Overflow::DropNewest } else { Overflow::WaitFor(Duration::from_millis(200)) };
        InboxPolicy { envelopes_max: if strict { 1 } else { 2 }, overflow, ..InboxPolicy::of(&Limits::default()) }
    };
    let site = Worksite::builder().inboxes(policy).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site
}

#[tokio::test]
async fn what_is_turned_away_counts_with_each_of_its_recipients_whenever_that_happens() {
    let plot = Plot::new();
    let site = grace_is_strict(&plot).await;
    let counts = |person: i64| {
        let report = site.inbox(person).unwrap();
        (report.refused, report.dropped)
    };
    let kept = site.send_all(vec![note(2, "kept"), note(1, "kept"), note(1, "kept")]).await.unwrap();
    // At once, because grace drops what is new.
    let together = || vec![note(2, "new"), note(1, "new")];
    let error = site.send_all(together()).await.unwrap_err();
    assert!(matches!(error, SendError::Dropped { person: PersonId(2), .. }), "{error}");
    assert_eq!((counts(1), counts(2)), ((1, 0), (0, 1)));
    // At the deadline, because nobody makes room for ada.
    let mut turned = together();
    turned.reverse();
    let error = site.send_all(turned.clone()).await.unwrap_err();
    assert!(matches!(error, SendError::Overloaded { limit: "inbox_envelopes_max", .. }), "{error}");
    assert_eq!((counts(1), counts(2)), ((2, 0), (1, 1)));
    // From the line, because there is room with ada by then, and none with grace.
    let waits = site.send_all(turned);
    site.acknowledge(vec![kept[1].id]).await.unwrap();
    let error = waits.await.unwrap_err();
    assert!(matches!(error, SendError::Dropped { person: PersonId(2), .. }), "{error}");
    assert_eq!((counts(1), counts(2)), ((3, 0), (1, 2)));
}
