//! 01 · The first message: a counter that survives being killed. One new word: *ask*.
//!
//! `cargo run --example 01_first_message [SITE] [--kill-after N]`. Kill it anywhere and run it again: each key is counted
//! once, and the same question gets the same answer.

use worksite::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (site, kill_after) = arguments();
    worksite::block_on(async {
        let site = Worksite::builder().routine(Counter).open(site).await?;
        site.sync([Person::new(1, "ada")]).await?;
        for (asked, word) in ["apple", "pear", "plum"].into_iter().enumerate() {
            if kill_after == Some(asked) {
                kill_this_process();
            }
            let draft = Draft::to(1, &word.to_string())?.key(word);
            let count: Count = site.ask(draft).await?;
            println!("ada has counted {word}: {} words, {} letters", count.words, count.letters);
        }
        let tally = site.tally().await?;
        println!("{} accepted, {} settled, {} waiting", tally.accepted, tally.settled, tally.waiting);
        site.shutdown().await;
        Ok(())
    })
}

/// What a counter remembers.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Count {
    words: u64,
    letters: u64,
}
impl Durable for Count {
    const TYPE: &'static str = "count";
}

struct Counter;

impl Routine for Counter {
    const NAME: &'static str = "counter";
    type State = Count;
    type Message = String;

    fn perform(&self, turn: &mut Turn<Count>, word: String) -> Ended {
        turn.state.words += 1;
        turn.state.letters += word.len() as u64;
        let count = Count { ..*turn.state };
        turn.reply(&count)?;
        Ok(Outcome::Done)
    }
}

// Scaffolding from here on.

fn arguments() -> (std::path::PathBuf, Option<usize>) {
    let mut site = std::path::PathBuf::from("first_message.db");
    let mut kill_after = None;
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--kill-after" => kill_after = given.next().and_then(|number| number.parse().ok()),
            path => site = path.into(),
        }
    }
    (site, kill_after)
}

fn kill_this_process() {
    let _killed = std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
}
