//! `uri-host [":" port]` (RFC 9110, section 4.2; RFC 3986, section 3.2):
//! what `Host` and the authority of a target say.

/// Splits an authority into host and port. `None` where it is not one: no
/// host, user information, a byte outside the grammar, a port that is no port.
pub(super) fn parse(authority: &[u8]) -> Option<(&[u8], Option<u16>)> {
    let (host, rest) = match authority.first()? {
        b'[' => {
            let end = memchr::memchr(b']', authority)?;
            let literal = std::str::from_utf8(&authority[1..end]).ok()?;
            literal.parse::<std::net::Ipv6Addr>().ok()?;
            authority.split_at(end + 1)
        }
        _ => {
            let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
            let (host, rest) = authority.split_at(end);
            if host.is_empty() || !is_reg_name(host) {
                return None;
            }
            (host, rest)
        }
    };
    match rest.split_first() {
        None => Some((host, None)),
        Some((b':', digits)) => Some((host, port(digits)?)),
        Some(_) => None,
    }
}

/// Whether two authorities name the same server: hosts compared without case,
/// a missing port being the scheme's.
pub(in crate::server) fn same_authority(left: &[u8], right: &[u8], default_port: u16) -> bool {
    match (parse(left), parse(right)) {
        (Some((left_host, left_port)), Some((right_host, right_port))) => {
            left_host.eq_ignore_ascii_case(right_host)
                && left_port.unwrap_or(default_port) == right_port.unwrap_or(default_port)
        }
        _ => false,
    }
}

/// `*DIGIT`, where none means the default.
fn port(digits: &[u8]) -> Option<Option<u16>> {
    if digits.is_empty() {
        return Some(None);
    }
    // Longer than any port, also with the leading zeros one might expect.
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().map(Some)
}

/// `*( unreserved / pct-encoded / sub-delims )`
fn is_reg_name(host: &[u8]) -> bool {
    let mut bytes = host.iter();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'%' => {
                let mut is_hex = || bytes.next().is_some_and(u8::is_ascii_hexdigit);
                is_hex() && is_hex()
            }
            b'-' | b'.' | b'_' | b'~' => true,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => true,
            byte => byte.is_ascii_alphanumeric(),
        };
        if !valid {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_what_the_grammar_says() {
        for good in [
            "a",
            "example.org",
            "example.org:80",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "a:",
            "x_y",
            "%41",
            "xn--bcher-kva.example",
        ] {
            assert!(parse(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a/b", "user@a", "a:b", "a:99999", "a:80:80", "[::1", "[x]",
            "[::1]x", "a,b c", "%4", "%zz", "a\\b", "a?b", "a#b", "ä", "a:000080",
        ] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_missing_port_is_the_default_port() {
        assert!(same_authority(b"Example.org", b"example.ORG:80", 80));
        assert!(same_authority(b"a:", b"a", 80));
        assert!(!same_authority(b"a:81", b"a", 80));
        assert!(!same_authority(b"a", b"b", 80));
        assert!(!same_authority(b"a b", b"a b", 80));
    }
}
