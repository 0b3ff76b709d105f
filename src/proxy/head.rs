//! HEAD to the origin, and what it says of a stored response (RFC 9111 §4.3.5).

use std::sync::Arc;

use http::{Method, StatusCode};

use super::ask::{Ask, Cacheable};
use super::failure::ProxyError;
use super::fetch::confirmed;
use super::forward::{self, Answer};
use super::judged::{exchange, stored_head};
use super::lookup::in_memory;
use super::shared::Shared;
use crate::message::Body;
use crate::semantics::storability::{Exchange, Storability, judge};
use crate::semantics::stored::{Position, StoredResponse};
use crate::semantics::update::is_same_by_head;
use crate::store::memory::{Departure, Entry};

/// Asks the origin. A `200` updates what is stored for the same GET, or drops
/// it where it shows that the representation is another by now.
pub(super) async fn ask(
    shared: &Shared,
    ask: &Ask,
    cacheable: &Cacheable,
) -> Result<Answer, ProxyError> {
    let began = ask.position(shared);
    let passages = forward::passages(&ask.fields);
    if passages >= forward::PASSAGES_MAX {
        return Err(ProxyError::Loop(passages));
    }
    let fields = ask.forwarded.clone();
    let clock = &shared.clock;
    let answer = forward::send(ask, clock, Method::HEAD, fields, Body::Empty).await?;
    // Judged after `began`: bans before it are known now, later ones ban again.
    if answer.head.status == StatusCode::OK
        && let Some(stored) = in_memory(shared, ask, cacheable, &cacheable.key)
    {
        learn(shared, ask, cacheable, &stored, &answer, began);
    }
    Ok(answer)
}

fn learn(
    shared: &Shared,
    ask: &Ask,
    cacheable: &Cacheable,
    stored: &Arc<Entry>,
    answer: &Answer,
    began: Position,
) {
    let old = &stored.response;
    let is_same = old.head.status == StatusCode::OK
        && is_same_by_head(&old.head.fields, &answer.head.headers);
    let (fields, policy) = confirmed(&old.head.fields, answer, &cacheable.route.policy);
    let judged = is_same.then(|| {
        let exchange = Exchange {
            status: old.head.status,
            ..exchange(ask, answer, &fields)
        };
        judge(&exchange, &policy, &cacheable.route.key)
    });
    let storable = match judged {
        Some(Storability::Store(storable)) => storable,
        None => {
            let memory = &shared.store.memory;
            return memory.remove(&cacheable.cache, stored.kept(), Departure::Expired);
        }
        // It says something of this request, nothing of what is stored.
        Some(Storability::Refuse(_)) => return,
    };
    let mut head = stored_head(ask, cacheable, answer, *storable, began);
    head.fetch_cost = old.head.fetch_cost;
    let body = old.body.clone();
    let updated = Arc::new(StoredResponse { head, body });
    let lead = shared.clock.lead();
    shared
        .store
        .put(&cacheable.cache, cacheable.key, updated, lead);
}
