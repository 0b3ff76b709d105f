//! One connection, from its first byte to its end.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout_at};
use tower::Service;

use super::direct::Direct;
use super::listener::Place;
use super::respond::Rejection;
use super::stack::Stack;
use super::wire::{Exchange, Guard, Protocol};
use crate::config::Limits;
use crate::drain::Drain;
use crate::message::Body;
use crate::proxy::Peer;

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
/// What hyper buffers of HTTP/1 in each direction, raised where heads may be
/// larger (bytes). It reads content into a buffer of this size before it knows
/// whether anybody takes it.
const BUFFER_BYTES_MIN: usize = 32 * 1024;

/// Serves `socket` until it is over, or until it is cut by the drain.
pub(super) async fn serve<I, S, E>(
    socket: I,
    address: SocketAddr,
    place: Place,
    service: S,
    limits: Arc<Limits>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = E>
        + Direct
        + Clone
        + Send
        + Unpin
        + 'static,
    S::Future: Send,
    E: Into<Rejection> + Send + 'static,
{
    let drain = place.drain().clone();
    let exchange = Exchange::new();
    let peer = Peer { address };
    let mut guard = Guard::new(
        socket,
        peer,
        place,
        Arc::clone(&exchange),
        &limits,
        service.clone(),
    );
    let protocol = tokio::select! {
        biased;
        protocol = guard.protocol() => protocol,
        _ = drain.begun() => return,
    };
    let stack = Arc::new(Stack {
        peer,
        limits: Arc::clone(&limits),
        exchange: Arc::clone(&exchange),
    });
    let counting = service.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        Arc::clone(&stack).answer(service.clone(), request)
    });
    match protocol {
        Ok(Some(Protocol::Http1)) => {
            // Until there is something for hyper to do, it is not asked.
            if !serve_directly(&mut guard, &drain).await {
                return;
            }
            let mut builder = http1::Builder::new();
            builder
                .header_read_timeout(None)
                .max_buf_size(BUFFER_BYTES_MIN.max(limits.head_bytes_max.saturating_add(4 * 1024)));
            let connection = builder
                .serve_connection(TokioIo::new(guard), service)
                .with_upgrades();
            let mut connection = pin!(connection);
            let deadline = tokio::select! {
                biased;
                ended = connection.as_mut() => return log(ended, &counting),
                deadline = drain.begun_beside() => deadline,
            };
            exchange.end();
            connection.as_mut().graceful_shutdown();
            if let Ok(ended) = timeout_at(deadline, connection).await {
                log(ended, &counting);
            }
        }
        Ok(Some(Protocol::Http2)) => {
            exchange.watch();
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
            let mut connection = pin!(builder.serve_connection(TokioIo::new(guard), service));
            let deadline = tokio::select! {
                biased;
                ended = connection.as_mut() => return log(ended, &counting),
                deadline = drain.begun_beside() => deadline,
                () = quiet(&exchange, &limits) => Instant::now() + limits.head_timeout,
            };
            connection.as_mut().graceful_shutdown();
            let cut = cut(&drain, deadline);
            tokio::select! {
                biased;
                ended = connection => log(ended, &counting),
                () = cut => {}
            }
        }
        // Nobody said anything: there is nobody to answer.
        Ok(None) | Err(_) => {}
    }
}

/// Answers and passes on what needs no hyper, until something does or the
/// drain begins; what is under way then is finished. Says whether the
/// connection goes on.
async fn serve_directly<I, D>(guard: &mut Guard<I, D>, drain: &Drain) -> bool
where
    I: AsyncRead + AsyncWrite + Unpin,
    D: Direct + Unpin,
{
    let mut begun = pin!(drain.begun_beside());
    loop {
        let pass = tokio::select! {
            biased;
            pass = guard.answer_directly() => pass,
            _ = begun.as_mut() => return true,
        };
        let Some(pass) = pass else {
            return true;
        };
        let mut passing = pin!(guard.pass(pass));
        let goes_on = tokio::select! {
            biased;
            goes_on = passing.as_mut() => goes_on,
            deadline = begun.as_mut() => {
                return timeout_at(deadline, passing).await.unwrap_or(false);
            }
        };
        if !goes_on {
            return false;
        }
    }
}

/// Waits until `deadline`, or until the drain cuts, whichever is first.
async fn cut(drain: &Drain, deadline: Instant) {
    tokio::select! {
        () = sleep_until(deadline) => {}
        () = drain.cut() => {}
    }
}

/// Waits until an HTTP/2 connection has been without use for too long: no
/// request under way, or responses that the client does not take.
async fn quiet(exchange: &Exchange, limits: &Limits) {
    loop {
        let patience = if exchange.waits_for_reader() {
            Some(limits.write_idle_timeout)
        } else if exchange.is_idle() {
            Some(limits.idle_timeout)
        } else {
            None
        };
        let now = Instant::now();
        let look_again = match patience.map(|patience| exchange.last_active() + patience) {
            Some(until) if until <= now => return,
            Some(until) => until,
            None => now + limits.write_idle_timeout.min(limits.idle_timeout),
        };
        sleep_until(look_again).await;
    }
}

/// A connection that ends in an error is a client's affair; it is counted, and
/// the log is for whoever looks closely.
fn log(ended: hyper::Result<()>, service: &impl Direct) {
    if let Err(error) = ended {
        service.connection_failed();
        tracing::debug!(%error, "connection ended early");
    }
}
