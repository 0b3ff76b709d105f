//! Connections to the upstream: those of HTTP/1 that no exchange uses, and
//! those of HTTP/2.
//!
//! Promises: no more unused connections are kept than may be, and none longer
//! than it may be, nor is one used again that is too old; those of an upstream that is no longer configured go with
//! its pool. Every data thread has a pool of its own, so that a connection
//! stays with the runtime it was made in.
//!
//! Knows nothing of HTTP.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::uri::Authority;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::client::TrustError;
use super::connection::{Connecting, Connection, Connector, Offer};
use super::error::OriginError;
use super::http2::{Links, Speaks, Way};
use super::restart::{RestartWindow, Waiting};
use crate::config::{OriginConfig, Upstream};
use crate::telemetry::upstream::UpstreamCounters;

/// The connections of one data thread.
#[derive(Debug)]
pub struct Pool {
    connector: Connector,
    pub(super) config: OriginConfig,
    pub(super) counters: Arc<UpstreamCounters>,
    idle: Mutex<Idle>,
    links: Arc<Links>,
    /// Where the upstream is, and whether TLS leads there.
    authority: Option<Authority>,
    is_secure: bool,
}

/// Unused connections, and since when; the longest unused first.
#[derive(Debug, Default)]
struct Idle {
    connections: VecDeque<(Instant, Connection)>,
    /// Whether a task closes those that are unused for too long.
    is_swept: bool,
}

impl Pool {
    /// # Errors
    /// [`TrustError`] where an `https` upstream has no certificates to trust.
    pub(super) fn new(
        upstream: &Upstream,
        config: &OriginConfig,
        counters: &Arc<UpstreamCounters>,
    ) -> Result<Arc<Self>, TrustError> {
        let (speaks, authority) = match upstream {
            Upstream::Http { authority } => (Speaks::Http1, Some(authority)),
            Upstream::H2c { authority } => (Speaks::Http2, Some(authority)),
            Upstream::Https { authority } if config.http2 => (Speaks::Negotiated, Some(authority)),
            Upstream::Https { authority } => (Speaks::Http1, Some(authority)),
            Upstream::Unix { .. } => (Speaks::Http1, None),
        };
        Ok(Arc::new(Self {
            links: Links::new(speaks),
            authority: authority.cloned(),
            is_secure: matches!(upstream, Upstream::Https { .. }),
            connector: Connector::new(upstream, config, counters)?,
            config: config.clone(),
            counters: Arc::clone(counters),
            idle: Mutex::default(),
        }))
    }

    /// An unused connection that the upstream has not closed, as far as is
    /// known: the one used last.
    pub(super) fn take(&self) -> Option<Connection> {
        loop {
            let (since, mut connection) = self.idle.lock().connections.pop_back()?;
            let is_late = since.elapsed() >= self.config.idle_timeout;
            if !is_late && !self.is_too_old(&connection) && connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection that is not used for now. At the bound the one that
    /// is unused for longest is closed.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        let connections_max = self.config.idle_connections_max;
        if connections_max == 0 || self.is_too_old(&connection) {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.connections.len() >= connections_max {
            idle.connections.pop_front();
        }
        idle.connections.push_back((Instant::now(), connection));
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.config.idle_timeout));
        }
    }

    /// Whether it has been used for so long that its name may lead elsewhere by
    /// now.
    fn is_too_old(&self, connection: &Connection) -> bool {
        connection.made().elapsed() >= self.config.connection_age_max
    }

    /// Makes a connection; for a request that may wait, in as many attempts as it
    /// takes. `failed`: what the attempt to send it before failed of.
    pub(super) fn connect(
        &self,
        window: Option<&RestartWindow>,
        failed: Option<OriginError>,
        asked_again: u64,
    ) -> Connecting {
        let Some(window) = window.cloned() else {
            return self.connector.connect(Offer::Http1);
        };
        let connector = self.connector.clone();
        let counters = Arc::clone(&self.counters);
        Box::pin(async move {
            let mut waiting = Waiting::new(Some(&window), &counters, asked_again);
            if let Some(failed) = failed {
                waiting.pause(failed).await?;
            }
            loop {
                match connector.connect(Offer::Http1).await {
                    Err(error) if error.may_pass() => waiting.pause(error).await?,
                    connected => return connected,
                }
            }
        })
    }

    /// Whether the next exchange is one of HTTP/1, as far as is known.
    #[must_use]
    pub fn speaks_http1(&self) -> bool {
        self.links.speaks_http1(&self.config)
    }

    /// A way to have an exchange; `wants_switch`: one that may go on in another
    /// protocol. Where it takes a connection, as for [`Pool::connect`].
    ///
    /// # Errors
    /// [`OriginError`] where it takes a connection that cannot be made.
    pub(super) async fn way(
        &self,
        wants_switch: bool,
        window: Option<&RestartWindow>,
        failed: Option<OriginError>,
        asked_again: u64,
    ) -> Result<Way, OriginError> {
        let links = &self.links;
        let mut waiting = Waiting::new(window, &self.counters, asked_again);
        if let Some(failed) = failed {
            waiting.pause(failed).await?;
        }
        loop {
            match links.way(&self.connector, &self.config, wants_switch).await {
                Err(error) if error.may_pass() => waiting.pause(error).await?,
                way => return way,
            }
        }
    }

    /// The upstream, as it is configured, for logs.
    pub(super) fn upstream(&self) -> &str {
        self.connector.upstream()
    }

    /// Host and port of the upstream; `None` of a Unix socket.
    pub(super) fn authority(&self) -> Option<&Authority> {
        self.authority.as_ref()
    }

    /// Whether connections are made by TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.is_secure
    }
}

/// Closes what is unused for too long, until nothing is left to be closed.
async fn sweep(pool: Weak<Pool>, idle_timeout: Duration) {
    let mut pause = idle_timeout;
    loop {
        sleep(pause).await;
        let Some(pool) = pool.upgrade() else {
            return;
        };
        let mut idle = pool.idle.lock();
        let late = |(since, _): &(Instant, Connection)| since.elapsed() >= idle_timeout;
        while idle.connections.front().is_some_and(late) {
            idle.connections.pop_front();
        }
        match idle.connections.front() {
            Some((since, _)) => pause = idle_timeout.saturating_sub(since.elapsed()),
            None => {
                idle.is_swept = false;
                return;
            }
        }
    }
}
