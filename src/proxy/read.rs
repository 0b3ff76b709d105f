//! The life of a read of a cacheable route.
//!
//! Memory first; then one flight a key asks Redis and the origin; everybody
//! who waited judges for himself whether what landed answers his request.

use std::sync::Arc;

use http::Response;
use http::header::SET_COOKIE;
use tokio::time::timeout_at;

use super::ask::{Ask, Cacheable};
use super::decide::{Decision, How, decide};
use super::failure::{Failure, ProxyError};
use super::fetch::{Fetch, Wanted};
use super::fill::Filling;
use super::flight::{Fit, GivenUp, Joined};
use super::landing::{First, Landing, Source};
use super::lookup::{Found, assess, in_memory};
use super::outcome::{CacheStatus, Forwarded, Outcome};
use super::shared::Shared;
use super::{head, lookup, pass, reply};
use crate::message::Body;
use crate::origin::error::OriginError;
use crate::rule::{self, Rule};
use crate::semantics::outcome::CacheResult;
use crate::semantics::reuse::{self, Reuse};
use crate::semantics::vary::SecondaryKey;
use crate::store::memory::Entry;

/// A request follows so many flights that turn out not to be for it, then asks
/// the origin itself.
const JOINS_MAX: usize = 4;

/// After so many fetches that failed at the request of another, a request shares
/// a fetch only with those that ask the same in every field.
const FAILURES_MAX: usize = 2;

/// A read under way.
struct Read<'a> {
    shared: &'a Arc<Shared>,
    ask: Arc<Ask>,
    /// What is stored but may not answer as it is.
    candidate: Option<Arc<Entry>>,
    /// Why the origin is asked.
    why: Forwarded,
}

pub(super) async fn serve(shared: &Arc<Shared>, ask: Arc<Ask>) -> Result<Response<Body>, Failure> {
    let read = Read {
        shared,
        ask: Arc::clone(&ask),
        candidate: None,
        why: Forwarded::UriMiss,
    };
    let Ok(cacheable) = ask.cacheable() else {
        return read.fetch_alone().await;
    };
    let mut reading = ask.reading(cacheable);
    if reading.may_be_stored() {
        // Everything below judges by the bans that are known now.
        reading.is_behind = !shared.invalidation.has_reached(ask.brought).await;
    }
    let found = lookup::find(shared, &ask, &reading, cacheable);
    let decision = decide(&reading, found.as_stored());
    match (decision, found) {
        (Decision::Hit, Found::Part(response)) => Ok(response),
        (Decision::Hit, Found::Response(entry, _)) => {
            Ok(reply::from_store(&ask, &entry, CacheResult::Hit, hit()))
        }
        (Decision::Stale { validate }, Found::Response(entry, _)) => {
            if validate {
                read.validate_in_background(cacheable, &entry);
            }
            Ok(reply::from_store(&ask, &entry, CacheResult::Stale, hit()))
        }
        // Nothing but what is stored is a hit.
        (Decision::Hit | Decision::Stale { .. }, _) => read.fetch_alone().await,
        (Decision::Pass(why), _) => Read { why, ..read }.pass().await,
        (Decision::Refuse(why), _) => Err(Read { why, ..read }.fail(ProxyError::OnlyIfCached)),
        (Decision::Validate(why, how) | Decision::Miss(why, how), found) => {
            let candidate = found.into_candidate();
            let asking = Read {
                candidate,
                why,
                ..read
            };
            asking.ask_origin(cacheable, how).await
        }
    }
}

fn hit() -> CacheStatus {
    CacheStatus::default()
}

impl Read<'_> {
    async fn ask_origin(self, cacheable: &Cacheable, how: How) -> Result<Response<Body>, Failure> {
        match how {
            How::Head => self.head(cacheable).await,
            How::Part => self.fetch_part().await,
            How::Alone => self.fetch_alone().await,
            How::Together | How::Anew => {
                let (key, now) = (&cacheable.key, self.ask.now);
                // None could use what another's fetch brings.
                let is_private = self.shared.not_shareable.is_remembered(key, now);
                match is_private {
                    false => self.fetch_coalesced(cacheable, how).await,
                    true if self.ask.is_head() => self.head(cacheable).await,
                    true => self.fetch_alone().await,
                }
            }
        }
    }

    /// Streams the origin's answer to this client and stores nothing.
    async fn pass(self) -> Result<Response<Body>, Failure> {
        match pass::exchange(self.shared, &self.ask, Body::Empty).await {
            Ok((response, took)) => {
                let mut outcome = self.outcome(CacheResult::Miss, CacheStatus::forwarded(self.why));
                outcome.facts.upstream = Some(took);
                Ok(outcome.finish(response))
            }
            Err(ProxyError::Origin(error)) => self.answer_failure(error, false),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Joins the flight of this key, or leads it.
    async fn fetch_coalesced(
        mut self,
        cacheable: &Cacheable,
        how: How,
    ) -> Result<Response<Body>, Failure> {
        let insists = how == How::Anew;
        let mut secondary = self.expected_secondary(cacheable);
        let wait = self.ask.site.config.coalescing.wait_timeout;
        let until = tokio::time::Instant::now() + wait;
        let mut failures = 0;
        for joins in 0..JOINS_MAX {
            let began = self.ask.position(self.shared);
            let flight_key = (cacheable.key, secondary);
            let joined = self.shared.flights.join(flight_key, began, |flight| {
                let (route, target) = (&cacheable.route.name, &cacheable.target);
                let invalidation = &self.shared.invalidation;
                let started = self.ask.started;
                let age = started.saturating_duration_since(flight.since);
                // Out of touch, a write may have been answered since that
                // flight began of which nothing is known here.
                if invalidation.overtook(&flight.began, route, target)
                    || invalidation.is_unsynced(started, age)
                {
                    Fit::Replace
                } else if !insists || flight.since >= started {
                    Fit::Follow
                } else if flight.has_landed() {
                    Fit::Replace
                } else {
                    Fit::Await
                }
            });
            let follow = match joined {
                Joined::Lead(lead) => {
                    // Who woke late from one flight may have missed the next.
                    let missed = (joins > 0).then(|| self.look_again(cacheable, insists));
                    if let Some(entry) = missed.flatten() {
                        if insists {
                            // The flight is given up: its followers look for themselves.
                            drop(lead);
                            return Ok(self.answer_collapsed(&entry));
                        }
                        lead.land(Landing::Reusable(Arc::clone(&entry), Source::Found));
                        return self.answer_landed(entry, Source::Found, true).await;
                    }
                    let fetch = Fetch {
                        shared: Arc::clone(self.shared),
                        ask: Arc::clone(&self.ask),
                        candidate: self.candidate.clone(),
                        began,
                        lead: Some(lead),
                        may_use_redis: !insists,
                        wanted: Wanted::Whole,
                    };
                    return self.await_own(fetch).await;
                }
                Joined::Follow(follow) => follow,
                Joined::Await(early) => {
                    if timeout_at(until, early.landing()).await.is_err() {
                        return self.fetch_alone().await;
                    }
                    continue;
                }
            };
            let Ok(landed) = timeout_at(until, follow.landing()).await else {
                return self.fetch_alone().await;
            };
            match landed {
                Err(GivenUp) => {}
                Ok(Landing::NotShareable) if self.ask.is_head() => {
                    return self.head(cacheable).await;
                }
                Ok(Landing::NotShareable) => return self.fetch_alone().await,
                Ok(Landing::Failed(error)) => return self.answer_failure(error, true),
                Ok(Landing::FailedAlone(error)) => {
                    if !rule::holds(Rule::OwnFailure) {
                        return self.answer_failure(error, true);
                    }
                    failures += 1;
                    if failures > FAILURES_MAX {
                        // It failed at the very same request.
                        return self.answer_failure(error, true);
                    }
                    if failures == FAILURES_MAX {
                        secondary = self.ask.shape();
                    }
                }
                // It came from no origin.
                Ok(Landing::Reusable(_, Source::Found)) if insists => {
                    return self.fetch_alone().await;
                }
                Ok(Landing::Reusable(entry, source)) => {
                    let head = &entry.response.head;
                    if head.vary.select(self.ask.selecting()) == head.secondary {
                        return self.answer_landed(entry, source, true).await;
                    }
                    secondary = head.vary.select(self.ask.selecting());
                    self.why = Forwarded::VaryMiss;
                }
                Ok(Landing::Filling(filling)) => {
                    let head = &filling.head;
                    let selected = head.vary.select(self.ask.selecting());
                    if selected != head.secondary {
                        secondary = selected;
                        self.why = Forwarded::VaryMiss;
                        continue;
                    }
                    match self.follow_filling(&filling) {
                        Some(response) => return Ok(response),
                        None => return self.fetch_alone().await,
                    }
                }
            }
        }
        self.fetch_alone().await
    }

    /// What has been stored since the first look, where it may answer as it is: to
    /// one who insists, what was asked for after that one came.
    fn look_again(&self, cacheable: &Cacheable, insists: bool) -> Option<Arc<Entry>> {
        let entry = in_memory(self.shared, &self.ask, cacheable, &cacheable.key)?;
        let may_answer = if insists {
            entry.response.head.request_time >= self.ask.now
        } else {
            matches!(assess(self.shared, &self.ask, &entry), Reuse::Fresh)
        };
        may_answer.then_some(entry)
    }

    /// Answers with what another's fetch has just stored, which this request waited
    /// for.
    fn answer_collapsed(&self, entry: &Entry) -> Response<Body> {
        let status = CacheStatus {
            is_stored: true,
            is_collapsed: true,
            ..CacheStatus::forwarded(self.why)
        };
        reply::from_store(&self.ask, entry, CacheResult::Miss, status)
    }

    /// Asks the origin whatever others do; what comes may still be stored.
    async fn fetch_alone(self) -> Result<Response<Body>, Failure> {
        let fetch = Fetch {
            shared: Arc::clone(self.shared),
            ask: Arc::clone(&self.ask),
            candidate: self.candidate.clone(),
            began: self.ask.position(self.shared),
            lead: None,
            may_use_redis: false,
            wanted: Wanted::Whole,
        };
        self.await_own(fetch).await
    }

    /// Asks the origin for the part that the request asks for. Others do not
    /// wait for it: theirs is likely to be another one.
    async fn fetch_part(self) -> Result<Response<Body>, Failure> {
        let fetch = Fetch {
            shared: Arc::clone(self.shared),
            ask: Arc::clone(&self.ask),
            candidate: None,
            began: self.ask.position(self.shared),
            lead: None,
            may_use_redis: self.why != Forwarded::Request && !self.ask.directives.no_cache,
            wanted: Wanted::Part,
        };
        self.await_own(fetch).await
    }

    /// Asks the origin by HEAD, and learns from it what is stored.
    async fn head(self, cacheable: &Cacheable) -> Result<Response<Body>, Failure> {
        match head::ask(self.shared, &self.ask, cacheable).await {
            Ok(answer) => {
                let mut outcome = self.outcome(CacheResult::Miss, CacheStatus::forwarded(self.why));
                outcome.facts.upstream = Some(answer.took);
                Ok(outcome.finish(pass::into_response(&self.ask, answer)))
            }
            Err(ProxyError::Origin(error)) => self.answer_failure(error, false),
            Err(error) => Err(self.fail(error)),
        }
    }

    async fn await_own(self, fetch: Fetch) -> Result<Response<Body>, Failure> {
        let first = fetch.start().await;
        match first {
            Ok(First::Landed(Landing::Reusable(entry, source))) => {
                self.answer_landed(entry, source, false).await
            }
            Ok(First::Landed(Landing::Failed(error) | Landing::FailedAlone(error))) => {
                self.answer_failure(error, false)
            }
            Ok(First::Validated(entry, cookies)) => {
                let mut response = self.answer_landed(entry, Source::Validated, false).await?;
                for cookie in cookies {
                    response.headers_mut().append(SET_COOKIE, cookie);
                }
                Ok(response)
            }
            Ok(First::Filling {
                head,
                filling,
                reader,
            }) => {
                let mut outcome = self.outcome(
                    CacheResult::Miss,
                    CacheStatus {
                        is_stored: true,
                        ..CacheStatus::forwarded(self.why)
                    },
                );
                outcome.facts.upstream = Some(filling.head.fetch_cost);
                let body = Body::Shared(reader);
                Ok(outcome.finish(reply::fetched(&self.ask, &filling, *head, body)))
            }
            Ok(First::Own(answer, refusal)) => {
                let mut outcome = self.outcome(
                    CacheResult::Miss,
                    CacheStatus {
                        detail: Some(refusal.as_str()),
                        ..CacheStatus::forwarded(self.why)
                    },
                );
                outcome.facts.upstream = Some(answer.took);
                Ok(outcome.finish(pass::into_response(&self.ask, *answer)))
            }
            // What a fetch lands for followers only, and a fetch that died.
            Ok(First::Landed(Landing::NotShareable | Landing::Filling(_))) | Err(_) => {
                self.pass().await
            }
        }
    }

    /// Answers with a stored response that a fetch came back with.
    async fn answer_landed(
        self,
        entry: Arc<Entry>,
        source: Source,
        is_collapsed: bool,
    ) -> Result<Response<Body>, Failure> {
        let ask = &self.ask;
        match source {
            Source::Validated => {
                let status = CacheStatus {
                    forward_status: Some(http::StatusCode::NOT_MODIFIED),
                    is_stored: true,
                    is_collapsed,
                    ..CacheStatus::forwarded(self.why)
                };
                let answer = reply::from_store(ask, &entry, CacheResult::Revalidated, status);
                Ok(answer)
            }
            Source::OriginError(failed) => {
                let status = CacheStatus {
                    forward_status: Some(failed),
                    is_collapsed,
                    ..CacheStatus::forwarded(self.why)
                };
                Ok(reply::from_store(ask, &entry, CacheResult::Stale, status))
            }
            Source::Found => match assess(self.shared, ask, &entry) {
                Reuse::Fresh => Ok(reply::from_store(ask, &entry, CacheResult::Hit, hit())),
                Reuse::Stale { validate } => {
                    if let (true, Ok(cacheable)) = (validate, ask.cacheable()) {
                        self.validate_in_background(cacheable, &entry);
                    }
                    Ok(reply::from_store(ask, &entry, CacheResult::Stale, hit()))
                }
                Reuse::Validate(_) => {
                    let insisting = Read {
                        candidate: Some(entry),
                        ..self
                    };
                    Box::pin(insisting.fetch_alone()).await
                }
            },
        }
    }

    /// Streams somebody else's fetch; `None` where it is too late to.
    fn follow_filling(&self, filling: &Filling) -> Option<Response<Body>> {
        let body = Body::Shared(filling.spring.follower()?);
        let status = CacheStatus {
            is_stored: true,
            is_collapsed: true,
            ..CacheStatus::forwarded(self.why)
        };
        let outcome = self.outcome(CacheResult::Miss, status);
        Some(outcome.finish(reply::followed(&self.ask, filling, body)))
    }

    /// The origin failed: what is stored answers, where it may.
    fn answer_failure(
        self,
        error: OriginError,
        is_collapsed: bool,
    ) -> Result<Response<Body>, Failure> {
        if let Some(entry) = &self.candidate {
            let head = &entry.response.head;
            let age = head.current_age(self.shared.clock.now());
            if reuse::may_answer_on_error(&head.freshness, age, &self.ask.directives)
                && self.shared.may_bridge(&self.ask, entry)
            {
                tracing::debug!(%error, "a stored response bridges the origin's failure");
                let status = CacheStatus {
                    detail: Some(error.kind.as_str()),
                    is_collapsed,
                    ..CacheStatus::forwarded(self.why)
                };
                let ask = &self.ask;
                return Ok(reply::from_store(ask, entry, CacheResult::Stale, status));
            }
        }
        let mut failure = self.fail(error.into());
        failure.outcome.facts.status.is_collapsed = is_collapsed;
        Err(failure)
    }

    fn validate_in_background(&self, cacheable: &Cacheable, entry: &Arc<Entry>) {
        let began = self.ask.position(self.shared);
        let flight_key = (cacheable.key, entry.response.head.secondary);
        let joined = self.shared.flights.join(flight_key, began, |_| Fit::Follow);
        if let Joined::Lead(lead) = joined {
            let fetch = Fetch {
                shared: Arc::clone(self.shared),
                ask: Arc::clone(&self.ask),
                candidate: Some(Arc::clone(entry)),
                began,
                lead: Some(lead),
                may_use_redis: true,
                wanted: Wanted::Whole,
            };
            // Nobody waits for it.
            drop(fetch.start());
        }
    }

    /// What the request is expected to select, so that requests for different
    /// variants do not wait for each other.
    fn expected_secondary(&self, cacheable: &Cacheable) -> SecondaryKey {
        if let Some(candidate) = &self.candidate {
            return candidate.response.head.secondary;
        }
        let memory = &self.shared.store.memory;
        memory
            .vary_names(&cacheable.cache, &cacheable.key)
            .map(|names| names.select(self.ask.selecting()))
            .unwrap_or_default()
    }

    fn outcome(&self, cache: CacheResult, status: CacheStatus) -> Outcome {
        self.ask.outcome(cache, status)
    }

    fn fail(&self, error: ProxyError) -> Failure {
        Failure {
            error,
            outcome: Box::new(self.outcome(CacheResult::Miss, CacheStatus::forwarded(self.why))),
        }
    }
}
