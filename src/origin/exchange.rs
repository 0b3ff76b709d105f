//! One exchange with the upstream over HTTP/1: a request as it is sent, and its
//! response as it arrives, at the same time.
//!
//! Promises: a connection is used again only after a request and a response
//! that were whole, with nothing behind them; where one that was used before
//! closes before a byte of the response came, a request that can be repeated is
//! asked again over a new one (RFC 9112 §9.3.1, [`restart`]); nothing is read that was
//! not asked for by [`Exchange::poll`], so that a slow reader slows
//! the upstream down. While it waits it holds no buffer.
//!
//! The caller says how long to wait for a response; how long for a connection, the
//! configuration.
//!
//! [`restart`]: super::restart

use std::cell::Cell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::connection::{Connecting, Connection};
use super::error::{OriginError, OriginErrorKind};
use super::head::Expected;
use super::pool::Pool;
use super::response::{End, Received, Response, Sink};
use super::restart::{RESENDS_MAX, RestartWindow, is_asked_again};
use super::upload::{Failed, Upload};
use crate::config::OriginConfig;
use crate::gate::Permit;
use crate::message::Body;
use crate::message::presence::Presence;

/// What is read at once (bytes).
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// The buffer that is read into; of no exchange.
    static SPARE: Cell<BytesMut> = Cell::default();
}

/// How an exchange goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something came; there is more to come.
    More,
    /// Not at all: the response is whole.
    Over,
}

/// An exchange under way. Dropped before it is over, it takes its connection
/// with it.
pub struct Exchange {
    pool: Arc<Pool>,
    upload: Upload,
    way: Way,
    /// Whether the connection has been used before.
    is_reused: bool,
    /// How often it was asked again.
    asked_again: u64,
    /// Where it may wait for an upstream that restarts.
    window: Option<RestartWindow>,
    response: Response,
    /// Leave to have an exchange.
    _permit: Permit,
}

enum Way {
    Connecting(Connecting),
    Open(Connection),
    Switched(Switched),
    Over,
}

impl Exchange {
    /// An exchange over a connection of `pool`, of a GET with this head; `None`
    /// at the bound on exchanges.
    #[must_use]
    pub fn of_plain(pool: &Arc<Pool>, head: Vec<u8>) -> Option<Self> {
        let permit = pool.counters.exchanges.try_enter()?;
        let upload = Upload::of_head(head);
        let client = Presence::default();
        Some(Self::new(pool, permit, upload, Expected::default(), client))
    }

    /// The same, of any request.
    pub(super) fn of(pool: &Arc<Pool>, permit: Permit, request: Request<Body>) -> Self {
        let (mut parts, body) = request.into_parts();
        let client = parts.extensions.remove::<Presence>().unwrap_or_default();
        let upload = Upload::of(&parts, body);
        Self::new(pool, permit, upload, Upload::expects(&parts), client)
    }

    fn new(
        pool: &Arc<Pool>,
        permit: Permit,
        upload: Upload,
        expected: Expected,
        client: Presence,
    ) -> Self {
        let unused = pool.take();
        let window = RestartWindow::new(&pool.config, client);
        Self {
            pool: Arc::clone(pool),
            upload,
            is_reused: unused.is_some(),
            way: match unused {
                Some(connection) => Way::Open(connection),
                None => Way::Connecting(pool.connect(window.as_ref(), None, 0)),
            },
            asked_again: 0,
            window,
            response: Response::new(expected),
            _permit: permit,
        }
    }

    /// Timeouts of this upstream.
    #[must_use]
    pub fn config(&self) -> &OriginConfig {
        &self.pool.config
    }

    /// Whether the response's head has come.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.response.has_head()
    }

    /// No response came, for this reason.
    pub fn failed(&self, error: &OriginError) {
        self.pool
            .counters
            .failed(&error.event(self.pool.upstream()));
    }

    /// Whether the connection has taken the whole request.
    pub(super) fn is_sent(&self) -> bool {
        self.upload.is_whole()
    }

    /// Until when the origin has time to answer, if it has so long for it.
    pub(super) fn patience(&self, limit: Duration) -> Instant {
        match (&self.way, &self.window) {
            // It is waited for as long as the window is.
            (Way::Connecting(_), Some(_)) => Instant::now() + limit,
            _ => self.upload.patience(limit),
        }
    }

    /// How much of so long a time the origin has left to answer.
    #[must_use]
    pub fn time_left(&self, limit: Duration) -> Duration {
        self.patience(limit)
            .saturating_duration_since(Instant::now())
    }

    /// How much of the content has yet to come, where that was said.
    pub(super) fn left(&self) -> Option<u64> {
        self.response.left()
    }

    /// Whether both sides have agreed on another protocol.
    pub(super) fn is_switched(&self) -> bool {
        matches!(self.way, Way::Switched(_))
    }

    /// The connection, where they have.
    pub(super) fn into_switched(self) -> Option<Switched> {
        match self.way {
            Way::Switched(switched) => Some(switched),
            _ => None,
        }
    }

    /// Goes on until something was given to `sink`, or nothing will be.
    ///
    /// # Errors
    /// [`OriginError`] where the response does not come or breaks off. Its
    /// connection is closed then.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
    ) -> Poll<Result<Progress, OriginError>> {
        let progress = self.go_on(cx, sink);
        if matches!(progress, Poll::Ready(Err(_))) {
            self.way = Way::Over;
        }
        progress
    }

    fn go_on(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
    ) -> Poll<Result<Progress, OriginError>> {
        loop {
            match &mut self.way {
                Way::Connecting(connecting) => {
                    let connection = ready!(connecting.as_mut().poll(cx))?;
                    self.way = Way::Open(connection);
                    if self.window.is_some() {
                        self.upload.begin_patience();
                    }
                }
                Way::Open(connection) => {
                    if !self.upload.is_over()
                        && let Poll::Ready(Err(failed)) = self.upload.poll(cx, connection)
                    {
                        match failed {
                            Failed::Content(error) => {
                                let kind = OriginErrorKind::RequestBody;
                                return Poll::Ready(Err(OriginError::new(kind, error)));
                            }
                            // It may have answered before it closed.
                            Failed::Write(error) => {
                                tracing::debug!(%error, "a request could not be sent whole");
                                self.upload.break_off();
                            }
                        }
                    }
                    let mut space = SPARE.take();
                    space.clear();
                    space.reserve(READ_BYTES);
                    let gone_on = match connection.poll_fill(cx, &mut space) {
                        Poll::Pending => {
                            SPARE.set(space);
                            return Poll::Pending;
                        }
                        // Whatever it answers, it is not what was not sent.
                        Poll::Ready(Ok(count)) if count > 0 && !self.upload.is_begun() => {
                            self.end(Some(io::ErrorKind::InvalidData.into()))
                        }
                        Poll::Ready(Ok(count)) if count > 0 => {
                            self.receive(&mut space, sink).map(Some)
                        }
                        Poll::Ready(ended) => self.end(ended.err()),
                    };
                    SPARE.set(space);
                    if let Some(progress) = gone_on? {
                        return Poll::Ready(Ok(progress));
                    }
                }
                Way::Switched(_) | Way::Over => return Poll::Ready(Ok(Progress::Over)),
            }
        }
    }

    fn receive(
        &mut self,
        bytes: &mut BytesMut,
        sink: &mut impl Sink,
    ) -> Result<Progress, OriginError> {
        let was_answered = self.is_answered();
        // What is left of the content would be of the other protocol.
        self.response.allow_switch(self.upload.is_whole());
        let received = self.response.receive(bytes, sink);
        if !was_answered && self.is_answered() {
            self.pool.counters.answered();
        }
        let Received { content_bytes, end } = received.map_err(OriginError::bare)?;
        self.pool.counters.body_bytes.add(content_bytes);
        let Some(end) = end else {
            return Ok(Progress::More);
        };
        if let Way::Open(connection) = std::mem::replace(&mut self.way, Way::Over) {
            match end {
                End::Clean if self.upload.is_whole() => self.pool.put(connection),
                End::Clean | End::Last => {}
                End::Switched(ahead) => self.way = Way::Switched(Switched { connection, ahead }),
            }
        }
        Ok(Progress::Over)
    }

    /// The upstream has closed the connection, or it broke.
    fn end(&mut self, error: Option<io::Error>) -> Result<Option<Progress>, OriginError> {
        if error.is_none() && self.response.ends_with_connection() {
            self.way = Way::Over;
            return Ok(Some(Progress::Over));
        }
        let error = error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
        let error = OriginError::new(OriginErrorKind::Reset, error);
        // The upstream has not seen the request, or it may be repeated.
        if !self.response.has_begun() && self.upload.can_begin_again() {
            self.begin_again(error)?;
            return Ok(None);
        }
        Err(error)
    }

    /// Begins again over a new connection: at once where the last one may have
    /// been closed since it was used before, or else where there is time to wait.
    fn begin_again(&mut self, error: OriginError) -> Result<(), OriginError> {
        let is_unsent = self.is_reused && !self.upload.is_begun();
        let at_once =
            is_unsent || is_asked_again(&self.pool.config, self.asked_again, self.is_reused);
        let may_be_sent_again = !self.upload.is_begun() || self.asked_again < RESENDS_MAX;
        let has_time = self.window.as_ref().is_some_and(RestartWindow::is_open);
        let may_wait = may_be_sent_again && has_time;
        if !at_once && !may_wait {
            return Err(error);
        }
        self.pool.counters.retries.increment();
        self.asked_again += 1;
        self.is_reused = false;
        self.upload.begin_again();
        let failed = (!at_once).then_some(error);
        let connecting = self
            .pool
            .connect(self.window.as_ref(), failed, self.asked_again);
        self.way = Way::Connecting(connecting);
        Ok(())
    }
}

/// Without the request and the response, which may hold secrets.
impl fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Connecting(_) => "connecting",
            Way::Open(_) => "open",
            Way::Switched(_) => "switched",
            Way::Over => "over",
        };
        write!(formatter, "Exchange({way})")
    }
}

/// A connection on which both sides speak another protocol from now on.
#[derive(Debug)]
pub struct Switched {
    connection: Connection,
    /// What came of it behind the head of the response.
    ahead: Bytes,
}

impl AsyncRead for Switched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.connection).poll_read(cx, buffer);
        }
        let here = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead[..here]);
        this.ahead.advance(here);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
