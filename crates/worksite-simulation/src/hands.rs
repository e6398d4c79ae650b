//! Hands own the time of a world: virtual time goes on by itself, skips what nobody waits in, and jumps when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use worksite_model::Timestamp;
use worksite_runtime::Clock;

/// The hands of a world's clock. A clone moves the same hands.
#[derive(Debug, Clone, Default)]
pub struct Hands(Arc<AtomicI64>);

impl Hands {
    /// A clock that shows `start` now, what passes on tokio's clock, and what these hands are moved by.
    pub(crate) fn clock(&self, start: Timestamp) -> Clock {
        let (passed, hands) = (Clock::tokio(Timestamp::from_micros(0)), self.0.clone());
        Clock::of(move || {
            let moved = hands.load(Ordering::Acquire).saturating_add(passed.now().as_micros());
            Timestamp::from_micros(start.as_micros().saturating_add(moved))
        })
    }

    /// Moves them by so many seconds, forward or back; whoever waits for a timer does not notice.
    pub fn jump(&self, seconds: i64) {
        self.0.fetch_add(seconds.saturating_mul(1_000_000), Ordering::AcqRel);
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_micros()).unwrap_or(i64::MAX), Ordering::AcqRel);
    }
}
