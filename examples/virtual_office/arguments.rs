//! Owns what the program is asked to do: the vocabulary that all big examples share, and what only an office has.

use crate::flags::number;
use crate::house::How;
use std::path::PathBuf;
use worksite::prelude::SyncMode;

pub const HELP: &str = "\
A small company for a working week, on habits of real people: every colleague is a durable worker.

  virtual_office [FLAGS]                   run, report, check
  virtual_office verify                    replay the site in memory: no planner, the same digest
  virtual_office export FOLDER             the transcript as JSON Lines, as a page, as mail (mbox)
  virtual_office fork TICK SITE            a second site that shares the past before this tick
  virtual_office rewind TICK               make the site what it was before this tick; the old one is kept beside it
  virtual_office diff SITE                 the first tick at which two sites part
  virtual_office inject TICK KIND [WHO…]   blocker, meeting, sick_leave or anything else, fires in its tick

  --site PATH      the site's file (default virtual_office.db); an unfinished run is resumed, a finished one replaced
  --keep           only report on a finished site
  --seed N         from which all chance follows (default 7)
  --ticks N        how many minutes of office time (default 2400: five days of 480)
  --cut            a small run: one day
  --speed S        1x is a tick a minute, 1000x a thousand times as fast, max (default) as fast as it goes
  --step           wait for the return key before each tick
  --planner P      rules (default), command=PROGRAM ARGUMENTS…, or http=URL
  --model NAME     the model an http planner is asked for
  --price R,W,MAX  what a thousand tokens cost, read and written, and an answer at most, in millionths
  --budget N       what planning may cost in all, in millionths: at the budget the run pauses
  --record FILE    write down all answers under the hashes of their questions
  --replay FILE    plan by such a recording, and ask nobody
  --chaos N        start afresh, have this process killed with SIGKILL N times, and compare with an unbroken run
  --threads N      1: everything on one thread; 2 (default): the house on its own
  --out FOLDER     where plots and the page go (default: beside the site)
  --data FOLDER    real people's messages (default examples/data)
  --plain          no live view, also in a terminal
  --quiet          no progress bar and no tables
  --help           this text

In the live view: space pauses, s steps, + and - change the speed, b injects a blocker, m a meeting, q ends (run again to go on).

What the rules plan can be computed again: their commits survive the process, not a power cut. What another planner was paid
for is synced to the disk.";

#[derive(Clone)]
pub struct Arguments {
    pub command: Command,
    pub site: PathBuf,
    pub data: PathBuf,
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
    pub chaos: Option<u64>,
    pub threads: u64,
    pub step: bool,
    pub keep: bool,
    pub plain: bool,
    pub quiet: bool,
    pub help: bool,
    /// Given to a child that is to be killed: tell the parent of ticks, and do not end.
    pub tell: bool,
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
    pub fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            command: Command::Run,
            site: "virtual_office.db".into(),
            data: "examples/data".into(),
            out: None,
            seed: 7,
            ticks: 2_400,
            speed: None,
            planner: "rules".into(),
            model: "default".into(),
            price: [0, 0, 0],
            budget: None,
            record: None,
            replay: None,
            chaos: None,
            threads: 2,
            step: false,
            keep: false,
            plain: false,
            quiet: false,
            help: false,
            tell: false,
        };
        let mut words = Vec::new();
        while let Some(flag) = given.next() {
            if !flag.starts_with('-') {
                words.push(flag);
                continue;
            }
            let mut value = || given.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--site" => arguments.site = value()?.into(),
                "--data" => arguments.data = value()?.into(),
                "--out" => arguments.out = Some(value()?.into()),
                "--seed" => arguments.seed = number(&flag, &value()?)?,
                "--ticks" => arguments.ticks = number(&flag, &value()?)?,
                "--cut" => arguments.ticks = 480,
                "--speed" => arguments.speed = speed(&value()?)?,
                "--planner" => arguments.planner = value()?,
                "--model" => arguments.model = value()?,
                "--price" => arguments.price = price(&value()?)?,
                "--budget" => arguments.budget = Some(number(&flag, &value()?)?),
                "--record" => arguments.record = Some(value()?.into()),
                "--replay" => arguments.replay = Some(value()?.into()),
                "--chaos" => arguments.chaos = Some(number(&flag, &value()?)?),
                "--threads" => arguments.threads = number(&flag, &value()?)?,
                "--step" => arguments.step = true,
                "--keep" => arguments.keep = true,
                "--plain" => arguments.plain = true,
                "--quiet" => arguments.quiet = true,
                "--tell" => arguments.tell = true,
                "--help" | "-h" => arguments.help = true,
                _ => return Err(format!("{flag} is not known")),
            }
        }
        arguments.command = command(&words)?;
        arguments.check()?;
        Ok(arguments)
    }

    fn check(&self) -> Result<(), String> {
        if self.ticks == 0 {
            return Err("--ticks takes a number from 1".into());
        }
        if !(1..=2).contains(&self.threads) {
            return Err("--threads takes 1 or 2".into());
        }
        if self.keep && self.chaos.is_some() {
            return Err("--chaos starts afresh: leave out --keep".into());
        }
        if self.chaos.is_some() && (self.planner != "rules" || self.budget.is_some()) {
            return Err("--chaos compares with an unbroken run: leave out --planner and --budget".into());
        }
        Ok(())
    }

    /// How sites are opened: what the rules or a recording plan can be computed again.
    pub fn how(&self) -> How {
        let is_free = self.planner == "rules" || self.replay.is_some();
        How { threads: self.threads, sync: if is_free { SyncMode::Normal } else { SyncMode::Full } }
    }

    /// What a child is started with: the same work, in silence.
    pub fn of_child(&self) -> Vec<String> {
        let mut child: Vec<String> = vec!["--tell".into(), "--quiet".into(), "--plain".into()];
        child.extend(["--site".into(), self.site.to_string_lossy().into_owned()]);
        child.extend(["--data".into(), self.data.to_string_lossy().into_owned()]);
        child.extend(["--seed".into(), self.seed.to_string(), "--ticks".into(), self.ticks.to_string()]);
        child
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
