//! One body, read by several: a fetch pours it in, any number of readers
//! stream it as it arrives, and whoever stores it takes it whole at the end.
//!
//! Promises: every reader sees the same bytes in the same order from the
//! first on; a reader that waits is woken by the next piece; a pour that is
//! dropped before its end breaks every reader's body, so that a cut response
//! never looks complete.
//!
//! While it *keeps*, all of the body stays in memory (the pourer bounds it).
//! Once it only *passes on*, pieces are let go as the slowest reader takes
//! them, and nobody can join any more.

use std::any::Any;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use slab::Slab;

use super::BodyError;

/// How far the pourer may run ahead of the slowest reader while it passes on.
pub const WINDOW_BYTES: usize = 1024 * 1024;

/// The pouring end. Dropping it without [`Pour::finish`] breaks the body.
#[derive(Debug)]
pub struct Pour {
    shared: Arc<Shared>,
}

/// Where readers come from. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Spring {
    shared: Arc<Shared>,
}

/// One reader's body.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    id: usize,
}

/// Nobody reads the body any more.
#[derive(Debug, PartialEq, Eq)]
pub struct Abandoned;

#[derive(Debug)]
struct Shared {
    /// What the response said its body's length is (bytes).
    length: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Bytes>,
    /// The number of `pieces[0]`, counted from the start of the body.
    first: usize,
    bytes: usize,
    is_passing_on: bool,
    end: Option<End>,
    readers: Slab<ReaderState>,
    pourer: Option<Waker>,
    /// Held for as long as anybody may still read.
    ballast: Option<Box<dyn Any + Send>>,
}

#[derive(Debug)]
enum End {
    Complete(Option<HeaderMap>),
    Broken(Arc<str>),
}

#[derive(Debug, Default)]
struct ReaderState {
    /// The number of the piece it takes next.
    next: usize,
    waker: Option<Waker>,
    is_left_behind: bool,
    has_trailers_taken: bool,
}

/// A new shared body that keeps what is poured. `length` is what the response
/// said of it, if it did.
#[must_use]
pub fn tee(length: Option<u64>) -> (Pour, Spring) {
    let shared = Arc::new(Shared {
        length,
        state: Mutex::default(),
    });
    let spring = Spring {
        shared: Arc::clone(&shared),
    };
    (Pour { shared }, spring)
}

impl Spring {
    /// A reader from the first byte on; `None` once the start has been let go.
    #[must_use]
    pub fn reader(&self) -> Option<Reader> {
        let mut state = self.shared.state.lock();
        if state.is_passing_on {
            return None;
        }
        let id = state.readers.insert(ReaderState::default());
        Some(Reader {
            shared: Arc::clone(&self.shared),
            id,
        })
    }

    /// A reader of the same for another than the one whose request it answers:
    /// trailers are for that one.
    #[must_use]
    pub fn follower(&self) -> Option<Reader> {
        let reader = self.reader()?;
        let mut state = self.shared.state.lock();
        if let Some(follower) = state.readers.get_mut(reader.id) {
            follower.has_trailers_taken = true;
        }
        drop(state);
        Some(reader)
    }
}

impl Pour {
    /// Adds a piece and wakes the readers.
    pub fn push(&self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        let mut state = self.shared.state.lock();
        state.bytes += piece.len();
        state.pieces.push_back(piece);
        state.wake_readers();
    }

    /// Stops keeping: from now on only what readers have yet to take is held.
    pub fn pass_on(&self) {
        let mut state = self.shared.state.lock();
        state.is_passing_on = true;
        state.let_go();
    }

    /// Waits until less than [`WINDOW_BYTES`] are held. Only of use while
    /// passing on. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// [`Abandoned`] when there is no reader left.
    pub async fn has_room(&self) -> Result<(), Abandoned> {
        poll_fn(|cx| {
            let mut state = self.shared.state.lock();
            if state.readers.is_empty() {
                return Poll::Ready(Err(Abandoned));
            }
            if state.bytes < WINDOW_BYTES {
                return Poll::Ready(Ok(()));
            }
            state.pourer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits until nobody reads any more, once nobody can join. Cancelling the
    /// wait loses nothing.
    pub async fn abandoned(&self) {
        poll_fn(|cx| {
            let mut state = self.shared.state.lock();
            if state.is_passing_on && state.readers.is_empty() {
                return Poll::Ready(());
            }
            state.pourer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Breaks the bodies of the readers that hold the pour up, if others have
    /// taken all there is.
    pub fn leave_slow_readers_behind(&self) {
        let mut state = self.shared.state.lock();
        let newest = state.first + state.pieces.len();
        let anyone_waits = state
            .readers
            .iter()
            .any(|(_, reader)| reader.next == newest);
        let oldest = state.first;
        for (_, reader) in &mut state.readers {
            if anyone_waits && reader.next == oldest {
                reader.is_left_behind = true;
                reader.next = newest;
            }
        }
        state.let_go();
        state.wake_readers();
    }

    /// All that was poured, in one piece of exactly its length. Of use only
    /// while it keeps.
    #[must_use]
    pub fn collected(&self) -> Bytes {
        let state = self.shared.state.lock();
        let mut whole = BytesMut::with_capacity(state.bytes);
        for piece in &state.pieces {
            whole.extend_from_slice(piece);
        }
        whole.freeze()
    }

    /// Ends the body well, and reads on from `whole`, which is what
    /// [`Pour::collected`] gave: what was poured is let go. `ballast` is dropped
    /// when the last reader is gone.
    pub fn finish_as(
        self,
        whole: &Bytes,
        trailers: Option<HeaderMap>,
        ballast: Box<dyn Any + Send>,
    ) {
        let mut state = self.shared.state.lock();
        let mut start = 0;
        for piece in &mut state.pieces {
            let end = start + piece.len();
            *piece = whole.slice(start..end);
            start = end;
        }
        state.ballast = Some(ballast);
        drop(state);
        self.finish(trailers);
    }

    /// Ends the body well.
    pub fn finish(self, trailers: Option<HeaderMap>) {
        self.end(End::Complete(trailers));
    }

    /// Ends the body badly: every reader's body breaks.
    pub fn fail(self, reason: &str) {
        self.end(End::Broken(reason.into()));
    }

    fn end(&self, end: End) {
        let mut state = self.shared.state.lock();
        if state.end.is_none() {
            state.end = Some(end);
            state.wake_readers();
        }
    }
}

impl Drop for Pour {
    fn drop(&mut self) {
        self.end(End::Broken("the fetch was given up".into()));
    }
}

impl State {
    fn wake_readers(&mut self) {
        for (_, reader) in &mut self.readers {
            if let Some(waker) = reader.waker.take() {
                waker.wake();
            }
        }
    }

    /// While passing on, drops the pieces that every reader has taken.
    fn let_go(&mut self) {
        if !self.is_passing_on {
            return;
        }
        let slowest = self.readers.iter().map(|(_, reader)| reader.next).min();
        let needed_from = slowest.unwrap_or(self.first + self.pieces.len());
        while self.first < needed_from {
            let Some(piece) = self.pieces.pop_front() else {
                break;
            };
            self.bytes -= piece.len();
            self.first += 1;
        }
        if (self.bytes < WINDOW_BYTES || self.readers.is_empty())
            && let Some(waker) = self.pourer.take()
        {
            waker.wake();
        }
    }
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        let reader = &mut state.readers[self.id];
        if reader.is_left_behind {
            return Poll::Ready(Some(Err(BodyError::LeftBehind)));
        }
        if let Some(piece) = state.pieces.get(reader.next - state.first) {
            let piece = piece.clone();
            reader.next += 1;
            state.let_go();
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &state.end {
            Some(End::Broken(reason)) => {
                let reason: Arc<str> = Arc::clone(reason);
                Poll::Ready(Some(Err(BodyError::Broken(reason.as_ref().into()))))
            }
            Some(End::Complete(Some(trailers))) if !reader.has_trailers_taken => {
                reader.has_trailers_taken = true;
                Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))))
            }
            Some(End::Complete(_)) => Poll::Ready(None),
            None => {
                reader.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.shared.state.lock();
        let reader = &state.readers[self.id];
        let has_more = reader.is_left_behind || reader.next < state.first + state.pieces.len();
        !has_more && matches!(state.end, Some(End::Complete(None)))
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.shared.state.lock();
        let is_untouched = state.readers[self.id].next == 0;
        match self.shared.length {
            Some(length) if is_untouched => SizeHint::with_exact(length),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.readers.remove(self.id);
        state.let_go();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn text(reader: Reader) -> Result<String, BodyError> {
        let whole = reader.collect().await?.to_bytes();
        Ok(String::from_utf8_lossy(&whole).into_owned())
    }

    #[tokio::test]
    async fn late_and_early_readers_see_the_same_body() {
        let (pour, spring) = tee(None);
        let early = tokio::spawn(text(spring.reader().expect("it keeps")));
        pour.push(Bytes::from_static(b"one "));
        let late = spring.reader().expect("it keeps");
        pour.push(Bytes::from_static(b"two"));
        assert_eq!(pour.collected(), "one two");
        pour.finish(None);
        assert_eq!(early.await.expect("it ran").expect("whole"), "one two");
        assert_eq!(text(late).await.expect("whole"), "one two");
    }

    #[tokio::test]
    async fn a_slow_reader_holds_one_copy_and_its_ballast_until_it_is_done() {
        let (pour, spring) = tee(None);
        let mut slow = spring.reader().expect("it keeps");
        pour.push(Bytes::from_static(b"one "));
        pour.push(Bytes::from_static(b"two"));
        assert!(slow.frame().await.expect("a frame").is_ok());
        let whole = pour.collected();
        let ballast = Arc::new(());
        let held = Arc::downgrade(&ballast);
        pour.finish_as(&whole, None, Box::new(ballast));
        drop(spring);
        let rest = slow.frame().await.expect("a frame").expect("data");
        let rest = rest.into_data().expect("data");
        assert_eq!(rest.as_ptr(), whole[4..].as_ptr());
        assert!(held.upgrade().is_some());
        drop(slow);
        assert!(held.upgrade().is_none());
    }

    #[tokio::test]
    async fn a_pour_that_is_dropped_breaks_every_reader() {
        let (pour, spring) = tee(Some(10));
        let reader = spring.reader().expect("it keeps");
        pour.push(Bytes::from_static(b"half"));
        drop(pour);
        assert!(text(reader).await.is_err());
        let later = spring.reader().expect("it keeps");
        assert!(text(later).await.is_err());
    }

    #[tokio::test]
    async fn passing_on_holds_only_what_is_still_to_be_read() {
        let (pour, spring) = tee(None);
        let mut fast = spring.reader().expect("it keeps");
        let slow = spring.reader().expect("it keeps");
        pour.push(Bytes::from(vec![0; WINDOW_BYTES]));
        pour.pass_on();
        assert!(spring.reader().is_none());
        assert!(fast.frame().await.expect("a frame").is_ok());
        let mut room = std::pin::pin!(pour.has_room());
        let is_waiting = poll_fn(|cx| Poll::Ready(room.as_mut().poll(cx).is_pending())).await;
        assert!(is_waiting);
        pour.leave_slow_readers_behind();
        assert_eq!(pour.has_room().await, Ok(()));
        assert!(matches!(text(slow).await, Err(BodyError::LeftBehind)));
        drop(fast);
        assert_eq!(pour.has_room().await, Err(Abandoned));
    }

    #[tokio::test]
    async fn trailers_arrive_after_the_last_piece() {
        let (pour, spring) = tee(None);
        let reader = spring.reader().expect("it keeps");
        let follower = spring.follower().expect("it keeps");
        pour.push(Bytes::from_static(b"x"));
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("1"));
        pour.finish(Some(trailers.clone()));
        let collected = reader.collect().await.expect("whole");
        assert_eq!(collected.trailers(), Some(&trailers));
        let followed = follower.collect().await.expect("a whole body");
        assert_eq!(followed.trailers(), None);
    }
}
