//! The life of a plain read that memory answers at once.
//!
//! Most requests to a warm cache ask for nothing special and find a fresh
//! response. They are answered from the parsed head, before anything is made
//! of it that only other requests need. What decides is the same as on the
//! long way: the same key, lookup, bans and reuse. Whatever is not
//! plain, or not fresh in memory, is left to it; nothing has happened then
//! but a look.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName, Method, Response, Version};
use httparse::Header;

use super::ask::AsksFor;
use super::decide::{Decision, Reading, Stored, decide};
use super::outcome::{CacheStatus, Facts, OutcomeView};
use super::reply::{Given, aged};
use super::shared::{Shared, Site};
use super::{Peer, reply, session};
use crate::clock::Timestamp;
use crate::gate::Permit;
use crate::message::Body;
use crate::message::fields::{is_hop_by_hop, is_of_the_way, is_rewritten};
use crate::message::lines::FieldLines;
use crate::message::outgoing::Outgoing;
use crate::origin::request::{Sender, names_override, passes_underscore};
use crate::route::Route;
use crate::rule::{self, Rule};
use crate::semantics::key::CacheKey;
use crate::semantics::outcome::CacheResult;
use crate::semantics::query::asks_for_bypass;
use crate::semantics::target::RequestTarget;
use crate::semantics::told::ToldTarget;
use crate::store::memory::Kept;
use crate::telemetry::spans::TRACEPARENT;

/// A GET for a path, without content, that asks nothing of the connection: of
/// HTTP/1.1 as it was parsed, or of HTTP/2.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a, F: ?Sized = [Header<'a>]> {
    target: &'a str,
    /// As the client named it.
    host: &'a str,
    fields: &'a F,
    asks_for: AsksFor,
}

impl<'a> Plain<'a> {
    /// The request of a head, where it is plain. The caller has checked the
    /// head, and that no content follows it.
    #[must_use]
    pub fn of(head: &'a httparse::Request<'_, '_>) -> Option<Self> {
        let target = head.path.filter(|target| target.starts_with('/'))?;
        if head.method != Some("GET") || head.version != Some(1) {
            return None;
        }
        Self::with(target, head.headers)
    }
}

impl<'a> Plain<'a, HeaderMap> {
    /// A request of HTTP/2 without content, where it is plain. The caller has
    /// checked its head and said the authority in `Host`.
    #[must_use]
    pub fn of_parts(parts: &'a http::request::Parts) -> Option<Self> {
        let target = parts.uri.path_and_query()?.as_str();
        if parts.method != Method::GET || !target.starts_with('/') {
            return None;
        }
        Self::with(target, &parts.headers)
    }
}

impl<'a, F: FieldLines + ?Sized> Plain<'a, F> {
    fn with(target: &'a str, fields: &'a F) -> Option<Self> {
        let mut host = None;
        let mut asks_for = AsksFor::default();
        for (name, value) in fields.all() {
            if is_for_connection(name, value) {
                return None;
            }
            asks_for.note(name);
            if name.eq_ignore_ascii_case("host") {
                host = std::str::from_utf8(value).ok();
            }
        }
        Some(Self {
            target,
            host: host?,
            fields,
            asks_for,
        })
    }

    pub(super) fn field(&self, name: &HeaderName) -> Option<&[u8]> {
        let (_, value) = self
            .fields
            .all()
            .find(|(field, _)| field.eq_ignore_ascii_case(name.as_str()))?;
        Some(value)
    }

    pub(super) fn path_and_query(&self) -> (&'a str, Option<&'a str>) {
        match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target, None),
        }
    }
}

impl Plain<'_> {
    /// The path, and the query if there is one.
    #[must_use]
    pub fn target(&self) -> &str {
        self.target
    }

    pub(super) fn host(&self) -> &str {
        self.host
    }

    pub(super) fn fields(&self) -> &[Header<'_>] {
        self.fields
    }
}

/// The fields of a plain request as they go to the origin, as far as they go
/// as they came. What is set or added to on the way is as if it were not there:
/// no response is stored for requests without it, so that none is found.
struct AsForwarded<'a, F: ?Sized> {
    fields: &'a F,
    sender: Sender,
}

impl<F: ?Sized> AsForwarded<'_, F> {
    fn passes(&self, name: &str) -> bool {
        let is_kept = self.sender.is_trusted || !is_of_the_way(name);
        is_kept && !is_hop_by_hop(name) && passes_underscore(name, self.sender.underscore_fields)
    }
}

impl<F: FieldLines + ?Sized> FieldLines for AsForwarded<'_, F> {
    fn lines<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let is_seen = !rule::holds(Rule::ForwardedFields)
            || (!is_rewritten(name) && self.passes(name.as_str()));
        self.fields.lines(name).filter(move |_| is_seen)
    }

    fn all(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.all().filter(|(name, _)| self.passes(name))
    }
}

/// Whether a field has a meaning for the connection or the framing, or makes
/// another request of this one.
fn is_for_connection(name: &str, value: &[u8]) -> bool {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    // The length first: it tells most names apart at once.
    let is_of_it = match name.len() {
        2 => is("te"),
        6 => is("expect"),
        7 => is("upgrade"),
        10 => is("connection") && !value.eq_ignore_ascii_case(b"keep-alive"),
        14 => is("content-length"),
        17 => is("transfer-encoding"),
        _ => false,
    };
    is_of_it || names_override(name)
}

/// What memory answers a plain request with.
struct Found<'a> {
    route: &'a Arc<Route>,
    kept: Kept,
    given: Given,
    now: Timestamp,
    /// Leave to be answered.
    _permit: Permit,
}

impl<'a> Found<'a> {
    /// A fresh response for a request that came from `peer` at `received`.
    fn find<F: FieldLines + ?Sized>(
        shared: &Shared,
        site: &'a Site,
        plain: &Plain<'_, F>,
        peer: Peer,
        received: Instant,
    ) -> Option<Self> {
        let reading = Reading {
            asks_for: plain.asks_for,
            ..Reading::default()
        };
        if !reading.may_be_stored() || !site.config.cache.enabled {
            return None;
        }
        let (path, query) = plain.path_and_query();
        let target = RequestTarget::of(path, query);
        if target.is_ambiguous || session::is_brought(site.config.coherence.session, plain.fields) {
            return None;
        }
        let index = site.routes.find_index(&target.path)?;
        let (route, cache) = (&site.routes.routes()[index], &site.caches[index]);
        let ignored = route.policy.ignore_request;
        if plain.asks_for.has_directives(ignored) || asks_for_bypass(&route.key, query) {
            return None;
        }
        let host = if plain.host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(plain.host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(plain.host)
        };
        let (client, scheme) = (peer.address, peer.scheme);
        let sender = Sender::new(client, scheme, &site.config.limits, Version::HTTP_11);
        let told = if sender.is_trusted {
            ToldTarget::of(plain.fields, &host, scheme)
        } else {
            ToldTarget::by_us(scheme)
        };
        let forwarded = AsForwarded {
            fields: plain.fields,
            sender,
        };
        let here = (host.as_ref(), &told);
        let key = CacheKey::of(&route.fingerprint, &route.key, here, &target, &forwarded);
        let kept = shared.find_kept(cache, &key, &forwarded)?;
        let now = shared.clock.now();
        let reuse = shared.assess(&kept, received, now, &reading.directives);
        if decide(&reading, Stored::Response(reuse)) != Decision::Hit || !kept.is_plain() {
            return None;
        }
        Some(Self {
            route,
            given: Given::to(plain.asks_for, plain.fields, &kept)?,
            kept,
            now,
            // At the bound on what is under way everybody waits in one queue.
            _permit: shared.telemetry.requests().try_enter()?,
        })
    }
}

impl Found<'_> {
    /// How a plain request that came at `received` is answered.
    #[inline]
    fn outcome<'a, F: FieldLines + ?Sized>(
        &'a self,
        shared: &'a Shared,
        plain: &Plain<'a, F>,
        peer: Peer,
        received: Instant,
    ) -> OutcomeView<'a> {
        let (response_time, freshness) = (self.kept.response_time(), self.kept.freshness());
        let (status, ages) = aged(response_time, &freshness, self.now, CacheStatus::default());
        OutcomeView {
            telemetry: &shared.telemetry,
            route: Some(&self.route.telemetry),
            method: &Method::GET,
            path: plain.path_and_query().0,
            facts: Facts {
                started: received,
                now: self.now,
                client: peer.address,
                span: shared.telemetry.spans().begin(|| plain.field(&TRACEPARENT)),
                cache: CacheResult::Hit,
                status,
                ages: Some(ages),
                upstream: None,
                saved: Some(self.kept.fetch_cost()),
            },
        }
    }
}

/// Answers a plain request, if a fresh response is in memory for it: writes
/// it, counts it, and says so. `received` is when its head had been read.
pub(super) fn answer(
    shared: &Shared,
    plain: &Plain<'_>,
    peer: Peer,
    received: Instant,
    outgoing: &mut Outgoing,
) -> bool {
    let site = shared.site.load();
    let Some(found) = Found::find(shared, &site, plain, peer, received) else {
        return false;
    };
    let outcome = found.outcome(shared, plain, peer, received);
    reply::write_hit(&outcome, &found.kept, &found.given, outgoing);
    true
}

/// The same for a request of HTTP/2: gives the response.
pub(super) fn respond(
    shared: &Shared,
    parts: &http::request::Parts,
    peer: Peer,
    received: Instant,
) -> Option<Response<Body>> {
    let plain = Plain::of_parts(parts)?;
    let site = shared.site.load();
    let found = Found::find(shared, &site, &plain, peer, received)?;
    let outcome = found.outcome(shared, &plain, peer, received);
    Some(reply::hit(&outcome, &found.kept, &found.given))
}
