//! Cache-control fields for one class of caches (RFC 9213).
//!
//! Of the fields on the target list the first that is valid and not empty
//! governs, and `Cache-Control` and `Expires` do not count then. One that is
//! no dictionary of structured fields (RFC 8941), or empty, is as if it were
//! not there.

use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::directives::ResponseDirectives;

/// The field that speaks to us alone: never seen by a client.
pub const PANNIER_CACHE_CONTROL: HeaderName = HeaderName::from_static("pannier-cache-control");
/// The field that speaks to every cache an origin's operator runs.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// Most applicable first (RFC 9213 §2.2).
const TARGETS: [HeaderName; 2] = [PANNIER_CACHE_CONTROL, CDN_CACHE_CONTROL];

/// The directives that govern a response.
#[must_use]
pub fn governing(fields: &HeaderMap, ignores_cache_control: bool) -> ResponseDirectives {
    let targeted = TARGETS.iter().find_map(|name| read(fields, name));
    match targeted {
        Some(directives) => directives,
        None if ignores_cache_control => ResponseDirectives::ignored(),
        None => ResponseDirectives::of(fields),
    }
}

/// Whether a field's name is on the target list, or `Cache-Control` itself.
#[must_use]
pub fn is_cache_control(name: &HeaderName) -> bool {
    *name == CACHE_CONTROL || TARGETS.contains(name)
}

fn read(fields: &HeaderMap, name: &HeaderName) -> Option<ResponseDirectives> {
    let mut lines = fields.get_all(name).iter().peekable();
    lines.peek()?;
    // Lines of one field are one dictionary (RFC 8941 §4.2).
    let joined = lines
        .map(http::HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(&b", "[..]);
    let dictionary: Dictionary = Parser::new(&joined).parse().ok()?;
    if dictionary.is_empty() {
        return None;
    }
    let mut directives = ResponseDirectives::ignored();
    for (name, member) in &dictionary {
        let ListEntry::Item(item) = member else {
            continue;
        };
        take(&mut directives, name.as_str(), &item.bare_item);
    }
    Some(directives)
}

/// Directives that forbid something hold whatever is given with them;
/// numbers have to be integers (RFC 9213 §2.1: a value of another type is not
/// to be used).
fn take(directives: &mut ResponseDirectives, name: &str, value: &BareItem) {
    let takes_number = matches!(
        name,
        "max-age" | "s-maxage" | "stale-while-revalidate" | "stale-if-error"
    );
    match value {
        BareItem::Boolean(false) => {}
        BareItem::Integer(seconds) if takes_number => {
            directives.take(name, Some(&i64::from(*seconds).max(0).to_string()));
        }
        _ if takes_number => {}
        BareItem::String(text) => directives.take(name, Some(text.as_str())),
        BareItem::Token(text) => directives.take(name, Some(text.as_str())),
        _ => directives.take(name, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use std::time::Duration;

    fn governed(lines: &[(&'static str, &'static str)]) -> ResponseDirectives {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_static(value));
        }
        governing(&fields, false)
    }

    #[test]
    fn the_most_applicable_field_governs_alone_rfc9213_2_2() {
        let read = governed(&[
            ("cache-control", "no-store"),
            ("cdn-cache-control", "max-age=60"),
        ]);
        assert!(!read.no_store && read.without_expires);
        assert_eq!(read.max_age, Some(Duration::from_secs(60)));
        let read = governed(&[
            ("cdn-cache-control", "max-age=60"),
            ("pannier-cache-control", "no-store"),
        ]);
        assert!(read.no_store);
        assert_eq!(read.max_age, None);
    }

    #[test]
    fn a_field_that_is_empty_or_invalid_is_not_there_rfc9213_2_1() {
        for broken in ["", "max-age=10, &&&", "MaX-aGe=10", "max-age = 10"] {
            let read = governed(&[("cache-control", "no-store"), ("cdn-cache-control", broken)]);
            assert!(read.no_store, "{broken}");
            assert_eq!(read.max_age, None, "{broken}");
        }
    }

    #[test]
    fn a_number_of_another_type_is_not_used_rfc9213_2_1() {
        for other in ["max-age=\"10\"", "max-age=1.5", "max-age", "max-age=?1"] {
            let read = governed(&[("cdn-cache-control", other), ("cache-control", "max-age=9")]);
            assert_eq!(read.max_age, None, "{other}");
        }
        let negative = governed(&[("cdn-cache-control", "max-age=-5")]);
        assert_eq!(negative.max_age, Some(Duration::ZERO));
        let huge = governed(&[("cdn-cache-control", "max-age=99999999999")]);
        assert_eq!(huge.max_age, Some(Duration::from_secs(1 << 31)));
    }

    #[test]
    fn several_lines_are_one_dictionary_and_its_last_value_counts_rfc8941_4_2() {
        let read = governed(&[
            ("cdn-cache-control", "max-age=10, foo;x=1, bar=(1 2)"),
            ("cdn-cache-control", "max-age=20, private=\"set-cookie\""),
        ]);
        assert_eq!(read.max_age, Some(Duration::from_secs(20)));
        assert_eq!(read.withheld, ["set-cookie"]);
        assert!(!read.private);
    }

    #[test]
    fn false_takes_a_directive_back_rfc8941_3_3_6() {
        let read = governed(&[("cdn-cache-control", "no-store=?0, no-cache=1, public")]);
        assert!(!read.no_store && read.no_cache && read.public);
    }
}
