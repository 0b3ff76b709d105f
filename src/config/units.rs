//! Durations and sizes as people write them, read and written back.
//!
//! A number is followed by its unit: `"250ms"`, `"64KiB"`. Only `"0"` stands
//! alone. What is written back is read as the same value.

use std::fmt;
use std::time::Duration;

/// Units of time and their milliseconds, the longest first.
const DURATION_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Units of size and their bytes, the largest first.
const SIZE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Why a quantity cannot be read. Displays as a hint for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// It does not begin with a whole number.
    #[error("write a whole number followed by a unit: {units}")]
    NoNumber {
        /// The units there are.
        units: &'static str,
    },
    /// A number alone.
    #[error("add a unit: {units}")]
    NoUnit {
        /// The units there are.
        units: &'static str,
    },
    /// A unit nobody knows.
    #[error("the units are {units}")]
    UnknownUnit {
        /// The units there are.
        units: &'static str,
    },
    /// A quantity in a form that is not read here, and the one that is.
    #[error("write `\"{instead}\"`: one whole number and one unit of {units}")]
    OtherForm {
        /// How it is written here.
        instead: String,
        /// The units there are.
        units: &'static str,
    },
    /// Past what 64 bits hold.
    #[error("this is more than can be counted")]
    TooLarge,
}

/// Reads a duration: `"250ms"`, `"30s"`, `"10m"`, `"1h"`, `"1d"`, `"0"`.
///
/// # Errors
/// Says what is missing.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let units = "ms, s, m, h, d";
    let parsed = parse(text, &DURATION_UNITS, units).map(Duration::from_millis);
    parsed.map_err(|error| {
        let meant = meant(text, |unit| {
            let long = match unit {
                "sec" | "secs" | "second" | "seconds" => "s",
                "min" | "mins" | "minute" | "minutes" => "m",
                "hr" | "hrs" | "hour" | "hours" => "h",
                "day" | "days" => "d",
                "millisecond" | "milliseconds" | "msec" => "ms",
                other => other,
            };
            factor(&DURATION_UNITS, |known| known.eq_ignore_ascii_case(long))
        });
        let instead = |millis| WrittenDuration(Duration::from_millis(millis)).to_string();
        other_form(meant.map(instead), units, error)
    })
}

/// Reads a size in bytes: `"64KiB"`, `"256MiB"`, `"1GiB"`, `"0"`.
///
/// # Errors
/// Says what is missing.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let units = "B, KiB, MiB, GiB, TiB (powers of 1024)";
    parse(text, &SIZE_UNITS, units).map_err(|error| {
        let meant = meant(text, |unit| {
            let first = unit.get(..1)?;
            let is_decimal = matches!(unit.get(1..)?, "" | "b" | "B" | "ib" | "iB" | "IB");
            let is_meant = |known: &str| {
                known
                    .get(..1)
                    .is_some_and(|k| k.eq_ignore_ascii_case(first))
            };
            is_decimal.then(|| factor(&SIZE_UNITS, is_meant)).flatten()
        });
        let instead = |bytes| WrittenSize(bytes).to_string();
        other_form(meant.map(instead), units, error)
    })
}

fn factor(known: &[(&str, u64)], is_meant: impl Fn(&str) -> bool) -> Option<u64> {
    let found = known.iter().find(|(name, _)| is_meant(name));
    found.map(|(_, factor)| *factor)
}

fn other_form(instead: Option<String>, units: &'static str, error: UnitError) -> UnitError {
    match (instead, &error) {
        (Some(instead), UnitError::UnknownUnit { .. }) => UnitError::OtherForm { instead, units },
        _ => error,
    }
}

/// What somebody meant who wrote several numbers and units, a fraction, or a
/// unit of another name: `1h30m`, `1.5h`, `256MB`. Whole, or not known.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a hint, given where it is a whole number of what is counted"
)]
fn meant(text: &str, factor: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum = 0.0;
    while !rest.is_empty() {
        let is_number = |character: char| character.is_ascii_digit() || character == '.';
        let unit_at = rest.find(|character| !is_number(character))?;
        let number: f64 = rest[..unit_at].parse().ok()?;
        let unit = rest[unit_at..].trim_start();
        let unit_end = unit.find(is_number).unwrap_or(unit.len());
        sum += number * factor(unit[..unit_end].trim())? as f64;
        rest = &unit[unit_end..];
    }
    let is_whole = sum.fract() == 0.0 && sum > 0.0 && sum < 1e15;
    is_whole.then_some(sum as u64)
}

fn parse(text: &str, known: &[(&str, u64)], units: &'static str) -> Result<u64, UnitError> {
    let text = text.trim();
    let digits_end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    if digits.is_empty() {
        return Err(UnitError::NoNumber { units });
    }
    let number: u64 = digits.parse().map_err(|_| UnitError::TooLarge)?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        return if number == 0 {
            Ok(0)
        } else {
            Err(UnitError::NoUnit { units })
        };
    }
    let (_, factor) = known
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(UnitError::UnknownUnit { units })?;
    number.checked_mul(*factor).ok_or(UnitError::TooLarge)
}

/// Writes a duration with the longest unit that holds it exactly; what is
/// below a millisecond is left out.
#[derive(Clone, Copy, Debug)]
pub struct WrittenDuration(pub Duration);

impl fmt::Display for WrittenDuration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if millis == 0 {
            return formatter.write_str("0s");
        }
        write(formatter, millis, &DURATION_UNITS)
    }
}

/// Writes a size with the largest unit that holds it exactly.
#[derive(Clone, Copy, Debug)]
pub struct WrittenSize(pub u64);

impl fmt::Display for WrittenSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return formatter.write_str("0");
        }
        write(formatter, self.0, &SIZE_UNITS)
    }
}

fn write(formatter: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    for (unit, factor) in units {
        if value.is_multiple_of(*factor) {
            return write!(formatter, "{}{unit}", value / factor);
        }
    }
    write!(formatter, "{value}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("0", 0),
            ("0s", 0),
            (" 5 s ", 5_000),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for (text, bytes) in [
            ("0", 0),
            ("1B", 1),
            ("64KiB", 65_536),
            ("256MiB", 268_435_456),
            ("1GiB", 1_073_741_824),
            ("1TiB", 1_099_511_627_776),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_said_to_be_none() {
        for text in [
            "",
            "s",
            "-1s",
            "1",
            "1.5s",
            "1h30m",
            "1S",
            "9999999999999999999999s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["", "KiB", "1", "1KB", "1k", "99999999999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn another_form_is_answered_with_the_one_that_is_read() {
        for (text, instead) in [
            ("1h30m", "90m"),
            ("1.5h", "90m"),
            ("30sec", "30s"),
            ("5 minutes", "5m"),
            ("1S", "1s"),
        ] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{instead}\"")), "{text}: {error}");
        }
        for (text, instead) in [("256MB", "256MiB"), ("1k", "1KiB"), ("1.5GB", "1536MiB")] {
            let error = parse_size(text).unwrap_err().to_string();
            assert!(error.contains(&format!("\"{instead}\"")), "{text}: {error}");
        }
        for text in ["1parsec", "soon", "1h30"] {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(!error.contains("write `\""), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same_value(value: u32) {
            let value = u64::from(value);
            let duration = Duration::from_millis(value);
            prop_assert_eq!(parse_duration(&WrittenDuration(duration).to_string()), Ok(duration));
            prop_assert_eq!(parse_size(&WrittenSize(value).to_string()), Ok(value));
        }
    }
}
