//! Threads, cooldowns, filters and bulk: what people do with mail beside sending and taking it.

use crate::site::{Note, Notes, Plot, note, people, routines};
use std::time::Duration;
use worksite::prelude::*;

fn ids(mail: &[worksite::model::Delivery]) -> Vec<i64> {
    mail.iter().map(|mail| mail.id().0).collect()
}

#[tokio::test]
async fn a_thread_is_read_in_order_while_it_waits_and_after_it_was_dealt_with() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let question = site.send(note(2, "question").from(1).thread("plan")).await.unwrap();
    site.send(note(2, "something else").from(1).thread("lunch")).await.unwrap();
    let asked = site.drain_by(2, Filter::all().thread("plan"), 9).await.unwrap().remove(0);
    let answer = Draft::answer(&asked.envelope, &Note("answer".into())).unwrap().unwrap();
    assert_eq!((answer.to, answer.reply_to, answer.thread.as_deref()), (PersonId(1), Some(question.id), Some("plan")));
    site.send(answer).await.unwrap();
    site.acknowledge(vec![question.id]).await.unwrap();
    site.shutdown().await;
    let site = plot.open_manual().await;
    let thread = site.thread("plan", EnvelopeId(0), 99).await.unwrap();
    let read: Vec<_> =
        thread.iter().map(|entry| (entry.envelope.draft.payload.decode::<Note>().unwrap().0, entry.standing)).collect();
    assert_eq!(read, [("question".into(), Standing::Removed), ("answer".into(), Standing::Waiting)]);
    assert_eq!(site.thread("plan", question.id, 99).await.unwrap().len(), 1, "page by page");
    assert!(site.thread("nothing", EnvelopeId(0), 99).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_routine_dealt_with_is_in_its_thread() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    for text in ["a", "reject", "b"] {
        let _answer = site.ask::<String>(note(1, text).thread("t")).await;
    }
    site.quiesce().await.unwrap();
    let thread = site.thread("t", EnvelopeId(0), 9).await.unwrap();
    let standings: Vec<_> = thread.iter().map(|entry| entry.standing).collect();
    assert_eq!(standings, [Standing::Settled, Standing::Buried, Standing::Settled]);
}

/// The seed wrote its cooldown before it sent, so that a send that failed kept its own repetition out.
#[tokio::test]
async fn a_cooldown_keeps_repetitions_out_across_a_restart_and_a_failed_send_does_not_start_one() {
    let (plot, clock) = (Plot::new(), ManualClock::new(Timestamp::from_seconds(0)));
    let open = || Worksite::builder().clock(clock.clock()).open(plot.path());
    let ten_minutes = Duration::from_secs(600);
    let chat = |to: i64, text: &str| note(to, text).from(3).channel("chat").cooldown(ten_minutes);
    let site = open().await.unwrap();
    site.sync(people()).await.unwrap();
    assert!(site.send_all(vec![chat(1, "hi"), note(99, "nobody")]).await.is_err());
    site.send(chat(1, "hi")).await.unwrap();
    site.shutdown().await;
    clock.advance(Duration::from_secs(300));
    let site = open().await.unwrap();
    let error = site.send(chat(1, "hi again")).await.unwrap_err();
    let until = Timestamp::from_seconds(600);
    assert!(
        matches!(&error, SendError::Rejected { rejection, .. }
            if *rejection == worksite::model::Rejection::Cooling { to: PersonId(1), until }),
        "{error}"
    );
    assert_eq!((error.advice(), error.into_drafts()), (Advice::RetryLater, vec![chat(1, "hi again")]));
    site.send(chat(2, "hi")).await.unwrap();
    site.send(chat(1, "hi").channel("email")).await.unwrap();
    site.send(chat(1, "hi").from(2)).await.unwrap();
    clock.advance(Duration::from_secs(300));
    site.send(chat(1, "now it goes")).await.unwrap();
    assert_eq!(site.inbox(1).unwrap().waiting, 4, "what was kept out takes no place");
}

#[tokio::test]
async fn what_a_routine_sends_too_soon_is_not_accepted_and_counted() {
    struct Chatty;
    impl Routine for Chatty {
        const NAME: &'static str = "chatty";
        type State = u64;
        type Message = u64;
        fn perform(&self, turn: &mut Turn<u64>, _: u64) -> Ended {
            *turn.state += 1;
            turn.send(note(2, "ping").channel("chat").cooldown(Duration::from_secs(3_600)));
            Ok(Outcome::Done)
        }
    }
    let plot = Plot::new();
    let site = routines().routine(Chatty).manual(|person| person.name == "grace").open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send_all((0..5_u64).map(|n| Draft::to(1, &n).unwrap()).collect()).await.unwrap();
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<u64>(1, "chatty").await.unwrap(), Some(5), "its turns count all the same");
    assert_eq!((site.message_count(2), site.cooled()), (1, 4));
    assert!(site.tally().await.unwrap().is_conserved());
}

#[tokio::test]
async fn mail_is_looked_at_taken_and_removed_by_kind_sender_channel_thread_priority_and_time() {
    let (plot, clock) = (Plot::new(), ManualClock::new(Timestamp::from_seconds(0)));
    let site = Worksite::builder().clock(clock.clock()).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    for index in 0..6 {
        let kind = if index % 2 == 0 { "email" } else { "report" };
        let priority = if index < 2 { Priority::High } else { Priority::Low };
        let draft = note(1, &index.to_string()).from(2 + index % 2).kind(kind).priority(priority);
        site.send(draft.channel(if index < 3 { "chat" } else { "email" }).thread(format!("{}", index % 3)))
            .await
            .unwrap();
        clock.advance(Duration::from_secs(1));
    }
    let all = Filter::all;
    let peeked = async |filter: Filter| ids(&site.peek_by(1, filter, 9).await.unwrap());
    assert_eq!(peeked(all()).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(peeked(all().kind("report")).await, [2, 4, 6]);
    assert_eq!(peeked(all().from(2)).await, [1, 3, 5]);
    assert_eq!(peeked(all().channel("chat").kind("email")).await, [1, 3]);
    assert_eq!(peeked(all().thread("0")).await, [1, 4]);
    assert_eq!(peeked(all().at_least(Priority::High)).await, [1, 2]);
    let second = Timestamp::from_seconds;
    assert_eq!(peeked(all().accepted_from(second(2)).accepted_before(second(4))).await, [3, 4]);
    assert_eq!(ids(&site.drain_by(1, all().kind("report"), 2).await.unwrap()), [2, 4]);
    assert_eq!(site.remove_by(1, all().channel("email")).await.unwrap(), 2, "what was drained stays");
    assert_eq!(site.put_back(1, vec![EnvelopeId(4), EnvelopeId(2)]).await.unwrap(), 2);
    assert_eq!(ids(&site.drain(1, 9).await.unwrap()), [1, 2, 3, 4]);
    assert_eq!(site.remove_by(1, all()).await.unwrap(), 0);
    assert_eq!(site.tally().await.unwrap().removed, 2);
}

#[tokio::test]
async fn bulk_operations_are_one_commit_all_or_nothing() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let mut drafts: Vec<_> = (0..1_000).map(|index| note(1 + index % 3, "x")).collect();
    drafts.push(note(99, "nobody"));
    let error = site.send_all(drafts).await.unwrap_err();
    assert_eq!((error.into_drafts().len(), site.tally().await.unwrap().accepted), (1_001, 0));
    assert_eq!(site.message_count(1), 0);
    let receipts = site.send_all((0..1_000).map(|index| note(1 + index % 3, "x")).collect()).await.unwrap();
    let all: Vec<_> = receipts.iter().map(|receipt| receipt.id).collect();
    assert!(all.is_sorted() && site.send_all(vec![]).await.unwrap().is_empty());
    let drained = site.drain(1, usize::MAX).await.unwrap();
    let back: Vec<_> = drained.iter().rev().map(|mail| mail.id()).collect();
    assert_eq!(site.put_back(1, back).await.unwrap(), 334);
    assert_eq!(site.drain(1, usize::MAX).await.unwrap(), drained, "in the order in which it stood");
    let unknown = [EnvelopeId(-1), EnvelopeId(0), EnvelopeId(77_777)];
    assert_eq!(site.acknowledge(all.into_iter().chain(unknown).collect()).await.unwrap(), 1_000);
    assert_eq!(site.acknowledge(vec![]).await.unwrap(), 0);
    assert_eq!(site.tally().await.unwrap().removed, 1_000);
}

/// Removing while a routine works: what it is at is settled or removed, and never both.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_under_a_working_routine_is_not_dealt_with_as_well() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let mut removed = 0;
    for round in 0..30 {
        let sent: Vec<_> = (0..50).map(|index| site.send(note(1, &format!("{round} {index}")))).collect();
        removed += site.remove_by(1, Filter::all()).await.unwrap();
        for sent in sent {
            sent.await.unwrap();
        }
    }
    site.quiesce().await.unwrap();
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.accepted, tally.removed, tally.waiting), (1_500, removed as u64, 0));
    let noted = site.state::<Notes>(1, "diary").await.unwrap().unwrap_or_default().0.len();
    assert_eq!(noted as u64, tally.settled);
}
