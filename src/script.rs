//! A connection whose other end is a script: for tests and fuzz targets.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A peer that sends pieces, one a read; an empty one is a pause in which all other
/// tasks go on. Then it ends, or says nothing more.
#[derive(Debug)]
pub struct Script {
    pieces: VecDeque<Vec<u8>>,
    ends: bool,
    /// It sends nothing until something was written to it.
    waits_to_be_asked: bool,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Script {
    /// One that sends at once.
    #[must_use]
    pub fn new(pieces: impl IntoIterator<Item = Vec<u8>>, ends: bool) -> Self {
        Self {
            pieces: pieces.into_iter().collect(),
            ends,
            waits_to_be_asked: false,
            received: Arc::default(),
        }
    }

    /// The same, that waits to be asked.
    #[must_use]
    pub fn once_asked(mut self) -> Self {
        self.waits_to_be_asked = true;
        self
    }

    /// What is written to it.
    #[must_use]
    pub fn received(&self) -> Arc<Mutex<Vec<u8>>> {
        Arc::clone(&self.received)
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.waits_to_be_asked {
            return Poll::Pending;
        }
        let Some(mut piece) = self.pieces.pop_front() else {
            return match self.ends {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            };
        };
        if piece.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            self.pieces.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.waits_to_be_asked = false;
        self.received.lock().extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
