//! The life of a write.
//!
//! It is forwarded; where its answer shows success, or is lost, its bans are
//! put in force, and only then is the client answered. The write outlives its
//! client: one that hangs up does not keep the invalidation from happening.
//!
//! In strict mode a write that the other instances could not be told of is not
//! made; where they are lost while it is, its client is told so.

use std::sync::Arc;

use http::Response;

use super::ask::Ask;
use super::failure::{Failure, ProxyError};
use super::pass;
use super::posted::Posted;
use super::shared::Shared;
use super::told::{CacheStatus, Forwarded};
use crate::invalidation::scope::Ban;
use crate::message::Body;
use crate::origin::error::{OriginError, OriginErrorKind};
use crate::origin::request::overriding_methods;
use crate::semantics::outcome::CacheResult;
use crate::semantics::target::RequestTarget;

pub(super) async fn serve(
    shared: &Arc<Shared>,
    ask: Ask,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let status = CacheStatus::forwarded(Forwarded::Method);
    let mut told = ask.told(CacheResult::Bypass, status);
    let write = tokio::spawn(forward(Arc::clone(shared), Arc::new(ask), body));
    let outcome = write.await.unwrap_or_else(|error| {
        let lost = OriginError::new(OriginErrorKind::Reset, error);
        Err(ProxyError::Origin(lost))
    });
    match outcome {
        Ok((response, took)) => {
            told.upstream = Some(took);
            Ok(told.stamp(response))
        }
        Err(error) => Err(Failure {
            error,
            told: Box::new(told),
        }),
    }
}

async fn forward(
    shared: Arc<Shared>,
    ask: Arc<Ask>,
    body: Body,
) -> Result<(Response<Body>, std::time::Duration), ProxyError> {
    if shared.invalidation.may_write().await.is_err() {
        return Err(ProxyError::OutOfTouch);
    }
    let began = shared.invalidation.position();
    let outcome = pass::send(&shared, &ask, body).await;
    let answer = match &outcome {
        Ok(exchanged) => {
            let head = &exchanged.answer.head;
            let status = head.status;
            let is_success = status.is_success() || status.is_redirection();
            is_success.then_some(Some(&head.headers))
        }
        // The answer is lost, but the write may have happened.
        Err(ProxyError::Origin(error)) => error.may_have_happened().then_some(None),
        Err(_) => None,
    };
    let Some(answer) = answer else {
        return Ok(outcome?.into_response(&shared, &ask));
    };
    let target = RequestTarget::of(ask.uri.path(), ask.uri.query());
    // The application may have taken it for another method.
    let methods = std::iter::once(ask.method.clone()).chain(overriding_methods(&ask.fields));
    let rules = &ask.site.rules;
    let bans: Vec<Ban> = methods
        .flat_map(|method| rules.bans_of(&method, &ask.host, &target, answer))
        .collect();
    let posted = outcome
        .as_ref()
        .ok()
        .and_then(|sent| Posted::before(&shared, &ask, &began, &sent.answer.head));
    let receipt = shared.invalidation.put_in_force(&bans).await;
    if !receipt.is_kept {
        return Err(ProxyError::Untold);
    }
    let exchanged = outcome?;
    let storing = posted
        .and_then(|posted| posted.storable(&ask, &exchanged.answer, bans.len(), receipt.number));
    match storing {
        Some(storing) => storing.store(shared, ask, exchanged).await,
        None => Ok(exchanged.into_response(&shared, &ask)),
    }
}
