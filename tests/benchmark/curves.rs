//! Curves: how durable work with 64 in flight fares with the number of workers that are awake, and with the number of
//! envelopes that wait in their inboxes for tomorrow. Nothing may grow worse than linearly: the rate should be flat.
//!
//! Asked for with `--curves`; prints the points and draws `docs/curves/workers.svg` and `docs/curves/pending.svg`.

use crate::Effort;
use crate::durable::{self, Load};
use plotters::prelude::*;
use std::error::Error;
use std::path::{Path, PathBuf};

/// The flag.
pub const FLAG: &str = "--curves";

const IN_FLIGHT: usize = 64;

/// How many there were, and messages a second: median, lowest and highest.
struct Point {
    count: usize,
    median: f64,
    low: f64,
    high: f64,
}

pub fn draw(effort: Effort) -> Result<(), Box<dyn Error>> {
    let (messages, quick) = (50_000 / effort.divisor.min(5), effort.divisor > 1);
    let load = Load { messages, in_flight: IN_FLIGHT, ..Load::default() };
    // A million workers take half a minute to wake up, and more than a gibibyte.
    let workers: &[usize] = if quick { &[1_000, 10_000, 100_000] } else { &[1_000, 10_000, 100_000, 1_000_000] };
    let workers = curve("workers", workers, effort, |people| Load { people, ..load });
    let pending =
        curve("pending", &[100, 1_000, 10_000, 100_000, 1_000_000], effort, |pending| Load { pending, ..load });
    plot("workers", "workers awake", &workers)?;
    plot("pending", "envelopes that wait in the same inboxes", &pending)
}

/// The points take turns, so that a disturbance does not bend the curve.
fn curve(name: &str, counts: &[usize], effort: Effort, load: impl Fn(usize) -> Load) -> Vec<Point> {
    let mut rates = vec![Vec::new(); counts.len()];
    for _ in 0..effort.repeats.min(3) {
        for (rates, count) in rates.iter_mut().zip(counts) {
            rates.push(durable::ours(load(*count)));
        }
    }
    let points = rates.into_iter().zip(counts).map(|(mut rates, count)| {
        rates.sort_by(f64::total_cmp);
        let point =
            Point { count: *count, median: rates[rates.len() / 2], low: rates[0], high: rates[rates.len() - 1] };
        println!(
            "{name:10} {count:>9}  {:>9.0} messages/s  {:.0}–{:.0}  {:.1} µs/message",
            point.median,
            point.low,
            point.high,
            1e6 / point.median
        );
        point
    });
    points.collect()
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/curves").join(format!("{name}.svg"))
}

fn plot(name: &str, what: &str, points: &[Point]) -> Result<(), Box<dyn Error>> {
    let file = file(name);
    std::fs::create_dir_all(file.parent().expect("it lies in a folder"))?;
    let (first, last) = (points[0].count as f64, points[points.len() - 1].count as f64);
    let top = points.iter().map(|point| point.high).fold(0.0, f64::max) * 1.1;
    let root = SVGBackend::new(&file, (800, 450)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("Durable messages a second, {IN_FLIGHT} in flight"), ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d((first..last).log_scale(), 0.0..top)?;
    let label = |value: &f64| format!("{value:.0}");
    chart
        .configure_mesh()
        .max_light_lines(0)
        .label_style(("sans-serif", 15))
        .x_desc(what)
        .y_desc("messages/s")
        .x_label_formatter(&label)
        .y_label_formatter(&label)
        .draw()?;
    let places = || points.iter().map(|point| (point.count as f64, point.median));
    chart.draw_series(LineSeries::new(places(), BLUE.stroke_width(2)))?;
    chart.draw_series(places().map(|place| Circle::new(place, 4, BLUE.filled())))?;
    // From the lowest to the highest.
    chart.draw_series(points.iter().map(|point| {
        let count = point.count as f64;
        PathElement::new([(count, point.low), (count, point.high)], BLUE.mix(0.4).stroke_width(2))
    }))?;
    root.present()?;
    println!("drawn: {}", file.canonicalize()?.display());
    Ok(())
}
