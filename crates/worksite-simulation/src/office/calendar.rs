//! The calendar owns the office's time: a tick is a minute of an office day, a day has a fixed number of ticks, and nights
//! do not exist. [`Calendar`] is what a charter says of it, [`Almanac`] answers questions about it.

use super::OfficeError;
use jiff::civil::{Date, DateTime};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp as Moment, ToSpan};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use worksite_model::Timestamp;

/// Minutes of a day.
const DAY_MINUTES: u32 = 24 * 60;

/// Ticks of a day at most: 23 hours, the shortest day there is, so that no day begins before the one before it ends.
pub const TICKS_PER_DAY_MAX: u64 = 23 * 60;

/// The office's days, as its charter has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// The date of day 0, like `2026-01-05`.
    pub first_day: String,
    /// When a day begins, in minutes after midnight in the office's time zone.
    pub begins_minute: u32,
    /// Minutes of an office day. At most [`TICKS_PER_DAY_MAX`].
    pub ticks_per_day: u64,
    /// Where the office is, like `Europe/Vienna`.
    pub time_zone: String,
}

impl Default for Calendar {
    /// Days of 480 ticks from 09:00 on, from a Monday on, in UTC.
    fn default() -> Self {
        Self { first_day: "2026-01-05".into(), begins_minute: 9 * 60, ticks_per_day: 480, time_zone: "UTC".into() }
    }
}

/// When somebody works, where they live. From and until the same minute is around the clock; until before from is a night
/// shift, which belongs to the day it begins on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// From this minute after midnight.
    pub from_minute: u32,
    /// Until this minute after midnight.
    pub until_minute: u32,
    /// Where they live, like `America/New_York`.
    pub time_zone: String,
    /// Whether they work on Saturdays and Sundays.
    pub weekends: bool,
}

impl Hours {
    /// Reads `09:00-17:30`.
    ///
    /// # Errors
    /// [`OfficeError::Time`]. The original took a default for whatever it could not read.
    pub fn parse(text: &str, time_zone: &str) -> Result<Self, OfficeError> {
        let wrong = || OfficeError::Time(text.to_string());
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let (from_minute, until_minute) = (parse_minute(from)?, parse_minute(until)?);
        Ok(Self { from_minute, until_minute, time_zone: time_zone.to_string(), weekends: false })
    }

    fn contain(&self, local: DateTime) -> bool {
        let minute = u32::from(local.hour().unsigned_abs()) * 60 + u32::from(local.minute().unsigned_abs());
        let (from, until) = (self.from_minute, self.until_minute);
        let wraps = until < from;
        let inside = if from == until {
            true
        } else if wraps {
            minute >= from || minute < until
        } else {
            (from..until).contains(&minute)
        };
        let began_yesterday = wraps && minute < until;
        let date =
            if began_yesterday { local.date().checked_sub(1.day()).unwrap_or(local.date()) } else { local.date() };
        inside && (self.weekends || date.weekday().to_monday_zero_offset() < 5)
    }
}

/// Reads `14:30` as minutes after midnight.
///
/// # Errors
/// [`OfficeError::Time`].
pub fn parse_minute(text: &str) -> Result<u32, OfficeError> {
    let wrong = || OfficeError::Time(text.trim().to_string());
    let (hours, minutes) = text.trim().split_once(':').ok_or_else(wrong)?;
    let (hours, minutes): (u32, u32) = (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
    if hours > 24 || minutes > 59 || hours * 60 + minutes > DAY_MINUTES {
        return Err(wrong());
    }
    Ok(hours * 60 + minutes)
}

/// A calendar that answers.
#[derive(Debug, Clone)]
pub struct Almanac {
    calendar: Calendar,
    first: Date,
    zone: TimeZone,
    zones: BTreeMap<String, TimeZone>,
}

impl Almanac {
    /// Reads a calendar. Time zones come from a database that is compiled in: they are the same on every machine.
    ///
    /// # Errors
    /// [`OfficeError::Time`] and [`OfficeError::TimeZone`].
    pub fn of(calendar: &Calendar) -> Result<Self, OfficeError> {
        let first = calendar.first_day.parse().map_err(|_| OfficeError::Time(calendar.first_day.clone()))?;
        if !(1..=TICKS_PER_DAY_MAX).contains(&calendar.ticks_per_day) || calendar.begins_minute >= DAY_MINUTES {
            return Err(OfficeError::Time(format!(
                "{} ticks from minute {} on",
                calendar.ticks_per_day, calendar.begins_minute
            )));
        }
        let zone = time_zone(&calendar.time_zone)?;
        Ok(Self { calendar: calendar.clone(), first, zone, zones: BTreeMap::new() })
    }

    /// Learns a time zone.
    ///
    /// # Errors
    /// [`OfficeError::TimeZone`].
    pub fn learn(&mut self, name: &str) -> Result<(), OfficeError> {
        if !self.zones.contains_key(name) {
            self.zones.insert(name.to_string(), time_zone(name)?);
        }
        Ok(())
    }

    /// The day of a tick, counted from 0.
    pub fn day(&self, tick: u64) -> u64 {
        tick / self.calendar.ticks_per_day
    }

    /// The first tick of a day.
    pub fn begin_of(&self, day: u64) -> u64 {
        day.saturating_mul(self.calendar.ticks_per_day)
    }

    /// How many ticks of its day have passed before this one.
    pub fn tick_of_day(&self, tick: u64) -> u64 {
        tick % self.calendar.ticks_per_day
    }

    /// Whether this is the last tick of its day.
    pub fn is_last_of_day(&self, tick: u64) -> bool {
        self.tick_of_day(tick) + 1 == self.calendar.ticks_per_day
    }

    /// The week of a tick, counted from 0 and from day 0.
    pub fn week(&self, tick: u64) -> u64 {
        self.day(tick) / 7
    }

    /// The tick at this minute after midnight of a tick's day; nothing when the office is closed then.
    pub fn tick_at(&self, tick: u64, minute: u32) -> Option<u64> {
        let from = u64::from(self.calendar.begins_minute);
        // A day may go on after midnight.
        let minute = u64::from(minute);
        let minute = if minute < from { minute + u64::from(DAY_MINUTES) } else { minute };
        let since = minute - from;
        (since < self.calendar.ticks_per_day).then(|| self.begin_of(self.day(tick)) + since)
    }

    /// When a tick begins.
    pub fn moment(&self, tick: u64) -> Timestamp {
        Timestamp::from_micros(self.instant(tick).as_microsecond())
    }

    /// When a tick begins, as people write it: `Mon 2026-01-05 09:00`.
    pub fn clock(&self, tick: u64) -> String {
        self.instant(tick).to_zoned(self.zone.clone()).strftime("%a %Y-%m-%d %H:%M").to_string()
    }

    /// Whether somebody with these hours works in this tick.
    pub fn is_at_work(&self, hours: &Hours, tick: u64) -> bool {
        let zone = self.zones.get(&hours.time_zone).unwrap_or(&self.zone);
        hours.contain(zone.to_datetime(self.instant(tick)))
    }

    fn instant(&self, tick: u64) -> Moment {
        let day = i64::try_from(self.day(tick)).unwrap_or(i64::MAX);
        let date = self.first.checked_add(SignedDuration::from_hours(day.saturating_mul(24))).unwrap_or(Date::MAX);
        let begins = self.calendar.begins_minute;
        let begin = date.at((begins / 60) as i8, (begins % 60) as i8, 0, 0);
        let begin = self.zone.to_ambiguous_timestamp(begin).compatible().unwrap_or(Moment::MAX);
        begin.checked_add(Duration::from_secs(60 * self.tick_of_day(tick))).unwrap_or(Moment::MAX)
    }
}

fn time_zone(name: &str) -> Result<TimeZone, OfficeError> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| OfficeError::TimeZone(name.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn almanac(calendar: Calendar) -> Almanac {
        let mut almanac = Almanac::of(&calendar).unwrap();
        for zone in ["UTC", "Europe/Vienna", "America/New_York"] {
            almanac.learn(zone).unwrap();
        }
        almanac
    }

    #[test]
    fn a_tick_is_a_minute_of_an_office_day() {
        let almanac = almanac(Calendar::default());
        assert_eq!(almanac.clock(0), "Mon 2026-01-05 09:00");
        assert_eq!(almanac.clock(479), "Mon 2026-01-05 16:59");
        assert_eq!((almanac.clock(480).as_str(), almanac.day(480)), ("Tue 2026-01-06 09:00", 1));
        assert!(almanac.is_last_of_day(479) && !almanac.is_last_of_day(480));
        assert_eq!((almanac.week(480 * 7 - 1), almanac.week(480 * 7)), (0, 1));
        assert_eq!(almanac.tick_at(485, 10 * 60), Some(540));
        assert_eq!((almanac.tick_at(485, 17 * 60), almanac.tick_at(485, 8 * 60)), (None, None));
        assert_eq!(almanac.clock(u64::MAX / 1_000_000).len(), "Mon 2026-01-05 09:00".len(), "a large tick is a tick");
    }

    #[test]
    fn hours_are_read_or_refused() {
        let hours = Hours::parse("09:00-17:30", "UTC").unwrap();
        assert_eq!((hours.from_minute, hours.until_minute), (540, 1050));
        assert_eq!(parse_minute("24:00").unwrap(), 1440);
        for wrong in ["", "9", "25:00", "12:60", "24:01", "a:b", "-1:00"] {
            assert!(parse_minute(wrong).is_err(), "{wrong}");
        }
        assert!(Hours::parse("09:00", "UTC").is_err());
    }

    #[test]
    fn who_is_at_work_follows_from_where_they_live() {
        let almanac = almanac(Calendar { time_zone: "Europe/Vienna".into(), ..Calendar::default() });
        let at = |text: &str, zone: &str, tick| almanac.is_at_work(&Hours::parse(text, zone).unwrap(), tick);
        assert!(at("09:00-17:00", "Europe/Vienna", 0) && !at("09:00-17:00", "America/New_York", 359));
        assert!(at("09:00-17:00", "America/New_York", 360), "15:00 in Vienna is 09:00 in New York");
        assert!(!at("09:00-17:00", "Europe/Vienna", 480 * 5), "nobody works on a Saturday");
        assert!(at("09:00-09:00", "Europe/Vienna", 300), "around the clock");
    }

    #[test]
    fn a_night_shift_belongs_to_the_day_it_begins_on() {
        let calendar = Calendar { begins_minute: 0, ticks_per_day: 1380, ..Calendar::default() };
        let almanac = almanac(calendar);
        let night = Hours::parse("22:00-06:00", "UTC").unwrap();
        assert!(!almanac.is_at_work(&night, 60), "Monday at 01:00 belongs to Sunday's shift");
        assert!(almanac.is_at_work(&night, 22 * 60));
        assert!(almanac.is_at_work(&night, 5 * 1380 + 60), "Saturday at 01:00 belongs to Friday's");
        assert!(!almanac.is_at_work(&night, 5 * 1380 + 22 * 60));
    }

    #[test]
    fn summer_time_moves_the_office_and_not_its_ticks() {
        let calendar =
            Calendar { first_day: "2026-03-27".into(), time_zone: "Europe/Vienna".into(), ..Calendar::default() };
        let almanac = almanac(calendar);
        assert_eq!(almanac.clock(480 * 3), "Mon 2026-03-30 09:00");
        let hours = almanac.moment(480 * 3).since(almanac.moment(0)).as_secs() / 3_600;
        assert_eq!(hours, 71);
        assert!(Almanac::of(&Calendar { time_zone: "Mars/Olympus".into(), ..Calendar::default() }).is_err());
        assert!(Almanac::of(&Calendar { ticks_per_day: 0, ..Calendar::default() }).is_err());
    }
}
