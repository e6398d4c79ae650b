//! Seed 000 under its own names: its acceptance tests (`tests/core/test_worker_runtime.py`), in its order, and the faults
//! its checklist names.

use crate::site::{Plot, people};
use worksite::prelude::*;

fn message(text: &str) -> InboundMessage {
    InboundMessage {
        sender_id: 1,
        sender_name: "Manager".into(),
        subject: "Task Update".into(),
        summary: text.into(),
        action_item: Some("Review PR #123".into()),
        message_type: "email".into(),
        channel: "email".into(),
        tick: 50,
        message_id: None,
    }
}

fn texts(messages: &[InboundMessage]) -> Vec<&str> {
    messages.iter().map(|message| message.summary.as_str()).collect()
}

#[tokio::test]
async fn a_runtime_queues_and_drains_in_order() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    let manager = site.worker_runtimes();
    assert!(manager.get_all_runtimes().is_empty());
    let runtime = manager.get_runtime(Person::new(1, "ada")).await.unwrap();
    assert_eq!((runtime.message_count().await.unwrap(), runtime.has_messages().await.unwrap()), (0, false));
    assert!(runtime.drain().await.unwrap().is_empty());
    for text in ["a", "b", "c"] {
        runtime.queue(message(text)).await.unwrap();
    }
    assert_eq!((runtime.message_count().await.unwrap(), runtime.has_messages().await.unwrap()), (3, true));
    assert_eq!(texts(&runtime.drain().await.unwrap()), ["a", "b", "c"]);
    assert_eq!((runtime.message_count().await.unwrap(), runtime.has_messages().await.unwrap()), (0, false));
}

#[tokio::test]
async fn the_manager_creates_returns_and_refreshes_runtimes() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    let manager = site.worker_runtimes();
    manager.get_runtime(Person::new(1, "ada")).await.unwrap();
    manager.queue_message(1, message("x")).await.unwrap();
    let again = manager.get_runtime(Person::new(1, "Ada").with_role("head")).await.unwrap();
    assert_eq!(again.message_count().await.unwrap(), 1, "it is the same runtime");
    let all = manager.get_all_runtimes();
    assert_eq!((all.len(), all[&PersonId(1)].person.name.as_str()), (1, "Ada"), "and knows the new name");
    manager.sync_runtimes(people()).await.unwrap();
    assert_eq!(all.len(), 1, "a listing is a copy");
    let ids: Vec<_> = manager.get_all_runtimes().into_keys().collect();
    assert_eq!(ids, [1, 2, 3].map(PersonId));
    manager.sync_runtimes(people().into_iter().skip(1)).await.unwrap();
    assert_eq!(manager.get_all_runtimes().len(), 2);
}

#[tokio::test]
async fn a_queued_message_is_a_row_with_its_payload_in_the_view_of_the_seed() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    let manager = site.worker_runtimes();
    manager.sync_runtimes(people()).await.unwrap();
    let queued = manager.queue_message(2, message("hello")).await.unwrap();
    site.send(crate::site::note(2, "foreign").from(1).kind("event")).await.unwrap();
    let file = rusqlite::Connection::open(plot.path()).unwrap();
    let sql = "SELECT id, recipient_id, payload, created_at FROM worker_runtime_messages ORDER BY id";
    let mut rows = file.prepare(sql).unwrap();
    let rows = rows.query_map([], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
    });
    let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
    assert_eq!((rows[0].0, rows[0].1, rows[0].3.len()), (queued.message_id.unwrap().0, 2, 19));
    let payload: serde_json::Value = serde_json::from_str(&rows[0].2).unwrap();
    let expected = serde_json::json!({
        "sender_id": 1, "sender_name": "Manager", "subject": "Task Update", "summary": "hello",
        "action_item": "Review PR #123", "message_type": "email", "channel": "email", "tick": 50,
    });
    assert_eq!(payload, expected);
    let foreign: serde_json::Value = serde_json::from_str(&rows[1].2).unwrap();
    assert_eq!((foreign["sender_name"].as_str(), foreign["message_type"].as_str()), (Some("ada"), Some("event")));
    let drained = manager.get_all_runtimes()[&PersonId(2)].drain().await.unwrap();
    assert_eq!((drained.len(), &drained[0]), (2, &queued), "and foreign mail does not hide the rest");
}

#[tokio::test]
async fn removing_messages_ignores_unknown_ids_and_an_empty_list() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    let manager = site.worker_runtimes();
    manager.sync_runtimes(people()).await.unwrap();
    let mut ids = Vec::new();
    for text in ["a", "b", "c"] {
        ids.push(manager.queue_message(1, message(text)).await.unwrap().message_id.unwrap());
    }
    manager.remove_messages(vec![]).await.unwrap();
    manager.remove_messages(vec![ids[1], EnvelopeId(999)]).await.unwrap();
    let runtime = manager.get_all_runtimes().remove(&PersonId(1)).unwrap();
    assert_eq!(texts(&runtime.drain().await.unwrap()), ["a", "c"]);
}

#[tokio::test]
async fn the_full_lifecycle_of_a_message_over_three_managers() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.worker_runtimes().sync_runtimes(people()).await.unwrap();
    site.worker_runtimes().queue_message(1, message("x")).await.unwrap();
    // Drained and not removed: it returns.
    assert_eq!(site.worker_runtimes().get_all_runtimes()[&PersonId(1)].drain().await.unwrap().len(), 1);
    site.shutdown().await;
    let site = plot.open_manual().await;
    let loaded = site.worker_runtimes().get_runtime(Person::new(1, "ada")).await.unwrap();
    let drained = loaded.drain().await.unwrap();
    assert_eq!(texts(&drained), ["x"]);
    site.worker_runtimes().remove_messages(vec![drained[0].message_id.unwrap()]).await.unwrap();
    site.shutdown().await;
    let site = plot.open_manual().await;
    let runtime = site.worker_runtimes().get_runtime(Person::new(1, "ada")).await.unwrap();
    assert!(!runtime.has_messages().await.unwrap());
}

#[tokio::test]
async fn clear_all_leaves_no_runtimes_and_no_rows() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    let manager = site.worker_runtimes();
    manager.sync_runtimes(people()).await.unwrap();
    manager.queue_message(1, message("x")).await.unwrap();
    manager.clear_all().await.unwrap();
    assert!(manager.get_all_runtimes().is_empty());
    let runtime = manager.get_runtime(Person::new(1, "ada")).await.unwrap();
    assert_eq!((runtime.message_count().await.unwrap(), site.tally().await.unwrap().waiting), (0, 0));
}

/// The seed appended to memory first: with an unknown recipient the INSERT failed and a phantom stayed.
#[tokio::test]
async fn a_message_to_somebody_unknown_leaves_no_phantom() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    let manager = site.worker_runtimes();
    manager.sync_runtimes(people()).await.unwrap();
    let error = manager.queue_message(99, message("x")).await.unwrap_err();
    assert_eq!(error.advice(), Advice::FixRequest);
    let runtime = manager.get_runtime(Person::new(99, "late")).await.unwrap();
    assert_eq!((runtime.message_count().await.unwrap(), site.tally().await.unwrap().accepted), (0, 0));
}
