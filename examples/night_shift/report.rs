//! Owns what is said at the end: checks against the log, a digest of how every run ended, and the waits as curves.

use crate::log::{CORES, Job};
use crate::policies::Policy;
use crate::program::Done;
use crate::program::checks::Checks;
use crate::shift::{Told, is_stopped};
use plotters::prelude::*;
use sha2::{Digest, Sha256};
use std::path::Path;
use worksite::prelude::*;

/// How the shift ended, from the store.
pub struct Report {
    runs: Vec<Run>,
    told: Told,
}

impl Report {
    pub fn new(runs: Vec<Run>, told: Told) -> Self {
        Self { runs, told }
    }

    fn count(&self, status: RunStatus) -> usize {
        self.runs.iter().filter(|run| run.status == status).count()
    }

    /// Core-seconds that the store's results say were worked.
    fn worked(&self) -> i64 {
        let result = |run: &Run| run.result.as_ref().and_then(|result| result.decode::<i64>().ok());
        self.runs.iter().filter_map(result).sum()
    }

    /// A hash over how each run ended, the same for the same jobs whatever happened on the way.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for run in &self.runs {
            let result = run.result.as_ref().and_then(|result| result.decode::<i64>().ok()).unwrap_or(0);
            hash.update(format!("{} {} {result}\n", run.draft.unique.as_deref().unwrap_or_default(), run.status));
        }
        format!("{:x}", hash.finalize())
    }

    pub fn check(&self, jobs: &[Job]) -> Checks {
        let mut checks = Checks::default();
        let stopped = jobs.iter().filter(|job| is_stopped(job));
        let (count, unworked) = (stopped.clone().count(), stopped.map(Job::core_seconds).sum::<i64>());
        let all: i64 = jobs.iter().map(Job::core_seconds).sum();
        checks.equal("runs, one a job", jobs.len(), self.runs.len());
        checks.equal("completed", jobs.len() - count, self.count(RunStatus::Completed));
        checks.equal("stopped by their users", count, self.count(RunStatus::Stopped));
        checks.equal(
            "failed, or not ended",
            0,
            jobs.len() - self.count(RunStatus::Completed) - self.count(RunStatus::Stopped),
        );
        checks.equal("core-seconds worked, and those of stopped runs", all, self.worked() + unworked);
        checks.equal(format!("more than {CORES} cores at once"), false, self.told.cores_most > CORES);
        checks.equal("runs claimed while another held them", 0, self.told.claimed_twice);
        checks.equal("late reports that were refused", self.told.late_reports, self.told.late_refused);
        checks
    }

    pub fn print(&self, jobs: &[Job]) {
        let hours = jobs.iter().map(Job::core_seconds).sum::<i64>() as f64 / 3_600.0;
        let Told { cores_most, claims, preempted, runners_lost, taken_back, .. } = &self.told;
        println!("{:.2} M core-hours; at most {cores_most} cores at once; {claims} claims in this life", hours / 1e6);
        println!(
            "{preempted} besteffort runs gave way; {runners_lost} runners lost, {taken_back} runs taken from them"
        );
        let waited = |run: &&Run| run.claimed_at.map(|at| at.since(run.due()).as_secs());
        let mut waits: Vec<_> = self.runs.iter().filter_map(|run| waited(&run)).collect();
        waits.sort_unstable();
        if let Some(longest) = waits.last() {
            // A run that gave way, or lost its runner, waits until it is claimed for the last time.
            println!(
                "until they were claimed for good half waited {} s or less, the longest {} h\n",
                waits[waits.len() / 2],
                longest / 3_600
            );
        }
    }
}

/// Draws which share of the jobs waited at most how long, in each order and in the log.
pub fn draw(jobs: &[Job], path: &Path) -> Done<()> {
    let mut curves = vec![("as logged", jobs.iter().map(|job| job.waited).collect::<Vec<_>>())];
    curves.extend(Policy::ALL.map(|(policy, name)| (name, policy.waits(jobs))));
    let longest = curves.iter().flat_map(|(_, waits)| waits).max().copied().unwrap_or(1).max(10);
    let area = SVGBackend::new(path, (1000, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let lowest = curves.iter().map(|(_, waits)| share_within(waits, 1)).fold(100.0, f64::min);
    let mut chart = ChartBuilder::on(&area)
        .caption("Share of the jobs that waited at most so long (Gaia 2014, J. Emeras)", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((1.0..longest as f64).log_scale(), (lowest - 2.0).max(0.0)..100.5)?;
    chart.configure_mesh().x_desc("seconds").y_desc("% of the jobs").draw()?;
    for (place, (name, mut waits)) in curves.into_iter().enumerate() {
        waits.sort_unstable();
        println!("  {name:24} mean {:>9.0} s, longest {:>9} s", mean(&waits), waits.last().unwrap_or(&0));
        let colour = Palette99::pick(place).to_rgba();
        let steps = (0..=200).map(|step| (longest as f64).powf(f64::from(step) / 200.0));
        let points = steps.map(|wait| (wait, share_within(&waits, wait as i64)));
        let series = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        series.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}

fn share_within(waits: &[i64], most: i64) -> f64 {
    let within = waits.iter().filter(|wait| **wait <= most).count();
    within as f64 * 100.0 / waits.len().max(1) as f64
}

fn mean(waits: &[i64]) -> f64 {
    waits.iter().sum::<i64>() as f64 / waits.len().max(1) as f64
}
