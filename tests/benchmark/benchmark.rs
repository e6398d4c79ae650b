//! The benchmark room: each line is measured beside its baseline in the same run, in turns, and told as their ratio.
//!
//! `cargo test --release -p benchmark -- [--quick] [--json] [LINE …]`. Rates are medians of repeats; the spread is that of
//! the ratio. Nothing here is asserted: a figure is for a person, and noise is no failure.

mod durable;
mod machine;
mod memory;
mod recovery;
mod table;
mod volatile;

use table::{Line, Table};

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Effort {
    pub repeats: usize,
    /// Messages of a full-size repeat are divided by this.
    pub divisor: usize,
}

type Measure = fn(Effort) -> Line;

const LINES: &[(&str, Measure)] = &[
    ("durable-1", |effort| durable::line(effort, 1)),
    ("durable-64", |effort| durable::line(effort, 64)),
    ("durable-1024", |effort| durable::line(effort, 1024)),
    ("backlog-200k", durable::backlog),
    ("mixed-priorities", durable::mixed),
    ("bulk-1000", durable::bulk),
    ("volatile", volatile::line),
    ("recovery-1m", recovery::line),
    ("memory-idle-worker", memory::line),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, who] = &arguments[..]
        && flag == memory::CHILD
    {
        return memory::child(who);
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let names: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if let Some(unknown) = names.iter().find(|name| LINES.iter().all(|(line, _)| line != &name.as_str())) {
        let known: Vec<_> = LINES.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no line {unknown:?}; there are {}", known.join(", "));
        std::process::exit(2);
    }
    let effort = if has("--quick") { Effort { repeats: 3, divisor: 20 } } else { Effort { repeats: 5, divisor: 1 } };
    let mut table = Table::new(has("--json"));
    for (name, measure) in LINES {
        if names.is_empty() || names.iter().any(|wanted| wanted.as_str() == *name) {
            table.add(measure(effort));
        }
    }
    table.print();
}
