//! A request body handed from the connection it comes from to its reader, one
//! piece at a time.
//!
//! The two may run in different tasks. Promises: there is one piece between
//! them at most; the connection is asked for the next only when the reader
//! waits for it; a reader that stops is told to the connection, and a
//! connection that ends before the body does is an error to the reader.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

/// A body of this length, where that is known, and what feeds it.
#[must_use]
pub fn piped(length: Option<u64>) -> (Feeder, Piped) {
    let state = Arc::new(Mutex::new(State::default()));
    let feeder = Feeder {
        state: Arc::clone(&state),
        is_over: false,
    };
    let piped = Piped {
        state,
        left: length,
        is_over: length == Some(0),
    };
    (feeder, piped)
}

#[derive(Debug, Default)]
struct State {
    piece: Option<Bytes>,
    /// After the piece.
    end: Option<io::Result<Option<HeaderMap>>>,
    /// The reader, while it waits.
    reader: Option<Waker>,
    feeder: Option<Waker>,
    is_left: bool,
}

/// What a reader wants of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The next piece.
    Piece,
    /// Nothing any more.
    Nothing,
}

/// The side of the connection.
#[derive(Debug)]
pub struct Feeder {
    state: Arc<Mutex<State>>,
    is_over: bool,
}

impl Feeder {
    /// Ready once the reader waits, or is gone.
    pub fn poll_wanted(&mut self, cx: &Context<'_>) -> Poll<Wanted> {
        let mut state = self.state.lock();
        if state.is_left {
            return Poll::Ready(Wanted::Nothing);
        }
        if state.reader.is_some() && state.piece.is_none() {
            return Poll::Ready(Wanted::Piece);
        }
        match &mut state.feeder {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Hands over the next piece, which is wanted.
    pub fn give(&mut self, piece: Bytes) {
        self.change(|state| state.piece = Some(piece));
    }

    /// Ends the body, after a last piece where there is one.
    pub fn end(&mut self, last: Bytes, trailers: Option<HeaderMap>) {
        self.is_over = true;
        self.change(|state| {
            state.piece = Some(last).filter(|last| !last.is_empty());
            state.end = Some(Ok(trailers));
        });
    }

    /// The rest of the body does not come.
    pub fn fail(&mut self, error: io::Error) {
        self.is_over = true;
        self.change(|state| state.end = Some(Err(error)));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        if !self.is_over {
            self.fail(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The side of the reader.
#[derive(Debug)]
pub struct Piped {
    state: Arc<Mutex<State>>,
    /// Of a body whose length is known.
    left: Option<u64>,
    is_over: bool,
}

impl Body for Piped {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let state = Arc::clone(&self.state);
        let mut state = state.lock();
        if let Some(piece) = state.piece.take() {
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(piece.len() as u64);
            }
            self.is_over = matches!(state.end, Some(Ok(None)));
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if let Some(end) = state.end.take() {
            self.is_over = true;
            return Poll::Ready(match end {
                Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(error) => Some(Err(error)),
            });
        }
        match &mut state.reader {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        if let Some(feeder) = state.feeder.take() {
            feeder.wake();
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None if self.is_over => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        state.is_left = true;
        state.piece = None;
        if let Some(feeder) = state.feeder.take() {
            feeder.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use http_body_util::BodyExt;

    use super::*;

    async fn wanted(feeder: &mut Feeder) -> Wanted {
        poll_fn(|cx| feeder.poll_wanted(cx)).await
    }

    #[tokio::test]
    async fn a_piece_is_asked_for_when_the_reader_waits() {
        let (mut feeder, body) = piped(Some(5));
        let mut body = pin!(body);
        assert_eq!(body.size_hint().exact(), Some(5));
        let early = poll_fn(|cx| Poll::Ready(feeder.poll_wanted(cx))).await;
        assert!(early.is_pending(), "nobody reads");
        let feeding = async {
            assert_eq!(wanted(&mut feeder).await, Wanted::Piece);
            feeder.give(Bytes::from_static(b"abc"));
            assert_eq!(wanted(&mut feeder).await, Wanted::Piece);
            feeder.end(Bytes::from_static(b"de"), None);
        };
        let reading = async {
            let first = body.frame().await.unwrap().unwrap();
            assert_eq!(first.into_data().unwrap(), "abc");
            assert_eq!(body.size_hint().exact(), Some(2));
            let last = body.frame().await.unwrap().unwrap();
            assert_eq!(last.into_data().unwrap(), "de");
            assert!(body.is_end_stream());
            assert!(body.frame().await.is_none());
        };
        tokio::join!(feeding, reading);
    }

    #[tokio::test]
    async fn either_side_sees_that_the_other_is_gone() {
        let (mut feeder, body) = piped(None);
        drop(body);
        assert_eq!(wanted(&mut feeder).await, Wanted::Nothing);
        let (feeder, mut body) = piped(None);
        drop(feeder);
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn trailers_come_last() {
        let (mut feeder, mut body) = piped(None);
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("1"));
        feeder.end(Bytes::from_static(b"a"), Some(trailers));
        assert!(body.frame().await.unwrap().unwrap().is_data());
        assert!(!body.is_end_stream());
        let last = body.frame().await.unwrap().unwrap();
        assert_eq!(last.into_trailers().unwrap()["x-sum"], "1");
        assert!(body.is_end_stream());
    }
}
