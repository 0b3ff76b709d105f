//! Moments as text: RFC 3339, UTC, with milliseconds.

use crate::clock::Timestamp;

const MILLIS_PER_DAY: u64 = 86_400_000;

/// `2023-11-14T22:13:20.000Z`
#[must_use]
pub fn text(moment: Timestamp) -> String {
    let millis = moment.unix_millis();
    let (year, month, day) = civil(millis / MILLIS_PER_DAY);
    let of_day = millis % MILLIS_PER_DAY;
    let (seconds, millis) = (of_day / 1_000, of_day % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a day counted from the Unix epoch. Years are taken
/// from March on, so that the leap day is a year's last; eras are 400 years.
fn civil(days_since_epoch: u64) -> (u64, u64, u64) {
    const DAYS_FROM_YEAR_0: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days_since_epoch + DAYS_FROM_YEAR_0;
    let (era, of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let is_next_year = month_from_march >= 10;
    let month = if is_next_year {
        month_from_march - 9
    } else {
        month_from_march + 3
    };
    (
        era * 400 + year_of_era + u64::from(is_next_year),
        month,
        day,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_as_people_write_them() {
        for (millis, written) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_000, "2023-11-14T22:13:20.000Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(text(Timestamp::from_unix_millis(millis)), written);
        }
    }
}
