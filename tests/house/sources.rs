//! Owns the rules about source files.

use std::fs;
use std::path::{Path, PathBuf};

/// The checkout.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder with this ending, in order.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Product sources: each file's path below `crates/`, and its text without its test module. Of a test module in a file of
/// its own that is how it opens.
pub fn sources() -> Vec<(String, String)> {
    let crates = root().join("crates");
    let sources = files(&crates, ".rs").into_iter().map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        let end = if path.ends_with("tests.rs") { "\n\n" } else { "#[cfg(test)]\nmod tests" };
        let product = text.split(end).next().unwrap_or_default().to_string();
        (path.strip_prefix(&crates).unwrap().to_string_lossy().into_owned(), product)
    });
    sources.filter(|(name, _)| name.contains("/src/")).collect()
}

fn offenders(rule: impl Fn(&str, &str) -> bool) -> Vec<String> {
    sources().into_iter().filter(|(name, text)| rule(name, text)).map(|(name, _)| name).collect()
}

/// Lines of code: no comments, no doc comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.starts_with("//"))
}

#[test]
fn every_file_opens_by_saying_what_it_owns() {
    let silent = offenders(|_, text| !text.starts_with("//! ") && !text.starts_with("#![doc = include_str!"));
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn no_file_has_a_name_that_would_fit_anything() {
    let names = ["utils", "util", "helpers", "helper", "types", "common", "manager", "misc", "core"];
    let dumps = offenders(|name, _| names.iter().any(|bad| name.ends_with(&format!("/{bad}.rs"))));
    assert_eq!(dumps, Vec::<String>::new());
}

const ACTORS: [&str; 5] = ["persistence", "supervisor", "worker", "broadcast", "runs/dispatcher"];

fn actor(name: &str) -> String {
    fs::read_to_string(root().join(format!("crates/worksite-runtime/src/{name}.rs"))).unwrap()
}

#[test]
fn every_actor_opens_with_its_contract() {
    for name in ACTORS {
        let text = actor(name);
        let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        for verb in ["owns", "Asks:", "Tells:", "Never:"] {
            assert!(head.contains(verb), "{name}.rs does not say what it {verb}");
        }
    }
    let runtime = sources().into_iter().filter(|(name, _)| name.starts_with("worksite-runtime/"));
    let acting = runtime.filter(|(_, text)| text.contains("impl Actor for")).count();
    assert_eq!(acting, ACTORS.len(), "an actor is not in the list of this test");
}

/// Asks an actor makes: the receivers of `.send(` on addresses.
fn asks(text: &str) -> Vec<&str> {
    code(text).filter(|line| line.contains(".send(") && !line.contains("do_send")).collect()
}

#[test]
fn actors_ask_only_the_room_below() {
    for name in ACTORS {
        let text = actor(name);
        let upward: Vec<_> = asks(&text)
            .into_iter()
            .filter(|line| !line.contains("persistence.send("))
            // Answers to whoever asked, through channels: they wait for nobody.
            .filter(|line| {
                ![
                    "accepted", "answer", "replied", "asker", "closed", "quiet", "rested", "facts", "reply", "watcher",
                    "verdicts",
                ]
                .iter()
                .any(|channel| line.contains(&format!("{channel}.send(")))
            })
            .collect();
        assert_eq!(upward, Vec::<&str>::new(), "{name} asks upward");
    }
    assert_eq!(asks("let x = self.supervisor.send(Sync).await;"), ["let x = self.supervisor.send(Sync).await;"]);
}

#[test]
fn only_the_clock_reads_the_clock() {
    let reads = |line: &str| line.contains("SystemTime::now") || line.contains("Instant::now");
    let readers = offenders(|name, text| !name.ends_with("/clock.rs") && code(text).any(reads));
    assert_eq!(readers, Vec::<String>::new());
}

#[test]
fn no_map_with_a_random_order_in_the_rooms_of_a_world() {
    let maps = |line: &str| ["HashMap", "HashSet", "RandomState"].iter().any(|name| line.contains(name));
    let rooms = ["worksite-model/", "worksite-runtime/", "worksite-simulation/"];
    // The map of ids has a hasher of its own, which is the same in every process.
    let random = offenders(|name, text| {
        rooms.iter().any(|room| name.starts_with(room)) && !name.ends_with("/id_map.rs") && code(text).any(maps)
    });
    assert_eq!(random, Vec::<String>::new());
    assert!(maps("use std::collections::HashMap;"));
}

#[test]
fn nothing_from_outside_can_make_the_product_unwrap() {
    let unwraps = |line: &str| line.contains(".unwrap()") || line.contains(".expect(");
    let simulated = |name: &str| name.starts_with("worksite-simulation/");
    let unwrapping = offenders(|name, text| !simulated(name) && code(text).any(unwraps));
    assert_eq!(unwrapping, Vec::<String>::new());
}

#[test]
fn sql_lives_in_one_room() {
    let sql = |line: &str| {
        ["\"SELECT ", "\"INSERT ", "\"DELETE ", "\"UPDATE ", "PRAGMA "].iter().any(|word| line.contains(word))
    };
    let speaking = offenders(|name, text| !name.starts_with("worksite-store/") && code(text).any(sql));
    assert_eq!(speaking, Vec::<String>::new());
}

#[test]
fn nothing_is_left_unfinished() {
    let words = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME")];
    let unfinished = offenders(|_, text| words.iter().any(|word| text.contains(word)));
    assert_eq!(unfinished, Vec::<String>::new());
}
