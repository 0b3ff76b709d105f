//! Whether a response may be stored by a shared cache (RFC 9111 §3).

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, StatusCode};

use super::freshness::{Freshness, LifetimeSource, is_heuristically_cacheable};
use super::policy::{KeySpec, Policy, StoreErrors, StoreSetCookie};
use super::range::ContentRange;
use super::tags;
use super::validation::Validators;
use super::vary::{Vary, VaryNames};
use crate::clock::Timestamp;
use crate::message::directives::{RequestDirectives, ResponseDirectives};
use crate::message::fields::compact_where;
use crate::message::targeted;
use crate::rule::{self, Rule};

/// What is to be done with a response head.
#[derive(Clone, Debug)]
pub enum Storability {
    /// Store it, with this.
    Store(Box<Storable>),
    /// Pass it on to the one who asked, and to no one else.
    Refuse(Refusal),
}

/// What storing needs to know, computed from the head.
#[derive(Clone, Debug)]
pub struct Storable {
    /// The fields to replay.
    pub fields: HeaderMap,
    /// How long it is good for.
    pub freshness: Freshness,
    /// Its validators.
    pub validators: Validators,
    /// What it varies on.
    pub vary: VaryNames,
    /// Its tags.
    pub tags: Box<[Box<str>]>,
}

/// Why a response is not stored. The name is the `detail` of `Cache-Status`
/// and the label in statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The request said `no-store`.
    RequestNoStore,
    /// The response said `no-store`.
    NoStore,
    /// The response said `private`.
    Private,
    /// It answers a request with `Authorization` and does not say that it may
    /// be shared (RFC 9111 §3.5).
    Authorization,
    /// It sets a cookie, and the route does not let such responses be stored.
    SetCookie,
    /// `Vary: *`, or a `Vary` that cannot be read.
    VaryAny,
    /// A status code that is not stored here.
    Status,
    /// The response said `must-understand` with a status code that is not
    /// understood here (RFC 9111 §5.2.2.3).
    NotUnderstood,
    /// Partial content.
    Partial,
    /// An endless stream of events.
    EventStream,
    /// Nothing says how long it is fresh, and nothing to validate it with.
    NoFreshness,
    /// It carries more tags than are kept.
    Tags,
    /// Its body is larger than `[memory] body_bytes_max`.
    TooLarge,
    /// Too many bodies are being received at once (`[memory] filling_bytes_max`).
    NoRoom,
    /// It was invalidated a moment ago (`[invalidation] settle`).
    Settling,
}

impl Refusal {
    /// Whether it is for the request, or for what this proxy has room for, that
    /// the response is not stored: it says nothing of what is.
    #[must_use]
    pub const fn is_of_the_request(self) -> bool {
        matches!(
            self,
            Self::RequestNoStore
                | Self::Authorization
                | Self::SetCookie
                | Self::NoRoom
                | Self::Settling
        )
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryAny => "vary-any",
            Self::Status => "status",
            Self::NotUnderstood => "must-understand",
            Self::Partial => "partial",
            Self::EventStream => "event-stream",
            Self::NoFreshness => "no-freshness",
            Self::Tags => "tags",
            Self::TooLarge => "too-large",
            Self::Settling => "settling",
            Self::NoRoom => "no-room",
        }
    }
}

/// A response head and the exchange that brought it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// Host and port as the client named them, lower case.
    pub host: &'a str,
    /// Fields of the request, as the client sent them.
    pub request: &'a HeaderMap,
    /// Status of the response.
    pub status: StatusCode,
    /// End-to-end fields of the response.
    pub response: &'a HeaderMap,
    /// When the request was sent.
    pub request_time: Timestamp,
    /// When the head arrived.
    pub response_time: Timestamp,
}

/// Judges the answer to a GET.
#[must_use]
pub fn judge(exchange: &Exchange<'_>, policy: &Policy, spec: &KeySpec) -> Storability {
    match try_store(exchange, policy, spec) {
        Ok(storable) => Storability::Store(Box::new(storable)),
        Err(refusal) => Storability::Refuse(refusal),
    }
}

fn try_store(
    exchange: &Exchange<'_>,
    policy: &Policy,
    spec: &KeySpec,
) -> Result<Storable, Refusal> {
    let shareable = Shareable::of(exchange, policy, spec)?;
    let freshness = &shareable.freshness;
    refuse_if(
        !is_status_storable(exchange.status, freshness, policy),
        Refusal::Status,
    )?;
    let can_validate = || Validators::are_among(exchange.response, exchange.response_time);
    let is_of_use = !freshness.usable_for().is_zero() && !freshness.always_validate;
    refuse_if(!is_of_use && !can_validate(), Refusal::NoFreshness)?;
    shareable.storable(exchange, policy)
}

fn refuse_if(condition: bool, refusal: Refusal) -> Result<(), Refusal> {
    if condition { Err(refusal) } else { Ok(()) }
}

/// A response that is not only for the one who asked: what of that depends on
/// its status code and its freshness has still to be judged.
struct Shareable {
    directives: ResponseDirectives,
    vary: VaryNames,
    freshness: Freshness,
}

impl Shareable {
    fn of(exchange: &Exchange<'_>, policy: &Policy, spec: &KeySpec) -> Result<Self, Refusal> {
        let directives = targeted::governing(
            exchange.response,
            &policy.targets.0,
            policy.ignore.cache_control,
        );
        refuse_if(
            RequestDirectives::of_except(exchange.request, policy.ignore_request).no_store,
            Refusal::RequestNoStore,
        )?;
        let is_understood_only = directives.must_understand && !directives.is_garbled;
        // A cache that understands the status code ignores the `no-store` beside
        // `must-understand`: it is there for those that do not (§5.2.2.3).
        refuse_if(
            directives.must_understand && !is_understood(exchange.status),
            Refusal::NotUnderstood,
        )?;
        refuse_if(directives.no_store && !is_understood_only, Refusal::NoStore)?;
        refuse_if(directives.private, Refusal::Private)?;
        // Several parts in one are not taken apart (§3.3: a cache need not).
        refuse_if(
            exchange.status == StatusCode::PARTIAL_CONTENT
                && ContentRange::of(exchange.response).is_none(),
            Refusal::Partial,
        )?;
        refuse_if(is_event_stream(exchange.response), Refusal::EventStream)?;

        let is_keyed_by_credentials = spec.headers.contains(&AUTHORIZATION);
        let may_share_credentials_answer = !directives.is_garbled
            && (directives.public || directives.s_maxage.is_some() || directives.must_revalidate);
        refuse_if(
            exchange.request.contains_key(AUTHORIZATION)
                && !is_keyed_by_credentials
                && !may_share_credentials_answer,
            Refusal::Authorization,
        )?;

        let vary = if policy.ignore.vary {
            VaryNames::default()
        } else {
            match Vary::of(exchange.response) {
                Vary::Names(names) => names.without(|name| {
                    let is_keyed = spec.headers.contains(name)
                        || (*name == COOKIE && !spec.cookies.is_empty());
                    is_keyed || policy.ignore_vary.contains(name)
                }),
                Vary::Any => return Err(Refusal::VaryAny),
            }
        };

        let freshness = Freshness::of(
            exchange.status,
            exchange.response,
            &directives,
            policy,
            exchange.request_time,
            exchange.response_time,
        );
        let may_keep_cookie = match policy.set_cookie {
            StoreSetCookie::Never if rule::holds(Rule::SetCookie) => false,
            StoreSetCookie::Never => directives.public || directives.s_maxage.is_some(),
            StoreSetCookie::Strip => true,
            StoreSetCookie::Origin => {
                let is_stated = freshness.source == LifetimeSource::Origin;
                is_stated || directives.public || directives.s_maxage.is_some()
            }
        };
        refuse_if(
            sets_cookie(exchange.response) && !may_keep_cookie,
            Refusal::SetCookie,
        )?;
        Ok(Self {
            directives,
            vary,
            freshness,
        })
    }

    fn storable(self, exchange: &Exchange<'_>, policy: &Policy) -> Result<Storable, Refusal> {
        let tags = tags::of(exchange.response, exchange.host).map_err(|_| Refusal::Tags)?;
        let fields = fields_to_replay(exchange, policy, &self.directives.withheld);
        Ok(Storable {
            tags,
            // Those of the fields that are kept, to share their memory.
            validators: Validators::of(&fields, exchange.response_time),
            fields,
            freshness: self.freshness,
            vary: self.vary,
        })
    }
}

fn is_status_storable(status: StatusCode, freshness: &Freshness, policy: &Policy) -> bool {
    let is_explicit = freshness.source == LifetimeSource::Origin;
    let is_guessed = freshness.source == LifetimeSource::Heuristic;
    match status.as_u16() {
        // Answers to a condition and to a range, never responses of their own.
        304 | 416 => false,
        _ if freshness.source == LifetimeSource::Route && policy.ttl_for(status).is_some() => true,
        200..=299 if policy.ttl.is_some() => true,
        200..=399 => is_explicit || is_guessed || is_heuristically_cacheable(status),
        400..=599 => {
            let may_guess = is_guessed && policy.ttl.is_none();
            policy.errors == StoreErrors::Origin && (is_explicit || may_guess)
        }
        _ => false,
    }
}

/// Whether a status code is one whose meaning for caching is known here:
/// those of RFC 9110 §15, and those registered since that mean nothing
/// particular to a cache.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=206 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 428 | 429 | 431 | 451 | 500..=505 | 511
    )
}

fn is_event_stream(fields: &HeaderMap) -> bool {
    fields.get(CONTENT_TYPE).is_some_and(|value| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next();
        essence.is_some_and(|essence| {
            essence
                .trim_ascii()
                .eq_ignore_ascii_case(b"text/event-stream")
        })
    })
}

/// Whether a field is this proxy's to say, or speaks of one connection
/// (RFC 9111 §3.1): never replayed.
fn is_never_replayed(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "age"
            | "x-cache"
            | "x-cache-age"
            | "x-process-time"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
    )
}

fn fields_to_replay(
    exchange: &Exchange<'_>,
    policy: &Policy,
    withheld: &[HeaderName],
) -> HeaderMap {
    let keeps_cookie = policy.set_cookie == StoreSetCookie::Origin
        || (policy.set_cookie == StoreSetCookie::Never && !rule::holds(Rule::SetCookie));
    compact_where(exchange.response, |name| {
        !is_never_replayed(name)
            && !withheld.contains(name)
            && (keeps_cookie || !SET_COOKIES.contains(name))
    })
}

/// `Set-Cookie2` (RFC 2965) is obsolete, and what understands it still stores it.
static SET_COOKIES: [HeaderName; 2] = [SET_COOKIE, HeaderName::from_static("set-cookie2")];

fn sets_cookie(fields: &HeaderMap) -> bool {
    SET_COOKIES.iter().any(|name| fields.contains_key(name))
}

/// Removes the fields that set cookies.
pub fn remove_cookies(fields: &mut HeaderMap) {
    for name in &SET_COOKIES {
        fields.remove(name);
    }
}

#[cfg(test)]
#[path = "storability_tests.rs"]
mod tests;
