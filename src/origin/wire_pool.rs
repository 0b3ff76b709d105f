//! Connections to the upstream for exchanges that are written by hand.
//!
//! Promises: no more unused connections are kept than may be, and none longer
//! than it may be; those of an upstream that is no longer configured go with
//! its pool. Every data thread has a pool of its own, so that a connection
//! stays with the runtime it was made in. Beside it [`OriginClient`] keeps
//! connections for all other requests, within the same bounds.
//!
//! Knows nothing of HTTP.
//!
//! [`OriginClient`]: super::client::OriginClient

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

use super::connect::{Timed, To, UnixConnection, UnixConnector};
use super::counted::{Counted, CountedConnection};
use super::error::{OriginError, OriginErrorKind};
use crate::config::OriginConfig;
use crate::telemetry::upstream::UpstreamCounters;

/// A connection that is being made.
pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Connection, OriginError>> + Send>>;

/// How connections are made.
#[derive(Clone, Debug)]
pub(super) enum Dial {
    Tcp(Counted<Timed<To<HttpConnector>>>),
    Unix(Counted<Timed<UnixConnector>>),
}

/// The connections of one data thread.
#[derive(Debug)]
pub struct WirePool {
    dial: Dial,
    pub(super) config: Arc<OriginConfig>,
    pub(super) counters: Arc<UpstreamCounters>,
    idle: Mutex<Idle>,
}

/// Unused connections, and since when; the longest unused first.
#[derive(Debug, Default)]
struct Idle {
    connections: VecDeque<(Instant, Connection)>,
    /// Whether a task closes those that are unused for too long.
    is_swept: bool,
}

/// A connection to the upstream.
#[derive(Debug)]
pub(super) enum Connection {
    Tcp(CountedConnection<TokioIo<TcpStream>>),
    Unix(CountedConnection<UnixConnection>),
}

impl WirePool {
    pub(super) fn new(
        dial: Dial,
        config: Arc<OriginConfig>,
        counters: Arc<UpstreamCounters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            dial,
            config,
            counters,
            idle: Mutex::default(),
        })
    }

    /// An unused connection that the upstream has not closed, as far as is
    /// known: the one used last.
    pub(super) fn take(&self) -> Option<Connection> {
        loop {
            let (since, connection) = self.idle.lock().connections.pop_back()?;
            if since.elapsed() < self.config.idle_timeout && connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection that is not used for now. At the bound the one that
    /// is unused for longest is closed.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        let connections_max = self.config.idle_connections_max;
        if connections_max == 0 {
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

    /// Makes a connection.
    pub(super) fn connect(&self) -> Connecting {
        match &self.dial {
            Dial::Tcp(connector) => {
                let connecting = connector.clone().oneshot(Uri::default());
                Box::pin(async move { connecting.await.map(Connection::Tcp).map_err(unreachable) })
            }
            Dial::Unix(connector) => {
                let connecting = connector.clone().oneshot(Uri::default());
                Box::pin(async move { connecting.await.map(Connection::Unix).map_err(unreachable) })
            }
        }
    }
}

/// Closes what is unused for too long, until nothing is left to be closed.
async fn sweep(pool: Weak<WirePool>, idle_timeout: std::time::Duration) {
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

fn unreachable(error: Box<dyn Error + Send + Sync>) -> OriginError {
    OriginError::new(OriginErrorKind::of_connect(error.as_ref()), error)
}

impl Connection {
    /// Whether nothing came from the upstream, its end included, that was not
    /// read.
    fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(stream) => stream.get_ref().inner().try_read(&mut byte),
            Self::Unix(stream) => stream.get_ref().stream().try_read(&mut byte),
        };
        matches!(read, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream.get_mut().inner_mut()).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream.get_mut().stream_mut()).poll_read(cx, buffer),
        }
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(stream) => Pin::new(stream.get_mut().inner_mut()).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream.get_mut().stream_mut()).poll_write(cx, bytes),
        }
    }
}
