//! What a request asks for, in the forms that routes, keys and bans need.
//!
//! Two forms of one path. The **key path** differs only where RFC 3986 §6.2.2
//! says that two paths are the same (`%7e` and `~`). The **plain path** has
//! every escape decoded: routes and bans look at it, because an application
//! will see `/users/7` in `/users/%37` as well, and an invalidation too many
//! is safe where one too few is not.
//!
//! A path that applications read in different ways (`//`, dot segments,
//! encoded slashes, broken escapes, `;`, control bytes) is **ambiguous**: it is never stored,
//! and a write to it invalidates every reading of it.

use std::borrow::Cow;

use crate::percent::{decode, escape_at};

/// A request's path and query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// For the cache key.
    pub key_path: Cow<'a, str>,
    /// For routes and bans: decoded as far as it is text.
    pub path: Cow<'a, str>,
    /// As it came, without `?`.
    pub query: Option<&'a str>,
    /// Applications may disagree on what it names.
    pub is_ambiguous: bool,
}

impl<'a> RequestTarget<'a> {
    /// Reads a path and a query as they stand in the request.
    #[must_use]
    pub fn of(path: &'a str, query: Option<&'a str>) -> Self {
        let path = if path.is_empty() { "/" } else { path };
        let is_simple = path.starts_with('/') && path.bytes().all(is_simple_byte);
        if is_simple && !has_odd_segment(path) {
            return Self {
                key_path: Cow::Borrowed(path),
                path: Cow::Borrowed(path),
                query,
                is_ambiguous: false,
            };
        }
        let plain = decode(path);
        let is_ambiguous = has_odd_segment(&plain)
            || plain.matches('/').count() != path.matches('/').count()
            || plain
                .chars()
                .any(|character| matches!(character, ';' | '\\') || character.is_control())
            || has_broken_escape(path)
            || !path.starts_with('/');
        Self {
            key_path: Cow::Owned(normalise_escapes(path)),
            path: Cow::Owned(plain),
            query,
            is_ambiguous,
        }
    }

    /// Every path an application might take an ambiguous one for, the plain
    /// one first: without parameters (`;…`), with slashes merged and with dot
    /// segments resolved.
    #[must_use]
    pub fn readings(&self) -> Vec<String> {
        let mut readings = vec![self.path.clone().into_owned()];
        if self.is_ambiguous {
            let slashed = self.path.replace('\\', "/");
            let without_parameters: Vec<&str> = slashed
                .split('/')
                .map(|segment| segment.split(';').next().unwrap_or_default())
                .collect();
            for reading in [
                resolve(slashed.split('/')),
                resolve(without_parameters.into_iter()),
            ] {
                if !readings.contains(&reading) {
                    readings.push(reading);
                }
            }
        }
        readings
    }
}

/// Bytes that mean themselves in every reading of a path.
fn is_simple_byte(byte: u8) -> bool {
    !matches!(byte, b'%' | b';' | b'\\') && byte.is_ascii_graphic()
}

/// `//`, `/./` and `/../` are read in different ways.
fn has_odd_segment(path: &str) -> bool {
    let segments = path.strip_prefix('/').unwrap_or(path);
    segments.contains("//")
        || segments.starts_with('/')
        || (segments.contains('.') && segments.split('/').any(|s| matches!(s, "." | "..")))
}

/// A `%` that begins no escape becomes one where what follows is decoded:
/// `%2%41` would be the `%2A` that another path has.
fn has_broken_escape(path: &str) -> bool {
    let bytes = path.as_bytes();
    memchr::memchr_iter(b'%', bytes).any(|at| {
        let rest = &bytes[at..];
        let may_become_one = |byte: &u8| *byte == b'%' || byte.is_ascii_hexdigit();
        escape_at(rest).is_none() && rest.get(1).is_some_and(may_become_one)
    })
}

/// RFC 3986 §6.2.2: escapes of unreserved bytes decoded, others in upper case.
fn normalise_escapes(path: &str) -> String {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(character) = rest.chars().next() {
        match escape_at(rest.as_bytes()) {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                normal.push(char::from(byte));
                rest = &rest[3..];
            }
            Some(byte) => {
                normal.push_str(&format!("%{byte:02X}"));
                rest = &rest[3..];
            }
            None => {
                normal.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
    }
    normal
}

fn resolve<'a>(segments: impl Iterator<Item = &'a str>) -> String {
    let mut resolved: Vec<&str> = Vec::new();
    for segment in segments {
        match segment {
            "" | "." => {}
            ".." => {
                resolved.pop();
            }
            other => resolved.push(other),
        }
    }
    format!("/{}", resolved.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> RequestTarget<'_> {
        RequestTarget::of(path, None)
    }

    #[test]
    fn an_ordinary_path_is_borrowed_as_it_is() {
        let plain = target("/api/v1/users/7.json");
        assert!(matches!(plain.key_path, Cow::Borrowed(_)));
        assert!(!plain.is_ambiguous);
    }

    #[test]
    fn the_key_keeps_apart_what_the_standard_keeps_apart() {
        assert_eq!(target("/%7euser/%3a").key_path, "/~user/%3A");
        assert_ne!(target("/a%3Ab").key_path, target("/a:b").key_path);
        assert_eq!(target("/a%3Ab").path, target("/a:b").path);
    }

    #[test]
    fn what_applications_disagree_on_is_ambiguous() {
        for path in [
            "//a",
            "/a//b",
            "/a/../b",
            "/a/./b",
            "/a%2fb",
            "/a%2F..%2fb",
            "/a;x.css",
            "/a%3Bx",
            "/a%00",
            "/a%5cb",
            "/..",
            "/a/%2e%2e/b",
            "/a%2%41b",
            "/%%411",
            "*",
        ] {
            assert!(target(path).is_ambiguous, "{path}");
        }
        for path in ["/a/", "/a.b/..c", "/caf%C3%A9", "/100%", "/a%20b"] {
            assert!(!target(path).is_ambiguous, "{path}");
        }
    }

    #[test]
    fn a_write_to_an_ambiguous_path_is_read_in_every_way() {
        let readings = target("/a//b/../7;v=1").readings();
        assert!(readings.contains(&"/a/7;v=1".to_owned()));
        assert!(readings.contains(&"/a/7".to_owned()));
        assert_eq!(target("/a/7").readings(), ["/a/7"]);
    }
}
