//! Owns the raw input: the lines of the data file, checked before anything is done with them, and what an independent
//! pass over them says.

use flate2::read::GzDecoder;
use jiff::civil::DateTime;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

/// Minutes of a day.
pub const DAY: i64 = 24 * 60;

/// One message: who wrote to whom, and in which minute since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    pub source: i64,
    pub target: i64,
    pub minute: i64,
}

impl Line {
    pub fn day(&self) -> i64 {
        self.minute.div_euclid(DAY)
    }
}

/// Reads and checks the whole file. Nothing is sent before all of it is known to be good.
pub fn read(path: &Path) -> Result<Vec<Line>, String> {
    let name = path.display();
    let file =
        File::open(path).map_err(|error| format!("{name}: {error}; run this in the repository, or give --data"))?;
    let mut reader = csv::Reader::from_reader(GzDecoder::new(file));
    let mut lines: Vec<Line> = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let problem =
            |what: String| format!("{name}, line {}: {what}; correct the file, nothing was written", index + 2);
        let record = record.map_err(|error| problem(error.to_string()))?;
        let line = parse(&record).map_err(problem)?;
        if lines.last().is_some_and(|last| last.minute > line.minute) {
            return Err(problem("it is earlier than the line before".into()));
        }
        lines.push(line);
    }
    Ok(lines)
}

fn parse(record: &csv::StringRecord) -> Result<Line, String> {
    let [source, target, time] = [0, 1, 2].map(|column| record.get(column).unwrap_or("").trim());
    let person = |text: &str| text.parse().map_err(|_| format!("{text:?} is not a person's number"));
    let time_of = |error| format!("{time:?} is not a time like \"4/15/04 2:56 PM\" ({error})");
    let at = DateTime::strptime("%m/%d/%y %I:%M %p", time).map_err(time_of)?;
    let seconds = at.to_zoned(jiff::tz::TimeZone::UTC).map_err(|error| error.to_string())?.timestamp().as_second();
    Ok(Line { source: person(source)?, target: person(target)?, minute: seconds / 60 })
}

/// A day as people write it.
pub fn date(day: i64) -> String {
    let date = jiff::Timestamp::from_second(day * DAY * 60).map(|at| at.strftime("%Y-%m-%d").to_string());
    date.unwrap_or_else(|_| format!("day {day}"))
}

/// What is to be expected of the workers.
#[derive(Debug, PartialEq)]
pub struct Facts {
    pub messages: usize,
    pub people: usize,
    pub senders: usize,
    pub pairs: usize,
    pub most_received: (i64, u64),
    pub busiest_day: (String, u64),
    pub reply_turns: usize,
    pub median_minutes: u32,
    pub within_hour_percent: u64,
    pub within_day_percent: u64,
}

impl Facts {
    /// What is published about the whole file; see `examples/data/README.md`.
    pub fn published() -> Self {
        Self {
            messages: 59_835,
            people: 1_899,
            senders: 1_350,
            pairs: 20_296,
            most_received: (1624, 558),
            busiest_day: ("2004-05-27".into(), 2_678),
            reply_turns: 30_248,
            median_minutes: 44,
            within_hour_percent: 52,
            within_day_percent: 82,
        }
    }

    /// The same of any part of it, by one plain pass that knows nothing of workers.
    pub fn counted(lines: &[Line]) -> Self {
        let (mut people, mut senders, mut pairs) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let (mut received, mut days) = (BTreeMap::new(), BTreeMap::new());
        let (mut open, mut delays) = (BTreeMap::new(), Vec::new());
        for line in lines {
            people.extend([line.source, line.target]);
            senders.insert(line.source);
            pairs.insert((line.source, line.target));
            *received.entry(line.target).or_insert(0) += 1;
            *days.entry(line.day()).or_insert(0) += 1;
            if let Some(first) = open.remove(&(line.target, line.source)) {
                delays.push((line.minute - first) as u32);
            }
            if line.source != line.target {
                open.entry((line.source, line.target)).or_insert(line.minute);
            }
        }
        delays.sort_unstable();
        let within = |minutes| share(delays.partition_point(|delay| *delay <= minutes), delays.len());
        let busiest_day = most(&days);
        Self {
            messages: lines.len(),
            people: people.len(),
            senders: senders.len(),
            pairs: pairs.len(),
            most_received: most(&received),
            busiest_day: (date(busiest_day.0), busiest_day.1),
            reply_turns: delays.len(),
            median_minutes: delays.get(delays.len() / 2).copied().unwrap_or(0),
            within_hour_percent: within(60),
            within_day_percent: within(DAY as u32),
        }
    }
}

/// The key with the largest count; the smallest key of several.
pub fn most(counts: &BTreeMap<i64, u64>) -> (i64, u64) {
    counts.iter().fold((0, 0), |best, (key, count)| if *count > best.1 { (*key, *count) } else { best })
}

/// A share in whole per cent, rounded.
pub fn share(part: usize, whole: usize) -> u64 {
    if whole == 0 { 0 } else { (part as f64 * 100.0 / whole as f64).round() as u64 }
}
