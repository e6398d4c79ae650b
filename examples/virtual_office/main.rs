//! Virtual office: twelve people for a working week, with the hours and the patience of real ones; every colleague is a durable
//! worker, and the seed decides all.
//!
//! `cargo run --release --example virtual_office` does it all; `-- --chaos 10` has itself killed ten times meanwhile and shows
//! that nothing comes of it. `-- --help` says what else there is.

mod arguments;
mod drive;
mod fit;
mod house;
mod page;
mod planners;
#[path = "../shared/program.rs"]
mod program;
mod report;
mod screen;

use arguments::{Arguments, Command, PROGRAM};
use drive::Driven;
use house::Open;
use program::checks::Checks;
use program::flags::Flags;
use program::{Done, Ended, chaos, site};
use report::Report;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use worksite_simulation::office::{
    Charter, Happening, HappeningKind, Input, Planning, RulesPlanner, RunEnd, Transcript,
};

fn main() -> ExitCode {
    PROGRAM.main(Arguments::read, |arguments| match arguments.threads {
        // One thread: the house shares this one, and needs it to be a local one.
        1 => actix::System::new().block_on(run(arguments)),
        _ => worksite::block_on(run(arguments)),
    })
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
    let charter = fit::charter(&arguments.flags.data, arguments.seed)?;
    let work = async |flags: &Flags| work(&Arguments { flags: flags.clone(), ..arguments.clone() }, &charter).await;
    program::run(&arguments.flags, work).await
}

async fn work(arguments: &Arguments, charter: &Charter) -> Done<Ended> {
    let planning = planners::planning(arguments)?;
    let mut open = open(arguments, charter).await?;
    let driven = if arguments.flags.keep { None } else { Some(drive::drive(&mut open, &planning, arguments).await?) };
    chaos::end(&arguments.flags);
    let report = read(&open, charter.clone()).await?;
    planners::record(arguments, &report.transcript)?;
    let mut checks = match driven.as_ref().and_then(|driven| stopped(driven, &report)) {
        Some(stopped) => {
            println!("{stopped}");
            let mut checks = Checks::default();
            checks.equal("accepted = settled + waiting + buried + …", true, report.tally.is_conserved());
            checks
        }
        None => finish(arguments, &open, &report, driven.as_ref()).await?,
    };
    if arguments.replay.is_some() {
        checks.equal("planners asked beside the recording", 0, report.calls);
    }
    if let Some(budget) = planning.budget_micros {
        checks.equal("spent no more than the budget", true, report.spent <= budget);
    }
    open.site.shutdown().await;
    Ok(Ended { checks, digest: report.transcript.digest() })
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

/// Shows what there is to see of a whole run, and checks it.
async fn finish(arguments: &Arguments, open: &Open, report: &Report, driven: Option<&Driven>) -> Done<Checks> {
    if !arguments.flags.quiet {
        report.print(driven);
        let out = arguments.out.clone().unwrap_or_else(|| arguments.flags.site.with_extension("out"));
        let pictures = report.draw(&out)?;
        std::fs::write(out.join("office.html"), page::page(report, &pictures)?)?;
        println!("\nplots and a page with a slider over all ticks are in {}", out.display());
    }
    Ok(report.check(arguments.ticks, &open.office.verify().await?, fork_check(report).await?))
}

/// Forks the run in memory in the middle, lets something happen there, and looks where the two part.
async fn fork_check(report: &Report) -> Done<(u64, Option<u64>, bool)> {
    let tick = report.tick / 2;
    let mut fork = report.transcript.replay_in_memory(tick).await?;
    let past = fork.transcript().await?;
    let is_same = past.before(tick) == report.transcript.before(tick);
    let flood = Happening::new(HappeningKind::Other("flood".into()), [1], tick);
    fork.enter(Input::Inject(flood)).await?;
    fork.run_to(tick + 30, &Planning::by(RulesPlanner), |_, _| true).await?;
    let parts = report.transcript.before(tick + 30).parts_from(&fork.transcript().await?);
    fork.runtime().shutdown().await;
    Ok((tick, parts, is_same))
}

/// Opens the site, as it is or afresh.
async fn open(arguments: &Arguments, charter: &Charter) -> Done<Open> {
    let path = &arguments.flags.site;
    let open = house::open(path, charter, arguments.how()).await?;
    let (tick, ticks) = (open.office.tick() as usize, arguments.ticks as usize);
    let is_finished = tick == ticks && !open.office.is_mid_tick();
    if !site::is_replaced(&arguments.flags, (tick, ticks), "ticks", is_finished)? {
        return Ok(open);
    }
    open.site.shutdown().await;
    site::remove(path)?;
    house::open(path, charter, arguments.how()).await
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
    let open = house::resume(&arguments.flags.site, arguments.how()).await?;
    let verified = open.office.verify().await?;
    open.site.shutdown().await;
    let mut checks = Checks::default();
    checks.equal("planners asked", 0, verified.calls);
    checks.equal("first tick that differs", "none", verified.parts_at.map_or("none".into(), |tick| tick.to_string()));
    checks.equal("digest", &verified.digest[..16], &verified.replayed[..16]);
    let is_good = checks.print();
    println!("\ndigest {}", verified.digest);
    Ok(is_good && verified.holds())
}

async fn transcript(site: &Path, how: house::How) -> Done<(Transcript, u64)> {
    let open = house::resume(site, how).await?;
    let read = (open.office.transcript().await?, open.office.tick());
    open.site.shutdown().await;
    Ok(read)
}

async fn export(arguments: &Arguments, folder: &Path) -> Done<bool> {
    let (transcript, _) = transcript(&arguments.flags.site, arguments.how()).await?;
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("transcript.jsonl"), transcript.lines())?;
    std::fs::write(folder.join("transcript.html"), transcript.html()?)?;
    std::fs::write(folder.join("mail.mbox"), transcript.mbox()?)?;
    println!("{} entries are in {}\n\ndigest {}", transcript.entries().len(), folder.display(), transcript.digest());
    Ok(true)
}

async fn fork(arguments: &Arguments, tick: u64, site: &Path) -> Done<bool> {
    let (transcript, reached) = transcript(&arguments.flags.site, arguments.how()).await?;
    let tick = tick.min(reached);
    let open = house::replay(&transcript, tick, site, arguments.how()).await?;
    let digest = open.office.transcript().await?.digest();
    open.site.shutdown().await;
    println!(
        "{} shares the past of {} before tick {tick}\n\ndigest {digest}",
        site.display(),
        arguments.flags.site.display()
    );
    Ok(true)
}

async fn rewind(arguments: &Arguments, tick: u64) -> Done<bool> {
    let beside = |name: &str| -> PathBuf { arguments.flags.site.with_extension(name) };
    let (new, old) = (beside("rewound.db"), beside(&format!("before_rewind_to_{tick}.db")));
    site::remove(&new)?;
    fork(arguments, tick, &new).await?;
    // Both are closed: each file is whole without a log beside it, or with its own.
    for (from, to) in site::files(&arguments.flags.site)
        .zip(site::files(&old))
        .chain(site::files(&new).zip(site::files(&arguments.flags.site)))
    {
        if from.exists() {
            std::fs::rename(from, to)?;
        }
    }
    println!("{} is as it was before tick {tick}; what it was is in {}", arguments.flags.site.display(), old.display());
    Ok(true)
}

async fn diff(arguments: &Arguments, other: &Path) -> Done<bool> {
    let (ours, _) = transcript(&arguments.flags.site, arguments.how()).await?;
    let (theirs, _) = transcript(other, arguments.how()).await?;
    match ours.parts_from(&theirs) {
        Some(tick) => println!("{} and {} part in tick {tick}", arguments.flags.site.display(), other.display()),
        None => println!("{} and {} are the same", arguments.flags.site.display(), other.display()),
    }
    println!("\ndigest {}", ours.digest());
    Ok(true)
}

async fn inject(arguments: &Arguments, tick: u64, kind: &str, who: &[String]) -> Done<bool> {
    let mut open = house::resume(&arguments.flags.site, arguments.how()).await?;
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
