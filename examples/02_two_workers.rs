//! 02 · Two workers that write to each other, and a crash in the middle. One new word: *answer*.
//!
//! `cargo run --example 02_two_workers [SITE]`. A ball goes to and fro; whoever has it writes to the one it came from, and
//! what is written is accepted in the commit that settles what it answers. So a ball is never lost and never doubled.

use worksite::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (_folder, path, crashes) = arguments()?;
    worksite::block_on(async {
        if !crashes {
            // The same up to the service, in a process that ends there: the ball may be anywhere.
            std::process::Command::new(std::env::current_exe()?).arg(&path).arg("--crash").status()?;
        }
        let site = Worksite::builder().routine(Player).open(&path).await?;
        site.sync([Person::new(1, "ada"), Person::new(2, "grace")]).await?;
        let serve = Draft::to(1, &Stroke::Ball { left: 5 })?.from(2).thread("match").key("serve");
        let served = site.send(serve).await?;
        println!("grace serves envelope {}, known before: {}", served.id, served.known);
        if crashes {
            std::process::exit(9); // Without shutdown or destructors; `kill -9` would do.
        }
        site.quiesce().await?;
        for entry in site.thread("match", EnvelopeId(0), 100).await? {
            let Stroke::Ball { left } = entry.envelope.draft.payload.decode()? else { continue };
            let from = entry.envelope.draft.from.ok_or("somebody hit it")?;
            println!("{} hits it to {}, {left} left", name(&site, from), name(&site, entry.envelope.draft.to));
        }
        for person in [1, 2] {
            let hits: u64 = site.ask(Draft::to(person, &Stroke::HowMany)?).await?;
            println!("{} has returned {hits} balls", name(&site, PersonId(person)));
        }
        site.shutdown().await;
        Ok(())
    })
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Stroke {
    Ball { left: u32 },
    HowMany,
}
impl Durable for Stroke {
    const TYPE: &'static str = "stroke";
}

/// Remembers how many balls it has returned.
struct Player;

impl Routine for Player {
    const NAME: &'static str = "player";
    type State = u64;
    type Message = Stroke;

    fn perform(&self, turn: &mut Turn<u64>, stroke: Stroke) -> Ended {
        match stroke {
            Stroke::HowMany => {
                let hits = *turn.state;
                turn.reply(&hits)?;
            }
            Stroke::Ball { left: 0 } => {}
            Stroke::Ball { left } => {
                *turn.state += 1;
                if let Some(back) = Draft::answer(turn.envelope(), &Stroke::Ball { left: left - 1 })? {
                    turn.send(back);
                }
            }
        }
        Ok(Outcome::Done)
    }
}

// Scaffolding from here on.

fn name(site: &Worksite, person: PersonId) -> String {
    site.roster().get(person).map_or_else(String::new, |person| person.name.to_string())
}

/// The given site, or one in a temporary folder, which goes with the first value; and whether to crash.
fn arguments() -> std::io::Result<(tempfile::TempDir, std::path::PathBuf, bool)> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), Into::into);
    Ok((folder, path, std::env::args().nth(2).is_some_and(|argument| argument == "--crash")))
}
