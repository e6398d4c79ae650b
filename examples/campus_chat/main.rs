//! Campus chat: a term of real messages among 1,899 students, replayed through durable inboxes.
//!
//! `cargo run --release --example campus_chat` does it all; `-- --help` says what else there is. Kill it at any moment and
//! run it again: it resumes, and the digest on the last line is the same.

#[path = "../shared/checks.rs"]
mod checks;
mod correspondence;
mod data;
#[path = "../shared/flags.rs"]
mod flags;
mod replay;
mod report;

use data::Facts;
use flags::number;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use replay::Replay;
use report::Report;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use worksite::prelude::*;

const HELP: &str = "\
Replays real messages through durable inboxes and checks what the workers remember of them.

  --site PATH      the site's file (default campus_chat.db); an unfinished one is resumed, a finished one replaced
  --keep           only report on a finished site
  --lines N        replay only the first N messages
  --cut            a small run: the first 4,000 messages
  --kill-after N   end this process with SIGKILL once N messages are durable
  --data PATH      the messages (default examples/data/collegemsg.csv.gz)
  --svg PATH       where to draw messages a day (default: the site's file with .svg)
  --quiet          no progress bar and no plots
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
    let mut lines = data::read(&arguments.data)?;
    let whole = arguments.lines.is_none_or(|limit| limit >= lines.len());
    lines.truncate(arguments.lines.unwrap_or(usize::MAX));
    let facts = if whole { Facts::published() } else { Facts::counted(&lines) };
    let site = open(arguments, lines.len()).await?;
    let replay = Replay::of(&lines);
    replay_with_progress(&site, &replay, lines.len(), arguments).await?;
    let report = Report::read(&site, replay.people()).await?;
    if !arguments.quiet {
        report.print();
    }
    report.draw(&arguments.svg())?;
    println!("\nmessages a day are drawn in {}\n", arguments.svg().display());
    let checks = report.check(&facts, &site.tally().await?, site.volatile_lost(), &site.roster());
    site.shutdown().await;
    let good = checks.print();
    println!("\ndigest {}", report.digest()?);
    Ok(good)
}

/// Opens the site: resumes an unfinished one, and replaces a finished one unless it is to be kept.
async fn open(arguments: &Arguments, lines: usize) -> Result<Worksite, Box<dyn Error>> {
    let site = Worksite::builder().routine(correspondence::Correspond).open(&arguments.site).await?;
    let tally = site.tally().await?;
    let durable = usize::try_from(tally.accepted / 2)?;
    let name = arguments.site.display();
    if durable > lines {
        return Err(
            format!("{name} holds {durable} messages, more than the {lines} to replay; give another --site").into()
        );
    }
    let finished = durable == lines && tally.waiting == 0 && site.roster().is_empty();
    if !finished || arguments.keep {
        if durable > 0 && !finished {
            println!("{name} holds {durable} of {lines} messages: resuming");
        }
        return Ok(site);
    }
    println!("{name} is finished: starting afresh");
    site.shutdown().await;
    for suffix in ["", "-wal", "-shm"] {
        let mut path = arguments.site.clone().into_os_string();
        path.push(suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(Worksite::builder().routine(correspondence::Correspond).open(&arguments.site).await?)
}

async fn replay_with_progress(
    site: &Worksite,
    replay: &Replay<'_>,
    lines: usize,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let target = if arguments.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(lines as u64), target);
    bar.set_style(ProgressStyle::with_template("{msg} [{bar:40}] {pos}/{len} messages, {per_sec}, {eta} left")?);
    let before = site.tally().await?.accepted / 2;
    bar.set_position(before);
    bar.reset_eta();
    #[expect(clippy::disallowed_methods, reason = "the rate is shown to a person")]
    let start = std::time::Instant::now();
    replay
        .run(site, |durable, minute| {
            bar.set_position(durable as u64);
            bar.set_message(data::date(minute.div_euclid(data::DAY)));
            if arguments.kill_after.is_some_and(|limit| durable >= limit) {
                kill_this_process();
            }
        })
        .await?;
    bar.finish_and_clear();
    let (sent, seconds) = (lines as u64 - before, start.elapsed().as_secs_f64());
    println!(
        "{sent} messages ({} envelopes) in {seconds:.1} s: {:.0} messages a second, each durable",
        sent * 2,
        sent as f64 / seconds
    );
    Ok(())
}

/// Ends this process as a power cut would: no destructor runs, nothing is flushed.
fn kill_this_process() {
    let _killed = std::process::Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
}

struct Arguments {
    site: PathBuf,
    data: PathBuf,
    svg: Option<PathBuf>,
    lines: Option<usize>,
    kill_after: Option<usize>,
    keep: bool,
    quiet: bool,
    help: bool,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            site: "campus_chat.db".into(),
            data: Path::new("examples/data/collegemsg.csv.gz").into(),
            svg: None,
            lines: None,
            kill_after: None,
            keep: false,
            quiet: false,
            help: false,
        };
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--site" => arguments.site = value()?.into(),
                "--data" => arguments.data = value()?.into(),
                "--svg" => arguments.svg = Some(value()?.into()),
                "--cut" => arguments.lines = Some(4_000),
                "--lines" => arguments.lines = Some(number(&flag, &value()?)?),
                "--kill-after" => arguments.kill_after = Some(number(&flag, &value()?)?),
                "--keep" => arguments.keep = true,
                "--quiet" => arguments.quiet = true,
                "--help" | "-h" => arguments.help = true,
                _ => return Err(format!("{flag} is not known")),
            }
        }
        Ok(arguments)
    }

    fn svg(&self) -> PathBuf {
        self.svg.clone().unwrap_or_else(|| self.site.with_extension("svg"))
    }
}
