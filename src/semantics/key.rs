//! Cache keys: which requests one stored response may answer (RFC 9111 §2).

use http::header::COOKIE;
use smallvec::SmallVec;

use super::policy::KeySpec;
use super::query::{loose_name, query_in_key};
use super::stored::Target;
use super::target::RequestTarget;
use super::told::ToldTarget;
use crate::message::lines::FieldLines;
use crate::percent::decode;
use crate::rule::{self, Rule};

/// A cache key: the BLAKE3 digest of a length-prefixed canonical form of the
/// request's target and of what the route adds to it. Holds nothing readable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(pub [u8; 32]);

impl std::fmt::Debug for CacheKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in &self.0[..6] {
            write!(formatter, "{byte:02x}")?;
        }
        formatter.write_str("…")
    }
}

/// A digest of everything in a route's configuration that decides what its
/// stored responses are good for. It is part of every key, so that a changed
/// route never reuses what it stored under other rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteFingerprint([u8; 16]);

impl RouteFingerprint {
    /// The fingerprint of a route of this path, key and policy.
    #[must_use]
    pub fn of(path: &str, spec: &KeySpec, policy: &super::policy::Policy) -> Self {
        let mut hasher = Hasher::new();
        hasher.part(FORM);
        hasher.part(path.as_bytes());
        hasher.part(format!("{spec:?}").as_bytes());
        hasher.part(format!("{policy:?}").as_bytes());
        let mut digest = [0; 16];
        digest.copy_from_slice(&hasher.finish()[..16]);
        Self(digest)
    }
}

/// The form of the canonical bytes; counted up when it changes.
const FORM: &[u8] = b"pannier key 3";

/// A digest and the digest with this over every byte are never both keys.
const PART_MARK: u8 = 0x5a;

impl CacheKey {
    /// The key of a request for `target` at `host` (as the client named it,
    /// lower case); `told` is what the application is told of it, and `fields` are
    /// those that go to the origin.
    #[must_use]
    pub fn of(
        route: &RouteFingerprint,
        spec: &KeySpec,
        (host, told): (&str, &ToldTarget),
        target: &RequestTarget<'_>,
        fields: &(impl FieldLines + ?Sized),
    ) -> Self {
        let mut hasher = Hasher::new();
        hasher.part(&route.0);
        hasher.part(if spec.host { host.as_bytes() } else { b"" });
        for part in told.parts(spec.host) {
            hasher.part(part);
        }
        hasher.part(target.key_path.as_bytes());
        hasher.part(query_in_key(spec, target.query).as_bytes());
        for name in &spec.headers {
            hasher.part(name.as_str().as_bytes());
            for value in fields.lines(name) {
                hasher.part(value);
            }
            hasher.end_of_list();
        }
        for name in &spec.cookies {
            hasher.part(name.as_bytes());
            for value in cookies(fields, name) {
                hasher.part(value);
            }
            hasher.end_of_list();
            if rule::holds(Rule::CookieNames) && may_be_read_elsewhere(fields, name) {
                for line in fields.lines(&COOKIE) {
                    hasher.part(line);
                }
                hasher.end_of_list();
            }
        }
        Self(hasher.finish())
    }
}

impl CacheKey {
    /// The key under which partial content of the same target is stored: apart
    /// from whole responses, so that neither displaces the other.
    #[must_use]
    pub fn of_part(&self) -> Self {
        Self(self.0.map(|byte| byte ^ PART_MARK))
    }
}

impl Target {
    /// What bans look at, for the same request.
    #[must_use]
    pub fn of(spec: &KeySpec, host: &str, target: &RequestTarget<'_>) -> Self {
        Self {
            host: host.into(),
            path: target.path.as_ref().into(),
            query: query_in_key(spec, target.query).into(),
        }
    }
}

/// The values of a cookie where it is written as browsers write it.
fn cookies<'a>(
    fields: &'a (impl FieldLines + ?Sized),
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    pairs(fields).filter_map(move |pair| value_of(pair, name))
}

fn pairs(fields: &(impl FieldLines + ?Sized)) -> impl Iterator<Item = &[u8]> {
    fields
        .lines(&COOKIE)
        .flat_map(|line| line.split(|byte| *byte == b';'))
}

/// What `name=value` gives; blanks may stand before it.
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let at = memchr::memchr(b'=', pair)?;
    let (given, value) = (pair[..at].trim_ascii_start(), &pair[at + 1..]);
    let is_plain = !value.contains(&b'"') && !value.contains(&b',');
    (given == name.as_bytes() && is_plain).then_some(value)
}

/// Whether some application may find a cookie where it is not written as
/// browsers write it: in other quotes, escapes or case, behind other separators,
/// or in one of several lines. What it finds there, only it knows.
fn may_be_read_elsewhere(fields: &(impl FieldLines + ?Sized), name: &str) -> bool {
    let has_several = fields.lines(&COOKIE).nth(1).is_some();
    let wanted = loose_name(name);
    pairs(fields).any(|pair| {
        let is_plain = value_of(pair, name).is_some();
        let mentions = !is_plain && mentions(&String::from_utf8_lossy(pair), &wanted);
        mentions || (is_plain && has_several)
    })
}

/// Whether a text has a name in it as a word, once its escapes are decoded.
fn mentions(text: &str, wanted: &str) -> bool {
    let text = decode(text).to_ascii_lowercase();
    let is_of_name =
        |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    if !wanted.chars().all(is_of_name) {
        // It is no single word: wherever it stands.
        return text.replace(['.', ' ', '['], "_").contains(wanted);
    }
    text.split(|character| !is_of_name(character))
        .any(|word| word.replace('.', "_") == wanted)
}

/// Hashes parts so that no two lists of parts give the same bytes.
///
/// Gathered first and hashed at once: a short target fits one block of the
/// hash function, and most do.
struct Hasher(SmallVec<[u8; 256]>);

impl Hasher {
    fn new() -> Self {
        Self(SmallVec::new())
    }

    fn part(&mut self, bytes: &[u8]) {
        self.length(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Seven bits a byte, the lowest first; the last byte has no high bit.
    fn length(&mut self, mut length: u64) {
        while length > 0x7f {
            self.0.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.0.push(length as u8);
    }

    /// A length that no part has.
    fn end_of_list(&mut self) {
        self.length(u64::MAX);
    }

    fn finish(&self) -> [u8; 32] {
        *blake3::hash(&self.0).as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::scheme::Scheme;
    use crate::semantics::policy::{Policy, QueryKey};
    use crate::semantics::query::{asks_for_bypass, query_to_forward};
    use http::{HeaderMap, HeaderValue};

    fn key(spec: &KeySpec, uri: &str, lines: &[(&'static str, &'static str)]) -> CacheKey {
        let (path, query) = match uri.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (uri, None),
        };
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_static(value));
        }
        let route = RouteFingerprint::of("/**", spec, &Policy::default());
        let site = ("h", &ToldTarget::default());
        CacheKey::of(&route, spec, site, &RequestTarget::of(path, query), &fields)
    }

    #[test]
    fn names_that_an_application_may_take_for_one_keep_their_order() {
        let spec = KeySpec::default();
        for (one, other) in [
            ("page=1&p%61ge=2", "p%61ge=2&page=1"),
            ("page=1&%20page=2", "%20page=2&page=1"),
            ("page=1&page[]=2", "page[]=2&page=1"),
            ("page=1&Page=2", "Page=2&page=1"),
            ("a.b=1&a_b=2", "a_b=2&a.b=1"),
            ("a=1&x;a=2", "x;a=2&a=1"),
        ] {
            let key = |query| key(&spec, &format!("/a?{query}"), &[]);
            assert_ne!(key(one), key(other), "{one}");
        }
    }

    #[test]
    fn only_counts_every_spelling_that_an_application_may_read() {
        let spec = KeySpec {
            query: QueryKey::Only(vec!["page".into()]),
            ..KeySpec::default()
        };
        for query in [
            "page[]=9",
            "%20page=9",
            "+page=9",
            "page%20=9",
            "page[x]=9",
            "PAGE=9",
            "page%5B%5D=9",
        ] {
            let uri = format!("/a?{query}");
            assert_ne!(key(&spec, &uri, &[]), key(&spec, "/a", &[]), "{query}");
        }
        assert_eq!(key(&spec, "/a?pages=9", &[]), key(&spec, "/a", &[]));
    }

    #[test]
    fn a_cookie_of_an_odd_name_counts_however_it_is_written() {
        let spec = KeySpec {
            cookies: vec!["my~sid".into()],
            ..KeySpec::default()
        };
        let none = key(&spec, "/a", &[("cookie", "x=1")]);
        for line in ["my~sid =7", "my~sid\t=7", "MY~sid=7", "a=1, my~sid=7"] {
            assert_ne!(key(&spec, "/a", &[("cookie", line)]), none, "{line}");
        }
    }

    #[test]
    fn a_cookie_counts_however_its_name_is_written() {
        let spec = KeySpec {
            cookies: vec!["sid".into()],
            ..KeySpec::default()
        };
        let none = key(&spec, "/a", &[("cookie", "x=1")]);
        for line in [
            "sid =7",
            "a=1; \tsid=7",
            "sid\t=7",
            "s%69d=7",
            "a=1, sid=7",
            "\"sid\"=7",
            "sid[]=7",
        ] {
            assert_ne!(key(&spec, "/a", &[("cookie", line)]), none, "{line}");
        }
        let plain = key(&spec, "/a", &[("cookie", "sid=7")]);
        for line in [
            "a=1, sid=7",
            "\"sid\"=7",
            "s%69d=7",
            "sid[]=7",
            "\"sid=7",
            "SID=7",
            "x=1 sid=7",
            "sid",
        ] {
            let odd = key(&spec, "/a", &[("cookie", line)]);
            assert!(odd != plain && odd != none, "{line}");
        }
        let one = key(&spec, "/a", &[("cookie", "sid=7,8")]);
        assert_ne!(one, key(&spec, "/a", &[("cookie", "sid=7,9")]));
        assert_eq!(none, key(&spec, "/a", &[("cookie", "sidx=7; xsid=8")]));
    }

    #[test]
    fn what_the_application_is_told_of_the_target_is_in_the_key() {
        let spec = KeySpec::default();
        let route = RouteFingerprint::of("/**", &spec, &Policy::default());
        let key = |spec: &KeySpec, lines: &[(&'static str, &'static str)]| {
            let told = ToldTarget::of(&crate::message::samples::fields(lines), "h", Scheme::Http);
            let target = RequestTarget::of("/a", None);
            CacheKey::of(&route, spec, ("h", &told), &target, &HeaderMap::new())
        };
        let plain = key(&spec, &[]);
        assert_eq!(plain, key(&spec, &[("x-forwarded-proto", "http")]));
        assert_ne!(plain, key(&spec, &[("x-forwarded-proto", "https")]));
        assert_ne!(plain, key(&spec, &[("x-forwarded-host", "g")]));
        let any_host = KeySpec {
            host: false,
            ..KeySpec::default()
        };
        let plain = key(&any_host, &[]);
        assert_eq!(plain, key(&any_host, &[("x-forwarded-host", "g")]));
        assert_ne!(plain, key(&any_host, &[("x-forwarded-proto", "https")]));
    }

    #[test]
    fn the_order_of_parameters_does_not_matter_but_that_of_equal_names_does() {
        let spec = KeySpec::default();
        assert_eq!(key(&spec, "/a?b=2&a=1", &[]), key(&spec, "/a?a=1&b=2", &[]));
        assert_ne!(key(&spec, "/a?a=1&a=2", &[]), key(&spec, "/a?a=2&a=1", &[]));
        assert_eq!(key(&spec, "/a?", &[]), key(&spec, "/a", &[]));
    }

    #[test]
    fn an_encoded_name_is_the_name() {
        let spec = KeySpec {
            query: QueryKey::Only(vec!["page".into()]),
            ..KeySpec::default()
        };
        assert_ne!(key(&spec, "/a?p%61ge=9", &[]), key(&spec, "/a", &[]));
        assert_eq!(key(&spec, "/a?utm_x=9", &[]), key(&spec, "/a", &[]));
        assert_ne!(key(&spec, "/a?x=1;page=9", &[]), key(&spec, "/a", &[]));
    }

    #[test]
    fn noise_can_be_left_out_by_prefix() {
        let spec = KeySpec {
            query: QueryKey::Except(vec!["utm_*".into()]),
            ..KeySpec::default()
        };
        assert_eq!(
            key(&spec, "/a?utm_source=x&p=1", &[]),
            key(&spec, "/a?p=1", &[])
        );
    }

    #[test]
    fn the_bypass_parameter_is_neither_in_the_key_nor_forwarded() {
        let spec = KeySpec {
            bypass_query: Some(("use_cache".into(), "false".into())),
            ..KeySpec::default()
        };
        assert_eq!(
            key(&spec, "/a?use_cache=false&x=1", &[]),
            key(&spec, "/a?x=1", &[])
        );
        assert!(asks_for_bypass(&spec, Some("x=1&use_cache=false")));
        assert!(!asks_for_bypass(&spec, Some("use_cache=true")));
        assert_eq!(query_to_forward(&spec, "x=1&use_cache=false&y"), "x=1&y");
    }

    #[test]
    fn fields_and_cookies_in_the_key_keep_users_apart() {
        let spec = KeySpec {
            headers: vec![http::header::AUTHORIZATION],
            cookies: vec!["sid".into()],
            ..KeySpec::default()
        };
        let ada = key(&spec, "/me", &[("authorization", "Bearer a")]);
        let bob = key(&spec, "/me", &[("authorization", "Bearer b")]);
        assert_ne!(ada, bob);
        let one = key(&spec, "/me", &[("cookie", "x=1; sid=7")]);
        let other = key(&spec, "/me", &[("cookie", "sid=8; x=1")]);
        let same = key(&spec, "/me", &[("cookie", "sid=7; x=2")]);
        assert_ne!(one, other);
        assert_eq!(one, same);
    }
}
