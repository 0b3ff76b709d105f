//! A response is being answered until its body is over.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::gate::Permit;
use crate::message::{Body, BodyError};

/// Keeps the permit with a body that is streamed, until that is over or its
/// client gone. One that is in memory whole needs nothing of us any more: its
/// permit is given back at once, and its body is not boxed.
pub(super) fn until_over(body: Body, permit: Permit) -> Body {
    match body {
        Body::Empty | Body::Full(_) => body,
        body => Body::boxed(Held {
            body,
            permit: Some(permit),
        }),
    }
}

struct Held {
    body: Body,
    permit: Option<Permit>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let next = Pin::new(&mut this.body).poll_frame(cx);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            this.permit = None;
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
