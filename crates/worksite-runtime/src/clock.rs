//! The clock of the house: the one place that asks what time it is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use worksite_model::Timestamp;

/// Where the house reads the time. Whoever builds a runtime chooses it; everybody below is handed timestamps.
#[derive(Clone)]
pub struct Clock {
    read: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Whether it is moved by hand: then no timer is set for its moments.
    manual: bool,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::running(|| {
            #[expect(clippy::disallowed_methods, reason = "this is the clock")]
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            // Not `as_micros`, which divides 128 bits: this is read several times a message.
            let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(i64::from(since.subsec_micros())))
        })
    }

    /// `start`, and what has passed since on tokio's clock. Under a paused tokio clock this is virtual time.
    pub fn tokio(start: Timestamp) -> Self {
        let origin = tokio::time::Instant::now();
        Self::running(move || start.after(origin.elapsed()))
    }

    /// A clock of one's own. It may go back: moments of acceptance do not go back with it.
    pub fn of(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self::running(read)
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.read)()
    }

    fn running(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), manual: false }
    }

    pub(crate) fn is_manual(&self) -> bool {
        self.manual
    }
}

/// A clock that stands until it is moved by hand: for simulations that count in ticks. After moving it, wait for
/// [`Runtime::rest`](crate::Runtime::rest): then all mail that has come due has been dealt with.
///
/// ```
/// use std::time::Duration;
/// use worksite_model::Timestamp;
/// use worksite_runtime::ManualClock;
///
/// let clock = ManualClock::new(Timestamp::from_seconds(0));
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.clock().now(), Timestamp::from_seconds(60));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows this moment.
    pub fn new(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.as_micros())))
    }

    /// What the house reads: for [`Builder::clock`](crate::Builder::clock).
    pub fn clock(&self) -> Clock {
        let hands = self.0.clone();
        let read = move || Timestamp::from_micros(hands.load(Ordering::Acquire));
        Clock { read: Arc::new(read), manual: true }
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Acquire))
    }

    /// Moves its hands forward; gives the time it shows then.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let forward = |now: i64| Some(Timestamp::from_micros(now).after(by).as_micros());
        let _always = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, forward);
        self.now()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
