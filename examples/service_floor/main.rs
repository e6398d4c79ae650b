//! The service floor: 3,900 real mails go through a flow whose slots hold ten: parsed, classified, batched by list, grouped
//! by day, summarised. The flow is data (`flow.yaml`). Nothing is lost, though every slot is full now and then, and whoever
//! posts is told to wait; the summary is compared with one that is counted without any flow.
//!
//! `cargo run --release --example service_floor [SITE]`; bars on a terminal show how full the slots are. End it and run it
//! again with the same SITE: it goes on where it was.

mod floor;

use floor::{Summary, catalog, count, parse};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;
use worksite::prelude::*;

const DEFINITION: &str = include_str!("flow.yaml");
/// Lines a post carries.
const TOGETHER: usize = 50;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("site.db"), PathBuf::from);
    let lines = lines(Path::new("examples/data/spamassassin_easy_ham_headers.tsv.gz"))?;
    let flow = catalog()?.read(DEFINITION)?;
    worksite::block_on(async {
        let settings = FlowSettings { queue_posts_max: 4, ..FlowSettings::default() };
        let site = Worksite::builder().flow(flow.clone()).flow_settings(settings).open(path).await?;
        let flows = site.flows();
        let worker = flows.attach("service floor", 1).await?;
        let bars = Bars::new(&worker.report().await?);
        let mut turned_away = 0_u64;
        for (number, together) in lines.chunks(TOGETHER).enumerate() {
            loop {
                // Under a key, so that a post of an earlier life is the same post.
                let posting = flows.posting("service floor", "parse", "line").key(format!("lines {number}"));
                match posting.post_many(together).await {
                    Ok(_) => break,
                    Err(error) if error.advice() == Advice::RetryLater => {
                        turned_away += 1;
                        bars.show(&worker.report().await?);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            bars.show(&worker.report().await?);
        }
        while !flows.wait_until_all_jobs_finished(Some(Duration::from_millis(100))).await? {
            bars.show(&worker.report().await?);
        }
        bars.clear();
        eprintln!("posts were told to wait {turned_away} times");
        let summary = worker.state::<Summary>("summarise").await?.unwrap_or_default();
        let report = worker.report().await?;
        let highest = report.routines.iter().flat_map(|routine| &routine.slots).skip(1).map(|slot| slot.highest).max();
        eprintln!("behind the first slot there were never more than {} data at once", highest.unwrap_or(0));
        tell(&lines, &summary);
        let jobs = JobFilter { status: Some(JobStatus::Completed), ..JobFilter::default() };
        println!("{} jobs completed", flows.list_jobs(jobs, usize::MAX).await?.len());
        flows.shutdown(true).await?;
        if summary == expected(&lines) {
            println!("nothing was lost, and nothing counted twice");
            return Ok(());
        }
        Err("the flow counted otherwise than a loop does".into())
    })
}

/// The same sums without any flow.
fn expected(lines: &[String]) -> Summary {
    let mut summary = Summary::default();
    lines.iter().filter_map(|line| parse(line)).for_each(|mail| summary.add(&count(&mail)));
    summary
}

fn tell(lines: &[String], summary: &Summary) {
    println!("{} lines, {} mails on {} days", lines.len(), summary.mails(), summary.days.len());
    let mut lists: Vec<_> = summary.lists.iter().collect();
    lists.sort_by_key(|(name, counts)| (std::cmp::Reverse(counts.0), (*name).clone()));
    for (name, (mails, answers, bytes)) in lists.iter().take(8) {
        println!("{name:<24} {mails:>5} mails  {answers:>5} answers  {:>7} KiB", bytes / 1024);
    }
}

fn lines(path: &Path) -> std::io::Result<Vec<String>> {
    let mut table = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path)?).read_to_string(&mut table)?;
    // The header is a line like others: it is no mail, and skipped.
    Ok(table.lines().map(str::to_string).collect())
}

/// A bar for each slot: how full it is. Nothing is shown where there is no terminal.
struct Bars(MultiProgress, Vec<ProgressBar>);

impl Bars {
    fn new(report: &FlowReport) -> Self {
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix:>20} [{bar:10}] {pos:>3}/{len} {msg}");
        let style = style.unwrap_or_else(|_bad| ProgressStyle::default_bar()).progress_chars("█ ");
        let slots = report.routines.iter().flat_map(|routine| routine.slots.iter().map(move |slot| (routine, slot)));
        let bars = slots.map(|(routine, slot)| {
            let bar = all.add(ProgressBar::new(slot.data_max as u64).with_style(style.clone()));
            bar.with_prefix(format!("{}.{}", routine.name, slot.name))
        });
        let bars = bars.collect();
        Self(all, bars)
    }

    fn show(&self, report: &FlowReport) {
        let slots = report.routines.iter().flat_map(|routine| &routine.slots);
        for (bar, slot) in self.1.iter().zip(slots) {
            bar.set_position(slot.waiting as u64);
            bar.set_message(format!("{:?}", slot.pressure).to_lowercase());
        }
    }

    fn clear(&self) {
        let _no_terminal = self.0.clear();
    }
}
