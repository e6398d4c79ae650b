//! Mailroom: 3,900 real e-mails through one house: lists send copies to their members, an archive keeps threads, urgent
//! mail overtakes, a small inbox lets old mail go, and a dead letter is sent again.
//!
//! `cargo run --release --example mailroom` does it all; `-- --chaos 10` has itself killed ten times meanwhile and shows
//! that nothing comes of it. `-- --help` says what else there is.

mod chaos;
#[path = "../shared/checks.rs"]
mod checks;
mod clerk;
mod desks;
mod drive;
mod expected;
#[path = "../shared/flags.rs"]
mod flags;
mod house;
mod lists;
mod mails;
mod report;

use checks::Checks;
use expected::Expected;
use flags::number;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mails::Mails;
use report::Report;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use worksite::prelude::*;

const HELP: &str = "\
Delivers real e-mails through durable inboxes and checks what the workers remember of them.

  --site PATH   the site's file (default mailroom.db); an unfinished one is resumed, a finished one replaced
  --keep        only report on a finished site
  --mails N     deliver only the first N mails
  --cut         a small run: the first 150 mails
  --chaos N     start afresh, have this process killed with SIGKILL N times, and compare with an unbroken run
  --data PATH   the mails (default examples/data/spamassassin_easy_ham_headers.tsv.gz)
  --quiet       no progress bar and no tables
  --help        this text";

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
    let mails = mails::read(&arguments.data, arguments.mails)?;
    let expected = Expected::of(&mails, mails.is_whole);
    let mut killed = 0;
    if let Some(kills) = arguments.chaos {
        remove(&arguments.site)?;
        let facts = 2 * expected.envelopes() as u64;
        killed = chaos::run(&arguments.site, &arguments.of_child(), kills, facts)?;
    }
    let report = deliver(&arguments.site, &mails, arguments).await?;
    if !arguments.quiet {
        report.print(&mails);
    }
    let mut checks = report.check(&mails, &expected);
    if let Some(kills) = arguments.chaos {
        checks.equal("killed before its end", kills, killed);
        compare(&report, &mails, arguments, &mut checks).await?;
    }
    println!();
    let good = checks.print();
    println!("\ndigest {}", report.digest()?);
    Ok(good)
}

/// Runs once more on another file, without being killed, and compares.
async fn compare(
    report: &Report,
    mails: &Mails,
    arguments: &Arguments,
    checks: &mut Checks,
) -> Result<(), Box<dyn Error>> {
    let site = arguments.site.with_extension("unbroken.db");
    remove(&site)?;
    let unbroken = deliver(&site, mails, arguments).await?.digest()?;
    remove(&site)?;
    // The first digits are enough for a person; the comparison is of all.
    let first = |digest: &str| digest[..16].to_string();
    checks.equal("digest of an unbroken run", first(&unbroken), first(&report.digest()?));
    checks.equal("all digits of it", true, unbroken == report.digest()?);
    Ok(())
}

/// Delivers all mails that are still to be delivered, and reads what the workers remember.
async fn deliver(path: &Path, mails: &Mails, arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let site = open(path, mails.mails.len(), arguments.keep).await?;
    if arguments.tell {
        chaos::tell(&site);
    }
    deliver_with_progress(&site, mails, arguments).await?;
    let report = Report::read(&site, mails).await?;
    site.shutdown().await;
    Ok(report)
}

/// Opens the site: resumes an unfinished one, and replaces a finished one unless it is to be kept.
async fn open(path: &Path, mails: usize, keep: bool) -> Result<Worksite, Box<dyn Error>> {
    let site = drive::open(path).await?;
    let (progress, name) = (drive::progress(&site).await?, path.display());
    if progress.is_finished && !keep {
        println!("{name} is finished: starting afresh");
        site.shutdown().await;
        remove(path)?;
        return Ok(drive::open(path).await?);
    }
    if let Some(of) = progress.of.filter(|of| *of != mails) {
        return Err(format!("{name} is about {of} mails, not {mails}; give --mails {of}, or another --site").into());
    }
    if progress.next > 0 && !progress.is_finished {
        println!("{name} has filed {} of {mails} mails: resuming", progress.next);
    }
    Ok(site)
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

async fn deliver_with_progress(site: &Worksite, mails: &Mails, arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if drive::progress(site).await?.is_finished {
        return Ok(());
    }
    let target = if arguments.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(mails.mails.len() as u64), target);
    bar.set_style(ProgressStyle::with_template("[{bar:40}] {pos}/{len} mails, {per_sec}, {eta} left")?);
    bar.set_position(drive::progress(site).await?.next as u64);
    bar.reset_eta();
    let before = site.tally().await?.accepted;
    #[expect(clippy::disallowed_methods, reason = "the rate is shown to a person")]
    let start = std::time::Instant::now();
    drive::deliver(site, mails, |filed| bar.set_position(filed as u64)).await?;
    if arguments.tell {
        chaos::wait_to_be_killed().await;
    }
    drive::wake_watch(site).await?;
    bar.finish_and_clear();
    let (sent, seconds) = (site.tally().await?.accepted - before, start.elapsed().as_secs_f64());
    println!("{sent} envelopes in {seconds:.1} s: {:.0} a second, each durable", sent as f64 / seconds);
    Ok(())
}

struct Arguments {
    site: PathBuf,
    data: PathBuf,
    mails: Option<usize>,
    chaos: Option<u64>,
    keep: bool,
    quiet: bool,
    help: bool,
    /// Given to a child that is to be killed: tell the parent of facts, and do not end.
    tell: bool,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self {
            site: "mailroom.db".into(),
            data: Path::new("examples/data/spamassassin_easy_ham_headers.tsv.gz").into(),
            mails: None,
            chaos: None,
            keep: false,
            quiet: false,
            help: false,
            tell: false,
        };
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--site" => arguments.site = value()?.into(),
                "--data" => arguments.data = value()?.into(),
                "--cut" => arguments.mails = Some(150),
                "--mails" => arguments.mails = Some(number(&flag, &value()?)?),
                "--chaos" => arguments.chaos = Some(number(&flag, &value()?)?),
                "--keep" => arguments.keep = true,
                "--quiet" => arguments.quiet = true,
                "--tell" => arguments.tell = true,
                "--help" | "-h" => arguments.help = true,
                _ => return Err(format!("{flag} is not known")),
            }
        }
        if arguments.mails == Some(0) {
            return Err("--mails takes a number from 1".into());
        }
        if arguments.keep && arguments.chaos.is_some() {
            return Err("--chaos starts afresh: leave out --keep".into());
        }
        Ok(arguments)
    }

    /// What a child is started with: the same work, in silence.
    fn of_child(&self) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut child = vec!["--tell".into(), "--quiet".into(), "--site".into(), text(&self.site)];
        child.extend(["--data".into(), text(&self.data)]);
        child.extend(self.mails.into_iter().flat_map(|mails| ["--mails".into(), mails.to_string()]));
        child
    }
}
