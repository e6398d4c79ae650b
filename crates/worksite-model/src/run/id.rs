//! A run's name: [`RunId`], `run_` and a time-ordered UUID, given in the order of acceptance; [`RunIds`] gives them.

use crate::{Timestamp, chance};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// A run's id: a UUID of version 7. Ids of one site grow in the order in which its runs were accepted, so that first in,
/// first out is the order of ids, before and after a restart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "u128", into = "u128")]
pub struct RunId {
    // Halves, and not one number, which would have to lie on a border of sixteen bytes: so would every run.
    high: u64,
    low: u64,
}

impl RunId {
    /// The id with these halves: the first holds time and order, the second chance.
    pub const fn from_halves(high: u64, low: u64) -> Self {
        Self { high, low }
    }

    /// Milliseconds, the version, and the place within the millisecond: alone enough to tell the runs of one site apart.
    pub const fn high(self) -> u64 {
        self.high
    }

    /// The half that is chance.
    pub const fn low(self) -> u64 {
        self.low
    }
}

impl From<u128> for RunId {
    fn from(number: u128) -> Self {
        Self::from_halves((number >> 64) as u64, number as u64)
    }
}

impl From<RunId> for u128 {
    fn from(id: RunId) -> Self {
        (u128::from(id.high) << 64) | u128::from(id.low)
    }
}

impl Hash for RunId {
    /// One number is enough to tell them apart: equal ids have equal halves.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.high());
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, low) = (self.high(), self.low());
        let (time, version) = (high >> 16, high & 0xFFFF);
        write!(f, "run_{:08x}-{:04x}-{version:04x}", time >> 16, time & 0xFFFF)?;
        write!(f, "-{:04x}-{:012x}", low >> 48, low & 0xFFFF_FFFF_FFFF)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no run's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a run: run_ and a UUID are expected")]
pub struct NotARunId(pub String);

impl FromStr for RunId {
    type Err = NotARunId;

    fn from_str(text: &str) -> Result<Self, NotARunId> {
        let digits: String = text.strip_prefix("run_").unwrap_or(text).chars().filter(|digit| *digit != '-').collect();
        let plain = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = plain.then(|| u128::from_str_radix(&digits, 16).ok()).flatten();
        number.map(Self::from).ok_or_else(|| NotARunId(text.to_string()))
    }
}

/// Gives ids: each higher than all before, from the time and the seed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunIds {
    seed: u64,
    /// Milliseconds and the place within them, of the last id given.
    last: u64,
}

/// Ids of one millisecond; what is more takes from the next.
const PLACES: u64 = 1 << 12;

impl RunIds {
    /// Ids after this one.
    pub fn after(seed: u64, last: Option<RunId>) -> Self {
        let place = |id: RunId| ((id.high() >> 16) << 12) | (id.high() & (PLACES - 1));
        Self { seed, last: last.map_or(0, place) }
    }

    /// The next id.
    pub fn next(&mut self, now: Timestamp) -> RunId {
        let milliseconds = u64::try_from(now.as_micros() / 1_000).unwrap_or(0) & ((1 << 47) - 1);
        self.last = (milliseconds * PLACES).max(self.last + 1);
        let high = ((self.last >> 12) << 16) | 0x7000 | (self.last & (PLACES - 1));
        let low = chance(self.seed, &[high.cast_signed()]) & (u64::MAX >> 2) | (1 << 63);
        RunId::from_halves(high, low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_also_when_the_clock_goes_back_and_after_a_restart() {
        let mut ids = RunIds::after(7, None);
        let at = Timestamp::from_seconds(1_800_000_000);
        let mut given: Vec<_> = (0..10_000).map(|_| ids.next(at)).collect();
        given.extend((0..10).map(|_| ids.next(Timestamp::from_seconds(5))));
        let mut later = RunIds::after(8, given.last().copied());
        given.push(later.next(at));
        assert!(given.is_sorted_by(|one, next| one < next && one.high() < next.high()));
    }

    #[test]
    fn an_id_is_a_uuid_of_version_seven_and_comes_back_from_its_text() {
        let id = RunIds::after(7, None).next(Timestamp::from_micros(0x0197_c5e2_0000 * 1_000));
        let text = id.to_string();
        assert!(text.starts_with("run_0197c5e2-0000-7000-"), "{text}");
        assert!("89ab".contains(text.as_bytes()[23] as char), "{text}");
        assert_eq!((text.len(), text.parse()), (40, Ok(id)));
        assert!(
            "run_12".parse::<RunId>().is_err() && "run_+197c5e2-0000-7000-8000-000000000000".parse::<RunId>().is_err()
        );
    }
}
