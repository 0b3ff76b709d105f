//! Fields that speak of one connection or of the way a message took.

use std::io::Write as _;
use std::net::IpAddr;

use bytes::{BufMut, BytesMut};
use http::header::{
    CONNECTION, Entry, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use smallvec::SmallVec;

use super::client::ClientAddress;
use super::digits::push_number;
use super::scheme::Scheme;

/// Our name in `Via` and `Cache-Status`.
pub const PSEUDONYM: &str = "pannier";

/// `X-Forwarded-For`
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields of one connection that need not be named by `Connection`
/// (RFC 9110 §7.6.1).
static HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes what speaks of one connection only: the fields that `Connection`
/// names and those that always do. `Content-Length`, `Host` and the like
/// cannot be named away.
pub fn strip_hop_by_hop(fields: &mut HeaderMap) {
    if fields.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = fields
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
            .filter(|name| !is_end_to_end(name))
            .collect();
        for name in named {
            fields.remove(name);
        }
    }
    remove_where(fields, |name| is_hop_by_hop(name.as_str()));
}

/// Removes every field whose name is chosen. Few messages have any of them: one
/// pass over what is there costs less than a look for each.
pub fn remove_where(fields: &mut HeaderMap, is_chosen: impl Fn(&HeaderName) -> bool) {
    let found = fields.keys().filter(|name| is_chosen(name));
    let found: SmallVec<[HeaderName; 4]> = found.cloned().collect();
    for name in &found {
        fields.remove(name);
    }
}

/// Whether an application may read one field name as the other: WSGI, CGI, PHP
/// and Rack make no difference between `_` and `-`.
#[must_use]
pub fn is_read_as(name: &str, other: &str) -> bool {
    let dashed = |byte: u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    name.len() == other.len()
        && name
            .bytes()
            .zip(other.bytes())
            .all(|(one, other)| dashed(one) == dashed(other))
}

/// Whether a name has `_` in it and may be read as that of a field which is
/// set or taken away here.
#[must_use]
pub fn is_twin_of_ours(name: &str) -> bool {
    let dashed = name.replace('_', "-");
    name.contains('_')
        && (is_hop_by_hop(&dashed) || is_of_the_way(&dashed) || is_any(&END_TO_END, &dashed))
}

/// Fields that a hostile `Connection` must not remove.
static END_TO_END: [HeaderName; 9] = [
    http::header::AUTHORIZATION,
    http::header::CACHE_CONTROL,
    http::header::CONTENT_LENGTH,
    http::header::COOKIE,
    HOST,
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];

fn is_end_to_end(name: &HeaderName) -> bool {
    !can_be_hop_by_hop(name.as_str())
}

/// Whether a field of this name speaks of one connection, whatever
/// `Connection` says.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    // The length tells most names apart at once.
    matches!(name.len(), 2 | 7 | 10 | 14 | 16..=19) && is_any(&HOP_BY_HOP, name)
}

/// Whether `Connection` can make a field of this name one that does.
#[must_use]
pub fn can_be_hop_by_hop(name: &str) -> bool {
    // What a proxy before us says of the way is not its client's to take away.
    !is_any(&END_TO_END, name) && !is_of_the_way(name)
}

/// Whether a field of this name says something of the way a request took.
#[must_use]
pub fn is_of_the_way(name: &str) -> bool {
    const PREFIX: &[u8] = b"x-forwarded";
    let bytes = name.as_bytes();
    // Few names begin like one of them.
    let may_be = bytes
        .first()
        .is_some_and(|first| b"cfprtwx".contains(&first.to_ascii_lowercase()));
    let has_prefix = || {
        let start = bytes.get(..PREFIX.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
    };
    may_be && (has_prefix() || is_any(&OF_THE_WAY, name))
}

/// Whether a field of this name is set, or added to, on the way to the origin,
/// for every sender.
#[must_use]
pub fn is_rewritten(name: &HeaderName) -> bool {
    *name == VIA || *name == FORWARDED || *name == X_FORWARDED_FOR
}

fn is_any(names: &[HeaderName], name: &str) -> bool {
    names
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other.as_str()))
}

/// Appends ourselves to `Via` (RFC 9110 §7.6.3).
pub fn append_via(fields: &mut HeaderMap, version: Version) {
    let ours = match version {
        Version::HTTP_10 => HeaderValue::from_static("1.0 pannier"),
        Version::HTTP_2 => HeaderValue::from_static("2.0 pannier"),
        _ => HeaderValue::from_static("1.1 pannier"),
    };
    append_member(fields, VIA, ours);
}

/// Appends a member to a list field, on its one line if it has one.
pub fn append_member(fields: &mut HeaderMap, name: HeaderName, member: HeaderValue) {
    match fields.entry(name) {
        Entry::Occupied(mut entry) => {
            let last = entry.iter().next_back().cloned();
            let is_single = entry.iter().count() == 1;
            match last {
                Some(last) if is_single => {
                    entry.insert(joined(&last, &member));
                }
                _ => entry.append(member),
            }
        }
        Entry::Vacant(entry) => {
            entry.insert(member);
        }
    }
}

fn joined(list: &HeaderValue, member: &HeaderValue) -> HeaderValue {
    let mut line = BytesMut::with_capacity(list.len() + member.len() + 2);
    line.put_slice(list.as_bytes());
    line.put_slice(b", ");
    line.put_slice(member.as_bytes());
    // Two valid values and a comma are a valid value.
    HeaderValue::from_maybe_shared(line.freeze()).unwrap_or_else(|_| member.clone())
}

/// What a peer may say of the way a request took, besides `X-Forwarded-…`, and what
/// else frameworks believe of it: address of the client, scheme, port, name and prefix of the
/// server. An application makes redirects, links and decisions of them, so a
/// stranger's word must not get through.
static OF_THE_WAY: [HeaderName; 33] = [
    FORWARDED,
    HeaderName::from_static("x-url-scheme"),
    HeaderName::from_static("x-scheme"),
    HeaderName::from_static("x-script-name"),
    HeaderName::from_static("x-original-uri"),
    HeaderName::from_static("x-original-proto"),
    HeaderName::from_static("x-original-for"),
    HeaderName::from_static("x-original-method"),
    HeaderName::from_static("x-original-prefix"),
    HeaderName::from_static("x-http-host-override"),
    HeaderName::from_static("x-arr-ssl"),
    HeaderName::from_static("x-appengine-https"),
    HeaderName::from_static("x-envoy-original-path"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("x-envoy-external-address"),
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("cf-visitor"),
    HeaderName::from_static("client-ip"),
    HeaderName::from_static("cloudfront-forwarded-proto"),
    HeaderName::from_static("fastly-ssl"),
    HeaderName::from_static("front-end-https"),
    HeaderName::from_static("proxy"),
    HeaderName::from_static("remote-user"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("fastly-client-ip"),
    HeaderName::from_static("x-appengine-user-ip"),
    HeaderName::from_static("x-azure-clientip"),
    HeaderName::from_static("x-azure-socketip"),
    HeaderName::from_static("x-proxyuser-ip"),
    HeaderName::from_static("wl-proxy-client-ip"),
    HeaderName::from_static("wl-proxy-ssl"),
];

/// Those of them that say where a request came from, not what it is for: two
/// clients may be given one response for all that.
static OF_THE_CLIENT: [HeaderName; 17] = [
    X_FORWARDED_FOR,
    HeaderName::from_static("x-forwarded-by"),
    HeaderName::from_static("x-forwarded"),
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("x-client-ip"),
    HeaderName::from_static("x-cluster-client-ip"),
    HeaderName::from_static("x-envoy-external-address"),
    HeaderName::from_static("x-original-for"),
    HeaderName::from_static("cf-connecting-ip"),
    HeaderName::from_static("client-ip"),
    HeaderName::from_static("true-client-ip"),
    HeaderName::from_static("fastly-client-ip"),
    HeaderName::from_static("x-appengine-user-ip"),
    HeaderName::from_static("x-azure-clientip"),
    HeaderName::from_static("x-azure-socketip"),
    HeaderName::from_static("x-proxyuser-ip"),
    HeaderName::from_static("wl-proxy-client-ip"),
];

/// Whether a field of this name tells the application what scheme, host or
/// prefix the client asked for.
#[must_use]
pub fn is_of_the_target(name: &str) -> bool {
    is_of_the_way(name) && !is_any(&OF_THE_CLIENT, name)
}

/// Tells the origin who asked, how and for which host. What a peer that is
/// not trusted said of it is replaced. A peer on a Unix socket has no address to
/// add to `X-Forwarded-For`, whose readers expect nothing else.
pub fn set_forwarded(
    fields: &mut HeaderMap,
    peer: ClientAddress,
    scheme: Scheme,
    is_trusted: bool,
) {
    let host = fields.get(HOST).cloned();
    if !is_trusted {
        remove_where(fields, |name| is_of_the_way(name.as_str()));
    }
    let mut element = Vec::with_capacity(96);
    let named = host.as_ref().map(HeaderValue::as_bytes);
    push_forwarded(&mut element, peer, scheme, named);
    append_member(fields, FORWARDED, value(element));
    if let ClientAddress::Ip(address) = peer {
        let mut text = Vec::with_capacity(40);
        push_address(&mut text, address);
        append_member(fields, X_FORWARDED_FOR, value(text));
    }
    fields
        .entry(X_FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(scheme.as_str()));
    if let Some(host) = host {
        fields.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

/// Appends `for=…;host=…;proto=…` (RFC 7239 §4); `for=unknown` where the peer has
/// no address (§6.2).
pub fn push_forwarded(
    element: &mut Vec<u8>,
    peer: ClientAddress,
    scheme: Scheme,
    host: Option<&[u8]>,
) {
    element.extend_from_slice(b"for=");
    match peer {
        ClientAddress::Ip(address @ IpAddr::V4(_)) => push_address(element, address),
        ClientAddress::Ip(address @ IpAddr::V6(_)) => {
            element.extend_from_slice(b"\"[");
            push_address(element, address);
            element.extend_from_slice(b"]\"");
        }
        ClientAddress::UnixSocket => element.extend_from_slice(b"unknown"),
    }
    let can_be_quoted = |byte: &u8| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\');
    if let Some(host) = host.filter(|host| host.iter().all(can_be_quoted)) {
        element.extend_from_slice(b";host=\"");
        element.extend_from_slice(host);
        element.push(b'"');
    }
    element.extend_from_slice(b";proto=");
    element.extend_from_slice(scheme.as_str().as_bytes());
}

/// Appends an address as `X-Forwarded-For` has it.
pub fn push_address(text: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (position, octet) in address.octets().into_iter().enumerate() {
                if position > 0 {
                    text.push(b'.');
                }
                push_number(text, octet.into());
            }
        }
        IpAddr::V6(address) => {
            // Writing to memory does not fail.
            let _ = write!(text, "{address}");
        }
    }
}

/// The same fields, those of the chosen names, in memory of their own, all
/// values in one piece. Those of a message that was read share the buffer it was
/// read into, and keep all of it: many times their own size, which nobody counts.
#[must_use]
pub fn compact_where(fields: &HeaderMap, is_chosen: impl Fn(&HeaderName) -> bool) -> HeaderMap {
    let chosen = || fields.iter().filter(|(name, _)| is_chosen(name));
    let bytes = chosen().map(|(_, value)| value.len()).sum();
    let mut values = BytesMut::with_capacity(bytes);
    for (_, value) in chosen() {
        values.put_slice(value.as_bytes());
    }
    let mut values = values.freeze();
    let mut compact = HeaderMap::with_capacity(fields.keys_len());
    for (name, value) in chosen() {
        let copy = HeaderValue::from_maybe_shared(values.split_to(value.len()));
        // What was a value is one.
        let mut copy = copy.unwrap_or_else(|_| value.clone());
        copy.set_sensitive(value.is_sensitive());
        compact.append(name, copy);
    }
    compact
}

fn value(text: Vec<u8>) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::message::samples::fields;

    #[test]
    fn what_connection_names_goes_but_not_what_matters_end_to_end() {
        let mut message = fields(&[
            ("connection", "close, X-Hop, Authorization, Host"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("authorization", "Bearer x"),
            ("host", "h"),
            ("x-end", "1"),
        ]);
        strip_hop_by_hop(&mut message);
        let mut left: Vec<&str> = message.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "host", "x-end"]);
    }

    #[test]
    fn a_stranger_cannot_say_whom_it_forwards_for() {
        let claims = [
            ("host", "shop.example"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-scheme", "nothttps"),
        ];
        let peer = ClientAddress::from([192, 0, 2, 1]);
        let mut stranger = fields(&claims);
        set_forwarded(&mut stranger, peer, Scheme::Http, false);
        assert_eq!(stranger[X_FORWARDED_FOR], "192.0.2.1");
        assert_eq!(stranger[X_FORWARDED_HOST], "shop.example");
        assert_eq!(
            stranger[FORWARDED],
            "for=192.0.2.1;host=\"shop.example\";proto=http"
        );
        assert!(!stranger.contains_key("x-forwarded-port"));
        assert!(!stranger.contains_key("x-forwarded-scheme"));
        let mut friend = fields(&claims);
        set_forwarded(&mut friend, peer, Scheme::Https, true);
        assert_eq!(friend[X_FORWARDED_PROTO], "https");
        assert_eq!(friend["x-forwarded-port"], "1");
        assert_eq!(friend[X_FORWARDED_FOR], "10.0.0.1, 192.0.2.1");
        assert_eq!(friend[X_FORWARDED_HOST], "evil.example");
    }

    #[test]
    fn an_underscore_is_read_as_a_dash() {
        for twin in [
            "x_forwarded_for",
            "X-Forwarded_Host",
            "x_real_ip",
            "keep_alive",
        ] {
            assert!(is_twin_of_ours(twin), "{twin}");
        }
        for other in ["x-forwarded-for", "x_user", "x_forwarded"] {
            assert_eq!(is_twin_of_ours(other), other == "x_forwarded", "{other}");
        }
    }

    #[test]
    fn via_grows_by_one_member() {
        let mut message = fields(&[("via", "1.0 edge")]);
        append_via(&mut message, Version::HTTP_11);
        assert_eq!(message[VIA], "1.0 edge, 1.1 pannier");
    }

    #[test]
    fn compact_fields_say_the_same_and_keep_no_buffer() {
        let buffer = bytes::Bytes::from(vec![b'v'; 64 * 1024]);
        let shared = || HeaderValue::from_maybe_shared(buffer.slice(..3)).expect("a value");
        let mut message = fields(&[("a", "1"), ("b", "")]);
        message.append("a", shared());
        message.append("c", shared());
        let copy = compact_where(&message, |_| true);
        assert_eq!(copy, message);
        drop(message);
        assert!(buffer.is_unique(), "the copy holds the buffer");
    }

    #[test]
    fn what_a_peer_says_of_itself_is_of_the_way_and_not_of_the_target() {
        for name in OF_THE_WAY.iter().chain(&OF_THE_CLIENT) {
            assert!(is_of_the_way(name.as_str()), "{name}");
        }
        for name in ["Fastly-Client-IP", "X-Azure-ClientIP", "True-Client-IP"] {
            assert!(is_of_the_way(name) && !is_of_the_target(name), "{name}");
        }
    }
}
