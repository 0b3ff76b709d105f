//! The request target (RFC 9112, section 3.2).

use http::Uri;
use http::uri::InvalidUri;

use super::authority;
use crate::server::Problem;

/// What a target asks for, as far as the rest of the head depends on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// `/path?query`, or `*` with OPTIONS.
    Origin,
    /// `http://authority/path?query`: with its authority and default port.
    Absolute(&'a [u8], u16),
}

/// Whether `target` is what HTTP/2 may say in `:path` (RFC 9113, section
/// 8.3.1): a path with its query, or `*` with OPTIONS.
pub(in crate::server) fn is_origin_form(method: &str, target: &[u8]) -> bool {
    matches!(check(method, target), Ok(Target::Origin))
}

/// Checks a target. CONNECT, which has a form of its own, was refused before.
pub(super) fn check<'a>(method: &str, target: &'a [u8]) -> Result<Target<'a>, Problem> {
    let path_length = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(path_length);
    let is_valid = path.iter().all(|&byte| is_path_byte(byte))
        && query.iter().all(|&byte| is_query_byte(byte));
    if !is_valid {
        return Err(Problem::bad_request(
            "The request target contains a byte that has to be percent-encoded.",
        ));
    }
    match target {
        [b'/', ..] => Ok(Target::Origin),
        b"*" if method == "OPTIONS" => Ok(Target::Origin),
        b"*" => Err(Problem::bad_request(
            "The target * is for OPTIONS requests only.",
        )),
        _ => absolute(target),
    }
}

fn absolute(target: &[u8]) -> Result<Target<'_>, Problem> {
    let schemes: [(&[u8], u16); 2] = [(b"http://", 80), (b"https://", 443)];
    let scheme = schemes.into_iter().find(|(prefix, _)| {
        target
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    });
    let parsed = scheme.and_then(|(prefix, default_port)| {
        let rest = &target[prefix.len()..];
        let end = memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len());
        authority::parse(&rest[..end])?;
        // The last word is that of the URI type: what it does not take, however
        // it is written, must not pass either.
        as_uri(target).ok()?;
        Some(Target::Absolute(&rest[..end], default_port))
    });
    parsed.ok_or_else(|| {
        Problem::bad_request("The request target is neither a path nor an http or https URL.")
    })
}

/// Visible ASCII and UTF-8, but for what ends a path: more than RFC 3986 has, and
/// what applications and other servers take.
const fn is_path_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0x80..) && !matches!(byte, b'#' | b'?')
}

/// The same for a query.
const fn is_query_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0x80..) && byte != b'#'
}

/// Whether a target that passes has bytes that the URI type may not take as they
/// are.
pub(in crate::server) fn has_unsafe_bytes(target: &[u8]) -> bool {
    target.iter().any(|&byte| is_unsafe_byte(byte))
}

const fn is_unsafe_byte(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`')
}

/// A target that passes, with those bytes percent-encoded: the same to everyone
/// who decodes it.
pub(in crate::server) fn as_uri(target: &[u8]) -> Result<Uri, InvalidUri> {
    if !has_unsafe_bytes(target) {
        return Uri::try_from(target);
    }
    let mut encoded = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        if is_unsafe_byte(byte) {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            encoded.push(byte);
        }
    }
    Uri::try_from(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_a_uri_too() {
        for byte in 0..=127_u8 {
            for pattern in [&b"/a_b"[..], b"/a?x_y"] {
                let mut target = pattern.to_vec();
                let place = target.iter().position(|&byte| byte == b'_').unwrap();
                target[place] = byte;
                let passes = check("GET", &target).is_ok();
                let is_plain = byte.is_ascii_graphic() && byte != b'#';
                assert_eq!(passes, is_plain, "{byte:#x}");
                assert!(!passes || as_uri(&target).is_ok(), "{byte:#x}");
            }
        }
    }

    #[test]
    fn what_a_uri_cannot_have_is_encoded_and_nothing_else() {
        for (target, expected) in [
            ("/a<b>`c\"?\"<>`", "/a%3Cb%3E%60c%22?%22%3C%3E%60"),
            ("/{a}|^\\?{b}|^\\", "/{a}|^\\?{b}|^\\"),
            ("/caf\u{e9}?\u{e9}", "/caf\u{e9}?\u{e9}"),
            ("/%3c", "/%3c"),
        ] {
            assert!(check("GET", target.as_bytes()).is_ok(), "{target}");
            assert_eq!(as_uri(target.as_bytes()).unwrap(), expected);
        }
    }

    #[test]
    fn an_absolute_target_gives_its_authority() {
        assert_eq!(
            check("GET", b"http://a:81/x").unwrap(),
            Target::Absolute(b"a:81", 80)
        );
        assert_eq!(
            check("GET", b"HTTPS://a?x").unwrap(),
            Target::Absolute(b"a", 443)
        );
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in [
            "*",
            "a",
            "a:80",
            "http:/a",
            "http://",
            "http:///x",
            "ftp://a/",
            "http://u@a/",
            "?x",
            "http://a:x/",
            "/a#b",
            "/a b",
        ] {
            assert!(check("GET", bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(check("OPTIONS", b"*").is_ok());
    }
}
