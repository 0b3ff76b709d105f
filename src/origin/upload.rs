//! A request body on its way to the origin, and how long the origin has been
//! silent about it.
//!
//! An upload may take as long as its client needs; the origin has only so long
//! for its own part. So its time starts anew with every piece that is taken,
//! and stands still while the next piece has yet to come from the client (how
//! long that may take is the server's to bound).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::message::{Body, BodyError};

/// What hyper is given at once (bytes). It queues up to sixteen pieces that the
/// origin has not read, whatever their size: so this bounds what waits for an
/// origin that reads nothing to 32 KiB.
const PIECE_BYTES_MAX: usize = 2 * 1024;

/// A request body that tells how it goes.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    /// What was taken from it and is yet to be given.
    rest: Bytes,
    /// `None` where there is nothing to upload.
    state: Option<Arc<Mutex<State>>>,
}

/// How an upload goes.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    state: Option<Arc<Mutex<State>>>,
}

#[derive(Debug)]
struct State {
    /// When the last piece was taken.
    last: Instant,
    /// The next piece was asked for and is not there yet.
    waits_for_client: bool,
    /// The last piece was taken.
    is_whole: bool,
}

impl Upload {
    /// Watches `body`. One without content costs nothing.
    #[must_use]
    pub(super) fn of(body: Body) -> (Self, Progress) {
        let started = Instant::now();
        let state = (!body.is_end_stream()).then(|| {
            Arc::new(Mutex::new(State {
                last: started,
                waits_for_client: false,
                is_whole: false,
            }))
        });
        let progress = Progress {
            started,
            state: state.clone(),
        };
        let upload = Self {
            body,
            rest: Bytes::new(),
            state,
        };
        (upload, progress)
    }

    /// The next piece. It is copied: a part would keep the whole buffer that
    /// it was read into for as long as it waits.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let count = self.rest.len().min(PIECE_BYTES_MAX);
        let piece = Bytes::copy_from_slice(&self.rest[..count]);
        self.rest.advance(count);
        if self.rest.is_empty() {
            self.rest = Bytes::new();
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Progress {
    /// Whether all of the body was taken to be sent.
    pub(super) fn is_whole(&self) -> bool {
        let state = self.state.as_ref();
        state.is_none_or(|state| state.lock().is_whole)
    }

    /// Waits until it has been the origin's turn for so long without a pause.
    pub(super) async fn none_for(&self, limit: Duration) {
        let mut until = self.started + limit;
        loop {
            sleep_until(until).await;
            let Some(state) = &self.state else {
                return;
            };
            let (last, waits_for_client) = {
                let state = state.lock();
                (state.last, state.waits_for_client)
            };
            let now = Instant::now();
            until = if waits_for_client { now } else { last } + limit;
            if until <= now {
                return;
            }
        }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let next = this.poll_piece(cx);
        if let Some(state) = &this.state {
            let is_end = HttpBody::is_end_stream(this);
            let mut state = state.lock();
            state.waits_for_client = next.is_pending();
            state.is_whole = match &next {
                Poll::Ready(None) => true,
                Poll::Ready(Some(Ok(_))) => is_end,
                Poll::Ready(Some(Err(_))) | Poll::Pending => false,
            };
            if next.is_ready() {
                state.last = Instant::now();
            }
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

impl Drop for Upload {
    /// Whoever took it has all of it, or wants no more: it is not the client
    /// that is waited for.
    fn drop(&mut self) {
        if let Some(state) = &self.state {
            let mut state = state.lock();
            if state.waits_for_client {
                state.waits_for_client = false;
                state.last = Instant::now();
            }
        }
    }
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
