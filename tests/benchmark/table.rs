//! The table owns how figures are told: a ratio with its spread and target, or a figure without a baseline, for people or
//! as JSON.

use crate::machine;

/// A row of the table.
pub enum Row {
    /// Ours beside a baseline.
    Ratio(Line),
    /// Ours alone: what it counts means the same on every machine.
    Alone(Figure),
    /// Not measured here.
    Skipped { name: &'static str, reason: String },
}

impl From<Line> for Row {
    fn from(line: Line) -> Self {
        Self::Ratio(line)
    }
}

impl From<Figure> for Row {
    fn from(figure: Figure) -> Self {
        Self::Alone(figure)
    }
}

/// A figure that needs no baseline.
pub struct Figure {
    pub name: String,
    pub unit: &'static str,
    /// Repeat by repeat.
    pub values: Vec<f64>,
    pub target: Option<Target>,
}

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

impl Target {
    fn value(self) -> f64 {
        match self {
            Self::AtLeast(target) | Self::AtMost(target) => target,
        }
    }

    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(target) => value >= target,
            Self::AtMost(target) => value <= target,
        }
    }

    /// The target, and whether it is met.
    fn tell(target: Option<Self>, value: f64) -> (String, char) {
        let told = match target {
            None => return (String::new(), ' '),
            Some(Self::AtLeast(target)) => format!("≥ {}", short(target)),
            Some(Self::AtMost(target)) => format!("≤ {}", short(target)),
        };
        (told, if target.is_some_and(|target| target.is_met_by(value)) { '✓' } else { '✗' })
    }
}

/// Median, lowest and highest.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

/// With as many places as say something.
fn short(value: f64) -> String {
    match value.abs() {
        0.0..0.1 => format!("{value:.4}"),
        0.1..1_000.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

impl Line {
    fn ratios(&self) -> (f64, f64, f64) {
        spread(self.pairs.iter().map(|(ours, baseline)| ours / baseline))
    }

    fn median_of(&self, side: fn(&(f64, f64)) -> f64) -> f64 {
        spread(self.pairs.iter().map(side)).0
    }

    fn json(&self) -> serde_json::Value {
        let (ratio, low, high) = self.ratios();
        serde_json::json!({
            "line": self.name, "ratio": ratio, "target": self.target.map(Target::value), "low": low, "high": high,
            "unit": self.unit, "value": self.median_of(|pair| pair.0), "baseline": self.median_of(|pair| pair.1),
        })
    }

    fn print(&self) {
        let (ratio, low, high) = self.ratios();
        let (target, mark) = Target::tell(self.target, ratio);
        println!(
            "{:26} {:>8} {:>17} {target:>9} {mark} {:>12.0} {:>12.0}  {}",
            self.name,
            short(ratio),
            format!("{}–{}", short(low), short(high)),
            self.median_of(|pair| pair.0),
            self.median_of(|pair| pair.1),
            self.unit
        );
    }
}

impl Figure {
    fn json(&self) -> serde_json::Value {
        let (value, low, high) = spread(self.values.iter().copied());
        serde_json::json!({
            "line": self.name, "value": value, "target": self.target.map(Target::value), "low": low, "high": high,
            "unit": self.unit,
        })
    }

    fn print(&self) {
        let (value, low, high) = spread(self.values.iter().copied());
        let (target, mark) = Target::tell(self.target, value);
        println!(
            "{:26} {:>8} {:>17} {target:>9} {mark} {:>12} {:>12}  {}",
            self.name,
            "",
            format!("{}–{}", short(low), short(high)),
            short(value),
            "",
            self.unit
        );
    }
}

impl Row {
    fn json(&self) -> serde_json::Value {
        match self {
            Self::Ratio(line) => line.json(),
            Self::Alone(figure) => figure.json(),
            Self::Skipped { name, reason } => serde_json::json!({ "line": name, "skipped": reason }),
        }
    }

    fn print(&self) {
        match self {
            Self::Ratio(line) => line.print(),
            Self::Alone(figure) => figure.print(),
            Self::Skipped { name, reason } => println!("{name:26} skipped: {reason}"),
        }
    }
}

pub struct Table {
    json: bool,
    rows: Vec<Row>,
}

impl Table {
    pub fn new(json: bool) -> Self {
        Self { json, rows: Vec::new() }
    }

    /// Adds a row, which is told at once: what comes after it may fail.
    pub fn add(&mut self, row: Row) {
        if self.json {
            println!("{}", row.json());
        } else {
            eprintln!("measured {}", row.json());
        }
        self.rows.push(row);
    }

    pub fn print(&self) {
        if self.json {
            return;
        }
        println!("synchronous=FULL where a line says nothing else, write-ahead log; {}", machine::disk());
        println!(
            "{:26} {:>8} {:>17} {:>9}   {:>12} {:>12}  unit",
            "line", "ratio", "spread", "target", "ours", "baseline"
        );
        self.rows.iter().for_each(Row::print);
    }
}
