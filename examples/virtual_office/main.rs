//! Virtual office: twelve people for a working week, with the hours and the patience of real ones; every colleague is a durable
//! worker, and the seed decides all.
//!
//! `cargo run --release --example virtual_office` does it all; `-- --chaos 10` has itself killed ten times meanwhile and shows
//! that nothing comes of it. `-- --help` says what else there is.

mod arguments;
mod chaos;
#[path = "../shared/checks.rs"]
mod checks;
mod drive;
mod fit;
#[path = "../shared/flags.rs"]
mod flags;
mod house;
mod page;
mod planners;
mod report;
mod screen;

use arguments::{Arguments, Command, HELP};
use drive::Driven;
use house::Open;
use report::Report;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use worksite_simulation::office::{
    Charter, Happening, HappeningKind, Input, Planning, RulesPlanner, RunEnd, Transcript,
};

type Done<T> = Result<T, Box<dyn Error>>;

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
    // One thread: the house shares this one, and needs it to be a local one.
    let done = match arguments.threads {
        1 => actix::System::new().block_on(run(&arguments)),
        _ => worksite::block_on(run(&arguments)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Done<bool> {
    match &arguments.command {
        Command::Run => run_office(arguments).await,
        Command::Verify => verify(arguments).await,
        Command::Export(folder) => export(arguments, folder).await,
        Command::Fork(tick, site) => fork(arguments, *tick, site).await,
        Command::Rewind(tick) => rewind(arguments, *tick).await,
        Command::Diff(other) => diff(arguments, other).await,
        Command::Inject(tick, kind, who) => inject(arguments, *tick, kind, who).await,
    }
}

async fn run_office(arguments: &Arguments) -> Done<bool> {
    let charter = fit::charter(&arguments.data, arguments.seed)?;
    let mut killed = None;
    if let Some(kills) = arguments.chaos {
        house::remove(&arguments.site)?;
        killed = Some((kills, chaos::run(&arguments.of_child(), kills, arguments.ticks)?));
    }
    let planning = planners::planning(arguments)?;
    let mut open = open(arguments, &charter).await?;
    let driven = if arguments.keep { None } else { Some(drive::drive(&mut open, &planning, arguments).await?) };
    if arguments.tell {
        println!("done");
        std::future::pending::<()>().await;
    }
    let report = read(&open, charter).await?;
    planners::record(arguments, &report.transcript)?;
    if let Some(stopped) = driven.as_ref().and_then(|driven| stopped(driven, &report)) {
        println!("{stopped}");
        open.site.shutdown().await;
        return Ok(true);
    }
    finish(arguments, &open, &report, driven.as_ref(), &planning, killed).await
}

/// What there is to say of a run that has not come to its end.
fn stopped(driven: &Driven, report: &Report) -> Option<String> {
    let spent = report.spent;
    match driven.end {
        Some(RunEnd::Budget { tick }) => Some(format!(
            "paused in tick {tick}: {spent} millionths are spent, and another answer could cost more than is left; run again \
             with a higher --budget, nothing is lost"
        )),
        None => Some(format!("stopped before tick {}; run again to go on", report.tick)),
        _ => None,
    }
}

async fn finish(
    arguments: &Arguments,
    open: &Open,
    report: &Report,
    driven: Option<&Driven>,
    planning: &Planning,
    killed: Option<(u64, u64)>,
) -> Done<bool> {
    if !arguments.quiet {
        report.print(driven);
    }
    let out = arguments.out.clone().unwrap_or_else(|| arguments.site.with_extension("out"));
    let pictures = report.draw(&out)?;
    let page = out.join("office.html");
    std::fs::write(&page, page::page(report, &pictures)?)?;
    println!("\nplots and a page with a slider over all ticks are in {}\n", out.display());
    let verified = open.office.verify().await?;
    let fork = fork_check(report).await?;
    open.site.shutdown().await;
    let mut checks = report.check(arguments.ticks, &verified, fork);
    let digest = report.transcript.digest();
    if arguments.replay.is_some() {
        checks.equal("planners asked beside the recording", 0, report.calls);
    }
    if let Some(budget) = planning.budget_micros {
        checks.equal("spent no more than the budget", true, report.spent <= budget);
    }
    if let Some((kills, killed)) = killed {
        checks.equal("killed before its end", kills, killed);
        checks.equal("digest of an unbroken run", &unbroken(arguments, &report.charter).await?[..16], &digest[..16]);
    }
    let good = checks.print();
    println!("\ndigest {digest}");
    Ok(good)
}

/// Forks the run in memory in the middle, lets something happen there, and looks where the two part.
async fn fork_check(report: &Report) -> Done<Option<(u64, Option<u64>, bool)>> {
    let tick = report.tick / 2;
    let mut fork = report.transcript.replay_in_memory(tick).await?;
    let past = fork.transcript().await?;
    let is_same = past.before(tick) == report.transcript.before(tick);
    let flood = Happening::new(HappeningKind::Other("flood".into()), [1], tick);
    fork.enter(Input::Inject(flood)).await?;
    fork.run_to(tick + 30, &Planning::by(RulesPlanner), |_, _| true).await?;
    let parts = report.transcript.before(tick + 30).parts_from(&fork.transcript().await?);
    fork.runtime().shutdown().await;
    Ok(Some((tick, parts, is_same)))
}

/// The digest of a run on another file that nobody kills.
async fn unbroken(arguments: &Arguments, charter: &Charter) -> Done<String> {
    let site = arguments.site.with_extension("unbroken.db");
    house::remove(&site)?;
    let mut open = house::open(&site, charter, arguments.how()).await?;
    let quiet = Arguments { quiet: true, tell: false, ..arguments.clone() };
    drive::drive(&mut open, &planners::planning(arguments)?, &quiet).await?;
    let digest = open.office.transcript().await?.digest();
    open.site.shutdown().await;
    house::remove(&site)?;
    Ok(digest)
}

/// Opens the site: resumes an unfinished run, and replaces a finished one unless it is to be kept.
async fn open(arguments: &Arguments, charter: &Charter) -> Done<Open> {
    let open = house::open(&arguments.site, charter, arguments.how()).await?;
    let (tick, name) = (open.office.tick(), arguments.site.display());
    if tick >= arguments.ticks
        && !open.office.is_mid_tick()
        && !arguments.keep
        && !arguments.tell
        && arguments.chaos.is_none()
    {
        println!("{name} is finished: starting afresh");
        open.site.shutdown().await;
        house::remove(&arguments.site)?;
        return house::open(&arguments.site, charter, arguments.how()).await;
    }
    if tick > 0 && !arguments.keep && !arguments.tell {
        println!("{name} has come to tick {tick} of {}: resuming", arguments.ticks);
    }
    Ok(open)
}

async fn read(open: &Open, charter: Charter) -> Done<Report> {
    Ok(Report {
        transcript: open.office.transcript().await?,
        charter,
        tick: open.office.tick(),
        desks: open.office.desks().clone(),
        tally: open.site.tally().await?,
        spent: open.office.spent_micros(),
        calls: open.office.calls(),
    })
}

async fn verify(arguments: &Arguments) -> Done<bool> {
    let open = house::resume(&arguments.site, arguments.how()).await?;
    let verified = open.office.verify().await?;
    open.site.shutdown().await;
    let mut checks = checks::Checks::default();
    checks.equal("planners asked", 0, verified.calls);
    checks.equal("first tick that differs", "none", verified.parts_at.map_or("none".into(), |tick| tick.to_string()));
    checks.equal("digest", &verified.digest[..16], &verified.replayed[..16]);
    let good = checks.print();
    println!("\ndigest {}", verified.digest);
    Ok(good && verified.holds())
}

async fn transcript(site: &Path, how: house::How) -> Done<(Transcript, u64)> {
    let open = house::resume(site, how).await?;
    let read = (open.office.transcript().await?, open.office.tick());
    open.site.shutdown().await;
    Ok(read)
}

async fn export(arguments: &Arguments, folder: &Path) -> Done<bool> {
    let (transcript, _) = transcript(&arguments.site, arguments.how()).await?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("transcript.jsonl"), transcript.lines())?;
    std::fs::write(folder.join("transcript.html"), transcript.html()?)?;
    std::fs::write(folder.join("mail.mbox"), transcript.mbox()?)?;
    println!("{} entries are in {}\n\ndigest {}", transcript.entries().len(), folder.display(), transcript.digest());
    Ok(true)
}

async fn fork(arguments: &Arguments, tick: u64, site: &Path) -> Done<bool> {
    let (transcript, reached) = transcript(&arguments.site, arguments.how()).await?;
    let tick = tick.min(reached);
    let open = house::replay(&transcript, tick, site, arguments.how()).await?;
    let digest = open.office.transcript().await?.digest();
    open.site.shutdown().await;
    println!(
        "{} shares the past of {} before tick {tick}\n\ndigest {digest}",
        site.display(),
        arguments.site.display()
    );
    Ok(true)
}

async fn rewind(arguments: &Arguments, tick: u64) -> Done<bool> {
    let beside = |name: &str| -> PathBuf { arguments.site.with_extension(name) };
    let (new, old) = (beside("rewound.db"), beside(&format!("before_rewind_to_{tick}.db")));
    house::remove(&new)?;
    fork(arguments, tick, &new).await?;
    // Both are closed: each file is whole without a log beside it, or with its own.
    for (from, to) in house::files(&arguments.site)
        .zip(house::files(&old))
        .chain(house::files(&new).zip(house::files(&arguments.site)))
    {
        if from.exists() {
            std::fs::rename(from, to)?;
        }
    }
    println!("{} is as it was before tick {tick}; what it was is in {}", arguments.site.display(), old.display());
    Ok(true)
}

async fn diff(arguments: &Arguments, other: &Path) -> Done<bool> {
    let (ours, _) = transcript(&arguments.site, arguments.how()).await?;
    let (theirs, _) = transcript(other, arguments.how()).await?;
    match ours.parts_from(&theirs) {
        Some(tick) => println!("{} and {} part in tick {tick}", arguments.site.display(), other.display()),
        None => println!("{} and {} are the same", arguments.site.display(), other.display()),
    }
    println!("\ndigest {}", ours.digest());
    Ok(true)
}

async fn inject(arguments: &Arguments, tick: u64, kind: &str, who: &[String]) -> Done<bool> {
    let mut open = house::resume(&arguments.site, arguments.how()).await?;
    let people = &open.office.ledger().people;
    let find =
        |name: &String| people.values().find(|colleague| colleague.is_called(name)).map(|colleague| colleague.id);
    let targets: Vec<i64> =
        who.iter().map(|name| find(name).ok_or(format!("nobody is called {name}"))).collect::<Result<_, _>>()?;
    let kind = match kind {
        "blocker" => HappeningKind::Blocker,
        "meeting" => HappeningKind::Meeting,
        "sick_leave" => HappeningKind::SickLeave,
        "client_feature_request" => HappeningKind::ClientFeatureRequest,
        other => HappeningKind::Other(other.into()),
    };
    let row = open.office.enter(Input::Inject(Happening::new(kind, targets, tick))).await?;
    open.site.shutdown().await;
    match row.result {
        Ok(said) => println!("input {}: {said}", row.number),
        Err(why) => return Err(format!("input {}: {why}", row.number).into()),
    }
    Ok(true)
}
