//! `Cache-Control`, parsed (RFC 9111 §5.2).
//!
//! Right on case, white space, quoted strings, repeated directives and
//! numbers that are broken or too large. A number that cannot be read counts
//! as zero, and of a repeated number the first (RFC 9111 §4.2.1): when in
//! doubt a response is stale.

use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue};

/// Larger delta-seconds are read as this (RFC 9111 §1.2.2).
const DELTA_SECONDS_MAX: u64 = 1 << 31;

/// The directives of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache` without field names.
    pub no_cache: bool,
    /// Fields that `no-cache="…"` or `private="…"` name: not to be stored.
    pub withheld: Vec<HeaderName>,
    /// `private` without field names.
    pub private: bool,
    /// `public`.
    pub public: bool,
    /// `must-revalidate`.
    pub must_revalidate: bool,
    /// `proxy-revalidate`.
    pub proxy_revalidate: bool,
    /// `must-understand`.
    pub must_understand: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `s-maxage`.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
    /// `Expires` does not count: the route ignores it, or a targeted field
    /// governs (RFC 9213 §2.2).
    pub without_expires: bool,
}

/// The directives of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-store`.
    pub no_store: bool,
    /// `no-cache`, or `Pragma: no-cache` where there is no `Cache-Control`.
    pub no_cache: bool,
    /// `only-if-cached`.
    pub only_if_cached: bool,
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `min-fresh`.
    pub min_fresh: Option<Duration>,
    /// `max-stale`; without a value it is unlimited.
    pub max_stale: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}

impl ResponseDirectives {
    /// Reads every `Cache-Control` line of a response.
    #[must_use]
    pub fn of(fields: &HeaderMap) -> Self {
        let mut all = Self::default();
        for_each(fields, &CACHE_CONTROL, |name, value| all.take(name, value));
        all
    }

    /// What stands for a response whose `Cache-Control` the route ignores.
    #[must_use]
    pub fn ignored() -> Self {
        Self {
            without_expires: true,
            ..Self::default()
        }
    }

    /// Takes one directive: its name in lower case, its value without quotes.
    pub(super) fn take(&mut self, name: &str, value: Option<&str>) {
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.unqualified_or_withheld(value, |all| all.no_cache = true),
            "private" => self.unqualified_or_withheld(value, |all| all.private = true),
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "immutable" => self.immutable = true,
            "max-age" => first(&mut self.max_age, value),
            "s-maxage" => first(&mut self.s_maxage, value),
            "stale-while-revalidate" => first(&mut self.stale_while_revalidate, value),
            "stale-if-error" => first(&mut self.stale_if_error, value),
            _ => {}
        }
    }

    /// `no-cache` and `private` either hold for all or name fields. A name
    /// that cannot be read makes it hold for all.
    fn unqualified_or_withheld(&mut self, value: Option<&str>, hold: impl FnOnce(&mut Self)) {
        let Some(value) = value else {
            return hold(self);
        };
        let names = value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(HeaderName::try_from)
            .collect::<Result<Vec<_>, _>>();
        match names {
            Ok(names) if !names.is_empty() => self.withheld.extend(names),
            _ => hold(self),
        }
    }
}

impl RequestDirectives {
    /// Reads every `Cache-Control` line of a request, and `Pragma`.
    #[must_use]
    pub fn of(fields: &HeaderMap) -> Self {
        let mut all = Self::default();
        if !fields.contains_key(CACHE_CONTROL) {
            all.no_cache = fields
                .get_all(PRAGMA)
                .iter()
                .any(|value| value.as_bytes().eq_ignore_ascii_case(b"no-cache"));
            return all;
        }
        for_each(fields, &CACHE_CONTROL, |name, value| match name {
            "no-store" => all.no_store = true,
            "no-cache" => all.no_cache = true,
            "only-if-cached" => all.only_if_cached = true,
            "max-age" => first(&mut all.max_age, value),
            "min-fresh" => all.min_fresh = Some(delta_seconds(value)),
            "max-stale" => {
                all.max_stale = Some(match value {
                    None => Duration::MAX,
                    value => delta_seconds(value),
                });
            }
            "stale-if-error" => first(&mut all.stale_if_error, value),
            _ => {}
        });
        all
    }
}

/// Of a repeated number the first counts.
fn first(slot: &mut Option<Duration>, value: Option<&str>) {
    slot.get_or_insert_with(|| delta_seconds(value));
}

fn delta_seconds(value: Option<&str>) -> Duration {
    let digits = value.unwrap_or_default().trim();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if is_number {
        digits.parse().unwrap_or(DELTA_SECONDS_MAX)
    } else {
        0
    };
    Duration::from_secs(seconds.min(DELTA_SECONDS_MAX))
}

/// Calls `take` with every directive: its name in lower case, and its value
/// without quotes. Everything is read from one joined line, so that a quoted
/// comma does not end a directive.
pub(super) fn for_each(
    fields: &HeaderMap,
    field: &HeaderName,
    mut take: impl FnMut(&str, Option<&str>),
) {
    for line in fields.get_all(field) {
        for directive in split_outside_quotes(line) {
            let directive = directive.trim();
            let (name, value) = match directive.split_once('=') {
                // No white space is allowed around `=`: such a value is broken.
                Some((name, value))
                    if name.ends_with([' ', '\t']) || value.starts_with([' ', '\t']) =>
                {
                    (name.trim_end(), Some(String::new()))
                }
                Some((name, value)) => (name, Some(unquote(value))),
                None => (directive, None),
            };
            take(&name.to_ascii_lowercase(), value.as_deref());
        }
    }
}

fn split_outside_quotes(line: &HeaderValue) -> Vec<String> {
    let line = String::from_utf8_lossy(line.as_bytes());
    let mut parts = vec![String::new()];
    let mut is_quoted = false;
    let mut is_escaped = false;
    for character in line.chars() {
        match character {
            ',' if !is_quoted => {
                parts.push(String::new());
                continue;
            }
            '"' if !is_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        is_escaped = is_quoted && !is_escaped && character == '\\';
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

fn unquote(value: &str) -> String {
    let Some(inner) = value
        .strip_prefix('"')
        .map(|rest| rest.strip_suffix('"').unwrap_or(rest))
    else {
        return value.to_owned();
    };
    let mut characters = inner.chars();
    let mut text = String::with_capacity(inner.len());
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(lines: &[&'static str]) -> ResponseDirectives {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(CACHE_CONTROL, HeaderValue::from_static(line));
        }
        ResponseDirectives::of(&fields)
    }

    #[test]
    fn case_white_space_and_several_lines_do_not_matter() {
        let read = response(&["No-Store ,\tMAX-AGE=5", "Private"]);
        assert!(read.no_store && read.private);
        assert_eq!(read.max_age, Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_number_that_cannot_be_read_is_zero_and_a_huge_one_is_bounded() {
        for broken in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1.5",
            "max-age =5",
            "max-age= 5",
            "max-age='5'",
            "max-age=a",
        ] {
            assert_eq!(
                response(&[broken]).max_age,
                Some(Duration::ZERO),
                "{broken}"
            );
        }
        let huge = response(&["max-age=99999999999999999999999"]);
        assert_eq!(huge.max_age, Some(Duration::from_secs(DELTA_SECONDS_MAX)));
        assert_eq!(
            response(&["max-age=\"7\""]).max_age,
            Some(Duration::from_secs(7))
        );
    }

    #[test]
    fn the_first_of_several_numbers_counts_rfc9111_4_2_1() {
        let read = response(&["max-age=3, max-age=100", "max-age=7"]);
        assert_eq!(read.max_age, Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_qualified_private_withholds_fields_only() {
        let read = response(&[r#"private="Set-Cookie, X-User", no-cache="x-b", max-age=1"#]);
        assert!(!read.private && !read.no_cache);
        assert_eq!(read.withheld, ["set-cookie", "x-user", "x-b"]);
        let broken = response(&[r#"private="a b""#]);
        assert!(broken.private);
    }

    #[test]
    fn a_directive_inside_a_quoted_string_is_not_one() {
        let read = response(&[r#"ext="no-store, max-age=1\" , private", max-age=9"#]);
        assert!(!read.no_store && !read.private);
        assert_eq!(read.max_age, Some(Duration::from_secs(9)));
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut fields = HeaderMap::new();
        fields.insert(PRAGMA, HeaderValue::from_static("No-Cache"));
        assert!(RequestDirectives::of(&fields).no_cache);
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("max-stale"));
        let read = RequestDirectives::of(&fields);
        assert!(!read.no_cache);
        assert_eq!(read.max_stale, Some(Duration::MAX));
    }
}
