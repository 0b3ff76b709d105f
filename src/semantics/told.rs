//! Scheme, host and prefix of a request as the application is told them.
//!
//! An application answers by what a proxy it trusts says of the request: a
//! redirect to `https`, links with the public host. So that belongs to the
//! target of a request, as `Host` does (RFC 9110 §7.1, RFC 9111 §2). Of a peer
//! that is not trusted nothing is believed, and nothing but `Host` counts.

use std::borrow::Cow;

use http::header::FORWARDED;

use crate::message::fields::{X_FORWARDED_HOST, X_FORWARDED_PROTO, is_of_the_target};
use crate::message::lines::FieldLines;
use crate::message::scheme::Scheme;
use crate::rule::{self, Rule};

/// What the application is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldTarget {
    /// Host and port, lower case, where they are another than `Host`.
    host: Option<String>,
    /// Canonical bytes of all that speaks of the scheme and the prefix; empty
    /// where it is what is told without a trusted proxy.
    scheme: Vec<u8>,
    /// Of all that speaks of the host.
    hosts: Vec<u8>,
}

impl ToldTarget {
    /// What we tell where nobody before us is believed.
    #[must_use]
    pub fn by_us(scheme: Scheme) -> Self {
        let mut told = Self::default();
        told.add_ours(scheme, true);
        told
    }

    /// What a trusted peer tells of a request for `host` with these fields, and
    /// we ourselves.
    #[must_use]
    pub fn of(fields: &(impl FieldLines + ?Sized), host: &str, scheme: Scheme) -> Self {
        if !rule::holds(Rule::ForwardedTarget) {
            return Self::by_us(scheme);
        }
        let mut told = Self::default();
        let mut lines: Vec<(Cow<'_, str>, &[u8])> = fields
            .all()
            .filter(|(name, _)| is_of_the_target(name))
            .map(|(name, value)| (lower_case(name), value.trim_ascii()))
            .collect();
        // Those of one name keep their order.
        lines.sort_by(|one, other| one.0.cmp(&other.0));
        let is_alone = |name: &str| lines.iter().filter(|(other, _)| other == name).count() == 1;
        let has_one_proto = is_alone(X_FORWARDED_PROTO.as_str());
        let has_proto = lines
            .iter()
            .any(|(name, _)| name == X_FORWARDED_PROTO.as_str());
        let has_one_host = is_alone(X_FORWARDED_HOST.as_str());
        for (name, value) in lines {
            if name == FORWARDED.as_str() {
                told.add_forwarded(value);
            } else if name == X_FORWARDED_PROTO.as_str() {
                if !has_one_proto || !value.eq_ignore_ascii_case(b"http") {
                    add(&mut told.scheme, &name, value);
                }
            } else if name == X_FORWARDED_HOST.as_str() {
                if has_one_host && value.eq_ignore_ascii_case(host.as_bytes()) {
                    continue;
                }
                add(&mut told.hosts, &name, value);
                let first = value.split(|byte| *byte == b',').next();
                let first = first.and_then(|first| std::str::from_utf8(first).ok());
                told.host = first.map(|first| first.trim().to_ascii_lowercase());
            } else if name == "x-forwarded-server" {
                add(&mut told.hosts, &name, value);
            } else {
                add(&mut told.scheme, &name, value);
            }
        }
        told.add_ours(scheme, !has_proto);
        told
    }

    /// Adds what we say of the scheme: in `Forwarded`, and in `X-Forwarded-Proto`
    /// where nobody else does. `http` is what is not said.
    fn add_ours(&mut self, scheme: Scheme, is_ours_to_say: bool) {
        if scheme == Scheme::Http {
            return;
        }
        let value = scheme.as_str().as_bytes();
        if is_ours_to_say {
            add(&mut self.scheme, X_FORWARDED_PROTO.as_str(), value);
        }
        add(&mut self.scheme, "proto", value);
    }

    /// The host that the application is told, which is `named` where nothing
    /// else is said.
    #[must_use]
    pub fn host<'a>(&'a self, named: &'a str) -> &'a str {
        self.host.as_deref().unwrap_or(named)
    }

    /// What belongs in the key of a route; `with_host`: its key has the host.
    pub(super) fn parts(&self, with_host: bool) -> [&[u8]; 2] {
        [&self.scheme, if with_host { &self.hosts } else { b"" }]
    }

    /// `proto` and `host` of every element (RFC 7239 §4).
    fn add_forwarded(&mut self, value: &[u8]) {
        for element in split_outside_quotes(value, b',') {
            for pair in split_outside_quotes(element, b';') {
                let mut parts = pair.splitn(2, |byte| *byte == b'=');
                let name = parts.next().unwrap_or_default().trim_ascii();
                let value = parts.next().unwrap_or_default();
                if name.eq_ignore_ascii_case(b"proto") {
                    add(&mut self.scheme, "proto", value);
                } else if name.eq_ignore_ascii_case(b"host") {
                    add(&mut self.hosts, "host", value);
                }
            }
        }
    }
}

fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Appends a name and a value so that no two lists give the same bytes.
fn add(bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.extend_from_slice(&(value.len() as u64).to_le_bytes());
    bytes.extend_from_slice(value);
}

fn split_outside_quotes(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |byte| {
        is_quoted ^= *byte == b'"' && !is_escaped;
        is_escaped = is_quoted && !is_escaped && *byte == b'\\';
        *byte == separator && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::samples::fields;

    fn told(lines: &[(&'static str, &'static str)]) -> ToldTarget {
        ToldTarget::of(&fields(lines), "h", Scheme::Http)
    }

    #[test]
    fn what_is_told_without_a_proxy_is_told_by_nobody() {
        assert_eq!(told(&[]), ToldTarget::default());
        let plain = [
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "H"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-real-ip", "192.0.2.1"),
            ("forwarded", "for=192.0.2.1"),
            ("accept", "x"),
        ];
        assert_eq!(told(&plain), ToldTarget::default());
    }

    #[test]
    fn scheme_host_port_and_prefix_tell_targets_apart() {
        let all = [
            &[("x-forwarded-proto", "https")][..],
            &[("x-forwarded-host", "shop.example")],
            &[("x-forwarded-port", "8443")],
            &[("x-forwarded-ssl", "on")],
            &[("x-forwarded-prefix", "/shop")],
            &[("x-forwarded-scheme", "https")],
            &[("x-forwarded-protocol", "https")],
            &[("x-scheme", "https")],
            &[("x-script-name", "/shop")],
            &[("front-end-https", "on")],
            &[("forwarded", "for=192.0.2.1;proto=https")],
            &[("forwarded", "for=\"x\\\"\";proto=ftp")],
            &[
                ("x-forwarded-proto", "http"),
                ("x-forwarded-proto", "https"),
            ],
            &[("forwarded", "for=\"a,b\";host=shop.example")],
            &[],
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(told(one), told(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn the_scheme_of_the_connection_tells_targets_apart() {
        let over_tls = |lines: &[(&'static str, &'static str)]| {
            ToldTarget::of(&fields(lines), "h", Scheme::Https)
        };
        assert_eq!(ToldTarget::by_us(Scheme::Http), ToldTarget::default());
        assert_eq!(ToldTarget::by_us(Scheme::Https), over_tls(&[]));
        let https = [("x-forwarded-proto", "https")];
        assert_eq!(over_tls(&https), over_tls(&[]));
        let http = [("x-forwarded-proto", "http")];
        let all = [told(&[]), told(&https), over_tls(&[]), over_tls(&http)];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(one), "{at}");
        }
    }

    #[test]
    fn two_clients_of_one_proxy_ask_for_the_same() {
        let one = told(&[
            ("forwarded", "for=192.0.2.1;proto=https"),
            ("x-real-ip", "192.0.2.1"),
        ]);
        let other = told(&[
            ("forwarded", "for=192.0.2.2;proto=https"),
            ("x-real-ip", "192.0.2.2"),
        ]);
        assert_eq!(one, other);
    }

    #[test]
    fn the_first_host_of_several_is_the_client_s() {
        let told = told(&[("x-forwarded-host", "Shop.Example, edge.example")]);
        assert_eq!(told.host("h"), "shop.example");
        assert_eq!(ToldTarget::default().host("h"), "h");
    }
}
