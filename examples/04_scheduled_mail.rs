//! 04 · Mail for later, under a clock that is moved by hand. One new word: *tick*.
//!
//! `cargo run --example 04_scheduled_mail [SITE]`. A tick is: move the clock, wait until the house rests. What came due has
//! then been dealt with. A moment that passes while the site is closed is made up for, or skipped, as its sender said.

use std::time::Duration;
use worksite::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    let clock = ManualClock::new(at(0));
    worksite::block_on(async {
        let site = open(&path, &clock).await?;
        site.sync([Person::new(1, "ada")]).await?;
        let skip = Misfire::Skip { grace: 2 * MINUTE };
        for (text, minute, misfire) in [
            ("tea", 3, Misfire::Deliver),
            ("stretch", 1, Misfire::Deliver),
            ("pay the rent", 10, Misfire::Deliver),
            ("the train leaves", 10, skip),
            ("the last train leaves", 19, skip),
        ] {
            site.send(text_to_ada(text)?.scheduled(at(minute), misfire)).await?;
        }
        for minute in 1..=4 {
            clock.advance(MINUTE);
            site.rest().await?;
            println!("minute {minute}: {} has been heard, {} wait", heard(&site).await?, site.message_count(1));
        }
        // Nobody reads it before it expires: she rests.
        site.pause(1).await?;
        site.send(text_to_ada("soup is ready")?.expires_at(at(6))).await?;
        clock.advance(3 * MINUTE);
        site.rest().await?;
        site.resume(1).await?;
        site.shutdown().await;

        clock.advance(13 * MINUTE);
        println!("the site was closed until minute 20");
        let site = open(&path, &clock).await?;
        site.rest().await?;
        println!("{} has been heard, {} wait", heard(&site).await?, site.message_count(1));
        for letter in site.dead_letters(10).await? {
            println!(
                "given up: {}: {:?}",
                letter.delivery.envelope.draft.payload.decode::<String>()?,
                letter.failure.kind
            );
        }
        site.shutdown().await;
        Ok(())
    })
}

/// Remembers what it has heard, in order.
struct Ear;

impl Routine for Ear {
    const NAME: &'static str = "ear";
    type State = String;
    type Message = String;

    fn perform(&self, turn: &mut Turn<String>, text: String) -> Ended {
        let before = std::mem::take(&mut *turn.state);
        *turn.state = if before.is_empty() { text } else { format!("{before}, {text}") };
        Ok(Outcome::Done)
    }
}

fn text_to_ada(text: &str) -> Result<Draft, worksite::model::PayloadError> {
    Draft::to(1, &text.to_string())
}

async fn heard(site: &Worksite) -> Result<String, DeskError> {
    Ok(site.state::<String>(1, Ear::NAME).await?.map_or("nothing".into(), |heard| format!("[{heard}]")))
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_seconds(60 * minutes)
}

async fn open(path: &std::path::Path, clock: &ManualClock) -> Result<Worksite, OpenError> {
    Worksite::builder().routine(Ear).clock(clock.clock()).open(path).await
}

// Scaffolding from here on.

/// The given site, or one in a temporary folder, which goes with the first value.
fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
