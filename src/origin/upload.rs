//! A request body on its way to the origin, and how long the origin has been
//! silent about it.
//!
//! An upload may take as long as its client needs; the origin has only so long
//! for its own part. So its time starts anew with every piece that is taken,
//! and stands still while the next piece has yet to come from the client (how
//! long that may take is the server's to bound).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::message::{Body, BodyError};

/// A request body that tells how it goes.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
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
        (Self { body, state }, progress)
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
        let next = Pin::new(&mut this.body).poll_frame(cx);
        if let Some(state) = &this.state {
            let mut state = state.lock();
            state.waits_for_client = next.is_pending();
            state.is_whole = match &next {
                Poll::Ready(None) => true,
                Poll::Ready(Some(Ok(_))) => this.body.is_end_stream(),
                Poll::Ready(Some(Err(_))) | Poll::Pending => false,
            };
            if next.is_ready() {
                state.last = Instant::now();
            }
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt};
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
    use tokio::time::advance;

    const LIMIT: Duration = Duration::from_secs(1);
    const LESS: Duration = Duration::from_millis(600);

    /// A body whose pieces come when the test sends them.
    fn fed() -> (UnboundedSender<Bytes>, Body) {
        let (feed, mut pieces) = unbounded_channel();
        let stream = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
        let frames = stream.map(|piece| Ok(Frame::data(piece)));
        (feed, Body::boxed(StreamBody::new(frames)))
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_a_client_takes_is_not_the_origin_s() {
        let (feed, body) = fed();
        let (mut upload, progress) = Upload::of(body);
        let mut late = std::pin::pin!(progress.none_for(LIMIT));
        for _ in 0..5 {
            assert!(upload.frame().now_or_never().is_none());
            advance(LESS).await;
            assert!(late.as_mut().now_or_never().is_none());
            feed.send(Bytes::from_static(b"x")).expect("a reader");
            assert!(upload.frame().now_or_never().is_some());
        }
        drop(feed);
        assert!(upload.frame().await.is_none());
        let ended = Instant::now();
        late.await;
        assert!(ended.elapsed() >= LIMIT, "the origin has all its time");
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_that_takes_no_more_is_out_of_time() {
        let (_feed, body) = fed();
        let (_upload, progress) = Upload::of(body);
        let started = Instant::now();
        progress.none_for(LIMIT).await;
        assert!(started.elapsed() < LIMIT + LESS);
    }
}
