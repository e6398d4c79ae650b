//! Time: mail for later fires at its time, in order, after a restart too; mail that is of no use any more goes.

use crate::site::{Notes, Plot, note, people, routines};
use std::time::Duration;
use worksite::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_seconds(60 * minutes)
}

async fn open(plot: &Plot, clock: &ManualClock) -> Worksite {
    routines().clock(clock.clock()).open(plot.path()).await.unwrap()
}

async fn texts(site: &Worksite) -> Vec<String> {
    let diary = site.state::<Notes>(1, "diary").await.unwrap().unwrap_or_default();
    diary.0.into_iter().map(|(_, text)| text).collect()
}

/// The seed stored `at_tick` and never fired it.
#[tokio::test]
async fn mail_for_a_tick_fires_in_that_tick_and_not_before() {
    let (plot, clock) = (Plot::new(), ManualClock::new(at(0)));
    let site = open(&plot, &clock).await;
    site.sync(people()).await.unwrap();
    for tick in [5, 3, 8] {
        site.send(note(1, &format!("tick {tick}")).not_before(at(tick))).await.unwrap();
    }
    let mut fired = Vec::new();
    for tick in 1..=10 {
        clock.advance(MINUTE);
        site.rest().await.unwrap();
        let known = texts(&site).await;
        fired.extend(known[fired.len()..].iter().map(|text| (tick, text.clone())).collect::<Vec<_>>());
    }
    let expected = [3, 5, 8].map(|tick| (tick, format!("tick {tick}")));
    assert_eq!(fired, expected);
}

#[tokio::test]
async fn scheduled_mail_survives_a_restart_and_what_was_missed_comes_in_the_order_of_its_moments() {
    let (plot, clock) = (Plot::new(), ManualClock::new(at(0)));
    let site = open(&plot, &clock).await;
    site.sync(people()).await.unwrap();
    for minute in [9, 4, 6, 90] {
        site.send(note(1, &format!("{minute}")).not_before(at(minute))).await.unwrap();
    }
    site.shutdown().await;
    clock.advance(10 * MINUTE);
    let site = open(&plot, &clock).await;
    site.rest().await.unwrap();
    assert_eq!(texts(&site).await, ["4", "6", "9"]);
    assert_eq!(site.message_count(1), 1, "the last one waits for its moment");
    clock.advance(80 * MINUTE);
    site.rest().await.unwrap();
    assert_eq!(texts(&site).await, ["4", "6", "9", "90"]);
}

#[tokio::test]
async fn a_missed_moment_is_made_up_for_or_skipped_as_its_sender_said() {
    let (plot, clock) = (Plot::new(), ManualClock::new(at(0)));
    let site = open(&plot, &clock).await;
    site.sync(people()).await.unwrap();
    let skip = Misfire::Skip { grace: 5 * MINUTE };
    for (text, minute, misfire) in
        [("late", 1, Misfire::Deliver), ("too late", 1, skip), ("just", 16, skip), ("future", 30, skip)]
    {
        site.send(note(1, text).scheduled(at(minute), misfire)).await.unwrap();
    }
    site.shutdown().await;
    clock.advance(20 * MINUTE);
    let site = open(&plot, &clock).await;
    site.rest().await.unwrap();
    assert_eq!(texts(&site).await, ["late", "just"]);
    let dead = site.dead_letters(9).await.unwrap();
    assert_eq!(dead.len(), 1, "what was skipped is seen, and counted");
    assert!(dead[0].failure.to_string().starts_with("expired"));
    clock.advance(10 * MINUTE);
    site.rest().await.unwrap();
    assert_eq!(texts(&site).await, ["late", "just", "future"]);
    assert!(site.tally().await.unwrap().is_conserved());
}

#[tokio::test]
async fn expired_mail_goes_in_bulk_from_manual_inboxes_too() {
    let (plot, clock) = (Plot::new(), ManualClock::new(at(0)));
    let site = Worksite::builder().clock(clock.clock()).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let drafts = (0..3_000).map(|place| match place % 3 {
        0 => note(1, "lasts"),
        _ => note(1, "expires").expires_at(at(2)),
    });
    site.send_all(drafts.collect()).await.unwrap();
    assert_eq!(site.peek(1, usize::MAX).await.unwrap().len(), 3_000);
    clock.advance(3 * MINUTE);
    // Each look buries a bounded number; nothing that has expired is ever handed out.
    for _ in 0..200 {
        if site.message_count(1) == 1_000 {
            break;
        }
        site.peek(1, 1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mail = site.drain(1, usize::MAX).await.unwrap();
    assert!(mail.len() == 1_000 && mail.iter().all(|mail| mail.envelope.draft.expires_at.is_none()));
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.buried, tally.waiting, tally.is_conserved()), (2_000, 1_000, true));
}

/// With the machine's clock nobody has to look: a timer does.
#[tokio::test]
async fn mail_of_an_awake_worker_expires_by_itself() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.pause(1).await.unwrap();
    let soon = Clock::system().now().after(Duration::from_millis(200));
    let error = site.ask::<String>(note(1, "stale").expires_at(soon)).await.unwrap_err();
    assert!(matches!(&error, AskError::Buried(reason) if reason.starts_with("expired")), "{error}");
    assert_eq!(site.message_count(1), 0);
}

#[tokio::test]
async fn a_run_under_a_manual_clock_and_a_seed_is_the_same_twice() {
    let run = || async {
        let (plot, clock) = (Plot::new(), ManualClock::new(at(0)));
        let site = routines().seed(7).clock(clock.clock()).open(plot.path()).await.unwrap();
        site.sync(people()).await.unwrap();
        let mut facts = site.subscribe();
        for tick in 0..20 {
            site.send(note(1 + tick % 3, &format!("{tick}")).not_before(at(tick / 2))).await.unwrap();
            site.send(note(1 + tick % 2, "fail twice")).await.unwrap();
            // The tick ends before the clock moves: else a turn would see the old time or the new one.
            site.rest().await.unwrap();
            clock.advance(MINUTE);
            site.rest().await.unwrap();
        }
        let mut told = Vec::new();
        while let Ok(Some(fact)) = tokio::time::timeout(Duration::from_millis(100), facts.next()).await {
            told.push(format!("{fact:?}"));
        }
        // Workers run beside each other: their facts are the same, whatever their order in one tick.
        told.sort();
        told
    };
    let (first, second) = (run().await, run().await);
    assert!(first.len() > 80);
    let different = first.iter().zip(&second).find(|(first, second)| first != second);
    assert_eq!((different, first.len()), (None, second.len()));
}
