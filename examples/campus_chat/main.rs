//! Campus chat: a term of real messages among 1,899 students, replayed through durable inboxes.
//!
//! `cargo run --release --example campus_chat` does it all; `-- --chaos 5` has itself killed five times meanwhile and shows that
//! nothing comes of it. `-- --help` says what else there is.

mod correspondence;
mod data;
#[path = "../shared/program.rs"]
mod program;
#[path = "../shared/progress.rs"]
mod progress;
mod replay;
mod report;

use data::{Facts, Line};
use program::flags::Flags;
use program::{Done, Ended, Program, chaos, site};
use progress::Progress;
use replay::Replay;
use report::Report;
use std::process::ExitCode;
use worksite::prelude::*;

const PROGRAM: Program = Program {
    about: "Replays real messages through durable inboxes and checks what the workers remember of them.",
    site: "campus_chat.db",
    data: "examples/data/collegemsg.csv.gz",
    cut: "the first 4,000 messages",
    own: "",
};

fn main() -> ExitCode {
    PROGRAM.main(|| PROGRAM.flags(|_, _| Ok(false)), |flags| worksite::block_on(run(flags)))
}

async fn run(flags: &Flags) -> Done<bool> {
    let mut lines = data::read(&flags.data)?;
    lines.truncate(if flags.cut { 4_000 } else { usize::MAX });
    let facts = if flags.cut { Facts::counted(&lines) } else { Facts::published() };
    program::run(flags, async |flags| replay(flags, &lines, &facts).await).await
}

async fn replay(flags: &Flags, lines: &[Line], facts: &Facts) -> Done<Ended> {
    let site = open(flags, lines.len()).await?;
    let replay = Replay::of(lines);
    replay_with_progress(&site, &replay, lines.len(), flags).await?;
    let report = Report::read(&site, replay.people()).await?;
    if !flags.quiet {
        report.print();
        let svg = flags.site.with_extension("svg");
        report.draw(&svg)?;
        println!("\nmessages a day are drawn in {}", svg.display());
    }
    let checks = report.check(facts, &site.tally().await?, site.volatile_lost(), &site.roster());
    site.shutdown().await;
    Ok(Ended { checks, digest: report.digest()? })
}

/// Opens the site, as it is or afresh.
async fn open(flags: &Flags, lines: usize) -> Done<Worksite> {
    let open = || Worksite::builder().routine(correspondence::Correspond).open(&flags.site);
    let site = open().await?;
    let tally = site.tally().await?;
    let durable = durable(&tally)?;
    let is_finished = durable == lines && tally.waiting == 0 && site.roster().is_empty();
    if !site::is_replaced(flags, (durable, lines), "messages", is_finished)? {
        return Ok(site);
    }
    site.shutdown().await;
    site::remove(&flags.site)?;
    Ok(open().await?)
}

/// How many messages a site has: each is two envelopes.
fn durable(tally: &Tally) -> Result<usize, std::num::TryFromIntError> {
    usize::try_from(tally.accepted / 2)
}

async fn replay_with_progress(site: &Worksite, replay: &Replay<'_>, lines: usize, flags: &Flags) -> Done<()> {
    let before = durable(&site.tally().await?)?;
    let progress = Progress::begin(flags, (before, lines), "messages")?;
    replay
        .run(site, before, |durable, minute| {
            progress.show(durable, data::date(minute.div_euclid(data::DAY)));
            chaos::tell(flags, durable as u64, lines as u64);
        })
        .await?;
    chaos::end(flags);
    progress.end((lines - before) as u64, "messages (two envelopes each)");
    Ok(())
}
