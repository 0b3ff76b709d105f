//! Answers made of what is, or is about to be, stored.

use std::ops::Range;

use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, DATE, ETAG, EXPIRES,
    LAST_MODIFIED, VARY, VIA,
};
use http::response::Parts;
use http::{HeaderMap, HeaderName, Response, StatusCode};

use super::ask::{Ask, AsksFor};
use super::fill::Filling;
use super::outcome::{Ages, CacheStatus, OutcomeView};
use super::ranged;
use crate::clock::Timestamp;
use crate::message::Body;
use crate::message::lines::FieldLines;
use crate::message::outgoing::Outgoing;
use crate::message::targeted::CDN_CACHE_CONTROL;
use crate::semantics::freshness::Freshness;
use crate::semantics::outcome::CacheResult;
use crate::semantics::partial::content_range;
use crate::semantics::range::{ByteRanges, ContentRange, Selection, if_range_holds};
use crate::semantics::stored::StoredHead;
use crate::semantics::validation;
use crate::store::memory::{Entry, Kept};

/// Fields of a `304` (RFC 9110 §15.4.5), and those that say which way it came.
const OF_NOT_MODIFIED: [HeaderName; 9] = [
    CDN_CACHE_CONTROL,
    CACHE_CONTROL,
    CONTENT_LOCATION,
    DATE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    VARY,
    VIA,
];

/// An answer from the store, finished: to a GET, a HEAD, or a condition.
pub(super) fn from_store(
    ask: &Ask,
    entry: &Entry,
    cache: CacheResult,
    status: CacheStatus,
) -> Response<Body> {
    let stored = &entry.response;
    let head = &stored.head;
    let response = if is_not_modified(ask, head) {
        not_modified(&head.fields)
    } else if let Some(ranged) = ask
        .asks_for
        .range
        .then(|| ranged::of_whole(ask, stored))
        .flatten()
    {
        ranged
    } else {
        let body = Body::full(stored.body.clone());
        assemble(head.status, head.fields.clone(), for_method(ask, body))
    };
    finished(ask, head, cache, status, response)
}

/// An answer out of stored partial content, finished; `None` where it has not
/// all that is asked for.
pub(super) fn from_part(ask: &Ask, entry: &Entry) -> Option<Response<Body>> {
    let stored = &entry.response;
    let response = if is_confirmed(ask, &stored.head) {
        not_modified(&stored.head.fields)
    } else {
        ranged::of_part(ask, stored)?
    };
    let status = CacheStatus::default();
    Some(finished(
        ask,
        &stored.head,
        CacheResult::Hit,
        status,
        response,
    ))
}

fn finished(
    ask: &Ask,
    head: &StoredHead,
    cache: CacheResult,
    status: CacheStatus,
    response: Response<Body>,
) -> Response<Body> {
    let (status, ages) = aged(head.response_time, &head.freshness, ask.now, status);
    let mut outcome = ask.outcome(cache, status);
    if status.forward_status.is_none() {
        outcome.facts.saved = Some(head.fetch_cost);
    }
    outcome.facts.ages = Some(ages);
    outcome.finish(response)
}

/// How old an answer from the store is, and what of it `Cache-Status` tells.
pub(super) fn aged(
    response_time: Timestamp,
    freshness: &Freshness,
    now: Timestamp,
    status: CacheStatus,
) -> (CacheStatus, Ages) {
    let now = now.max(response_time);
    let age = freshness.current_age(response_time, now);
    let status = CacheStatus {
        ttl: Some(seconds_left(freshness, age)),
        ..status
    };
    let ages = Ages {
        current: age,
        since_validated: now.since(response_time),
    };
    (status, ages)
}

/// What a plain hit gives of a stored response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// All of it.
    Whole,
    /// That it has not changed: `304`.
    NotModified,
    /// One range: `206`.
    Part(Range<usize>),
}

impl Given {
    /// What is given to these fields; `None` where that needs a closer look.
    pub(super) fn to(
        asks_for: AsksFor,
        fields: &(impl FieldLines + ?Sized),
        kept: &Kept,
    ) -> Option<Self> {
        let (stored, response_time) = (kept.field_lines(), kept.response_time());
        if asks_for.condition
            && is_conditional_status(kept.status())
            && validation::is_not_modified(fields, &stored, response_time)
        {
            return Some(Self::NotModified);
        }
        if !asks_for.range || kept.status() != StatusCode::OK {
            return Some(Self::Whole);
        }
        let Some(ranges) = ByteRanges::of(fields) else {
            return Some(Self::Whole);
        };
        if !if_range_holds(fields, &stored, response_time) {
            return Some(Self::Whole);
        }
        match ranges.select(kept.body().count() as u64) {
            Selection::Whole => Some(Self::Whole),
            Selection::Parts(parts) => match parts.as_slice() {
                [part] => {
                    let start = usize::try_from(part.start).ok()?;
                    Some(Self::Part(start..usize::try_from(part.end).ok()?))
                }
                _ => None,
            },
            Selection::Unsatisfiable => None,
        }
    }

    fn body_bytes(&self, kept: &Kept) -> usize {
        match self {
            Self::Whole => kept.body().count(),
            Self::NotModified => 0,
            Self::Part(part) => part.len(),
        }
    }
}

/// A plain hit, finished.
pub(super) fn hit(outcome: &OutcomeView<'_>, kept: &Kept, given: &Given) -> Response<Body> {
    let (status, fields, body) = match given {
        Given::Whole => {
            let body = kept.body().share(0..kept.body().count());
            (kept.status(), kept.fields_for_client(|_| true), body)
        }
        Given::NotModified => {
            let fields = kept.fields_for_client(is_of_not_modified);
            (StatusCode::NOT_MODIFIED, fields, Bytes::new())
        }
        Given::Part(part) => {
            let mut fields = kept.fields_for_client(|_| true);
            let range = ContentRange {
                first: part.start as u64,
                last: part.end as u64 - 1,
                complete: Some(kept.body().count() as u64),
            };
            fields.insert(CONTENT_RANGE, content_range(&range));
            fields.insert(CONTENT_LENGTH, part.len().into());
            let body = kept.body().share(part.clone());
            (StatusCode::PARTIAL_CONTENT, fields, body)
        }
    };
    let mut response = assemble(status, fields, Body::full(body));
    let body_bytes = Some(given.body_bytes(kept) as u64);
    outcome.finish(response.headers_mut(), status, body_bytes);
    response
}

fn is_of_not_modified(name: &str) -> bool {
    OF_NOT_MODIFIED.iter().any(|of| of.as_str() == name)
}

/// Writes a plain hit, finished, as it goes to an HTTP/1 client.
pub(super) fn write_hit(
    outcome: &OutcomeView<'_>,
    kept: &Kept,
    given: &Given,
    outgoing: &mut Outgoing,
) {
    let head = outgoing.head();
    let status = match given {
        Given::Whole => {
            kept.write_head(head);
            kept.status()
        }
        Given::NotModified => {
            kept.write_not_modified(head, is_of_not_modified);
            StatusCode::NOT_MODIFIED
        }
        Given::Part(part) => {
            kept.write_partial(head, part);
            StatusCode::PARTIAL_CONTENT
        }
    };
    outcome.finish(head, status, Some(given.body_bytes(kept) as u64));
    head.extend_from_slice(b"\r\n");
    match given {
        Given::Whole => outgoing.body(kept.body()),
        Given::NotModified => {}
        Given::Part(part) => outgoing.part(kept.body(), part.clone()),
    }
}

/// The answer to the client whose request brought it: all that the origin
/// said to it.
pub(super) fn fetched(ask: &Ask, filling: &Filling, head: Parts, body: Body) -> Response<Body> {
    if is_not_modified(ask, &filling.head) {
        return not_modified(&head.headers);
    }
    assemble(head.status, head.headers, for_method(ask, body))
}

/// The answer to a client that waited for another's request: what will be
/// stored of it, and no more.
pub(super) fn followed(ask: &Ask, filling: &Filling, body: Body) -> Response<Body> {
    let head = &filling.head;
    let mut response = if is_not_modified(ask, head) {
        not_modified(&head.fields)
    } else {
        assemble(head.status, head.fields.clone(), for_method(ask, body))
    };
    let age = head.current_age(head.response_time).as_secs();
    if age > 0 {
        response.headers_mut().insert(AGE, age.into());
    }
    response
}

/// What of a body goes to this client: none answers a HEAD.
pub(super) fn for_method(ask: &Ask, body: Body) -> Body {
    if ask.is_head() { Body::Empty } else { body }
}

fn is_not_modified(ask: &Ask, head: &StoredHead) -> bool {
    is_conditional_status(head.status) && is_confirmed(ask, head)
}

/// Whether a condition is evaluated for an answer of this status, and not of a
/// part (RFC 9110 §13.2.1).
fn is_conditional_status(status: StatusCode) -> bool {
    status.is_success() && status != StatusCode::PARTIAL_CONTENT
}

fn is_confirmed(ask: &Ask, head: &StoredHead) -> bool {
    ask.asks_for.condition
        && validation::is_not_modified(&ask.fields, &head.fields, head.response_time)
}

fn not_modified(stored: &HeaderMap) -> Response<Body> {
    let mut fields = HeaderMap::new();
    for (name, value) in stored {
        if OF_NOT_MODIFIED.contains(name) {
            fields.append(name, value.clone());
        }
    }
    assemble(StatusCode::NOT_MODIFIED, fields, Body::Empty)
}

fn assemble(status: StatusCode, fields: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields;
    if status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

/// Freshness left, negative where it is over (RFC 9211 §2.4).
fn seconds_left(freshness: &Freshness, age: std::time::Duration) -> i64 {
    let lifetime = i64::try_from(freshness.lifetime.as_secs()).unwrap_or(i64::MAX);
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    lifetime.saturating_sub(age)
}
