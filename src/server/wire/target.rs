//! The request target (RFC 9112, section 3.2).

use crate::server::Problem;

use super::authority;

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
        // The last word is hyper's: what its URI type does not take must not
        // pass either.
        http::Uri::try_from(target).ok()?;
        Some(Target::Absolute(&rest[..end], default_port))
    });
    parsed.ok_or_else(|| {
        Problem::bad_request("The request target is neither a path nor an http or https URL.")
    })
}

/// Visible ASCII, but for what ends a path and what hyper's URI type does not
/// take in one: nothing may pass that it would stumble over.
const fn is_path_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'#' | b'<' | b'>' | b'?' | b'`')
}

/// The same for a query.
const fn is_query_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'#' | b'<' | b'>' | b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_a_uri_to_hyper_too() {
        for byte in 0..=255_u8 {
            for pattern in [&b"/a_b"[..], b"/a?x_y"] {
                let mut target = pattern.to_vec();
                let place = target.iter().position(|&byte| byte == b'_').unwrap();
                target[place] = byte;
                let passes = check("GET", &target).is_ok();
                let parses = http::Uri::try_from(&target[..]).is_ok();
                let refusable = byte == b'#' || !byte.is_ascii_graphic();
                assert_eq!(passes, parses && !refusable, "{byte:#x}");
            }
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
            "/\u{e4}",
        ] {
            assert!(check("GET", bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(check("OPTIONS", b"*").is_ok());
    }
}
