//! Request bodies on their way through the server: bounded in size, in silence
//! and in slowness.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::deadlines::Deadline;
use super::respond::Problem;
use super::slowness::Allowance;
use crate::config::Limits;
use crate::message::{Body, BodyError};

/// Why a request's body failed, once it did. Whoever read the body may have
/// made something else of it by the time the request is answered; this is what
/// the client is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate(Option<Arc<OnceLock<Problem>>>);

impl Fate {
    /// What the failure is to the client, if there was one.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.0.as_ref().and_then(|fate| fate.get().cloned())
    }
}

/// What a request body comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Http1,
    Http2,
    /// HTTP/2, for a call of gRPC: its client may be silent for as long as this,
    /// while the origin has the word.
    Call(Duration),
}

/// Puts a request body under the limits: `413` at once where it says that it
/// is too large. A request without a body costs nothing here.
pub(super) fn guard<B>(
    incoming: B,
    carrier: Carrier,
    limits: &Limits,
) -> Result<(Body, Fate), Problem>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if incoming.is_end_stream() {
        return Ok((Body::Empty, Fate::default()));
    }
    let bytes_max = bytes_max(limits);
    check_length(incoming.size_hint().lower(), bytes_max)?;
    let fate = Arc::new(OnceLock::new());
    let (idle_timeout, rate_min) = match carrier {
        Carrier::Call(idle_timeout) => (idle_timeout, 0),
        Carrier::Http1 | Carrier::Http2 => (limits.body_idle_timeout, limits.body_rate_min),
    };
    let guarded = Guarded {
        incoming: Some(incoming),
        is_h2: carrier != Carrier::Http1,
        bytes_max,
        bytes: 0,
        idle_timeout,
        allowance: Allowance::new(rate_min, idle_timeout),
        deadline: Deadline::default(),
        fate: Arc::clone(&fate),
    };
    Ok((Body::boxed(guarded), Fate(Some(fate))))
}

/// The same for a body that came with its head.
pub(super) fn whole(content: Bytes, limits: &Limits) -> Result<(Body, Fate), Problem> {
    check_length(content.len() as u64, bytes_max(limits))?;
    Ok((Body::full(content), Fate::default()))
}

/// How large a request body may be.
fn bytes_max(limits: &Limits) -> Option<u64> {
    Some(limits.body_bytes_max).filter(|&bytes_max| bytes_max > 0)
}

fn check_length(length: u64, bytes_max: Option<u64>) -> Result<(), Problem> {
    match bytes_max {
        Some(bytes_max) if length > bytes_max => Err(Problem::content_too_large(bytes_max)),
        _ => Ok(()),
    }
}

/// A request body under the limits.
struct Guarded<B> {
    /// `None` once it failed.
    incoming: Option<B>,
    is_h2: bool,
    bytes_max: Option<u64>,
    /// Read so far.
    bytes: u64,
    idle_timeout: Duration,
    /// What may still be waited for the client.
    allowance: Allowance,
    deadline: Deadline,
    fate: Arc<OnceLock<Problem>>,
}

impl<B: HttpBody> Guarded<B> {
    fn is_cut_short(&self) -> bool {
        let has_end = self.incoming.as_ref().is_none_or(HttpBody::is_end_stream);
        self.is_h2 && !has_end
    }

    fn fail(&mut self, error: BodyError) -> Option<Result<Frame<Bytes>, BodyError>> {
        // Dropped, so that nothing more of it is taken from the connection.
        self.incoming = None;
        // Set once only: the incoming body is gone from here on.
        self.fate.get_or_init(|| Problem::from(&error));
        Some(Err(error))
    }
}

impl<B> HttpBody for Guarded<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(None);
        };
        let Poll::Ready(next) = Pin::new(incoming).poll_frame(cx) else {
            if !this.deadline.is_set() {
                let now = Instant::now();
                let patience = this.allowance.wait(now).min(this.idle_timeout);
                this.deadline.set(now + patience);
            }
            ready!(this.deadline.poll(cx));
            let error = if this.allowance.is_spent(Instant::now()) {
                BodyError::Slow
            } else {
                BodyError::Idle(this.idle_timeout)
            };
            return Poll::Ready(this.fail(error));
        };
        if this.deadline.is_set() {
            this.deadline.clear();
            this.allowance.waited(Instant::now());
        }
        let frame = match next {
            // A stream of HTTP/2 that was reset without an error ends without its end.
            None if this.is_cut_short() => {
                let cut = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Poll::Ready(this.fail(BodyError::Broken(cut.into())));
            }
            None => return Poll::Ready(None),
            Some(Err(error)) => {
                return Poll::Ready(this.fail(BodyError::Broken(error.into())));
            }
            Some(Ok(frame)) => frame,
        };
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        this.bytes += bytes;
        this.allowance.earn(bytes);
        if let Some(bytes_max) = this.bytes_max
            && this.bytes > bytes_max
        {
            return Poll::Ready(this.fail(BodyError::TooLarge(bytes_max)));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}
