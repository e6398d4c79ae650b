//! Time as data: a [`Timestamp`] is handed in by whoever has a clock; nothing in this crate asks for one.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A moment, in microseconds since 1970-01-01T00:00:00Z. Negative values lie before it.
///
/// ```
/// use std::time::Duration;
/// use worksite_model::Timestamp;
///
/// let noon = Timestamp::from_micros(1_000_000);
/// assert_eq!(noon.after(Duration::from_secs(1)).as_micros(), 2_000_000);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The moment `seconds` seconds after the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This moment and `duration` more; saturates at the end of time instead of wrapping.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// How long it is from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_at_both_ends() {
        assert_eq!(Timestamp::from_micros(i64::MAX).after(Duration::from_secs(1)).as_micros(), i64::MAX);
        assert_eq!(Timestamp::from_micros(0).since(Timestamp::from_micros(5)), Duration::ZERO);
        assert_eq!(Timestamp::from_seconds(2).since(Timestamp::from_seconds(1)), Duration::from_secs(1));
    }
}
