//! Instructions a message, counted by callgrind: they mean the same on every machine, however busy it is. A child sends so
//! many messages, another one twice as many; the difference is what the messages cost, in all threads, SQLite included.
//!
//! `instructions-raw`: what the baseline of the durable lines costs, the rows alone. `instructions-send`: a durable send, up
//! to its receipt. `instructions-settle`: what it costs more when a routine then performs and settles it.
//! `instructions-ahead`: both, by a pure routine ahead of the disk. `instructions-volatile`: a volatile draft through the public API and its turn, on one thread; `instructions-actix`: a message of
//! actix and its handler. `instructions-claim`: a durable claim of one run of the queue, up to its answer.

use crate::Effort;
use crate::durable::{self, in_turns, work};
use crate::runs;
use crate::table::{Figure, Row};
use crate::ticks;
use std::process::Command;
use worksite::prelude::*;

/// The flag under which this program does what is counted.
pub const CHILD: &str = "--count-instructions-of";

const PEOPLE: usize = 64;
const IN_FLIGHT: usize = 64;

/// Workers that get a volatile draft each tick.
const TICKING: usize = 1_000;

pub fn raw(effort: Effort) -> Row {
    row("instructions-raw", "instructions/message", effort, |messages| slope("raw", messages))
}

pub fn send(effort: Effort) -> Row {
    row("instructions-send", "instructions/message", effort, |messages| slope("send", messages))
}

pub fn settle(effort: Effort) -> Row {
    row("instructions-settle", "instructions/message", effort, |messages| {
        Ok(slope("settle", messages)? - slope("send", messages)?)
    })
}

pub fn ahead(effort: Effort) -> Row {
    row("instructions-ahead", "instructions/message", effort, |messages| slope("ahead", messages))
}

pub fn volatile(effort: Effort) -> Row {
    row("instructions-volatile", "instructions/message", effort, |messages| slope("volatile", 10 * messages))
}

pub fn actix(effort: Effort) -> Row {
    row("instructions-actix", "instructions/message", effort, |messages| slope("actix", 10 * messages))
}

pub fn claim(effort: Effort) -> Row {
    row("instructions-claim", "instructions/run", effort, |runs| Ok(slope("claim", runs)? - slope("add", runs)?))
}

fn row(name: &'static str, unit: &'static str, effort: Effort, count: impl Fn(usize) -> Result<f64, String>) -> Row {
    let messages = 10_000 / effort.divisor.min(5);
    let values = (0..effort.repeats.min(3)).map(|_| count(messages)).collect();
    match values {
        Ok(values) => Figure { name: name.into(), unit, values, target: None }.into(),
        Err(reason) => Row::Skipped { name, reason },
    }
}

fn slope(what: &str, messages: usize) -> Result<f64, String> {
    Ok((counted(what, 2 * messages)? - counted(what, messages)?) / messages as f64)
}

/// All instructions of a child.
fn counted(what: &str, messages: usize) -> Result<f64, String> {
    let program = std::env::current_exe().expect("this program has a path");
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = valgrind.args([CHILD, &format!("{what}:{messages}")]).output();
    let output = output.map_err(|error| format!("valgrind cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let total = said.lines().find_map(|line| line.split_once("Collected :"));
    let total = total.and_then(|(_, total)| total.trim().parse().ok()).filter(|_| output.status.success());
    total.ok_or_else(|| format!("valgrind told nothing: {}", said.lines().last().unwrap_or_default()))
}

pub fn child(what: &str) {
    let (what, messages) = what.split_once(':').expect("WHAT:MESSAGES");
    let messages: usize = messages.parse().expect("a number of messages");
    match what {
        "raw" => drop(durable::raw(messages, IN_FLIGHT)),
        "volatile" => drop(ticks::sent(TICKING, messages / TICKING)),
        "actix" => drop(ticks::bare(TICKING, messages / TICKING)),
        "add" | "claim" => runs::counted(messages, what == "claim", IN_FLIGHT),
        _ => site(what, messages),
    }
}

/// A durable send each, and what it takes to settle it.
fn site(what: &str, messages: usize) {
    let folder = tempfile::tempdir().expect("a folder for the site");
    worksite::block_on(async {
        // A person nobody works for keeps the mail.
        let keeps = what == "send";
        let site = durable::builder_of(what == "ahead").manual(move |_| keeps);
        let site = site.open(folder.path().join("site.db")).await.expect("a site");
        site.sync((0..PEOPLE as i64).map(|id| Person::new(id, "worker"))).await.expect("a roster");
        let work = work();
        let send = |index: usize| site.send(Draft::of((index % PEOPLE) as i64, work.clone()));
        in_turns(IN_FLIGHT, messages, send, |receipt| assert!(receipt.is_ok(), "it was accepted")).await;
        site.quiesce().await.expect("settled");
        site.shutdown().await;
    });
}
