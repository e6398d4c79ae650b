//! Bad input: a clear error that names the remedy, before any side effect.

use crate::site::{Diary, Notes, Plot, note, people, routines};
use std::fs;
use worksite::prelude::*;

async fn refused(plot: &Plot) -> OpenError {
    match Worksite::open(plot.path()).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_was() {
    let plot = Plot::new();
    let text = "dear diary, this is no database\n".repeat(300);
    fs::write(plot.path(), &text).unwrap();
    let error = refused(&plot).await;
    assert_eq!(error.advice(), Advice::CallForHelp, "{error}");
    assert_eq!(fs::read_to_string(plot.path()).unwrap(), text);
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_as_it_was() {
    let plot = Plot::new();
    let other = rusqlite::Connection::open(plot.path()).unwrap();
    other.execute_batch("CREATE TABLE orders(id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1);").unwrap();
    drop(other);
    let before = fs::read(plot.path()).unwrap();
    refused(&plot).await;
    assert_eq!(fs::read(plot.path()).unwrap(), before);
}

#[tokio::test]
async fn a_newer_schema_is_refused_by_name() {
    let plot = Plot::new();
    plot.open_manual().await.shutdown().await;
    let newer = rusqlite::Connection::open(plot.path()).unwrap();
    newer.pragma_update(None, "user_version", 999).unwrap();
    drop(newer);
    let error = refused(&plot).await;
    assert!(error.to_string().contains("999"), "{error}");
}

#[tokio::test]
async fn a_second_opener_is_refused_with_the_owner_named() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    let error = refused(&plot).await;
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    site.shutdown().await;
    plot.open_manual().await.shutdown().await;
}

#[tokio::test]
async fn drafts_that_cannot_be_are_rejected_and_nothing_is_written() {
    let plot = Plot::new();
    let limits = Limits { payload_bytes_max: 100, header_bytes_max: 20, ..Limits::default() };
    let site = routines().limits(limits).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let past = Timestamp::from_seconds(0);
    let mut damaged = note(1, "x");
    damaged.payload.checksum ^= 1;
    let wrong = [
        (note(77, "nobody"), "not on the roster"),
        (note(1, &"x".repeat(200)), "payload_bytes_max"),
        (note(1, "x").key("k".repeat(30)), "header_bytes_max"),
        (Draft::to(1, &1.5_f64).unwrap(), "no routine"),
        (note(1, "x").routine("nobody"), "no routine"),
        (note(1, "x").expires_at(past), "expires"),
        (damaged, "damaged"),
    ];
    for (draft, reason) in wrong {
        let error = site.send(draft.clone()).await.unwrap_err();
        assert_eq!(error.advice(), Advice::FixRequest);
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.into_drafts(), [draft]);
    }
    assert!(matches!(site.send_volatile(note(77, "x")), Err(SendError::Rejected { .. })));
    assert_eq!(site.tally().await.unwrap(), Tally::default());
    assert_eq!(site.message_count(1), 0);
}

#[tokio::test]
async fn impossible_limits_and_routines_of_one_name_are_refused_before_the_file_is_touched() {
    let plot = Plot::new();
    let none = Limits { commit_changes_max: 0, ..Limits::default() };
    let error = Worksite::builder().limits(none).open(plot.path()).await.unwrap_err();
    assert!(error.to_string().contains("commit_changes_max"), "{error}");
    let error = Worksite::builder().routine(Diary).routine(Diary).open(plot.path()).await.unwrap_err();
    assert_eq!(error.advice(), Advice::FixRequest);
    assert!(!plot.path().exists());
}

#[tokio::test]
async fn a_damaged_row_is_quarantined_and_the_rest_of_the_inbox_goes_on() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    for text in ["first", "second", "third"] {
        site.send(note(1, text)).await.unwrap();
    }
    site.shutdown().await;
    let file = rusqlite::Connection::open(plot.path()).unwrap();
    file.execute("UPDATE envelopes SET body = x'00' WHERE id = 2", []).unwrap();
    drop(file);
    let site = plot.open().await;
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["first", "third"]);
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.quarantined, tally.settled, tally.is_conserved()), (1, 2, true));
}

#[tokio::test]
async fn a_state_that_cannot_be_read_holds_its_worker_and_keeps_its_mail() {
    let plot = Plot::new();
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    site.ask::<String>(note(1, "written")).await.unwrap();
    site.shutdown().await;
    plot.damage_states(1);
    let site = plot.open().await;
    site.send(note(1, "waits")).await.unwrap();
    assert_eq!(site.ask::<String>(note(2, "others go on")).await.unwrap(), "others go on");
    assert!(matches!(site.state::<Notes>(1, "diary").await, Err(DeskError::Payload(_))));
    let tally = site.tally().await.unwrap();
    assert_eq!((tally.waiting, tally.buried), (1, 0));
}

#[tokio::test]
async fn a_full_file_is_a_typed_answer_and_the_site_goes_on_when_there_is_room() {
    let plot = Plot::new();
    let options = SqliteOptions { file_bytes_max: Some(1 << 20), ..SqliteOptions::default() };
    let site = Worksite::builder().store(options).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let (mut accepted, big) = (Vec::new(), "x".repeat(50_000));
    let error = loop {
        match site.send(note(1, &big)).await {
            Ok(receipt) => accepted.push(receipt.id),
            Err(error) => break error,
        }
    };
    assert_eq!(error.advice(), Advice::RetryLater, "{error}");
    assert_eq!(error.into_drafts().len(), 1);
    assert_eq!(site.tally().await.unwrap().accepted, accepted.len() as u64);
    // The owner makes room by taking mail off the file.
    let gone = accepted.split_off(accepted.len() / 2);
    assert_eq!(site.acknowledge(gone.clone()).await.unwrap(), gone.len());
    accepted.push(site.send(note(1, &big)).await.unwrap().id);
    site.shutdown().await;
    let site = plot.open_manual().await;
    let waiting: Vec<_> = site.drain(1, 999).await.unwrap().iter().map(|delivery| delivery.id()).collect();
    assert_eq!(waiting, accepted, "nothing acknowledged was lost");
}

#[tokio::test]
async fn a_worker_whose_commit_found_no_room_proposes_again() {
    let plot = Plot::new();
    let options = || SqliteOptions { file_bytes_max: Some(1 << 20), ..SqliteOptions::default() };
    // Two people's mail fills the file; the first one's diary would need more room than there is.
    let site = Worksite::builder().store(options()).open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let (mut ballast, big) = (Vec::new(), "x".repeat(40_000));
    while let Ok(receipt) = site.send(note(2, &big)).await {
        ballast.push(receipt.id);
    }
    site.shutdown().await;
    let site = routines().store(options()).manual(|person| person.name != "ada").open(plot.path()).await.unwrap();
    let mut sent = 0;
    while site.send(note(1, &"y".repeat(3_000))).await.is_ok() {
        sent += 1;
    }
    site.acknowledge(ballast).await.unwrap();
    site.quiesce().await.unwrap();
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().map_or(0, |notes| notes.0.len()), sent);
}
