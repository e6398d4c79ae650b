//! The page of the inspector shows what it prints.
//!
//! `WORKSITE_REWRITE=1` rewrites the transcripts in `docs/inspector.md`; the difference is for the reviewer. Two tests that
//! rewrote one page at once could lose a transcript: there is one.

use crate::Press;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use worksite::block_on;
use worksite::prelude::*;

/// Where the transcript of a section stands in the page.
const FENCES: (&str, &str) = ("```text\n", "```\n");

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

/// Sheets are folded, and bound by threes.
fn bindery() -> Flow {
    let fold = |call: &mut Call<()>| {
        let sheets = call.first::<u64>("sheets").map_or(0, |sheets| *sheets);
        call.trace(format!("folded {sheets}"));
        Ok(call.emit("quire", sheets)?)
    };
    let fold = FlowRoutine::new(fold).slot::<u64>("sheets").event::<u64>("quire");
    let bind = FlowRoutine::new(|_: &mut Call<()>| Ok(())).slot::<u64>("quires").policy(ActivationPolicy::batch(3));
    let flow = Flow::builder("bindery").routine("fold", fold).routine("bind", bind);
    flow.connect("fold.quire", "bind.quires").build().unwrap()
}

/// Two frames are rendered, one of them at the second attempt, and one is wanted by nobody; three quires are bound, and
/// one waits for two more.
async fn night_shift(path: &Path) -> (Worksite, RunId) {
    let clock = ManualClock::new(Timestamp::from_seconds(1_767_225_600));
    let site = Worksite::builder().flow(bindery()).clock(clock.clock()).open(path).await.unwrap();
    let _log = site.subscribe_durably("log", Interest::everything()).await.unwrap();
    let queue = site.run_queue().await.unwrap();
    let gaia = RunnerInfo::new("gaia", Capabilities::none().tag("gpu").field("cores", 16)).slots(2);
    let frame = |number: i64| {
        let demands = Demands::none().tag("gpu").at_least("cores", 4 * number);
        RunDraft::of(&format!("frame {number}")).unwrap().agent("renderer").demands(demands)
    };
    let first = queue.add_run(frame(1)).await.unwrap();
    let claimed = queue.claim_run(&gaia).await.unwrap().unwrap();
    queue.report(&claimed, RunReport::Retry("out of memory".into())).await.unwrap();
    clock.advance(Duration::from_secs(600));
    queue.fail_timed_out_runs().await.unwrap();
    let claimed = queue.claim_run(&gaia).await.unwrap().unwrap();
    let picture = Payload::encode(&String::from("frame1.png")).unwrap();
    queue.report(&claimed, RunReport::Completed(Some(picture))).await.unwrap();
    for number in [2, 8] {
        queue.add_run(frame(number)).await.unwrap();
    }
    queue.claim_run(&gaia).await.unwrap().unwrap();

    let flows = site.flows();
    flows.attach("bindery", 7).await.unwrap();
    let sheets = flows.posting("bindery", "fold", "sheets").metadata("a novel");
    sheets.post_all(&[20_u64, 30, 40, 50]).await.unwrap();
    while site.tally().await.unwrap().waiting > 0 {
        site.rest().await.unwrap();
    }
    (site, first.id)
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
    compare("## A transcript", &transcript);

    let (site, first) = block_on(night_shift(&folder.path().join("night.db")));
    let mut transcript = String::new();
    for words in [
        "night.db queue",
        "night.db runs",
        &format!("night.db run {first}"),
        "night.db runners",
        "night.db runs --status pending --agent renderer --limit 1 --json",
        "night.db flows",
        "night.db jobs --status running",
        "night.db job job_1.3",
    ] {
        call(folder.path(), words, &mut transcript);
    }
    block_on(site.shutdown());
    compare("## Runs and jobs", &transcript);
}

/// The transcript stands in this section of the page.
fn compare(section: &str, transcript: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/inspector.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (start, _) = page.match_indices(FENCES.0).find(|(place, _)| *place > page.find(section).unwrap()).unwrap();
    let (before, rest) = (&page[..start], &page[start + FENCES.0.len()..]);
    let (shown, after) = rest.split_once(FENCES.1).unwrap();
    if std::env::var_os("WORKSITE_REWRITE").is_some() {
        let page = [before, FENCES.0, transcript.trim_end(), "\n", FENCES.1, after].concat();
        std::fs::write(&path, page).unwrap();
        return;
    }
    assert_eq!(transcript.trim_end(), shown.trim_end());
}
