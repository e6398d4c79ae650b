//! Owns chaos: it runs this program on the same file again and again, and kills it each time in the middle of its work.
//!
//! A child tells its parent how far it is, so that a kill needs no clock. It never ends by itself: what is left to do at the
//! end is left to the parent.

use super::Done;
use super::flags::Flags;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use worksite::model::chance;

/// From this follows when each child is killed, as far as the machine's speed allows.
const SEED: u64 = 44;

/// Each share of the work has so many places to be killed at.
const PLACES: u64 = 1_000;

/// Lets so many children do this process's work, one after the other, and kills each, in a share of the work of its own; says
/// how many were killed.
pub fn kill_children(kills: u64) -> Done<u64> {
    let mut killed = 0;
    for kill in 0..kills {
        let place = PLACES * kill + chance(SEED, &[kill.cast_signed()]) % PLACES;
        killed += u64::from(kill_child(|done, whole| done * kills * PLACES >= whole * place)?);
    }
    Ok(killed)
}

/// Kills a child once it is far enough; says whether that is how it ended.
fn kill_child(is_far_enough: impl Fn(u64, u64) -> bool) -> Done<bool> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--tell").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    // Kept to the end: a child that nobody hears any more ends by itself.
    let mut output = BufReader::new(child.stdout.take().ok_or("a child without an output")?);
    let heard = wait_for(is_far_enough, &mut output);
    // SIGKILL: no destructor runs, nothing is flushed.
    child.kill()?;
    let status = child.wait()?;
    println!("killed at {}", heard?);
    // Who ends by a signal has no code.
    Ok(status.code().is_none())
}

/// Listens until the child is far enough, or has nothing more to do; says how far it is.
fn wait_for(is_far_enough: impl Fn(u64, u64) -> bool, output: &mut impl BufRead) -> Done<String> {
    let mut last = "the beginning".to_string();
    for line in output.lines() {
        let line = line?;
        let told = line.strip_prefix("at ").and_then(|told| told.split_once(" of "));
        if let Some((done, whole)) = told {
            last = format!("{done} of {whole}");
            if is_far_enough(done.parse()?, whole.parse()?) {
                return Ok(last);
            }
        } else if line == "done" {
            return Ok(last);
        }
    }
    Err("a child ended by itself".into())
}

/// In a child: tells the parent how far it is.
pub fn tell(flags: &Flags, done: u64, whole: u64) {
    if flags.tell && writeln!(std::io::stdout(), "at {done} of {whole}").is_err() {
        // The parent has gone.
        std::process::exit(1);
    }
}

/// In a child that has no more to do: the parent is told, and ends it.
pub fn end(flags: &Flags) {
    if flags.tell {
        let _gone = writeln!(std::io::stdout(), "done");
        // Nothing is ever written there: it ends with the parent.
        let _end = std::io::stdin().read_line(&mut String::new());
        std::process::exit(1);
    }
}
