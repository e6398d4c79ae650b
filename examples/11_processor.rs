//! 11 · A flow of one routine, and five jobs: the program that seed 001 prints. One new word: *flow*.
//!
//! `cargo run --example 11_processor [SITE]`. A post puts a datum into a slot and is a job; the job has ended when its last
//! consequence has. The original's jobs stay running for ever; here the printed program does what it prints.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use worksite::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    worksite::block_on(async {
        println!("Starting runtime...");
        let site = Worksite::builder().flow(processor_flow()?).open(path).await?;
        let flows = site.flows();
        let worker = flows.exec("processor_flow").await?;
        println!("Worker started: {}", worker.flow());

        println!("Posting jobs...");
        let mut jobs = Vec::new();
        for value in 0..5 {
            let (_, job) = flows.post("processor_flow", "processor", "input", &json!({"value": value})).await?;
            jobs.push(job);
        }
        println!("Waiting for jobs to complete...");
        flows.wait_until_all_jobs_finished(Some(Duration::from_secs(10))).await?;

        println!("\nResults:");
        for (number, job) in (1..).zip(&jobs) {
            let Some(job) = job.get().await? else { continue };
            println!("  Job {number}: {} ({})", job.status, job.notes().output);
        }
        println!("\nWorker state: {:?}", worker.state::<Processed>("processor").await?.unwrap_or_default());
        flows.shutdown(true).await?;
        Ok(())
    })
}

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Processed {
    processed_count: u64,
    last_value: i64,
}
impl Durable for Processed {
    const TYPE: &'static str = "processed";
}

fn processor_flow() -> Result<Flow, FlowBuildError> {
    let process = |call: &mut Call<Processed>| {
        let Some(datum) = call.first::<Value>("input") else { return Ok(()) };
        let value = datum["value"].as_i64().unwrap_or(0);
        let state = call.state_mut();
        state.processed_count += 1;
        state.last_value = value;
        let count = state.processed_count;
        call.say(format!("Processed: {value} → {} (count: {count})", value * 2));
        Ok(call.emit("output", json!({"result": value * 2, "original": value}))?)
    };
    let processor = FlowRoutine::new(process).slot::<Value>("input").event::<Value>("output");
    Flow::builder("processor_flow").routine("processor", processor).build()
}

// Scaffolding from here on.

/// The given site, or one in a temporary folder, which goes with the first value.
fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
