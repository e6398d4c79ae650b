//! The weather owns everything that goes wrong in one life of a house: faults of the store, mishaps among its actors and
//! its clock, and subscribers that do not keep up. All of it follows from a seed.

use crate::fault::Fault;
use std::time::Duration;
use worksite_model::chance;

/// Something that happens to a house beside its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// This person's worker crashes, as from a mistake of ours.
    CrashWorker(i64),
    /// The supervisor crashes.
    CrashSupervisor,
    /// The one who tells subscribers crashes.
    CrashBroadcast,
    /// The process dies.
    Kill,
    /// The clock jumps by so many seconds, forward or back.
    Jump(i64),
}

/// A mishap, and after how many events of this life it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incident {
    /// After how many events.
    pub after: usize,
    /// What happens.
    pub mishap: Mishap,
}

/// A subscriber that is no help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Its queue is short, and it takes this long over each fact: it misses some, and is told how many.
    Slow {
        /// How many facts wait for it at most.
        facts_max: usize,
        /// How long it takes over each.
        time: Duration,
    },
    /// It never takes a fact.
    Dead,
    /// It goes away after so many facts.
    Gone(usize),
}

/// All that goes wrong in one life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weather {
    /// Faults of the store.
    pub faults: Vec<Fault>,
    /// Mishaps, in the order in which they happen.
    pub incidents: Vec<Incident>,
    /// Subscribers that are no help.
    pub listeners: Vec<Listener>,
    /// Whether the disk may have lost what it had not synced, as was agreed: not with the default sync mode.
    pub forgets: bool,
}

impl From<Vec<Fault>> for Weather {
    fn from(faults: Vec<Fault>) -> Self {
        Self { faults, ..Self::default() }
    }
}

impl From<Vec<Incident>> for Weather {
    fn from(incidents: Vec<Incident>) -> Self {
        Self { incidents, ..Self::default() }
    }
}

/// Lives that have weather; after that the sky is clear, so that the scenario comes to its end.
const STORMY_LIVES: usize = 5;

impl Weather {
    /// The weather that follows from a seed, in this life, of a house with so many people whose quiet life has so many
    /// commits and events. Every kind of fault, mishap and listener comes up; one life in four is calm.
    pub fn generate(seed: u64, life: usize, people: u64, commits: usize, events: usize) -> Self {
        let mut rolls = 0;
        let mut roll = |sides: usize| {
            rolls += 1;
            (chance(seed, &[life as i64, rolls]) % sides.max(1) as u64) as usize
        };
        if life >= STORMY_LIVES || roll(4) == 0 {
            return Self::default();
        }
        let faults = (0..roll(3)).map(|_| {
            let commit = 1 + roll(commits) as u64;
            match roll(11) {
                0 => Fault::Full(commit, commit + roll(6) as u64),
                1 => Fault::Busy(commit, commit + roll(6) as u64),
                2 => Fault::Stall(commit, Duration::from_millis(roll(20_000) as u64)),
                3 => Fault::CrashBefore(commit),
                4 => Fault::CrashAfter(commit),
                5 => Fault::Torn(commit),
                6 => Fault::UnknownWritten(commit),
                7 => Fault::UnknownLost(commit),
                8 => Fault::Damaged(commit),
                9 => Fault::ReadBusy(commit, commit + roll(9) as u64),
                _ => Fault::Panic(commit),
            }
        });
        let faults = faults.collect();
        let mut incidents: Vec<_> = (0..roll(4))
            .map(|_| {
                let after = 1 + roll(events);
                let mishap = match roll(9) {
                    0 => Mishap::Kill,
                    1 => Mishap::CrashSupervisor,
                    2 => Mishap::CrashBroadcast,
                    3 => Mishap::Jump(roll(7_200) as i64),
                    4 => Mishap::Jump(-(roll(7_200) as i64)),
                    _ => Mishap::CrashWorker(1 + roll(people as usize) as i64),
                };
                Incident { after, mishap }
            })
            .collect();
        incidents.sort_by_key(|incident| incident.after);
        let listeners = (0..roll(3)).map(|_| match roll(4) {
            0 => Listener::Dead,
            1 => Listener::Gone(roll(9)),
            _ => Listener::Slow { facts_max: 1 + roll(9), time: Duration::from_millis(roll(500) as u64) },
        });
        let listeners = listeners.collect();
        Self { faults, incidents, listeners, forgets: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_of_weather_comes_up_and_the_sky_clears() {
        let name = |debug: String| debug.split(['(', ' ']).next().unwrap_or_default().to_string();
        let mut kinds = BTreeSet::new();
        for seed in 0..300 {
            let weather = Weather::generate(seed, 1, 4, 30, 100);
            kinds.extend(weather.faults.iter().map(|fault| name(format!("{fault:?}"))));
            kinds.extend(weather.incidents.iter().map(|incident| name(format!("{:?}", incident.mishap))));
            kinds.extend(weather.listeners.iter().map(|listener| name(format!("{listener:?}"))));
            assert_eq!(Weather::generate(seed, STORMY_LIVES, 4, 30, 100), Weather::default());
        }
        assert_eq!(kinds.len(), 11 + 5 + 3, "{kinds:?}");
    }
}
