//! What a request asks for, computed once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, PRAGMA, RANGE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body::Body as _;

use super::decide::Reading;
use super::failure::Failure;
use super::outcome::{CacheStatus, Facts, Forwarded, Outcome};
use super::shared::{Shared, Site};
use super::{Peer, Received, forward, session};
use crate::clock::Timestamp;
use crate::gate::Refused;
use crate::invalidation::session::Brought;
use crate::message::Body;
use crate::message::directives::{IgnoredDirectives, RequestDirectives};
use crate::message::fields::is_of_the_way;
use crate::message::grpc::is_grpc;
use crate::message::interim::Interim;
use crate::message::presence::Presence;
use crate::message::scheme::Scheme;
use crate::message::upgrade::{Upgrade, upgrade_wanted};
use crate::origin::client::OriginClient;
use crate::origin::error::OriginError;
use crate::origin::request::{Sender, has_override};
use crate::route::Route;
use crate::rule::{self, Rule};
use crate::semantics::key::CacheKey;
use crate::semantics::outcome::CacheResult;
use crate::semantics::query::asks_for_bypass;
use crate::semantics::stored::{Position, Target};
use crate::semantics::target::RequestTarget;
use crate::semantics::told::ToldTarget;
use crate::semantics::vary::SecondaryKey;
use crate::store::memory::RouteCache;
use crate::telemetry::Telemetry;
use crate::telemetry::exchanges::Exchanged;
use crate::telemetry::spans::{SpanIds, TRACEPARENT};

/// A request and what was found out about it.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) started: Instant,
    /// The way of interim responses to the client.
    pub(super) interim: Option<Interim>,
    pub(super) now: Timestamp,
    pub(super) site: Arc<Site>,
    pub(super) thread: usize,
    pub(super) method: Method,
    pub(super) uri: Uri,
    /// Its fields as the client sent them.
    pub(super) fields: HeaderMap,
    /// Its fields as they go to the origin, which answers by them: what is
    /// stored is stored for these, never for those that the client sent.
    pub(super) forwarded: HeaderMap,
    /// Host and port as the client named them, lower case.
    pub(super) named_host: String,
    /// What the application is told of scheme and host.
    told_target: ToldTarget,
    pub(super) sender: Sender,
    /// Its span, where one is exported.
    pub(super) span: Option<SpanIds>,
    /// The protocol it wants to switch to, and the way there.
    pub(super) upgrade: Option<Upgrade>,
    /// How new an answer out of the store has to be.
    pub(super) brought: Brought,
    pub(super) directives: RequestDirectives,
    pub(super) asks_for: AsksFor,
    pub(super) route: Option<Arc<Route>>,
    /// Whether its client still waits.
    pub(super) presence: Presence,
    cacheable: Result<Cacheable, NotCacheable>,
    telemetry: Arc<Telemetry>,
}

/// What the stores need to know of a read.
#[derive(Debug)]
pub(super) struct Cacheable {
    pub(super) route: Arc<Route>,
    pub(super) cache: Arc<RouteCache>,
    pub(super) key: CacheKey,
    pub(super) target: Target,
    /// `bypass_query`: ask the origin and refresh what is stored.
    pub(super) is_refresh: bool,
}

/// Fields that change how a request is answered, found in one pass: most
/// requests have none of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AsksFor {
    /// `Range`.
    pub(super) range: bool,
    /// `If-None-Match`, `If-Modified-Since`: a cache evaluates them.
    pub(super) condition: bool,
    /// `If-Match`, `If-Unmodified-Since`: only the origin may (RFC 9111 §4.3.2).
    pub(super) origin_condition: bool,
    /// `Cache-Control`, `Pragma`.
    directives: bool,
}

impl AsksFor {
    fn of(fields: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in fields.keys() {
            found.note(name.as_str());
        }
        found
    }

    /// Notes what a field of this name, in any letter case, asks for.
    pub(super) fn note(&mut self, name: &str) {
        let is = |known: &HeaderName| name.eq_ignore_ascii_case(known.as_str());
        // The length tells most names apart at once.
        match name.len() {
            5 => self.range |= is(&RANGE),
            6 => self.directives |= is(&PRAGMA),
            8 => self.origin_condition |= is(&IF_MATCH),
            13 => {
                self.condition |= is(&IF_NONE_MATCH);
                self.directives |= is(&CACHE_CONTROL);
            }
            17 => self.condition |= is(&IF_MODIFIED_SINCE),
            19 => self.origin_condition |= is(&IF_UNMODIFIED_SINCE),
            _ => {}
        }
    }

    /// Whether it carries directives that have to be read on such a route.
    pub(super) fn has_directives(self, ignored: IgnoredDirectives) -> bool {
        self.directives && !(ignored.cache_control && ignored.pragma)
    }

    #[cfg(test)]
    pub(super) const fn of_range() -> Self {
        Self {
            range: true,
            condition: false,
            origin_condition: false,
            directives: false,
        }
    }

    #[cfg(test)]
    pub(super) const fn of_origin_condition() -> Self {
        Self {
            range: false,
            condition: false,
            origin_condition: true,
            directives: false,
        }
    }
}

/// Why the store is left out of a safe request; a token for `Cache-Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotCacheable {
    /// No route.
    NoRoute,
    /// `[cache] enabled = false`.
    Disabled,
    /// Neither GET nor HEAD.
    Method,
    /// Applications may disagree on what the path names.
    AmbiguousPath,
    /// A field asks the application to read it as another request.
    Override,
    /// A GET with content means something that the key does not hold.
    HasContent,
    /// It wants to switch protocols.
    Upgrade,
}

impl NotCacheable {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::NoRoute => "no-route",
            Self::Disabled => "disabled",
            Self::Method => "method",
            Self::AmbiguousPath => "ambiguous-path",
            Self::Override => "override-field",
            Self::HasContent => "request-content",
            Self::Upgrade => "upgrade",
        }
    }
}

impl Ask {
    /// Takes a request apart.
    pub(super) fn new(shared: &Shared, thread: usize, mut request: Request<Body>) -> (Self, Body) {
        let upgrade = upgrade_wanted(request.headers()).is_some().then(|| {
            let promised = request.extensions_mut().remove::<Upgrade>();
            promised.unwrap_or_else(|| Upgrade::promise().1)
        });
        let (mut parts, body) = request.into_parts();
        let site = shared.site();
        // First: neither the origin nor a key is to see it.
        let brought = session::take(site.config.coherence.session, &mut parts.headers);
        let peer = parts.extensions.get::<Peer>();
        let scheme = peer.map_or(Scheme::Http, |peer| peer.scheme);
        let address = peer.map_or(std::net::Ipv4Addr::UNSPECIFIED.into(), |peer| peer.address);
        let sender = Sender::new(address, scheme, &site.config.limits, parts.version);
        let named_host = host_of(&parts.headers, &parts.uri);
        let told_target = if sender.is_trusted {
            ToldTarget::of(&parts.headers, &named_host, scheme)
        } else {
            ToldTarget::by_us(scheme)
        };
        let span = shared
            .telemetry
            .spans()
            .begin(|| parts.headers.get(TRACEPARENT).map(HeaderValue::as_bytes));
        let forwarded = forward::fields_for(&parts.headers, &named_host, &sender, span.as_ref());
        let asks_for = AsksFor::of(&parts.headers);
        let received = parts.extensions.get::<Received>();
        let mut ask = Self {
            started: received.map_or_else(Instant::now, |received| received.at),
            interim: received.and_then(|received| received.interim.clone()),
            now: shared.clock.now(),
            thread,
            named_host,
            told_target,
            forwarded,
            sender,
            span,
            upgrade,
            brought,
            directives: RequestDirectives::default(),
            asks_for,
            method: parts.method,
            uri: parts.uri,
            fields: parts.headers,
            route: None,
            presence: Presence::default(),
            cacheable: Err(NotCacheable::NoRoute),
            telemetry: Arc::clone(&shared.telemetry),
            site,
        };
        ask.find_route(!body.is_end_stream());
        if ask.asks_for.directives {
            let route = ask.route.as_ref();
            let ignored = route.map_or_else(IgnoredDirectives::default, |route| {
                route.policy.ignore_request
            });
            ask.directives = RequestDirectives::of_except(&ask.fields, ignored);
        }
        if ask.honours_surrogate_control() {
            forward::add_surrogate_capability(&mut ask.forwarded);
        }
        (ask, body)
    }

    fn find_route(&mut self, has_content: bool) {
        let target = RequestTarget::of(self.uri.path(), self.uri.query());
        let index = self.site.routes.find_index(&target.path);
        let Some(index) = index.filter(|_| !target.is_ambiguous) else {
            self.cacheable = Err(if target.is_ambiguous {
                NotCacheable::AmbiguousPath
            } else {
                NotCacheable::NoRoute
            });
            return;
        };
        let route = Arc::clone(&self.site.routes.routes()[index]);
        let refusal = if !self.site.config.cache.enabled {
            Some(NotCacheable::Disabled)
        } else if self.method != Method::GET && self.method != Method::HEAD {
            Some(NotCacheable::Method)
        } else if self.upgrade.is_some() {
            Some(NotCacheable::Upgrade)
        } else if has_content {
            Some(NotCacheable::HasContent)
        } else if has_override(&self.forwarded, &route.key.headers) {
            Some(NotCacheable::Override)
        } else {
            None
        };
        self.cacheable = match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(self.on_route(index, &target)),
        };
        self.route = Some(route);
    }

    fn on_route(&self, index: usize, target: &RequestTarget<'_>) -> Cacheable {
        let route = Arc::clone(&self.site.routes.routes()[index]);
        let spec = &route.key;
        let site = (self.named_host.as_str(), &self.told_target);
        Cacheable {
            cache: Arc::clone(&self.site.caches[index]),
            key: CacheKey::of(&route.fingerprint, spec, site, target, self.selecting()),
            target: Target::of(spec, self.host(), target),
            is_refresh: asks_for_bypass(spec, target.query),
            route,
        }
    }

    /// What the stores need to know of a GET for the same target; for the
    /// answers to other methods that may answer one. `None` where the path is
    /// ambiguous or has no route, or where the request is not for it alone.
    pub(super) fn as_get(&self) -> Option<Cacheable> {
        let target = RequestTarget::of(self.uri.path(), self.uri.query());
        let index = self.site.routes.find_index(&target.path)?;
        let is_plain = !target.is_ambiguous
            && self.upgrade.is_none()
            && !has_override(
                &self.forwarded,
                &self.site.routes.routes()[index].key.headers,
            );
        let is_cached = is_plain && self.site.config.cache.enabled;
        let cacheable = is_cached.then(|| self.on_route(index, &target))?;
        (!cacheable.is_refresh).then_some(cacheable)
    }

    /// What the stores need to know, or why they are left out.
    pub(super) fn cacheable(&self) -> Result<&Cacheable, NotCacheable> {
        self.cacheable.as_ref().map_err(|why| *why)
    }

    /// What of it decides, as a read of what is cacheable.
    pub(super) fn reading(&self, cacheable: &Cacheable) -> Reading {
        Reading {
            is_head: self.is_head(),
            is_refresh: cacheable.is_refresh,
            asks_for: self.asks_for,
            directives: self.directives,
            is_behind: false,
        }
    }

    /// The fields by which key and variant are chosen.
    pub(super) fn selecting(&self) -> &HeaderMap {
        if rule::holds(Rule::ForwardedFields) {
            &self.forwarded
        } else {
            &self.fields
        }
    }

    /// Host and port as the application is told them, lower case.
    pub(super) fn host(&self) -> &str {
        self.told_target.host(&self.named_host)
    }

    /// How far bans are known to a fetch; to be read before the origin is asked.
    pub(super) fn position(&self, shared: &Shared) -> Position {
        match &self.route {
            Some(route) => shared.invalidation.position_under(&route.path),
            None => shared.invalidation.position(),
        }
    }

    pub(super) fn origin(&self) -> &OriginClient {
        &self.site.origins[self.thread % self.site.origins.len()]
    }

    /// Whether its route lets `Surrogate-Control` govern.
    pub(super) fn honours_surrogate_control(&self) -> bool {
        let route = self.route.as_ref();
        route.is_some_and(|route| route.policy.targets.has_surrogate())
    }

    /// Whether it is a call of gRPC.
    pub(super) fn is_call(&self) -> bool {
        self.fields.get(CONTENT_TYPE).is_some_and(is_grpc)
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// There is too much to do to answer it.
    pub(super) fn overloaded(&self, refused: Refused) -> Failure {
        let status = CacheStatus {
            detail: Some("overloaded"),
            ..CacheStatus::forwarded(Forwarded::Bypass)
        };
        Failure {
            error: refused.into(),
            outcome: Box::new(self.outcome(CacheResult::Bypass, status)),
        }
    }

    /// Counts an exchange with the origin that was made for it; not one that the
    /// origin had no part in.
    pub(super) fn tell_exchange(
        &self,
        method: &Method,
        at: Timestamp,
        answer: Result<(StatusCode, Duration), &OriginError>,
    ) {
        if answer.is_err_and(|error| !error.is_the_origin_s()) {
            return;
        }
        self.telemetry.exchanged(&Exchanged {
            route: self.route.as_ref().map(|route| &*route.telemetry),
            method,
            at,
            answer: answer.ok(),
        });
    }

    /// A key of all that the origin is told: only a request that tells it the same
    /// fails as this one does.
    pub(super) fn shape(&self) -> SecondaryKey {
        let mut hasher = blake3::Hasher::new();
        let fields = &self.forwarded;
        let told = fields
            .iter()
            .filter(|(name, _)| !is_of_the_way(name.as_str()) && **name != VIA);
        for (name, value) in told.filter(|(name, _)| **name != TRACEPARENT) {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        let mut shape = [0; 16];
        hasher.finalize_xof().fill(&mut shape);
        SecondaryKey(shape)
    }

    /// What is to be told of its answer, as far as it is known by now.
    pub(super) fn outcome(&self, cache: CacheResult, status: CacheStatus) -> Outcome {
        Outcome {
            telemetry: Arc::clone(&self.telemetry),
            route: self.route.clone(),
            method: self.method.clone(),
            uri: self.uri.clone(),
            facts: Facts {
                started: self.started,
                now: self.now,
                client: self.sender.address,
                span: self.span,
                cache,
                status,
                ages: None,
                upstream: None,
                saved: None,
            },
        }
    }
}

/// `Host`, or the authority of the target (HTTP/2, absolute form). The server
/// has refused requests in which they differ.
fn host_of(fields: &HeaderMap, uri: &Uri) -> String {
    let named = fields.get(HOST).and_then(|host| host.to_str().ok());
    let authority = uri.authority().map(http::uri::Authority::as_str);
    let mut host = named.or(authority).unwrap_or_default().to_owned();
    host.make_ascii_lowercase();
    host
}
