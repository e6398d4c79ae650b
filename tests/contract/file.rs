//! The file: anyone can read it, a copy of it recovers, and the application's own tables share its transactions.

use crate::site::{Circular, Notes, Plot, note, people, routines};
use rusqlite::{Connection, OpenFlags};
use std::process::Command;
use worksite::prelude::*;
use worksite::store::Reader;

fn read_only(plot: &Plot) -> Connection {
    Connection::open_with_flags(plot.path(), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

#[tokio::test]
async fn a_person_can_read_who_has_what_waiting() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let hello = Draft::to(2, &serde_json::json!({"say": "hello"})).unwrap();
    site.send(hello.from(1).kind("chat").priority(Priority::Urgent)).await.unwrap();
    site.send(Draft::to(2, &String::from("bonjour")).unwrap()).await.unwrap();
    let file = read_only(&plot);
    let mut waiting = file.prepare("SELECT person, sender, priority, kind, text FROM waiting").unwrap();
    let rows = waiting.query_map([], |row| {
        Ok((0..5).map(|column| row.get::<_, Option<String>>(column).unwrap().unwrap_or_default()).collect::<Vec<_>>())
    });
    let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
    assert_eq!(rows[0], ["grace", "ada", "urgent", "chat", "{\"say\":\"hello\"}"]);
    assert_eq!(rows[1], ["grace", "outside", "normal", "", "bonjour"]);
    let inbox: (String, i64) =
        file.query_row("SELECT person, waiting FROM inboxes", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    assert_eq!(inbox, ("grace".into(), 2));
    assert!(file.execute("DELETE FROM envelopes", []).is_err(), "it was opened read-only");
}

#[tokio::test]
async fn a_reader_looks_beside_a_living_owner_and_at_a_cold_file() {
    let plot = Plot::new();
    assert!(Reader::open(plot.path()).is_err(), "there is nothing to read");
    let site = routines().manual(|person| person.name == "grace").open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    for text in ["one", "two", "three"] {
        site.send(note(2, text)).await.unwrap();
    }
    site.ask::<String>(note(1, "kept")).await.unwrap();
    let _buried = site.ask::<String>(note(1, "reject")).await;
    for _ in ["beside", "cold"] {
        let reader = Reader::open(plot.path()).unwrap();
        let tally = reader.tally().unwrap();
        assert_eq!((tally.accepted, tally.waiting, tally.buried, tally.is_conserved()), (5, 3, 1, true));
        assert_eq!(reader.roster().unwrap().len(), 3);
        let inbox = &reader.inboxes().unwrap()[0];
        assert_eq!((inbox.name.as_deref(), inbox.envelopes), (Some("grace"), 3));
        let page = reader.waiting(PersonId(2), EnvelopeId(1), 1).unwrap();
        assert_eq!(page[0].as_ref().unwrap().delivery.id(), EnvelopeId(2));
        let states = reader.states(PersonId(1)).unwrap();
        assert_eq!(states[0].1.decode::<Notes>().unwrap().texts(), ["kept"]);
        assert_eq!(reader.dead_letters(EnvelopeId(0), 9).unwrap().len(), 1);
        site.shutdown().await;
    }
}

#[tokio::test]
async fn the_image_a_crash_leaves_recovers() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let mut ids = Vec::new();
    for index in 0..100 {
        ids.push(site.send(note(1, &index.to_string())).await.unwrap().id);
    }
    // Another process copies the file and its log under the living owner: ours must not touch them.
    let image = Plot::new();
    for suffix in ["", "-wal"] {
        let file = |plot: &Plot| format!("{}{suffix}", plot.path().display());
        assert!(Command::new("cp").args([file(&plot), file(&image)]).status().unwrap().success());
    }
    let recovered = image.open_manual().await;
    let mail: Vec<_> = recovered.drain(1, 999).await.unwrap().iter().map(|delivery| delivery.id()).collect();
    assert_eq!(mail, ids);
    assert!(recovered.tally().await.unwrap().is_conserved());
}

/// Notes each order in a table of the application's own, beside the message about it.
struct Orders;

impl Routine for Orders {
    const NAME: &'static str = "orders";
    type State = u64;
    type Message = i64;

    fn perform(&self, turn: &mut Turn<u64>, order: i64) -> Ended {
        *turn.state += 1;
        turn.write("order", order.to_le_bytes());
        turn.send(Draft::to(2, &format!("order {order} is noted"))?);
        Ok(Outcome::Done)
    }

    fn retry(&self) -> RetryPolicy {
        RetryPolicy::never()
    }
}

#[tokio::test]
async fn a_row_of_the_application_and_the_message_about_it_commit_together_or_not_at_all() {
    let plot = Plot::new();
    plot.open_manual().await.shutdown().await;
    let file = Connection::open(plot.path()).unwrap();
    file.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY CHECK (id <> 13))").unwrap();
    drop(file);
    let options = SqliteOptions::default().write_handler("order", |transaction, bytes| {
        let order = i64::from_le_bytes(bytes.try_into().unwrap_or_default());
        transaction.execute("INSERT INTO orders VALUES (?1)", [order]).map(drop)
    });
    let site = Worksite::builder().routine(Orders).store(options).manual(|person| person.name == "grace");
    let site = site.open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    for order in [7_i64, 13, 8] {
        site.send(Draft::to(1, &order).unwrap()).await.unwrap();
    }
    site.quiesce().await.unwrap();
    assert_eq!(site.message_count(2), 2, "the refused order sent nothing");
    assert_eq!(site.state::<u64>(1, "orders").await.unwrap(), Some(2));
    assert_eq!(site.dead_letters(9).await.unwrap().len(), 1);
    let file = read_only(&plot);
    let orders: Vec<i64> = file
        .prepare("SELECT id FROM orders")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(orders, [7, 8]);
}

#[tokio::test]
async fn a_write_nobody_handles_fails_its_delivery_alone() {
    let plot = Plot::new();
    let site = Worksite::builder().routine(Orders).routine(crate::site::Forwarder);
    let site = site.manual(|person| person.name == "grace").open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    site.send(Draft::to(1, &7_i64).unwrap()).await.unwrap();
    site.send(Draft::to(1, &Circular { route: vec![] }).unwrap()).await.unwrap();
    site.quiesce().await.unwrap();
    assert!(site.dead_letters(9).await.unwrap()[0].failure.reason.contains("\"order\""));
    assert_eq!(site.state::<u64>(1, "forwarder").await.unwrap(), Some(1));
}

#[tokio::test]
async fn the_file_stays_small_however_much_is_settled() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    let mut sizes = Vec::new();
    for _round in 0..6 {
        for _group in 0..10 {
            let receipts = site.send_all((0..100).map(|_| note(1, &"x".repeat(500))).collect()).await.unwrap();
            site.acknowledge(receipts.iter().map(|receipt| receipt.id).collect()).await.unwrap();
        }
        let pages: i64 = read_only(&plot).pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        sizes.push(pages);
    }
    assert_eq!(sizes[1], sizes[5], "{sizes:?}");
}

/// A file as the first release wrote it, with one of everything.
fn first_release(plot: &Plot) {
    let file = Connection::open(plot.path()).unwrap();
    file.pragma_update(None, "journal_mode", "wal").unwrap();
    file.execute_batch(include_str!("../../crates/worksite-store/migrations/0001_first.sql")).unwrap();
    file.pragma_update(None, "application_id", 0x576F_726B).unwrap();
    file.pragma_update(None, "user_version", 1).unwrap();
    file.execute_batch(
        "INSERT INTO people VALUES (1, 'ada', '', 1, 0, NULL), (2, 'grace', '', 1, 0, NULL), (9, 'gone', '', 0, 0, 5); \
         UPDATE site SET last_envelope = 3, accepted = 3, buried = 1",
    )
    .unwrap();
    let body = Payload::encode(&crate::site::Note("old".into())).unwrap();
    let columns = "id, recipient, priority, attempt, accepted_at, key, thread, encoding, type, version, checksum, body";
    let values = "VALUES (?1, ?2, 3, 1, 1000, ?3, 't', ?4, ?5, ?6, ?7, ?8";
    for (id, table, more) in
        [(1, "envelopes", ""), (2, "dead_letters", ", unixepoch() * 1000000, 'returned', 'no'"), (3, "envelopes", "")]
    {
        let extra = if more.is_empty() { "" } else { ", buried_at, failure, reason" };
        let parameters = rusqlite::params![
            id,
            1 + id % 2,
            format!("key {id}"),
            body.encoding as i64,
            body.type_name,
            body.version,
            body.checksum,
            &body.body[..]
        ];
        file.execute(&format!("INSERT INTO {table} ({columns}{extra}) {values}{more})"), parameters).unwrap();
        let fate = if table == "envelopes" { "waiting" } else { "buried" };
        let sql = "INSERT INTO keys (key, envelope, accepted_at, fate) VALUES (?1, ?2, 1000, ?3)";
        file.execute(sql, rusqlite::params![format!("key {id}"), id, fate]).unwrap();
    }
}

#[tokio::test]
async fn an_older_file_is_brought_along_with_everything_in_it_and_a_copy_is_left() {
    let plot = Plot::new();
    first_release(&plot);
    let error = Reader::open(plot.path()).unwrap_err();
    assert!(matches!(error, worksite::store::OpenError::OlderSchema { found: 1, .. }), "{error}");
    let site = plot.open_manual().await;
    assert_eq!((site.roster().len(), site.message_count(2)), (2, 2));
    let mail = site.drain(2, 9).await.unwrap();
    assert_eq!(mail.iter().map(|mail| mail.id().0).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(mail[0].envelope.draft.payload.decode::<crate::site::Note>().unwrap().0, "old");
    let thread = site.thread("t", EnvelopeId(0), 9).await.unwrap();
    assert_eq!(thread.len(), 3, "threads that were written before there were threads");
    assert_eq!(site.redrive(vec![EnvelopeId(2)]).await.unwrap()[0].id, EnvelopeId(4));
    let known = site.send(note(1, "again").key("key 1")).await.unwrap();
    assert_eq!((known.id, known.known), (EnvelopeId(1), true));
    assert!(site.tally().await.unwrap().is_conserved());
    site.send(note(1, "new lane").priority(Priority::Control)).await.unwrap();
    site.shutdown().await;
    let copy = Connection::open(format!("{}.before-schema-6", plot.path().display())).unwrap();
    let version: i64 = copy.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let kept: i64 = copy.query_row("SELECT count(*) FROM envelopes", [], |row| row.get(0)).unwrap();
    assert_eq!((version, kept), (1, 2));
}

#[tokio::test]
async fn a_file_with_checks_of_lists_keeps_its_runs_its_triggers_and_what_may_stand_in_a_column() {
    let plot = Plot::new();
    let file = Connection::open(plot.path()).unwrap();
    file.pragma_update(None, "journal_mode", "wal").unwrap();
    for step in [
        include_str!("../../crates/worksite-store/migrations/0001_first.sql"),
        include_str!("../../crates/worksite-store/migrations/0002_inboxes.sql"),
        include_str!("../../crates/worksite-store/migrations/0003_service.sql"),
        include_str!("../../crates/worksite-store/migrations/0004_runs.sql"),
        include_str!("../../crates/worksite-store/migrations/0005_flows.sql"),
        "CREATE TABLE seen (status TEXT); \
         CREATE TRIGGER noticed AFTER UPDATE ON runs BEGIN INSERT INTO seen VALUES (new.status); END; \
         INSERT INTO runs (number, tail, status, kind, mode, priority, attempts_max, created_at, fence, attempts, epoch) \
         VALUES (7, -7, 'pending', 'plain', 'sync', 0, 3, 1000, 0, 0, 0)",
    ] {
        file.execute_batch(step).unwrap();
    }
    file.pragma_update(None, "application_id", 0x576F_726B).unwrap();
    file.pragma_update(None, "user_version", 5).unwrap();
    drop(file);
    let site = plot.open().await;
    site.sync(people()).await.unwrap();
    let queue = site.run_queue().await.unwrap();
    let claimed = queue.claim_run(&RunnerInfo::new("runner", Capabilities::none())).await.unwrap().unwrap();
    assert_eq!(claimed.id.high(), 7);
    site.send(note(1, "kept").key("key")).await.unwrap();
    site.quiesce().await.unwrap();
    site.shutdown().await;

    let file = Connection::open(plot.path()).unwrap();
    let seen: String = file.query_row("SELECT status FROM seen", [], |row| row.get(0)).unwrap();
    let version: i64 = file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let sound: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!((&*seen, version, &*sound), ("claimed", 6, "ok"));
    let lists = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND sql LIKE '% IN (''%'";
    assert_eq!(file.query_row(lists, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    for allowed in ["status = 'running'", "mode = 'async_poll'", "mode = 'async_callback'"] {
        file.execute(&format!("UPDATE runs SET {allowed}"), []).unwrap();
    }
    for (table, wrong) in [
        ("runs", "status = 'done'"),
        ("runs", "status = 'completed'"),
        ("runs", "kind = 'other', session = 's'"),
        ("runs", "mode = 'other'"),
        ("runs", "ended_at = 5"),
        ("keys", "fate = 'other'"),
    ] {
        let error = file.execute(&format!("UPDATE {table} SET {wrong}"), []).unwrap_err();
        assert!(error.to_string().starts_with("CHECK constraint failed"), "{wrong}: {error}");
    }
}
