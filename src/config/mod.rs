//! What `proxy.toml` means.
//!
//! [`Config`] is what runs: after validation nothing is optional that has a
//! default, nothing is unparsed, nothing is out of range. [`load()`] makes it
//! from a file and reports every problem at once.
//!
//! | file | holds |
//! |---|---|
//! | `options`, `redis`, `routes`, `tls`, `watch` | every option, described where it is read |
//! | `limits`, `listen`, `log` | what `[limits]`, `listen` and `[log]` mean |
//! | `checks` | what does not go together across tables |
//! | `reader`, `given`, `kinds`, `address`, `route_values`, `units` | how values are read |
//! | `load` | the way from a path to a `Config` |
//! | `problem`, `mask` | what is wrong, shown without credentials |
//! | `reference` | `docs/configuration.md`, made from `options` |
//! | `reload` | which changes a running proxy cannot take |
//!
//! It knows nothing of what the values are used for.

mod address;
mod caching;
mod checks;
mod given;
mod kinds;
mod limits;
mod listen;
mod load;
mod log;
mod mask;
mod options;
mod problem;
mod reader;
mod redis;
mod reference;
mod reload;
mod route_policy;
mod route_values;
mod routes;
#[cfg(test)]
mod tests;
mod tls;
pub mod units;
mod watch;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use crate::pattern::Pattern;
use crate::semantics::policy::{KeySpec, Policy};

pub use limits::{Limits, TrustedPeer, UnderscoreFields};
pub use listen::ListenAddress;
pub(crate) use load::FILE_BYTES_MAX;
pub use load::{load, load_admin, parse};
pub use log::{AccessFormat, LogConfig, LogLevel};
pub use problem::{Place, Problem, Problems, SHOWN_MAX};
pub use reference::reference;
pub use reload::restart_needed;
pub use tls::{CertificateFiles, TlsConfig};

/// A validated configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// `listen`: addresses of the data plane; at least one.
    pub listen: Vec<ListenAddress>,
    /// `proxy_protocol`: a connection to `listen` begins with a header of the PROXY
    /// protocol (`false`).
    pub proxy_protocol: bool,
    /// `upstream`: the application behind.
    pub upstream: Upstream,
    /// `threads`: data threads, at least one (`0`: the cores available).
    pub threads: usize,
    /// `[tls]`; `None` where the table is left out.
    pub tls: Option<TlsConfig>,
    /// `[origin]`.
    pub origin: OriginConfig,
    /// `[limits]`.
    pub limits: Limits,
    /// `[admin]`; `None` where `listen = "off"`.
    pub admin: Option<AdminConfig>,
    /// `[cache]`.
    pub cache: CacheConfig,
    /// `[memory]`.
    pub memory: MemoryConfig,
    /// `[redis]`; `None` where the table is left out.
    pub redis: Option<RedisConfig>,
    /// `[coalescing]`.
    pub coalescing: CoalescingConfig,
    /// `[coherence]`.
    pub coherence: CoherenceConfig,
    /// `[invalidation]`.
    pub invalidation: InvalidationConfig,
    /// `[[routes]]`, in the order of the file.
    pub routes: Vec<RouteConfig>,
    /// `[[invalidations]]`, in the order of the file.
    pub invalidations: Vec<InvalidationRule>,
    /// `[[warm]]`, in the order of the file.
    pub warm: Vec<WarmConfig>,
    /// `[health]`.
    pub health: HealthConfig,
    /// `[log]`.
    pub log: LogConfig,
}

/// Where the application listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// `http://host:port`
    Http {
        /// Host and port as they stand in a URL, port always given.
        authority: http::uri::Authority,
    },
    /// `h2c://host:port`: HTTP/2 without TLS, by prior knowledge.
    H2c {
        /// Host and port as they stand in a URL, port always given.
        authority: http::uri::Authority,
    },
    /// `https://host`
    Https {
        /// Host and port as they stand in a URL, port always given.
        authority: http::uri::Authority,
    },
    /// `unix:/run/app.sock`
    Unix {
        /// The socket's path.
        path: PathBuf,
    },
}

impl Upstream {
    /// Whether it speaks HTTP/2, or might choose to.
    #[must_use]
    pub fn may_speak_http2(&self) -> bool {
        matches!(self, Self::H2c { .. } | Self::Https { .. })
    }
}

/// `[origin]`: connections to the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginConfig {
    /// `connect_timeout`: until a connection stands, TLS included (`"2s"`).
    pub connect_timeout: Duration,
    /// `response_timeout`: from request sent to response head (`"30s"`).
    pub response_timeout: Duration,
    /// `body_idle_timeout`: between two pieces of a response body (`"60s"`).
    pub body_idle_timeout: Duration,
    /// `idle_timeout`: an unused connection is closed after it (`"4s"`).
    pub idle_timeout: Duration,
    /// `idle_connections_max`: unused connections kept, per data thread (`64`).
    pub idle_connections_max: usize,
    /// `connection_age_max`: a connection older than this is not used again
    /// (`"5m"`).
    pub connection_age_max: Duration,
    /// `grpc_idle_timeout`: between two messages of a gRPC call, from either
    /// side, and until its answer begins (`"1h"`).
    pub grpc_idle_timeout: Duration,
    /// `retries`: how often a request that may be repeated is asked again where
    /// its connection closes before a byte of the answer; from two on, also where
    /// that connection was new (`1`).
    pub retries: u64,
    /// `retry_window`: how long a request that could not be sent waits for the
    /// upstream, and tries again (`"0s"`).
    pub retry_window: Duration,
    /// `http2`: whether `https` upstreams are offered HTTP/2 (`true`).
    pub http2: bool,
    /// `ca_file`: PEM file of certificates to trust instead of the system's,
    /// for `https` upstreams (`""`: the system's).
    pub ca_file: Option<PathBuf>,
    /// `check`: the path of the active check (`""`: none).
    pub check: Option<String>,
    /// `check_interval`: between two checks (`"5s"`).
    pub check_interval: Duration,
}

/// An address range in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first address.
    pub address: std::net::IpAddr,
    /// How many leading bits count.
    pub prefix: u8,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// `listen` (`"127.0.0.1:9090"`). Beyond loopback a token is required.
    pub listen: SocketAddr,
    /// `token`.
    pub token: Option<Secret>,
    /// `hosts`: names it may be asked by without a token, besides `localhost`
    /// (`[]`); lower case.
    pub hosts: Vec<String>,
}

/// `[cache]`: what is the same for all routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// `enabled`: whether anything is stored, or answered from the store.
    pub enabled: bool,
    /// `ttl`: that of the routes that say `ttl = "default"`.
    pub ttl: Option<Duration>,
}

/// `[memory]`: the store in this process (L1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// `bytes_max`: bound on everything the store holds (`"256MiB"`).
    pub bytes_max: u64,
    /// Whether `bytes_max` is left out: in a container it is a quarter of what
    /// that allows ([`MemoryConfig::within`]).
    pub follows_container: bool,
    /// `policy`: what leaves first to make room.
    pub policy: EvictionPolicy,
    /// `entries_max`: bound on stored responses; `None` for `0`.
    pub entries_max: Option<u64>,
    /// `body_bytes_max`: larger bodies stream through and are not stored (`"8MiB"`).
    pub body_bytes_max: u64,
    /// `filling_bytes_max`: bodies on their way into the store, all together;
    /// past it responses stream through and are not stored (`"64MiB"`).
    pub filling_bytes_max: u64,
    /// `variants_max`: stored responses of one key that differ by `Vary`; the
    /// least recently used is dropped (`64`).
    pub variants_max: usize,
}

/// `[redis]`: the store shared by instances (L2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// `url`: one, or the nodes of a cluster. Holds credentials.
    pub nodes: Vec<Secret>,
    /// Whether `url` is a list, even of one: then the nodes are a Redis
    /// Cluster's.
    pub is_cluster: bool,
    /// `namespace`: every key starts with it.
    pub namespace: String,
    /// `lookup_timeout`: past it a lookup is a miss (`"5ms"`).
    pub lookup_timeout: Duration,
    /// `connect_timeout`: for one attempt to connect (`"1s"`).
    pub connect_timeout: Duration,
    /// `queue_max`: stores waiting to be written; past it they are dropped and
    /// counted (`1024`).
    pub queue_max: usize,
    /// `queue_bytes_max`: the same in bytes (`"64MiB"`).
    pub queue_bytes_max: u64,
    /// `ca_file`: PEM file of certificates to trust instead of the system's,
    /// for `rediss` URLs (`""`: the system's).
    pub ca_file: Option<PathBuf>,
    /// `collapse`: one instance fetches what none has, the others wait for its
    /// record (`false`).
    pub collapse: bool,
}

/// `[coalescing]`: concurrent requests for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoalescingConfig {
    /// `wait_timeout`: a request waits for another one's fetch no longer than
    /// this, then asks the origin itself (`"10s"`).
    pub wait_timeout: Duration,
    /// `not_shareable_ttl`: for so long after a response that could not be
    /// shared, requests of its key do not queue behind each other (`"10s"`).
    pub not_shareable_ttl: Duration,
    /// `not_shareable_max`: how many such keys are remembered (`10000`).
    pub not_shareable_max: usize,
}

/// `[coherence]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoherenceConfig {
    /// `mode` (`"eventual"`).
    pub mode: CoherenceMode,
    /// `lease`: in strict mode, an instance that has not heard from the log for
    /// so long reuses nothing, and a write waits no longer for one that does
    /// not acknowledge it (`"2s"`).
    pub lease: Duration,
    /// `unsynced_age_max`: while the invalidation log is unreachable, a stored
    /// response older than this is not reused without asking the origin (`"10s"`).
    pub unsynced_age_max: Duration,
    /// `append_timeout`: a write's answer waits no longer than this for its
    /// bans to reach the log (`"250ms"`).
    pub append_timeout: Duration,
    /// `bans_max`: bans held; past it the oldest become one on all that is
    /// below the path they share, or else one on everything stored before them
    /// (`10000`).
    pub bans_max: usize,
    /// `spool`: where bans that wait for Redis survive the end of the process
    /// (`""`).
    pub spool: SpoolPlace,
    /// `session`: how a client takes the position of its write to its next
    /// read (`"off"`).
    pub session: SessionMode,
}

/// `session = …` of `[coherence]`: read-your-writes at any instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionMode {
    /// `"off"`: not at all.
    #[default]
    Off,
    /// `"cookie"`: by the cookie `pannier-position`.
    Cookie,
    /// `"header"`: by the field `Pannier-Position`.
    Header,
}

/// `spool = …` of `[coherence]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpoolPlace {
    /// `""`: in the state directory of the process.
    #[default]
    StateDirectory,
    /// `"off"`: nowhere.
    Off,
    /// A path: there.
    At(PathBuf),
}

/// `mode = …` of `[coherence]`: what a write's answer says of other instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CoherenceMode {
    /// `"eventual"`: they learn of it within milliseconds; while the log is
    /// unreachable, within `unsynced_age_max`.
    #[default]
    Eventual,
    /// `"strict"`: none answers with what was before it any more.
    Strict,
}

/// `[invalidation]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidationConfig {
    /// `default`.
    pub default: DefaultInvalidation,
    /// `settle`: for so long after an invalidation, what it matches is fetched
    /// and passed on but not stored (`"0s"`).
    pub settle: Duration,
}

impl MemoryConfig {
    /// The same in a container that allows so many bytes; `None`: any number.
    #[must_use]
    pub fn within(mut self, container_bytes_max: Option<u64>) -> Self {
        if let (true, Some(bytes_max)) = (self.follows_container, container_bytes_max) {
            self.bytes_max = (bytes_max / 4).max(Self::BYTES_MAX_MIN);
            // What cannot be stored need not be gathered.
            self.body_bytes_max = self.body_bytes_max.min(self.bytes_max);
        }
        self
    }

    /// No store is smaller.
    pub const BYTES_MAX_MIN: u64 = 64 * 1024;
}

/// `policy = …` of `[memory]`: what leaves first to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// `"lru"`: the least recently used, exactly.
    #[default]
    Lru,
    /// `"s3fifo"`: what is new and was not asked for again, so that a scan does
    /// not push out what is in use.
    S3Fifo,
}

/// `default = …` of `[invalidation]`: what a write invalidates unasked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultInvalidation {
    /// `"hierarchy"`: target, `Location`, `Content-Location`, the parent but `/`,
    /// and for PUT, PATCH, DELETE and MOVE everything below.
    #[default]
    Hierarchy,
    /// `"rfc"`: target, `Location` and `Content-Location` only (RFC 9111 §4.4).
    Rfc,
    /// `"none"`: nothing.
    None,
}

/// One of `[[routes]]`.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// `name`: default the path.
    pub name: Arc<str>,
    /// `path`: as written; `{name}`, `{*rest}`, a final `/**`.
    pub path: Arc<str>,
    /// `ttl` to `errors`.
    pub policy: Policy,
    /// `[routes.key]` and `bypass_query`.
    pub key: KeySpec,
    /// `entries_max`: bound of this route alone; `None` for `0`.
    pub entries_max: Option<u64>,
    /// `response_timeout`: that of its requests; `None`: as `[origin]` says.
    pub response_timeout: Option<Duration>,
}

/// One of `[[invalidations]]`.
#[derive(Clone, Debug)]
pub struct InvalidationRule {
    /// `path`: writes to it…
    pub path: Pattern,
    /// `methods`: … with one of these…
    pub methods: Vec<Method>,
    /// `purge`: … invalidate what matches one of these…
    pub purge: Vec<Pattern>,
    /// `tags`: … and what carries one of these.
    pub tags: Vec<Box<str>>,
    /// `default`: what they invalidate unasked; `None`: as `[invalidation]` says.
    pub default: Option<DefaultInvalidation>,
    /// `methods` is left out: `default` holds for every method that writes.
    pub is_for_all_methods: bool,
}

/// One of `[[warm]]`: what to fetch at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmConfig {
    /// `paths`: with their queries.
    pub paths: Vec<String>,
    /// `file`: of paths or URLs, one a line.
    pub file: Option<PathBuf>,
    /// `popular_max` (`0`): so many of the paths most asked for in the last run.
    pub popular_max: usize,
    /// `host`: what clients will name; empty: that of the upstream.
    pub host: String,
    /// `concurrency_max`: fetches under way at once (`4`).
    pub concurrency_max: usize,
    /// `block`: whether readiness waits (`false`).
    pub block: bool,
    /// `block_timeout`: how long at most (`"1m"`).
    pub block_timeout: Duration,
}

/// `[health]`: from where on something is a warning, or critical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    /// `error_rate_warning_percent` (`1`).
    pub error_rate_warning_percent: u64,
    /// `error_rate_critical_percent` (`5`).
    pub error_rate_critical_percent: u64,
    /// `upstream_error_rate_warning_percent` (`1`).
    pub upstream_error_rate_warning_percent: u64,
    /// `upstream_error_rate_critical_percent` (`10`).
    pub upstream_error_rate_critical_percent: u64,
    /// `upstream_failures_critical` (`3`).
    pub upstream_failures_critical: u64,
    /// `p95_factor_warning` (`2`).
    pub p95_factor_warning: u64,
    /// `p95_factor_critical` (`10`).
    pub p95_factor_critical: u64,
    /// `queue_warning` (`101`).
    pub queue_warning: u64,
    /// `queue_critical` (`1000`).
    pub queue_critical: u64,
    /// `hit_rate_warning_percent` (`30`).
    pub hit_rate_warning_percent: u64,
    /// `evictions_warning_per_hour` (`11`).
    pub evictions_warning_per_hour: u64,
    /// `memory_warning_percent` (`95`).
    pub memory_warning_percent: u64,
    /// `lag_warning` (`"2s"`).
    pub lag_warning: Duration,
    /// `lag_critical` (`"30s"`).
    pub lag_critical: Duration,
}

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `value` from being printed.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[secret]")
    }
}
