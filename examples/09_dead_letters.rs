//! 09 · What fails is tried again, then given up with its reason, then sent again by hand. One new word: *dead letter*.
//!
//! `cargo run --example 09_dead_letters [SITE]`. Nothing is lost by failing: a dead letter stays in the file until somebody
//! redrives or forgets it, or retention does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use worksite::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    let (clock, has_paper) = (ManualClock::default(), Arc::new(AtomicBool::new(false)));
    worksite::block_on(async {
        let printer = Printer { has_paper: has_paper.clone() };
        let site = Worksite::builder().routine(printer).clock(clock.clock()).open(path).await?;
        site.sync([Person::new(1, "printer")]).await?;
        for (text, kind) in [("a letter", "letter"), ("an invoice", "invoice"), ("", "letter")] {
            site.send(Draft::to(1, &text.to_string())?.kind(kind)).await?;
        }
        for minute in 0..=3 {
            site.rest().await?;
            let metrics = site.metrics().await?;
            let (failed, retried, dead) = (metrics.failed, metrics.retried, metrics.tally.buried);
            println!("minute {minute}: {failed} attempts have failed, {retried} are made again, {dead} are dead");
            clock.advance(Duration::from_secs(60));
        }
        show(&site).await?;

        println!("somebody brings paper");
        has_paper.store(true, Ordering::SeqCst);
        println!("{} invoice is redriven", site.redrive_by(Filter::all().kind("invoice")).await?);
        site.rest().await?;
        println!("{} letters are redriven", site.redrive_by(Filter::all().kind("letter")).await?);
        site.rest().await?;
        println!("printed: {}", site.state::<String>(1, Printer::NAME).await?.unwrap_or_default());
        show(&site).await?;

        let hopeless = site.dead_letters(10).await?.iter().map(|letter| letter.delivery.id()).collect();
        site.forget_dead(hopeless).await?;
        let (tally, left) = (site.tally().await?, site.dead_letters(10).await?.len());
        println!("{left} are left; {} accepted, {} settled, {} buried", tally.accepted, tally.settled, tally.buried);
        site.shutdown().await;
        Ok(())
    })
}

struct Printer {
    has_paper: Arc<AtomicBool>,
}

impl Routine for Printer {
    const NAME: &'static str = "printer";
    type State = String;
    type Message = String;

    fn perform(&self, turn: &mut Turn<String>, text: String) -> Ended {
        if text.is_empty() {
            return Ok(Outcome::Reject("there is nothing to print".into())); // No attempt will change that.
        }
        if !self.has_paper.load(Ordering::SeqCst) {
            return Ok(Outcome::Retry("out of paper".into()));
        }
        turn.state.push_str(&format!("[{text}]"));
        Ok(Outcome::Done)
    }

    /// Three attempts: at once, after a minute, and after two more.
    fn retry(&self) -> RetryPolicy {
        let first_delay = Duration::from_secs(60);
        RetryPolicy { attempts_max: 3, first_delay, factor: 2.0, jitter_percent: 0, ..RetryPolicy::default() }
    }
}

/// Prints all dead letters, the oldest first.
async fn show(site: &Worksite) -> Result<(), DeskError> {
    for letter in site.dead_letters(10).await? {
        let text: String = letter.delivery.envelope.draft.payload.decode()?;
        let (id, attempts) = (letter.delivery.id(), letter.delivery.attempt);
        println!("dead letter {id} {text:?}: {} (attempts: {attempts})", letter.failure);
    }
    Ok(())
}

// Scaffolding from here on.

/// The given site, or one in a temporary folder, which goes with the first value.
fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
