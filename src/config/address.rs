//! Addresses: where to listen, the upstream, trusted networks, Redis.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use http::uri::Authority;
use redis::{ConnectionAddr, IntoConnectionInfo as _};

use super::kinds::{Parsed, Secrets, Wrong};
use super::limits::TrustedPeer;
use super::{Network, Upstream};

/// Bytes of a Unix socket's path: what `sun_path` holds, without its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Bytes of the admin token.
const TOKEN_BYTES_MAX: usize = 1_024;

/// A TCP address to listen on, or `"off"`.
pub(super) fn listen_or_off() -> Parsed<Option<SocketAddr>> {
    Parsed {
        expects: "an address such as `\"127.0.0.1:9090\"`, or `\"off\"`",
        parse: |text| match text {
            "off" => Ok(None),
            address => parse_listen(address).map(Some),
        },
        write: |address| address.map_or_else(|| "off".to_owned(), |address| address.to_string()),
    }
}

pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, Wrong> {
    if let Some(port) = text.strip_prefix(':') {
        // `::` takes IPv4 as well where the system lets it (Linux does).
        return port
            .parse()
            .map(|port| SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))
            .map_err(|_| Wrong::new("expected a port from 0 to 65535 after `:`"));
    }
    text.parse().map_err(|_| {
        let wrong = Wrong::new("expected an IP address and a port");
        if let Some(port) = text.strip_prefix("localhost:") {
            wrong.hint(format!("for this machine alone write `127.0.0.1:{port}`"))
        } else if text.parse::<IpAddr>().is_ok() {
            wrong.hint("add the port: `127.0.0.1:8080`, `[::1]:8080`")
        } else {
            wrong.hint("write for example `127.0.0.1:8080`, `[::]:8080` or `:8080`")
        }
    })
}

/// The application behind.
pub(super) fn upstream() -> Parsed<Upstream> {
    Parsed {
        expects: "`\"http://host:port\"`, `\"h2c://host:port\"`, `\"https://host\"` or `\"unix:/path\"`",
        parse: parse_upstream,
        write: |upstream| match upstream {
            Upstream::Http { authority } => format!("http://{authority}"),
            Upstream::H2c { authority } => format!("h2c://{authority}"),
            Upstream::Https { authority } => format!("https://{authority}"),
            Upstream::Unix { path } => format!("unix:{}", path.display()),
        },
    }
}

fn parse_upstream(text: &str) -> Result<Upstream, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return parse_socket_path(path).map(|path| Upstream::Unix { path });
    }
    if let Some(rest) = text.strip_prefix("http://") {
        return parse_authority(rest, 80).map(|authority| Upstream::Http { authority });
    }
    if let Some(rest) = text.strip_prefix("h2c://") {
        return parse_authority(rest, 80).map(|authority| Upstream::H2c { authority });
    }
    if let Some(rest) = text.strip_prefix("https://") {
        return parse_authority(rest, 443).map(|authority| Upstream::Https { authority });
    }
    Err(
        Wrong::new("expected `http://`, `h2c://`, `https://` or `unix:`")
            .hint("write for example `http://127.0.0.1:3000`"),
    )
}

pub(super) fn parse_socket_path(path: &str) -> Result<PathBuf, Wrong> {
    // `unix:///run/app.sock` is the same with an empty authority.
    let path = path
        .strip_prefix("//")
        .filter(|path| path.starts_with('/'))
        .unwrap_or(path);
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(Wrong::new("expected an absolute path after `unix:`")
            .hint("write for example `unix:/run/app.sock`"));
    }
    if path.len() > SOCKET_PATH_BYTES_MAX || path.contains('\0') {
        return Err(Wrong::new(format!(
            "a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes"
        )));
    }
    Ok(PathBuf::from(path))
}

fn parse_authority(rest: &str, default_port: u16) -> Result<Authority, Wrong> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if !matches!(tail, "" | "/") {
        return Err(Wrong::new("a path, query or fragment is not allowed here")
            .hint("end after the port: the path of a request goes to the upstream as it is"));
    }
    if authority.contains('@') {
        return Err(
            Wrong::new("user name and password are not allowed here").hint(
                "remove everything up to `@`: what clients send in `Authorization` is passed on",
            ),
        );
    }
    let parsed: Authority = authority
        .parse()
        .map_err(|_| Wrong::new("this is no host and port"))?;
    let has_host = !parsed.host().is_empty() && parsed.host() != "[]";
    if !has_host {
        return Err(Wrong::new("the host is missing"));
    }
    let after_host = &authority[parsed.host().len()..];
    match after_host.strip_prefix(':') {
        None => format!("{authority}:{default_port}")
            .parse()
            .map_err(|_| Wrong::new("this is no host and port")),
        Some(port) => match port.parse::<u16>() {
            Ok(1..) => Ok(parsed),
            _ => Err(Wrong::new("expected a port from 1 to 65535 after `:`")),
        },
    }
}

/// An address, a range of addresses, or Unix sockets.
pub(super) fn trusted_peer() -> Parsed<TrustedPeer> {
    Parsed {
        expects: "an address, a range such as `\"10.0.0.0/8\"`, or `\"unix\"`",
        parse: |text| match text {
            "unix" | "unix:" => Ok(TrustedPeer::UnixSocket),
            text => parse_network(text).map(TrustedPeer::Network),
        },
        write: |peer| match peer {
            TrustedPeer::UnixSocket => "unix".to_owned(),
            TrustedPeer::Network(network) => format!("{}/{}", network.address, network.prefix),
        },
    }
}

fn parse_network(text: &str) -> Result<Network, Wrong> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| {
        Wrong::new("expected an IP address, a range, or `unix`")
            .hint("write for example `10.0.0.0/8`")
    })?;
    let prefix_max = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => prefix_max,
        Some(prefix) => prefix
            .parse()
            .ok()
            .filter(|prefix| *prefix <= prefix_max)
            .ok_or_else(|| Wrong::new(format!("expected 0 to {prefix_max} after `/`")))?,
    };
    let first = Network { address, prefix }.first_address();
    if first != address {
        return Err(Wrong::new("the address is not the first of its range")
            .hint(format!("did you mean `{first}/{prefix}`?")));
    }
    Ok(Network { address, prefix })
}

impl Network {
    /// Whether an address lies in it. An IPv4 address is the same whether it
    /// came over an IPv6 socket (`::ffff:…`) or not.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let candidate = Self {
            address: address.to_canonical(),
            prefix: self.prefix,
        };
        candidate.address.is_ipv4() == self.address.is_ipv4()
            && candidate.first_address() == self.first_address()
    }

    fn first_address(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let free_bits = 32_u32.saturating_sub(self.prefix.into());
                let mask = u32::MAX.checked_shl(free_bits).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let free_bits = 128_u32.saturating_sub(self.prefix.into());
                let mask = u128::MAX.checked_shl(free_bits).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }
}

/// The admin listener's bearer token.
/// A host's name, without a port.
pub(super) fn host_name() -> Parsed<String> {
    Parsed {
        expects: "a host name such as `\"pannier.internal\"`",
        parse: |text| {
            let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if text.is_empty() || !text.bytes().all(is_label) {
                return Err(Wrong::new("this is no host name").hint("leave scheme and port out"));
            }
            Ok(text.to_ascii_lowercase())
        },
        write: String::clone,
    }
}

pub(super) fn token() -> Secrets {
    Secrets {
        expects: "a token of visible ASCII characters",
        is_harmless: |_| false,
        check: |text| {
            if text.is_empty() {
                return Err(Wrong::new("the token is empty")
                    .hint("give it a value, or leave `token` out on a loopback address"));
            }
            if text.len() > TOKEN_BYTES_MAX {
                return Err(Wrong::new(format!("more than {TOKEN_BYTES_MAX} bytes")));
            }
            if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(Wrong::new(
                    "a token is made of visible ASCII characters, without spaces",
                )
                .hint("does the variable end in a line break?"));
            }
            Ok(())
        },
    }
}

/// A Redis URL. Nothing of it is quoted, wherever it is wrong.
pub(super) fn redis_url() -> Secrets {
    Secrets {
        expects: "a URL such as `\"redis://127.0.0.1:6379\"`, `\"rediss://…\"` or `\"redis+unix:///path\"`",
        is_harmless: has_no_credentials,
        check: |text| redis_node(text).map(|_| ()),
    }
}

/// Whether a URL as written is `scheme://host:port/number` and no more. A
/// password without its `@` looks like a port that is no number.
fn has_no_credentials(written: &str) -> bool {
    let url = written.trim_matches(['"', '\'']);
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let is_scheme = scheme
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'+');
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, ""));
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_/[]:".contains(&byte));
    let is_port = port
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'/');
    is_scheme && is_host && is_port
}

/// What of a Redis URL has to agree with the other nodes of a cluster.
pub(super) struct RedisNode {
    pub(super) is_unix: bool,
    pub(super) is_tls: bool,
    pub(super) database: i64,
}

/// Whether a URL names sentinels, in any of the ways libraries write it:
/// `redis+sentinel://`, `rediss+sentinel://`, `redis-sentinel://`, `sentinel://`.
fn is_sentinel(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        let words = scheme.split(['+', '-']);
        words.into_iter().any(|word| {
            word.eq_ignore_ascii_case("sentinel") || word.eq_ignore_ascii_case("sentinels")
        })
    })
}

/// Looks at a Redis URL.
pub(super) fn redis_node(url: &str) -> Result<RedisNode, Wrong> {
    let is_known = ["redis://", "rediss://", "redis+unix://", "unix://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if is_sentinel(url) {
        return Err(
            Wrong::new("Redis Sentinel is not asked where the primary is").hint(
                "write one address that follows the primary: a DNS name, a service or a TCP proxy that Sentinel's clients reconfigure; or use a Redis Cluster, a list of nodes",
            ),
        );
    }
    if !is_known {
        return Err(Wrong::new(
            "expected `redis://`, `rediss://` or `redis+unix://`",
        ));
    }
    // The library's message may quote the URL, and with it the password.
    let info = url.into_connection_info().map_err(|_| {
        Wrong::new("this is no Redis URL").hint(
            "redis://user:password@host:port/database, special characters percent-encoded; redis+unix:///path?db=0",
        )
    })?;
    Ok(RedisNode {
        is_unix: matches!(info.addr(), ConnectionAddr::Unix(_)),
        is_tls: matches!(info.addr(), ConnectionAddr::TcpTls { .. }),
        database: info.redis_settings().db(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_always_has_a_port() {
        for (text, written) in [
            ("http://a", "http://a:80"),
            ("http://a/", "http://a:80"),
            ("https://a.example", "https://a.example:443"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[::1]", "http://[::1]:80"),
            ("h2c://a:50051", "h2c://a:50051"),
            ("unix:/run/app.sock", "unix:/run/app.sock"),
            ("unix:///run/app.sock", "unix:/run/app.sock"),
        ] {
            let upstream = parse_upstream(text).unwrap_or_else(|wrong| panic!("{}", wrong.message));
            assert_eq!(upstream_text(&upstream), written, "{text}");
        }
    }

    fn upstream_text(value: &Upstream) -> String {
        (upstream().write)(value)
    }

    #[test]
    fn what_is_no_upstream_is_refused() {
        for text in [
            "",
            "a:80",
            "ftp://a",
            "http://",
            "http://:80",
            "http://a:",
            "http://a:0",
            "http://a:65536",
            "http://a:b",
            "http://a/b",
            "http://a?b",
            "http://u:p@a",
            "http://a b",
            "http://[]:80",
            "unix:run/app.sock",
            "unix://run/app.sock",
            "unix:",
        ] {
            assert!(parse_upstream(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_redis_url_may_be_of_any_form_the_library_takes() {
        for url in [
            "redis://127.0.0.1:6379",
            "redis://h",
            "rediss://u:p@h:1/2",
            "redis+unix:///run/redis.sock",
            "unix:///run/redis.sock?db=1",
        ] {
            assert!(redis_node(url).is_ok(), "{url}");
        }
        for url in [
            "",
            "127.0.0.1:6379",
            "http://h",
            "redis://",
            "redis://h/x",
            "redis://h:99999",
        ] {
            assert!(redis_node(url).is_err(), "{url}");
        }
    }

    #[test]
    fn sentinels_are_refused_by_name() {
        for url in [
            "redis+sentinel://h:26379/mymaster",
            "redis+sentinel://:secret@h:26379,i:26379/mymaster/0",
            "rediss+sentinel://h/mymaster",
            "redis-sentinel://h/mymaster",
            "sentinel://h",
        ] {
            let wrong = redis_node(url).err();
            let wrong = wrong.unwrap_or_else(|| panic!("{url} is taken"));
            assert!(wrong.message.contains("Sentinel"), "{}", wrong.message);
            assert!(!wrong.message.contains("secret"), "{}", wrong.message);
        }
        assert!(redis_node("redis://sentinel:6379").is_ok());
    }

    #[test]
    fn a_network_begins_at_its_first_address_and_knows_its_own() {
        let network =
            parse_network("10.0.0.0/8").unwrap_or_else(|wrong| panic!("{}", wrong.message));
        assert!(network.contains("10.255.0.1".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!network.contains("11.0.0.0".parse().unwrap()));
        for text in ["10.0.0.1/8", "10.0.0.0/33", "x", "::/129", "1.2.3.4/"] {
            assert!(parse_network(text).is_err(), "{text}");
        }
        assert!(parse_network("::1").is_ok_and(|one| one.prefix == 128));
        assert!(parse_network("0.0.0.0/0").is_ok());
    }
}
