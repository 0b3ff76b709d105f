//! HTTP dates (RFC 9110 §5.6.7), read as a cache is to read them.
//!
//! All three forms; names in any case (RFC 9111 §4.2 asks caches to be
//! lenient there, and only there). Whatever else deviates is no date: an
//! `Expires` that cannot be read is in the past, and that is the safe side.

use crate::clock::Timestamp;

const DAYS_SHORT: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAYS_LONG: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

const SECONDS_OF_DAY: i64 = 24 * 60 * 60;

/// A two-digit year further ahead than this is of the past (RFC 9110 §5.6.7).
const YEARS_AHEAD_MAX: i64 = 50;

/// Reads an HTTP date at the moment `now`, which tells the century of a
/// two-digit year. Moments before 1970 are read as 1970: they are as old as
/// anything gets here.
#[must_use]
pub fn http_date(value: &[u8], now: Timestamp) -> Option<Timestamp> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let seconds = imf_fixdate(text)
        .or_else(|| rfc850_date(text, now))
        .or_else(|| asctime_date(text))?;
    let millis = u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
    Some(Timestamp::from_unix_millis(millis))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`: every part has its place.
fn imf_fixdate(text: &str) -> Option<i64> {
    if text.len() != "Sun, 06 Nov 1994 08:49:37 GMT".len() {
        return None;
    }
    let has_separators = [(3, ", "), (7, " "), (11, " "), (16, " "), (25, " ")]
        .iter()
        .all(|&(at, separator)| text.as_bytes()[at..].starts_with(separator.as_bytes()));
    let is_fixdate = has_separators && is_gmt(text.get(26..)?);
    index_of(&DAYS_SHORT, text.get(..3)?).filter(|_| is_fixdate)?;
    let (day, month, year) = (text.get(5..7)?, text.get(8..11)?, text.get(12..16)?);
    moment(number(year, 4)?, month, number(day, 2)?, text.get(17..25)?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn rfc850_date(text: &str, now: Timestamp) -> Option<i64> {
    let (day_name, rest) = text.split_once(", ")?;
    index_of(&DAYS_LONG, day_name)?;
    let [date, time, zone] = parts(rest, ' ')?;
    let [day, month, year] = parts(date, '-')?;
    is_gmt(zone).then_some(())?;
    let (year, day) = (number(year, 2)?, number(day, 2)?);
    let this_year = year_of(now);
    let mut year = this_year - this_year.rem_euclid(100) + 100 + year;
    while year > this_year + YEARS_AHEAD_MAX {
        year -= 100;
    }
    moment(year, month, day, time)
}

/// `Sun Nov  6 08:49:37 1994`
fn asctime_date(text: &str) -> Option<i64> {
    let (day_name, rest) = text.split_once(' ')?;
    index_of(&DAYS_SHORT, day_name)?;
    let (month, rest) = rest.split_once(' ')?;
    // The day has two places, the first of them blank below ten.
    let (day, rest) = match rest.strip_prefix(' ') {
        Some(rest) => {
            let (day, rest) = rest.split_once(' ')?;
            (number(day, 1)?, rest)
        }
        None => {
            let (day, rest) = rest.split_once(' ')?;
            (number(day, 2)?, rest)
        }
    };
    let [time, year] = parts(rest, ' ')?;
    moment(number(year, 4)?, month, day, time)
}

fn moment(year: i64, month: &str, day: i64, time: &str) -> Option<i64> {
    let month = i64::try_from(index_of(&MONTHS, month)?).ok()? + 1;
    let (hours, minutes, seconds) = time_of_day(time)?;
    // 60 is a leap second.
    let is_time = hours < 24 && minutes < 60 && seconds <= 60;
    let is_date = (1..=days_of_month(year, month)).contains(&day);
    (is_time && is_date).then(|| {
        days_since_epoch(year, month, day) * SECONDS_OF_DAY + hours * 3_600 + minutes * 60 + seconds
    })
}

/// `08:49:37`
fn time_of_day(time: &str) -> Option<(i64, i64, i64)> {
    let [_, _, b':', _, _, b':', _, _] = time.as_bytes() else {
        return None;
    };
    let part = |at: usize| number(time.get(at..at + 2)?, 2);
    Some((part(0)?, part(3)?, part(6)?))
}

fn is_gmt(zone: &str) -> bool {
    zone.eq_ignore_ascii_case("gmt")
}

fn index_of(names: &[&str], name: &str) -> Option<usize> {
    names
        .iter()
        .position(|known| known.eq_ignore_ascii_case(name))
}

/// Exactly so many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| {
        text.bytes()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
    })
}

/// Exactly so many parts.
fn parts<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    let mut parts = [""; N];
    let mut rest = text.split(separator);
    for part in &mut parts {
        *part = rest.next()?;
    }
    rest.next().is_none().then_some(parts)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar: years are
/// counted from March, so that a leap day is the last of its year.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year of a moment, near enough to tell the century of a two-digit one.
fn year_of(now: Timestamp) -> i64 {
    let days = i64::try_from(now.unix_millis() / 1_000).unwrap_or(i64::MAX) / SECONDS_OF_DAY;
    1970 + days * 400 / 146_097
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-20.
    const NOW: Timestamp = Timestamp::from_unix_millis(1_795_132_800_000);

    fn read(text: &str) -> Option<u64> {
        http_date(text.as_bytes(), NOW).map(|moment| moment.unix_millis() / 1_000)
    }

    #[test]
    fn all_three_forms_are_read_rfc9110_5_6_7() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "sun, 06 NOV 1994 08:49:37 gmt",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
        ] {
            assert_eq!(read(text), Some(784_111_777), "{text}");
        }
        assert_eq!(read("Thu Aug 18 02:01:18 2050"), Some(2_544_400_878));
    }

    #[test]
    fn a_two_digit_year_is_never_more_than_fifty_years_ahead_rfc9110_5_6_7() {
        assert_eq!(
            read("Thursday, 18-Aug-50 02:01:18 GMT"),
            Some(2_544_400_878)
        );
        let seventy_six = read("Wednesday, 18-Nov-76 00:00:00 GMT").expect("a date");
        assert_eq!(
            seventy_six,
            read("Wed, 18 Nov 2076 00:00:00 GMT").expect("a date")
        );
        let seventy_seven = read("Friday, 18-Nov-77 00:00:00 GMT").expect("a date");
        assert_eq!(
            seventy_seven,
            read("Fri, 18 Nov 1977 00:00:00 GMT").expect("a date")
        );
    }

    #[test]
    fn what_deviates_otherwise_is_no_date() {
        for text in [
            "",
            "0",
            "-1",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 2050 02:01:18",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 31 Feb 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Xyz, 18 Aug 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02:01:18 GMT, Thu, 18 Aug 2050 02:01:18 GMT",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_before_1970_is_as_old_as_anything() {
        assert_eq!(read("Mon, 01 Jan 1900 00:00:00 GMT"), Some(0));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(seconds in 0_u64..253_402_300_799) {
            let written = Timestamp::from_unix_millis(seconds * 1_000);
            let text = httpdate::fmt_http_date(written.to_system_time());
            prop_assert_eq!(http_date(text.as_bytes(), NOW), Some(written));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = http_date(&bytes, NOW);
        }
    }
}
