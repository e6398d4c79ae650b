//! 12 · A routine that remembers what was dear to find out: the program that seed 003 prints. One new word: *state* of a
//! routine of a flow.
//!
//! `cargo run --example 12_cache [SITE]`. The seed's printed output counts "hits: 2" twice, which its own program could not:
//! six posts of three words are three misses and three hits, and the last hit is the third. Here it is.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use worksite::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    worksite::block_on(async {
        let site = Worksite::builder().flow(cached_processor()?).open(path).await?;
        let flows = site.flows();
        let worker = flows.exec("cached_processor").await?;
        for data in ["hello", "world", "hello", "test", "hello", "world"] {
            println!("Sending: {data}");
            let (_, job) = flows.post("cached_processor", "processor", "input", &json!({"data": data})).await?;
            job.wait(Some(Duration::from_secs(10))).await?;
            println!("{}", job.get().await?.map(|job| job.notes().output).unwrap_or_default());
        }
        let Cache { cache, stats } = worker.state("processor").await?.unwrap_or_default();
        println!("In the cache: {:?}, {stats:?}", cache.keys());
        flows.post("cached_processor", "processor", "clear_cache", &json!({})).await?;
        flows.wait_until_all_jobs_finished(Some(Duration::from_secs(10))).await?;
        println!("Cleared: {:?}", worker.state::<Cache>("processor").await?.unwrap_or_default());
        flows.shutdown(true).await?;
        Ok(())
    })
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Cache {
    cache: BTreeMap<String, String>,
    stats: Stats,
}
impl Durable for Cache {
    const TYPE: &'static str = "cache";
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Stats {
    hits: u64,
    misses: u64,
}

fn cached_processor() -> Result<Flow, FlowBuildError> {
    let process = |call: &mut Call<Cache>| {
        if call.first::<Value>("clear_cache").is_some() {
            *call.state_mut() = Cache::default();
            return Ok(());
        }
        let Some(item) = call.first::<Value>("input") else { return Ok(()) };
        let data = item["data"].as_str().unwrap_or_default().to_string();
        let known = call.state().cache.get(&data).cloned();
        let (result, cached) = match known {
            Some(result) => {
                let hits = &mut call.state_mut().stats.hits;
                *hits += 1;
                let text = format!("CACHE HIT! Reusing cached result (hits: {hits})");
                call.say(text);
                (result, true)
            }
            None => {
                let result = format!("processed_{}", data.to_uppercase());
                let state = call.state_mut();
                state.cache.insert(data, result.clone());
                state.stats.misses += 1;
                let text = format!("Cache miss - processed and cached (misses: {})", state.stats.misses);
                call.say(text);
                (result, false)
            }
        };
        Ok(call.emit("output", json!({"result": result, "cached": cached}))?)
    };
    let processor = FlowRoutine::new(process).slot::<Value>("input").slot::<Value>("clear_cache");
    Flow::builder("cached_processor").routine("processor", processor.event::<Value>("output")).build()
}

// Scaffolding from here on.

/// The given site, or one in a temporary folder, which goes with the first value.
fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
