//! The life of a write.
//!
//! It is forwarded; where its answer shows success, or is lost, its bans are
//! put in force, and only then is the client answered. The write outlives its
//! client: one that hangs up does not keep the invalidation from happening.
//!
//! In strict mode a write that the other instances could not be told of is not
//! made; where they are lost while it is, its client is told so.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Response};
use http_body::Body as _;
use tokio::sync::oneshot;

use super::ask::Ask;
use super::failure::{Failure, ProxyError};
use super::outcome::{CacheStatus, Forwarded};
use super::outlive::{Outliving, unless_cut};
use super::posted::Posted;
use super::shared::Shared;
use super::streamed::BanAtEnd;
use super::{pass, session};
use crate::config::SessionMode;
use crate::drain::Tracked;
use crate::invalidation::rules::{Effect, Write};
use crate::message::Body;
use crate::message::presence::Present;
use crate::origin::error::{OriginError, OriginErrorKind};
use crate::rule::{self, Rule};
use crate::semantics::outcome::CacheResult;
use crate::semantics::target::RequestTarget;

/// An answer of at most so many bytes that is there within [`PROMPT_WAIT`] was
/// made before it was sent: it is not streamed.
const PROMPT_BYTES_MAX: u64 = 64 * 1024;
/// Longer than the pieces of one answer are apart, and shorter than a person
/// or a client notices.
const PROMPT_WAIT: std::time::Duration = std::time::Duration::from_millis(5);

pub(super) async fn serve(
    shared: &Arc<Shared>,
    mut ask: Ask,
    body: Body,
    methods: Vec<Method>,
) -> Result<Response<Body>, Failure> {
    let client = Present::new();
    ask.presence = client.presence();
    let status = CacheStatus::forwarded(Forwarded::Method);
    let mut outcome = ask.outcome(CacheResult::Bypass, status);
    // Dropped with this future, as its client leaves.
    let (_here, left) = oneshot::channel();
    let call = ask.is_call().then_some(Call { left });
    // A drain waits for it, also where its client has left.
    let open = shared.drain.track();
    let writing = forward(Arc::clone(shared), Arc::new(ask), body, methods, call, open);
    match Outliving::new(writing).await {
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

/// A call of gRPC. Unlike other writes it ends with its client, whose deadline
/// or cancellation the origin is to see; and nothing of its answer is held back.
struct Call {
    left: oneshot::Receiver<Infallible>,
}

impl Call {
    async fn send(
        self,
        shared: &Shared,
        ask: &Ask,
        body: Body,
    ) -> Result<pass::Exchanged, ProxyError> {
        tokio::select! {
            biased;
            outcome = pass::send(shared, ask, body) => outcome,
            // What it did until then stays: to the caches its answer is lost.
            _ = self.left => Err(OriginError::bare(OriginErrorKind::Reset).into()),
        }
    }
}

/// What a write may have done whose answer is lost.
fn effect_of(error: &OriginError) -> Option<Effect<'static>> {
    // Its client left in the middle of it, or it was refused on the way: the
    // origin has half a message, and must not act on it (RFC 9112 §8).
    let is_broken_off =
        error.kind == OriginErrorKind::RequestBody && rule::holds(Rule::IncompleteWrite);
    if !error.may_have_happened() || is_broken_off {
        return None;
    }
    Some(if error.is_request_whole {
        Effect::Lost
    } else {
        Effect::Incomplete
    })
}

async fn forward(
    shared: Arc<Shared>,
    ask: Arc<Ask>,
    body: Body,
    methods: Vec<Method>,
    call: Option<Call>,
    _open: Tracked,
) -> Result<(Response<Body>, std::time::Duration), ProxyError> {
    let bans_of = |effect: Effect<'_>| {
        ask.site.rules.bans_of(&Write {
            methods: &methods,
            hosts: [ask.host(), &ask.named_host],
            target: &RequestTarget::of(ask.uri.path(), ask.uri.query()),
            request: &ask.forwarded,
            effect,
        })
    };
    let might_ban = || bans_of(Effect::Lost);
    if shared.invalidation.may_write(might_ban).await.is_err() {
        return Err(ProxyError::OutOfTouch);
    }
    let mode = ask.site.config.coherence.session;
    let began = ask.position(&shared);
    let is_call = call.is_some();
    let sending = async {
        match call {
            Some(call) => call.send(&shared, &ask, body).await,
            None => pass::send(&shared, &ask, body).await,
        }
    };
    let sent = unless_cut(sending, &ask.presence, &shared.drain).await;
    // What is cut may have happened.
    let mut outcome = sent.unwrap_or_else(|| Err(OriginError::bare(OriginErrorKind::Reset).into()));
    let effect = match &outcome {
        Ok(exchanged) => {
            let head = &exchanged.answer.head;
            let is_success = head.status.is_success() || head.status.is_redirection();
            is_success.then_some(Effect::Answered(head.status, &head.headers))
        }
        Err(ProxyError::Origin(error)) => effect_of(error),
        Err(_) => None,
    };
    let Some(effect) = effect else {
        return Ok(outcome?.into_response(&shared, &ask));
    };
    let bans = bans_of(effect);
    let posted = outcome
        .as_ref()
        .ok()
        .and_then(|sent| Posted::before(&shared, &ask, &began, &sent.answer.head));
    let is_streamed = match &mut outcome {
        Ok(sent) => {
            let body = &mut sent.answer.body;
            let is_over = body.is_end_stream();
            let mut arrives = async || body.arrives(PROMPT_BYTES_MAX, PROMPT_WAIT).await;
            !bans.is_empty() && !is_over && (is_call || !arrives().await)
        }
        Err(_) => false,
    };
    let receipt = shared.invalidation.put_write_in_force(&bans).await;
    if !receipt.is_kept {
        return Err(ProxyError::Untold);
    }
    let bans_in_force = if receipt.is_unlogged { 0 } else { bans.len() };
    // Where it has no bans, what the client has seen so far still holds.
    let position = (mode != SessionMode::Off && bans_in_force > 0).then(|| {
        let invalidation = &shared.invalidation;
        invalidation.session_position(&receipt, is_streamed, ask.brought, ask.now)
    });
    let hand_out = |response: &mut Response<Body>| {
        if let Some(position) = &position {
            session::hand_out(mode, position, response.headers_mut());
        }
    };
    let exchanged = outcome?;
    let storing = posted
        .and_then(|posted| posted.storable(&ask, &exchanged.answer, bans_in_force, receipt.number));
    if let Some(storing) = storing.filter(|_| !is_streamed) {
        let (mut response, took) = storing.store(shared, ask, exchanged).await?;
        hand_out(&mut response);
        return Ok((response, took));
    }
    let (mut response, took) = exchanged.into_response(&shared, &ask);
    hand_out(&mut response);
    if !is_streamed {
        return Ok((response, took));
    }
    let response = response.map(|body| BanAtEnd::wrap(body, &shared, bans));
    Ok((response, took))
}
