//! The body of a response of the origin: the exchange is under way until it
//! is over, or dropped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use crate::gate::Permit;
use crate::message::BodyError;
use crate::telemetry::upstream::UpstreamCounters;

/// What arrives of a response's body.
#[derive(Debug)]
pub struct OriginBody {
    body: Incoming,
    counters: Arc<UpstreamCounters>,
    /// Leave to have an exchange; given back at the end of the body.
    permit: Option<Permit>,
    /// What [`Self::arrives`] took in.
    early: VecDeque<Frame<Bytes>>,
}

impl OriginBody {
    pub(super) fn new(body: Incoming, permit: Permit, counters: Arc<UpstreamCounters>) -> Self {
        let is_over = body.is_end_stream();
        Self {
            body,
            counters,
            permit: (!is_over).then_some(permit),
            early: VecDeque::new(),
        }
    }

    /// Takes in a body that states a length of at most `bytes_max`, for as long
    /// as `wait`. Says whether all of it is there: an answer that comes in one
    /// piece was made before it was sent.
    pub async fn arrives(&mut self, bytes_max: u64, wait: Duration) -> bool {
        if self.is_end_stream() {
            return true;
        }
        let is_small = self
            .size_hint()
            .exact()
            .is_some_and(|length| length <= bytes_max);
        if !is_small {
            return false;
        }
        let all = async {
            while !self.body.is_end_stream() {
                match poll_fn(|cx| self.poll_origin(cx)).await {
                    Some(Ok(frame)) => self.early.push_back(frame),
                    None => return true,
                    // Met again by who reads it.
                    Some(Err(_)) => return false,
                }
            }
            true
        };
        tokio::time::timeout(wait, all).await.unwrap_or(false)
    }

    fn poll_origin(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let next = Pin::new(&mut self.body).poll_frame(cx);
        match &next {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.counters.body_bytes.add(data.len() as u64);
                }
            }
            Poll::Ready(None | Some(Err(_))) => self.permit = None,
        }
        next.map_err(|error| BodyError::Broken(error.into()))
    }
}

impl HttpBody for OriginBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(frame) = this.early.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        this.poll_origin(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.early.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.body.size_hint();
        let early = self.early.iter().filter_map(Frame::data_ref);
        let early: u64 = early.map(|data| data.len() as u64).sum();
        match left.exact() {
            Some(left) => SizeHint::with_exact(left + early),
            None => left,
        }
    }
}
