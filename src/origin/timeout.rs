//! A response body that must keep arriving.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::body::OriginBody;
use crate::message::BodyError;

/// Breaks a body of which nothing arrives for too long. The timer is made
/// only once something has to be waited for.
#[derive(Debug)]
pub struct IdleLimited {
    body: OriginBody,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl IdleLimited {
    /// `body`, with at most `limit` between two of its pieces.
    #[must_use]
    pub fn new(body: OriginBody, limit: Duration) -> Self {
        Self {
            body,
            limit,
            timer: None,
            is_waiting: false,
        }
    }
}

impl HttpBody for IdleLimited {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.is_waiting = false;
            return Poll::Ready(frame);
        }
        let limit = self.limit;
        let deadline = Instant::now() + limit;
        let was_waiting = std::mem::replace(&mut self.is_waiting, true);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !was_waiting {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::Idle(limit))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
