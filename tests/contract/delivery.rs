//! What is sent is delivered and settled, once, with all its effects.

use crate::site::{Circular, Meter, Note, Notes, Plot, note, people, routines};
use worksite::prelude::*;

#[tokio::test]
async fn mail_is_settled_with_its_state() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let receipt = site.send(note(1, "hello")).await.unwrap();
    assert!(!receipt.known);
    site.quiesce().await.unwrap();
    let diary = site.state::<Notes>(1, "diary").await.unwrap().unwrap();
    assert_eq!(diary.0, [(receipt.id.0, "hello".to_string())]);
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.settled, tally.waiting), (1, 1, 0));
}

#[tokio::test]
async fn mail_sent_to_an_idle_site_by_many_at_once_is_all_settled() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let senders = (0..200).map(|sender| {
        let site = site.clone();
        tokio::spawn(async move {
            for index in 0..10 {
                site.send(note(1 + (sender + index) % 3, "hi").priority(Priority::ALL[(index % 4) as usize]))
                    .await
                    .unwrap();
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    site.quiesce().await.unwrap();
    let mut taken = 0;
    for person in people() {
        taken += site.state::<Notes>(person.id, "diary").await.unwrap().unwrap().0.len();
    }
    let tally = site.tally().await.unwrap();
    assert_eq!((taken, tally.settled), (2000, 2000));
    assert!(tally.is_conserved());
}

#[tokio::test]
async fn a_worker_writes_to_another_in_the_commit_that_settles_its_own_mail() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.send(Draft::to(1, &Circular { route: vec![2, 3, 1, 2] }).unwrap()).await.unwrap();
    site.quiesce().await.unwrap();
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.settled), (5, 5));
    assert_eq!(site.state::<u64>(2, "forwarder").await.unwrap(), Some(2));
}

#[tokio::test]
async fn drafts_sent_together_are_accepted_together_or_not_at_all() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let error = site.send_all(vec![note(1, "a"), note(99, "b")]).await.unwrap_err();
    assert_eq!(error.advice(), Advice::FixRequest);
    assert_eq!(error.into_drafts().len(), 2);
    assert_eq!((site.message_count(1), site.tally().await.unwrap().accepted), (0, 0));
    let receipts = site.send_all(vec![note(1, "a"), note(2, "b")]).await.unwrap();
    assert_eq!(receipts[1].id.0, receipts[0].id.0 + 1);
    assert!(site.send_all(vec![]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_draft_sent_again_under_its_key_is_one_message() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let first = site.send(note(1, "once").key("order 7")).await.unwrap();
    let again = site.send(note(1, "once").key("order 7")).await.unwrap();
    assert_eq!((first.known, again.known, again.id), (false, true, first.id));
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["once"]);
    assert_eq!(site.message_count(1), 0);
}

#[tokio::test]
async fn an_ask_is_answered_after_its_commit_and_under_its_key_also_after_a_restart() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let asked = note(1, "what").key("question");
    assert_eq!(site.ask::<String>(asked.clone()).await.unwrap(), "what");
    site.shutdown().await;
    let site = plot.open().await;
    assert_eq!(site.ask::<String>(asked).await.unwrap(), "what");
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["what"]);
}

#[tokio::test]
async fn all_who_ask_under_one_key_get_the_one_answer() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let asked: Vec<_> = (0..10).map(|_| site.ask::<String>(note(1, "what").key("question"))).collect();
    for asked in asked {
        assert_eq!(asked.await.unwrap(), "what");
    }
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().0.len(), 1);
}

#[tokio::test]
async fn an_ask_for_what_is_buried_or_unanswered_says_so() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let buried = site.ask::<String>(note(1, "reject")).await.unwrap_err();
    assert!(matches!(&buried, AskError::Buried(reason) if reason.contains("as the note says")), "{buried}");
    let silent = site.ask::<u64>(Draft::to(1, &Circular { route: vec![] }).unwrap()).await.unwrap_err();
    assert!(matches!(silent, AskError::NoReply));
    let other = site.ask::<u64>(note(1, "text")).await.unwrap_err();
    assert!(matches!(other, AskError::Payload(_)));
}

#[tokio::test]
async fn an_asynchronous_routine_waits_without_holding_up_others() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let slow = site.ask::<u64>(Draft::to(1, &crate::site::Task { ms: 2_000 }).unwrap());
    assert_eq!(site.ask::<String>(note(2, "quick")).await.unwrap(), "quick");
    assert_eq!(site.state::<u64>(1, "errand").await.unwrap(), None, "the slow one has not ended");
    assert_eq!(slow.await.unwrap(), 1);
}

#[tokio::test]
async fn a_volatile_draft_is_performed_but_never_written() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    // An awake worker hears in the order of sending; one that sleeps is read from the store first.
    site.ask::<String>(note(1, "awake")).await.unwrap();
    site.send_volatile(note(1, "tick")).unwrap();
    // A durable message behind it takes the state along.
    site.ask::<String>(note(1, "tock")).await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["awake", "tick", "tock"]);
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.settled, site.volatile_lost()), (2, 2, 0));
}

#[tokio::test]
async fn what_only_volatile_drafts_changed_is_written_when_the_site_closes() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    for _ in 0..10 {
        site.send_volatile(note(1, "tick")).unwrap();
    }
    site.shutdown().await;
    let site = plot.open().await;
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().0.len(), 10);
}

#[tokio::test]
async fn many_who_sleep_are_woken_by_volatile_drafts_also_while_the_site_closes() {
    let plot = Plot::new();
    let site = plot.open().await;
    let many = || (1..=1_000).map(|id| Person::new(id, "worker"));
    site.sync(many()).await.unwrap();
    for id in 1..=1_000 {
        for text in ["tick", "tock"] {
            site.send_volatile(note(id, text)).unwrap();
        }
    }
    site.shutdown().await;
    assert_eq!(site.volatile_lost(), 0);
    let site = plot.open().await;
    for id in 1..=1_000 {
        assert_eq!(site.state::<Notes>(id, "diary").await.unwrap().unwrap().texts(), ["tick", "tock"], "{id}");
    }
}

#[tokio::test]
async fn a_volatile_draft_that_came_too_late_or_is_not_understood_spoils_nothing() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.send_volatile(note(1, "tick")).unwrap();
    site.send_volatile(note(1, "stale").expires_at(Timestamp::from_seconds(1))).unwrap();
    let torn = Payload { body: [253][..].into(), ..note(1, "torn").payload };
    site.send_volatile(Draft::of(1, torn)).unwrap();
    site.send_volatile(note(1, "tock")).unwrap();
    site.shutdown().await;
    assert_eq!(site.volatile_lost(), 2);
    let site = plot.open().await;
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["tick", "tock"]);
}

#[tokio::test]
async fn a_dropped_send_is_still_sent() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    drop(site.send(note(1, "unheard")));
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["unheard"]);
}

#[tokio::test]
async fn a_full_inbox_refuses_and_gives_the_draft_back() {
    let plot = Plot::new();
    let limits = Limits { inbox_envelopes_max: 3, ..Limits::default() };
    let site = Worksite::builder().limits(limits).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let sent: Vec<_> = (0..10).map(|_| site.send(note(1, "x"))).collect();
    let (mut accepted, mut refused) = (0, 0);
    for sent in sent {
        match sent.await {
            Ok(_) => accepted += 1,
            Err(error) => {
                assert_eq!(error.advice(), Advice::RetryLater);
                assert_eq!(error.into_drafts()[0].payload.decode::<Note>().unwrap(), Note("x".into()));
                refused += 1;
            }
        }
    }
    assert_eq!((accepted, refused), (3, 7));
    let mail = site.drain(1, 1).await.unwrap();
    site.acknowledge(vec![mail[0].id()]).await.unwrap();
    site.send(note(1, "room again")).await.unwrap();
}

#[tokio::test]
async fn a_turn_that_finds_an_inbox_full_waits_for_room_and_is_never_buried() {
    let plot = Plot::new();
    let limits = Limits { inbox_envelopes_max: 1, ..Limits::default() };
    let site = routines().limits(limits).manual(|person| person.name == "grace").open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let first = site.send(note(2, "fills it")).await.unwrap();
    let mut facts = site.subscribe();
    site.send(Draft::to(1, &Circular { route: vec![2] }).unwrap()).await.unwrap();
    let mut retries = Vec::new();
    while retries.len() < 7 {
        if let Some(Told::Fact(Fact::Retried { retry, .. })) = facts.next().await {
            retries.push((retry.attempt, retry.failure.unwrap().to_string()));
        }
    }
    let reason = "no room: the inbox of person 2 is full: inbox_envelopes_max is reached".to_string();
    assert_eq!(retries, vec![(1, reason); 7], "more often than any attempt counts");
    assert_eq!(site.state::<u64>(1, "forwarder").await.unwrap(), None, "nothing of it counted");
    site.acknowledge(vec![first.id]).await.unwrap();
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<u64>(1, "forwarder").await.unwrap(), Some(1));
    assert_eq!((site.message_count(2), site.tally().await.unwrap().buried), (1, 0));
}

#[tokio::test]
async fn ten_thousand_increments_are_exactly_ten_thousand() {
    struct Sum;
    impl Routine for Sum {
        const NAME: &'static str = "sum";
        type State = u64;
        type Message = u64;
        fn perform(&self, turn: &mut Turn<u64>, add: u64) -> Ended {
            *turn.state += add;
            Ok(Outcome::Done)
        }
    }
    let plot = Plot::new();
    let meter = Meter::default();
    let site = Worksite::builder().routine(Sum).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (site, meter) = (site.clone(), meter.clone());
            tokio::spawn(async move {
                for sent in (0..2500).map(|_| site.send(Draft::to(1, &1_u64).unwrap())).collect::<Vec<_>>() {
                    sent.await.unwrap();
                    meter.tick();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    site.quiesce().await.unwrap();
    assert_eq!((meter.count(), site.state::<u64>(1, "sum").await.unwrap()), (10_000, Some(10_000)));
}
