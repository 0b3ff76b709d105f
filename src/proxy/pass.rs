//! The life of a request that is not cached: to the origin and back, streamed
//! both ways, and through to another protocol where both sides want it.

use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};

use super::ask::{Ask, NotCacheable};
use super::failure::{Failure, ProxyError};
use super::forward::{self, Answer};
use super::reply;

use super::outcome::{CacheStatus, Forwarded};
use super::shared::Shared;
use crate::drain::Drain;
use crate::message::Body;
use crate::message::upgrade::{Upgrade, upgrade_wanted};
use crate::origin::exchange::Switched;
use crate::semantics::outcome::CacheResult;

pub(super) async fn serve(
    shared: &Shared,
    ask: &Ask,
    body: Body,
    why: NotCacheable,
) -> Result<Response<Body>, Failure> {
    let forwarded = match why {
        NotCacheable::Method => Forwarded::Method,
        _ => Forwarded::Bypass,
    };
    let status = CacheStatus {
        detail: Some(why.as_str()),
        ..CacheStatus::forwarded(forwarded)
    };
    let mut outcome = ask.outcome(CacheResult::Bypass, status);
    match exchange(shared, ask, body).await {
        Ok((response, took)) => {
            outcome.facts.upstream = Some(took);
            Ok(outcome.finish(response))
        }
        Err(error) => Err(Failure {
            error,
            outcome: Box::new(outcome),
        }),
    }
}

/// One exchange with the origin, streamed.
pub(super) async fn exchange(
    shared: &Shared,
    ask: &Ask,
    body: Body,
) -> Result<(Response<Body>, Duration), ProxyError> {
    let exchanged = send(shared, ask, body).await?;
    Ok(exchanged.into_response(shared, ask))
}

/// What the origin answered.
pub(super) struct Exchanged {
    pub(super) answer: Answer,
    /// What the request wanted to switch to.
    protocol: Option<HeaderValue>,
}

impl Exchanged {
    /// The answer as it is, for one client, and how long it took to come.
    pub(super) fn into_response(self, shared: &Shared, ask: &Ask) -> (Response<Body>, Duration) {
        let answer = self.answer;
        let took = answer.took;
        let response = match self.protocol {
            Some(protocol) if answer.head.status == StatusCode::SWITCHING_PROTOCOLS => {
                switch_protocols(&shared.drain, ask, protocol, answer)
            }
            _ => into_response(ask, answer),
        };
        (response, took)
    }
}

/// Sends the request as it came and waits for the answer's head.
pub(super) async fn send(shared: &Shared, ask: &Ask, body: Body) -> Result<Exchanged, ProxyError> {
    let passages = forward::passages(&ask.fields);
    if passages >= forward::PASSAGES_MAX {
        return Err(ProxyError::Loop(passages));
    }
    let mut fields = ask.forwarded.clone();
    let protocol = upgrade_wanted(&ask.fields);
    if let Some(protocol) = &protocol {
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(UPGRADE, protocol.clone());
    }
    let answer = forward::send(ask, &shared.clock, ask.method.clone(), fields, body).await?;
    Ok(Exchanged { answer, protocol })
}

/// An answer as it is, for one client.
pub(super) fn into_response(ask: &Ask, answer: Answer) -> Response<Body> {
    let body = forward::body_for_client(ask, &answer.head.headers, answer.body);
    let mut response = Response::new(reply::for_method(ask, body));
    *response.status_mut() = answer.head.status;
    *response.headers_mut() = answer.head.headers;
    response
}

/// Both sides switch: what either sends from now on goes to the other,
/// unread, until one of them ends it or the drain's deadline does.
fn switch_protocols(
    drain: &Drain,
    ask: &Ask,
    protocol: HeaderValue,
    answer: Answer,
) -> Response<Body> {
    let with_origin = answer.body.into_switched();
    if let (Some(with_client), Some(with_origin)) = (ask.upgrade.clone(), with_origin) {
        let drain = drain.clone();
        let open = drain.track();
        tokio::spawn(async move {
            tokio::select! {
                () = tunnel(with_client, with_origin) => {}
                () = drain.cut() => {}
            }
            drop(open);
        });
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = answer.head.status;
    *response.headers_mut() = answer.head.headers;
    let fields = response.headers_mut();
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    fields.insert(UPGRADE, protocol);
    response
}

async fn tunnel(with_client: Upgrade, mut origin: Switched) {
    let Some(mut client) = with_client.connection().await else {
        // It left before it had the answer.
        return;
    };
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut origin).await {
        tracing::debug!(%error, "a tunnel broke");
    }
}
