//! The page of the inspector shows what it prints.
//!
//! `WORKSITE_REWRITE=1` rewrites the transcript in `docs/inspector.md`; the difference is for the reviewer.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::path::{Path, PathBuf};
use std::process::Command;
use worksite::block_on;
use worksite::prelude::*;

/// Where the transcript stands in the page.
const FENCES: (&str, &str) = ("```text\n", "```\n");

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

/// ada prints what she is sent; grace reads her mail herself.
async fn print_shop(path: &Path) -> Worksite {
    let clock = ManualClock::new(Timestamp::from_seconds(1_767_225_600));
    let builder = Worksite::builder().routine(Press).manual(|person| person.name == "grace").clock(clock.clock());
    let site = builder.open(path).await.unwrap();
    site.sync([Person::new(1, "ada").with_role("printer"), Person::new(2, "grace")]).await.unwrap();
    let text = |text: &str| Draft::to(2, &text.to_string()).unwrap();
    site.send(text("the posters are ready").from(1).kind("chat").priority(Priority::High)).await.unwrap();
    site.send(Draft::to(2, &serde_json::json!({"invoice": 17, "due": "friday"})).unwrap()).await.unwrap();
    site.send(text("water the plants").not_before(Timestamp::from_seconds(1_767_600_000))).await.unwrap();
    for sheets in [30_u64, 500, 12] {
        site.send(Draft::to(1, &sheets).unwrap().from(2).thread("posters")).await.unwrap();
    }
    while site.tally().await.unwrap().waiting > 3 {
        site.rest().await.unwrap();
    }
    site
}

fn call(folder: &Path, words: &str, transcript: &mut String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_worksite"));
    let output = command.current_dir(folder).args(words.split(' ')).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap().replace(&format!("process {} ", std::process::id()), "process 4711 ");
    transcript.push_str(&format!("$ worksite {words}\n{said}"));
    match output.status.code().unwrap() {
        0 => transcript.push('\n'),
        code => transcript.push_str(&format!("(exit status {code})\n\n")),
    }
}

#[test]
fn the_page_shows_what_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let site = block_on(print_shop(&folder.path().join("site.db")));
    let mut transcript = String::new();
    for words in [
        "site.db status",
        "site.db inbox",
        "site.db inbox grace",
        "site.db workers",
        "site.db dead",
        "site.db thread posters",
        "site.db redrive 5",
    ] {
        call(folder.path(), words, &mut transcript);
    }
    block_on(site.shutdown());
    for words in [
        "site.db redrive 5",
        "site.db inbox grace --json --limit 1",
        "site.db check --json",
        "site.db backup monday.db",
        "site.db export monday.jsonl",
        "new.db import monday.jsonl",
        "new.db check",
        "new.db import monday.jsonl",
    ] {
        call(folder.path(), words, &mut transcript);
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/inspector.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(FENCES.0).unwrap();
    let (shown, after) = rest.split_once(FENCES.1).unwrap();
    if std::env::var_os("WORKSITE_REWRITE").is_some() {
        let page = [before, FENCES.0, transcript.trim_end(), "\n", FENCES.1, after].concat();
        std::fs::write(&path, page).unwrap();
        return;
    }
    assert_eq!(transcript.trim_end(), shown.trim_end());
}
