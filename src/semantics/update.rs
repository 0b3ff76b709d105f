//! Updating a stored response from a newer one (RFC 9111 §3.2, §4.3.4, §4.3.5).

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, TRAILER};
use http::{HeaderMap, HeaderName};

use super::validation::is_weak;

/// Fields that speak of the content that came with them, not of what is
/// stored. `Content-Type` and the other `Content-…` fields are updated like
/// all others (RFC 9111 §3.2). What is left out here says of the stored bytes
/// how to read them: an update would be about the content of a message that
/// has none.
const OF_THE_CONTENT: [HeaderName; 6] = [
    CONTENT_LENGTH,
    CONTENT_ENCODING,
    CONTENT_RANGE,
    TRAILER,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
];

/// The stored fields with those of `update` in their place, each name whole.
#[must_use]
pub fn freshened(stored: &HeaderMap, update: &HeaderMap) -> HeaderMap {
    let mut fields = stored.clone();
    for name in update.keys().filter(|name| !OF_THE_CONTENT.contains(name)) {
        fields.remove(name);
        for value in update.get_all(name) {
            fields.append(name.clone(), value.clone());
        }
    }
    fields
}

/// Whether a `304` is about another representation than the stored one: it
/// carries a strong validator that the stored response has not (RFC 9111
/// §4.3.4: it must not be used to update then).
#[must_use]
pub fn is_of_another(stored: &HeaderMap, not_modified: &HeaderMap) -> bool {
    match not_modified.get(ETAG) {
        Some(etag) if !is_weak(etag.as_bytes()) => stored.get(ETAG) != Some(etag),
        _ => false,
    }
}

/// Whether a `200` to HEAD is about the stored representation (RFC 9111
/// §4.3.5): the validators and the length it states are the stored ones.
#[must_use]
pub fn is_same_by_head(stored: &HeaderMap, head: &HeaderMap) -> bool {
    [ETAG, LAST_MODIFIED, CONTENT_LENGTH].iter().all(|name| {
        head.get(name)
            .is_none_or(|value| stored.get(name) == Some(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::samples::fields;

    #[test]
    fn every_field_is_updated_whole_and_new_ones_are_added_rfc9111_3_2() {
        let stored = fields(&[
            ("set-cookie", "a=1"),
            ("set-cookie", "b=1"),
            ("content-type", "text/plain"),
            ("x-kept", "1"),
        ]);
        let update = fields(&[
            ("set-cookie", "a=2"),
            ("set-cookie", "c=2"),
            ("content-type", "text/html"),
            ("x-new", "1"),
        ]);
        let updated = freshened(&stored, &update);
        let cookies: Vec<_> = updated.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=2", "c=2"]);
        assert_eq!(updated["content-type"], "text/html");
        assert!(updated.contains_key("x-kept") && updated.contains_key("x-new"));
    }

    #[test]
    fn what_speaks_of_the_content_stays_rfc9111_3_2() {
        let stored = fields(&[("content-length", "5"), ("content-encoding", "gzip")]);
        let update = fields(&[
            ("content-length", "0"),
            ("content-encoding", "br"),
            ("content-range", "bytes 0-0/1"),
        ]);
        assert_eq!(freshened(&stored, &update), stored);
    }

    #[test]
    fn a_304_with_a_foreign_strong_validator_updates_nothing_rfc9111_4_3_4() {
        let stored = fields(&[("etag", "\"a\"")]);
        assert!(is_of_another(&stored, &fields(&[("etag", "\"b\"")])));
        assert!(is_of_another(&fields(&[]), &fields(&[("etag", "\"b\"")])));
        for same in ["\"a\"", "W/\"b\""] {
            assert!(
                !is_of_another(&stored, &fields(&[("etag", same)])),
                "{same}"
            );
        }
        assert!(!is_of_another(&stored, &fields(&[])));
    }

    #[test]
    fn a_head_that_states_other_validators_or_length_is_of_another_rfc9111_4_3_5() {
        let stored = fields(&[("etag", "\"a\""), ("content-length", "5")]);
        assert!(is_same_by_head(&stored, &fields(&[("x", "1")])));
        assert!(is_same_by_head(
            &stored,
            &fields(&[("content-length", "5")])
        ));
        assert!(!is_same_by_head(
            &stored,
            &fields(&[("content-length", "6")])
        ));
        assert!(!is_same_by_head(&stored, &fields(&[("etag", "\"b\"")])));
        let dated = fields(&[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]);
        assert!(!is_same_by_head(&stored, &dated));
    }
}
