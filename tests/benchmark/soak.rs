//! The soak: a bounded durable load for as many minutes as one likes, and whether memory and file stay flat under it.
//!
//! A thousand workers with a state, 10,000 messages a second, up to 1,024 in flight, in four lanes, every tenth with an idempotency key. Asked for
//! with `--soak MINUTES`. Keys are kept for a minute and ten thousand of them, so that a short soak sees them go.

use crate::durable::{self, PEOPLE, recipient_of};
use crate::file_size;
use crate::memory::resident;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::path::Path;
use std::time::{Duration, Instant};
use worksite::prelude::*;

/// The flag, followed by minutes.
pub const FLAG: &str = "--soak";

const IN_FLIGHT: usize = 1_024;
/// Messages a second. Always the same: how many keys are in the file follows from the rate, and would follow what else the
/// machine does.
const RATE: f64 = 10_000.0;
const SAMPLE: Duration = Duration::from_secs(10);
const KEYS: Keep = Keep { age: Duration::from_secs(60), rows: 10_000 };

/// How the site stood at a moment.
#[derive(Clone, Copy)]
struct Sample {
    at: Duration,
    settled: usize,
    resident: usize,
    file: u64,
}

pub fn run(minutes: f64) {
    let time = Duration::from_secs_f64(minutes * 60.0);
    let folder = tempfile::tempdir().expect("a folder for the site");
    println!("{:>8} {:>12} {:>12} {:>14} {:>16}", "s", "settled", "messages/s", "resident MiB", "file + log MiB");
    let samples = worksite::block_on(async {
        let site = durable::builder().retention(Retention { keys: KEYS, ..Retention::default() });
        let site = site.open(folder.path().join("site.db")).await.expect("a site");
        site.sync((0..PEOPLE as i64).map(|id| Person::new(id, "worker"))).await.expect("a roster");
        let samples = soak(&site, folder.path(), time).await;
        assert!(site.tally().await.expect("it counts").is_conserved());
        site.shutdown().await;
        samples
    });
    judge(&samples);
    println!("keys in the file at the end: {}, of which {} are to be kept", keys(folder.path()), KEYS.rows);
}

/// The one table that grows by what the load does: not flat may mean that old keys go more slowly than new ones come.
fn keys(folder: &Path) -> u64 {
    let connection = rusqlite::Connection::open(folder.join("site.db")).expect("it opens");
    connection.query_row("SELECT count(*) FROM keys", [], |row| row.get::<_, i64>(0)).expect("it counts").unsigned_abs()
}

/// Keeps so many in flight, and looks every ten seconds.
async fn soak(site: &Worksite, folder: &Path, time: Duration) -> Vec<Sample> {
    #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
    let start = Instant::now();
    let work = durable::work();
    let ask = |index: usize| site.ask::<()>(draft(index, work.clone()));
    let mut asked: FuturesUnordered<_> = (0..IN_FLIGHT).map(ask).collect();
    let (mut settled, mut samples) = (0, Vec::<Sample>::new());
    while let Some(answer) = asked.next().await {
        assert!(matches!(answer, Err(AskError::NoReply)), "it was settled: {answer:?}");
        settled += 1;
        let at = start.elapsed();
        if at >= SAMPLE * (samples.len() as u32 + 1) {
            let sample = Sample { at, settled, resident: resident(), file: file_size::size(folder) };
            sample.print(samples.last());
            samples.push(sample);
        }
        if at < time {
            while settled as f64 > RATE * start.elapsed().as_secs_f64() {
                #[expect(clippy::disallowed_methods, reason = "this is the room that measures")]
                std::thread::sleep(Duration::from_millis(1));
            }
            asked.push(ask(settled + IN_FLIGHT));
        }
    }
    samples
}

fn draft(index: usize, work: Payload) -> Draft {
    let draft = Draft::of(recipient_of(index, PEOPLE), work).priority(Priority::ALL[1 + index % 4]);
    if index.is_multiple_of(10) { draft.key(format!("order {index}")) } else { draft }
}

impl Sample {
    fn print(self, before: Option<&Self>) {
        let (at, settled) = before.map_or((Duration::ZERO, 0), |before| (before.at, before.settled));
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        println!(
            "{:>8.0} {:>12} {:>12.0} {:>14.1} {:>16.1}",
            self.at.as_secs_f64(),
            self.settled,
            crate::machine::rate(self.settled - settled, self.at - at),
            mib(self.resident as f64),
            mib(self.file as f64)
        );
    }
}

/// Whether the second half is flat: its last sample against its first.
fn judge(samples: &[Sample]) {
    let (Some(first), Some(last)) = (samples.get(samples.len() / 2), samples.last()) else {
        return println!("too short to say anything: a sample is taken every {} s", SAMPLE.as_secs());
    };
    let growth = |of: fn(&Sample) -> f64| 100.0 * (of(last) / of(first) - 1.0);
    let (memory, file) = (growth(|sample| sample.resident as f64), growth(|sample| sample.file as f64));
    println!("second half: resident memory {memory:+.1} % {}", verdict(memory < 5.0));
    println!("second half: file and log {file:+.1} % {}", verdict(file < 10.0));
}

fn verdict(flat: bool) -> &'static str {
    if flat { "✓ flat" } else { "✗ not flat" }
}
