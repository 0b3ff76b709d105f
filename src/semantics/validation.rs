//! Validators and conditional requests (RFC 9110 §8.8 and §13, RFC 9111 §4.3).

use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue};

use super::date::http_date;
use super::freshness::date_field;
use crate::clock::Timestamp;

/// The validators of a stored response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`, as it was sent.
    pub etag: Option<HeaderValue>,
    /// `Last-Modified`, as it was sent; only where it is a date.
    pub last_modified: Option<(HeaderValue, Timestamp)>,
    /// `Date`, or when the response arrived: stands in for a missing
    /// `Last-Modified` where a client asks by date (RFC 9111 §4.3.2).
    pub date: Timestamp,
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
            date: date_field(fields, response_time).unwrap_or(response_time),
        }
    }

    /// Whether the origin can be asked if the response still holds.
    #[must_use]
    pub fn any(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
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

    /// Whether a request's own conditions are answered by `304` with this
    /// stored response (RFC 9111 §4.3.2). `If-None-Match` is compared weakly
    /// and, where it stands, decides alone.
    #[must_use]
    pub fn satisfy(&self, request: &HeaderMap) -> bool {
        if request.contains_key(IF_NONE_MATCH) {
            return request
                .get_all(IF_NONE_MATCH)
                .iter()
                .any(|line| self.none_match_names_us(line));
        }
        let Some(since) = request
            .get(IF_MODIFIED_SINCE)
            .and_then(|value| http_date(value.as_bytes(), self.date))
        else {
            return false;
        };
        let modified = self.last_modified.as_ref();
        modified.map_or(self.date, |(_, modified)| *modified) <= since
    }

    fn none_match_names_us(&self, line: &HeaderValue) -> bool {
        let line = line.as_bytes().trim_ascii();
        if line == b"*" {
            return true;
        }
        let Some(etag) = &self.etag else {
            return false;
        };
        let ours = opaque_tag(etag.as_bytes());
        entity_tags(line).any(|theirs| opaque_tag(theirs) == ours)
    }
}

/// Removes the conditions a client brought, so that the origin's answer is
/// one that can be stored.
pub fn strip_conditions(request: &mut HeaderMap) {
    request.remove(IF_NONE_MATCH);
    request.remove(IF_MODIFIED_SINCE);
}

/// Whether an entity tag says that it is weak.
#[must_use]
pub fn is_weak(etag: &HeaderValue) -> bool {
    etag.as_bytes().trim_ascii().starts_with(b"W/")
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

    fn stored() -> Validators {
        Validators::of(
            &fields(&[
                ("etag", r#""a,b""#),
                ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ]),
            NOW,
        )
    }

    #[test]
    fn weak_comparison_over_a_list_with_commas_in_tags() {
        assert!(stored().satisfy(&fields(&[("if-none-match", r#""x", W/"a,b""#)])));
        assert!(stored().satisfy(&fields(&[("if-none-match", "*")])));
        assert!(!stored().satisfy(&fields(&[("if-none-match", r#""a""#)])));
    }

    #[test]
    fn if_none_match_decides_alone() {
        let both = fields(&[
            ("if-none-match", r#""other""#),
            ("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ]);
        assert!(!stored().satisfy(&both));
    }

    #[test]
    fn a_date_that_cannot_be_read_is_no_condition() {
        assert!(!stored().satisfy(&fields(&[("if-modified-since", "yesterday")])));
        assert!(stored().satisfy(&fields(&[(
            "if-modified-since",
            "Sunday, 06-Nov-94 08:49:37 GMT"
        )])));
    }

    #[test]
    fn without_last_modified_the_date_is_compared_rfc9111_4_3_2() {
        let dated = Validators::of(&fields(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT")]), NOW);
        let since = |date| fields(&[("if-modified-since", date)]);
        assert!(dated.satisfy(&since("Sun, 06 Nov 1994 08:49:37 GMT")));
        assert!(!dated.satisfy(&since("Sun, 06 Nov 1994 08:49:36 GMT")));
        let undated = Validators::of(&fields(&[]), NOW);
        assert!(undated.satisfy(&since("Sun, 06 Nov 1994 08:49:37 GMT")));
        assert!(!undated.any());
    }
}
