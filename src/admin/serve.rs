//! Runs the admin listener, within bounds.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use http::StatusCode;
use http_body::Body;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::parameters::WAIT_MAX;
use super::problem::Problem;
use super::purge::OwnPort;

/// Open connections; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 256;
/// From the first byte of a connection, or the end of the last answer, to the
/// end of a request's head; past it the connection is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a request's body; none is ever read. Past it `413`.
const BODY_BYTES_MAX: u64 = 64 * 1024;
/// To work on one request: what an operator may ask to wait, and some more.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(WAIT_MAX.as_secs() + 15);
/// A connection takes no new request after it; a client that reads its answer
/// slowly is cut soon after.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(300);
/// What is unfinished so long after the drain began is cut.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Rest after a failed accept (out of descriptors), not to spin on it.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Answers on `listener` until `drain` completes, then finishes the requests
/// it has. Made for a current-thread runtime of its own.
pub async fn serve(listener: TcpListener, router: Router, drain: impl Future<Output = ()>) {
    // PURGE tells the listener's own name from a site's by it.
    let router = match listener.local_addr() {
        Ok(address) => router.layer(Extension(OwnPort(address.port()))),
        Err(_) => router,
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (draining, is_draining) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(drain);
    loop {
        let accepted = tokio::select! {
            () = &mut drain => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let answered = answer(stream, router.clone(), is_draining.clone());
                connections.spawn(async move {
                    answered.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener could not accept a connection");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let told = draining.send(true);
    debug_assert!(told.is_ok(), "a receiver stands above");
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_TIMEOUT, finished).await.is_err() {
        tracing::warn!("admin requests were cut at the end of the drain");
        connections.abort_all();
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn answer(stream: TcpStream, router: Router, mut is_draining: watch::Receiver<bool>) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = is_draining.wait_for(|is_draining| *is_draining) => None,
        () = sleep(CONNECTION_AGE_MAX) => None,
    };
    let ended = match ended {
        Some(ended) => Ok(ended),
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(REQUEST_TIMEOUT, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection ended early"),
        Err(_) => tracing::debug!("an admin connection took too long and was cut"),
    }
}

/// Middleware: bounds a request's body and the time to work on it.
pub(super) async fn bound_request(request: Request, next: Next) -> Response {
    if request.body().size_hint().lower() > BODY_BYTES_MAX {
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "no path here takes a body of that length",
        )
        .into_response();
    }
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "this took too long; whether it was done is not known",
        )
        .into_response(),
    }
}
