//! Every example prints what its page says, and what is killed and run again ends the same.
//!
//! `WORKSITE_REWRITE=1` rewrites the `.out` files; the difference is for the reviewer.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs an example as a user would; the build has released its lock by the time tests run.
fn run(example: &str, arguments: &[&str]) -> Output {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "--quiet", "--example", example]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.arg("--").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn compare(example: &str, transcript: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(format!("{example}.out"));
    if std::env::var_os("WORKSITE_REWRITE").is_some() {
        std::fs::write(&path, transcript).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(transcript, expected, "{}", path.display());
}

fn as_text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_first_message_is_as_printed_also_after_being_killed_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let unbroken = folder.path().join("unbroken.db");
    compare("01_first_message", &text(&run("01_first_message", &[as_text(&unbroken)])));
    let killed = folder.path().join("killed.db");
    for asked in ["0", "1", "2"] {
        let ended = run("01_first_message", &[as_text(&killed), "--kill-after", asked]);
        assert!(!ended.status.success(), "it should have been killed");
    }
    compare("01_first_message", &text(&run("01_first_message", &[as_text(&killed)])));
}

/// The ladder, from its second step on: each in a temporary site of its own, and again in a given one.
#[test]
fn each_example_of_the_ladder_is_as_printed() {
    let ladder = [
        "02_two_workers",
        "03_urgent_mail",
        "04_scheduled_mail",
        "05_orders",
        "06_subscribers",
        "07_state_history",
        "08_claims_and_leases",
        "09_dead_letters",
        "10_agents",
        "11_processor",
        "12_cache",
        "13_flow_states",
        "14_flow_posting",
    ];
    let folder = tempfile::tempdir().unwrap();
    for example in ladder {
        let given = folder.path().join(format!("{example}.db"));
        for arguments in [&[][..], &[as_text(&given)]] {
            let output = run(example, arguments);
            assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
            compare(example, &text(&output));
        }
        assert!(given.exists(), "{example} uses the site it is given");
    }
}

/// The page of the ladder shows the transcripts as they are.
#[test]
fn the_page_of_the_ladder_has_each_transcript() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/examples.md")).unwrap();
    let mut shown = 0;
    for entry in std::fs::read_dir(root.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "out") {
            let block = format!("```text\n{}```\n", std::fs::read_to_string(&path).unwrap());
            assert!(page.contains(&block), "docs/examples.md does not show {} as it is", path.display());
            shown += 1;
        }
    }
    assert!(shown > 8, "the ladder has {shown} steps only");
}

/// The last line of a big example's small run on real input, all checks of which are ticked.
fn digest(example: &str, site: &Path, more: &[&str]) -> (String, String) {
    let output = run(example, &[&["--cut", "--quiet", "--site", as_text(site)], more].concat());
    let said = text(&output);
    assert!(output.status.success(), "{example} {more:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains('✓') && !said.contains('@'), "{example} shows its checks, and nobody's address: {said}");
    (last_line(&said), said)
}

fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().to_string()
}

/// What all big examples promise; the office, which has the most words of its own, has tests of its own, too.
fn holds_what_all_promise(example: &str, own: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (unbroken, killed) = (folder.path().join("unbroken.db"), folder.path().join("killed.db"));
    let (expected, _) = digest(example, &unbroken, &[]);
    assert!(expected.strip_prefix("digest ").is_some_and(|digits| digits.len() == 64), "{expected}");
    let (chaos, said) = digest(example, &killed, &[own, &["--chaos", "2"]].concat());
    assert_eq!(said.lines().filter(|line| line.starts_with("killed at")).count(), 2, "{said}");
    assert!(said.contains("✓ killed before its end") && said.contains("✓ digest of an unbroken run"), "{said}");
    assert_eq!(chaos, expected, "{example} was killed");
    let (kept, said) = digest(example, &killed, &["--keep"]);
    assert_eq!(kept, expected, "a finished site is only reported on");
    assert!(!said.contains("afresh"), "{said}");
    assert_eq!(digest(example, &killed, own).0, expected, "a finished site is replaced");
    for wrong in [&["--no-such-thing"][..], &["--chaos", "many"], &["--site"], &["--keep", "--chaos", "1"]] {
        assert_eq!(run(example, wrong).status.code(), Some(2), "{example} {wrong:?}");
    }
    let nowhere = folder.path().join("nowhere");
    let ended = run(example, &["--data", as_text(&nowhere), "--site", as_text(&nowhere)]);
    assert_eq!(ended.status.code(), Some(1), "{example} has no data");
    assert!(!nowhere.exists(), "{example} wrote nothing");
    let help = text(&run(example, &["--help"]));
    for word in ["--site", "--keep", "--cut", "--data", "--chaos N", "--quiet", "--help"] {
        assert!(help.contains(&format!("\n  {word} ")), "{example}: {help}");
    }
}

#[test]
fn campus_chat_holds_what_all_promise() {
    holds_what_all_promise("campus_chat", &[]);
}

#[test]
fn mailroom_holds_what_all_promise() {
    holds_what_all_promise("mailroom", &[]);
}

/// Also when it loses runners.
#[test]
fn night_shift_holds_what_all_promise() {
    holds_what_all_promise("night_shift", &["--kill-runners"]);
}

#[test]
fn service_floor_holds_what_all_promise() {
    holds_what_all_promise("service_floor", &[]);
}

#[test]
fn virtual_office_holds_what_all_promise() {
    holds_what_all_promise("virtual_office", &[]);
}

#[test]
fn campus_chat_says_what_is_wrong_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("bad.csv.gz");
    let site = folder.path().join("site.db");
    let mut packed = flate2::write::GzEncoder::new(std::fs::File::create(&data).unwrap(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, b"Source,Target,Timestamp\n1,2,4/15/04 2:56 PM\n1,two,4/15/04 2:57 PM\n")
        .unwrap();
    packed.finish().unwrap();
    let ended = run("campus_chat", &["--data", as_text(&data), "--site", as_text(&site)]);
    let error = String::from_utf8(ended.stderr).unwrap();
    assert!(error.contains("line 3") && error.contains("\"two\""), "{error}");
    assert!(!site.exists(), "nothing was written");
}

#[test]
fn mailroom_says_what_is_wrong_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let (data, site) = (folder.path().join("bad.tsv.gz"), folder.path().join("site.db"));
    let mut packed = flate2::write::GzEncoder::new(std::fs::File::create(&data).unwrap(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, b"From\tTo\n").unwrap();
    packed.finish().unwrap();
    let ended = run("mailroom", &["--data", as_text(&data), "--site", as_text(&site)]);
    let error = String::from_utf8(ended.stderr).unwrap();
    assert!(error.contains("line 1") && error.contains("nothing was written"), "{error}");
    assert!(!site.exists(), "nothing was written");
}

/// The first hours of the office in a folder: what it prints.
fn office(folder: &Path, site: &str, more: &[&str]) -> String {
    let site = folder.join(site);
    let mut arguments = vec!["--plain", "--ticks", "200", "--site", as_text(&site)];
    arguments.extend(more);
    let output = run("virtual_office", &arguments);
    assert!(output.status.success(), "{more:?}: {}{}", text(&output), String::from_utf8_lossy(&output.stderr));
    text(&output)
}

#[test]
fn a_morning_of_virtual_office_has_one_digest_killed_or_not_on_one_thread_or_two_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let recording = folder.join("recording.jsonl");
    let expected = last_line(&office(folder, "a.db", &["--record", as_text(&recording)]));
    assert!(expected.starts_with("digest ") && expected.len() > 64, "{expected}");
    let chaos = office(folder, "killed.db", &["--chaos", "3"]);
    assert_eq!(chaos.lines().filter(|line| line.starts_with("killed at")).count(), 3, "{chaos}");
    assert_eq!(last_line(&chaos), expected);
    assert_eq!(last_line(&office(folder, "one.db", &["--threads", "1"])), expected);
    let replayed = office(folder, "replayed.db", &["--replay", as_text(&recording)]);
    assert_eq!(last_line(&replayed), expected);
    assert!(replayed.contains("✓ planners asked beside the recording"), "{replayed}");
    assert_ne!(last_line(&office(folder, "other.db", &["--seed", "8"])), expected);
    assert_eq!(last_line(&office(folder, "a.db", &["verify"])), expected);
    let fork = folder.join("fork.db");
    office(folder, "a.db", &["fork", "97", as_text(&fork)]);
    office(folder, "fork.db", &["inject", "120", "blocker", "Ada"]);
    office(folder, "fork.db", &[]);
    let diff = office(folder, "a.db", &["diff", as_text(&fork)]);
    assert!(diff.contains("part in tick 97"), "{diff}");
    office(folder, "a.db", &["export", as_text(&folder.join("export"))]);
    office(folder, "a.db", &["rewind", "150"]);
    let resumed = office(folder, "a.db", &[]);
    assert!(resumed.contains("has come to 150 of 200 ticks"), "{resumed}");
    assert_eq!(last_line(&resumed), expected);
    let page = std::fs::read_to_string(folder.join("a.out/office.html")).unwrap();
    assert!(page.contains("<svg") && page.contains(expected.trim_start_matches("digest ")) && !page.contains("src="));
}

#[test]
fn virtual_office_says_what_is_wrong_with_its_arguments_and_its_site() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site.db");
    let failed = |arguments: &[&str]| {
        let mut all = vec!["--quiet", "--plain", "--ticks", "5", "--site", as_text(&site)];
        all.extend(arguments);
        let output = run("virtual_office", &all);
        assert!(!output.status.success(), "{arguments:?}");
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(failed(&["--seed", "none"]).0, Some(2));
    assert_eq!(failed(&["fork", "3"]).0, Some(2));
    assert!(failed(&["--data", "/nowhere"]).1.contains("--data"));
    assert!(!site.exists(), "nothing was written");
    assert!(failed(&["verify"]).1.contains("run the office first"));
    assert!(run("virtual_office", &["--quiet", "--ticks", "5", "--site", as_text(&site)]).status.success());
    assert!(failed(&["--seed", "8"]).1.contains("founded otherwise"));
    assert!(failed(&["--planner", "oracle"]).1.contains("oracle"));
}
