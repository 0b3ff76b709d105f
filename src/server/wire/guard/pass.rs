//! The part of a guard that passes a request on to the origin by itself, while
//! hyper has not been asked for anything.
//!
//! Promises: no more is taken from the origin than the client takes; a client
//! that leaves ends the exchange; what it sends meanwhile waits its turn.

use std::future::poll_fn;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Guard;
use super::direct::SPARE;
use crate::message::Body;
use crate::message::outgoing::Outgoing;
use crate::proxy::{DirectPass, End, Failure, Passing};
use crate::server::direct::Direct;
use crate::server::respond::Rejection;

/// What is read at once of what the client sends meanwhile.
const AHEAD_BYTES: usize = 2 * 1024;

impl<I: AsyncRead + AsyncWrite + Unpin, D: Direct> Guard<I, D> {
    /// Passes a request on and writes its answer. Says whether the connection
    /// goes on.
    pub(in crate::server) async fn pass(&mut self, mut pass: Box<DirectPass>) -> bool {
        let goes_on = poll_fn(|cx| self.poll_pass(cx, &mut pass)).await;
        self.origin_deadline.clear();
        self.await_next(std::time::Instant::now());
        if !goes_on {
            self.service.connection_failed();
        }
        goes_on
    }

    fn poll_pass(&mut self, cx: &mut Context<'_>, pass: &mut DirectPass) -> Poll<bool> {
        loop {
            if !self.outgoing.is_empty() && ready!(self.poll_write_outgoing(cx)).is_err() {
                return Poll::Ready(false);
            }
            if let Some(end) = pass.end() {
                return Poll::Ready(end == End::Whole);
            }
            self.outgoing = Outgoing::within(SPARE.take());
            let is_last = self.place.drain().is_draining();
            let mut passing = pass.poll(cx, is_last, self.outgoing.head());
            if passing.is_pending() {
                self.spare_buffer();
                if self.poll_gone(cx).is_ready() {
                    return Poll::Ready(false);
                }
                passing = self.poll_late(cx, pass);
            } else {
                self.origin_deadline.clear();
            }
            match ready!(passing) {
                Passing::More | Passing::Over => {}
                Passing::Failed(failure) => self.tell(failure, pass.received()),
                Passing::Broken(error) => tracing::debug!(%error, "an answer broke off"),
            }
        }
    }

    /// Ready once the origin has been silent for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>, pass: &mut DirectPass) -> Poll<Passing> {
        if !self.origin_deadline.is_set() {
            let Some(patience) = pass.patience() else {
                return Poll::Pending;
            };
            self.origin_deadline.set(Instant::now() + patience);
        }
        ready!(self.origin_deadline.poll(cx));
        Poll::Ready(pass.out_of_time())
    }

    /// Ready once the client has gone. What it sends is held, and then no more
    /// is read.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.feed.held().is_empty() {
            return Poll::Pending;
        }
        let mut space = [MaybeUninit::uninit(); AHEAD_BYTES];
        let mut buf = ReadBuf::uninit(&mut space);
        match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf)) {
            Ok(()) if !buf.filled().is_empty() => {
                self.feed.hold(buf.filled());
                Poll::Pending
            }
            Ok(()) | Err(_) => Poll::Ready(()),
        }
    }

    /// Writes what a client is told instead of an answer.
    fn tell(&mut self, failure: Failure, received: std::time::Instant) {
        let response = Rejection::from(failure).into_response(received);
        let head = self.outgoing.head();
        let length = response.body().size_hint().exact().unwrap_or(0);
        let reason = response.status().canonical_reason().unwrap_or_default();
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        // Writing to memory does not fail.
        let _ = write!(head, "HTTP/1.1 {} {reason}\r\n", response.status().as_u16());
        for (name, value) in response.headers() {
            let _ = write!(head, "{name}: ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        if self.place.drain().is_draining() {
            head.extend_from_slice(b"connection: close\r\n");
        }
        let _ = write!(head, "content-length: {length}\r\ndate: {date}\r\n\r\n");
        if let Body::Full(Some(document)) = response.into_body() {
            self.outgoing.body((&document).into());
        }
    }
}
