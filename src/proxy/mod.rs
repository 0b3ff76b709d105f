//! The life of a request.
//!
//! [`Proxy::serve`] decides which of three lives it has: a *read* of a
//! cacheable route ([`read`]), a *write* ([`mod@write`]), or a *pass* of anything
//! else ([`pass`]). Errors leave as [`Failure`]; only the server knows what
//! status code they become.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response, StatusCode};

use crate::message::Body;
use crate::message::client::ClientAddress;
use crate::message::interim::Interim;
use crate::message::outgoing::Outgoing;
use crate::message::scheme::Scheme;
use crate::origin::request::possible_methods;
use crate::semantics::method::is_safe;

mod ask;
mod collapse;
mod decide;
mod direct;
mod direct_pass;
mod failure;
mod fetch;
mod fill;
mod flight;
mod forward;
mod head;
mod held;
mod hops;
mod judged;
mod landing;
mod lookup;
mod outcome;
mod outlive;
mod part;
mod pass;
mod posted;
mod promote;
mod ranged;
mod read;
mod remember;
mod reply;
mod session;
mod settle;
mod shared;
mod streamed;
mod wire_fields;
mod write;

pub use direct::Plain;
pub use direct_pass::{DirectPass, End, Passing};
pub use failure::{Failure, ProxyError};
pub use outcome::{Outcome, finish_refused};
pub use shared::{Shared, Site, SiteError};

use ask::Ask;

/// Who sent a request; put among its extensions by the server.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its address.
    pub address: ClientAddress,
    /// What its connection is.
    pub scheme: Scheme,
}

/// A request's arrival; put among its extensions by the server.
#[derive(Clone, Debug)]
pub struct Received {
    /// When its head had been read.
    pub at: Instant,
    /// The way of interim responses to its client, where there is one.
    pub interim: Option<Interim>,
}

/// The proxy as one data thread has it. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    /// Which of the site's origin clients is this thread's own.
    thread: usize,
}

impl Proxy {
    /// The proxy of data thread number `thread`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, thread: usize) -> Self {
        Self { shared, thread }
    }

    /// Counts a connection of a client that ended in an error.
    pub fn connection_failed(&self) {
        self.shared.telemetry.connections_failed().increment();
    }

    /// Counts a TLS handshake of a client that came to nothing.
    pub fn handshake_failed(&self) {
        self.shared.telemetry.handshakes_failed().increment();
    }

    /// Counts a connection that was closed for its PROXY header.
    pub fn proxy_header_refused(&self) {
        self.shared.telemetry.proxy_headers_refused().increment();
    }

    /// Counts a request of `peer` that was refused before it came here, and
    /// whose head had been read at `received`.
    pub fn refused(&self, status: StatusCode, peer: Peer, received: Instant) {
        let telemetry = &self.shared.telemetry;
        telemetry.refused(status, received.elapsed(), peer.address);
    }

    /// Answers a plain request at once, where a fresh response is in memory:
    /// writes it to `outgoing`. It came from `peer`; its head had been read at
    /// `received`.
    /// Else nothing has happened, and [`Proxy::serve`] answers it.
    pub fn answer_directly(
        &self,
        plain: &Plain<'_>,
        peer: Peer,
        received: Instant,
        outgoing: &mut Outgoing,
    ) -> bool {
        direct::answer(&self.shared, plain, peer, received, outgoing)
    }

    /// Answers a request of HTTP/2 without content from memory, if it is plain
    /// and a fresh response is there. Else nothing has happened, and
    /// [`Proxy::serve`] answers it.
    #[must_use]
    pub fn respond_directly(
        &self,
        parts: &http::request::Parts,
        peer: Peer,
        received: Instant,
    ) -> Option<Response<Body>> {
        direct::respond(&self.shared, parts, peer, received)
    }

    /// Begins to pass a plain request on to the origin, where no route matches
    /// it. Else nothing has happened, and [`Proxy::serve`] answers it.
    #[must_use]
    pub fn pass_directly(
        &self,
        plain: &Plain<'_>,
        peer: Peer,
        received: Instant,
    ) -> Option<Box<DirectPass>> {
        direct_pass::begin(&self.shared, self.thread, plain, peer, received)
    }

    /// Answers a request.
    ///
    /// # Errors
    /// [`Failure`] where neither the store nor the origin has an answer.
    pub async fn serve(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let (ask, body) = Ask::new(&self.shared, self.thread, request);
        let permit = match self.shared.telemetry.requests().enter().await {
            Ok(permit) => permit,
            Err(refused) => return Err(ask.overloaded(refused)),
        };
        let response = self.answer(ask, body).await?;
        Ok(response.map(|body| held::until_over(body, permit)))
    }

    async fn answer(&self, mut ask: Ask, body: Body) -> Result<Response<Body>, Failure> {
        if let Some(response) = hops::take_one(&mut ask) {
            return Ok(response);
        }
        // An application may take it for a write where its method is none.
        let methods = possible_methods(&ask.method, &ask.forwarded);
        if !methods.iter().all(is_safe) {
            return write::serve(&self.shared, ask, body, methods).await;
        }
        match ask.cacheable() {
            Ok(_) => read::serve(&self.shared, Arc::new(ask)).await,
            Err(why) => pass::serve(&self.shared, &ask, body, why).await,
        }
    }
}

impl tower_service::Service<Request<Body>> for Proxy {
    type Response = Response<Body>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Failure>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let proxy = self.clone();
        Box::pin(async move { proxy.serve(request).await })
    }
}
