//! 03 · Urgent mail overtakes, and a worker that rests still hears what keeps the house in order. One new word: *lane*.
//!
//! `cargo run --example 03_urgent_mail [SITE]`. Higher lanes are taken first; inside one it is first in, first out. The
//! control lane goes before all of them, also to a paused worker.

use std::time::Duration;
use worksite::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    worksite::block_on(async {
        let site = Worksite::builder().routine(Desk).open(path).await?;
        site.sync([Person::new(1, "ada")]).await?;
        site.pause(1).await?;
        println!("ada is {:?}", site.status(1)?);
        for (text, priority) in [
            ("a newsletter", Priority::Low),
            ("a question", Priority::Normal),
            ("the printer is on fire", Priority::Urgent),
            ("another question", Priority::Normal),
        ] {
            site.send(Draft::to(1, &text.to_string())?.priority(priority)).await?;
        }
        for (lane, waiting) in Priority::ALL.into_iter().zip(site.lanes(1).await?) {
            println!("{waiting} in the lane {lane:?}");
        }
        let control = Draft::to(1, &"are you there?".to_string())?.priority(Priority::Control);
        println!("asked in the control lane while she rests, she has read: {}", site.ask::<String>(control).await?);
        println!("the other {} wait on", site.lanes(1).await?.iter().sum::<usize>());
        site.resume(1).await?;
        site.quiesce().await?;
        println!("resumed, she has read: {}", site.state::<String>(1, Desk::NAME).await?.unwrap_or_default());
        site.shutdown().await;

        // For an inbox that never runs dry: an `InboxPolicy` may have lanes age, so that low mail is read in the end.
        let ageing = Ageing::Step(Duration::from_secs(60));
        let sent = Timestamp::from_seconds(0);
        for minutes in 0..4 {
            let now = Timestamp::from_seconds(60 * minutes);
            println!("low mail that has waited {minutes} min counts as {:?}", ageing.lane(Priority::Low, sent, now));
        }
        Ok(())
    })
}

/// Remembers what it has read, in order.
struct Desk;

impl Routine for Desk {
    const NAME: &'static str = "desk";
    type State = String;
    type Message = String;

    fn perform(&self, turn: &mut Turn<String>, text: String) -> Ended {
        if !turn.state.is_empty() {
            turn.state.push_str(", ");
        }
        turn.state.push_str(&text);
        let read = (*turn.state).clone();
        turn.reply(&read)?;
        Ok(Outcome::Done)
    }
}

// Scaffolding from here on.

/// The given site, or one in a temporary folder, which goes with the first value.
fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
