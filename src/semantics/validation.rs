//! Validators and conditional requests (RFC 9110 §8.8 and §13, RFC 9111 §4.3).

use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};

use super::date::http_date;
use super::freshness::date_field;
use crate::clock::Timestamp;
use crate::message::lines::FieldLines;

/// The validators of a stored response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, as it was sent.
    pub etag: Option<HeaderValue>,
    /// `Last-Modified`, as it was sent; only where it is a date.
    pub last_modified: Option<(HeaderValue, Timestamp)>,
}

impl Validators {
    /// The validators among the fields of a response that arrived at
    /// `response_time`.
    #[must_use]
    pub fn of(fields: &HeaderMap, response_time: Timestamp) -> Self {
        let last_modified = fields.get(LAST_MODIFIED).and_then(|value| {
            http_date(value.as_bytes(), response_time).map(|moment| (value.clone(), moment))
        });
        Self {
            etag: fields.get(ETAG).cloned(),
            last_modified,
        }
    }

    /// Whether the origin can be asked if the response still holds.
    #[must_use]
    pub fn any(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// The same of a response of these fields, that arrived at `response_time`.
    #[must_use]
    pub fn are_among(fields: &HeaderMap, response_time: Timestamp) -> bool {
        fields.contains_key(ETAG) || Self::of(fields, response_time).any()
    }

    /// Makes a request conditional on these validators, replacing those the
    /// client brought (RFC 9111 §4.3.1).
    pub fn make_conditional(&self, request: &mut HeaderMap) {
        strip_conditions(request);
        if let Some(etag) = &self.etag {
            request.insert(IF_NONE_MATCH, etag.clone());
        }
        if let Some((value, _)) = &self.last_modified {
            request.insert(IF_MODIFIED_SINCE, value.clone());
        }
    }
}

/// Whether a request's own conditions are answered by `304` with a response
/// of these fields, stored at `response_time` (RFC 9111 §4.3.2).
/// `If-None-Match` is compared weakly and, where it stands, decides alone.
#[must_use]
pub fn is_not_modified(
    request: &(impl FieldLines + ?Sized),
    stored: &(impl FieldLines + ?Sized),
    response_time: Timestamp,
) -> bool {
    let mut tags = request.lines(&IF_NONE_MATCH).peekable();
    if tags.peek().is_some() {
        let etag = stored.lines(&ETAG).next();
        return tags.any(|line| names(line, etag));
    }
    let Some(since) = request.lines(&IF_MODIFIED_SINCE).next() else {
        return false;
    };
    let date = date_field(stored, response_time).unwrap_or(response_time);
    let Some(since) = http_date(since, date) else {
        return false;
    };
    last_modified(stored, response_time).unwrap_or(date) <= since
}

/// `Last-Modified`, where it is a date.
pub(super) fn last_modified(
    stored: &(impl FieldLines + ?Sized),
    response_time: Timestamp,
) -> Option<Timestamp> {
    http_date(stored.lines(&LAST_MODIFIED).next()?, response_time)
}

/// Whether a line of `If-None-Match` names this entity tag.
fn names(line: &[u8], etag: Option<&[u8]>) -> bool {
    let line = line.trim_ascii();
    if line == b"*" {
        return true;
    }
    let Some(etag) = etag else {
        return false;
    };
    let ours = opaque_tag(etag);
    entity_tags(line).any(|theirs| opaque_tag(theirs) == ours)
}

/// Removes the conditions a client brought, so that the origin's answer is
/// one that can be stored.
pub fn strip_conditions(request: &mut HeaderMap) {
    request.remove(IF_NONE_MATCH);
    request.remove(IF_MODIFIED_SINCE);
}

/// Whether an entity tag says that it is weak.
#[must_use]
pub fn is_weak(etag: &[u8]) -> bool {
    etag.trim_ascii().starts_with(b"W/")
}

/// An entity tag without its weakness mark.
fn opaque_tag(etag: &[u8]) -> &[u8] {
    let etag = etag.trim_ascii();
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

/// The members of a list of entity tags; a comma inside quotes is part of one.
fn entity_tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut is_quoted = false;
    list.split(move |byte| {
        if *byte == b'"' {
            is_quoted = !is_quoted;
        }
        *byte == b',' && !is_quoted
    })
    .map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::samples::fields;

    /// The example date.
    const NOW: Timestamp = Timestamp::from_unix_millis(784_111_777_000);

    /// Whether a request with one condition is answered by `304`.
    fn holds(
        condition: (&'static str, &'static str),
        stored: &[(&'static str, &'static str)],
    ) -> bool {
        is_not_modified(&fields(&[condition]), &fields(stored), NOW)
    }

    const STORED: [(&str, &str); 2] = [
        ("etag", r#""a,b""#),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ];

    #[test]
    fn weak_comparison_over_a_list_with_commas_in_tags() {
        assert!(holds(("if-none-match", r#""x", W/"a,b""#), &STORED));
        assert!(holds(("if-none-match", "*"), &STORED));
        assert!(!holds(("if-none-match", r#""a""#), &STORED));
    }

    #[test]
    fn if_none_match_decides_alone() {
        let both = fields(&[
            ("if-none-match", r#""other""#),
            ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ]);
        assert!(!is_not_modified(&both, &fields(&STORED), NOW));
    }

    #[test]
    fn a_date_that_cannot_be_read_is_no_condition() {
        let since = |date| holds(("if-modified-since", date), &STORED);
        assert!(!since("yesterday"));
        assert!(since("Sunday, 06-Nov-94 08:49:37 GMT"));
    }

    #[test]
    fn without_last_modified_the_date_is_compared_rfc9111_4_3_2() {
        let since = |date, stored: &[_]| holds(("if-modified-since", date), stored);
        let dated = [("date", "Sun, 06 Nov 1994 08:49:37 GMT")];
        assert!(since("Sun, 06 Nov 1994 08:49:37 GMT", &dated));
        assert!(!since("Sun, 06 Nov 1994 08:49:36 GMT", &dated));
        assert!(since("Sun, 06 Nov 1994 08:49:37 GMT", &[]));
    }
}
