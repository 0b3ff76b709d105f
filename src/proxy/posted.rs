//! Answers to POST that answer later GETs: those that state their freshness
//! and say by `Content-Location` that they are what GET would have given
//! (RFC 9110 §9.3.3, RFC 9111 §3).
//!
//! Stored only where nobody else's write came in between: our own bans are the
//! only ones of its target since the request was sent.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LOCATION;
use http::response::Parts;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use tokio::sync::oneshot;

use super::ask::{Ask, Cacheable};
use super::failure::ProxyError;
use super::fetch::{Fetch, Wanted};
use super::forward::Answer;
use super::judged::{Fillable, exchange};
use super::landing::First;
use super::pass::Exchanged;
use super::reply;
use super::shared::Shared;
use crate::message::Body;
use crate::origin::error::{OriginError, OriginErrorKind};
use crate::semantics::freshness::LifetimeSource;
use crate::semantics::storability::{Storability, Storable, judge};
use crate::semantics::stored::Position;

/// An answer to POST that may answer a GET.
pub(super) struct Posted {
    cacheable: Cacheable,
    /// How far bans were known when it was there.
    answered: Position,
}

/// An answer to store.
pub(super) struct Storing {
    cacheable: Cacheable,
    storable: Storable,
    began: Position,
}

impl Posted {
    /// To be called when the answer is there and before its own bans are in
    /// force; `began` is from before the request was sent. `None` where the
    /// answer answers no GET, or where a ban of another write came meanwhile.
    pub(super) fn before(
        shared: &Shared,
        ask: &Ask,
        began: &Position,
        head: &Parts,
    ) -> Option<Self> {
        let may_answer_get = ask.method == Method::POST
            && head.status == StatusCode::OK
            && is_at_target(&head.headers, ask);
        let cacheable = may_answer_get.then(|| ask.as_get()).flatten()?;
        let answered = ask.position(shared);
        let (route, target) = (&cacheable.route.name, &cacheable.target);
        let was_overtaken = shared.invalidation.overtook(began, route, target);
        (!was_overtaken).then_some(Self {
            cacheable,
            answered,
        })
    }

    /// What is to be stored of the answer, now that its `bans` are in force,
    /// the last of them as number `last`. `None` where another ban came in
    /// between them, and where the answer does not state its freshness.
    pub(super) fn storable(
        self,
        ask: &Ask,
        answer: &Answer,
        bans: usize,
        last: u64,
    ) -> Option<Storing> {
        let cacheable = self.cacheable;
        if last - self.answered.local != bans as u64 {
            return None;
        }
        let exchange = exchange(ask, answer, &answer.head.headers);
        match judge(&exchange, &cacheable.route.policy, &cacheable.route.key) {
            Storability::Store(storable) if storable.freshness.source == LifetimeSource::Origin => {
                let began = Position {
                    local: last,
                    log: self.answered.log,
                };
                Some(Storing {
                    cacheable,
                    storable: *storable,
                    began,
                })
            }
            _ => None,
        }
    }
}

impl Storing {
    /// Streams the answer to the client, and stores it on the way.
    pub(super) async fn store(
        self,
        shared: Arc<Shared>,
        ask: Arc<Ask>,
        exchanged: Exchanged,
    ) -> Result<(Response<Body>, Duration), ProxyError> {
        let fetch = Fetch {
            shared: Arc::clone(&shared),
            ask: Arc::clone(&ask),
            candidate: None,
            began: self.began,
            lead: None,
            may_use_redis: false,
            wanted: Wanted::Whole,
        };
        let Ok(share) = fetch.room_for(&exchanged.answer) else {
            return Ok(exchanged.into_response(&shared, &ask));
        };
        let took = exchanged.answer.took;
        let fillable = Fillable {
            answer: exchanged.answer,
            storable: self.storable,
            share,
            beginning: None,
        };
        let (client, first) = oneshot::channel();
        let cacheable = self.cacheable;
        tokio::spawn(async move { fetch.fill(&cacheable, client, fillable).await });
        match first.await {
            Ok(First::Filling {
                head,
                filling,
                reader,
            }) => {
                let body = Body::Shared(reader);
                Ok((reply::fetched(&ask, &filling, *head, body), took))
            }
            // `fill` tells nothing else: it ended before it could.
            _ => Err(OriginError::bare(OriginErrorKind::Reset).into()),
        }
    }
}

/// Whether `Content-Location` is the target itself (RFC 9110 §8.7).
fn is_at_target(fields: &HeaderMap, ask: &Ask) -> bool {
    let mut lines = fields.get_all(CONTENT_LOCATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return false;
    };
    let Some(uri) = line.to_str().ok().and_then(|text| text.parse::<Uri>().ok()) else {
        return false;
    };
    let is_here = uri
        .authority()
        .is_none_or(|authority| authority.as_str().eq_ignore_ascii_case(ask.host()));
    is_here && uri.path() == ask.uri.path() && uri.query() == ask.uri.query()
}
