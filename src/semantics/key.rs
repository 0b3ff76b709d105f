//! Cache keys: which requests one stored response may answer (RFC 9111 §2).

use std::borrow::Cow;

use http::header::COOKIE;
use smallvec::SmallVec;

use super::policy::{KeySpec, QueryKey};
use super::stored::Target;
use super::target::RequestTarget;
use crate::message::lines::FieldLines;
use crate::percent::decode;

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
const FORM: &[u8] = b"pannier key 2";

/// A digest and the digest with this over every byte are never both keys.
const PART_MARK: u8 = 0x5a;

impl CacheKey {
    /// The key of a request for `target` at `host` (as the client named it,
    /// lower case), with `fields`.
    #[must_use]
    pub fn of(
        route: &RouteFingerprint,
        spec: &KeySpec,
        host: &str,
        target: &RequestTarget<'_>,
        fields: &(impl FieldLines + ?Sized),
    ) -> Self {
        let mut hasher = Hasher::new();
        hasher.part(&route.0);
        hasher.part(if spec.host { host.as_bytes() } else { b"" });
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

/// The query as it stands in the key: the parameters that count, sorted by
/// name; those of one name keep their order, which may mean something.
#[must_use]
pub fn query_in_key<'a>(spec: &KeySpec, query: Option<&'a str>) -> Cow<'a, str> {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return Cow::Borrowed("");
    };
    let takes_all = spec.query == QueryKey::All && spec.bypass_query.is_none();
    if takes_all && !query.contains('&') {
        return Cow::Borrowed(query);
    }
    let mut parameters: Vec<&str> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty() && counts(spec, parameter))
        .collect();
    parameters.sort_by(|one, other| raw_name(one).cmp(raw_name(other)));
    Cow::Owned(parameters.join("&"))
}

/// Whether a request carries the parameter and value of `bypass_query`.
#[must_use]
pub fn asks_for_bypass(spec: &KeySpec, query: Option<&str>) -> bool {
    let (Some(bypass), Some(query)) = (&spec.bypass_query, query) else {
        return false;
    };
    query
        .split('&')
        .any(|parameter| is_bypass(bypass, parameter))
}

/// The query to forward: without the `bypass_query` parameter, whatever its
/// value, else as it came.
#[must_use]
pub fn query_to_forward<'a>(spec: &KeySpec, query: &'a str) -> Cow<'a, str> {
    let Some((name, _)) = &spec.bypass_query else {
        return Cow::Borrowed(query);
    };
    if !query
        .split('&')
        .any(|parameter| parameter_name(parameter) == *name)
    {
        return Cow::Borrowed(query);
    }
    let kept: Vec<&str> = query
        .split('&')
        .filter(|parameter| parameter_name(parameter) != *name)
        .collect();
    Cow::Owned(kept.join("&"))
}

fn counts(spec: &KeySpec, parameter: &str) -> bool {
    let name = parameter_name(parameter);
    if let Some((bypass, _)) = &spec.bypass_query
        && *bypass == name
    {
        return false;
    }
    // Some applications read `;` as `&`: what may hide another parameter counts.
    if parameter.contains(';') {
        return true;
    }
    match &spec.query {
        QueryKey::All => true,
        QueryKey::None => false,
        QueryKey::Only(names) => names.iter().any(|pattern| names_it(pattern, &name)),
        QueryKey::Except(names) => !names.iter().any(|pattern| names_it(pattern, &name)),
    }
}

fn is_bypass((name, value): &(String, String), parameter: &str) -> bool {
    let given = parameter.split_once('=').map_or("", |(_, given)| given);
    parameter_name(parameter) == *name && decode(given) == *value
}

fn names_it(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    }
}

fn raw_name(parameter: &str) -> &str {
    parameter
        .split_once('=')
        .map_or(parameter, |(name, _)| name)
}

/// The decoded name: an application decodes it as well, so `p%61ge` must not
/// slip past a rule for `page`.
fn parameter_name(parameter: &str) -> Cow<'_, str> {
    let name = raw_name(parameter);
    if name.contains(['%', '+']) {
        Cow::Owned(decode(&name.replace('+', " ")))
    } else {
        Cow::Borrowed(name)
    }
}

fn cookies<'a>(
    fields: &'a (impl FieldLines + ?Sized),
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    fields
        .lines(&COOKIE)
        .flat_map(|line| line.split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
        .filter_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?;
            value.strip_prefix(b"=")
        })
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
    use crate::semantics::policy::Policy;
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
        CacheKey::of(&route, spec, "h", &RequestTarget::of(path, query), &fields)
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
