//! `[limits]`: how much clients may take, and for how long.

use std::time::Duration;

use super::Network;
use crate::gate::GateBounds;
use crate::message::client::ClientAddress;

/// `[limits]`: bounds on what clients may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `connections_max`: open client connections; further ones wait in the
    /// kernel's queue (`10000`).
    pub connections_max: usize,
    /// `head_bytes_max`: request line and fields together; past it `431` (`"32KiB"`).
    pub head_bytes_max: usize,
    /// `target_bytes_max`: request target; past it `414` (`"8KiB"`).
    pub target_bytes_max: usize,
    /// `body_bytes_max`: request body; past it `413` (`0`: no bound).
    pub body_bytes_max: u64,
    /// `head_timeout`: from the first byte of a request head to its last; also
    /// for the first byte of a new connection (`"10s"`).
    pub head_timeout: Duration,
    /// `body_idle_timeout`: between two pieces of a request body (`"30s"`).
    pub body_idle_timeout: Duration,
    /// `body_rate_min`: bytes of a request body in a second of waiting for its
    /// client, once it has been waited for for some seconds; below it `408`
    /// (`"256B"`; `0`: no bound).
    pub body_rate_min: u64,
    /// `write_idle_timeout`: a client that takes nothing for so long is cut (`"60s"`); so is
    /// one that has closed its side and is not written to.
    pub write_idle_timeout: Duration,
    /// `idle_timeout`: a kept-alive connection without a request (`"75s"`).
    pub idle_timeout: Duration,
    /// `drain_timeout`: what is unfinished so long after SIGTERM is cut (`"30s"`).
    pub drain_timeout: Duration,
    /// `inflight_max`: requests being answered at once, to the end of the
    /// body where that is streamed (`10000`). Past it they wait.
    pub inflight_max: u64,
    /// `upstream_inflight_max`: exchanges with the origin at once, to the end
    /// of the body (`4096`). Past it they wait.
    pub upstream_inflight_max: u64,
    /// `queue_max`: waiting for each of the two, and for an origin that restarts
    /// (`[origin] retry_window`); past it `503` (`1024`).
    pub queue_max: u64,
    /// `queue_timeout`: for one who waits; past it `503` (`"1s"`).
    pub queue_timeout: Duration,
    /// `trusted_proxies`: peers whose `X-Forwarded-*` and `Forwarded` are kept
    /// and appended to; those of others are replaced (`[]`).
    pub trusted_proxies: Vec<TrustedPeer>,
    /// `underscore_fields`: what becomes of request fields with `_` in their
    /// names (`"drop"`).
    pub underscore_fields: UnderscoreFields,
    /// `grpc_idle_timeout` of `[origin]`, which bounds what is waited for the
    /// client of a gRPC call; `None` where the upstream cannot take one.
    pub grpc_idle_timeout: Option<Duration>,
}

/// One of `trusted_proxies`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedPeer {
    /// An address, or a range in CIDR notation.
    Network(Network),
    /// `unix`: whatever connects to a Unix socket that is listened on.
    UnixSocket,
}

/// `underscore_fields = …` of `[limits]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnderscoreFields {
    /// They are taken away: WSGI, CGI, PHP and Rack read them as fields with `-`.
    #[default]
    Drop,
    /// They are forwarded, but for twins of fields that are set or taken away.
    Pass,
}

impl Limits {
    /// Whether what a peer at `address` says of those before it is believed.
    #[must_use]
    pub fn trusts(&self, address: ClientAddress) -> bool {
        let mut trusted = self.trusted_proxies.iter();
        trusted.any(|peer| match (peer, address) {
            (TrustedPeer::Network(network), ClientAddress::Ip(address)) => {
                network.contains(address)
            }
            (TrustedPeer::UnixSocket, ClientAddress::UnixSocket) => true,
            (TrustedPeer::Network(_) | TrustedPeer::UnixSocket, _) => false,
        })
    }

    /// Bounds of the requests being answered.
    #[must_use]
    pub fn requests(&self) -> GateBounds {
        self.gate(self.inflight_max)
    }

    /// Bounds of the exchanges with the origin.
    #[must_use]
    pub fn exchanges(&self) -> GateBounds {
        self.gate(self.upstream_inflight_max)
    }

    /// Bounds of the requests that wait for an origin that restarts.
    #[must_use]
    pub fn restart_waits(&self) -> GateBounds {
        GateBounds {
            queue_max: 0,
            ..self.gate(self.queue_max)
        }
    }

    fn gate(&self, permits_max: u64) -> GateBounds {
        GateBounds {
            permits_max,
            queue_max: self.queue_max,
            queue_timeout: self.queue_timeout,
        }
    }
}
