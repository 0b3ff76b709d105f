//! Values that are fine each and do not go together, across tables.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::uri::Authority;

use super::reader::Table;
use super::{AdminConfig, Limits, ListenAddress, TlsConfig, TrustedPeer, Upstream};

/// No two listeners may want the same port of the same interface, or the same
/// socket.
pub(super) fn listeners(root: &Table<'_>, listen: &[ListenAddress], admin: Option<&AdminConfig>) {
    let is_same = |one: &ListenAddress, other: &ListenAddress| match (one.tcp(), other.tcp()) {
        (Some(one), Some(other)) => overlap(one, other),
        _ => one == other,
    };
    for (at, address) in listen.iter().enumerate() {
        if listen[..at].iter().any(|other| is_same(other, address)) {
            root.problem(
                "listen",
                format!("`listen`: {address} is listened on twice"),
                None,
            );
        }
        let tcp = address.tcp();
        if admin.is_some_and(|admin| tcp.is_some_and(|tcp| overlap(admin.listen, tcp))) {
            root.problem(
                if root.has("listen") {
                    "listen"
                } else {
                    "admin"
                },
                format!("`listen` and `admin.listen` both want {address}"),
                Some("give the admin listener a port of its own".to_owned()),
            );
        }
    }
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_same_interface = one.ip().to_canonical() == other.ip().to_canonical()
        || covers(one.ip(), other.ip())
        || covers(other.ip(), one.ip());
    one.port() != 0 && one.port() == other.port() && is_same_interface
}

/// Whether listening on `one` takes what is sent to `other`.
fn covers(one: IpAddr, other: IpAddr) -> bool {
    one.is_unspecified() && (one.is_ipv4() == other.is_ipv4())
}

/// Where nobody is trusted to say whose a connection is, all would be closed.
pub(super) fn proxy_protocol(
    root: &Table<'_>,
    listen: &[ListenAddress],
    at_listen: bool,
    tls: Option<&TlsConfig>,
    limits: &Limits,
) {
    let trusted = &limits.trusted_proxies;
    let trusts_none_of = |address: &ListenAddress| {
        let is_unix = address.tcp().is_none();
        let may_connect = |peer: &TrustedPeer| is_unix == (*peer == TrustedPeer::UnixSocket);
        !trusted.iter().any(may_connect)
    };
    let of_tls = tls.filter(|tls| tls.proxy_protocol);
    let of_tls = of_tls.and_then(|tls| tls.listen.as_deref());
    let at_listen = at_listen.then_some(listen);
    for (key, addresses) in [("proxy_protocol", at_listen), ("tls", of_tls)] {
        let mut addresses = addresses.unwrap_or_default().iter();
        let Some(closed) = addresses.find(|address| trusts_none_of(address)) else {
            continue;
        };
        let example = match closed {
            ListenAddress::Tcp(_) => "10.0.0.0/8",
            ListenAddress::Unix(_) => "unix",
        };
        root.problem(
            key,
            format!(
                "`proxy_protocol` believes `limits.trusted_proxies` alone, and none of them can connect to {closed}"
            ),
            Some(format!(
                "name the proxies in front: `trusted_proxies = [\"{example}\"]`"
            )),
        );
    }
}

/// A proxy that is its own upstream would answer nobody.
pub(super) fn no_loop(root: &Table<'_>, listen: &[ListenAddress], upstream: Option<&Upstream>) {
    let leads_here = |listen: &ListenAddress| match (listen, upstream) {
        (ListenAddress::Unix(path), Some(Upstream::Unix { path: upstream })) => path == upstream,
        (
            ListenAddress::Tcp(listen),
            Some(
                Upstream::Http { authority }
                | Upstream::H2c { authority }
                | Upstream::Https { authority },
            ),
        ) => leads_to(authority, *listen),
        _ => false,
    };
    if listen.iter().any(leads_here) {
        root.problem(
            "upstream",
            "`upstream` is where this proxy itself listens",
            Some("name the address of the application behind it".to_owned()),
        );
    }
}

fn leads_to(authority: &Authority, listen: SocketAddr) -> bool {
    let ip: Option<IpAddr> = match authority.host() {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.trim_matches(['[', ']']).parse().ok(),
    };
    let is_same_interface =
        |ip: IpAddr| listen.ip() == ip || (listen.ip().is_unspecified() && ip.is_loopback());
    listen.port() != 0
        && authority.port_u16() == Some(listen.port())
        && ip.is_some_and(is_same_interface)
}
