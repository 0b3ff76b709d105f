//! One fetch of one key: Redis, then the origin; and what becomes of the
//! answer.
//!
//! A fetch outlives the client that started it, and is not slowed by it: what is
//! left to do when the client has its answer's head is done in a task of its own.
//! It tells two sides what came of it: its own client (through [`First`]) and
//! those who follow its flight (through [`Landing`]).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{IF_RANGE, RANGE, SET_COOKIE};
use http::{HeaderMap, Method, StatusCode};
use tokio::sync::oneshot;

use super::ask::{Ask, Cacheable};
use super::collapse::Collapsed;
use super::fill::{self, Filling};
use super::flight::Lead;
use super::forward::{self, Answer};
use super::judged::{Fillable, exchange, stored_head};
use super::landing::{First, Landing, Source, Started};
use super::outlive::Outliving;
use super::part;
use super::promote::FromRedis;
use super::remember::Share;
use super::shared::{FlightKey, Shared};
use crate::message::Body;
use crate::message::directives::RequestDirectives;
use crate::message::tee::tee;
use crate::origin::error::{OriginError, OriginErrorKind};
use crate::rule::{self, Rule};
use crate::semantics::policy::{Policy, StoreSetCookie};
use crate::semantics::reuse::{self, Reuse};
use crate::semantics::storability::{Exchange, Refusal, Storability, judge, remove_cookies};
use crate::semantics::stored::{Position, StoredResponse};
use crate::semantics::update::{freshened, is_of_another};
use crate::semantics::validation::strip_conditions;
use crate::store::memory::{Departure, Entry};

/// A fetch.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) shared: Arc<Shared>,
    pub(super) ask: Arc<Ask>,
    /// What is stored and stale: the origin is asked whether it still holds,
    /// where there is something to ask it by; and it may bridge a failure.
    pub(super) candidate: Option<Arc<Entry>>,
    /// How far bans were known when this began.
    pub(super) began: Position,
    /// The flight it leads, if any.
    pub(super) lead: Option<Lead<FlightKey, Landing>>,
    /// Whether another tier may answer; not where the request insists on the
    /// origin.
    pub(super) may_use_redis: bool,
    /// What the origin is asked for.
    pub(super) wanted: Wanted,
}

/// What the origin is asked for.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// The whole response.
    Whole,
    /// What the request's own `Range` asks for.
    Part,
    /// What follows this stored beginning of it.
    Rest(Arc<Entry>),
}

impl Fetch {
    /// Starts it: what its own client is told. Dropped, the fetch goes on.
    pub(super) fn start(self) -> Started {
        let (client, first) = oneshot::channel();
        Started {
            run: Outliving::new(self.run(client)),
            first,
        }
    }

    async fn run(mut self, client: oneshot::Sender<First>) {
        let ask = Arc::clone(&self.ask);
        let Ok(cacheable) = ask.cacheable() else {
            return;
        };
        let before = self.candidate.clone();
        let _hold = match self.ask_redis(cacheable).await {
            Collapsed::Ours(hold) => hold,
            Collapsed::Found(entry) => {
                return self.land(client, Landing::Reusable(entry, Source::Found));
            }
        };
        if matches!(self.wanted, Wanted::Whole)
            && self.candidate.is_none()
            && let Some(beginning) = part::beginning(&self.shared, &ask, cacheable)
        {
            self.wanted = Wanted::Rest(beginning);
        }
        let mut answer = self.ask_origin().await;
        if let (Wanted::Rest(_), Ok(arrived)) = (&self.wanted, &answer)
            && !self.can_use_rest(arrived)
        {
            self.wanted = Wanted::Whole;
            answer = self.ask_origin().await;
        }
        if let (Some(candidate), Ok(arrived)) = (&self.candidate, &answer)
            && arrived.head.status == StatusCode::NOT_MODIFIED
            && is_of_another(&candidate.response.head.fields, &arrived.head.headers)
        {
            // It confirms what is not stored: only the whole will do.
            self.drop_candidate(cacheable);
            self.candidate = None;
            answer = self.ask_origin().await;
        }
        match answer {
            Err(error) => {
                // What Redis had bridges the failures to come.
                if let Some(candidate) = &self.candidate
                    && !before.is_some_and(|before| Arc::ptr_eq(&before, candidate))
                {
                    self.shared.store.promote(&cacheable.cache, candidate);
                }
                let failed = Landing::of_failure(error);
                if let Some(lead) = &self.lead {
                    lead.land_and_close(failed.clone());
                }
                let _ = client.send(First::Landed(failed));
            }
            Ok(answer) => self.receive(cacheable, client, answer).await,
        }
    }

    /// One exchange with the origin: whether the candidate still holds, or
    /// what there is.
    async fn ask_origin(&self) -> Result<Answer, OriginError> {
        let mut fields = self.ask.forwarded.clone();
        if !matches!(self.wanted, Wanted::Part) {
            strip_conditions(&mut fields);
            fields.remove(RANGE);
            fields.remove(IF_RANGE);
        }
        if let Wanted::Rest(beginning) = &self.wanted {
            part::ask_for_rest(beginning, &mut fields);
        }
        if let Some(candidate) = &self.candidate {
            let validators = &candidate.response.head.validators;
            validators.make_conditional(&mut fields);
        }
        let clock = &self.shared.clock;
        forward::send(&self.ask, clock, Method::GET, fields, Body::Empty).await
    }

    /// Whether the answer to a request for the rest is of use: the rest, or
    /// the whole, or what the whole request would have been answered with.
    fn can_use_rest(&self, answer: &Answer) -> bool {
        match answer.head.status {
            StatusCode::PARTIAL_CONTENT => self.completion(answer).is_some(),
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_MODIFIED => false,
            _ => true,
        }
    }

    /// The stored beginning that an answer completes, and the whole's length.
    fn completion(&self, answer: &Answer) -> Option<(Bytes, u64)> {
        let Wanted::Rest(beginning) = &self.wanted else {
            return None;
        };
        let length = http_body::Body::size_hint(&answer.body).exact()?;
        part::completes(beginning, &answer.head.headers, length)
    }

    /// Whether the candidate is fresh to a request that asks for nothing else.
    fn has_fresh(&self) -> bool {
        let now = self.shared.clock.now();
        self.candidate.as_ref().is_some_and(|candidate| {
            let directives = RequestDirectives::default();
            let kept = candidate.kept();
            self.shared.assess(kept, self.ask.started, now, &directives) == Reuse::Fresh
        })
    }

    fn drop_candidate(&self, cacheable: &Cacheable) {
        if let Some(candidate) = &self.candidate {
            let memory = &self.shared.store.memory;
            memory.remove(&cacheable.cache, candidate.kept(), Departure::Expired);
        }
    }

    /// Asks Redis, where this fetch may; all of it within one budget, but for
    /// waiting for another instance.
    async fn ask_redis(&mut self, cacheable: &Cacheable) -> Collapsed {
        let shared = Arc::clone(&self.shared);
        let redis = shared.store.redis.as_ref();
        let Some(redis) = redis.filter(|_| self.may_use_redis) else {
            return Collapsed::Ours(None);
        };
        let mut budget = redis.budget();
        match self.look_in_redis(redis, cacheable, &mut budget).await {
            FromRedis::Answer(entry) => return Collapsed::Found(entry),
            FromRedis::Candidate(entry) => self.candidate = Some(entry),
            FromRedis::Nothing => {}
        }
        self.collapse(redis, cacheable, budget).await
    }

    async fn receive(self, cacheable: &Cacheable, client: oneshot::Sender<First>, answer: Answer) {
        if let Some(candidate) = self.candidate.clone() {
            if answer.head.status == StatusCode::NOT_MODIFIED {
                return self.validated(cacheable, client, &candidate, answer);
            }
            let now = self.shared.clock.now();
            let head = &candidate.response.head;
            let plain = RequestDirectives::default();
            if is_failure(answer.head.status)
                && reuse::may_answer_on_error(&head.freshness, head.current_age(now), &plain)
                && self.shared.may_bridge(&self.ask, &candidate)
            {
                let source = Source::OriginError(answer.head.status);
                return self.land(client, Landing::Reusable(candidate, source));
            }
        }
        let is_part = answer.head.status == StatusCode::PARTIAL_CONTENT;
        let beginning = self.completion(&answer);
        // Content that was not asked for in part is not to be had in part.
        if is_part && beginning.is_none() && !matches!(self.wanted, Wanted::Part) {
            return self.refuse(cacheable, client, answer, Refusal::Partial);
        }
        let exchange = exchange(&self.ask, &answer, &answer.head.headers);
        let refusal = match judge(&exchange, &cacheable.route.policy, &cacheable.route.key) {
            Storability::Refuse(refusal) => refusal,
            Storability::Store(storable) if self.settles(cacheable, &answer, &storable) => {
                Refusal::Settling
            }
            Storability::Store(storable) => match self.room_for(&answer) {
                Ok(share) => {
                    let answer = Fillable {
                        answer,
                        storable: *storable,
                        share,
                        beginning,
                    };
                    return self.fill(cacheable, client, answer).await;
                }
                Err(refusal) => refusal,
            },
        };
        self.refuse(cacheable, client, answer, refusal);
    }

    /// Room for the body on its way into the store, as far as its length is
    /// known.
    pub(super) fn room_for(&self, answer: &Answer) -> Result<Share, Refusal> {
        let length = http_body::Body::size_hint(&answer.body)
            .exact()
            .unwrap_or(0);
        if length > self.ask.site.config.memory.body_bytes_max {
            return Err(Refusal::TooLarge);
        }
        let mut share = self.shared.filling.share();
        if share.grow(length) {
            Ok(share)
        } else {
            Err(Refusal::NoRoom)
        }
    }

    /// Streams an answer to whoever waits for it, on its way into the store.
    pub(super) async fn fill(
        self,
        cacheable: &Cacheable,
        client: oneshot::Sender<First>,
        fillable: Fillable,
    ) {
        let Fillable {
            mut answer,
            storable,
            share,
            beginning,
        } = fillable;
        self.shared.not_shareable.forget(&cacheable.key);
        let mut head = stored_head(&self.ask, cacheable, &answer, storable, self.began);
        let mut length = http_body::Body::size_hint(&answer.body).exact();
        if let Some((_, complete)) = beginning {
            head = part::whole_head(head, complete);
            answer.head.status = head.status;
            answer.head.headers = head.fields.clone();
            length = Some(complete);
        }
        let has_length = length.is_some();
        let (pour, spring) = tee(length);
        if let Some((bytes, _)) = beginning {
            pour.push(bytes);
        }
        let reader = spring.reader();
        let filling = Arc::new(Filling { head, spring });
        if let Some(lead) = &self.lead {
            lead.land(Landing::Filling(Arc::clone(&filling)));
        }
        if let Some(reader) = reader {
            // A client that hung up does not end the fetch.
            let _ = client.send(First::Filling {
                head: Box::new(answer.head),
                filling: Arc::clone(&filling),
                reader,
            });
        }
        // A client that insists on the origin renews what is fresh.
        let is_renewed = self.candidate.is_some() && !self.has_fresh();
        let kept = fill::pump(&self.ask, answer.body, &pour, share).await;
        match kept {
            Ok(fill::Kept::Whole(body, trailers, share)) => {
                let counters = cacheable.route.telemetry.counters();
                let before = self.candidate.as_ref();
                if before.is_some_and(|before| before.response.body == body) {
                    counters.unchanged.increment();
                }
                if is_renewed {
                    counters.expirations.increment();
                }
                if !has_length {
                    // The answer was counted when it began, without its body.
                    counters.body_bytes.add(body.len() as u64);
                }
                let response = filling.complete(body.clone(), self.shared.clock.now());
                self.keep(cacheable, response);
                // Stored first: whoever has seen the end of the body finds it.
                pour.finish_as(&body, trailers, Box::new(share));
            }
            Ok(fill::Kept::PassedOn(trailers)) => {
                count_refusal(cacheable, Refusal::TooLarge);
                self.remember_not_shareable(cacheable);
                pour.finish(trailers);
            }
            Err(reason) => {
                tracing::debug!(%reason, "a response broke off and is not stored");
                pour.fail(&reason.to_string());
            }
        }
    }

    /// Stores what has come whole, be it a part or all of it.
    fn keep(&self, cacheable: &Cacheable, response: Arc<StoredResponse>) {
        if response.head.status == StatusCode::PARTIAL_CONTENT {
            return part::keep(&self.shared, cacheable, response);
        }
        let store = &self.shared.store;
        let lead = self.shared.clock.lead();
        store.put(&cacheable.cache, cacheable.key, response, lead);
        if let Wanted::Rest(beginning) = &self.wanted {
            part::forget(&self.shared, cacheable, beginning);
        }
    }

    /// The origin confirmed the candidate: its fields are updated and its life
    /// begins anew (RFC 9111 §4.3.4).
    fn validated(
        self,
        cacheable: &Cacheable,
        client: oneshot::Sender<First>,
        candidate: &Arc<Entry>,
        answer: Answer,
    ) {
        let old = &candidate.response;
        let (fields, policy) = confirmed(&old.head.fields, &answer, &cacheable.route.policy);
        let exchange = Exchange {
            status: old.head.status,
            ..exchange(&self.ask, &answer, &fields)
        };
        let cookies = answer.head.headers.get_all(SET_COOKIE);
        let cookies = match policy.set_cookie {
            StoreSetCookie::Never => cookies.iter().cloned().collect(),
            StoreSetCookie::Strip | StoreSetCookie::Origin => Vec::new(),
        };
        let store = &self.shared.store;
        match judge(&exchange, &policy, &cacheable.route.key) {
            Storability::Store(storable) if !self.settles(cacheable, &answer, &storable) => {
                let mut head = stored_head(&self.ask, cacheable, &answer, *storable, self.began);
                head.status = old.head.status;
                head.fetch_cost = old.head.fetch_cost;
                let body = old.body.clone();
                let entry = store.put(
                    &cacheable.cache,
                    cacheable.key,
                    Arc::new(StoredResponse { head, body }),
                    answer.lead,
                );
                if let Some(lead) = &self.lead {
                    lead.land(Landing::Reusable(Arc::clone(&entry), Source::Validated));
                }
                let _ = client.send(First::Validated(entry, cookies));
            }
            refused @ (Storability::Store(_) | Storability::Refuse(_)) => {
                let mut says_nothing_of_it = false;
                if let Storability::Refuse(refusal) = refused {
                    count_refusal(cacheable, refusal);
                    says_nothing_of_it = refusal.is_of_the_request();
                }
                if !says_nothing_of_it {
                    self.drop_candidate(cacheable);
                }
                if let Some(lead) = &self.lead {
                    lead.land(Landing::NotShareable);
                }
                let _ = client.send(First::Validated(Arc::clone(candidate), cookies));
            }
        }
    }

    fn refuse(
        self,
        cacheable: &Cacheable,
        client: oneshot::Sender<First>,
        answer: Answer,
        refusal: Refusal,
    ) {
        count_refusal(cacheable, refusal);
        // An origin that settles will be shared again soon, and what is stored
        // is no worse than what it says.
        let is_settling = refusal == Refusal::Settling;
        let is_failing = answer.head.status.is_server_error();
        if !is_settling && !is_failing && refusal != Refusal::RequestNoStore {
            self.remember_not_shareable(cacheable);
        }
        // A good answer that is not to be stored takes the place of what is:
        // that one is out of date now. Not one that is so because of who asked,
        // or how: a stranger could have what is stored dropped.
        let is_good = matches!(answer.head.status.as_u16(), 200..=399 | 404 | 410);
        // `private` may be said to this visitor alone, and what is fresh stays so.
        let may_be_for_one = matches!(refusal, Refusal::Private | Refusal::NoStore);
        let is_kept = refusal.is_of_the_request() || (may_be_for_one && self.has_fresh());
        if is_good && !is_settling && !is_kept {
            self.drop_candidate(cacheable);
        }
        if let Some(lead) = &self.lead {
            if is_failing {
                let failing = OriginError::bare(OriginErrorKind::Failing);
                lead.land_and_close(Landing::FailedAlone(failing));
            } else {
                lead.land(Landing::NotShareable);
            }
        }
        // Nobody listens: the answer is dropped, and its connection with it.
        let _ = client.send(First::Own(Box::new(answer), refusal));
    }

    fn remember_not_shareable(&self, cacheable: &Cacheable) {
        let now = self.shared.clock.now();
        self.shared.not_shareable.remember(cacheable.key, now);
    }

    fn land(&self, client: oneshot::Sender<First>, landing: Landing) {
        if let Some(lead) = &self.lead {
            lead.land(landing.clone());
        }
        let _ = client.send(First::Landed(landing));
    }
}

/// The stored fields as a `304` leaves them, and the policy to judge them by. It
/// sets cookies for the client whose request it answers: what is stored takes
/// over none, unless the route says that everybody gets them.
pub(super) fn confirmed<'a>(
    stored: &HeaderMap,
    answer: &Answer,
    policy: &'a Policy,
) -> (HeaderMap, Cow<'a, Policy>) {
    let mut fields = freshened(stored, &answer.head.headers);
    let mut policy = Cow::Borrowed(policy);
    if policy.set_cookie != StoreSetCookie::Origin {
        if rule::holds(Rule::ValidatedCookie) {
            remove_cookies(&mut fields);
        } else {
            policy.to_mut().set_cookie = StoreSetCookie::Origin;
        }
    }
    (fields, policy)
}

fn count_refusal(cacheable: &Cacheable, refusal: Refusal) {
    let counters = cacheable.route.telemetry.counters();
    counters.refusals.increment(refusal.as_str());
}

/// The answers that `stale-if-error` bridges (RFC 5861 §4).
pub(super) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
