//! Where clients connect: TCP addresses and Unix sockets.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::address::{parse_listen, parse_socket_path};
use super::kinds::Parsed;

/// One of `listen` or `tls.listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `127.0.0.1:8080`
    Tcp(SocketAddr),
    /// `unix:/run/pannier.sock`
    Unix(PathBuf),
}

impl ListenAddress {
    /// The address, unless it is a Unix socket.
    #[must_use]
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(formatter),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

/// An address to listen on; `":8080"` is every interface.
pub(super) fn listen() -> Parsed<ListenAddress> {
    Parsed {
        expects: "an address such as `\"127.0.0.1:8080\"`, `\"[::1]:8080\"` or `\":8080\"` (every interface), or a Unix socket such as `\"unix:/run/pannier/pannier.sock\"`",
        parse: |text| match text.strip_prefix("unix:") {
            Some(path) => parse_socket_path(path).map(ListenAddress::Unix),
            None => parse_listen(text).map(ListenAddress::Tcp),
        },
        write: ListenAddress::to_string,
    }
}
