//! Partial content in the store (RFC 9111 §3.3, RFC 9110 §15.3.7.3): one
//! contiguous part of a representation, what it can answer, and how it grows.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::ETAG;
use http::{HeaderMap, HeaderValue};

use super::range::{ContentRange, Spec};
use super::validation::is_weak;

/// A part as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What its `Content-Range` says it is.
    pub range: ContentRange,
    /// How many bytes of it there are.
    length: u64,
}

/// What a part holds of a range that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// Where in the stored content.
    pub bytes: Range<usize>,
    /// What its own `Content-Range` is.
    pub range: ContentRange,
}

impl Part {
    /// The part that a `206` with these fields and a content of `length` bytes
    /// is; `None` for several parts in one, and where `Content-Range` is not
    /// valid or claims less than there is.
    #[must_use]
    pub fn of(fields: &HeaderMap, length: u64) -> Option<Self> {
        let range = ContentRange::of(fields)?;
        let claimed = range.last - range.first + 1;
        (0 < length && length <= claimed).then_some(Self { range, length })
    }

    /// Whether there is as much as its `Content-Range` says. Only such a part
    /// is ever combined with another.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.length == self.range.last - self.range.first + 1
    }

    /// Whether this is the beginning of something longer, and where the rest
    /// begins.
    #[must_use]
    pub fn rest_from(&self) -> Option<u64> {
        let is_beginning = self.range.first == 0 && self.is_exact();
        let is_all = self.range.complete == Some(self.range.last + 1);
        (is_beginning && !is_all).then_some(self.range.last + 1)
    }

    /// What answers a request for `spec`, if the part has it.
    ///
    /// Positions are counted from the part's first byte, those of a suffix
    /// from its last: in an exact part that is the same. In one that came
    /// shorter than it said, a range that reaches its end gets what there is,
    /// as a server may send less than was asked for (RFC 9110 §15.3.7).
    #[must_use]
    pub fn excerpt(&self, spec: Spec) -> Option<Excerpt> {
        let ContentRange {
            first,
            last,
            complete,
        } = self.range;
        let (offset, count, start) = match spec {
            Spec::From(asked_first, asked_last) => {
                let end = match (asked_last, complete) {
                    (Some(asked), Some(complete)) => asked.min(complete - 1),
                    (Some(asked), None) => asked,
                    (None, complete) => complete? - 1,
                };
                if asked_first < first || end > last || asked_first > end {
                    return None;
                }
                let offset = asked_first - first;
                let count = (end - asked_first + 1).min(self.length.checked_sub(offset)?);
                (offset, count, asked_first)
            }
            Spec::Last(count) => {
                let complete = complete.filter(|complete| *complete == last + 1)?;
                let count = count.min(complete);
                (self.length.checked_sub(count)?, count, complete - count)
            }
        };
        if count == 0 {
            return None;
        }
        let bytes = usize::try_from(offset).ok()?..usize::try_from(offset + count).ok()?;
        let range = ContentRange {
            first: start,
            last: start + count - 1,
            complete,
        };
        Some(Excerpt { bytes, range })
    }
}

/// `Content-Range` of a part.
#[must_use]
pub fn content_range(range: &ContentRange) -> HeaderValue {
    let ContentRange { first, last, .. } = range;
    let text = match range.complete {
        Some(complete) => format!("bytes {first}-{last}/{complete}"),
        None => format!("bytes {first}-{last}/*"),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("bytes */*"))
}

/// Whether two responses are of one representation: they have the same strong
/// validator (RFC 9110 §15.3.7.3).
#[must_use]
pub fn are_of_one(stored: &HeaderMap, arrived: &HeaderMap) -> bool {
    stored
        .get(ETAG)
        .is_some_and(|etag| !is_weak(etag.as_bytes()) && arrived.get(ETAG) == Some(etag))
}

/// Both contents as one, where they touch or overlap and agree on the length
/// of the whole. The bytes of `arrived` count where both have them.
#[must_use]
pub fn combined(
    stored: (&Part, &Bytes),
    arrived: (&Part, &Bytes),
) -> Option<(ContentRange, Bytes)> {
    let ((old, old_bytes), (new, new_bytes)) = (stored, arrived);
    let (one, other) = (old.range, new.range);
    let are_exact = old.is_exact() && new.is_exact();
    let touch = one.first <= other.last + 1 && other.first <= one.last + 1;
    if !are_exact || !touch || one.complete != other.complete {
        return None;
    }
    let first = one.first.min(other.first);
    let last = one.last.max(other.last);
    let before = usize::try_from(other.first.saturating_sub(one.first)).ok()?;
    let after = usize::try_from(one.last.saturating_sub(other.last)).ok()?;
    let mut whole = BytesMut::with_capacity(before + new_bytes.len() + after);
    whole.extend_from_slice(old_bytes.get(..before)?);
    whole.extend_from_slice(new_bytes);
    whole.extend_from_slice(old_bytes.get(old_bytes.len().checked_sub(after)?..)?);
    let range = ContentRange {
        first,
        last,
        complete: one.complete,
    };
    Some((range, whole.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CONTENT_RANGE;

    fn part(line: &'static str, length: u64) -> Option<Part> {
        let mut fields = HeaderMap::new();
        fields.insert(CONTENT_RANGE, HeaderValue::from_static(line));
        Part::of(&fields, length)
    }

    fn excerpt(part: &Part, spec: Spec) -> Option<(Range<usize>, u64, u64)> {
        part.excerpt(spec)
            .map(|found| (found.bytes, found.range.first, found.range.last))
    }

    #[test]
    fn a_part_answers_for_what_lies_within_it_rfc9111_3_3() {
        let exact = part("bytes 4-9/10", 6).expect("valid");
        assert_eq!(excerpt(&exact, Spec::From(6, Some(8))), Some((2..5, 6, 8)));
        assert_eq!(excerpt(&exact, Spec::From(6, None)), Some((2..6, 6, 9)));
        assert_eq!(excerpt(&exact, Spec::Last(2)), Some((4..6, 8, 9)));
        assert_eq!(excerpt(&exact, Spec::From(3, Some(5))), None);
        assert_eq!(excerpt(&exact, Spec::Last(7)), None);
        let middle = part("bytes 2-5/10", 4).expect("valid");
        assert_eq!(excerpt(&middle, Spec::From(3, None)), None);
        assert_eq!(excerpt(&middle, Spec::Last(1)), None);
        let endless = part("bytes 0-4/*", 5).expect("valid");
        assert_eq!(excerpt(&endless, Spec::From(0, None)), None);
        assert_eq!(
            excerpt(&endless, Spec::From(1, Some(2))),
            Some((1..3, 1, 2))
        );
    }

    #[test]
    fn a_part_that_came_short_gives_what_there_is_rfc9110_15_3_7() {
        let short = part("bytes 4-9/10", 5).expect("valid");
        assert!(!short.is_exact());
        assert_eq!(excerpt(&short, Spec::From(6, None)), Some((2..5, 6, 8)));
        assert_eq!(excerpt(&short, Spec::Last(1)), Some((4..5, 9, 9)));
        assert_eq!(excerpt(&short, Spec::From(9, None)), None);
        assert_eq!(part("bytes 4-9/10", 7), None);
        assert_eq!(part("bytes 4-9/10", 0), None);
    }

    #[test]
    fn only_an_exact_beginning_has_a_rest_rfc9111_3_3() {
        assert_eq!(
            part("bytes 0-4/10", 5).and_then(|part| part.rest_from()),
            Some(5)
        );
        assert_eq!(
            part("bytes 0-9/10", 10).and_then(|part| part.rest_from()),
            None
        );
        assert_eq!(
            part("bytes 1-4/10", 4).and_then(|part| part.rest_from()),
            None
        );
        assert_eq!(
            part("bytes 0-4/10", 4).and_then(|part| part.rest_from()),
            None
        );
    }

    #[test]
    fn parts_that_touch_or_overlap_become_one_rfc9110_15_3_7_3() {
        let join = |one: (&'static str, &'static str), other: (&'static str, &'static str)| {
            let read = |(line, text): (&'static str, &'static str)| {
                (
                    part(line, text.len() as u64).expect("valid"),
                    Bytes::from(text),
                )
            };
            let ((old, old_bytes), (new, new_bytes)) = (read(one), read(other));
            let (range, bytes) = combined((&old, &old_bytes), (&new, &new_bytes))?;
            Some((
                range.first,
                range.last,
                String::from_utf8_lossy(&bytes).into_owned(),
            ))
        };
        let text = |first, last, text: &str| Some((first, last, text.to_owned()));
        assert_eq!(
            join(("bytes 0-2/9", "abc"), ("bytes 3-4/9", "DE")),
            text(0, 4, "abcDE")
        );
        assert_eq!(
            join(("bytes 3-4/9", "de"), ("bytes 0-2/9", "ABC")),
            text(0, 4, "ABCde")
        );
        assert_eq!(
            join(("bytes 0-4/9", "abcde"), ("bytes 1-2/9", "BC")),
            text(0, 4, "aBCde")
        );
        assert_eq!(
            join(("bytes 1-2/9", "bc"), ("bytes 0-4/9", "ABCDE")),
            text(0, 4, "ABCDE")
        );
        assert_eq!(join(("bytes 0-2/9", "abc"), ("bytes 4-4/9", "E")), None);
        assert_eq!(join(("bytes 0-2/9", "abc"), ("bytes 3-4/8", "DE")), None);
    }

    #[test]
    fn only_a_strong_validator_makes_parts_of_one_rfc9110_15_3_7_3() {
        let tagged = |etag| {
            let mut fields = HeaderMap::new();
            fields.insert(ETAG, HeaderValue::from_static(etag));
            fields
        };
        assert!(are_of_one(&tagged("\"a\""), &tagged("\"a\"")));
        assert!(!are_of_one(&tagged("W/\"a\""), &tagged("W/\"a\"")));
        assert!(!are_of_one(&tagged("\"a\""), &tagged("\"b\"")));
        assert!(!are_of_one(&HeaderMap::new(), &HeaderMap::new()));
    }
}
