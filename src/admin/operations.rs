//! What the admin listener asks of the running proxy.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::Uri;

use crate::config::HealthConfig;
use crate::pattern::Pattern;
use crate::telemetry::health::Followed;

/// The running proxy, as operators command it.
pub trait Operations: Send + Sync {
    /// Makes stored responses invalid, here and in the fleet.
    fn invalidate(
        &self,
        request: InvalidateRequest,
    ) -> BoxFuture<'_, Result<Invalidated, OperationError>>;

    /// Drops everything a tier holds.
    fn clear(&self, tier: Tier) -> BoxFuture<'_, Result<(), OperationError>>;

    /// The routes of the configuration in force.
    fn routes(&self) -> Vec<RouteFigures>;

    /// The bounds of the configuration in force.
    fn bounds(&self) -> Bounds;

    /// Which instances there are.
    fn fleet(&self) -> BoxFuture<'_, Result<FleetFigures, OperationError>>;

    /// The thresholds of `/health` in force.
    fn health(&self) -> HealthConfig;

    /// What is known of the log and the fleet; `None` without Redis.
    fn followed(&self) -> Option<Followed>;

    /// Whether it takes nothing new and is about to end.
    fn is_draining(&self) -> bool {
        false
    }

    /// Whether it listens, is not draining, and its configuration is loaded.
    fn is_ready(&self) -> bool;
}

/// One invalidation.
#[derive(Clone, Debug)]
pub struct InvalidateRequest {
    /// What becomes invalid: what any of these matches.
    pub scopes: Vec<Scope>,
    /// Marks stale instead: what may be served stale still is.
    pub soft: bool,
    /// Only says what would be matched; nothing becomes invalid.
    pub is_dry_run: bool,
    /// How long to wait for the fleet to acknowledge; `None`: not at all.
    pub wait: Option<Duration>,
}

/// Which stored responses an invalidation speaks of. Displays as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// Those of a route; it exists.
    Route(Arc<str>),
    /// Those whose path matches, with every query and every variant.
    Pattern(Pattern),
    /// Those that carry a tag.
    Tag(Box<str>),
    /// Those of one URL, absolute or from its path on, with its query.
    Url(Uri),
}

impl Scope {
    /// Whether it names a tag.
    pub(super) fn is_tag(&self) -> bool {
        matches!(self, Self::Tag(_))
    }

    /// The same for the log: without a query, which may hold a secret.
    pub(super) fn without_query(&self) -> String {
        let mut text = self.to_string();
        if let (Self::Url(_), Some(at)) = (self, text.find('?')) {
            text.replace_range(at.., "?…");
        }
        text
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Route(name) => write!(formatter, "route {name}"),
            Self::Pattern(pattern) => write!(formatter, "pattern {pattern}"),
            Self::Tag(tag) => write!(formatter, "tag {tag}"),
            Self::Url(url) => write!(formatter, "url {url}"),
        }
    }
}

/// What came of an invalidation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalidated {
    /// How many usable responses in this instance's memory it matched; `None`
    /// where counting would have taken too long, or another count was under way.
    pub matched: Option<u64>,
    /// Whether a route, as far as the routes of the fleet are known, can have
    /// stored anything that it matches.
    pub may_match: bool,
    /// Its position in the log; `None` where there is no log to stand in
    /// (no Redis configured) or it could not be appended yet.
    pub position: Option<String>,
    /// Instances known to apply it.
    pub acknowledged: Vec<String>,
    /// Live instances that have not said so within the wait.
    pub missing: Vec<String>,
}

/// Where stored responses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// This process.
    Memory,
    /// Redis.
    Redis,
    /// Both.
    All,
}

impl Tier {
    /// All tiers.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Redis, Self::All];

    /// Its name in a query.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
            Self::All => "all",
        }
    }
}

/// A route of the configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteFigures {
    /// Its name.
    pub name: Arc<str>,
    /// Its path as written.
    pub path: Arc<str>,
    /// Its own bound on stored responses.
    pub entries_max: Option<u64>,
}

/// Bounds of the configuration in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// `memory.bytes_max`.
    pub memory_bytes_max: u64,
    /// `[redis]`; `None` where the table is left out.
    pub redis: Option<RedisBounds>,
}

/// Bounds of the write-behind queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedisBounds {
    /// `redis.queue_max`.
    pub queue_max: u64,
    /// `redis.queue_bytes_max`.
    pub queue_bytes_max: u64,
}

/// The instances of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FleetFigures {
    /// The one that answers.
    pub own: String,
    /// No Redis is configured: there is no other.
    pub is_alone: bool,
    /// Those that are there, itself among them.
    pub instances: Vec<InstanceFigures>,
    /// Those that have fallen silent and did not say that they end.
    pub missing: Vec<InstanceFigures>,
    /// What the instances promise, where that is not the same.
    pub mixed_modes: Vec<String>,
}

impl FleetFigures {
    /// Whether every instance is there, in touch, and promises the same.
    #[must_use]
    pub fn is_coherent(&self) -> bool {
        let mut instances = self.instances.iter();
        self.missing.is_empty()
            && self.mixed_modes.is_empty()
            && instances.all(|instance| instance.is_in_touch)
    }
}

/// One instance, as it speaks of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceFigures {
    /// Its name in the log.
    pub id: String,
    /// The machine it runs on.
    pub host: String,
    /// Of the program.
    pub version: String,
    /// Milliseconds since the Unix epoch.
    pub started_millis: u64,
    /// How far it has applied the invalidation log.
    pub position: Option<String>,
    /// How long ago it knew that it had applied all of it.
    pub lag: Option<Duration>,
    /// Whether that is recent enough for what it promises.
    pub is_in_touch: bool,
    /// What it promises; empty where an older version does not say.
    pub mode: String,
    /// How long ago it was heard of.
    pub heard_ago: Duration,
}

/// Why an operation was not done. Displays as one sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// It needs Redis and there is none in the configuration.
    #[error("no `[redis]` is configured")]
    NoRedis,
    /// It cannot be done now; says why. Worth trying again.
    #[error("{0}")]
    Unavailable(String),
}
