//! Night shift: three months of a cluster's job log as runs of a real queue: 51,987 jobs of 84 users on 2,004 cores, worked off
//! by simulated runners, with besteffort jobs that give way, users that stop theirs, and runners that are lost.
//!
//! `cargo run --release --example night_shift` does it all; `-- --kill-runners` loses a runner every simulated hour, `-- --chaos
//! 5` has this process killed five times meanwhile, and both show that nothing comes of it. `-- --help` says what else.

mod log;
mod policies;
#[path = "../shared/program.rs"]
mod program;
#[path = "../shared/progress.rs"]
mod progress;
mod report;
mod shift;

use log::Job;
use program::flags::Flags;
use program::{Done, Ended, Program, chaos, site};
use progress::Progress;
use report::Report;
use shift::Shift;
use std::process::ExitCode;

const PROGRAM: Program = Program {
    about: "Works off a cluster's job log as runs of a durable queue, and checks how every one of them ended.",
    site: "night_shift.db",
    data: "examples/data/UniLu-Gaia-2014-2.swf.gz",
    cut: "the first 250 jobs",
    own: "\n\n  --kill-runners   a runner is killed every simulated hour",
};

fn main() -> ExitCode {
    PROGRAM.main(read, |(flags, kills_runners)| worksite::block_on(run(flags, *kills_runners)))
}

fn read() -> Result<(Flags, bool), String> {
    let mut kills_runners = false;
    let flags = PROGRAM.flags(|flag, _| {
        kills_runners |= flag == "--kill-runners";
        Ok(flag == "--kill-runners")
    })?;
    Ok((flags, kills_runners))
}

async fn run(flags: &Flags, kills_runners: bool) -> Done<bool> {
    let jobs = log::read(&flags.data, flags.cut.then_some(250))?;
    program::run(flags, async |flags| work(flags, &jobs, kills_runners).await).await
}

async fn work(flags: &Flags, jobs: &[Job], kills_runners: bool) -> Done<Ended> {
    let mut shift = open(flags, jobs, kills_runners).await?;
    work_with_progress(&mut shift, jobs.len(), flags).await?;
    let report = Report::new(shift.runs().await?, shift.told.clone());
    shift.close().await;
    if !flags.quiet {
        report.print(jobs);
        println!("waits, if the same jobs were taken in another order (each job running as long as it did):");
        let svg = flags.site.with_extension("svg");
        report::draw(jobs, &svg)?;
        println!("  drawn in {}", svg.display());
    }
    Ok(Ended { checks: report.check(jobs), digest: report.digest() })
}

/// Opens the site, as it is or afresh.
async fn open<'a>(flags: &Flags, jobs: &'a [Job], kills_runners: bool) -> Done<Shift<'a>> {
    let shift = shift::open(&flags.site, jobs, kills_runners).await?;
    let is_finished = shift.ended() == jobs.len();
    if !site::is_replaced(flags, (shift.ended(), jobs.len()), "runs", is_finished)? {
        return Ok(shift);
    }
    shift.close().await;
    site::remove(&flags.site)?;
    shift::open(&flags.site, jobs, kills_runners).await
}

async fn work_with_progress(shift: &mut Shift<'_>, jobs: usize, flags: &Flags) -> Done<()> {
    let before = shift.ended();
    let progress = Progress::begin(flags, (before, jobs), "runs")?;
    let look = |shift: &Shift<'_>| {
        let (day, busy, waiting, lost) = (shift.day(), shift.busy(), shift.waiting(), shift.told.runners_lost);
        let cores = log::CORES;
        let message = format!("day {day:>2}: {busy:>4} of {cores} cores, {waiting:>5} wait, {lost} runners lost");
        progress.show(shift.ended(), message);
        chaos::tell(flags, shift.ended() as u64, jobs as u64);
    };
    shift.work(look).await?;
    chaos::end(flags);
    progress.end((shift.ended() - before) as u64, "runs");
    Ok(())
}
