//! Owns chaos: it runs this program on the same file again and again, and kills it each time in the middle of its work.
//!
//! A child tells its parent how many facts it has heard, so that a kill needs no clock. It never ends by itself: what is
//! left to do at the end is left to the parent.

use crate::clerk::{self, Journal};
use crate::house::CLERK;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use worksite::prelude::*;
use worksite::store::Reader;

/// A child tells its parent each time it has heard so many more facts.
const FACTS_AT_ONCE: u64 = 50;

/// From this follows when each child is killed, as far as the machine's speed allows.
const SEED: u64 = 44;

/// Lets so many children work on the site, one after the other, and kills each; says how many were killed. A whole run
/// has about so many `facts`: the kills are spread over them.
pub fn run(site: &Path, arguments: &[String], kills: u64, facts: u64) -> Result<u64, Box<dyn Error>> {
    let (mut killed, mut done) = (0, 0);
    let share = facts / kills.max(1);
    for kill in 0..kills {
        let aim = share * kill + worksite::model::chance(SEED, &[kill.cast_signed()]) % share.max(1);
        killed += u64::from(kill_after(aim.saturating_sub(done), arguments)?);
        let reader = Reader::open(site)?;
        let tally = reader.tally()?;
        done = tally.accepted + tally.settled + tally.dropped;
        let (filed, waiting) = (filed(&reader)?, tally.waiting);
        println!("killed with {filed:>5} mails filed, {:>6} envelopes settled, {waiting:>6} waiting", tally.settled);
    }
    Ok(killed)
}

/// Kills a child once it has told of so many facts; says whether that is how it ended.
fn kill_after(facts: u64, arguments: &[String]) -> Result<bool, Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
    let heard = wait_for(facts, &mut child);
    // SIGKILL: no destructor runs, nothing is flushed.
    child.kill()?;
    let status = child.wait()?;
    heard?;
    // Who ends by a signal has no code.
    Ok(status.code().is_none())
}

/// Listens until the child has told of so many facts, or has nothing more to do.
fn wait_for(facts: u64, child: &mut Child) -> Result<(), Box<dyn Error>> {
    let output = child.stdout.take().ok_or("a child without an output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        let told = line.strip_prefix("facts ").and_then(|told| told.parse::<u64>().ok());
        if told.is_some_and(|told| told >= facts) || line == "done" {
            return Ok(());
        }
    }
    Err("a child ended by itself".into())
}

fn filed(reader: &Reader) -> Result<usize, Box<dyn Error>> {
    let states = reader.states(PersonId(CLERK))?;
    let journal = states.iter().find(|(routine, _)| routine == clerk::File::NAME);
    Ok(journal.map(|(_, state)| state.decode::<Journal>()).transpose()?.map_or(0, |journal| journal.filed))
}

/// In a child: tells the parent how many facts there were, as long as anybody listens.
pub fn tell(site: &Worksite) {
    let subscription = site.subscribe();
    std::thread::spawn(move || worksite::block_on(tell_all(subscription)));
}

async fn tell_all(mut subscription: Subscription) {
    let (mut heard, mut told) = (0, 0);
    while let Some(next) = subscription.next().await {
        heard += match next {
            Told::Lagged(missed) => missed,
            Told::Fact(_) => 1,
        };
        if heard >= told + FACTS_AT_ONCE {
            told = heard;
            if writeln!(std::io::stdout(), "facts {told}").is_err() {
                return;
            }
        }
    }
}

/// In a child that has no more to do: the parent is told, and ends it.
pub async fn wait_to_be_killed() {
    println!("done");
    std::future::pending().await
}
