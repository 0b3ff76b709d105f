//! `Cache-Control`, parsed (RFC 9111 §5.2).
//!
//! Right on case, white space, quoted strings, repeated directives and
//! numbers that are broken or too large. A number that cannot be read counts
//! as zero, and of a repeated number the first (RFC 9111 §4.2.1): when in
//! doubt a response is stale.
//!
//! A directive that does not follow the grammar (`private; max-age=60`,
//! `"no-store"`, a quote that is never closed) is read against storing: what
//! forbids something counts wherever it stands in it as a word, a lifetime
//! counts as zero, and what permits something does not count.

use std::time::Duration;

use http::header::{CACHE_CONTROL, PRAGMA};
use http::{HeaderMap, HeaderName};

use super::directive_list::{Directive, for_each};

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
    /// Some of it does not follow the grammar: it permits nothing beyond what
    /// is permitted without it.
    pub is_garbled: bool,
}

/// The directives of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Fields of a request whose directives count as if the client had not sent them
/// (`ignore_request_headers = […]` of a route).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IgnoredDirectives {
    /// `Cache-Control`.
    pub cache_control: bool,
    /// `Pragma`.
    pub pragma: bool,
}

impl ResponseDirectives {
    /// Reads every `Cache-Control` line of a response.
    #[must_use]
    pub fn of(fields: &HeaderMap) -> Self {
        let mut all = Self::default();
        for_each(fields, &CACHE_CONTROL, |directive| all.read(directive));
        all
    }

    /// Takes one directive, or what a garbled one forbids.
    pub(super) fn read(&mut self, directive: Directive<'_>) {
        match directive {
            Directive::Plain { name, value } => self.take(name, value),
            Directive::Qualified { name, fields } => self.take(name, Some(fields)),
            Directive::Garbled(text) => self.forbid(text),
        }
    }

    /// Takes what `text` forbids, wherever it stands in it as a word.
    pub(super) fn forbid(&mut self, text: &str) {
        self.is_garbled = true;
        for_each_word(text, |word| self.take(word, None));
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

    /// `no-cache` and `private` either hold for all or name fields, in a quoted
    /// string. A name that cannot be read makes it hold for all.
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
        Self::of_except(fields, IgnoredDirectives::default())
    }

    /// The same, but for what is ignored.
    #[must_use]
    pub fn of_except(fields: &HeaderMap, ignored: IgnoredDirectives) -> Self {
        let mut all = Self::default();
        if ignored.cache_control || !fields.contains_key(CACHE_CONTROL) {
            let mut pragmas = fields.get_all(PRAGMA).iter();
            all.no_cache = !ignored.pragma
                && pragmas.any(|value| value.as_bytes().eq_ignore_ascii_case(b"no-cache"));
            return all;
        }
        let mut take = |name: &str, value: Option<&str>| match name {
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
        };
        for_each(fields, &CACHE_CONTROL, |directive| match directive {
            Directive::Plain { name, value } => take(name, value),
            Directive::Qualified { name, fields } => take(name, Some(fields)),
            Directive::Garbled(text) => for_each_word(text, |word| take(word, None)),
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

/// Words that forbid something, or state a lifetime: none that permits.
const FORBIDDING_WORDS: [&str; 8] = [
    "no-store",
    "no-cache",
    "private",
    "must-revalidate",
    "proxy-revalidate",
    "max-age",
    "s-maxage",
    "stale-while-revalidate",
];

/// Calls `take` with every word of a garbled directive that forbids something,
/// whatever stands around it.
fn for_each_word(text: &str, mut take: impl FnMut(&str)) {
    let is_of_word =
        |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    for word in text.split(|character| !is_of_word(character)) {
        let named = FORBIDDING_WORDS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(word));
        if let Some(word) = named {
            take(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

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
    fn a_garbled_directive_is_read_against_storing() {
        for line in [
            "private; max-age=60",
            "private;max-age=60",
            "max-age=60; private",
            "\"private\"",
            "'private', max-age=60",
            "private\", max-age=60",
            "max-age=60, foo=\"bar, private",
            "public, x=(private)",
            "private=1",
            "private=true",
            "private = \"x\"",
            "private:60",
            "PRIVATE;x",
            "max-age=60 private",
        ] {
            assert!(response(&[line]).private, "{line}");
        }
        for line in ["no-store; max-age=0", "no-store max-age=0", "x;no-store"] {
            assert!(response(&[line]).no_store, "{line}");
        }
        for line in [
            "no-cache; must-revalidate",
            "no-cache=\"x\" y",
            "no-cache=0",
        ] {
            assert!(response(&[line]).no_cache, "{line}");
        }
        for line in ["unprivate; x", "no-store-x; y", "x=\"private\""] {
            let read = response(&[line]);
            assert!(!read.private && !read.no_store, "{line}");
        }
    }

    #[test]
    fn a_garbled_directive_permits_nothing_and_states_no_lifetime() {
        let read = response(&["public; max-age=60"]);
        assert!(read.is_garbled && !read.public);
        assert_eq!(read.max_age, Some(Duration::ZERO));
        let other = response(&["max-age=60, x;y"]);
        assert_eq!(other.max_age, Some(Duration::from_secs(60)));
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
