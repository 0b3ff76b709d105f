//! Where the client of a connection is.

use std::fmt;
use std::net::IpAddr;

/// The address of a client, without its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAddress {
    /// A peer over TCP, or the address that a PROXY header names.
    Ip(IpAddr),
    /// A peer on a Unix socket: a process of this machine, which has no address.
    UnixSocket,
}

impl<A: Into<IpAddr>> From<A> for ClientAddress {
    fn from(address: A) -> Self {
        Self::Ip(address.into())
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(formatter),
            Self::UnixSocket => formatter.write_str("unix"),
        }
    }
}
