//! 07 · What a routine remembered earlier, and going back to it. One new word: *revision*.
//!
//! `cargo run --example 07_state_history [SITE]`. A routine that says so keeps its last states. Going back makes an earlier
//! one the present one, as a revision of its own: history is only ever added to, and the oldest falls out of the ring.

use worksite::model::KeepStates;
use worksite::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    worksite::block_on(async {
        let site = Worksite::builder().routine(Page).open(path).await?;
        site.sync([Person::new(1, "ada")]).await?;
        let mut envelopes = Vec::new();
        for text in ["It was", "a dark", "and stormy", "knight"] {
            envelopes.push(site.send(Draft::to(1, &text.to_string())?).await?.id);
            site.quiesce().await?; // One state each: what waits together may be taken together.
        }
        show(&site, "as it was written").await?;

        let then: Option<String> = site.state_after(1, Page::NAME, envelopes[2]).await?;
        println!("after envelope {}: {then:?}", envelopes[2]);
        let gone: Option<String> = site.state_after(1, Page::NAME, envelopes[0]).await?;
        println!("after envelope {}: {gone:?}, it is no longer kept", envelopes[0]);

        let before = site.revisions(1, Page::NAME, 2).await?.pop().ok_or("there are two")?;
        site.restore(1, Page::NAME, before.number).await?;
        show(&site, &format!("revision {} is restored", before.number)).await?;
        let page: String = site.ask(Draft::to(1, &"night".to_string())?).await?;
        println!("it goes on from there: {page:?}");

        match site.restore(1, Page::NAME, before.number - 2).await {
            Err(error @ DeskError::NoRevision(_)) => println!("{error}"),
            other => other?,
        }
        site.shutdown().await;
        Ok(())
    })
}

/// Remembers a page of text; keeps its last three.
struct Page;

impl Routine for Page {
    const NAME: &'static str = "page";
    type State = String;
    type Message = String;

    fn perform(&self, turn: &mut Turn<String>, text: String) -> Ended {
        if !turn.state.is_empty() {
            turn.state.push(' ');
        }
        turn.state.push_str(&text);
        let page = (*turn.state).clone();
        turn.reply(&page)?;
        Ok(Outcome::Done)
    }

    fn keep_states(&self) -> Option<KeepStates> {
        Some(KeepStates { revisions_max: 3, ..KeepStates::default() })
    }
}

/// Prints all revisions, the newest first.
async fn show(site: &Worksite, when: &str) -> Result<(), DeskError> {
    println!("{when}:");
    for revision in site.revisions(1, Page::NAME, usize::MAX).await? {
        let by = revision.envelope.map_or("by hand".to_string(), |id| format!("by envelope {id}"));
        println!("  revision {} {by}: {:?}", revision.number, revision.payload.decode::<String>()?);
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
