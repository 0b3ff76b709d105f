//! The content of a request on its way to an upstream that speaks HTTP/2, and
//! how long the origin has been silent about it.
//!
//! Promises: no more is taken from the client than the upstream has room for;
//! what was taken is kept only as long as it is little, so that a request that
//! the upstream did not process can be sent again; content of a call of gRPC is
//! never kept; given up, the stream to the upstream is reset.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::upload::may_be_trailer;
use crate::message::{Body, BodyError};

/// So much of what was taken is kept to be sent again (bytes).
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// The content, as hyper takes it.
#[derive(Debug)]
pub(super) struct Content(Arc<Mutex<State>>);

/// What is known of it meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Upload(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    body: Body,
    /// What was taken; `None` once that is more than is kept.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    /// Whether anything was taken.
    is_taken: bool,
    /// How many of the pieces kept were given this time.
    given: usize,
    /// It is taken to its end.
    is_whole: bool,
    failed: Option<BodyError>,
    is_given_up: bool,
    /// When the upstream last took something.
    last: Instant,
    waits_for_client: bool,
    waker: Option<Waker>,
}

/// Why the stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("the request broke off")]
pub(super) struct BrokenOff(#[source] h2::Error);

impl BrokenOff {
    fn new() -> Self {
        Self(h2::Error::from(Reason::CANCEL))
    }
}

impl Upload {
    /// Of this content; nothing of it is kept where it cannot be sent again.
    pub(super) fn new(body: Body, can_be_kept: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            is_whole: body.is_end_stream(),
            body,
            kept: can_be_kept.then(Vec::new),
            kept_bytes: 0,
            is_taken: false,
            given: 0,
            failed: None,
            is_given_up: false,
            last: Instant::now(),
            waits_for_client: false,
            waker: None,
        })))
    }

    /// The content from its beginning; `None` where some of it is gone.
    pub(super) fn begin(&self) -> Option<Content> {
        let mut state = self.0.lock();
        if state.is_taken && state.kept.is_none() {
            return None;
        }
        state.given = 0;
        state.waits_for_client = false;
        state.last = Instant::now();
        Some(Content(Arc::clone(&self.0)))
    }

    /// The content, for the first time.
    pub(super) fn content(&self) -> Content {
        Content(Arc::clone(&self.0))
    }

    /// Whether all of it was taken.
    pub(super) fn is_whole(&self) -> bool {
        self.0.lock().is_whole
    }

    /// Why it broke off, if it did.
    pub(super) fn take_failure(&self) -> Option<BodyError> {
        self.0.lock().failed.take()
    }

    /// Until when the origin has time for its part, if it has so long for it.
    pub(super) fn patience(&self, limit: Duration) -> Instant {
        let state = self.0.lock();
        let since = match state.waits_for_client {
            true => Instant::now(),
            false => state.last,
        };
        since + limit
    }

    /// Nobody needs the answer, or it is there: what is left is not sent.
    pub(super) fn give_up(&self) {
        let waker = {
            let mut state = self.0.lock();
            if state.is_whole {
                return;
            }
            state.is_given_up = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl State {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.is_given_up {
            return Poll::Ready(Some(Err(BrokenOff::new())));
        }
        if let Some(kept) = self.kept.as_ref().and_then(|kept| kept.get(self.given)) {
            self.given += 1;
            self.last = Instant::now();
            return Poll::Ready(Some(Ok(Frame::data(kept.clone()))));
        }
        if self.is_whole {
            return Poll::Ready(None);
        }
        let next = loop {
            let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(cx) else {
                self.waits_for_client = true;
                self.waker = Some(cx.waker().clone());
                return Poll::Pending;
            };
            // Pieces of nothing are not passed on.
            if !matches!(&next, Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty)) {
                break next;
            }
        };
        self.waits_for_client = false;
        self.waker = None;
        self.last = Instant::now();
        Poll::Ready(match next {
            Some(Ok(frame)) => {
                self.is_taken = true;
                self.keep(&frame);
                self.is_whole = self.body.is_end_stream();
                Some(Ok(without_forbidden(frame)))
            }
            Some(Err(error)) => {
                self.failed = Some(error);
                self.is_given_up = true;
                Some(Err(BrokenOff::new()))
            }
            None => {
                self.is_whole = true;
                None
            }
        })
    }

    /// Keeps what was taken, as long as it is little.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(data) = frame.data_ref() else {
            self.kept = None;
            return;
        };
        self.kept_bytes += data.len();
        if self.kept_bytes > KEPT_BYTES_MAX {
            self.kept = None;
        } else if let Some(kept) = &mut self.kept {
            kept.push(data.clone());
            self.given = kept.len();
        }
    }
}

/// A trailer section has no fields that speak of the message as a whole.
fn without_forbidden(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            crate::message::fields::remove_where(&mut trailers, |name| !may_be_trailer(name));
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

impl HttpBody for Content {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.0.lock().next(cx)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        let kept = state.kept.as_ref().map_or(0, Vec::len);
        state.is_whole && !state.is_given_up && state.given == kept.max(state.given)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.lock();
        let hint = state.body.size_hint();
        let waiting = state.kept.iter().flatten().skip(state.given);
        let waiting: usize = waiting.map(Bytes::len).sum();
        match (waiting, hint.exact()) {
            (0, _) => hint,
            (waiting, Some(length)) => SizeHint::with_exact(length + waiting as u64),
            (_, None) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn read(content: Content) -> Result<Bytes, BrokenOff> {
        content.collect().await.map(|all| all.to_bytes())
    }

    #[tokio::test]
    async fn little_content_can_be_sent_again_and_no_other() {
        let little = Upload::new(Body::full("little"), true);
        assert_eq!(read(little.content()).await.unwrap(), "little");
        assert!(little.is_whole());
        let again = little.begin().expect("it was kept");
        assert!(!again.is_end_stream());
        assert_eq!(again.size_hint().exact(), Some(6));
        assert_eq!(read(again).await.unwrap(), "little");

        let large = Upload::new(Body::full(vec![0; KEPT_BYTES_MAX + 1]), true);
        read(large.content()).await.unwrap();
        assert!(large.begin().is_none());

        let call = Upload::new(Body::full("call"), false);
        assert!(call.begin().is_some(), "nothing was taken");
        read(call.content()).await.unwrap();
        assert!(call.begin().is_none());
    }

    #[tokio::test]
    async fn content_that_is_given_up_breaks_off() {
        let upload = Upload::new(Body::full("content"), true);
        upload.give_up();
        assert!(read(upload.content()).await.is_err());
        assert!(!upload.is_whole());
    }
}
