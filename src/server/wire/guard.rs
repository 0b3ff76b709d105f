//! The socket that hyper reads and writes: every byte passes the feed.
//!
//! What can be answered from a head alone is answered here, in its turn: when
//! hyper has nothing under way and nothing unwritten. hyper reads the next
//! request as if the answered one had not been there.
//!
//! What waits, waits no longer than [`Timeouts`] says; a client that is
//! refused in the middle of sending gets a lingering close, so that it reads
//! the answer and not a reset.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::deadlines::Deadline;
use super::exchange::Exchange;
use super::feed::{Feed, Mode, Standing};
use super::framer::Bounds;
use crate::config::Limits;
use crate::message::outgoing::Outgoing;
use crate::proxy::{DirectPass, Peer};
use crate::server::direct::Direct;
use crate::server::listener::Place;

mod direct;
mod pass;

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A lingering close reads no more than this…
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// … and takes no longer than this.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// A write of no more than this may be HTTP/2 talking to itself: pings,
/// acknowledgements. More is a client being served.
const SERVING_BYTES_MIN: usize = 64;

/// How long a connection may wait for its client.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    /// For the first byte of the connection, and for the rest of a head.
    head: Duration,
    /// For the next request.
    idle: Duration,
    /// For the client to take something.
    write_idle: Duration,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// What the read deadline is for; with the requests seen when it was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Nothing,
    ForRequest(u64),
    ForHead(u64),
}

/// A guarded connection.
pub(in crate::server) struct Guard<I, D> {
    socket: I,
    feed: Feed,
    peer: Peer,
    /// Answers what can be answered at once.
    service: D,
    /// Such answers, as far as they are not written.
    outgoing: Outgoing,
    /// Whether requests may be passed on from here: while hyper is not asked.
    may_pass: bool,
    /// The one that is to be.
    pass: Option<Box<DirectPass>>,
    /// How long is waited for the origin.
    origin_deadline: Deadline,
    /// Whether hyper was given something since it last had all written.
    is_hypers_turn: bool,
    exchange: Arc<Exchange>,
    /// Interim responses being written.
    interim: Bytes,
    /// Whether everything that hyper has to write is written.
    is_drained: bool,
    /// The last request whose response may have begun to be written.
    begun: u64,
    /// Whether the client was silent for too long.
    given_up: bool,
    timeouts: Timeouts,
    waiting: Waiting,
    read_deadline: Deadline,
    write_deadline: Deadline,
    /// Cuts a connection that is no longer hyper's.
    cut: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    closing: Closing,
    place: Place,
}

/// How far the close has come.
#[derive(Debug)]
enum Closing {
    No,
    /// Our side is closed; so many more bytes of the client's are read.
    Lingering(usize),
}

impl<I: AsyncRead + AsyncWrite + Unpin, D: Direct> Guard<I, D> {
    /// Guards `socket`, which holds `place` for as long as it lives.
    pub(in crate::server) fn new(
        socket: I,
        peer: Peer,
        place: Place,
        exchange: Arc<Exchange>,
        limits: &Limits,
        service: D,
    ) -> Self {
        let timeouts = Timeouts {
            head: limits.head_timeout,
            idle: limits.idle_timeout,
            write_idle: limits.write_idle_timeout,
        };
        let bounds = Bounds {
            head_bytes_max: limits.head_bytes_max,
            target_bytes_max: limits.target_bytes_max,
        };
        let mut read_deadline = Deadline::default();
        read_deadline.set(Instant::now() + timeouts.head);
        Self {
            socket,
            feed: Feed::new(bounds, Arc::clone(&exchange)),
            peer,
            service,
            outgoing: Outgoing::default(),
            may_pass: false,
            pass: None,
            origin_deadline: Deadline::default(),
            is_hypers_turn: false,
            exchange,
            interim: Bytes::new(),
            is_drained: true,
            begun: 0,
            given_up: false,
            timeouts,
            waiting: Waiting::ForRequest(0),
            read_deadline,
            write_deadline: Deadline::default(),
            cut: None,
            closing: Closing::No,
            place,
        }
    }

    /// Finds out what the client speaks; `None` where it says nothing.
    pub(in crate::server) async fn protocol(&mut self) -> io::Result<Option<Protocol>> {
        poll_fn(|cx| self.poll_protocol(cx)).await
    }

    fn poll_protocol(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Protocol>>> {
        self.exchange.interim().set_writer(cx.waker());
        loop {
            let held = self.feed.held();
            let known = held.len().min(PREFACE.len());
            if held[..known] != PREFACE[..known] {
                return Poll::Ready(Ok(Some(Protocol::Http1)));
            }
            if known == PREFACE.len() {
                self.open();
                return Poll::Ready(Ok(Some(Protocol::Http2)));
            }
            let mut space = [MaybeUninit::uninit(); 2048];
            let mut buf = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.socket).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    self.feed.hold(buf.filled());
                    continue;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => ready!(self.read_deadline.poll(cx)),
            }
            // The end, or too late. A beginning of the preface is the
            // beginning of an HTTP/1 head like any other.
            let spoke = !self.feed.held().is_empty();
            return Poll::Ready(Ok(spoke.then_some(Protocol::Http1)));
        }
    }

    /// From here on everything passes.
    fn open(&mut self) {
        self.feed.open();
        self.read_deadline.clear();
    }

    /// Nothing to read: sets the deadline for what is waited for. Says whether
    /// that is something new.
    fn await_client(&mut self) -> bool {
        let waiting = match self.feed.standing() {
            Standing::InHead(heads) => Waiting::ForHead(heads),
            Standing::Between(heads)
                if self.exchange.has_finished(heads) && !self.write_deadline.is_set() =>
            {
                Waiting::ForRequest(heads)
            }
            Standing::Between(_) | Standing::Elsewhere => Waiting::Nothing,
        };
        if waiting == self.waiting {
            return false;
        }
        self.waiting = waiting;
        match waiting {
            Waiting::Nothing => self.read_deadline.clear(),
            Waiting::ForHead(_) => self.read_deadline.set(Instant::now() + self.timeouts.head),
            Waiting::ForRequest(_) => self.read_deadline.set(Instant::now() + self.timeouts.idle),
        }
        true
    }

    /// The client was too slow.
    fn give_up(&mut self) {
        match self.waiting {
            Waiting::ForHead(_) => self.feed.refuse_late(),
            Waiting::ForRequest(_) | Waiting::Nothing => self.given_up = true,
        }
        self.read_deadline.clear();
    }

    /// Reads what passes unseen.
    fn poll_read_open(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(cut) = &mut self.cut
            && cut.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }

    /// Writes the interim responses that are waiting. Only where hyper has
    /// nothing left to write of what came before them.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interim.is_empty() {
            self.interim = self.exchange.interim().take(self.begun);
        }
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.interim))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.interim.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Before hyper writes: interim responses go before what it has, which is
    /// the beginning of a response if all before is written.
    fn poll_before_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.outgoing.is_empty() {
            ready!(self.poll_write_outgoing(cx))?;
        }
        if self.is_drained || !self.interim.is_empty() {
            ready!(self.poll_interim(cx))?;
        }
        self.is_drained = false;
        self.begun = self.exchange.last_answered();
        Poll::Ready(Ok(()))
    }

    /// After a write: the client took something, or is given time to.
    fn after_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(result) => {
                self.write_deadline.clear();
                let is_serving = result
                    .as_ref()
                    .is_ok_and(|&count| count > SERVING_BYTES_MIN);
                if self.feed.mode() == Mode::Open && is_serving {
                    self.exchange.touch();
                }
                Poll::Ready(result)
            }
            Poll::Pending => {
                if !self.write_deadline.is_set() {
                    self.write_deadline
                        .set(Instant::now() + self.timeouts.write_idle);
                }
                ready!(self.write_deadline.poll(cx));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client took nothing for too long",
                )))
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, D: Direct + Unpin> AsyncRead for Guard<I, D> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.outgoing.is_empty() {
                ready!(this.poll_write_outgoing(cx))?;
            }
            if this.feed.has_switched() {
                let drain = this.place.drain().clone();
                this.cut = Some(Box::pin(async move { drain.cut().await }));
                this.open();
            }
            let delivered = this.follow(|feed, answering| feed.deliver(buf, answering));
            if delivered {
                this.is_hypers_turn = true;
            }
            if delivered || this.given_up || this.pass.is_some() {
                return Poll::Ready(Ok(()));
            }
            if !this.outgoing.is_empty() {
                continue;
            }
            match this.feed.mode() {
                Mode::Framed => {}
                Mode::Open => return this.poll_read_open(cx, buf),
                // Not the end of the connection: hyper would take that for a
                // client that left, and drop the responses before ours.
                Mode::Refused => return Poll::Pending,
                Mode::Broken => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            if this.feed.is_full() {
                // The response wakes the connection.
                return Poll::Pending;
            }
            let start = buf.filled().len();
            match Pin::new(&mut this.socket).poll_read(cx, buf) {
                Poll::Ready(Ok(())) => {
                    if buf.filled().len() == start {
                        return Poll::Ready(Ok(()));
                    }
                    this.follow(|feed, answering| feed.follow_read(buf, start, answering));
                    if buf.filled().len() > start {
                        this.is_hypers_turn = true;
                        return Poll::Ready(Ok(()));
                    }
                    if this.pass.is_some() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.await_client();
                    ready!(this.read_deadline.poll(cx));
                    this.give_up();
                }
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, D: Direct + Unpin> AsyncWrite for Guard<I, D> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match this.poll_before_write(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.socket).poll_write(cx, buf),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        this.after_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match this.poll_before_write(cx) {
            Poll::Ready(Ok(())) => Pin::new(&mut this.socket).poll_write_vectored(cx, bufs),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        this.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper flushes when it has nothing left to write.
        this.is_drained = true;
        ready!(this.poll_interim(cx))?;
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        // hyper flushes when it has written all it has.
        this.is_hypers_turn &= !this.feed.has_finished();
        if this.feed.mode() == Mode::Framed {
            // The end of a response may be the beginning of idleness, and
            // hyper, whose read is pending, has no reason to read again.
            if this.await_client() {
                let _just_set = this.read_deadline.poll(cx);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.outgoing.is_empty() {
            ready!(this.poll_write_outgoing(cx))?;
        }
        loop {
            match &mut this.closing {
                Closing::No => {
                    ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
                    // Closing under a client that is sending would reset the
                    // connection, and our last response with it.
                    if !this.feed.is_cut_short() {
                        return Poll::Ready(Ok(()));
                    }
                    this.closing = Closing::Lingering(LINGER_BYTES_MAX);
                    this.read_deadline.set(Instant::now() + LINGER_TIMEOUT);
                }
                Closing::Lingering(left) => {
                    let mut space = [MaybeUninit::uninit(); 16 * 1024];
                    let mut buf = ReadBuf::uninit(&mut space);
                    let count = match Pin::new(&mut this.socket).poll_read(cx, &mut buf) {
                        Poll::Ready(Ok(())) => buf.filled().len(),
                        // Whatever it is, there is no one left to tell.
                        Poll::Ready(Err(_)) => 0,
                        Poll::Pending => {
                            ready!(this.read_deadline.poll(cx));
                            0
                        }
                    };
                    *left = left.saturating_sub(count);
                    if count == 0 || *left == 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}
