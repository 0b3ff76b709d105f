//! Requests to the origin and what comes back, whatever they are for.

use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, DATE, HOST};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use super::ask::Ask;
use crate::clock::{Clock, Timestamp};
use crate::message::fields::{append_member, append_via, strip_hop_by_hop};
use crate::message::grpc::is_grpc;
use crate::message::{Body, fields};
use crate::origin::body::OriginBody;
use crate::origin::client::ResponseTimeout;
use crate::origin::error::OriginError;
use crate::origin::request::{Sender, fields_for_origin, path_and_query};
use crate::origin::timeout::IdleLimited;
use crate::semantics::query::query_to_forward;
use crate::telemetry::spans::{SpanIds, TRACEPARENT, TRACESTATE};

/// The origin's answer: the head made ready for those who follow, the body
/// as it arrives.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: Parts,
    pub(super) body: OriginBody,
    /// When the request was sent.
    pub(super) request_time: Timestamp,
    /// When the head arrived.
    pub(super) response_time: Timestamp,
    /// How far both were ahead of the wall clock ([`Clock::lead`]).
    pub(super) lead: Duration,
    /// The time between.
    pub(super) took: Duration,
}

/// By which an origin sees that `Surrogate-Control` is heeded.
const SURROGATE_CAPABILITY: HeaderName = HeaderName::from_static("surrogate-capability");

/// The fields a request goes forward with. `Host` is the client's.
pub(super) fn fields_for(
    request: &HeaderMap,
    host: &str,
    sender: &Sender,
    span: Option<&SpanIds>,
) -> HeaderMap {
    let mut fields = fields_for_origin(request, sender);
    if let Some(span) = span {
        if span.is_root() {
            fields.remove(TRACESTATE);
        }
        fields.insert(TRACEPARENT, span.traceparent());
    }
    if !fields.contains_key(HOST)
        && let Ok(host) = HeaderValue::try_from(host)
    {
        fields.insert(HOST, host);
    }
    fields
}

/// Says that `Surrogate-Control` is heeded.
pub(super) fn add_surrogate_capability(fields: &mut HeaderMap) {
    let ours = HeaderValue::from_static("pannier=\"Surrogate/1.0\"");
    append_member(fields, SURROGATE_CAPABILITY, ours);
}

/// Sends a request for what `ask` asks for, with these fields, and waits for
/// the answer's head.
pub(super) async fn send(
    ask: &Ask,
    clock: &Clock,
    method: Method,
    fields: HeaderMap,
    body: Body,
) -> Result<Answer, OriginError> {
    let origin = ask.origin();
    let query = ask.uri.query().unwrap_or_default();
    let query = match &ask.route {
        Some(route) => query_to_forward(&route.key, query),
        None => query.into(),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = match ask.uri.path_and_query() {
        Some(target) if !query.is_empty() && target.query() == Some(&query) => {
            Uri::from(target.clone())
        }
        _ => Uri::from(path_and_query(ask.uri.path(), &query)),
    };
    *request.headers_mut() = fields;
    request.extensions_mut().insert(ask.presence.clone());
    if let Some(interim) = ask.interim.clone() {
        request.extensions_mut().insert(interim);
    }
    if let Some(limit) = ask.route.as_ref().and_then(|route| route.response_timeout) {
        request.extensions_mut().insert(ResponseTimeout(limit));
    }

    let request_time = clock.now();
    let sent = Instant::now();
    let response = origin.send(request).await;
    let took = sent.elapsed();
    let response_time = clock.now();
    let answered = response.as_ref().map(|response| (response.status(), took));
    ask.tell_exchange(&method, response_time, answered);
    let response = response?;
    let lead = clock.lead();
    let (mut head, body) = response.into_parts();
    make_ready(&mut head, response_time.minus(lead));
    Ok(Answer {
        head,
        body,
        request_time,
        response_time,
        lead,
        took,
    })
}

/// Removes what spoke of the connection to the origin, and adds what a
/// recipient with a clock must (RFC 9110 §6.6.1, §7.6.3).
fn make_ready(head: &mut Parts, arrived: Timestamp) {
    strip_hop_by_hop(&mut head.headers);
    append_via(&mut head.headers, head.version);
    if !head.headers.contains_key(DATE) && !head.status.is_informational() {
        let now = httpdate::fmt_http_date(arrived.to_system_time());
        if let Ok(now) = HeaderValue::try_from(now) {
            head.headers.insert(DATE, now);
        }
    }
}

/// The answer's body for one reader: it must keep arriving, unless it is a
/// stream of events, which may be silent for as long as it likes.
pub(super) fn body_for_client(ask: &Ask, fields: &HeaderMap, body: OriginBody) -> Body {
    let is_event_stream = fields
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    if http_body::Body::is_end_stream(&body) {
        return Body::Empty;
    }
    if is_event_stream {
        return Body::boxed(body);
    }
    let config = ask.origin().config();
    let limit = match fields.get(CONTENT_TYPE) {
        Some(value) if is_grpc(value) => config.grpc_idle_timeout,
        _ => config.body_idle_timeout,
    };
    Body::boxed(IdleLimited::new(body, limit))
}

/// How often a request may come through here: a proxy that is its own
/// upstream would go on for ever.
pub(super) const PASSAGES_MAX: usize = 8;

/// How often a request has been through a proxy of our name.
pub(super) fn passages(fields: &HeaderMap) -> usize {
    fields
        .get_all(http::header::VIA)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter(|member| member.trim().ends_with(fields::PSEUDONYM))
        .count()
}
