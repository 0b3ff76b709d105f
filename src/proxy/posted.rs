//! Answers to POST that answer later GETs: those that state their freshness
//! and say by `Content-Location` that they are what GET would have given
//! (RFC 9110 §9.3.3, RFC 9111 §3).
//!
//! Stored only where nobody else's write came in between: our own bans are the
//! only ones since the request was sent.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LOCATION;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use tokio::sync::oneshot;

use super::ask::{Ask, Cacheable};
use super::failure::ProxyError;
use super::fetch::{Fetch, Fillable, First, Wanted, exchange};
use super::pass::Exchanged;
use super::reply;
use super::shared::Shared;
use crate::message::Body;
use crate::origin::error::{OriginError, OriginErrorKind};
use crate::semantics::freshness::LifetimeSource;
use crate::semantics::storability::{Storability, Storable, judge};
use crate::semantics::stored::Position;

/// How far bans were known when a POST was sent and when it was answered.
pub(super) struct Posted {
    began: Position,
    answered: Position,
}

/// An answer to store.
pub(super) struct Storing {
    cacheable: Cacheable,
    storable: Storable,
    began: Position,
}

impl Posted {
    /// To be called when the answer is there, before its own bans are in force.
    pub(super) fn before(shared: &Shared, began: Position) -> Self {
        Self {
            began,
            answered: shared.invalidation.position(),
        }
    }

    /// What is to be stored of the answer, now that its `bans` are in force.
    pub(super) fn storable(
        self,
        shared: &Shared,
        ask: &Ask,
        exchanged: &Exchanged,
        bans: usize,
    ) -> Option<Storing> {
        let head = &exchanged.answer.head;
        let may_answer_get = ask.method == Method::POST
            && head.status == StatusCode::OK
            && is_at_target(&head.headers, ask);
        let cacheable = may_answer_get.then(|| ask.as_get()).flatten()?;
        let now = shared.invalidation.position();
        let is_undisturbed = self.answered.local == self.began.local
            && now.local - self.answered.local == bans as u64;
        let exchange = exchange(ask, &exchanged.answer, &head.headers);
        match judge(&exchange, &cacheable.route.policy, &cacheable.route.key) {
            Storability::Store(storable)
                if is_undisturbed && storable.freshness.source == LifetimeSource::Origin =>
            {
                Some(Storing {
                    storable: *storable,
                    began: now,
                    cacheable,
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
        .is_none_or(|authority| authority.as_str().eq_ignore_ascii_case(&ask.host));
    is_here && uri.path() == ask.uri.path() && uri.query() == ask.uri.query()
}
