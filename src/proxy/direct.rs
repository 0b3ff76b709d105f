//! The life of a plain read that memory answers at once.
//!
//! Most requests to a warm cache ask for nothing special and find a fresh
//! response. They are answered from the parsed head, before anything is made
//! of it that only other requests need. What decides is the same as on the
//! long way: the same key, lookup, bans and reuse. Whatever is not
//! plain, or not fresh in memory, is left to it; nothing has happened then
//! but a look.

use std::borrow::Cow;
use std::time::Instant;

use http::{HeaderName, Version};
use httparse::Header;

use super::ask::AsksFor;
use super::reply::Given;
use super::shared::Shared;
use super::told::Hit;
use super::{Peer, reply, session};
use crate::message::directives::RequestDirectives;
use crate::message::fields::{is_hop_by_hop, is_of_the_way, is_rewritten};
use crate::message::lines::FieldLines;
use crate::message::outgoing::Outgoing;
use crate::origin::request::{Sender, names_override, passes_underscore};
use crate::rule::{self, Rule};
use crate::semantics::key::CacheKey;
use crate::semantics::query::asks_for_bypass;
use crate::semantics::reuse::Reuse;
use crate::semantics::target::RequestTarget;
use crate::semantics::told::ToldTarget;
use crate::telemetry::spans::TRACEPARENT;

/// A GET of HTTP/1.1 for a path, without content, that asks nothing of the
/// connection.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    target: &'a str,
    /// As the client named it.
    host: &'a str,
    fields: &'a [Header<'a>],
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
        let mut host = None;
        let mut asks_for = AsksFor::default();
        for field in &*head.headers {
            if is_for_connection(field) {
                return None;
            }
            asks_for.note(field.name);
            if field.name.eq_ignore_ascii_case("host") {
                host = std::str::from_utf8(field.value).ok();
            }
        }
        Some(Self {
            target,
            host: host?,
            fields: head.headers,
            asks_for,
        })
    }
}

impl Plain<'_> {
    /// The path, and the query if there is one.
    #[must_use]
    pub fn target(&self) -> &str {
        self.target
    }

    pub(super) fn field(&self, name: &HeaderName) -> Option<&[u8]> {
        let is_it = |field: &&Header<'_>| field.name.eq_ignore_ascii_case(name.as_str());
        self.fields.iter().find(is_it).map(|field| field.value)
    }

    pub(super) fn path_and_query(&self) -> (&str, Option<&str>) {
        match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.target, None),
        }
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
struct AsForwarded<'a> {
    fields: &'a [Header<'a>],
    sender: Sender,
}

impl AsForwarded<'_> {
    fn passes(&self, name: &str) -> bool {
        let is_kept = self.sender.is_trusted || !is_of_the_way(name);
        is_kept && !is_hop_by_hop(name) && passes_underscore(name, self.sender.underscore_fields)
    }
}

impl FieldLines for AsForwarded<'_> {
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
fn is_for_connection(field: &Header<'_>) -> bool {
    let is = |name: &str| field.name.eq_ignore_ascii_case(name);
    // The length first: it tells most names apart at once.
    let is_of_it = match field.name.len() {
        2 => is("te"),
        6 => is("expect"),
        7 => is("upgrade"),
        10 => is("connection") && !field.value.eq_ignore_ascii_case(b"keep-alive"),
        14 => is("content-length"),
        17 => is("transfer-encoding"),
        _ => false,
    };
    is_of_it || names_override(field.name)
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
    if plain.asks_for.goes_past_the_store() {
        return false;
    }
    let (path, query) = plain.path_and_query();
    let target = RequestTarget::of(path, query);
    if target.is_ambiguous {
        return false;
    }
    let site = shared.site.load();
    if session::is_brought(site.config.coherence.session, plain.fields) {
        return false;
    }
    let Some(index) = site.routes.find_index(&target.path) else {
        return false;
    };
    let (route, cache) = (&site.routes.routes()[index], &site.caches[index]);
    if asks_for_bypass(&route.key, query) {
        return false;
    }
    let host = if plain.host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(plain.host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(plain.host)
    };
    let (client, scheme) = (peer.address.ip(), peer.scheme);
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
    let Some(kept) = shared.find_kept(cache, &key, &forwarded) else {
        return false;
    };
    let now = shared.clock.now();
    let directives = RequestDirectives::default();
    let is_fresh = shared.assess(&kept, received, now, &directives) == Reuse::Fresh;
    if !is_fresh {
        return false;
    }
    let Some(given) = Given::to(plain.asks_for, plain.fields, &kept) else {
        return false;
    };
    // At the bound on what is under way everybody waits in one queue.
    let Some(_permit) = shared.telemetry.requests().try_enter() else {
        return false;
    };
    let hit = Hit {
        telemetry: &shared.telemetry,
        route,
        path,
        now,
        started: received,
        client,
        span: shared.telemetry.spans().begin(|| plain.field(&TRACEPARENT)),
        saved: kept.fetch_cost(),
    };
    reply::write_hit(&hit, &kept, given, outgoing)
}
