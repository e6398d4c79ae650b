//! The inspector as it is called: beside a living owner, and on a cold file.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

mod jobs;
mod runs;
mod transcript;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use worksite::block_on;
use worksite::prelude::*;

/// A folder with a site in it.
struct Plot(tempfile::TempDir);

impl Plot {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The inspector, called on the site with these words.
    fn call(&self, words: &[&str]) -> Output {
        call(&self.path("site.db"), words)
    }

    /// What it prints as JSON, a value a line, and its exit status.
    fn json(&self, words: &[&str]) -> (Vec<Value>, i32) {
        let output = self.call(&[words, &["--json"]].concat());
        // Shown when the test fails.
        eprintln!("{words:?}: {}", complaint(&output));
        (values(&output), output.status.code().unwrap())
    }
}

fn call(file: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_worksite")).arg(file).args(words).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn values(output: &Output) -> Vec<Value> {
    out(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

struct Press;

impl Routine for Press {
    const NAME: &'static str = "press";
    type State = u64;
    type Message = u64;

    fn perform(&self, turn: &mut Turn<u64>, sheets: u64) -> Ended {
        if sheets > 100 {
            return Ok(Outcome::Reject("out of paper".into()));
        }
        *turn.state += sheets;
        Ok(Outcome::Done)
    }
}

/// ada prints; grace reads her mail herself; barbara has left.
async fn open(plot: &Plot) -> Worksite {
    let builder = Worksite::builder().routine(Press).manual(|person| person.name == "grace");
    builder.open(plot.path("site.db")).await.unwrap()
}

async fn site() -> (Plot, Worksite) {
    let plot = Plot(tempfile::tempdir().unwrap());
    let site = open(&plot).await;
    let ada = Person::new(1, "ada").with_role("printer");
    site.sync([ada, Person::new(2, "grace"), Person::new(3, "barbara")]).await.unwrap();
    let text = |text: &str| Draft::to(2, &text.to_string()).unwrap();
    site.send(text("hello \u{1b}[31mworld").from(1).kind("chat").thread("plan").priority(Priority::Urgent))
        .await
        .unwrap();
    site.send(Draft::to(2, &json!({"say": ["bonjour", 1]})).unwrap().from(3)).await.unwrap();
    let later = Timestamp::from_seconds(4_000_000_000);
    site.send(Draft::to(2, &1_000_u64).unwrap().not_before(later)).await.unwrap();
    site.leave(3, Departure::Keep).await.unwrap();
    for sheets in [30_u64, 500, 12] {
        site.send(Draft::to(1, &sheets).unwrap().thread("plan")).await.unwrap();
    }
    while site.tally().await.unwrap().waiting > 3 {
        site.rest().await.unwrap();
    }
    (plot, site)
}

#[test]
fn every_view_shows_the_same_beside_a_living_owner_and_on_a_cold_file() {
    let (plot, site) = block_on(site());
    for _ in ["beside", "cold"] {
        let (status, code) = plot.json(&["status"]);
        assert_eq!((status[0]["accepted"].as_u64(), status[0]["conserved"].as_bool(), code), (Some(6), Some(true), 0));
        assert_eq!(
            (&status[0]["buried"], &status[0]["settled"], &status[0]["waiting"]),
            (&json!(1), &json!(2), &json!(3))
        );

        let (inboxes, _) = plot.json(&["inbox"]);
        assert_eq!(inboxes.len(), 1);
        assert_eq!((&inboxes[0]["name"], &inboxes[0]["waiting"]), (&json!("grace"), &json!(3)));

        for grace in ["grace", "2"] {
            let (mail, code) = plot.json(&["inbox", grace]);
            assert_eq!((mail.len(), code), (3, 0));
            assert_eq!(mail[0]["payload"]["text"], "hello \u{1b}[31mworld");
            assert_eq!((&mail[0]["from_name"], &mail[0]["priority"]), (&json!("ada"), &json!("urgent")));
            assert_eq!(mail[1]["payload"]["json"], json!({"say": ["bonjour", 1]}));
            assert_eq!(mail[2]["payload"], json!({"type": "u64", "version": 1, "encoding": "bincode", "bytes": 3}));
            assert_eq!(mail[2]["due"], json!(4_000_000_000_000_000_i64));
        }
        let (page, _) = plot.json(&["inbox", "grace", "--after", "1", "--limit", "1"]);
        assert_eq!((page.len(), &page[0]["id"]), (1, &json!(2)));

        let (workers, _) = plot.json(&["workers"]);
        assert_eq!(workers.len(), 2);
        assert_eq!((&workers[0]["role"], &workers[0]["states"][0]["routine"]), (&json!("printer"), &json!("press")));

        let (dead, _) = plot.json(&["dead", "--limit", "5"]);
        assert_eq!((dead.len(), &dead[0]["failure"]), (1, &json!("failed: out of paper")));

        let (thread, _) = plot.json(&["thread", "plan"]);
        let standings: Vec<_> = thread.iter().map(|entry| entry["standing"].as_str().unwrap()).collect();
        assert_eq!(standings, ["waiting", "settled", "buried", "settled"]);
        assert_eq!(plot.json(&["thread", "nothing"]), (vec![], 0));

        let (check, code) = plot.json(&["check"]);
        assert_eq!((check[0]["sound"].as_bool(), &check[0]["envelopes"], code), (Some(true), &json!(3), 0));
        block_on(site.shutdown());
    }
}

#[test]
fn people_get_tables_that_mail_cannot_play_with() {
    let (plot, site) = block_on(site());
    let inbox = out(&plot.call(&["inbox", "grace"]));
    let lines: Vec<_> = inbox.lines().collect();
    assert!(lines[0].starts_with("id  from name  priority  attempt  due "), "{inbox}");
    assert!(lines[1].contains("urgent") && lines[1].ends_with("hello \\u{1b}[31mworld"), "{inbox}");
    assert!(lines[2].contains("person 3") && lines[2].ends_with("{\"say\":[\"bonjour\",1]}"), "{inbox}");
    assert!(lines[3].contains("2096-10-02 07:06:40") && lines[3].ends_with("u64 v1, bincode, 3 bytes"), "{inbox}");
    assert!(out(&plot.call(&["inbox", "grace", "--limit", "2"])).ends_with("there may be more: --after 2\n"));
    assert!(out(&plot.call(&["dead"])).contains("failed: out of paper"));
    assert!(out(&plot.call(&["workers"])).contains("press"));
    assert_eq!(out(&plot.call(&["thread", "nothing"])), "nothing\n");
    assert!(out(&plot.call(&["status"])).contains("\nconserved       yes\n"));
    block_on(site.shutdown());
}

#[test]
fn dead_letters_are_sent_again_from_a_cold_file_and_never_under_a_living_owner() {
    let (plot, site) = block_on(site());
    let refused = plot.call(&["redrive", "--all"]);
    assert_eq!(refused.status.code(), Some(1));
    let owner = std::process::id();
    assert!(
        complaint(&refused).starts_with(&format!("worksite: process {owner} owns the site: stop it")),
        "{refused:?}"
    );
    let refused = plot.call(&["redrive", "5", "--json"]);
    let error: Value = serde_json::from_str(&complaint(&refused)).unwrap();
    assert!(error["error"].as_str().unwrap().contains(&format!("process {owner} ")), "{error}");
    block_on(site.shutdown());

    let (rows, code) = plot.json(&["redrive", "5", "77"]);
    assert_eq!((rows.len(), code), (2, 1), "one of them could not go");
    assert_eq!(rows[0], json!({"id": 5, "new_id": 7, "kept": null}));
    assert_eq!(rows[1]["kept"], "there is no dead letter 77");
    assert_eq!(plot.json(&["dead"]).0.len(), 0);
    assert_eq!(plot.json(&["redrive", "--all"]), (vec![], 1), "nothing to do");
    assert_eq!(plot.json(&["status"]).0[0]["waiting"], 4, "it waits for the application");
    assert_eq!(plot.json(&["check"]).1, 0);

    // The application takes it up, and fails again.
    let site = block_on(open(&plot));
    block_on(async {
        while site.tally().await.unwrap().waiting > 3 {
            site.rest().await.unwrap();
        }
        site.shutdown().await;
    });
    let (rows, code) = plot.json(&["redrive", "--all"]);
    assert_eq!((rows, code), (vec![json!({"id": 7, "new_id": 8, "kept": null})], 0));
}

#[test]
fn a_site_is_copied_beside_its_owner_and_comes_back_from_both_kinds_of_copy() {
    let (plot, site) = block_on(site());
    let text = |name: &str| plot.path(name).display().to_string();
    assert_eq!(plot.json(&["backup", &text("copy.db")]), (vec![json!({"backup": text("copy.db")})], 0));
    let (told, code) = plot.json(&["export", &text("copy.jsonl")]);
    assert_eq!((told[0]["tables"]["envelopes"].as_u64(), code), (Some(3), 0));
    let printed = plot.call(&["export"]);
    assert_eq!(printed.stdout, std::fs::read(plot.path("copy.jsonl")).unwrap());
    block_on(site.shutdown());

    let imported = call(&plot.path("new.db"), &["import", &text("copy.jsonl"), "--json"]);
    assert_eq!(values(&imported)[0]["rows"], told[0]["rows"]);
    let mut piped = Command::new(env!("CARGO_BIN_EXE_worksite"));
    piped.arg(plot.path("piped.db")).args(["import", "-"]).stdin(std::fs::File::open(text("copy.jsonl")).unwrap());
    assert!(piped.status().unwrap().success());
    for copy in ["copy.db", "new.db", "piped.db"] {
        let checked = call(&plot.path(copy), &["check", "--json"]);
        assert_eq!((checked.status.code(), &values(&checked)[0]["envelopes"]), (Some(0), &json!(3)), "{copy}");
        assert_eq!(call(&plot.path(copy), &["export"]).stdout, printed.stdout, "{copy}");
    }
    for again in [
        plot.call(&["backup", &text("copy.db")]),
        plot.call(&["export", &text("copy.jsonl")]),
        call(&plot.path("new.db"), &["import", &text("copy.jsonl")]),
    ] {
        assert_eq!(again.status.code(), Some(1));
        assert!(complaint(&again).contains("is there already"), "{again:?}");
    }
    std::fs::write(plot.path("broken.jsonl"), [&printed.stdout[..], b"{\n"].concat()).unwrap();
    let lines = out(&printed).lines().count();
    let broken = call(&plot.path("none.db"), &["import", &text("broken.jsonl")]);
    assert!(complaint(&broken).contains(&format!("line {} of the export is broken", lines + 1)), "{broken:?}");
    assert!(!plot.path("none.db").exists());
}

#[test]
fn problems_end_with_one_and_wrong_use_with_two() {
    let (plot, site) = block_on(site());
    block_on(site.shutdown());
    for (words, told) in [
        (&["inbox", "nobody"][..], "nobody here has the name or number"),
        (&["inbox", "99"], "nobody here has the name or number"),
        (&["import", "/nowhere/at/all"], "/nowhere/at/all cannot be read"),
    ] {
        let output = plot.call(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(complaint(&output).contains(told), "{output:?}");
    }
    for words in [
        &[][..],
        &["redrive"],
        &["redrive", "1", "--all"],
        &["redrive", "x"],
        &["dead", "--limit", "0"],
        &["thread"],
        &["sing"],
    ] {
        assert_eq!(plot.call(words).status.code(), Some(2), "{words:?}");
    }
    for words in [&["status"][..], &["redrive", "--all"], &["redrive", "1"]] {
        let missing = call(&plot.path("missing.db"), words);
        assert!(missing.status.code() == Some(1) && complaint(&missing).contains("there is no file"), "{missing:?}");
        assert!(!plot.path("missing.db").exists(), "looking makes nothing");
        std::fs::write(plot.path("letter.txt"), "dear ada, ".repeat(1_000)).unwrap();
        assert_eq!(call(&plot.path("letter.txt"), words).status.code(), Some(1));
    }
    let file = worksite::store::rusqlite::Connection::open(plot.path("site.db")).unwrap();
    file.execute_batch("UPDATE envelopes SET body = x'00' WHERE id = 1; UPDATE site SET accepted = accepted + 1")
        .unwrap();
    drop(file);
    let check = plot.call(&["check"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(
        out(&check).contains("conservation: 7 were accepted") && out(&check).contains("bodies: envelope 1"),
        "{check:?}"
    );
    assert_eq!(plot.json(&["check"]).0[0]["problems"].as_array().unwrap().len(), 2);
    assert_eq!(plot.json(&["status"]).1, 1);
    let (mail, code) = plot.json(&["inbox", "grace"]);
    assert_eq!((mail[0]["unreadable"].as_str(), mail.len(), code), (Some("its checksum does not fit"), 3, 1));
}

#[test]
fn who_reads_only_the_beginning_gets_no_complaint() {
    let (plot, site) = block_on(site());
    block_on(async {
        let drafts = (0..5_000).map(|_| Draft::to(2, &"x".repeat(100)).unwrap()).collect();
        site.send_all(drafts).await.unwrap();
        site.shutdown().await;
    });
    for words in [&["export"][..], &["inbox", "grace", "--limit", "9999"]] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_worksite"));
        child.arg(plot.path("site.db")).args(words).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), complaint(&output).as_str()), (Some(0), ""));
    }
}

#[test]
fn facts_and_cursors_are_shown_beside_a_living_owner_and_followed() {
    use std::io::{BufRead, BufReader};
    let plot = Plot(tempfile::tempdir().unwrap());
    block_on(async {
        let site = Worksite::open(plot.path("site.db")).await.unwrap();
        site.sync([Person::new(1, "ada")]).await.unwrap();
        assert_eq!(plot.json(&["facts"]), (vec![], 0));
        let interest = worksite::model::Interest::everything();
        let _told = site.subscribe_durably("reader", interest).await.unwrap();
        let id = site.send(Draft::to(1, &String::from("hello")).unwrap()).await.unwrap().id;
        let mut follower = Command::new(env!("CARGO_BIN_EXE_worksite"))
            .arg(plot.path("site.db"))
            .args(["facts", "--follow", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
        let accepted = next();
        assert_eq!(
            (&accepted["fact"], &accepted["envelope"], &accepted["offset"]),
            (&json!("accepted"), &json!(1), &json!(1))
        );
        site.acknowledge(vec![id]).await.unwrap();
        assert_eq!(next()["fact"], json!("removed"), "it goes on with what comes");
        follower.kill().unwrap();
        follower.wait().unwrap();
        let (cursors, status) = plot.json(&["cursors"]);
        assert_eq!((status, &cursors[0]["name"], &cursors[0]["last"]), (0, &json!("reader"), &json!(2)));
        site.shutdown().await;
        assert_eq!(plot.json(&["facts", "--after", "1"]).0.len(), 1, "and of a cold file");
    });
}
