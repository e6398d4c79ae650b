//! Metrics own what the house counts about itself: cheap to count, and read as one [`Metrics`] snapshot.
//!
//! With the feature `metrics` every count also goes to the `metrics` facade, for whichever exporter the application has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use worksite_model::{FailureKind, Tally};

/// How long things took, in buckets that double: the first is up to a microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell into each bucket; bucket n is up to 2^n microseconds.
    pub buckets: [u64; 40],
    /// All of them together, in microseconds.
    pub sum_micros: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; 40], sum_micros: 0 }
    }
}

impl Histogram {
    /// Counts one more.
    pub(crate) fn add(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bucket.min(self.buckets.len() - 1)] += 1;
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The mean; zero when there were none.
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum_micros.checked_div(self.count()).unwrap_or(0))
    }

    /// The bound below which this share of them lies (0.99 for p99): true to a factor of two.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        let mut seen = 0;
        for (place, count) in (0_u32..).zip(self.buckets) {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_micros(1 << place.min(62));
            }
        }
        Duration::ZERO
    }
}

/// What the house has counted since it was opened, and what is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metrics {
    /// What became of all mail, ever: from the file.
    pub tally: Tally,
    /// Deliveries done.
    pub processed: u64,
    /// Deliveries that failed, whatever became of them.
    pub failed: u64,
    /// Deliveries that get another attempt.
    pub retried: u64,
    /// Deliveries that nobody took in time.
    pub expired: u64,
    /// Envelopes given up, expired ones among them.
    pub buried: u64,
    /// Envelopes that gave way to newer ones.
    pub dropped: u64,
    /// Volatile drafts lost.
    pub volatile_lost: u64,
    /// Drafts of routines that came too soon after another.
    pub cooled: u64,
    /// Envelopes that wait, or are being worked on.
    pub waiting: u64,
    /// Changes whose senders wait for room.
    pub parked: u64,
    /// Workers awake.
    pub awake: u64,
    /// Transactions.
    pub commits: u64,
    /// Changes in them.
    pub changes: u64,
    /// How long a transaction took, its sync included.
    pub commit_time: Histogram,
    /// From acceptance, or the moment it was scheduled for, to the beginning of the turn.
    pub waiting_time: Histogram,
    /// How long turns took.
    pub processing_time: Histogram,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// The counters behind the snapshot.
#[derive(Default)]
pub(crate) struct Counters {
    processed: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    expired: AtomicU64,
    buried: AtomicU64,
    dropped: AtomicU64,
    commits: AtomicU64,
    changes: AtomicU64,
    commit_time: Times,
    waiting_time: Times,
    processing_time: Times,
    last_error: std::sync::Mutex<Option<String>>,
}

struct Times {
    buckets: [AtomicU64; 40],
    sum: AtomicU64,
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; 40], sum: AtomicU64::new(0) }
    }
}

impl Times {
    fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = (64 - micros.saturating_sub(1).leading_zeros() as usize).min(39);
        self.buckets[place].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(micros, Ordering::Relaxed);
    }

    fn read(&self) -> Histogram {
        let mut histogram = Histogram { sum_micros: self.sum.load(Ordering::Relaxed), ..Histogram::default() };
        for (count, bucket) in histogram.buckets.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Ordering::Relaxed);
        }
        histogram
    }
}

/// Adds to a counter, and tells the facade if there is one.
macro_rules! count {
    ($self:ident.$counter:ident, $by:expr, $name:literal) => {{
        let by = $by as u64;
        if by > 0 {
            $self.$counter.fetch_add(by, Ordering::Relaxed);
            #[cfg(feature = "metrics")]
            metrics::counter!(concat!("worksite_", $name, "_total")).increment(by);
        }
    }};
}

macro_rules! record {
    ($self:ident.$times:ident, $took:expr, $name:literal) => {{
        let took = $took;
        $self.$times.record(took);
        #[cfg(feature = "metrics")]
        metrics::histogram!(concat!("worksite_", $name, "_seconds")).record(took.as_secs_f64());
    }};
}

impl Counters {
    /// A transaction with so many changes.
    pub(crate) fn commit(&self, changes: usize, took: Duration) {
        count!(self.commits, 1, "commits");
        count!(self.changes, changes, "changes");
        record!(self.commit_time, took, "commit");
    }

    /// A turn that began after this wait and took so long.
    pub(crate) fn turn(&self, waited: Duration, took: Duration) {
        record!(self.waiting_time, waited, "waiting");
        record!(self.processing_time, took, "processing");
    }

    /// What has become of deliveries.
    pub(crate) fn settle(&self, committed: &worksite_model::Committed) {
        let failures = committed.retried.iter().filter_map(|retry| retry.failure.as_ref());
        let buried = committed.buried.iter().map(|burial| &burial.failure);
        let expired = buried.clone().filter(|failure| failure.kind == FailureKind::Expired).count();
        let failed = failures.clone().count() + committed.buried.len();
        count!(self.processed, committed.settled.len(), "processed");
        count!(self.failed, failed, "failed");
        count!(self.retried, committed.retried.len(), "retried");
        count!(self.expired, expired, "expired");
        count!(self.buried, committed.buried.len(), "buried");
        count!(self.dropped, committed.dropped.len(), "dropped");
        if let Some(failure) = failures.chain(buried).last() {
            self.fail(failure.to_string());
        }
    }

    pub(crate) fn fail(&self, reason: String) {
        *self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(reason);
    }

    /// What has been counted; the gauges are the directory's to say.
    pub(crate) fn read(&self) -> Metrics {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Metrics {
            processed: load(&self.processed),
            failed: load(&self.failed),
            retried: load(&self.retried),
            expired: load(&self.expired),
            buried: load(&self.buried),
            dropped: load(&self.dropped),
            commits: load(&self.commits),
            changes: load(&self.changes),
            commit_time: self.commit_time.read(),
            waiting_time: self.waiting_time.read(),
            processing_time: self.processing_time.read(),
            last_error: self.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
            ..Metrics::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_knows_counts_means_and_quantiles() {
        let times = Times::default();
        for micros in [0, 1, 2, 3, 1_000, 1_000_000] {
            times.record(Duration::from_micros(micros));
        }
        let histogram = times.read();
        assert_eq!((histogram.count(), histogram.buckets[0], histogram.buckets[1]), (6, 2, 1));
        assert_eq!(histogram.mean(), Duration::from_micros(1_001_006 / 6));
        assert_eq!(histogram.quantile(0.5), Duration::from_micros(2));
        assert_eq!(histogram.quantile(1.0), Duration::from_micros(1 << 20));
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
        times.record(Duration::MAX);
        assert_eq!(times.read().buckets[39], 1);
    }
}
