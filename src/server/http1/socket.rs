//! The part of a session that reads, writes and closes its socket.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Session;
use crate::message::outgoing::Outgoing;

/// A lingering close reads no more than this…
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// … and takes no longer than this.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);

/// A client that has closed its side has probably gone, where an answer that has
/// begun is silent for so long: a stream of events, say.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// What is read at once of what a client sends while it is answered.
const AHEAD_BYTES: usize = 2 * 1024;

/// The largest read (bytes).
pub(super) const READ_BYTES_MAX: usize = 32 * 1024;

thread_local! {
    /// The buffer that answers are gathered in; of no connection.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    /// The buffer that is read into; of no connection.
    static SPARE_READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What was read, in a buffer that goes back to the thread.
pub(super) struct Read {
    space: Vec<u8>,
    count: usize,
}

impl Read {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.space[..self.count]
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        SPARE_READ.set(std::mem::take(&mut self.space));
    }
}

/// The client may have gone: there is no one left to tell.
#[derive(Debug)]
pub(super) struct Gone;

impl<I: AsyncRead + AsyncWrite + Unpin, S> Session<I, S> {
    /// Reads up to `bytes_max`; nothing is the end of what the client sends.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<io::Result<Read>> {
        let mut space = SPARE_READ.take();
        if space.is_empty() {
            space.resize(READ_BYTES_MAX, 0);
        }
        let mut read = Read { space, count: 0 };
        let mut buf = ReadBuf::new(&mut read.space[..bytes_max]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buf))?;
        read.count = buf.filled().len();
        if read.count == 0 {
            self.half_closed();
        }
        Poll::Ready(Ok(read))
    }

    /// The client sends nothing more. Whether it still reads shows only when it
    /// is written to; until then it is given as long as one that takes nothing,
    /// or, in the middle of an answer, [`SILENCE_MAX`].
    fn half_closed(&mut self) {
        self.is_half_closed = true;
        let mut patience = self.stack.limits.write_idle_timeout;
        if self.is_answering {
            patience = patience.min(SILENCE_MAX);
        }
        self.gone_deadline.set(Instant::now() + patience);
    }

    /// While something else is waited for: looks whether the client has gone.
    /// What it sends is held, and then no more is read.
    pub(super) fn look_ahead(&mut self, cx: &mut Context<'_>) -> Result<(), Gone> {
        if self.is_half_closed {
            return match self.gone_deadline.poll(cx) {
                Poll::Ready(()) => Err(Gone),
                Poll::Pending => Ok(()),
            };
        }
        if !self.held.is_empty() {
            return Ok(());
        }
        match self.poll_read(cx, AHEAD_BYTES) {
            Poll::Pending => Ok(()),
            Poll::Ready(Err(_)) => Err(Gone),
            Poll::Ready(Ok(_)) if self.is_half_closed => self.look_ahead(cx),
            Poll::Ready(Ok(read)) => {
                self.held.extend_from_slice(read.bytes());
                self.is_unseen = true;
                Ok(())
            }
        }
    }

    /// Makes sure that there is a buffer to gather what is to be written.
    pub(super) fn begin_outgoing(&mut self) {
        if !self.outgoing.has_buffer() {
            self.outgoing = Outgoing::within(SPARE.take());
        }
    }

    /// Leaves the buffer to other connections of this thread, where nothing is
    /// gathered in it: one that is idle keeps none.
    pub(super) fn spare_outgoing(&mut self) {
        if !self.outgoing.is_empty() {
            return;
        }
        let buffer = std::mem::take(&mut self.outgoing).into_buffer();
        if buffer.capacity() > 0 {
            SPARE.set(buffer);
        }
    }

    /// Writes all that there is to write.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_empty() && !self.is_unflushed {
            return Poll::Ready(Ok(()));
        }
        while !self.outgoing.is_empty() {
            let slices = self.outgoing.slices();
            let socket = Pin::new(&mut self.socket);
            let written = if self.outgoing.is_in_one_piece() {
                socket.poll_write(cx, &slices[0])
            } else {
                socket.poll_write_vectored(cx, &slices)
            };
            let Poll::Ready(written) = written else {
                return self.poll_untaken(cx);
            };
            match written? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.outgoing.advance(count),
            }
            self.is_unflushed = true;
            self.write_deadline.clear();
            if self.is_half_closed {
                self.half_closed();
            }
        }
        self.spare_outgoing();
        // A socket that encrypts may hold some of it back; a plain one does
        // nothing here.
        match Pin::new(&mut self.socket).poll_flush(cx) {
            Poll::Ready(flushed) => {
                self.is_unflushed = false;
                self.write_deadline.clear();
                Poll::Ready(flushed)
            }
            Poll::Pending => self.poll_untaken(cx),
        }
    }

    /// The client takes nothing: fails once that has lasted too long.
    fn poll_untaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.write_deadline.is_set() {
            self.write_deadline
                .set(Instant::now() + self.stack.limits.write_idle_timeout);
        }
        ready!(self.write_deadline.poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client took nothing for too long",
        )))
    }

    /// Closes the connection. Closing under a client that is sending would reset
    /// it, and our last response with it: so what it still sends is read for a
    /// while.
    pub(super) async fn close(&mut self) {
        let is_cut_short =
            self.framer.is_over() || self.framer.is_in_content() || !self.held.is_empty();
        // One that encrypts has its last word to write, which the client may not
        // take.
        self.write_deadline.clear();
        let closed = poll_fn(|cx| match Pin::new(&mut self.socket).poll_shutdown(cx) {
            Poll::Ready(closed) => Poll::Ready(closed),
            Poll::Pending => self.poll_untaken(cx),
        })
        .await;
        if closed.is_err() || !is_cut_short || self.is_half_closed {
            return;
        }
        let mut left = LINGER_BYTES_MAX;
        self.read_deadline.set(Instant::now() + LINGER_TIMEOUT);
        poll_fn(|cx| {
            loop {
                let count = match self.poll_read(cx, READ_BYTES_MAX) {
                    Poll::Ready(Ok(read)) => read.bytes().len(),
                    // Whatever it is, there is no one left to tell.
                    Poll::Ready(Err(_)) => 0,
                    Poll::Pending => {
                        ready!(self.read_deadline.poll(cx));
                        0
                    }
                };
                left = left.saturating_sub(count);
                if count == 0 || left == 0 {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }
}
