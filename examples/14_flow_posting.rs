//! 14 · The patterns of seed 001: a single shot, a source that goes on and on, and batches with their rest. One new word:
//! *policy*, when a routine gets its turn.
//!
//! `cargo run --example 14_flow_posting [SITE]`. Where the seed's program gathers batches by hand and posts the rest at the
//! end, a batch policy does so: the rest goes by a flush.

use std::time::Duration;
use worksite::prelude::*;

const SOON: Option<Duration> = Some(Duration::from_secs(10));

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    worksite::block_on(async {
        let site = Worksite::builder().flow(intake()?).open(path).await?;
        let flows = site.flows();
        let worker = flows.exec("intake").await?;

        flows.post("intake", "start", "trigger", &1_u64).await?;
        let ended = flows.wait_until_all_jobs_finished(SOON).await?;
        println!("single shot: all jobs have ended: {ended}");

        for reading in 1..=20_u64 {
            flows.post("intake", "start", "trigger", &reading).await?;
        }
        flows.wait_until_all_jobs_finished(SOON).await?;
        println!("continuous: {:?} readings", worker.state::<u64>("start").await?);

        let data: Vec<u64> = (1..=250).collect();
        let (_, jobs) = flows.posting("intake", "batches", "item").post_all(&data).await?;
        flows.wait_until_all_jobs_finished(SOON).await?;
        println!(
            "batching: {} jobs in batches of {}",
            jobs.len(),
            worker.state::<String>("batches").await?.unwrap_or_default()
        );
        println!("{}", site.flows().flow("intake")?.mermaid(Some(&worker.report().await?)));
        flows.shutdown(true).await?;
        Ok(())
    })
}

fn intake() -> Result<Flow, FlowBuildError> {
    let start = |call: &mut Call<u64>| {
        *call.state_mut() += 1;
        Ok(call.emit("reading", call.first::<u64>("trigger").map_or(0, |reading| *reading))?)
    };
    let batch = |call: &mut Call<String>| {
        let size = call.all::<u64>("item").len();
        let rest = if call.is_flushed() { " (the rest)" } else { "" };
        let sizes = call.state_mut();
        *sizes = format!("{sizes}{}{size}{rest}", if sizes.is_empty() { "" } else { ", " });
        Ok(())
    };
    let hundreds = ActivationPolicy::batch(100).flush_when_idle();
    Flow::builder("intake")
        .routine("start", FlowRoutine::new(start).slot::<u64>("trigger").event::<u64>("reading"))
        .routine("batches", FlowRoutine::new(batch).slot::<u64>("item").policy(hundreds))
        .build()
}

// Scaffolding from here on.

/// The given site, or one in a temporary folder, which goes with the first value.
fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
