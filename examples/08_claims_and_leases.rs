//! 08 · The run queue: seed 002's own test script, corrected, and what it did not test. One new word: *claim*.
//!
//! `cargo run --example 08_claims_and_leases [SITE]`. The printed script fails at its first `add_run`: runs refer to a
//! session that does not exist. Here the session is made with the run, in one commit.

use std::error::Error;
use std::time::Duration;
use worksite::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let (_folder, path) = site_file()?;
    worksite::block_on(async {
        let clock = ManualClock::new(Timestamp::from_seconds(1_800_000_000));
        let open = || Worksite::builder().clock(clock.clock()).open(path.clone());
        let site = open().await?;
        let queue = site.run_queue().await?;
        println!("Initial runs in cache: {}", queue.get_all_runs().await?.len());
        let prompt = RunDraft::of(&String::from("Test prompt"))?.agent("test-agent");
        let run = queue.add_run(prompt.in_session(SessionUse::Start(None)).mode(ExecutionMode::Sync)).await?;
        println!("Created run: {}, session: {}", run.id, run.session().unwrap_or("none"));
        println!("Run in cache: {}", ok(queue.get_run(run.id).await?.is_some()));
        site.shutdown().await;

        let site = open().await?;
        let queue = site.run_queue().await?;
        let loaded = queue.get_run(run.id).await?.ok_or("it is gone")?;
        println!("Run survived restart: {}, {}", loaded.id, loaded.status);
        let place = Capabilities::none().field("hostname", "localhost").field("project_dir", "/tmp");
        let runner = RunnerInfo::at(place.field("executor_profile", "claude-code"));
        let claimed = queue.claim_run(&runner).await?.ok_or("nothing to claim")?;
        println!("Claimed run: {}, {} by {}", claimed.id, claimed.status, runner.id);
        queue.update_run_status(&claimed, RunStatus::Completed, None).await?;
        println!("Terminal run removed from cache: {}", ok(queue.get_run(run.id).await?.is_none()));
        let stored = queue.get_all_runs_from_db(&[]).await?;
        println!("Terminal run still in database: {}", ok(stored.iter().any(|stored| stored.id == run.id)));
        println!("All tests passed!");

        println!("\nwhat the script does not test:");
        let again = queue.update_run_status(&claimed, RunStatus::Running, None).await;
        println!("completed is final: {}", again.err().map(|error| word(&error)).unwrap_or_default());
        let wide = queue.add_run(RunDraft::new().demands(Demands::none().tag("gpu").at_least("cores", 48))).await?;
        queue.register(runner.clone()).await?;
        println!("nobody takes what they cannot: {:?}", queue.claim_run(&runner).await?);
        if let Some(why) = queue.explain(wide.id).await? {
            println!("why not: {why}");
        }
        queue.stop_run(wide.id).await?;
        let flaky =
            queue.add_run(RunDraft::new().agent("flaky").lease(Duration::from_secs(30)).attempts_max(2)).await?;
        for attempt in 1..=2 {
            let first = queue.claim_run(&runner).await?.ok_or("nothing to claim")?;
            clock.advance(Duration::from_secs(31));
            for taken in queue.fail_timed_out_runs().await? {
                println!("attempt {attempt}: {}, {}", taken.status, taken.error.clone().unwrap_or_default());
            }
            let late = queue.report(&first, RunReport::Completed(None)).await;
            println!("its late report: {}", late.err().map(|error| word(&error)).unwrap_or_default());
        }
        println!("in the end it has {}", queue.wait(flaky.id).await?.status);
        site.shutdown().await;
        Ok(())
    })
}

fn ok(holds: bool) -> &'static str {
    if holds { "OK" } else { "not OK" }
}

/// An error without the ids in it.
fn word(error: &RunError) -> String {
    error.to_string().split_once(' ').map(|(_, rest)| rest.to_string()).unwrap_or_default()
}

fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
