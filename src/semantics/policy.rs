//! What a route says about caching, next to what the origin says.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::message::directives::IgnoredDirectives;
use crate::message::targeted::{TARGETS, Target};

/// The caching rules of one route (`[[routes]]`), validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Freshness lifetime of a 2xx response that states none of its own.
    /// `None`: RFC 9111 alone decides, heuristic freshness included.
    pub ttl: Option<Duration>,
    /// The same for responses of these status codes, whatever their class: they are
    /// stored, errors too.
    pub ttl_by_status: Vec<(StatusCode, Duration)>,
    /// The bounds of lifetimes that the origin states, or that are guessed.
    pub ttl_bounds: LifetimeBounds,
    /// How long past its lifetime a response may be reused while it is
    /// validated in the background (RFC 5861 §3), unless the origin says.
    pub stale_while_revalidate: Duration,
    /// How long past its lifetime a response may be reused when the origin
    /// fails (RFC 5861 §4), unless the origin says.
    pub stale_if_error: Duration,
    /// Response fields to act as if the origin had not sent.
    pub ignore: IgnoredFields,
    /// Request fields that select nothing although `Vary` names them.
    pub ignore_vary: Vec<HeaderName>,
    /// Directives of requests to act as if the client had not sent.
    pub ignore_request: IgnoredDirectives,
    /// Whether a 4xx or 5xx is stored.
    pub errors: StoreErrors,
    /// When a response with `Set-Cookie` is stored.
    pub set_cookie: StoreSetCookie,
    /// Which targeted fields govern in the place of `Cache-Control`, most
    /// applicable first (RFC 9213 §2.2).
    pub targets: Targets,
}

impl Policy {
    /// The lifetime that the route gives to a response of this status that states
    /// none of its own.
    #[must_use]
    pub fn ttl_of(&self, status: StatusCode) -> Option<Duration> {
        self.ttl_for(status)
            .or_else(|| self.ttl.filter(|_| status.is_success()))
    }

    /// The lifetime that the route gives to this very status.
    #[must_use]
    pub fn ttl_for(&self, status: StatusCode) -> Option<Duration> {
        let mut named = self.ttl_by_status.iter();
        named
            .find(|(named, _)| *named == status)
            .map(|(_, ttl)| *ttl)
    }
}

/// `ttl_min` and `ttl_max` of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LifetimeBounds {
    /// A shorter lifetime is as long as this.
    pub min: Duration,
    /// A longer one is as short as this.
    pub max: Duration,
}

impl Default for LifetimeBounds {
    fn default() -> Self {
        Self {
            min: Duration::ZERO,
            max: Duration::MAX,
        }
    }
}

/// `targets = […]` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets(pub Vec<Target>);

impl Default for Targets {
    fn default() -> Self {
        Self(TARGETS.to_vec())
    }
}

impl Targets {
    /// Whether `Surrogate-Control` is among them.
    #[must_use]
    pub fn has_surrogate(&self) -> bool {
        self.0.contains(&Target::Surrogate)
    }
}

/// `errors = …` of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreErrors {
    /// A 4xx or 5xx is never stored.
    #[default]
    Never,
    /// It is stored when the origin gives it explicit freshness; on a route
    /// without `ttl`, where RFC 9111 alone decides, also by heuristics.
    Origin,
}

/// `set_cookie = …` of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreSetCookie {
    /// It is passed on to the one who asked, and neither stored nor shared.
    #[default]
    Never,
    /// It is stored without the field; `ignore_headers = ["set-cookie"]`.
    Strip,
    /// It is stored, the field included, when the origin gives it explicit
    /// freshness or says `public` (RFC 9111 §7.3 leaves it to origins to say
    /// what is not for everybody).
    Origin,
}

/// `ignore_headers = […]` of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IgnoredFields {
    /// `Cache-Control` (and with it `Expires` and `Pragma`).
    pub cache_control: bool,
    /// `Vary`: all requests select the same response.
    pub vary: bool,
}

/// What makes up a route's cache key (`[routes.key]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySpec {
    /// Which query parameters count. Their order never does.
    pub query: QueryKey,
    /// Request fields whose values are part of the key, lower case, sorted.
    pub headers: Vec<HeaderName>,
    /// Cookies whose values are part of the key, sorted.
    pub cookies: Vec<String>,
    /// Whether the host is part of the key.
    pub host: bool,
    /// `bypass_query`: this parameter and value; never in the key, never
    /// forwarded.
    pub bypass_query: Option<(String, String)>,
}

impl Default for KeySpec {
    fn default() -> Self {
        Self {
            query: QueryKey::All,
            headers: Vec::new(),
            cookies: Vec::new(),
            host: true,
            bypass_query: None,
        }
    }
}

/// Which query parameters are part of the key. A name may end in `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryKey {
    /// Every parameter.
    All,
    /// None of them.
    None,
    /// Only these.
    Only(Vec<String>),
    /// All but these.
    Except(Vec<String>),
}
