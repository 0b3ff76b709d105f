//! The one body type of the proxy, for requests and responses in either direction.
//!
//! An enum and not a box, so that a response from the store costs no
//! allocation for its body.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;

use super::tee;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer that was sending it broke off or broke the framing.
    #[error("the body broke off: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing arrived for so long.
    #[error("nothing of the body arrived for {0:?}")]
    Idle(Duration),
    /// It came more slowly than it has to.
    #[error("the body arrived too slowly")]
    Slow,
    /// It grew past the configured limit (bytes).
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// This reader fell too far behind the others of a shared body.
    #[error("this reader was too slow and was left behind")]
    LeftBehind,
}

/// A message body.
#[derive(Debug, Default)]
pub enum Body {
    /// No content.
    #[default]
    Empty,
    /// Content that is in memory whole; `None` once it was read.
    Full(Option<Bytes>),
    /// Content arriving from a connection.
    Incoming(Incoming),
    /// Content that several readers stream from one fetch.
    Shared(tee::Reader),
    /// Anything else: guarded, limited or otherwise wrapped content.
    Boxed(UnsyncBoxBody<Bytes, BodyError>),
}

impl Body {
    /// A body of these bytes.
    #[must_use]
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() {
            Self::Empty
        } else {
            Self::Full(Some(bytes))
        }
    }

    /// Wraps any other body.
    pub fn boxed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Send + 'static,
    {
        Self::Boxed(UnsyncBoxBody::new(body))
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        Self::Incoming(incoming)
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Incoming(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map_err(|error| BodyError::Broken(error.into())),
            Self::Shared(reader) => Pin::new(reader).poll_frame(cx),
            Self::Boxed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_none(),
            Self::Incoming(incoming) => incoming.is_end_stream(),
            Self::Shared(reader) => reader.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Incoming(incoming) => incoming.size_hint(),
            Self::Shared(reader) => reader.size_hint(),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}
