//! Connections to an upstream that speaks HTTP/2: a few, each for many
//! exchanges at once. hyper speaks the protocol.
//!
//! Promises: a connection is made when it is needed, by one exchange for all
//! that wait for it; exchanges go to the connection that has the fewest; no
//! more connections are open to new exchanges than may be; one that ended, is
//! too old or failed to answer in time gets no new exchange, and closes when its
//! last one is over. Every data thread has its own.
//!
//! Knows nothing of the exchanges: see [`stream`].
//!
//! [`stream`]: super::stream

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{Connection, Connector, Offer};
use super::content::Content;
use super::error::{OriginError, OriginErrorKind};
use crate::config::OriginConfig;

/// Connections for new exchanges; past it they share those that there are.
const LINKS_MAX: usize = 8;
/// Exchanges on one connection, or as many as the upstream lets be; past it
/// another connection is made.
const STREAMS_MAX: usize = 100;
/// What the upstream may send ahead, for each exchange (bytes).
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
/// The same in all: exchanges whose clients take nothing stop no other.
const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * 100;
/// What waits to be sent, for each exchange (bytes): one frame under way, and one
/// that follows it.
const SEND_BYTES_MAX: usize = 32 * 1024;
/// A response head, as over HTTP/1 (bytes); a larger one is invalid.
const HEAD_BYTES_MAX: u32 = 400 * 1024;
/// A ping where nothing came for so long while an exchange is under way.
/// Servers of gRPC take pings more often than every five minutes for abuse.
const PING_INTERVAL: Duration = Duration::from_secs(310);
/// The connection ends where no answer to a ping comes in this time.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP/1 only.
    Http1,
    /// HTTP/2, by prior knowledge.
    Http2,
    /// What it chooses when a TLS connection is made.
    Negotiated,
}

/// How an exchange is to be had.
pub(super) enum Way {
    /// Over HTTP/1; the connection that was made to find that out, if one was.
    Http1(Option<Connection>),
    Http2(Lease),
}

/// The connections of one data thread.
#[derive(Debug)]
pub(super) struct Links {
    speaks: Speaks,
    links: Mutex<Open>,
    /// Held while a connection is made; the last failure to make one.
    opening: tokio::sync::Mutex<Option<(Instant, OriginError)>>,
    /// When the upstream last chose HTTP/1.
    chose_http1: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Open {
    links: Vec<Link>,
    /// Whether a task closes those that are unused for too long.
    is_swept: bool,
}

#[derive(Debug)]
struct Link {
    sender: SendRequest<Content>,
    made: Instant,
    state: Arc<LinkState>,
}

#[derive(Debug)]
struct LinkState {
    streams: AtomicUsize,
    is_used: AtomicBool,
    /// It gets no new exchange.
    is_retired: AtomicBool,
    /// When its last exchange ended.
    unused_since: Mutex<Instant>,
    /// How many exchanges the upstream lets be at once, as far as is known.
    allowed: AtomicUsize,
}

/// A place on a connection for one exchange.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) sender: SendRequest<Content>,
    /// Whether the connection had exchanges before.
    pub(super) is_reused: bool,
    state: Arc<LinkState>,
}

impl Lease {
    /// The connection gets no new exchange.
    pub(super) fn retire(&self) {
        self.state.is_retired.store(true, Ordering::Release);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.state.unused_since.lock() = Instant::now();
        self.state.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Link {
    fn streams(&self) -> usize {
        self.state.streams.load(Ordering::Acquire)
    }

    fn has_room(&self) -> bool {
        let allowed = self.state.allowed.load(Ordering::Relaxed);
        self.streams() < allowed.clamp(1, STREAMS_MAX)
    }

    fn can_be_used(&self, config: &OriginConfig) -> bool {
        let is_unused = || {
            let since = *self.state.unused_since.lock();
            self.streams() == 0 && since.elapsed() >= config.idle_timeout
        };
        !self.sender.is_closed()
            && !self.state.is_retired.load(Ordering::Acquire)
            && self.made.elapsed() < config.connection_age_max
            && !is_unused()
    }

    fn lease(&self) -> Lease {
        self.state.streams.fetch_add(1, Ordering::AcqRel);
        Lease {
            sender: self.sender.clone(),
            is_reused: self.state.is_used.swap(true, Ordering::AcqRel),
            state: Arc::clone(&self.state),
        }
    }
}

impl Links {
    pub(super) fn new(speaks: Speaks) -> Arc<Self> {
        Arc::new(Self {
            speaks,
            links: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            chose_http1: Mutex::default(),
        })
    }

    /// Whether the next exchange is one of HTTP/1, as far as is known.
    pub(super) fn speaks_http1(&self, config: &OriginConfig) -> bool {
        match self.speaks {
            Speaks::Http1 => true,
            Speaks::Http2 => false,
            // It may choose otherwise after an update.
            Speaks::Negotiated => {
                let chosen = *self.chose_http1.lock();
                chosen.is_some_and(|when| when.elapsed() < config.connection_age_max)
            }
        }
    }

    /// A way to have an exchange. Makes a connection where it has to.
    ///
    /// # Errors
    /// [`OriginError`] where no connection can be made.
    pub(super) async fn way(
        self: &Arc<Self>,
        connector: &Connector,
        config: &OriginConfig,
        wants_switch: bool,
    ) -> Result<Way, OriginError> {
        // Only HTTP/1 can switch to another protocol.
        let must_be_http1 = wants_switch && self.speaks == Speaks::Negotiated;
        if must_be_http1 || self.speaks_http1(config) {
            return Ok(Way::Http1(None));
        }
        if let Some(lease) = self.lease(config) {
            return Ok(Way::Http2(lease));
        }
        let asked = Instant::now();
        let mut opening = self.opening.lock().await;
        // Made, or not, while this one waited.
        if self.speaks_http1(config) {
            return Ok(Way::Http1(None));
        }
        if let Some(lease) = self.lease(config) {
            return Ok(Way::Http2(lease));
        }
        if let Some((_, error)) = opening.as_ref().filter(|(when, _)| *when >= asked) {
            return Err(error.clone());
        }
        let opened = self.open(connector, config).await;
        *opening = match &opened {
            Ok(_) => None,
            Err(error) => Some((Instant::now(), error.clone())),
        };
        opened
    }

    /// A place on the connection that has the fewest exchanges; `None` where
    /// another connection is to be made.
    fn lease(&self, config: &OriginConfig) -> Option<Lease> {
        let mut open = self.links.lock();
        open.links.retain(|link| link.can_be_used(config));
        let is_full = open.links.len() >= LINKS_MAX;
        let emptiest = open.links.iter().min_by_key(|link| link.streams())?;
        (is_full || emptiest.has_room()).then(|| emptiest.lease())
    }

    async fn open(
        self: &Arc<Self>,
        connector: &Connector,
        config: &OriginConfig,
    ) -> Result<Way, OriginError> {
        let connection = connector.connect(Offer::Http2).await?;
        if self.speaks == Speaks::Negotiated && !connection.chose_http2() {
            *self.chose_http1.lock() = Some(Instant::now());
            return Ok(Way::Http1(Some(connection)));
        }
        let made = connection.made();
        let handshake = timeout(config.connect_timeout, handshake(connection)).await;
        let (sender, state) = match handshake {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => return Err(OriginError::new(OriginErrorKind::Connect, error)),
            Err(_) => return Err(OriginError::bare(OriginErrorKind::ConnectTimeout)),
        };
        let link = Link {
            sender,
            made,
            state,
        };
        let lease = link.lease();
        let mut open = self.links.lock();
        open.links.push(link);
        if !std::mem::replace(&mut open.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), config.clone()));
        }
        Ok(Way::Http2(lease))
    }
}

async fn handshake(
    connection: Connection,
) -> hyper::Result<(SendRequest<Content>, Arc<LinkState>)> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let (sender, connection) = builder.handshake(TokioIo::new(connection)).await?;
    let state = Arc::new(LinkState {
        streams: AtomicUsize::new(0),
        is_used: AtomicBool::new(false),
        is_retired: AtomicBool::new(false),
        unused_since: Mutex::new(Instant::now()),
        allowed: AtomicUsize::new(STREAMS_MAX),
    });
    let link = Arc::clone(&state);
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let ended = poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            let allowed = connection.current_max_send_streams();
            link.allowed.store(allowed, Ordering::Relaxed);
            polled
        });
        if let Err(error) = ended.await {
            // Those whose exchange it broke say so.
            tracing::debug!(%error, "a connection to the origin ended");
        }
    });
    Ok((sender, state))
}

/// Closes what is unused for too long, until nothing is left to be closed.
async fn sweep(links: Weak<Links>, config: OriginConfig) {
    loop {
        sleep(config.idle_timeout).await;
        let Some(links) = links.upgrade() else {
            return;
        };
        let mut open = links.links.lock();
        open.links.retain(|link| link.can_be_used(&config));
        if open.links.is_empty() {
            open.is_swept = false;
            return;
        }
    }
}
