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
    early: VecDeque<Result<Frame<Bytes>, BodyError>>,
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

    /// Takes in a body of at most `bytes_max`, for as long as `wait`. Says whether
    /// all of it is there: an answer that comes in one piece was made before it
    /// was sent.
    pub async fn arrives(&mut self, bytes_max: u64, wait: Duration) -> bool {
        if self.is_end_stream() {
            return true;
        }
        if self.size_hint().lower() > bytes_max {
            return false;
        }
        let all = async {
            let mut bytes = 0;
            while !self.body.is_end_stream() {
                match poll_fn(|cx| self.poll_origin(cx)).await {
                    Some(Ok(frame)) => {
                        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                        self.early.push_back(Ok(frame));
                        if bytes > bytes_max {
                            return false;
                        }
                    }
                    None => return true,
                    // For the reader to meet.
                    Some(Err(error)) => {
                        self.early.push_back(Err(error));
                        return false;
                    }
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
        if let Some(next) = this.early.pop_front() {
            return Poll::Ready(Some(next));
        }
        this.poll_origin(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.early.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.body.size_hint();
        let early = self.early.iter().flatten().filter_map(Frame::data_ref);
        let early: u64 = early.map(|data| data.len() as u64).sum();
        match left.exact() {
            Some(left) => SizeHint::with_exact(left + early),
            None => left,
        }
    }
}
