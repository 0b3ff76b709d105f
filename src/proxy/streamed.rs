//! The answer to a write, while it is streamed.
//!
//! An application may send the head of its answer long before it commits:
//! progress, server-sent events, a bulk import. What is read in between is
//! from before the write, and would be stored as from after it. So what the
//! write invalidates is invalidated once more at the end of the answer, or when
//! it breaks off, and the client does not see the end before that.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::shared::Shared;
use crate::invalidation::scope::Ban;
use crate::message::{Body, BodyError};

type Next = Option<Result<Frame<Bytes>, BodyError>>;
type InForce = Pin<Box<dyn Future<Output = bool> + Send>>;

/// A body whose end waits for bans.
pub(super) struct BanAtEnd {
    body: Body,
    shared: Arc<Shared>,
    bans: Arc<[Ban]>,
    state: State,
}

enum State {
    /// Frames go through; one may have been read ahead.
    Streaming(Next),
    /// The bans are being put in force; then what is left goes out.
    Ending(InForce, VecDeque<Next>),
    /// They are in force.
    Ended(VecDeque<Next>),
}

/// In strict mode, the other instances could not be told.
#[derive(Debug, thiserror::Error)]
#[error("the end of a write could not be told to all instances")]
struct Untold;

impl BanAtEnd {
    /// Wraps the answer to a write that brought these bans.
    pub(super) fn wrap(body: Body, shared: &Arc<Shared>, bans: Vec<Ban>) -> Body {
        Body::boxed(Self {
            body,
            shared: Arc::clone(shared),
            bans: bans.into(),
            state: State::Streaming(None),
        })
    }

    fn end(&mut self, left: impl IntoIterator<Item = Next>) {
        let (shared, bans) = (Arc::clone(&self.shared), Arc::clone(&self.bans));
        let in_force = async move { shared.invalidation.put_write_in_force(&bans).await.is_kept };
        self.state = State::Ending(Box::pin(in_force), left.into_iter().collect());
    }

    /// Reads a frame, and looks whether it is the last.
    fn stream(&mut self, ahead: Next, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        let next = match ahead {
            Some(frame) => Some(frame),
            None => ready!(Pin::new(&mut self.body).poll_frame(cx)),
        };
        let Some(Ok(frame)) = next else {
            self.end([next]);
            return Poll::Ready(None);
        };
        if frame.is_trailers() || self.body.is_end_stream() {
            self.end([Some(Ok(frame)), None]);
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(after @ Some(Ok(_))) => self.state = State::Streaming(after),
            Poll::Ready(end) => {
                self.end([Some(Ok(frame)), end]);
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        Poll::Ready(Some(Some(Ok(frame))))
    }
}

impl HttpBody for BanAtEnd {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Streaming(ahead) => {
                    let ahead = ahead.take();
                    if let Some(next) = ready!(this.stream(ahead, cx)) {
                        return Poll::Ready(next);
                    }
                }
                State::Ending(in_force, left) => {
                    let is_kept = ready!(in_force.as_mut().poll(cx));
                    let mut left = std::mem::take(left);
                    if !is_kept {
                        left = [Some(Err(BodyError::Broken(Untold.into())))].into();
                    }
                    this.state = State::Ended(left);
                }
                State::Ended(left) => return Poll::Ready(left.pop_front().flatten()),
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Streaming(None) => self.body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for BanAtEnd {
    /// The client left: the answer broke off.
    fn drop(&mut self) {
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        let (shared, bans) = (Arc::clone(&self.shared), Arc::clone(&self.bans));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // A drain waits for it.
            let open = shared.drain.track();
            runtime.spawn(async move {
                shared.invalidation.put_write_in_force(&bans).await;
                drop(open);
            });
        }
    }
}
