//! Owns what the program is asked to do: the vocabulary that all big examples share, and what only an office has.

use crate::house::How;
use crate::program::Program;
use crate::program::flags::{Flags, Value, number};
use std::path::PathBuf;
use worksite::prelude::SyncMode;

pub const PROGRAM: Program = Program {
    about: "\
A small company for a working week, on habits of real people: every colleague is a durable worker.

  virtual_office [FLAGS]                   run, report, check
  virtual_office verify                    replay the site in memory: no planner, the same digest
  virtual_office export FOLDER             the transcript as JSON Lines, as a page, as mail (mbox)
  virtual_office fork TICK SITE            a second site that shares the past before this tick
  virtual_office rewind TICK               make the site what it was before this tick; the old one is kept beside it
  virtual_office diff SITE                 the first tick at which two sites part
  virtual_office inject TICK KIND [WHO…]   blocker, meeting, sick_leave or anything else, fires in its tick",
    site: "virtual_office.db",
    data: "examples/data",
    cut: "one day",
    own: "

  --seed N         from which all chance follows (default 7)
  --ticks N        how many minutes of office time (default 2400: five days of 480)
  --speed S        1x is a tick a minute, 1000x a thousand times as fast, max (default) as fast as it goes
  --step           wait for the return key before each tick
  --planner P      rules (default), command=PROGRAM ARGUMENTS…, or http=URL
  --model NAME     the model an http planner is asked for
  --price R,W,MAX  what a thousand tokens cost, read and written, and an answer at most, in millionths
  --budget N       what planning may cost in all, in millionths: at the budget the run pauses
  --record FILE    write down all answers under the hashes of their questions
  --replay FILE    plan by such a recording, and ask nobody
  --threads N      1: everything on one thread; 2 (default): the house on its own
  --out FOLDER     where plots and the page go (default: beside the site)
  --plain          no live view, also in a terminal

In the live view: space pauses, s steps, + and - change the speed, b injects a blocker, m a meeting, q ends (run again to go on).

What the rules plan can be computed again: their commits survive the process, not a power cut. What another planner was paid
for is synced to the disk.",
};

#[derive(Clone)]
pub struct Arguments {
    pub flags: Flags,
    pub command: Command,
    pub out: Option<PathBuf>,
    pub seed: u64,
    pub ticks: u64,
    pub speed: Option<f64>,
    pub planner: String,
    pub model: String,
    pub price: [i64; 3],
    pub budget: Option<i64>,
    pub record: Option<PathBuf>,
    pub replay: Option<PathBuf>,
    pub threads: u64,
    pub step: bool,
    pub plain: bool,
}

#[derive(Clone, PartialEq)]
pub enum Command {
    Run,
    Verify,
    Export(PathBuf),
    Fork(u64, PathBuf),
    Rewind(u64),
    Diff(PathBuf),
    Inject(u64, String, Vec<String>),
}

impl Arguments {
    pub fn read() -> Result<Self, String> {
        let mut arguments = Self {
            flags: Flags::default(),
            command: Command::Run,
            out: None,
            seed: 7,
            ticks: 0,
            speed: None,
            planner: "rules".into(),
            model: "default".into(),
            price: [0, 0, 0],
            budget: None,
            record: None,
            replay: None,
            threads: 2,
            step: false,
            plain: false,
        };
        let (mut words, mut ticks) = (Vec::new(), None);
        let flags = PROGRAM.flags(|flag, value| {
            match flag {
                word if !word.starts_with('-') => words.push(word.to_string()),
                "--ticks" => ticks = Some(number(flag, &value()?)?),
                _ => return arguments.take(flag, value),
            }
            Ok(true)
        })?;
        let ticks = ticks.unwrap_or(if flags.cut { 480 } else { 2_400 });
        let arguments = Self { flags, ticks, command: command(&words)?, ..arguments };
        arguments.check()?;
        Ok(arguments)
    }

    /// Reads a flag that only an office has; says whether it is one.
    fn take(&mut self, flag: &str, value: Value<'_>) -> Result<bool, String> {
        match flag {
            "--out" => self.out = Some(value()?.into()),
            "--seed" => self.seed = number(flag, &value()?)?,
            "--speed" => self.speed = speed(&value()?)?,
            "--planner" => self.planner = value()?,
            "--model" => self.model = value()?,
            "--price" => self.price = price(&value()?)?,
            "--budget" => self.budget = Some(number(flag, &value()?)?),
            "--record" => self.record = Some(value()?.into()),
            "--replay" => self.replay = Some(value()?.into()),
            "--threads" => self.threads = number(flag, &value()?)?,
            "--step" => self.step = true,
            "--plain" => self.plain = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn check(&self) -> Result<(), String> {
        if self.ticks == 0 {
            return Err("--ticks takes a number from 1".into());
        }
        if !(1..=2).contains(&self.threads) {
            return Err("--threads takes 1 or 2".into());
        }
        if self.flags.chaos.is_some() && (self.planner != "rules" || self.budget.is_some() || self.step) {
            return Err("--chaos compares with an unbroken run: leave out --planner, --budget and --step".into());
        }
        Ok(())
    }

    /// How sites are opened: what the rules or a recording plan can be computed again.
    pub fn how(&self) -> How {
        let is_free = self.planner == "rules" || self.replay.is_some();
        How { threads: self.threads, sync: if is_free { SyncMode::Normal } else { SyncMode::Full } }
    }
}

fn command(words: &[String]) -> Result<Command, String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let tick = |text: &str| number("a tick", text);
    Ok(match words[..] {
        [] | ["run"] => Command::Run,
        ["verify"] => Command::Verify,
        ["export", folder] => Command::Export(folder.into()),
        ["fork", at, site] => Command::Fork(tick(at)?, site.into()),
        ["rewind", at] => Command::Rewind(tick(at)?),
        ["diff", site] => Command::Diff(site.into()),
        ["inject", at, kind, ref who @ ..] => {
            Command::Inject(tick(at)?, kind.into(), who.iter().map(ToString::to_string).collect())
        }
        _ => return Err(format!("{:?} is not known, or lacks something", words.join(" "))),
    })
}

fn speed(text: &str) -> Result<Option<f64>, String> {
    if text == "max" {
        return Ok(None);
    }
    let factor: f64 = number("--speed", text.trim_end_matches('x'))?;
    if factor > 0.0 { Ok(Some(factor)) } else { Err("--speed takes 1x, 1000x or max".into()) }
}

fn price(text: &str) -> Result<[i64; 3], String> {
    let parts: Vec<i64> = text.split(',').map(|part| number("--price", part)).collect::<Result<_, _>>()?;
    parts.try_into().map_err(|_| "--price takes three numbers".to_string())
}
