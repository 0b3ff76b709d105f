//! Answers that need no request to be made of a head.
//!
//! A session of HTTP/1 shows the service each parsed head of a plain request
//! before it makes a request of it. The service may answer it there and then,
//! or begin to pass it on where that is all there is to do. It changes nothing
//! for the client: order, keep-alive, limits and deadlines are the session's in
//! either case.

use std::time::Instant;

use http::{Request, Response, StatusCode};
use tower::Service;

use super::respond::Rejection;
use crate::message::Body;
use crate::message::outgoing::Outgoing;
use crate::proxy::{DirectPass, Peer, Plain, Proxy};

/// A service that can answer some requests at once.
pub trait Direct {
    /// Answers a plain request that came from `peer` and whose head had been
    /// read at `received`: writes
    /// the whole response and says so. Else writes nothing.
    fn answer_directly(
        &self,
        plain: &Plain<'_>,
        peer: Peer,
        received: Instant,
        outgoing: &mut Outgoing,
    ) -> bool;

    /// Answers a request of HTTP/2 without content, if it can at once.
    fn respond_directly(
        &self,
        parts: &http::request::Parts,
        peer: Peer,
        received: Instant,
    ) -> Option<Response<Body>>;

    /// A connection ended in an error: to be counted.
    fn connection_failed(&self);

    /// A TLS handshake came to nothing: to be counted.
    fn handshake_failed(&self);

    /// A connection was closed for its PROXY header: to be counted.
    fn proxy_header_refused(&self);

    /// A request was refused before it came to the service: to be counted.
    fn refused(&self, status: StatusCode, peer: Peer, received: Instant);

    /// Begins to pass such a request on, where that is all there is to do.
    /// Else nothing has happened.
    fn pass_directly(
        &self,
        plain: &Plain<'_>,
        peer: Peer,
        received: Instant,
    ) -> Option<Box<DirectPass>>;
}

/// What a listener serves: it answers every request, some of them at once, on
/// any thread.
pub trait Answers:
    Service<
        Request<Body>,
        Response = Response<Body>,
        Error: Into<Rejection> + Send + 'static,
        Future: Send,
    > + Direct
    + Clone
    + Send
    + Unpin
    + 'static
{
}

impl<S> Answers for S where
    S: Service<
            Request<Body>,
            Response = Response<Body>,
            Error: Into<Rejection> + Send + 'static,
            Future: Send,
        > + Direct
        + Clone
        + Send
        + Unpin
        + 'static
{
}

impl Direct for Proxy {
    fn answer_directly(
        &self,
        plain: &Plain<'_>,
        peer: Peer,
        received: Instant,
        outgoing: &mut Outgoing,
    ) -> bool {
        Self::answer_directly(self, plain, peer, received, outgoing)
    }

    fn respond_directly(
        &self,
        parts: &http::request::Parts,
        peer: Peer,
        received: Instant,
    ) -> Option<Response<Body>> {
        Self::respond_directly(self, parts, peer, received)
    }

    fn connection_failed(&self) {
        Self::connection_failed(self);
    }

    fn handshake_failed(&self) {
        Self::handshake_failed(self);
    }

    fn proxy_header_refused(&self) {
        Self::proxy_header_refused(self);
    }

    fn refused(&self, status: StatusCode, peer: Peer, received: Instant) {
        Self::refused(self, status, peer, received);
    }

    fn pass_directly(
        &self,
        plain: &Plain<'_>,
        peer: Peer,
        received: Instant,
    ) -> Option<Box<DirectPass>> {
        Self::pass_directly(self, plain, peer, received)
    }
}
