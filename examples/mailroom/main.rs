//! Mailroom: 3,900 real e-mails through one house: lists send copies to their members, an archive keeps threads, urgent
//! mail overtakes, a small inbox lets old mail go, and a dead letter is sent again.
//!
//! `cargo run --release --example mailroom` does it all; `-- --chaos 10` has itself killed ten times meanwhile and shows
//! that nothing comes of it. `-- --help` says what else there is.

mod clerk;
mod desks;
mod drive;
mod expected;
mod house;
mod lists;
mod mails;
#[path = "../shared/program.rs"]
mod program;
#[path = "../shared/progress.rs"]
mod progress;
mod report;

use expected::Expected;
use mails::Mails;
use program::flags::Flags;
use program::{Done, Ended, Program, chaos, site};
use progress::Progress;
use report::Report;
use std::process::ExitCode;
use worksite::prelude::*;

const PROGRAM: Program = Program {
    about: "Delivers real e-mails through durable inboxes and checks what the workers remember of them.",
    site: "mailroom.db",
    data: "examples/data/spamassassin_easy_ham_headers.tsv.gz",
    cut: "the first 150 mails",
    own: "",
};

/// A child tells its parent each time it has heard so many more facts.
const FACTS_AT_ONCE: u64 = 50;

fn main() -> ExitCode {
    PROGRAM.main(|| PROGRAM.flags(|_, _| Ok(false)), |flags| worksite::block_on(run(flags)))
}

async fn run(flags: &Flags) -> Done<bool> {
    let mails = mails::read(&flags.data, flags.cut.then_some(150))?;
    let expected = Expected::of(&mails, mails.is_whole);
    program::run(flags, async |flags| deliver(flags, &mails, &expected).await).await
}

/// Delivers all mails that are still to be delivered, and reads what the workers remember.
async fn deliver(flags: &Flags, mails: &Mails, expected: &Expected) -> Done<Ended> {
    let site = open(flags, mails.mails.len()).await?;
    if flags.tell {
        tell(&site, flags.clone(), 2 * expected.envelopes() as u64).await?;
    }
    deliver_with_progress(&site, mails, flags).await?;
    let report = Report::read(&site, mails).await?;
    site.shutdown().await;
    if !flags.quiet {
        report.print(mails);
    }
    Ok(Ended { checks: report.check(mails, expected), digest: report.digest()? })
}

/// Opens the site, as it is or afresh.
async fn open(flags: &Flags, mails: usize) -> Done<Worksite> {
    let site = drive::open(&flags.site).await?;
    let progress = drive::progress(&site).await?;
    if let Some(of) = progress.of.filter(|of| *of != mails) {
        let name = flags.site.display();
        return Err(format!(
            "{name} is about {of} mails, not {mails}: give or leave out --cut, or take another --site"
        )
        .into());
    }
    if !site::is_replaced(flags, (progress.next, mails), "mails", progress.is_finished)? {
        return Ok(site);
    }
    site.shutdown().await;
    site::remove(&flags.site)?;
    Ok(drive::open(&flags.site).await?)
}

/// In a child: tells the parent of facts, of which a whole run has about so many; most come while copies go out, in the
/// middle of which nothing else is said.
async fn tell(site: &Worksite, flags: Flags, whole: u64) -> Done<()> {
    let mut subscription = site.subscribe();
    let tally = site.tally().await?;
    let mut heard = tally.accepted + tally.settled + tally.dropped;
    std::thread::spawn(move || {
        worksite::block_on(async {
            let mut told = heard;
            while let Some(next) = subscription.next().await {
                heard += match next {
                    Told::Lagged(missed) => missed,
                    Told::Fact(_) => 1,
                };
                if heard >= told + FACTS_AT_ONCE {
                    told = heard;
                    chaos::tell(&flags, told, whole);
                }
            }
        });
    });
    Ok(())
}

async fn deliver_with_progress(site: &Worksite, mails: &Mails, flags: &Flags) -> Done<()> {
    let (so_far, before) = (drive::progress(site).await?, site.tally().await?.accepted);
    if so_far.is_finished {
        return Ok(());
    }
    let progress = Progress::begin(flags, (so_far.next, mails.mails.len()), "mails")?;
    drive::deliver(site, mails, |filed| progress.show(filed, "")).await?;
    chaos::end(flags);
    drive::wake_watch(site).await?;
    progress.end(site.tally().await?.accepted - before, "envelopes");
    Ok(())
}
