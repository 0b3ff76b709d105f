//! HTTP/2 by prior knowledge: hyper speaks it, within our bounds.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::direct::{Answers, Direct};
use super::opened::Opened;
use super::stack::Stack;
use crate::config::Limits;
use crate::drain::Drain;
use crate::message::{Body, BodyError};

/// Streams a client may have open at once; more are refused by the protocol.
const STREAMS_MAX: u32 = 128;
/// Streams reset by the client before we took them; past it the connection
/// ends (rapid reset).
const PENDING_RESETS_MAX: usize = 32;
/// Streams we reset for the client's errors; past it the connection ends.
const LOCAL_RESETS_MAX: usize = 256;
/// What a client may send ahead, per stream and in all (bytes).
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;
/// What waits to be sent, per stream (bytes).
const SEND_BYTES_MAX: usize = 256 * 1024;
/// A ping every so often, and the connection ends where none comes back.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a connection until it is over, or until it is cut by the drain.
pub(super) async fn serve<I, S>(socket: Opened<I>, service: S, stack: Stack, drain: &Drain)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Answers,
{
    let activity = Activity::new();
    let socket = socket.watched_by(Arc::clone(&activity));
    let limits = Arc::clone(&stack.limits);
    let stack = Arc::new(stack);
    let watching = Arc::clone(&activity);
    let counting = service.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let in_flight = InFlight::begin(Arc::clone(&watching));
        // Moved about by hyper: as a pointer.
        let answering = Box::pin(Arc::clone(&stack).answer(service.clone(), request));
        async move {
            let response = answering.await?;
            Ok::<_, std::convert::Infallible>(response.map(|body| Served { body, in_flight }))
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let deadline = tokio::select! {
        biased;
        ended = connection.as_mut() => return log(ended, &counting),
        deadline = drain.begun_beside() => deadline,
        () = quiet(&activity, &limits) => Instant::now() + limits.head_timeout,
    };
    connection.as_mut().graceful_shutdown();
    let cut = cut(drain, deadline);
    tokio::select! {
        biased;
        ended = connection => log(ended, &counting),
        () = cut => {}
    }
}

/// Waits until `deadline`, or until the drain cuts, whichever is first.
async fn cut(drain: &Drain, deadline: Instant) {
    tokio::select! {
        () = sleep_until(deadline) => {}
        () = drain.cut() => {}
    }
}

/// Waits until a connection has been without use for too long: no request
/// under way, or responses that the client does not take.
async fn quiet(activity: &Activity, limits: &Limits) {
    loop {
        let patience = if activity.waits_for_reader() {
            Some(limits.write_idle_timeout)
        } else if activity.is_idle() {
            Some(limits.idle_timeout)
        } else {
            None
        };
        let now = Instant::now();
        let look_again = match patience.map(|patience| activity.last() + patience) {
            Some(until) if until <= now => return,
            Some(until) => until,
            None => now + limits.write_idle_timeout.min(limits.idle_timeout),
        };
        sleep_until(look_again).await;
    }
}

/// A connection that ends in an error is a client's affair; it is counted, and
/// the log is for those who look closely.
fn log(ended: hyper::Result<()>, service: &impl Direct) {
    if let Err(error) = ended {
        service.connection_failed();
        tracing::debug!(%error, "connection ended early");
    }
}

/// What goes on on a connection.
#[derive(Debug)]
pub(super) struct Activity {
    /// Requests the stack was called with.
    started: AtomicU64,
    /// Those of them whose response has been handed over whole, or dropped.
    finished: AtomicU64,
    /// Response bodies that gave a piece and have not been asked for the next.
    unread: AtomicU64,
    /// The connection's beginning, and when something last went on after it.
    began: Instant,
    active_millis: AtomicU64,
}

impl Activity {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            started: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            began: Instant::now(),
            active_millis: AtomicU64::new(0),
        })
    }

    /// Something went on.
    pub(super) fn touch(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active_millis.store(millis, Ordering::Relaxed);
    }

    /// When something last went on.
    fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.active_millis.load(Ordering::Relaxed))
    }

    /// Whether there is no request under way.
    fn is_idle(&self) -> bool {
        self.finished.load(Ordering::Acquire) == self.started.load(Ordering::Acquire)
    }

    /// Whether the client has yet to take what it was given.
    fn waits_for_reader(&self) -> bool {
        self.unread.load(Ordering::Acquire) > 0
    }
}

/// A request under way; over when this is dropped.
#[derive(Debug)]
struct InFlight {
    activity: Arc<Activity>,
    unread: bool,
}

impl InFlight {
    /// The connection's next request.
    fn begin(activity: Arc<Activity>) -> Self {
        activity.started.fetch_add(1, Ordering::AcqRel);
        activity.touch();
        Self {
            activity,
            unread: false,
        }
    }

    /// Notes whether a piece of its response is with the client now.
    fn set_unread(&mut self, unread: bool) {
        if unread != self.unread {
            self.unread = unread;
            if unread {
                self.activity.unread.fetch_add(1, Ordering::AcqRel);
            } else {
                self.activity.unread.fetch_sub(1, Ordering::AcqRel);
            }
        }
        self.activity.touch();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.set_unread(false);
        self.activity.finished.fetch_add(1, Ordering::AcqRel);
    }
}

/// A response body on its way out. The request is over when it is dropped.
struct Served {
    body: Body,
    in_flight: InFlight,
}

impl HttpBody for Served {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let next = Pin::new(&mut this.body).poll_frame(cx);
        // Given a piece, the client's side is next; without one, the origin's.
        this.in_flight.set_unread(next.is_ready());
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
