//! Between an answer and what is stored of it.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::ask::{Ask, Cacheable};
use super::forward::Answer;
use super::remember::Share;
use crate::semantics::storability::{Exchange, Storable};
use crate::semantics::stored::{Position, StoredHead};

/// An answer that may be stored, and room for it.
pub(super) struct Fillable {
    pub(super) answer: Answer,
    pub(super) storable: Storable,
    pub(super) share: Share,
    /// The stored beginning it completes, and the length of the whole.
    pub(super) beginning: Option<(Bytes, u64)>,
}

/// What is stored of an answer.
pub(super) fn stored_head(
    ask: &Ask,
    cacheable: &Cacheable,
    answer: &Answer,
    storable: Storable,
    position: Position,
) -> StoredHead {
    StoredHead {
        status: answer.head.status,
        secondary: storable.vary.select(ask.selecting()),
        language_keys: storable
            .vary
            .language_keys(ask.selecting(), &storable.fields),
        fields: storable.fields,
        target: cacheable.target.clone(),
        route: Arc::clone(&cacheable.route.name),
        vary: storable.vary,
        request_time: answer.request_time,
        response_time: answer.response_time,
        freshness: storable.freshness,
        validators: storable.validators,
        tags: storable.tags,
        position,
        fetch_cost: answer.took,
    }
}

/// The exchange as the wall clock saw it: its times are held against dates.
pub(super) fn exchange<'a>(ask: &'a Ask, answer: &Answer, response: &'a HeaderMap) -> Exchange<'a> {
    Exchange {
        host: ask.host(),
        request: &ask.forwarded,
        status: answer.head.status,
        response,
        request_time: answer.request_time.minus(answer.lead),
        response_time: answer.response_time.minus(answer.lead),
    }
}
