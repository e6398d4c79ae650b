//! Manual workers, as in seed 000: the application peeks, drains, acknowledges and puts back.

use crate::site::{Note, Plot, note, people};
use worksite::prelude::*;

fn ids(mail: &[worksite::model::Delivery]) -> Vec<EnvelopeId> {
    mail.iter().map(|delivery| delivery.id()).collect()
}

#[tokio::test]
async fn drained_mail_comes_in_order_and_returns_after_a_restart_unless_acknowledged() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    for index in 0..5 {
        site.send(note(1, &index.to_string())).await.unwrap();
    }
    assert_eq!(site.peek(1, 2).await.unwrap().len(), 2);
    let mail = site.drain(1, 3).await.unwrap();
    assert_eq!(
        mail.iter().map(|delivery| delivery.envelope.draft.payload.decode::<Note>().unwrap().0).collect::<Vec<_>>(),
        ["0", "1", "2"]
    );
    assert_eq!(site.acknowledge(vec![mail[0].id()]).await.unwrap(), 1);
    site.shutdown().await;
    let site = plot.open_manual().await;
    assert_eq!(ids(&site.drain(1, 99).await.unwrap()).len(), 4);
    assert!(site.drain(1, 99).await.unwrap().is_empty());
}

#[tokio::test]
async fn put_back_keeps_the_order() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    site.send_all((0..4).map(|_| note(1, "x")).collect()).await.unwrap();
    let mail = ids(&site.drain(1, 3).await.unwrap());
    assert_eq!(site.put_back(1, vec![mail[2], mail[0], EnvelopeId(999)]).await.unwrap(), 2);
    let again = ids(&site.drain(1, 99).await.unwrap());
    assert_eq!(again, [mail[0], mail[2], EnvelopeId(4)]);
}

#[tokio::test]
async fn acknowledging_unknown_ids_or_none_is_fine() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let receipt = site.send(note(1, "x")).await.unwrap();
    assert_eq!(site.acknowledge(vec![]).await.unwrap(), 0);
    assert_eq!(site.acknowledge(vec![EnvelopeId(77), receipt.id, receipt.id]).await.unwrap(), 1);
    assert_eq!(site.acknowledge(vec![receipt.id]).await.unwrap(), 0);
    assert_eq!(site.message_count(1), 0);
    assert!(site.peek(1, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn workers_have_independent_inboxes() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    site.send(note(1, "for one")).await.unwrap();
    site.send(note(2, "for two")).await.unwrap();
    assert_eq!((site.drain(1, 9).await.unwrap().len(), site.message_count(2)), (1, 1));
    assert!(site.drain(3, 9).await.unwrap().is_empty());
}

#[tokio::test]
async fn clear_all_removes_mail_and_state_and_keeps_the_roster() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    site.send_all(vec![note(1, "a"), note(2, "b")]).await.unwrap();
    site.drain(1, 1).await.unwrap();
    site.clear_all().await.unwrap();
    assert!(site.drain(1, 9).await.unwrap().is_empty());
    assert_eq!((site.message_count(2), site.roster().len()), (0, 3));
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.removed, tally.is_conserved()), (2, true));
    assert_eq!(site.send(note(1, "after")).await.unwrap().id, EnvelopeId(3), "ids are never reused");
}

#[tokio::test]
async fn the_mail_of_a_worker_with_routines_is_not_drained_by_hand() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let error = site.drain(1, 9).await.unwrap_err();
    assert!(matches!(error, DeskError::NotManual(PersonId(1))));
    assert_eq!(error.advice(), Advice::FixRequest);
}

/// A receipt means that the mail is there for whatever is asked next, and not only on the disk.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_receipt_finds_the_mail() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    for round in 0..300 {
        let receipt = site.send(note(1, "x")).await.unwrap();
        let mail = site.drain(1, 9).await.unwrap();
        assert_eq!(ids(&mail), [receipt.id], "round {round}");
        assert_eq!(site.acknowledge(vec![receipt.id]).await.unwrap(), 1);
    }
}
