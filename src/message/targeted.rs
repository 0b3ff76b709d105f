//! Cache-control fields for one class of caches (RFC 9213).
//!
//! Of the fields on the target list the first that is valid and not empty
//! governs, and `Cache-Control` and `Expires` do not count then. One that is
//! no dictionary of structured fields (RFC 8941), or empty, is as if it were
//! not there.
//!
//! What such a field forbids in words counts all the same: an origin that
//! garbled `CDN-Cache-Control: private` did not mean that all may have it.
//!
//! `Surrogate-Control` is older (W3C Edge Architecture) and written like
//! `Cache-Control`; it counts where a route puts it on its list.

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::directive_list::{Directive, for_each};
use super::directives::ResponseDirectives;
use super::fields::PSEUDONYM;
use crate::rule::{self, Rule};

/// The field that speaks to us alone: never seen by a client.
pub const PANNIER_CACHE_CONTROL: HeaderName = HeaderName::from_static("pannier-cache-control");
/// The field that speaks to every cache an origin's operator runs.
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// What content delivery networks had before.
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

/// A field that may govern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// [`PANNIER_CACHE_CONTROL`].
    Pannier,
    /// [`CDN_CACHE_CONTROL`].
    Cdn,
    /// [`SURROGATE_CONTROL`].
    Surrogate,
}

/// The target list where nothing else is said, most applicable first
/// (RFC 9213 §2.2).
pub const TARGETS: [Target; 2] = [Target::Pannier, Target::Cdn];

/// The directives that govern a response.
#[must_use]
pub fn governing(
    fields: &HeaderMap,
    targets: &[Target],
    ignores_cache_control: bool,
) -> ResponseDirectives {
    let mut forbidden: Vec<String> = Vec::new();
    let targeted = targets.iter().find_map(|target| {
        let read = match target {
            Target::Pannier => read(fields, &PANNIER_CACHE_CONTROL),
            Target::Cdn => read(fields, &CDN_CACHE_CONTROL),
            Target::Surrogate => read_surrogate(fields),
        };
        match read {
            Targeted::Governs(directives) => Some(directives),
            Targeted::Absent => None,
            Targeted::Garbled(text) => {
                forbidden.push(text);
                None
            }
        }
    });
    let mut directives = match targeted {
        Some(directives) => directives,
        None if ignores_cache_control => ResponseDirectives::ignored(),
        None => ResponseDirectives::of(fields),
    };
    if rule::holds(Rule::UnreadableDirectives) {
        let without_lifetime = |directives: &ResponseDirectives| {
            (
                directives.max_age,
                directives.s_maxage,
                directives.stale_while_revalidate,
            )
        };
        let lifetimes = without_lifetime(&directives);
        for text in &forbidden {
            directives.forbid(text);
        }
        // A field that does not govern states no lifetime (RFC 9213 §2.1).
        (
            directives.max_age,
            directives.s_maxage,
            directives.stale_while_revalidate,
        ) = lifetimes;
    }
    directives
}

/// What one field on the target list says.
enum Targeted {
    /// It is not there, is empty, or speaks to others.
    Absent,
    /// It governs.
    Governs(ResponseDirectives),
    /// It cannot be read.
    Garbled(String),
}

fn read(fields: &HeaderMap, name: &HeaderName) -> Targeted {
    let mut lines = fields.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Targeted::Absent;
    }
    // Lines of one field are one dictionary (RFC 8941 §4.2).
    let joined = lines
        .map(http::HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(&b", "[..]);
    let dictionary: Dictionary = match Parser::new(&joined).parse() {
        Ok(dictionary) => dictionary,
        Err(_) => return Targeted::Garbled(String::from_utf8_lossy(&joined).into_owned()),
    };
    if dictionary.is_empty() {
        return Targeted::Absent;
    }
    let mut directives = ResponseDirectives::ignored();
    for (name, member) in &dictionary {
        let parameters = match member {
            ListEntry::Item(item) => {
                take(&mut directives, name.as_str(), &item.bare_item);
                &item.params
            }
            // Its value is of no use, what it forbids is.
            ListEntry::InnerList(list) => {
                if forbids(name.as_str()) {
                    directives.take(name.as_str(), None);
                }
                &list.params
            }
        };
        // `max-age=60;private`: as if a comma stood there.
        if rule::holds(Rule::UnreadableDirectives) {
            for (name, value) in parameters.iter().filter(|(name, _)| forbids(name.as_str())) {
                take(&mut directives, name.as_str(), value);
            }
        }
    }
    Targeted::Governs(directives)
}

fn forbids(name: &str) -> bool {
    matches!(name, "private" | "no-store" | "no-cache")
}

/// `no-store`, and `max-age=fresh+stale`; a directive with `;device` is for
/// that device alone.
fn read_surrogate(fields: &HeaderMap) -> Targeted {
    let mut directives = ResponseDirectives::ignored();
    let mut counts = false;
    let mut take = |name: &str, value: Option<&str>| {
        match name {
            "no-store" | "no-cache" | "private" => directives.take(name, None),
            "max-age" => {
                let value = value.unwrap_or_default();
                let (fresh, stale) = value.split_once('+').unwrap_or((value, "0"));
                directives.take(name, Some(fresh));
                directives.take("stale-while-revalidate", Some(stale));
            }
            _ => return,
        }
        counts = true;
    };
    let mut garbled: Option<String> = None;
    for_each(fields, &SURROGATE_CONTROL, |directive| match directive {
        Directive::Plain { name, value } => take(name, value),
        Directive::Qualified { name, .. } => take(name, None),
        // `;` and a device may follow.
        Directive::Garbled(text) => match split_device(text) {
            Some((_, device)) if device != PSEUDONYM => {}
            Some((text, _)) => {
                let (name, value) = match text.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (text, None),
                };
                take(&name.to_ascii_lowercase(), value);
            }
            None => {
                let all = garbled.get_or_insert_default();
                all.push_str(text);
                all.push(',');
            }
        },
    });
    match garbled {
        Some(text) => Targeted::Garbled(text),
        None if counts => Targeted::Governs(directives),
        None => Targeted::Absent,
    }
}

/// The directive and the device of `directive;device`; `None` where it is not
/// of that form.
fn split_device(text: &str) -> Option<(&str, &str)> {
    let (text, device) = text.split_once(';')?;
    let (text, device) = (text.trim_end(), device.trim());
    let is_word = |text: &str| {
        let is_of_word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        !text.is_empty() && text.bytes().all(is_of_word)
    };
    let is_directive = |text: &str| {
        matches!(
            text.to_ascii_lowercase().as_str(),
            "no-store" | "no-cache" | "private" | "max-age" | "content"
        )
    };
    let (name, value) = text.split_once('=').unwrap_or((text, "0"));
    let is_value = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'+')
        || (value.len() > 1 && value.starts_with('"') && value.ends_with('"'));
    (is_word(name) && is_value && is_word(device) && !is_directive(device))
        .then_some((text, device))
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
        governing(&fields, &TARGETS, false)
    }

    fn surrogate(line: &'static str) -> ResponseDirectives {
        let mut fields = HeaderMap::new();
        fields.insert(SURROGATE_CONTROL, HeaderValue::from_static(line));
        fields.insert("cache-control", HeaderValue::from_static("max-age=9"));
        governing(&fields, &[Target::Surrogate], false)
    }

    #[test]
    fn surrogate_control_counts_where_it_is_listed_and_for_us() {
        assert!(surrogate("no-store").no_store);
        let read = surrogate("content=\"ESI/1.0\", MaX-aGe=60+30;pannier");
        assert_eq!(read.max_age, Some(Duration::from_secs(60)));
        assert_eq!(read.stale_while_revalidate, Some(Duration::from_secs(30)));
        for other in ["no-store;edge", "max-age=60;edge", "content=\"x\"", ""] {
            assert_eq!(
                surrogate(other).max_age,
                Some(Duration::from_secs(9)),
                "{other}"
            );
        }
        let unlisted = governed(&[("surrogate-control", "no-store")]);
        assert!(!unlisted.no_store);
    }

    #[test]
    fn what_a_garbled_field_forbids_counts() {
        for line in [
            "private; max-age=60",
            "max-age=60;private",
            "max-age=60 private",
            "\"private\"",
            "private=(1 2)",
        ] {
            let read = governed(&[("cdn-cache-control", line), ("cache-control", "max-age=9")]);
            assert!(read.private, "{line}");
        }
        for line in [
            "no-store; max-age=0",
            "no-store max-age=0",
            "max-age=60; no-store",
            "\"no-store\"",
        ] {
            assert!(surrogate(line).no_store, "{line}");
        }
        assert!(surrogate("private").private);
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
