//! What every request goes through on its way to the proxy, HTTP/1 and HTTP/2
//! alike, and every answer on its way back.
//!
//! In this order, and why:
//!
//! 1. The checks that `wire` cannot make for HTTP/2, because what follows
//!    relies on them.
//! 2. The body's limits, because a body that says it is too large needs no
//!    proxy.
//! 3. What the proxy is told of the connection, and what it is not.
//! 4. The proxy.
//! 5. The rescue: an error becomes a [`Rejection`], a body that failed taking
//!    precedence, because the error is its consequence.
//! 6. A switch of protocols that was not offered, or not taken.
//!
//! [`Stack::answer`] tells it for HTTP/2; a session of HTTP/1 does the same
//! steps, and reads and writes its connection meanwhile.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tower::{Service, ServiceExt};

use super::body::{self, Carrier, Fate};
use super::direct::Direct;
use super::respond::{Problem, Rejection};
use super::wire::{is_origin_form, offers_switch, same_authority};
use crate::config::Limits;
use crate::message::Body;
use crate::message::grpc::is_grpc;
use crate::message::interim::Interim;
use crate::message::upgrade::Upgrade;
use crate::proxy::{Peer, Received};

/// The field that comes with an offer of `h2c`.
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What is the same for all requests of a connection.
pub(super) struct Stack {
    pub(super) peer: Peer,
    pub(super) limits: Arc<Limits>,
}

impl Stack {
    /// Answers one request of HTTP/2; there is always an answer.
    pub(super) async fn answer<S, E>(
        self: Arc<Self>,
        mut service: S,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = E> + Direct,
        E: Into<Rejection>,
    {
        let received = Instant::now();
        let answered = self.story(&mut service, request, received).await;
        let mut response =
            answered.unwrap_or_else(|rejection| self.rejected(&service, rejection, received));
        response.headers_mut().remove(CONNECTION);
        Ok(response)
    }

    async fn story<S, E>(
        &self,
        service: &mut S,
        request: Request<Incoming>,
        received: Instant,
    ) -> Result<Response<Body>, Rejection>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = E> + Direct,
        E: Into<Rejection>,
    {
        check(&request, &self.limits)?;
        let (mut parts, incoming) = request.into_parts();
        say_as_http1(&mut parts);
        if incoming.is_end_stream()
            && let Some(response) = service.respond_directly(&parts, self.peer, received)
        {
            return Ok(response);
        }
        let content_type = parts.headers.get(CONTENT_TYPE);
        let carrier = match self.limits.grpc_idle_timeout {
            Some(idle_timeout) if content_type.is_some_and(is_grpc) => Carrier::Call(idle_timeout),
            _ => Carrier::Http2,
        };
        let (body, fate) = body::guard(incoming, carrier, &self.limits)?;
        let offers_switch = take_offer(&mut parts);
        // hyper's HTTP/2 server has no way to send interim responses, although h2
        // has one (`send_informational`).
        self.tell(&mut parts, received, None);
        let request = Request::from_parts(parts, body);
        let answered = match service.ready().await {
            Ok(service) => service.call(request).await,
            Err(error) => Err(error),
        };
        rescue(answered, &fate, offers_switch)
    }

    /// Tells the proxy who sent a request, and when.
    pub(super) fn tell(
        &self,
        parts: &mut http::request::Parts,
        received: Instant,
        interim: Option<Interim>,
    ) {
        parts.extensions.insert(self.peer);
        parts.extensions.insert(Received {
            at: received,
            interim,
        });
    }

    /// What the client is told instead of an answer.
    pub(super) fn rejected(
        &self,
        service: &impl Direct,
        rejection: Rejection,
        received: Instant,
    ) -> Response<Body> {
        if let Some(status) = rejection.untold() {
            service.refused(status, self.peer, received);
        }
        rejection.into_response(received)
    }
}

/// What becomes of what the proxy answered.
pub(super) fn rescue<E: Into<Rejection>>(
    answered: Result<Response<Body>, E>,
    fate: &Fate,
    offers_switch: bool,
) -> Result<Response<Body>, Rejection> {
    let mut response = answered.map_err(|error| match fate.problem() {
        Some(problem) => error.into().because(problem),
        None => error.into(),
    })?;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    match (offers_switch, switches) {
        (true, true) | (false, false) => {}
        // What followed the offer may be in either protocol.
        (true, false) => {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        (false, true) => {
            let detail = "The origin switched protocols without having been asked to.";
            return Err(Problem::bad_gateway(detail).into());
        }
    }
    Ok(response)
}

/// Whether the request offers to switch protocols. Offers that are declined by
/// ignoring them are taken out, so that nobody behind accepts one.
pub(super) fn take_offer(parts: &mut http::request::Parts) -> bool {
    if !parts.headers.contains_key(UPGRADE) {
        return false;
    }
    let values = parts.headers.get_all(UPGRADE).into_iter();
    let is_offer =
        parts.version == Version::HTTP_11 && offers_switch(values.map(HeaderValue::as_bytes));
    if !is_offer {
        parts.headers.remove(UPGRADE);
        parts.headers.remove(HTTP2_SETTINGS);
        parts.extensions.remove::<Upgrade>();
    }
    is_offer
}

/// Says what HTTP/2 says in ways of its own as HTTP/1 does: the authority in
/// `Host`, cookies in one line (RFC 9113, sections 8.2.3 and 8.3.1). All who
/// come after read only that.
fn say_as_http1(parts: &mut http::request::Parts) {
    if !parts.headers.contains_key(HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::try_from(authority.as_str())
    {
        parts.headers.insert(HOST, host);
    }
    let cookies = parts.headers.get_all(COOKIE).into_iter();
    let crumbs: Vec<&[u8]> = cookies.map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(line) = HeaderValue::try_from(crumbs.join(&b"; "[..]))
    {
        parts.headers.insert(COOKIE, line);
    }
}

/// HTTP/2 has no blanks to strip (RFC 9113, section 8.2.1): whether two readers
/// take such a value for the same is left to chance.
fn has_blanks_around(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let bytes = value.as_bytes();
    is_blank(bytes.first()) || is_blank(bytes.last())
}

/// The checks that `wire` makes for HTTP/1.
fn check(request: &Request<Incoming>, limits: &Limits) -> Result<(), Problem> {
    if *request.method() == Method::CONNECT {
        return Err(Problem::not_implemented("Tunnels are not opened here."));
    }
    let uri = request.uri();
    let target = uri.path_and_query();
    let target = target.map_or("", |target| target.as_str());
    if target.len() > limits.target_bytes_max {
        return Err(Problem::target_too_long(limits.target_bytes_max));
    }
    if !is_origin_form(request.method().as_str(), target.as_bytes()) {
        return Err(Problem::bad_request(
            "The path is not valid: it begins with a slash and is percent-encoded; * is for OPTIONS.",
        ));
    }
    if request.headers().values().any(has_blanks_around) {
        let detail = "A field value begins or ends with a blank.";
        return Err(Problem::bad_request(detail));
    }
    let lengths = request.headers().get_all(CONTENT_LENGTH).into_iter();
    if lengths.count() > 1 {
        let detail = "There is more than one Content-Length field.";
        return Err(Problem::bad_request(detail));
    }
    let mut hosts = request.headers().get_all(HOST).into_iter();
    let (host, another) = (hosts.next(), hosts.next());
    if another.is_some() {
        return Err(Problem::bad_request("There is more than one Host field."));
    }
    let default_port = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let authority = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = host.map(HeaderValue::as_bytes);
    // Comparing one with itself checks its grammar.
    let (left, right) = match (authority, host) {
        (None, None) => return Err(Problem::bad_request("The authority is missing.")),
        (Some(authority), None) => (authority, authority),
        (None, Some(host)) => (host, host),
        (Some(authority), Some(host)) => (authority, host),
    };
    if same_authority(left, right, default_port) {
        Ok(())
    } else {
        Err(Problem::bad_request(
            "The authority is not valid or differs from the Host field.",
        ))
    }
}
