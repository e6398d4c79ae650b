//! The service floor: 3,900 real mails go through a flow whose slots hold ten: parsed, classified, batched by list, grouped
//! by day, summarised. The flow is data (`flow.yaml`). Nothing is lost, though every slot is full now and then, and whoever
//! posts is told to wait; the summary is compared with one that is counted without any flow.
//!
//! `cargo run --release --example service_floor` does it all, with bars on a terminal that show how full the slots are; `--
//! --chaos 5` has itself killed five times meanwhile. `-- --help` says what else there is.

mod floor;
#[path = "../shared/program.rs"]
mod program;
mod report;

use floor::catalog;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use program::flags::Flags;
use program::{Done, Ended, Program, chaos, site};
use report::Report;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use worksite::prelude::*;

const PROGRAM: Program = Program {
    about: "Sends real mails through a flow whose slots hold ten, and checks what it makes of them.",
    site: "service_floor.db",
    data: "examples/data/spamassassin_easy_ham_headers.tsv.gz",
    cut: "the first 1,000 lines",
    own: "",
};

/// The flow, and its name.
const DEFINITION: &str = include_str!("flow.yaml");
const FLOW: &str = "service floor";
/// Lines a post carries.
const TOGETHER: usize = 50;

fn main() -> ExitCode {
    PROGRAM.main(|| PROGRAM.flags(|_, _| Ok(false)), |flags| worksite::block_on(run(flags)))
}

async fn run(flags: &Flags) -> Done<bool> {
    let mut lines = lines(&flags.data)?;
    lines.truncate(if flags.cut { 1_000 } else { usize::MAX });
    program::run(flags, async |flags| serve(flags, &lines).await).await
}

async fn serve(flags: &Flags, lines: &[String]) -> Done<Ended> {
    let site = open(flags, lines.len()).await?;
    let worker = site.flows().attach(FLOW, 1).await?;
    let turned_away = post(&site.flows(), &worker, lines, flags).await?;
    chaos::end(flags);
    let report = Report::read(&site, &worker).await?;
    site.shutdown().await;
    if !flags.quiet {
        println!("posts were told to wait {turned_away} times");
        report.print();
    }
    Ok(Ended { checks: report.check(lines), digest: report.digest()? })
}

/// Opens the site, as it is or afresh.
async fn open(flags: &Flags, lines: usize) -> Done<Worksite> {
    let flow = catalog()?.read(DEFINITION)?;
    let settings = || FlowSettings { queue_posts_max: 4, ..FlowSettings::default() };
    let open = || Worksite::builder().flow(flow.clone()).flow_settings(settings()).open(&flags.site);
    let site = open().await?;
    let completed = report::completed(&site).await?;
    if !site::is_replaced(flags, (completed, lines), "lines", completed == lines)? {
        return Ok(site);
    }
    site.shutdown().await;
    site::remove(&flags.site)?;
    Ok(open().await?)
}

/// Posts all lines, and waits until they are through; says how often there was no room.
async fn post(flows: &Flows, worker: &FlowWorker, lines: &[String], flags: &Flags) -> Done<u64> {
    let bars = Bars::new(&worker.report().await?, flags);
    let mut turned_away = 0;
    for (number, together) in lines.chunks(TOGETHER).enumerate() {
        loop {
            // Under a key, so that a post of an earlier life is the same post.
            let posting = flows.posting(FLOW, "parse", "line").key(format!("lines {number}"));
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
        chaos::tell(flags, lines.len().min((number + 1) * TOGETHER) as u64, lines.len() as u64);
    }
    while !flows.wait_until_all_jobs_finished(Some(Duration::from_millis(100))).await? {
        bars.show(&worker.report().await?);
    }
    bars.clear();
    Ok(turned_away)
}

fn lines(path: &Path) -> Result<Vec<String>, String> {
    let mut table = String::new();
    let read = std::fs::File::open(path).and_then(|file| flate2::read::GzDecoder::new(file).read_to_string(&mut table));
    read.map_err(|error| format!("{}: {error}; run this in the repository, or give --data", path.display()))?;
    // The header is a line like others: it is no mail, and skipped.
    Ok(table.lines().map(str::to_string).collect())
}

/// A bar for each slot: how full it is. Nothing is shown where there is no terminal.
struct Bars(MultiProgress, Vec<ProgressBar>);

impl Bars {
    fn new(report: &FlowReport, flags: &Flags) -> Self {
        let target = if flags.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let all = MultiProgress::with_draw_target(target);
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
