//! Night shift: three months of a cluster's job log as runs of a real queue: 51,987 jobs of 84 users on 2,004 cores, worked off
//! by simulated runners, with besteffort jobs that give way, users that stop theirs, and runners that are lost.
//!
//! `cargo run --release --example night_shift` does it all; `-- --kill-runners` loses a runner every simulated hour, `-- --chaos
//! 5` has this process killed five times meanwhile, and both show that nothing comes of it. `-- --help` says what else.

#[path = "../shared/checks.rs"]
mod checks;
mod log;
mod policies;
mod report;
mod shift;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use log::Job;
use report::Report;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

const HELP: &str = "\
Works off a cluster's job log as runs of a durable queue, and checks how every one of them ended.

  --site PATH      the site's file (default night_shift.db); a shift that was broken off goes on
  --runs N         only the first N jobs
  --kill-runners   a runner is killed every simulated hour
  --chaos N        start afresh, have this process killed with SIGKILL N times, and compare with an unbroken shift
  --svg PATH       where to draw the waits (default: the site's file with .svg)
  --data PATH      the log (default examples/data/UniLu-Gaia-2014-2.swf.gz)
  --quiet          no progress and no curves
  --help           this text";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if arguments.help {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match worksite::block_on(run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let jobs = log::read(&arguments.data, arguments.runs)?;
    let mut killed = 0;
    if let Some(kills) = arguments.chaos {
        remove(&arguments.site)?;
        for kill in 0..kills {
            let share = jobs.len() as u64 / kills.max(1);
            let aim = share * kill + worksite::model::chance(47, &[kill.cast_signed()]) % share.max(1);
            killed += u64::from(kill_after(aim, &arguments.of_child())?);
            println!("killed when {aim} runs had ended, or more");
        }
    }
    let report = work(&arguments.site, &jobs, arguments).await?;
    if !arguments.quiet {
        report.print(&jobs);
        println!("waits, if the same jobs were taken in another order (each job running as long as it did):");
        let svg = arguments.svg.clone().unwrap_or_else(|| arguments.site.with_extension("svg"));
        report::draw(&jobs, &svg)?;
        println!("  drawn in {}\n", svg.display());
    }
    let mut checks = report.check(&jobs);
    if arguments.chaos.is_some() {
        checks.equal("times it was killed", arguments.chaos.unwrap_or(0), killed);
        let site = arguments.site.with_extension("unbroken.db");
        remove(&site)?;
        let unbroken = work(&site, &jobs, arguments).await?;
        remove(&site)?;
        checks.equal("digest of an unbroken shift", &unbroken.digest()[..16], &report.digest()[..16]);
    }
    let good = checks.print();
    println!("\ndigest {}", report.digest());
    Ok(good)
}

async fn work(site: &Path, jobs: &[Job], arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let mut shift = shift::open(site, jobs, arguments.kill_runners).await?;
    let target = if arguments.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(jobs.len() as u64), target);
    bar.set_style(ProgressStyle::with_template("[{bar:30}] {pos}/{len} runs ended, {eta} left  {msg}")?);
    bar.set_position(shift.ended() as u64);
    bar.reset_eta();
    #[expect(clippy::disallowed_methods, reason = "the rate is shown to a person")]
    let start = std::time::Instant::now();
    let (before, mut said) = (shift.ended(), 0);
    let look = |shift: &shift::Shift<'_>| {
        bar.set_position(shift.ended() as u64);
        bar.set_message(format!(
            "day {:>2}: {:>4} of {} cores, {:>5} wait, {} runners lost",
            shift.day(),
            shift.busy(),
            log::CORES,
            shift.waiting(),
            shift.told.runners_lost
        ));
        if arguments.tell && shift.ended() != said {
            said = shift.ended();
            // Nobody listens any more when the parent has gone; then this process is to be killed anyway.
            let _unheard = writeln!(std::io::stdout(), "ended {said}");
        }
    };
    shift.work(look).await?;
    bar.finish_and_clear();
    if arguments.tell {
        println!("done");
        std::future::pending::<()>().await;
    }
    let (ended, seconds) = (shift.ended() - before, start.elapsed().as_secs_f64());
    if !arguments.quiet {
        println!(
            "{ended} runs ended in {seconds:.1} s: {:.0} a second, each step of each durable",
            ended as f64 / seconds
        );
    }
    let report = Report::new(shift.runs().await?, shift.told.clone());
    shift.close().await;
    Ok(report)
}

/// Kills a child once it has said that so many runs have ended; says whether that is how it came to its end.
fn kill_after(ended: u64, arguments: &[String]) -> Result<bool, Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("a child without an output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        let said = line.strip_prefix("ended ").and_then(|said| said.parse::<u64>().ok());
        if said.is_some_and(|said| said >= ended) || line == "done" {
            break;
        }
    }
    // SIGKILL: no destructor runs, nothing is flushed.
    child.kill()?;
    // Who ends by a signal has no code.
    Ok(child.wait()?.code().is_none())
}

fn remove(path: &Path) -> std::io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut path = path.to_path_buf().into_os_string();
        path.push(suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

struct Arguments {
    site: PathBuf,
    data: PathBuf,
    svg: Option<PathBuf>,
    runs: Option<usize>,
    chaos: Option<u64>,
    kill_runners: bool,
    quiet: bool,
    help: bool,
    /// Given to a child that is to be killed: tell the parent how far it is, and do not end.
    tell: bool,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            site: "night_shift.db".into(),
            data: "examples/data/UniLu-Gaia-2014-2.swf.gz".into(),
            svg: None,
            runs: None,
            chaos: None,
            kill_runners: false,
            quiet: false,
            help: false,
            tell: false,
        };
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--site" => arguments.site = value()?.into(),
                "--data" => arguments.data = value()?.into(),
                "--svg" => arguments.svg = Some(value()?.into()),
                "--runs" => arguments.runs = Some(number(&flag, &value()?)?),
                "--chaos" => arguments.chaos = Some(number(&flag, &value()?)?),
                "--kill-runners" => arguments.kill_runners = true,
                "--quiet" => arguments.quiet = true,
                "--tell" => arguments.tell = true,
                "--help" | "-h" => arguments.help = true,
                _ => return Err(format!("{flag} is not known")),
            }
        }
        if arguments.runs == Some(0) {
            return Err("--runs takes a number from 1".into());
        }
        Ok(arguments)
    }

    /// What a child is started with: the same work, in silence.
    fn of_child(&self) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut child = vec!["--tell".into(), "--quiet".into(), "--site".into(), text(&self.site)];
        child.extend(["--data".into(), text(&self.data)]);
        child.extend(self.runs.into_iter().flat_map(|runs| ["--runs".into(), runs.to_string()]));
        child.extend(self.kill_runners.then(|| "--kill-runners".into()));
        child
    }
}

fn number<T: std::str::FromStr>(flag: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{flag} takes a number, not {text:?}"))
}
