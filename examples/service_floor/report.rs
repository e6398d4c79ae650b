//! Owns what is said at the end: what the flow has summed up, held against a plain pass over the lines, and the digest.

use crate::floor::{BTreeCounts, Summary, count, parse};
use crate::program::Done;
use crate::program::checks::Checks;
use sha2::{Digest, Sha256};
use worksite::prelude::*;

/// What the flow remembers, and what the site has counted.
pub struct Report {
    summary: Summary,
    classes: BTreeCounts,
    completed: usize,
    floor: FlowReport,
    tally: Tally,
    lost: u64,
}

/// Jobs that came to their end.
pub async fn completed(site: &Worksite) -> Result<usize, FlowError> {
    let filter = JobFilter { status: Some(JobStatus::Completed), ..JobFilter::default() };
    Ok(site.flows().list_jobs(filter, usize::MAX).await?.len())
}

impl Report {
    pub async fn read(site: &Worksite, worker: &FlowWorker) -> Done<Self> {
        Ok(Self {
            summary: worker.state("summarise").await?.unwrap_or_default(),
            classes: worker.state("classify").await?.unwrap_or_default(),
            completed: completed(site).await?,
            floor: worker.report().await?,
            tally: site.tally().await?,
            lost: site.volatile_lost(),
        })
    }

    /// Prints the largest lists.
    pub fn print(&self) {
        let mut lists: Vec<_> = self.summary.lists.iter().collect();
        lists.sort_by_key(|(name, counts)| (std::cmp::Reverse(counts.0), (*name).clone()));
        println!("\nlist                        mails  answers      KiB");
        for (name, (mails, answers, bytes)) in lists.iter().take(8) {
            println!("  {name:<24} {mails:>6} {answers:>8} {:>8}", bytes / 1024);
        }
    }

    /// Holds what the flow has made of the lines against what a loop makes of them.
    pub fn check(&self, lines: &[String]) -> Checks {
        let expected = expected(lines);
        let mut checks = Checks::default();
        checks.equal("jobs completed, one a line", lines.len(), self.completed);
        checks.equal("jobs that have not ended", 0, self.floor.jobs_open);
        checks.equal("mails summed up", expected.mails(), self.summary.mails());
        checks.equal("mails classified", expected.mails(), self.classes.0.values().sum::<u64>());
        checks.equal("answers", expected.answers(), self.summary.answers());
        checks.equal("of them classified so", expected.answers(), self.classes.0.get("answers").copied().unwrap_or(0));
        checks.equal("lists", expected.lists.len(), self.summary.lists.len());
        checks.equal("days", expected.days.len(), self.summary.days.len());
        checks.equal("the summary is that of a loop", true, self.summary == expected);
        let slots = || self.floor.routines.iter().flat_map(|routine| &routine.slots);
        checks.equal("dropped by full slots", 0, slots().map(|slot| slot.dropped).sum::<u64>());
        checks.equal("left in slots", 0, slots().map(|slot| slot.waiting).sum::<usize>());
        checks.equal("accepted = settled + waiting + buried + …", true, self.tally.is_conserved());
        checks.equal("left waiting", 0, self.tally.waiting);
        let Tally { buried, removed, dropped, quarantined, .. } = self.tally;
        checks.equal("dropped, buried, quarantined", 0, self.lost + buried + removed + dropped + quarantined);
        checks
    }

    /// A digest of the sums: the same for the same lines, however often the run was killed.
    pub fn digest(&self) -> Done<String> {
        let digest = Sha256::new().chain_update(Payload::encode(&self.summary)?.body);
        Ok(format!("{:x}", digest.chain_update(Payload::encode(&self.classes)?.body).finalize()))
    }
}

/// The same sums without any flow.
fn expected(lines: &[String]) -> Summary {
    let mut summary = Summary::default();
    lines.iter().filter_map(|line| parse(line)).for_each(|mail| summary.add(&count(&mail)));
    summary
}
