//! Owns chaos: it runs this program on the same file again and again, and kills it each time in the middle of its work.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// From this follows when each child is killed, as far as the machine's speed allows.
const SEED: u64 = 8;

/// Lets so many children work on the site, one after the other, and kills each; says how many were killed. A run has so many
/// `ticks`: the kills are spread over them.
pub fn run(arguments: &[String], kills: u64, ticks: u64) -> Result<u64, Box<dyn Error>> {
    let share = (ticks / (kills + 1)).max(1);
    let mut killed = 0;
    for kill in 0..kills {
        let aim = share * kill + worksite::model::chance(SEED, &[kill.cast_signed()]) % share;
        let (tick, was_killed) = kill_at(aim, arguments)?;
        println!("killed in or after tick {tick}");
        killed += u64::from(was_killed);
    }
    Ok(killed)
}

fn kill_at(tick: u64, arguments: &[String]) -> Result<(u64, bool), Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
    let heard = wait_for(tick, &mut child);
    // SIGKILL: no destructor runs, nothing is flushed.
    child.kill()?;
    let status = child.wait()?;
    // Who ends by a signal has no code.
    Ok((heard?, status.code().is_none()))
}

fn wait_for(tick: u64, child: &mut Child) -> Result<u64, Box<dyn Error>> {
    let output = child.stdout.take().ok_or("a child without an output")?;
    let mut last = 0;
    for line in BufReader::new(output).lines() {
        let line = line?;
        last = line.strip_prefix("tick ").and_then(|told| told.parse().ok()).unwrap_or(last);
        if last >= tick || line == "done" {
            return Ok(last);
        }
    }
    Err("a child ended by itself".into())
}
