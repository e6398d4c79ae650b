//! Time as data: a [`Timestamp`] is handed in by whoever has a clock; nothing in this crate asks for one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// A moment, in microseconds since 1970-01-01T00:00:00Z. Negative values lie before it; the very first one is
/// `i64::MIN + 1`, so that a moment that may be missing takes no more room than one that is there.
///
/// ```
/// use std::time::Duration;
/// use worksite_model::Timestamp;
///
/// let noon = Timestamp::from_micros(1_000_000);
/// assert_eq!(noon.after(Duration::from_secs(1)).as_micros(), 2_000_000);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZeroU64);

/// What tells a moment from the number that stands for it: it turns the order of signed numbers into that of unsigned ones.
const SIGN: u64 = 1 << 63;

impl Timestamp {
    /// The moment `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        match NonZeroU64::new(micros.cast_unsigned() ^ SIGN) {
            Some(number) => Self(number),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// The moment `seconds` seconds after the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }

    /// This moment and `duration` more; saturates at the end of time instead of wrapping.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.as_micros().saturating_add(micros))
    }

    /// How long it is from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        let micros = self.as_micros().saturating_sub(earlier.as_micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

impl Default for Timestamp {
    /// The Unix epoch.
    fn default() -> Self {
        Self::from_micros(0)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.as_micros()).finish()
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct("Timestamp", &self.as_micros())
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Self::from_micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ordered_and_written_as_their_microseconds_and_a_missing_one_takes_no_room() {
        let micros = [i64::MIN + 1, -1_000_000, -1, 0, 1, 1_700_000_000_000_000, i64::MAX];
        let moments = micros.map(Timestamp::from_micros);
        assert!(moments.is_sorted_by(|one, next| one < next));
        assert_eq!(moments.map(Timestamp::as_micros), micros);
        assert_eq!(Timestamp::from_micros(i64::MIN), moments[0], "there is none before");
        assert_eq!(serde_json::to_string(&moments[1]).unwrap(), "-1000000");
        assert_eq!(serde_json::from_str::<Timestamp>("-1000000").unwrap(), moments[1]);
        assert_eq!(size_of::<Option<Timestamp>>(), 8);
        assert_eq!(format!("{:?}", moments[2]), "Timestamp(-1)");
    }

    #[test]
    fn time_saturates_at_both_ends() {
        assert_eq!(Timestamp::from_micros(i64::MAX).after(Duration::from_secs(1)).as_micros(), i64::MAX);
        assert_eq!(Timestamp::from_micros(0).since(Timestamp::from_micros(5)), Duration::ZERO);
        assert_eq!(Timestamp::from_seconds(2).since(Timestamp::from_seconds(1)), Duration::from_secs(1));
    }
}
