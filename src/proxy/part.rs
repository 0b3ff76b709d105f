//! Partial content in memory: found, stored, grown, completed.
//!
//! A key has at most one part, beside its whole responses; it lives in memory
//! alone. What it grows from must be of the same representation by a strong
//! validator (RFC 9110 §15.3.7.3).

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::ask::{Ask, Cacheable};
use super::lookup::{assess, in_memory};
use super::reply;
use super::shared::Shared;
use crate::invalidation::bans::Verdict;
use crate::message::Body;
use crate::semantics::partial::{Part, are_of_one, combined, content_range};
use crate::semantics::reuse::Reuse;
use crate::semantics::stored::{StoredHead, StoredResponse};
use crate::semantics::validation::is_weak;
use crate::store::memory::{Departure, Entry};

/// What the stored part is to a request.
pub(super) enum Found {
    /// It answers.
    Answer(Response<Body>),
    /// There is one, and it does not.
    Other,
    /// There is none.
    Nothing,
}

/// Looks for a part that answers a request for a range.
pub(super) fn find(shared: &Shared, ask: &Ask, cacheable: &Cacheable) -> Found {
    let Some(entry) = fresh(shared, ask, cacheable) else {
        return Found::Nothing;
    };
    match reply::from_part(ask, &entry) {
        Some(response) => Found::Answer(response),
        None => Found::Other,
    }
}

/// The stored beginning of what a request asks for whole, if there is one.
pub(super) fn beginning(shared: &Shared, ask: &Ask, cacheable: &Cacheable) -> Option<Arc<Entry>> {
    let entry = fresh(shared, ask, cacheable)?;
    part_of(&entry)?.rest_from().map(|_| entry)
}

/// Makes a request one for what follows a stored beginning (RFC 9111 §3.3).
pub(super) fn ask_for_rest(entry: &Entry, fields: &mut HeaderMap) {
    let rest = part_of(entry).and_then(|part| part.rest_from());
    let range = rest.and_then(|from| HeaderValue::try_from(format!("bytes={from}-")).ok());
    let Some(range) = range else {
        return;
    };
    fields.insert(RANGE, range);
    // Without a strong validator nothing can be combined; the origin may still
    // answer with the whole.
    let etag = entry.response.head.validators.etag.as_ref();
    if let Some(etag) = etag.filter(|etag| !is_weak(etag.as_bytes())) {
        fields.insert(IF_RANGE, etag.clone());
    }
}

/// Whether a `206` with these fields and this length is the rest of a stored
/// beginning; then the stored bytes and the length of the whole.
pub(super) fn completes(entry: &Entry, arrived: &HeaderMap, length: u64) -> Option<(Bytes, u64)> {
    let stored = &entry.response;
    let (old, new) = (part_of(entry)?, Part::of(arrived, length)?);
    let complete = new.range.complete?;
    let is_rest = old.rest_from() == Some(new.range.first)
        && new.is_exact()
        && new.range.last + 1 == complete
        && old.range.complete.is_none_or(|known| known == complete);
    (is_rest && are_of_one(&stored.head.fields, arrived)).then(|| (stored.body.clone(), complete))
}

/// Stores a part, grown by the one that stands there where they are of one
/// representation. What is whole now is stored as such.
pub(super) fn keep(shared: &Shared, cacheable: &Cacheable, arrived: Arc<StoredResponse>) {
    let (cache, store) = (&cacheable.cache, &shared.store);
    let key = cacheable.key.of_part();
    let standing = store.memory.peek(cache, &key, arrived.head.secondary);
    let arrived = match standing
        .as_ref()
        .and_then(|old| grown(shared, old, &arrived))
    {
        Some(grown) => Arc::new(grown),
        None => arrived,
    };
    if arrived.head.status != StatusCode::OK {
        store.promote(cache, &Entry::new(key, arrived));
        return;
    }
    store.put(cache, cacheable.key, arrived, shared.clock.lead());
    if let Some(old) = standing {
        store.memory.remove(cache, old.kept(), Departure::Replaced);
    }
}

/// Drops the part of a key: the whole has come.
pub(super) fn forget(shared: &Shared, cacheable: &Cacheable, entry: &Entry) {
    let memory = &shared.store.memory;
    memory.remove(&cacheable.cache, entry.kept(), Departure::Replaced);
}

/// The head of a whole response that was completed from parts.
pub(super) fn whole_head(mut head: StoredHead, length: u64) -> StoredHead {
    head.status = StatusCode::OK;
    head.fields.remove(CONTENT_RANGE);
    head.fields.insert(CONTENT_LENGTH, length.into());
    head
}

fn grown(shared: &Shared, old: &Entry, arrived: &StoredResponse) -> Option<StoredResponse> {
    let stored = &old.response;
    let head = &arrived.head;
    let verdict = shared.judge(old.kept());
    if verdict != Verdict::Stands || !are_of_one(&stored.head.fields, &head.fields) {
        return None;
    }
    let old_part = part_of(old)?;
    let new_part = Part::of(&head.fields, arrived.body.len() as u64)?;
    let (range, body) = combined((&old_part, &stored.body), (&new_part, &arrived.body))?;
    let length = body.len() as u64;
    let mut head = head.clone();
    if range.first == 0 && range.complete == Some(length) {
        head = whole_head(head, length);
    } else {
        head.fields.insert(CONTENT_RANGE, content_range(&range));
        head.fields.insert(CONTENT_LENGTH, length.into());
    }
    Some(StoredResponse { head, body })
}

fn fresh(shared: &Shared, ask: &Ask, cacheable: &Cacheable) -> Option<Arc<Entry>> {
    let entry = in_memory(shared, ask, cacheable, &cacheable.key.of_part())?;
    let is_fresh = assess(shared, ask, &entry) == Reuse::Fresh;
    is_fresh.then_some(entry)
}

fn part_of(entry: &Entry) -> Option<Part> {
    let stored = &entry.response;
    Part::of(&stored.head.fields, stored.body.len() as u64)
}
