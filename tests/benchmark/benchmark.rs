//! The benchmark room: each line is measured beside its baseline in the same run, in turns, and told as their ratio.
//!
//! `cargo test --release -p benchmark -- [--quick] [--json] [LINE …]`. Rates are medians of repeats; the spread is that of
//! the ratio. Nothing here is asserted: a figure is for a person, and noise is no failure.
//!
//! `--curves` draws rates over sizes instead, and `--soak MINUTES` looks for growth under a long load.

mod apalis;
mod broadcast;
mod curves;
mod durable;
mod effectum;
mod file_size;
mod floor;
mod flows;
mod instructions;
mod kameo;
mod large_state;
mod machine;
mod memory;
mod memory_at_rest;
mod peers;
mod ractor;
mod recovery;
mod roster;
mod runs;
mod soak;
mod table;
mod ticks;
mod volatile;

use table::{Row, Table};
use worksite::prelude::SyncMode;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    pub repeats: usize,
    /// Messages of a full-size repeat are divided by this.
    pub divisor: usize,
}

type Measure = fn(Effort) -> Row;

const LINES: &[(&str, Measure)] = &[
    ("durable-1", |effort| durable::line(effort, 1, false).into()),
    ("durable-64", |effort| durable::line(effort, 64, false).into()),
    ("durable-1024", |effort| durable::line(effort, 1024, false).into()),
    ("ahead-1", |effort| durable::line(effort, 1, true).into()),
    ("ahead-64", |effort| durable::line(effort, 64, true).into()),
    ("ahead-1024", |effort| durable::line(effort, 1024, true).into()),
    ("floor-rows", |effort| floor::line(effort, floor::Shape::Rows).into()),
    ("floor-ahead", |effort| floor::line(effort, floor::Shape::Ahead).into()),
    ("floor-segments", |effort| floor::line(effort, floor::Shape::Segments).into()),
    ("floor-journal", |effort| floor::line(effort, floor::Shape::Journal).into()),
    ("floor-effectum-64", |effort| floor::against_effectum("floor-effectum-64", effort, "single", 64)),
    ("floor-effectum-batch", |effort| floor::against_effectum("floor-effectum-batch", effort, "batch", 2_000)),
    ("backlog-200k", |effort| durable::backlog(effort).into()),
    ("mixed-priorities", |effort| durable::mixed(effort).into()),
    ("bulk-1000", |effort| durable::bulk(effort).into()),
    ("effectum-64", |effort| effectum::singly("effectum-64", effort, SyncMode::Normal, false)),
    ("effectum-64-full", |effort| effectum::singly("effectum-64-full", effort, SyncMode::Full, false)),
    ("effectum-64-ahead", |effort| effectum::singly("effectum-64-ahead", effort, SyncMode::Normal, true)),
    ("effectum-batch", |effort| effectum::in_batches("effectum-batch", effort, SyncMode::Normal, false)),
    ("effectum-batch-full", |effort| effectum::in_batches("effectum-batch-full", effort, SyncMode::Full, false)),
    ("effectum-batch-ahead", |effort| effectum::in_batches("effectum-batch-ahead", effort, SyncMode::Normal, true)),
    ("apalis-2k", apalis::line),
    ("volatile", |effort| volatile::line(effort).into()),
    ("ticks-volatile-1k", |effort| ticks::volatile(effort, 1_000).into()),
    ("ticks-volatile-10k", |effort| ticks::volatile(effort, 10_000).into()),
    ("ticks-volatile-100k", |effort| ticks::volatile(effort, 100_000).into()),
    ("ticks-durable-1k", |effort| ticks::durable(effort, 1_000).into()),
    ("ticks-durable-10k", |effort| ticks::durable(effort, 10_000).into()),
    ("ticks-durable-100k", |effort| ticks::durable(effort, 100_000).into()),
    ("ticks-durable-rate", |effort| ticks::durable_rate(effort).into()),
    ("kameo", |effort| kameo::line(effort).into()),
    ("ractor", |effort| ractor::line(effort).into()),
    ("broadcast-1000", |effort| broadcast::line(effort).into()),
    ("state-1mib", |effort| large_state::line(effort).into()),
    ("flow-one", |effort| flows::line(effort, flows::Shape::One, false).into()),
    ("flow-one-volatile", |effort| flows::line(effort, flows::Shape::One, true).into()),
    ("flow-chain-10", |effort| flows::line(effort, flows::Shape::Chain, false).into()),
    ("flow-chain-10-volatile", |effort| flows::line(effort, flows::Shape::Chain, true).into()),
    ("flow-fan-100", |effort| flows::line(effort, flows::Shape::FanOut, false).into()),
    ("flow-fan-100-volatile", |effort| flows::line(effort, flows::Shape::FanOut, true).into()),
    ("flow-p50", |effort| flows::latency(effort, false, 50).into()),
    ("flow-p99", |effort| flows::latency(effort, false, 99).into()),
    ("flow-p50-volatile", |effort| flows::latency(effort, true, 50).into()),
    ("flow-p99-volatile", |effort| flows::latency(effort, true, 99).into()),
    ("file-10m", |effort| file_size::line(effort).into()),
    ("roster-1m", |effort| roster::line(effort).into()),
    ("recovery-1m", |effort| recovery::line(effort).into()),
    ("memory-idle-worker", |effort| memory::line(effort).into()),
    ("memory-cold-envelope", |effort| memory_at_rest::envelopes(effort).into()),
    ("memory-passivated-person", |effort| memory_at_rest::people(effort).into()),
    ("runs-add", |effort| runs::adds(effort).into()),
    ("runs-claim", |effort| runs::claims(effort).into()),
    ("runs-claim-no-match", |effort| runs::no_match(effort).into()),
    ("runs-search", |effort| runs::search(effort).into()),
    ("runs-restart-100k", |effort| runs::restart(effort).into()),
    ("runs-restart-memory", |effort| runs::restart_memory(effort).into()),
    ("instructions-raw", instructions::raw),
    ("instructions-send", instructions::send),
    ("instructions-settle", instructions::settle),
    ("instructions-ahead", instructions::ahead),
    ("instructions-volatile", instructions::volatile),
    ("instructions-actix", instructions::actix),
    ("instructions-claim", instructions::claim),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, what] = &arguments[..] {
        match flag.as_str() {
            memory::CHILD => return memory::child(what),
            memory_at_rest::CHILD => return memory_at_rest::child(what),
            instructions::CHILD => return instructions::child(what),
            runs::CHILD => return runs::child(what),
            ticks::CHILD => return ticks::child(what),
            _ => {}
        }
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if let Some(place) = arguments.iter().position(|argument| argument == soak::FLAG) {
        let Some(minutes) = arguments.get(place + 1).and_then(|minutes| minutes.parse().ok()) else {
            eprintln!("--soak MINUTES");
            std::process::exit(2);
        };
        return soak::run(minutes);
    }
    let effort = if has("--quick") { Effort { repeats: 3, divisor: 20 } } else { Effort { repeats: 5, divisor: 1 } };
    if has(curves::FLAG) {
        return curves::draw(effort).expect("the curves can be drawn");
    }
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = names.iter().find(|name| LINES.iter().all(|(line, _)| line != &name.as_str())) {
        let known: Vec<_> = LINES.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no line {unknown:?}; there are {}", known.join(", "));
        std::process::exit(2);
    }
    let mut table = Table::new(has("--json"));
    for (name, measure) in LINES {
        if names.is_empty() || names.iter().any(|wanted| wanted.as_str() == *name) {
            table.add(measure(effort));
        }
    }
    table.print();
}
