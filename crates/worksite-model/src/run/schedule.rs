//! Runs at set times: [`Schedule`], a cron expression in a time zone, and what becomes of moments that passed unheard
//! ([`Missed`]). The next moment is a function of the last: nothing here asks what time it is.

use crate::{Durable, Encoding, RunDraft, RunRejection, Timestamp};
use croner::Cron;
use jiff::Zoned;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

/// What becomes of a schedule's moments that passed while the house was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Missed {
    /// One run makes up for all of them.
    #[default]
    Once,
    /// A run for each, the latest so many.
    All(u32),
    /// None; also not for one that is later than this.
    Skip(Duration),
}

/// By how much a clock may go back without being taken for one that was put back.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// Moments that are looked at one after the other; of what slept longer only the last are looked for.
const MOMENTS_SEEN_MAX: usize = 1_000;

/// Runs at set times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// Its cron expression: five fields, or six with seconds first.
    pub cron: String,
    /// The time zone the expression is about, by its IANA name.
    pub zone: String,
    /// What is to be run.
    pub draft: RunDraft,
    /// What becomes of moments that passed unheard.
    pub missed: Missed,
    /// Its next moment; none when there is no more.
    pub next: Option<Timestamp>,
    /// The last moment that made a run.
    pub last: Option<Timestamp>,
    /// The moment at which its moments last came: a clock that shows less has been put back.
    #[serde(default)]
    pub heard: Option<Timestamp>,
}

impl Durable for Schedule {
    const TYPE: &'static str = "run schedule";
    const ENCODING: Encoding = Encoding::Json;
}

impl Schedule {
    /// A schedule whose first moment is after `now`. Around a change of clocks each moment of the expression comes once:
    /// what falls into the gap comes right after it.
    ///
    /// ```
    /// use worksite_model::{RunDraft, Schedule, Timestamp};
    ///
    /// let noon = Timestamp::from_seconds(1_767_268_800); // 2026-01-01T12:00:00Z
    /// let nightly = Schedule::new("nightly", "30 2 * * *", "Europe/Luxembourg", RunDraft::new(), noon)?;
    /// assert_eq!(nightly.next, Some(Timestamp::from_seconds(1_767_317_400))); // 01:30 UTC
    /// # Ok::<(), worksite_model::RunRejection>(())
    /// ```
    ///
    /// # Errors
    /// [`RunRejection::Schedule`].
    pub fn new(
        name: impl Into<String>,
        cron: impl Into<String>,
        zone: impl Into<String>,
        draft: RunDraft,
        now: Timestamp,
    ) -> Result<Self, RunRejection> {
        let (name, cron, zone) = (name.into(), cron.into(), zone.into());
        let draft = RunDraft { schedule: Some(name.clone()), ..draft };
        let mut schedule =
            Self { name, cron, zone, draft, missed: Missed::default(), next: None, last: None, heard: None };
        schedule.next = schedule.after(now)?;
        Ok(schedule)
    }

    /// What becomes of moments that passed unheard.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// Its first moment after this one.
    ///
    /// # Errors
    /// [`RunRejection::Schedule`].
    pub fn after(&self, moment: Timestamp) -> Result<Option<Timestamp>, RunRejection> {
        let wrong = |reason: String| RunRejection::Schedule(reason);
        let cron = Cron::from_str(&self.cron).map_err(|error| wrong(error.to_string()))?;
        let zone = TimeZone::get(&self.zone).map_err(|error| wrong(error.to_string()))?;
        let start = jiff::Timestamp::from_microsecond(moment.as_micros()).map_err(|error| wrong(error.to_string()))?;
        let next: Option<Zoned> = cron.find_next_occurrence(&start.to_zoned(zone), false).ok();
        Ok(next.map(|next| Timestamp::from_micros(next.timestamp().as_microsecond())))
    }

    /// The last moments up to now, so many at most, that came after this one; nothing when there are none.
    fn last_moments(&self, most: usize, after: Timestamp, now: Timestamp) -> Option<VecDeque<Timestamp>> {
        let (cron, zone) = (Cron::from_str(&self.cron).ok()?, TimeZone::get(&self.zone).ok()?);
        let (mut come, mut before) = (VecDeque::new(), now);
        while come.len() < most {
            let start = jiff::Timestamp::from_microsecond(before.as_micros()).ok()?.to_zoned(zone.clone());
            let found: Zoned = cron.find_previous_occurrence(&start, come.is_empty()).ok()?;
            before = Timestamp::from_micros(found.timestamp().as_microsecond());
            if before <= after || come.front().is_some_and(|first| before >= *first) {
                break;
            }
            come.push_front(before);
        }
        (!come.is_empty()).then_some(come)
    }

    /// The moments that have come by now, as its policy has them, and the schedule as it is then.
    pub(crate) fn come(&self, now: Timestamp) -> (Vec<Timestamp>, Self) {
        let (mut come, mut next) = (VecDeque::new(), self.next);
        // A schedule of every second that slept for a year has millions of moments: only the last ones are kept.
        let most = match self.missed {
            Missed::All(most) => most.max(1) as usize,
            Missed::Once | Missed::Skip(_) => 1,
        };
        let mut seen = 0;
        while let Some(moment) = next.filter(|moment| *moment <= now) {
            if come.len() == most {
                come.pop_front();
            }
            come.push_back(moment);
            seen += 1;
            next = self.after(moment).ok().flatten().filter(|after| *after > moment);
            if seen == MOMENTS_SEEN_MAX {
                come = self.last_moments(most, moment, now).unwrap_or(come);
                next = self.after(now).ok().flatten().filter(|after| *after > now);
            }
        }
        let mut come = Vec::from(come);
        if let Missed::Skip(grace) = self.missed {
            come.retain(|moment| moment.after(grace) >= now);
        }
        let last = come.last().copied().or(self.last);
        (come, Self { next, last, heard: Some(now), ..self.clone() })
    }

    /// The schedule as it goes on after the clock was put back; nothing when it was not, or not as far as a moment. A clock
    /// that is put right by a few seconds makes no moment come twice.
    pub(crate) fn put_back(&self, now: Timestamp) -> Option<Self> {
        let heard = self.heard.or(self.last)?;
        if heard <= now.after(CLOCK_SLACK) {
            return None;
        }
        // One that has not begun, and was to begin later than by itself, begins when it was told to.
        if self.last.is_none() && self.next != self.after(heard).ok()? {
            return None;
        }
        let mut next = self.after(now).ok()??;
        if Some(next) == self.last {
            next = self.after(next).ok()??;
        }
        let sooner = self.next.is_none_or(|far| next < far);
        sooner.then(|| Self { next: Some(next), heard: Some(now), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn nightly() -> Schedule {
        Schedule::new("n", "30 2 * * *", "Europe/Luxembourg", RunDraft::new(), at("2026-03-27T12:00:00Z")).unwrap()
    }

    #[test]
    fn a_change_of_clocks_neither_loses_nor_doubles_a_moment() {
        let mut moments = vec![nightly().next.unwrap()];
        for _ in 0..3 {
            moments.push(nightly().after(*moments.last().unwrap()).unwrap().unwrap());
        }
        // On 29 March 2026 there is no 02:30 in Luxembourg.
        let days: Vec<_> = moments.iter().map(|moment| moment.as_micros() / 86_400_000_000).collect();
        assert_eq!(days.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>(), [1, 1, 1]);
        let october = nightly().after(at("2026-10-24T20:00:00Z")).unwrap().unwrap();
        let next = nightly().after(october).unwrap().unwrap();
        assert_eq!(next, at("2026-10-26T01:30:00Z"), "02:30 comes twice on 25 October, and counts once");
    }

    #[test]
    fn missed_moments_are_made_up_for_as_the_policy_says() {
        let now = at("2026-04-10T12:00:00Z");
        let (once, after) = nightly().come(now);
        assert_eq!((once.len(), after.last, after.next), (1, once.last().copied(), Some(at("2026-04-11T00:30:00Z"))));
        assert_eq!(nightly().missed(Missed::All(5)).come(now).0.len(), 5);
        assert_eq!(nightly().missed(Missed::All(99)).come(now).0.len(), 14);
        let skip = nightly().missed(Missed::Skip(Duration::from_secs(3_600)));
        assert_eq!(skip.come(now).0.len(), 0);
        assert_eq!(skip.come(at("2026-03-28T01:45:00Z")).0.len(), 1);
    }

    #[test]
    fn a_schedule_of_every_second_that_slept_for_half_a_century_knows_its_last_moments() {
        let (then, now) = (at("1970-01-01T00:00:00Z"), at("2026-04-10T12:00:00Z"));
        let secondly = Schedule::new("s", "* * * * * *", "UTC", RunDraft::new(), then).unwrap();
        let (once, after) = secondly.come(now);
        assert_eq!((&once[..], after.last, after.next), (&[now][..], Some(now), Some(at("2026-04-10T12:00:01Z"))));
        let all = secondly.missed(Missed::All(3)).come(now).0;
        assert_eq!(all, [at("2026-04-10T11:59:58Z"), at("2026-04-10T11:59:59Z"), now]);
    }

    #[test]
    fn a_clock_that_was_put_back_is_noticed_and_one_that_was_put_right_is_not() {
        let start = at("2026-03-27T12:00:00Z");
        let hourly = Schedule::new("h", "0 * * * *", "UTC", RunDraft::new(), start).unwrap();
        assert_eq!(hourly.put_back(at("2020-01-01T00:00:00Z")), None, "one that has not begun may begin when it likes");
        let (_, ahead) = hourly.come(at("2036-01-01T00:30:00Z"));
        let back = ahead.put_back(at("2026-03-27T13:10:00Z")).unwrap();
        assert_eq!(back.next, Some(at("2026-03-27T14:00:00Z")));
        assert_eq!(back.put_back(at("2026-03-27T13:11:00Z")), None, "once");
        let later = at("2036-01-01T00:30:00Z");
        let set_ahead = Schedule::new("h", "0 * * * *", "UTC", RunDraft::new(), later).unwrap();
        let set_ahead = Schedule { heard: Some(later), ..set_ahead };
        assert_eq!(set_ahead.put_back(start).unwrap().next, hourly.next);
        let begins_later = Schedule { next: Some(at("2040-01-01T00:00:00Z")), ..set_ahead };
        assert_eq!(begins_later.put_back(start), None, "it begins when it was told to");
        let (_, noon) = hourly.come(at("2026-03-27T13:00:00Z"));
        for now in ["2026-03-27T12:59:59Z", "2026-03-27T12:30:00Z"] {
            assert_eq!(noon.put_back(at(now)), None, "{now}: one o'clock has come");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (cron, zone) in [("61 * * * *", "UTC"), ("* * *", "UTC"), ("* * * * *", "Nowhere/Never")] {
            let made = Schedule::new("x", cron, zone, RunDraft::new(), Timestamp::default());
            assert!(matches!(made, Err(RunRejection::Schedule(_))), "{cron} {zone}");
        }
    }
}
