//! The table owns how figures are told: a ratio with its spread and target, for people or as JSON.

use crate::machine;

/// A measured line.
pub struct Line {
    pub name: String,
    pub unit: &'static str,
    /// Ours and the baseline's, repeat by repeat.
    pub pairs: Vec<(f64, f64)>,
    /// What the ratio should reach; "at most" for costs.
    pub target: Option<Target>,
}

#[derive(Clone, Copy)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Line {
    fn ratios(&self) -> (f64, f64, f64) {
        let mut ratios: Vec<_> = self.pairs.iter().map(|(ours, baseline)| ours / baseline).collect();
        ratios.sort_by(f64::total_cmp);
        (median(&ratios), ratios[0], ratios[ratios.len() - 1])
    }

    fn median_of(&self, side: fn(&(f64, f64)) -> f64) -> f64 {
        let mut values: Vec<_> = self.pairs.iter().map(side).collect();
        values.sort_by(f64::total_cmp);
        median(&values)
    }
}

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

pub struct Table {
    json: bool,
    lines: Vec<Line>,
}

impl Table {
    pub fn new(json: bool) -> Self {
        Self { json, lines: Vec::new() }
    }

    /// Adds a line; as JSON it is told at once.
    pub fn add(&mut self, line: Line) {
        if self.json {
            let (ratio, low, high) = line.ratios();
            let target = line.target.map(|target| match target {
                Target::AtLeast(target) | Target::AtMost(target) => target,
            });
            let object = serde_json::json!({
                "line": line.name, "ratio": ratio, "target": target, "low": low, "high": high, "unit": line.unit,
                "value": line.median_of(|pair| pair.0), "baseline": line.median_of(|pair| pair.1),
            });
            println!("{object}");
        } else {
            eprintln!("measured {}", line.name);
        }
        self.lines.push(line);
    }

    pub fn print(&self) {
        if self.json {
            return;
        }
        println!("synchronous=FULL, write-ahead log; {}", machine::disk());
        println!(
            "{:20} {:>7} {:>15} {:>9}   {:>12} {:>12}  unit",
            "line", "ratio", "spread", "target", "ours", "baseline"
        );
        for line in &self.lines {
            let (ratio, low, high) = line.ratios();
            let (mark, target) = match line.target {
                None => (' ', String::new()),
                Some(Target::AtLeast(target)) => (if ratio >= target { '✓' } else { '✗' }, format!("≥ {target:.2}")),
                Some(Target::AtMost(target)) => (if ratio <= target { '✓' } else { '✗' }, format!("≤ {target:.2}")),
            };
            println!(
                "{:20} {ratio:>7.2} {:>15} {target:>9} {mark} {:>12.0} {:>12.0}  {}",
                line.name,
                format!("{low:.2}–{high:.2}"),
                line.median_of(|pair| pair.0),
                line.median_of(|pair| pair.1),
                line.unit
            );
        }
    }
}
