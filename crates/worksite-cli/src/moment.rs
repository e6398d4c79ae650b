//! Moments own how a time of the file is written for people.

/// Microseconds since 1970 as a date and a time of day, in UTC.
pub(crate) fn utc(micros: i64) -> String {
    let seconds = micros.div_euclid(1_000_000);
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let second = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// The date of a day counted from 1970. Years begin in March here, so that the leap day is the last of its year.
fn date(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_people_read_them() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
        assert_eq!(utc(951_782_400_000_000), "2000-02-29 00:00:00");
        assert_eq!(utc(1_709_251_199_999_999), "2024-02-29 23:59:59");
        assert_eq!(utc(4_107_542_399_000_000), "2100-02-28 23:59:59");
        assert_eq!(utc(4_107_542_400_000_000), "2100-03-01 00:00:00");
        let _survives = (utc(i64::MIN), utc(i64::MAX));
    }
}
