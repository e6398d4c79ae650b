//! Copies: a backup of a living site opens as a site and has all that was durable before; an export says everything that
//! a file has, and makes the same file again or none.

use crate::site::{Notes, Plot, note, people, routines};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use worksite::prelude::*;
use worksite::store::{CopyError, OpenError, Reader, import};

fn exported(path: &Path) -> Vec<u8> {
    let mut lines = Vec::new();
    Reader::open(path).unwrap().export(&mut lines).unwrap();
    lines
}

fn imported(path: &Path, lines: &[u8]) -> Result<worksite::store::ExportSummary, CopyError> {
    import(path, &mut BufReader::new(lines))
}

/// All that is in the folder, so that nothing is left unseen.
fn names(path: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_opens_as_a_site_and_has_all_that_was_durable_before_it() {
    let plot = Plot::new();
    let site = routines().manual(|person| person.name == "grace").open(plot.path()).await.unwrap();
    site.sync(people()).await.unwrap();
    let (stopped, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let load = tokio::spawn({
        let (site, stopped, last) = (site.clone(), stopped.clone(), last.clone());
        async move {
            let mut number = 0;
            while !stopped.load(Ordering::SeqCst) {
                number += 1;
                // To a routine, which settles them, and to a manual worker, whose mail stays.
                let drafts =
                    vec![note(1, "noted"), note(2, &number.to_string()).thread("load").key(number.to_string())];
                let receipts = site.send_all(drafts).await.unwrap();
                last.store(receipts[1].id.0, Ordering::SeqCst);
            }
        }
    });
    let (mut copies, mut meanwhile) = (Vec::new(), 0);
    // On a busy machine a copy may be made in less than the owner's next commit takes.
    while copies.len() < 5 || (meanwhile == 0 && copies.len() < 50) {
        let number = copies.len();
        let enough = last.load(Ordering::SeqCst) + 100;
        while last.load(Ordering::SeqCst) < enough {
            tokio::task::yield_now().await;
        }
        let (path, copy) = (plot.path(), plot.path().with_file_name(format!("copy {number}.db")));
        let before = last.load(Ordering::SeqCst);
        let backup = tokio::task::spawn_blocking({
            let (copy, last) = (copy.clone(), last.clone());
            move || {
                Reader::open(path).unwrap().backup(copy).unwrap();
                last.load(Ordering::SeqCst)
            }
        });
        meanwhile += backup.await.unwrap() - before;
        copies.push((before, copy));
    }
    assert!(meanwhile > 0, "the owner writes while copies are made");
    stopped.store(true, Ordering::SeqCst);
    load.await.unwrap();
    site.shutdown().await;
    for (before, copy) in copies {
        let reader = Reader::open(&copy).unwrap();
        let report = reader.check().unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        let tally = reader.tally().unwrap();
        assert!(tally.is_conserved() && tally.accepted.cast_signed() >= before, "{before}: {tally:?}");
        drop(reader);
        let restored = Worksite::open(&copy).await.unwrap();
        let mail = restored.drain(2, usize::MAX).await.unwrap();
        let expected = (2..=before).step_by(2).collect::<Vec<_>>();
        let ids = mail.iter().map(|mail| mail.id().0).take(expected.len()).collect::<Vec<_>>();
        assert_eq!(ids, expected, "every receipt that came before the backup is in it");
        let next = restored.send(note(1, "life goes on")).await.unwrap();
        assert_eq!(next.id.0.cast_unsigned(), tally.accepted + 1);
        restored.shutdown().await;
    }
    assert!(names(&plot.path()).iter().all(|name| !name.ends_with(".partial")));
}

#[tokio::test]
async fn a_copy_tells_whether_it_was_made_beside_a_living_owner() {
    let plot = Plot::new();
    let site = plot.open_manual().await;
    site.sync(people()).await.unwrap();
    site.send(note(1, "hello")).await.unwrap();
    for (name, cleanly) in [("warm.db", 0), ("cold.db", 1)] {
        let copy = plot.path().with_file_name(name);
        Reader::open(plot.path()).unwrap().backup(&copy).unwrap();
        let flag = Connection::open(&copy).unwrap().query_row("SELECT closed_cleanly FROM site", [], |row| row.get(0));
        assert_eq!(flag, Ok(cleanly), "{name}");
        site.shutdown().await;
    }
}

#[tokio::test]
async fn a_copy_never_takes_the_place_of_something() {
    let plot = Plot::new();
    plot.open_manual().await.shutdown().await;
    let lines = exported(&plot.path());
    let reader = Reader::open(plot.path()).unwrap();
    for there in ["there.db", "empty.db", "log.db-wal"] {
        std::fs::write(plot.path().with_file_name(there), if there == "empty.db" { "" } else { "mine" }).unwrap();
    }
    let before = names(&plot.path());
    for target in ["there.db", "empty.db", "log.db"] {
        let target = plot.path().with_file_name(target);
        assert!(matches!(reader.backup(&target), Err(CopyError::Exists { .. })), "{target:?}");
        assert!(matches!(imported(&target, &lines), Err(CopyError::Exists { .. })), "{target:?}");
    }
    let nowhere = plot.path().with_file_name("nowhere").join("copy.db");
    assert!(reader.backup(&nowhere).is_err() && imported(&nowhere, &lines).is_err());
    assert_eq!(names(&plot.path()), before, "nothing is left");
    assert_eq!(std::fs::read(plot.path().with_file_name("there.db")).unwrap(), b"mine");
}

/// A site with everything in it: waiting, scheduled, dead letters, threads, keys with replies, states, quarantine,
/// cooldowns, somebody who left; and what the application keeps beside it.
async fn everything(plot: &Plot) {
    let site = routines().manual(|person| person.name == "grace").open(plot.path()).await.unwrap();
    site.sync(people().into_iter().chain([Person::new(9, "\"gone\"\n\u{1F600}")])).await.unwrap();
    site.leave(9, Departure::Keep).await.unwrap();
    let later = Clock::system().now().after(std::time::Duration::from_secs(9_999));
    site.send(note(2, "broken")).await.unwrap();
    let full = note(2, "full").from(1).key("k").kind("chat").channel("c").thread("t").priority(Priority::Urgent);
    site.send(full.not_before(later).cooldown(std::time::Duration::from_secs(9_999))).await.unwrap();
    site.send(Draft::to(2, &serde_json::json!({"a": [1, null]})).unwrap().thread("t")).await.unwrap();
    site.ask::<String>(note(1, "kept").key("asked").thread("t")).await.unwrap();
    let _buried = site.ask::<String>(note(1, "reject").key("rejected").thread("t")).await;
    site.pause(3).await.unwrap();
    site.shutdown().await;
    let file = Connection::open(plot.path()).unwrap();
    file.execute_batch("UPDATE envelopes SET body = x'ff00' WHERE id = 1").unwrap();
    drop(file);
    let site = plot.open_manual().await;
    site.peek(2, 9).await.unwrap();
    site.shutdown().await;
    Connection::open(plot.path())
        .unwrap()
        .execute_batch(
            "CREATE TABLE orders (number INTEGER, price REAL, anything, double AS (price * 2)); \
             INSERT INTO orders VALUES (9007199254740993, 0.1, x'00ff'), (-9223372036854775808, 9e999, 1e300); \
             INSERT INTO orders VALUES (1, -0.0, CAST(x'fffe' AS TEXT)), (NULL, 5e-324, 'it''s' || char(0, 10)); \
             CREATE TABLE \"odd \"\"name\"\"\" (\"a b\" TEXT PRIMARY KEY) WITHOUT ROWID; \
             CREATE UNIQUE INDEX by_number ON orders (number); \
             CREATE VIEW dear AS SELECT * FROM orders WHERE price > 1; \
             CREATE TRIGGER counted AFTER INSERT ON orders BEGIN INSERT INTO \"odd \"\"name\"\"\" VALUES (new.number); END",
        )
        .unwrap();
}

#[tokio::test]
async fn an_export_makes_the_same_site_again_and_the_same_bytes() {
    let plot = Plot::new();
    everything(&plot).await;
    let reader = Reader::open(plot.path()).unwrap();
    let mut lines = Vec::new();
    let summary = reader.export(&mut lines).unwrap();
    for table in
        ["people", "envelopes", "states", "keys", "dead_letters", "quarantine", "threads", "history", "cooldowns"]
    {
        assert!(summary.tables[table] > 0, "{table} has nothing to show: {summary:?}");
    }
    let text = String::from_utf8(lines.clone()).unwrap();
    assert!(text.starts_with("{\"worksite\":{\"schema\":"), "{text}");
    assert_eq!(text.lines().count() as u64, summary.rows + 1);
    assert!(
        text.contains("\"number\":9007199254740993,\"price\":{\"$real\":\"0.1\"},\"anything\":{\"$blob\":\"00ff\"}")
    );
    let copy = plot.path().with_file_name("copy.db");
    assert_eq!(imported(&copy, &lines).unwrap(), summary);
    assert!(exported(&copy) == lines, "the same bytes");
    let original = reader.check().unwrap();
    assert_eq!(Reader::open(&copy).unwrap().check().unwrap(), original);
    assert_eq!(original.problems, Vec::<String>::new());
    let site = routines().manual(|person| person.name == "grace").open(&copy).await.unwrap();
    assert_eq!(site.ask::<String>(note(1, "kept").key("asked")).await.unwrap(), "kept", "the reply is still known");
    assert_eq!(site.state::<Notes>(1, "diary").await.unwrap().unwrap().texts(), ["kept"]);
    assert_eq!((site.message_count(2), site.dead_letters(9).await.unwrap().len()), (2, 1));
    assert_eq!(site.thread("t", EnvelopeId(0), 9).await.unwrap().len(), 4);
    assert!(site.send(note(2, "x").from(1).channel("c").cooldown(std::time::Duration::from_secs(1))).await.is_err());
    assert!(site.tally().await.unwrap().is_conserved());
}

#[tokio::test]
async fn broken_lines_are_named_and_leave_nothing() {
    let plot = Plot::new();
    everything(&plot).await;
    let lines = String::from_utf8(exported(&plot.path())).unwrap();
    let before = names(&plot.path());
    let copy = plot.path().with_file_name("copy.db");
    let refused = |lines: &str| {
        let error = imported(&copy, lines.as_bytes()).unwrap_err();
        assert_eq!(names(&plot.path()), before, "{error}");
        error.to_string()
    };
    let all: Vec<_> = lines.split_inclusive('\n').collect();
    let place = all.iter().position(|line| line.contains("\"dead_letters\",\"row\"")).unwrap();
    let with = |line: String| {
        let mut edited: Vec<_> = all.iter().map(ToString::to_string).collect();
        edited[place] = line;
        edited.concat()
    };
    for (from, to, told) in [
        ("{", "", "it is no JSON object"),
        ("\"table\"", "\"tables\"", "it names no table"),
        ("\"row\"", "\"rows\"", "it has no row"),
        ("\"dead_letters\"", "\"letters\"", "there is no table \"letters\""),
        ("\"recipient\":", "\"recipients\":", "\"dead_letters\" has no column \"recipients\""),
        ("\"sender\":null,", "", "column \"sender\" is missing"),
        ("\"sender\":null", "\"sender\":1.5", "column \"sender\" has no value of a file: 1.5"),
        ("\"sender\":null", "\"sender\":99999999999999999999", "column \"sender\" has no value of a file"),
        ("\"$blob\":\"", "\"$blob\":\"x", "column \"body\" has no value of a file"),
        ("\"$blob\"", "\"$blub\"", "column \"body\" has no value of a file"),
        ("\"recipient\":1", "\"recipient\":\"ada\"", "cannot store TEXT value in INTEGER column"),
    ] {
        assert!(all[place].contains(from), "{from} in {}", all[place]);
        let error = refused(&with(all[place].replacen(from, to, 1)));
        assert!(error.contains(&format!("line {} of the export", place + 1)) && error.contains(told), "{error}");
    }
    let twice = refused(&with(all[place].repeat(2)));
    assert!(twice.contains(&format!("line {} ", place + 2)) && twice.contains("UNIQUE"), "{twice}");
    let missing = refused(&with(String::new()));
    assert!(missing.contains("the export has 0 rows of \"dead_letters\" and announces 1"), "{missing}");
    assert!(refused(&lines[..lines.len() - 40]).contains("it is no JSON object"), "cut in a line");
    assert!(refused(&all[..all.len() - 1].concat()).contains("it was cut or edited"), "cut between lines");
    for nothing in ["", "\n", "[]\n", "{}\n", "{\"table\":\"people\",\"row\":{}}\n"] {
        assert!(refused(nothing).contains("line 1 of the export"), "{nothing:?}");
    }
    let checksum = all[place].split("\"checksum\":").nth(1).unwrap().split(',').next().unwrap();
    let error = refused(&with(all[place].replace(&format!("\"checksum\":{checksum}"), "\"checksum\":1")));
    assert!(error.contains("no sound site: bodies: envelope"), "{error}");
}

#[tokio::test]
async fn an_export_of_another_schema_is_refused_and_says_what_to_do() {
    let plot = Plot::new();
    plot.open_manual().await.shutdown().await;
    let lines = String::from_utf8(exported(&plot.path())).unwrap();
    let schema = lines.split("\"schema\":").nth(1).unwrap().split(',').next().unwrap();
    for other in ["1", "999"] {
        let lines = lines.replacen(&format!("\"schema\":{schema}"), &format!("\"schema\":{other}"), 1);
        let error = imported(&plot.path().with_file_name("copy.db"), lines.as_bytes()).unwrap_err();
        assert!(matches!(&error, CopyError::OtherSchema { found, .. } if found.to_string() == other), "{error}");
    }
    let error = Reader::open(plot.path().with_file_name("copy.db")).unwrap_err();
    assert!(matches!(error, OpenError::Sqlite(_)), "nothing is there: {error}");
}

/// The first line of an export may come from anywhere; its statements make only what they say.
#[tokio::test]
async fn what_an_export_says_of_the_application_is_not_believed() {
    let plot = Plot::new();
    plot.open_manual().await.shutdown().await;
    let lines = String::from_utf8(exported(&plot.path())).unwrap();
    let before = names(&plot.path());
    let escape = plot.path().with_file_name("escaped.db");
    for (kind, sql) in [
        ("table", format!("ATTACH '{}' AS other", escape.display())),
        ("table", "DROP TABLE people".into()),
        ("table", "CREATE TABLE other (a)".into()),
        ("table", "CREATE TABLE mine (a); DROP TABLE people".into()),
        ("view", "CREATE TABLE mine (a)".into()),
        ("trigger", "CREATE TRIGGER other AFTER INSERT ON people BEGIN SELECT 1; END".into()),
        ("virtual", "CREATE VIRTUAL TABLE mine USING fts5(a)".into()),
    ] {
        let also = serde_json::json!([{"type": kind, "name": "mine", "sql": sql}]);
        let lines = lines.replacen("\"also\":[]", &format!("\"also\":{also}"), 1);
        let error = imported(&plot.path().with_file_name("copy.db"), lines.as_bytes()).unwrap_err();
        assert!(matches!(error, CopyError::Line { line: 1, .. }), "{error}");
        assert_eq!(names(&plot.path()), before, "{sql}");
    }
}
