//! One connection: whose it is, whether it is encrypted, which protocol it speaks, and who
//! serves it.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout};

use super::deadlines::Deadline;
use super::direct::Answers;
use super::http1::Session;
use super::http2;
use super::listener::{Entrance, Place};
use super::opened::Opened;
use super::prefixed::Prefixed;
use super::proxied::{self, Found};
use super::stack::Stack;
use super::tls::{self, Tls};
use crate::config::Limits;
use crate::message::client::ClientAddress;
use crate::message::scheme::Scheme;
use crate::proxy::Peer;

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read at once for a PROXY header: most are shorter (bytes).
const HEADER_READ_BYTES: usize = 256;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Serves `socket` until it is over, or until it is cut by the drain.
pub(super) async fn serve<I, S>(
    mut socket: I,
    address: ClientAddress,
    entrance: Arc<Entrance>,
    place: Place,
    service: S,
    limits: Arc<Limits>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Answers,
{
    let mut held = BytesMut::new();
    let address = if entrance.proxy_protocol {
        let drain = place.drain().clone();
        let header = timeout(
            limits.head_timeout,
            proxy_header(&mut socket, address, &mut held, &limits),
        );
        let said = tokio::select! {
            biased;
            said = header => said.unwrap_or(Err("it did not come in time")),
            _ = drain.begun() => return,
        };
        match said {
            Ok(Some(address)) => address,
            Ok(None) => return,
            Err(reason) => {
                service.proxy_header_refused();
                tracing::debug!(reason, peer = %address, "no PROXY header");
                return;
            }
        }
    } else {
        address
    };
    let tls = entrance.tls.as_ref();
    let scheme = tls.map_or(Scheme::Http, |_| Scheme::Https);
    let stack = Stack {
        peer: Peer { address, scheme },
        limits,
    };
    match tls {
        None => speak(socket, held, None, stack, place, service).await,
        // Boxed: connections without TLS are to be no larger for it.
        Some(tls) => {
            let socket = Prefixed::new(socket, held.freeze());
            Box::pin(encrypted(socket, tls, stack, place, service)).await;
        }
    }
}

/// Reads the header of the PROXY protocol with which a connection of `peer`
/// begins, and more into `held` where more came with it. Gives the address that
/// the connection is from; none, where it ends before it has begun.
async fn proxy_header<I: AsyncRead + Unpin>(
    socket: &mut I,
    peer: ClientAddress,
    held: &mut BytesMut,
    limits: &Limits,
) -> Result<Option<ClientAddress>, &'static str> {
    if !limits.trusts(peer) {
        return Err("its peer is not among the trusted proxies");
    }
    loop {
        match proxied::find(held) {
            Found::Header(length, source) => {
                held.advance(length);
                if held.is_empty() {
                    *held = BytesMut::new();
                }
                return Ok(Some(source.map_or(peer, |source| source.ip().into())));
            }
            Found::Nothing => return Err("it begins with something else"),
            Found::More => {}
        }
        held.reserve(HEADER_READ_BYTES);
        match socket.read_buf(held).await {
            // A load balancer that looks whether we are here says nothing.
            Ok(0) if held.is_empty() => return Ok(None),
            Ok(0) | Err(_) => return Err("it ends within it"),
            Ok(_) => {}
        }
    }
}

/// Shakes hands, and serves what comes over TLS.
async fn encrypted<I, S>(socket: I, tls: &Tls, stack: Stack, place: Place, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Answers,
{
    let drain = place.drain().clone();
    let handshake = timeout(stack.limits.head_timeout, tls.accept(socket));
    let shaken = tokio::select! {
        biased;
        shaken = handshake => shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        _ = drain.begun() => return,
    };
    let socket = match shaken {
        Ok(socket) => socket,
        Err(error) => {
            service.handshake_failed();
            tracing::debug!(%error, peer = %stack.peer.address, "a TLS handshake failed");
            return;
        }
    };
    let agreed = tls::is_http_2(&socket).map(|is_http_2| {
        if is_http_2 {
            Protocol::Http2
        } else {
            Protocol::Http1
        }
    });
    let held = BytesMut::new();
    speak(socket, held, agreed, stack, place, service).await;
}

/// Serves what is spoken on `socket`, after the bytes in `held`: the protocol that
/// was `agreed`, or else the one that the client begins with.
async fn speak<I, S>(
    mut socket: I,
    mut held: BytesMut,
    agreed: Option<Protocol>,
    stack: Stack,
    place: Place,
    service: S,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Answers,
{
    let drain = place.drain().clone();
    let mut deadline = Deadline::default();
    deadline.set(Instant::now() + stack.limits.head_timeout);
    let found = tokio::select! {
        biased;
        found = poll_fn(|cx| poll_protocol(cx, &mut socket, &mut held, &mut deadline)) => found,
        _ = drain.begun() => return,
    };
    let Ok(Some(found)) = found else {
        // Nobody said anything: there is nobody to answer.
        return;
    };
    match (found, agreed) {
        // HTTP/1 refuses the beginning of HTTP/2 like any other bad head.
        (Protocol::Http1, None) | (_, Some(Protocol::Http1)) => {
            Session::new(socket, held, stack, service, place, deadline)
                .serve()
                .await;
        }
        (Protocol::Http2, None | Some(Protocol::Http2)) => {
            let write_idle_timeout = stack.limits.write_idle_timeout;
            let socket = Opened::new(socket, held.freeze(), write_idle_timeout, place);
            http2::serve(socket, service, stack, &drain).await;
        }
        (Protocol::Http1, Some(Protocol::Http2)) => service.connection_failed(),
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
