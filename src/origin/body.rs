//! The body of a response of the origin: the exchange is under way until it
//! is over, or dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

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
}

impl OriginBody {
    pub(super) fn new(body: Incoming, permit: Permit, counters: Arc<UpstreamCounters>) -> Self {
        let is_over = body.is_end_stream();
        Self {
            body,
            counters,
            permit: (!is_over).then_some(permit),
        }
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
        let next = Pin::new(&mut this.body).poll_frame(cx);
        match &next {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    this.counters.body_bytes.add(data.len() as u64);
                }
            }
            Poll::Ready(None | Some(Err(_))) => this.permit = None,
        }
        next.map_err(|error| BodyError::Broken(error.into()))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
