//! One connection: which protocol it speaks, and who serves it.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tower::Service;

use super::deadlines::Deadline;
use super::direct::Direct;
use super::http1::Session;
use super::http2;
use super::listener::Place;
use super::opened::Opened;
use super::respond::Rejection;
use super::stack::Stack;
use crate::config::Limits;
use crate::message::Body;
use crate::proxy::Peer;

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
}

/// Serves `socket` until it is over, or until it is cut by the drain.
pub(super) async fn serve<I, S, E>(
    mut socket: I,
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
    let mut held = BytesMut::new();
    let mut deadline = Deadline::default();
    deadline.set(Instant::now() + limits.head_timeout);
    let protocol = tokio::select! {
        biased;
        protocol = poll_fn(|cx| poll_protocol(cx, &mut socket, &mut held, &mut deadline)) => protocol,
        _ = drain.begun() => return,
    };
    let stack = Stack {
        peer: Peer { address },
        limits,
    };
    match protocol {
        Ok(Some(Protocol::Http1)) => {
            Session::new(socket, held, stack, service, place, deadline)
                .serve()
                .await;
        }
        Ok(Some(Protocol::Http2)) => {
            let write_idle_timeout = stack.limits.write_idle_timeout;
            let socket = Opened::new(socket, held.freeze(), write_idle_timeout, place);
            http2::serve(socket, service, stack, &drain).await;
        }
        // Nobody said anything: there is nobody to answer.
        Ok(None) | Err(_) => {}
    }
}

/// Finds out what the client speaks; `None` where it says nothing.
fn poll_protocol<I: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    socket: &mut I,
    held: &mut BytesMut,
    deadline: &mut Deadline,
) -> Poll<io::Result<Option<Protocol>>> {
    loop {
        let known = held.len().min(PREFACE.len());
        if held[..known] != PREFACE[..known] {
            return Poll::Ready(Ok(Some(Protocol::Http1)));
        }
        if known == PREFACE.len() {
            return Poll::Ready(Ok(Some(Protocol::Http2)));
        }
        let mut space = [MaybeUninit::uninit(); 2048];
        let mut buf = ReadBuf::uninit(&mut space);
        match Pin::new(&mut *socket).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                held.extend_from_slice(buf.filled());
                continue;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {}
            Poll::Pending => ready!(deadline.poll(cx)),
        }
        // The end, or too late. A beginning of the preface is the
        // beginning of an HTTP/1 head like any other.
        let spoke = !held.is_empty();
        return Poll::Ready(Ok(spoke.then_some(Protocol::Http1)));
    }
}
