//! 06 · Who wants to hear what has become durable, and how a slow listener is dealt with. One new word: *subscriber*.
//!
//! `cargo run --example 06_subscribers [SITE]`. Each subscriber has a queue and a policy of its own, and loss is a number.
//! A durable one has a name and a place in the file: it goes on where it has acknowledged, in the next life too.

use worksite::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path) = site_file()?;
    worksite::block_on(async {
        let processed = Interest::everything().processed().at_least(Priority::Normal);
        let site = open(&path).await?;
        let slow = |slow| SubscriptionOptions { facts_max: 3, slow, ..site.subscription(processed.clone()) };
        let policies = [Slow::DropOldest, Slow::DropNewest, Slow::Disconnect];
        let subscribers = policies.map(|policy| (policy, site.subscribe_to(slow(policy))));
        ask(&site, &["one", "two", "three", "four", "five"]).await?;
        site.ask::<String>(say("low mail is of no interest")?.priority(Priority::Low)).await?;
        site.shutdown().await;
        for (policy, mut subscriber) in subscribers {
            let SubscriptionReport { delivered, dropped, lag } = subscriber.report();
            println!("{policy:?}: {delivered} delivered, {dropped} dropped, {lag} in the queue");
            while let Some(told) = subscriber.next().await {
                match told {
                    Told::Fact(fact) => println!("  hears {}", text(&fact)?),
                    Told::Lagged(facts) => println!("  has missed {facts}"),
                }
            }
        }

        let site = open(&path).await?;
        let mut archive = site.subscribe_durably("archive", processed.clone()).await?;
        ask(&site, &["six", "seven"]).await?;
        for acknowledges in [true, false] {
            let logged = archive.next().await?.ok_or("the site is open")?;
            println!("the archive hears {}, and acknowledges it: {acknowledges}", text(&logged.fact)?);
            if acknowledges {
                archive.acknowledge(logged.offset).await?;
            }
        }
        site.shutdown().await;

        let site = open(&path).await?;
        ask(&site, &["eight"]).await?; // Before the archive listens again: it is logged for it.
        let mut archive = site.subscribe_durably("archive", processed).await?;
        for _ in 0..2 {
            let logged = archive.next().await?.ok_or("the site is open")?;
            println!("reopened, the archive hears {}", text(&logged.fact)?);
            archive.acknowledge(logged.offset).await?;
        }
        for cursor in site.cursors().await? {
            println!("{}: up to date: {}, {} missed", cursor.name, cursor.position == cursor.last, cursor.missed);
        }
        site.shutdown().await;
        Ok(())
    })
}

struct Echo;

impl Routine for Echo {
    const NAME: &'static str = "echo";
    type State = ();
    type Message = String;

    fn perform(&self, turn: &mut Turn<()>, text: String) -> Ended {
        turn.reply(&text)?;
        Ok(Outcome::Done)
    }
}

fn say(text: &str) -> Result<Draft, worksite::model::PayloadError> {
    Draft::to(1, &text.to_string())
}

async fn ask(site: &Worksite, texts: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    for text in texts {
        site.ask::<String>(say(text)?).await?;
    }
    Ok(())
}

fn text(fact: &Fact) -> Result<String, Box<dyn std::error::Error>> {
    Ok(fact.envelope().ok_or("only envelopes are processed")?.draft.payload.decode()?)
}

async fn open(path: &std::path::Path) -> Result<Worksite, Box<dyn std::error::Error>> {
    let site = Worksite::builder().routine(Echo).open(path).await?;
    site.sync([Person::new(1, "ada")]).await?;
    Ok(site)
}

// Scaffolding from here on: the given site, or one in a temporary folder, which goes with the first value.

fn site_file() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path))
}
