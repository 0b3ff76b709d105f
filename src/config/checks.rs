//! Values that are fine each and do not go together, across tables.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::reader::Table;
use super::{AdminConfig, Limits, TlsConfig, Upstream};

/// No two listeners may want the same port of the same interface.
pub(super) fn listeners(root: &Table<'_>, listen: &[SocketAddr], admin: Option<&AdminConfig>) {
    for (at, address) in listen.iter().enumerate() {
        if listen[..at].iter().any(|other| overlap(*other, *address)) {
            root.problem(
                "listen",
                format!("`listen`: {address} is listened on twice"),
                None,
            );
        }
        if admin.is_some_and(|admin| overlap(admin.listen, *address)) {
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
    at_listen: bool,
    tls: Option<&TlsConfig>,
    limits: &Limits,
) {
    let at_tls = tls.is_some_and(|tls| tls.proxy_protocol);
    if (at_listen || at_tls) && limits.trusted_proxies.is_empty() {
        root.problem(
            if at_listen { "proxy_protocol" } else { "tls" },
            "`proxy_protocol` believes `limits.trusted_proxies` alone, and that is empty",
            Some("name the proxies in front: `trusted_proxies = [\"10.0.0.0/8\"]`".to_owned()),
        );
    }
}

/// A proxy that is its own upstream would answer nobody.
pub(super) fn no_loop(root: &Table<'_>, listen: &[SocketAddr], upstream: Option<&Upstream>) {
    let Some(
        Upstream::Http { authority } | Upstream::H2c { authority } | Upstream::Https { authority },
    ) = upstream
    else {
        return;
    };
    let host = authority.host();
    let ip = match host {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        host => host.trim_matches(['[', ']']).parse::<IpAddr>().ok(),
    };
    let is_itself = ip.is_some_and(|ip| {
        listen.iter().any(|listen| {
            listen.port() != 0
                && authority.port_u16() == Some(listen.port())
                && (listen.ip() == ip || (listen.ip().is_unspecified() && ip.is_loopback()))
        })
    });
    if is_itself {
        root.problem(
            "upstream",
            "`upstream` is where this proxy itself listens",
            Some("name the address of the application behind it".to_owned()),
        );
    }
}
