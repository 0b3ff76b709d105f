//! Byte ranges (RFC 9110 §14): what a request asks for of a content whose
//! length is known.
//!
//! A `Range` that is not valid, in another unit, or abusive is as if it were
//! not there (§14.2 allows it): the whole is sent.

use std::ops::Range;

use http::HeaderMap;
use http::header::{CONTENT_RANGE, ETAG, IF_RANGE, RANGE};

use super::date::http_date;
use super::freshness::date_field;
use super::validation::{is_weak, last_modified};
use crate::clock::Timestamp;
use crate::message::lines::FieldLines;

/// A request for more ranges is answered with the whole: it costs the least.
pub const RANGES_MAX: usize = 16;

/// Of a date validator that is not this much older than the response, nobody
/// knows whether the content changed within it (RFC 9110 §8.8.2.2).
const STRONG_DATE_MILLIS_MIN: u64 = 60_000;

/// What a valid `Range` asks for; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteRanges(Vec<Spec>);

/// One range (RFC 9110 §14.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// From this byte to that one, or to the end.
    From(u64, Option<u64>),
    /// The last so many bytes.
    Last(u64),
}

/// What is to be sent of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it.
    Whole,
    /// These parts; never overlapping, never empty.
    Parts(Vec<Range<u64>>),
    /// None of the ranges is within it: `416`.
    Unsatisfiable,
}

/// `Content-Range: bytes first-last/complete` (RFC 9110 §14.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte's position.
    pub first: u64,
    /// The last byte's position.
    pub last: u64,
    /// The length of the whole representation, where it is known.
    pub complete: Option<u64>,
}

impl ByteRanges {
    /// What a request asks for; `None` where its `Range` does not count.
    #[must_use]
    pub fn of(request: &(impl FieldLines + ?Sized)) -> Option<Self> {
        let mut lines = request.lines(&RANGE);
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return None;
        };
        let (unit, set) = std::str::from_utf8(line).ok()?.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let members = set
            .split(',')
            .map(str::trim)
            .filter(|member| !member.is_empty());
        let mut specs = Vec::new();
        for member in members {
            if specs.len() == RANGES_MAX {
                return None;
            }
            specs.push(spec(member)?);
        }
        (!specs.is_empty()).then_some(Self(specs))
    }

    /// The one range, where there is only one.
    #[must_use]
    pub fn single(&self) -> Option<Spec> {
        match self.0.as_slice() {
            [spec] => Some(*spec),
            _ => None,
        }
    }

    /// What is to be sent of a content of `length` bytes.
    #[must_use]
    pub fn select(&self, length: u64) -> Selection {
        if length == 0 {
            // No `Content-Range` could describe a part of nothing.
            return Selection::Whole;
        }
        let mut parts: Vec<Range<u64>> = self
            .0
            .iter()
            .filter_map(|spec| within(*spec, length))
            .collect();
        if parts.is_empty() {
            return Selection::Unsatisfiable;
        }
        if overlap(&parts) {
            parts = merged(parts);
        }
        Selection::Parts(parts)
    }
}

impl ContentRange {
    /// The one valid `Content-Range` of a response (RFC 9110 §14.4).
    #[must_use]
    pub fn of(response: &HeaderMap) -> Option<Self> {
        let mut lines = response.get_all(CONTENT_RANGE).iter();
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return None;
        };
        let (unit, rest) = line.to_str().ok()?.trim().split_once(' ')?;
        let (range, complete) = rest.trim().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (position(first)?, position(last)?);
        let complete = match complete {
            "*" => None,
            length => Some(position(length)?),
        };
        let is_valid = unit.eq_ignore_ascii_case("bytes")
            && first <= last
            && last < u64::MAX
            && complete.is_none_or(|complete| last < complete);
        is_valid.then_some(Self {
            first,
            last,
            complete,
        })
    }
}

/// Whether the `If-Range` of a request, if it has one, lets its `Range` count
/// for a response of these fields, stored at `response_time` (RFC 9110 §13.1.5):
/// compared strongly.
#[must_use]
pub fn if_range_holds(
    request: &(impl FieldLines + ?Sized),
    stored: &(impl FieldLines + ?Sized),
    response_time: Timestamp,
) -> bool {
    let Some(condition) = request.lines(&IF_RANGE).next() else {
        return true;
    };
    let text = condition.trim_ascii();
    if text.starts_with(b"\"") || text.starts_with(b"W/") {
        let etag = stored.lines(&ETAG).next();
        return etag.is_some_and(|etag| !is_weak(etag) && etag.trim_ascii() == text);
    }
    let date = date_field(stored, response_time).unwrap_or(response_time);
    let (Some(asked), Some(modified)) =
        (http_date(text, date), last_modified(stored, response_time))
    else {
        return false;
    };
    let age = date.unix_millis().saturating_sub(modified.unix_millis());
    asked == modified && age >= STRONG_DATE_MILLIS_MIN
}

fn spec(member: &str) -> Option<Spec> {
    let (first, last) = member.split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", suffix) => Some(Spec::Last(position(suffix)?)),
        (first, "") => Some(Spec::From(position(first)?, None)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(Spec::From(first, Some(last)))
        }
    }
}

/// Digits; more than fit are beyond any content.
fn position(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn within(spec: Spec, length: u64) -> Option<Range<u64>> {
    let range = match spec {
        Spec::From(first, last) => {
            let end = last.map_or(length, |last| last.saturating_add(1).min(length));
            first..end
        }
        Spec::Last(count) => length.saturating_sub(count)..length,
    };
    (range.start < range.end).then_some(range)
}

fn overlap(parts: &[Range<u64>]) -> bool {
    let mut sorted: Vec<&Range<u64>> = parts.iter().collect();
    sorted.sort_by_key(|part| part.start);
    sorted.windows(2).any(|pair| pair[1].start < pair[0].end)
}

fn merged(mut parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    parts.sort_by_key(|part| part.start);
    let mut merged: Vec<Range<u64>> = Vec::with_capacity(parts.len());
    for part in parts {
        match merged.last_mut() {
            Some(before) if part.start <= before.end => before.end = before.end.max(part.end),
            _ => merged.push(part),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn fields(name: HeaderName, line: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(name, HeaderValue::try_from(line).expect("a value"));
        map
    }

    fn select(line: &str, length: u64) -> Option<Selection> {
        Some(ByteRanges::of(&fields(RANGE, line))?.select(length))
    }

    fn parts(parts: &[Range<u64>]) -> Option<Selection> {
        Some(Selection::Parts(parts.to_vec()))
    }

    #[test]
    fn every_form_of_a_range_selects_rfc9110_14_1_2() {
        for (line, expected) in [
            ("bytes=0-4", 0..5),
            ("Bytes = 2-", 2..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
            ("bytes=8-99999999999999999999999", 8..10),
        ] {
            assert_eq!(select(line, 10), parts(&[expected]), "{line}");
        }
    }

    #[test]
    fn what_is_not_valid_does_not_count_rfc9110_14_2() {
        let many = format!("bytes={}", "0-0,".repeat(RANGES_MAX + 1));
        for line in [
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=5-2",
            "bytes=--1",
            "items=0-1",
            "bytes=1,2",
            &many,
        ] {
            assert_eq!(select(line, 10), None, "{line}");
        }
    }

    #[test]
    fn ranges_beyond_the_content_are_unsatisfiable_rfc9110_15_5_17() {
        assert_eq!(select("bytes=10-", 10), Some(Selection::Unsatisfiable));
        assert_eq!(select("bytes=-0", 10), Some(Selection::Unsatisfiable));
        assert_eq!(
            select("bytes=20-30, 1-1", 10),
            parts(std::slice::from_ref(&(1..2)))
        );
        assert_eq!(select("bytes=0-0", 0), Some(Selection::Whole));
    }

    #[test]
    fn overlapping_ranges_are_joined_and_others_keep_their_order_rfc9110_15_3_7_2() {
        assert_eq!(select("bytes=6-7,0-1", 10), parts(&[6..8, 0..2]));
        assert_eq!(
            select("bytes=0-5,3-,1-2", 10),
            parts(std::slice::from_ref(&(0..10)))
        );
    }

    #[test]
    fn a_content_range_is_read_strictly_rfc9110_14_4() {
        let read = |line| ContentRange::of(&fields(CONTENT_RANGE, line));
        let known = read("bytes 4-8/10").expect("valid");
        assert_eq!((known.first, known.last, known.complete), (4, 8, Some(10)));
        assert_eq!(read("bytes 4-8/*").expect("valid").complete, None);
        for broken in [
            "bytes 8-4/10",
            "bytes 4-10/10",
            "bytes */10",
            "bytes 4-8",
            "x 4-8/10",
        ] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    #[test]
    fn if_range_is_compared_strongly_rfc9110_13_1_5() {
        let mut stored = HeaderMap::new();
        stored.insert("etag", HeaderValue::from_static("\"a\""));
        stored.insert(
            "date",
            HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"),
        );
        stored.insert(
            "last-modified",
            HeaderValue::from_static("Sun, 06 Nov 1994 08:40:00 GMT"),
        );
        let now = Timestamp::from_unix_millis(784_111_777_000);
        let holds = |line| if_range_holds(&fields(IF_RANGE, line), &stored, now);
        assert!(holds("\"a\"") && holds("Sun, 06 Nov 1994 08:40:00 GMT"));
        for other in [
            "W/\"a\"",
            "\"b\"",
            "Sun, 06 Nov 1994 08:40:01 GMT",
            "yesterday",
        ] {
            assert!(!holds(other), "{other}");
        }
        assert!(if_range_holds(&HeaderMap::new(), &stored, now));
    }

    proptest! {
        #[test]
        fn parts_lie_within_the_content_and_never_overlap(line in "bytes=[0-9,-]{0,30}", length in 0_u64..50) {
            if let Some(Selection::Parts(parts)) = select(&line, length) {
                prop_assert!(!overlap(&parts));
                let total: u64 = parts.iter().map(|part| part.end - part.start).sum();
                prop_assert!(total <= length && parts.iter().all(|part| part.start < part.end && part.end <= length));
            }
        }
    }
}
