//! The part of a guard that answers requests from their heads: when it is
//! their turn, and how the answers are written.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{Feed, Guard, Standing, Waiting};
use crate::message::outgoing::Outgoing;
use crate::proxy::DirectPass;
use crate::server::direct::{Answering, Direct};

/// What is read at once while hyper is not needed.
const DIRECT_READ_BYTES: usize = 4 * 1024;

thread_local! {
    /// The buffer that answers given at once are written to; of no connection.
    pub(super) static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl<I: AsyncRead + AsyncWrite + Unpin, D: Direct> Guard<I, D> {
    /// Answers what can be answered at once, until there is something else to
    /// do: a request to pass on, which it gives; one that is hyper's, a
    /// refusal, the end.
    pub(in crate::server) async fn answer_directly(&mut self) -> Option<Box<DirectPass>>
    where
        D: Unpin,
    {
        poll_fn(|cx| {
            let mut space = [MaybeUninit::uninit(); DIRECT_READ_BYTES];
            let mut buf = ReadBuf::uninit(&mut space);
            self.may_pass = true;
            let read = Pin::new(&mut *self).poll_read(cx, &mut buf);
            self.may_pass = false;
            // An error comes again when hyper reads.
            let _ = ready!(read);
            self.feed.take_back(buf.filled());
            Poll::Ready(())
        })
        .await;
        self.pass.take()
    }

    /// Does something with the feed, answering what can be answered at once.
    pub(super) fn follow<T>(&mut self, act: impl FnOnce(&mut Feed, &mut Answering<'_>) -> T) -> T {
        let is_in_turn =
            !self.is_hypers_turn && self.feed.has_finished() && !self.exchange.is_ending();
        let had_any = !self.outgoing.is_empty();
        if is_in_turn && !had_any {
            self.outgoing = Outgoing::within(SPARE.take());
        }
        let mut answering = Answering {
            service: &self.service,
            peer: self.peer,
            outgoing: &mut self.outgoing,
            is_in_turn,
            may_pass: self.may_pass,
            pass: &mut self.pass,
            last: None,
        };
        let acted = act(&mut self.feed, &mut answering);
        if let Some(received) = answering.last {
            self.await_next(received);
        }
        if self.outgoing.is_empty() {
            self.spare_buffer();
        }
        acted
    }

    /// Leaves the buffer to other connections of this thread: one that is idle
    /// keeps none.
    pub(super) fn spare_buffer(&mut self) {
        let buffer = std::mem::take(&mut self.outgoing).into_buffer();
        if buffer.capacity() > 0 {
            SPARE.set(buffer);
        }
    }

    /// Writes the answers given at once.
    pub(super) fn poll_write_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let slices = self.outgoing.slices();
            let socket = Pin::new(&mut self.socket);
            let written = if slices[1].is_empty() {
                socket.poll_write(cx, &slices[0])
            } else {
                socket.poll_write_vectored(cx, &slices)
            };
            match ready!(self.after_write(cx, written)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.outgoing.advance(count),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.spare_buffer();
        Poll::Ready(Ok(()))
    }

    /// A request read at `received` was answered at once: the wait for the
    /// next begins.
    pub(super) fn await_next(&mut self, received: std::time::Instant) {
        self.waiting = match self.feed.standing() {
            Standing::Between(heads) => {
                let received = Instant::from_std(received);
                self.read_deadline.set(received + self.timeouts.idle);
                Waiting::ForRequest(heads)
            }
            Standing::InHead(_) | Standing::Elsewhere => Waiting::Nothing,
        };
    }
}
