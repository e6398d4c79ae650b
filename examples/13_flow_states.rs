//! 13 · The patterns of seed 003 in one flow: a counter, a connection pool, a configuration that is loaded again after its
//! time, and a threshold that learns. One new word: *resource*, what cannot be written and is made again in each life.
//!
//! `cargo run --example 13_flow_states [SITE]`. The site is opened twice, with a clock that is moved by hand.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use worksite::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    worksite::block_on(async {
        let clock = ManualClock::new(Timestamp::from_seconds(1_000));
        for life in 1..=2 {
            println!("life {life}");
            let site = Worksite::builder().flow(desk()?).clock(clock.clock()).open(&path).await?;
            let flows = site.flows();
            let worker = flows.attach("desk", 7).await?;
            for (id, kind) in [("a", "read"), ("b", "write"), ("c", "read")] {
                let request = Request { id: format!("{id}{life}"), kind: kind.into() };
                let (_, job) = flows.post("desk", "counter", "request", &request).await?;
                job.wait(Some(Duration::from_secs(10))).await?;
                print!("{}", job.get().await?.map(|job| job.notes().output).unwrap_or_default());
                clock.advance(Duration::from_secs(25));
            }
            println!("counted: {:?}", worker.state::<Counts>("counter").await?.unwrap_or_default());
            println!("learned: {:?}", worker.state::<Adaptive>("adaptive").await?.unwrap_or_default());
            flows.shutdown(true).await?;
        }
        Ok(())
    })
}

fn desk() -> Result<Flow, FlowBuildError> {
    Flow::builder("desk")
        .routine("counter", FlowRoutine::new(count).slot::<Request>("request").event::<Request>("counted"))
        .routine("config", FlowRoutine::new(reload).slot::<Request>("request").event::<Request>("configured"))
        .routine("database", FlowRoutine::new(query).slot::<Request>("query").event::<f64>("took"))
        .routine("adaptive", FlowRoutine::new(adapt).slot::<f64>("took"))
        .connect("counter.counted", "config.request")
        .connect("config.configured", "database.query")
        .connect("database.took", "adaptive.took")
        .resource("pool", Pool::default)
        .build()
}

/// The counter pattern: statistics in the state.
fn count(call: &mut Call<Counts>) -> FlowEnded {
    let Some(request) = call.first::<Request>("request") else { return Ok(()) };
    let counts = call.state_mut();
    counts.total += 1;
    *counts.by_type.entry(request.kind.clone()).or_default() += 1;
    let text = format!("Request {} ({}) - Total: {}\n", request.id, request.kind, counts.total);
    call.say(text);
    Ok(call.emit("counted", (*request).clone())?)
}

/// The hot-reload pattern: what is older than a minute is fetched again.
fn reload(call: &mut Call<Config>) -> FlowEnded {
    let Some(request) = call.first::<Request>("request") else { return Ok(()) };
    let (now, checked) = (call.now(), call.state().checked);
    if checked.is_none_or(|checked| now.since(checked) > Duration::from_secs(60)) {
        let config = call.state_mut();
        (config.version, config.checked) = (config.version + 1, Some(now));
        let text = format!("  config version {} loaded\n", config.version);
        call.say(text);
    }
    Ok(call.emit("configured", (*request).clone())?)
}

/// The connection-pool pattern: a resource, because connections cannot be written.
fn query(call: &mut Call<()>) -> FlowEnded {
    let Some(request) = call.first::<Request>("query") else { return Ok(()) };
    let used = call.resource::<Pool>("pool")?.0.fetch_add(1, Ordering::Relaxed);
    if used == 0 {
        call.say("  a pool is made\n");
    }
    Ok(call.emit("took", if request.kind == "write" { 0.9 } else { 0.2 })?)
}

/// The adaptive pattern: a threshold that follows what is seen.
fn adapt(call: &mut Call<Adaptive>) -> FlowEnded {
    let took = call.first::<f64>("took").map_or(0.0, |took| *took);
    let seen = call.state_mut();
    let step = if took > seen.threshold { 5 } else { -5 };
    seen.adjustments += 1;
    seen.threshold = (seen.threshold * 100.0 + f64::from(step)).round() / 100.0;
    Ok(())
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Request {
    id: String,
    kind: String,
}
impl Durable for Request {
    const TYPE: &'static str = "request";
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Counts {
    total: u64,
    by_type: BTreeMap<String, u64>,
}
impl Durable for Counts {
    const TYPE: &'static str = "counts";
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Config {
    version: u64,
    checked: Option<Timestamp>,
}
impl Durable for Config {
    const TYPE: &'static str = "config";
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Adaptive {
    threshold: f64,
    adjustments: u64,
}
impl Durable for Adaptive {
    const TYPE: &'static str = "adaptive";
}
impl Default for Adaptive {
    fn default() -> Self {
        Self { threshold: 0.5, adjustments: 0 }
    }
}

/// Stands for connections: how often one was used.
#[derive(Default)]
struct Pool(AtomicU64);

// Scaffolding from here on.

/// The given site, or one in a temporary folder, which goes with the first value.
fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
