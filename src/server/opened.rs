//! A client's connection whose bytes are no longer looked at: HTTP/2, or what
//! an HTTP/1 connection has switched to.
//!
//! Gives what was read of it before, then reads and writes the socket. Promises:
//! a client that takes nothing for too long is cut; the connection counts as
//! open for as long as this lives, and is cut by the drain where that was asked
//! for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::deadlines::Deadline;
use super::http2::Activity;
use super::listener::Place;

/// A write of no more than this may be HTTP/2 talking to itself: pings,
/// acknowledgements. More is a client being served.
const SERVING_BYTES_MIN: usize = 64;

/// The connection.
pub(super) struct Opened<I> {
    socket: I,
    /// What was read before.
    held: Bytes,
    write_idle_timeout: Duration,
    write_deadline: Deadline,
    /// Who asks when something last went on.
    activity: Option<Arc<Activity>>,
    cut: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    place: Place,
}

impl<I> Opened<I> {
    /// `socket`, after the bytes in `held`.
    pub(super) fn new(socket: I, held: Bytes, write_idle_timeout: Duration, place: Place) -> Self {
        Self {
            socket,
            held,
            write_idle_timeout,
            write_deadline: Deadline::default(),
            activity: None,
            cut: None,
            place,
        }
    }

    /// The same, telling `activity` when the client is served.
    pub(super) fn watched_by(mut self, activity: Arc<Activity>) -> Self {
        self.activity = Some(activity);
        self
    }

    /// The same, cut at the end of the drain: nobody else ends it.
    pub(super) fn cut_by_drain(mut self) -> Self {
        let drain = self.place.drain().clone();
        self.cut = Some(Box::pin(async move { drain.cut().await }));
        self
    }

    /// After a write: the client took something, or is given time to.
    fn after_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            if !self.write_deadline.is_set() {
                self.write_deadline
                    .set(Instant::now() + self.write_idle_timeout);
            }
            ready!(self.write_deadline.poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        };
        self.write_deadline.clear();
        let is_serving = matches!(&written, Ok(count) if *count > SERVING_BYTES_MIN);
        if let Some(activity) = self.activity.as_ref().filter(|_| is_serving) {
            activity.touch();
        }
        Poll::Ready(written)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Opened<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(cut) = &mut this.cut
            && cut.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if !this.held.is_empty() {
            let count = this.held.len().min(buf.remaining());
            buf.put_slice(&this.held[..count]);
            this.held.advance(count);
            if this.held.is_empty() {
                this.held = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.socket).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Opened<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.after_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
