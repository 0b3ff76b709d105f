//! One exchange with the upstream over HTTP/2: a stream of a connection that
//! others share.
//!
//! Promises: the request carries what HTTP/2 allows; one that the upstream says
//! it did not process (GOAWAY, REFUSED_STREAM) is asked again once, whatever its
//! method, and one whose connection was used before and broke, where it may be
//! repeated; both only if its content is still here. Dropped before it is over,
//! it resets its stream and no other.
//!
//! [`restart`]: super::restart

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

use super::content::{Content, Upload};
use super::error::{OriginError, OriginErrorKind, chain};
use super::http2::{Lease, Way};
use super::pool::Pool;
use super::restart::{RESENDS_MAX, RestartWindow, is_asked_again};
use crate::gate::Permit;
use crate::message::Body;
use crate::message::grpc::is_grpc;

/// A response that arrives.
pub(super) struct Stream {
    incoming: Incoming,
    upload: Upload,
    pool: Arc<Pool>,
    lease: Lease,
    /// Leave to have an exchange.
    _permit: Permit,
}

/// A failed try, and whether another one is in order.
struct Failed {
    error: OriginError,
    again: Again,
}

/// Whether another try is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    Not,
    /// The upstream has not processed it; what ended is the connection, or the
    /// exchange alone.
    Unprocessed {
        is_connection: bool,
    },
    /// The connection broke, and the request may be repeated.
    Repeatable,
}

/// Sends a request over this connection and waits for the response head.
///
/// # Errors
/// [`OriginError`], which says whether the origin may have acted.
pub(super) async fn send(
    pool: &Arc<Pool>,
    permit: Permit,
    mut lease: Lease,
    request: Request<Body>,
    limit: Duration,
    window: Option<RestartWindow>,
) -> Result<(http::response::Parts, Stream), OriginError> {
    let (mut parts, body) = request.into_parts();
    let is_call = parts.headers.get(CONTENT_TYPE).is_some_and(is_grpc);
    let limit = match is_call {
        true => pool.config.grpc_idle_timeout,
        false => limit,
    };
    say_as_http2(&mut parts, pool)?;
    let upload = Upload::new(body, !is_call);
    // Dropped on the way, it takes the request with it.
    let guard = GiveUp(&upload);
    let again = parts;
    let mut content = upload.content();
    let mut asked_again = 0;
    loop {
        let failed = match ask(limit, &lease, again.clone(), content, &upload).await {
            Ok(response) => return arrived(response, guard, &upload, pool, lease, permit),
            Err(failed) => failed,
        };
        let at_once = match failed.again {
            Again::Not => return Err(failed.error),
            Again::Unprocessed { .. } => asked_again < pool.config.retries.max(1),
            Again::Repeatable => is_asked_again(&pool.config, asked_again, lease.is_reused),
        };
        let is_of_connection = failed.again
            != Again::Unprocessed {
                is_connection: false,
            };
        let may_be_sent_again = failed.again != Again::Repeatable || asked_again < RESENDS_MAX;
        let has_time = window.as_ref().is_some_and(RestartWindow::is_open);
        let may_wait = may_be_sent_again && has_time && is_of_connection;
        if !at_once && !may_wait {
            return Err(failed.error);
        }
        content = match upload.begin() {
            Some(content) => content,
            None => return Err(failed.error),
        };
        asked_again += 1;
        pool.counters.retries.increment();
        let after = (!at_once).then(|| failed.error.clone());
        lease = match pool.way(false, window.as_ref(), after, asked_again).await? {
            Way::Http2(lease) => lease,
            // It speaks something else by now.
            Way::Http1(_) => return Err(failed.error),
        };
    }
}

/// Gives the content up when dropped.
struct GiveUp<'a>(&'a Upload);

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

fn arrived(
    response: Response<Incoming>,
    guard: GiveUp<'_>,
    upload: &Upload,
    pool: &Arc<Pool>,
    lease: Lease,
    permit: Permit,
) -> Result<(http::response::Parts, Stream), OriginError> {
    let (mut head, incoming) = response.into_parts();
    one_length(&mut head.headers)?;
    std::mem::forget(guard);
    pool.counters.answered();
    let stream = Stream {
        incoming,
        upload: upload.clone(),
        pool: Arc::clone(pool),
        lease,
        _permit: permit,
    };
    Ok((head, stream))
}

/// One try.
async fn ask(
    limit: Duration,
    lease: &Lease,
    parts: Parts,
    content: Content,
    upload: &Upload,
) -> Result<Response<Incoming>, Failed> {
    let is_idempotent = parts.method.is_idempotent();
    let mut sender = lease.sender.clone();
    let mut answer = pin!(sender.try_send_request(Request::from_parts(parts, content)));
    let mut late = pin!(sleep_until(upload.patience(limit)));
    let answered = poll_fn(|cx| {
        loop {
            if let Poll::Ready(answered) = answer.as_mut().poll(cx) {
                return Poll::Ready(Some(answered));
            }
            ready!(late.as_mut().poll(cx));
            let until = upload.patience(limit);
            if until <= Instant::now() {
                return Poll::Ready(None);
            }
            late.as_mut().reset(until);
        }
    });
    let mut refused = match answered.await {
        Some(Ok(response)) => return Ok(response),
        Some(Err(refused)) => refused,
        None => {
            // Whether anything comes of this connection is not known.
            lease.retire();
            let error = OriginError::bare(OriginErrorKind::ResponseTimeout);
            return Err(Failed {
                error: error.after(upload.is_whole()),
                again: Again::Not,
            });
        }
    };
    if let Some(broken) = upload.take_failure() {
        return Err(Failed {
            error: OriginError::new(OriginErrorKind::RequestBody, broken),
            again: Again::Not,
        });
    }
    let was_sent = refused.take_message().is_none();
    let ended = Ended::of(refused.error());
    if ended != Ended::Stream {
        lease.retire();
    }
    let is_unprocessed = !was_sent || is_unprocessed(refused.error());
    let is_connection = ended == Ended::Connection;
    let again = if is_unprocessed {
        Again::Unprocessed { is_connection }
    } else if is_connection && is_idempotent {
        Again::Repeatable
    } else {
        Again::Not
    };
    let error = OriginError::new(ended.kind(), refused.into_error());
    Err(Failed {
        error: error.after(upload.is_whole()),
        again,
    })
}

/// What ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// The exchange alone.
    Stream,
    /// The connection.
    Connection,
    /// The connection: what came was not HTTP/2.
    Malformed,
}

impl Ended {
    fn of(error: &hyper::Error) -> Self {
        match cause(error) {
            Some(cause) if cause.is_reset() && cause.is_remote() => Self::Stream,
            Some(cause) if cause.is_reset() && cause.is_library() => Self::Malformed,
            Some(cause) if cause.is_go_away() && cause.is_library() => Self::Malformed,
            _ => Self::Connection,
        }
    }

    fn kind(self) -> OriginErrorKind {
        match self {
            Self::Stream | Self::Connection => OriginErrorKind::Reset,
            Self::Malformed => OriginErrorKind::Protocol,
        }
    }
}

/// Whether the upstream says that it did not look at the request (RFC 9113 §8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    cause(error).is_some_and(|cause| {
        let is_refused = cause.is_reset() && cause.reason() == Some(Reason::REFUSED_STREAM);
        cause.is_remote() && (is_refused || cause.is_go_away())
    })
}

fn cause(error: &hyper::Error) -> Option<&h2::Error> {
    chain(error.source()?).find_map(|cause| cause.downcast_ref::<h2::Error>())
}

/// Fields of one connection, which HTTP/2 does not have (RFC 9113 §8.2.2).
static FORBIDDEN: [HeaderName; 7] = [
    CONNECTION,
    HOST,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Says what HTTP/1 says in ways of its own as HTTP/2 does.
fn say_as_http2(parts: &mut Parts, pool: &Pool) -> Result<(), OriginError> {
    let host = parts.headers.get(HOST).map(HeaderValue::as_bytes);
    let authority = host.and_then(|host| Authority::try_from(host).ok());
    for name in &FORBIDDEN {
        parts.headers.remove(name);
    }
    if parts.headers.get(TE).is_some_and(|te| te != "trailers") {
        parts.headers.remove(TE);
    }
    let target = parts.uri.path_and_query().cloned();
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(match pool.is_secure() {
        true => Scheme::HTTPS,
        false => Scheme::HTTP,
    });
    uri.authority = authority.or_else(|| pool.authority().cloned());
    uri.path_and_query = Some(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.uri =
        Uri::from_parts(uri).map_err(|error| OriginError::new(OriginErrorKind::Protocol, error))?;
    parts.version = Version::HTTP_2;
    Ok(())
}

/// A length that is said more than once is as good, if it is the same.
fn one_length(fields: &mut HeaderMap) -> Result<(), OriginError> {
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    let (Some(first), Some(second)) = (lengths.next(), lengths.next()) else {
        return Ok(());
    };
    if second != first || lengths.any(|other| other != first) {
        return Err(OriginError::bare(OriginErrorKind::Protocol));
    }
    let first = first.clone();
    fields.insert(CONTENT_LENGTH, first);
    Ok(())
}

impl Stream {
    /// How much of the content has yet to come, where that was said.
    pub(super) fn left(&self) -> Option<u64> {
        match self.incoming.is_end_stream() {
            true => Some(0),
            false => self.incoming.size_hint().exact(),
        }
    }

    /// Whether nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// What comes next; `None` at the end.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        let next = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        Poll::Ready(next.map(|frame| match frame {
            Ok(frame) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.pool.counters.body_bytes.add(bytes as u64);
                Ok(frame)
            }
            Err(error) => {
                let ended = Ended::of(&error);
                if ended != Ended::Stream {
                    self.lease.retire();
                }
                Err(OriginError::new(ended.kind(), error))
            }
        }))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.upload.give_up();
    }
}

/// Without what it carries, which may be secret.
impl fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Stream({:?})", self.lease)
    }
}
