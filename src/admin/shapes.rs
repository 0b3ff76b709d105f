//! The documents that the admin listener answers with.
//!
//! Scripts and dashboards rely on these names; `/openapi.json` is made of the
//! same types. Percentages and milliseconds are rounded to three decimals.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::watch_shapes::{HealthDocument, SummaryDocument};

/// What the caches hold and did since the last reset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CacheDocument {
    /// When this was read (RFC 3339).
    pub(super) timestamp: String,
    /// By route name.
    pub(super) caches: BTreeMap<String, CacheFigures>,
    pub(super) summary: CacheSummary,
    pub(super) redis: RedisDocument,
}

/// The cache of one route.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CacheFigures {
    /// The route's path.
    pub(super) path: String,
    /// Responses stored in memory.
    pub(super) size: u64,
    /// How many the route may store; 0: no bound of its own.
    pub(super) max_size: u64,
    /// Of `max_size`; where that is 0, the route's share of `memory.bytes_max`.
    pub(super) utilization_percent: f64,
    /// Bytes they take.
    pub(super) bytes: u64,
    /// Requests answered from the store.
    pub(super) hits: u64,
    /// Requests the origin answered.
    pub(super) misses: u64,
    pub(super) hit_rate_percent: f64,
    /// Responses stored.
    pub(super) sets: u64,
    /// Dropped to make room.
    pub(super) evictions: u64,
    /// Whose lifetime ended: they were fetched anew, or dropped.
    pub(super) expirations: u64,
    /// Dropped because an invalidation matched them.
    pub(super) invalidations: u64,
    /// Hits and misses.
    pub(super) total_requests: u64,
    /// Evicted before 70 % of the lifetime was over.
    pub(super) evictions_early: u64,
    /// Fetched anew and found to be what was stored.
    pub(super) unchanged: u64,
    /// Bytes of bodies answered from the store.
    pub(super) hit_bytes: u64,
    /// Bytes of all bodies answered, as far as known.
    pub(super) body_bytes: u64,
    pub(super) byte_hit_rate_percent: f64,
    /// What fetching had cost what the store answered.
    pub(super) saved_seconds: f64,
    /// Why responses were not stored, and how often.
    pub(super) refusals: BTreeMap<&'static str, u64>,
}

/// All caches together.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CacheSummary {
    pub(super) total_hits: u64,
    pub(super) total_misses: u64,
    pub(super) total_requests: u64,
    pub(super) overall_hit_rate_percent: f64,
    pub(super) byte_hit_rate_percent: f64,
    /// Bytes of bodies answered from the store.
    pub(super) hit_bytes: u64,
    /// Bytes of all bodies answered, as far as known.
    pub(super) body_bytes: u64,
    /// What fetching had cost what the store answered.
    pub(super) saved_seconds: f64,
    /// Responses stored in memory.
    pub(super) size: u64,
    /// Bytes they take.
    pub(super) bytes: u64,
    /// `memory.bytes_max`.
    pub(super) max_bytes: u64,
}

/// What happened with Redis since the last reset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RedisDocument {
    /// Whether the configuration has a `[redis]`.
    pub(super) configured: bool,
    /// Whether the connection for lookups stands.
    pub(super) connected: bool,
    /// Lookups whose record answered somebody.
    pub(super) hits: u64,
    /// Lookups that found no record that could.
    pub(super) misses: u64,
    pub(super) hit_rate_percent: f64,
    /// Lookups that failed, time-outs apart.
    pub(super) errors: u64,
    /// Lookups that were not answered within `redis.lookup_timeout`.
    pub(super) timeouts: u64,
    /// Lookups not made: no connection, or suspended after time-outs.
    pub(super) skipped: u64,
    /// Records that could not be read; counted as misses too.
    pub(super) corrupt: u64,
    /// Records written.
    pub(super) stores: u64,
    /// Records dropped because the queue was full.
    pub(super) stores_dropped: u64,
    /// Records whose write failed.
    pub(super) stores_failed: u64,
    /// Whether Redis refuses to store now, for want of memory for example.
    pub(super) stores_refused: bool,
    /// Records waiting to be written.
    pub(super) queue_length: u64,
    /// Bytes waiting to be written.
    pub(super) queue_bytes: u64,
    /// Connections made.
    pub(super) connects: u64,
    /// Times lookups were suspended after time-outs.
    pub(super) breaker_opened: u64,
}

/// What an invalidation did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InvalidatedDocument {
    /// What was invalidated: `all`, `pattern /a/**`, `route users`, …
    pub(super) invalidated: String,
    /// Whether stored responses were marked stale instead.
    pub(super) soft: bool,
    /// Whether nothing was done: the answer says what would be matched.
    pub(super) dry_run: bool,
    /// Usable responses in this instance's memory that it matched; null where
    /// they were too many to be counted in a second, or another count was
    /// under way.
    pub(super) matched: Option<u64>,
    /// What deserves attention: no route can match, the tag is unknown, no
    /// response matched. Null where there is nothing to say.
    pub(super) note: Option<&'static str>,
    /// Position in the fleet's log; null without one.
    pub(super) position: Option<String>,
    /// Instances known to apply it.
    pub(super) acknowledged: Vec<String>,
    /// Live instances that have not said so within the wait.
    pub(super) missing: Vec<String>,
}

/// Which tier was cleared.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClearedDocument {
    /// `memory`, `redis` or `all`.
    pub(super) cleared: String,
}

/// Which figures were set to zero.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ResetDocument {
    /// `cache` or `performance`.
    pub(super) reset: String,
    /// When.
    pub(super) timestamp: String,
}

/// A method and a path template, since the last reset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndpointDocument {
    pub(super) method: String,
    /// The route's path; without a route the path with identifiers replaced by
    /// `{id}`; `other` for all past the first 1,000.
    pub(super) endpoint: String,
    pub(super) count: u64,
    /// Requests answered with 5xx.
    pub(super) errors: u64,
    /// Requests answered with 4xx.
    pub(super) client_errors: u64,
    /// Requests by the class of the answer's status: `2xx`, …, `other`; classes
    /// that none had are left out.
    pub(super) statuses: BTreeMap<&'static str, u64>,
    pub(super) success_rate_percent: f64,
    pub(super) avg_ms: f64,
    pub(super) min_ms: f64,
    pub(super) max_ms: f64,
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    /// When the last one was answered (RFC 3339).
    pub(super) last_request: Option<String>,
    pub(super) cache: CacheSplit,
    pub(super) upstream: UpstreamOfEndpoint,
}

/// Requests by how the cache answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CacheSplit {
    pub(super) hits: u64,
    pub(super) stale: u64,
    pub(super) revalidated: u64,
    pub(super) misses: u64,
    pub(super) bypass: u64,
    /// Answered from the store, of all but `bypass`.
    pub(super) hit_rate_percent: f64,
}

/// What the origin took for one endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UpstreamOfEndpoint {
    /// Requests the origin saw.
    pub(super) count: u64,
    pub(super) avg_ms: f64,
    pub(super) p95_ms: f64,
}

/// The process and its traffic.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SystemDocument {
    /// When this was read (RFC 3339).
    pub(super) timestamp: String,
    pub(super) uptime_seconds: f64,
    /// Over the last minute.
    pub(super) requests_per_second: f64,
    /// Since the last reset.
    pub(super) total_requests: u64,
    /// Since the last reset; all but 5xx.
    pub(super) success_rate_percent: f64,
    /// Requests being answered now.
    pub(super) in_flight: u64,
    /// Null where the system does not tell.
    pub(super) process: Option<ProcessDocument>,
    /// The limits of the container; null where there is none to be seen.
    pub(super) cgroup: Option<CgroupDocument>,
    pub(super) version: &'static str,
}

/// What a container allows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CgroupDocument {
    /// Null where there is no limit.
    pub(super) memory_bytes_max: Option<u64>,
    /// Page cache included.
    pub(super) memory_bytes: Option<u64>,
    /// In cores; null where there is no limit.
    pub(super) cpu_cores_max: Option<f64>,
}

/// What the operating system says of the process.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProcessDocument {
    /// Resident memory.
    pub(super) memory_bytes: u64,
    pub(super) virtual_memory_bytes: u64,
    /// Processor time since the start, user and system.
    pub(super) cpu_seconds: f64,
    /// Of one core, on average since the start.
    pub(super) cpu_percent: f64,
    /// Of one core, in the minute under way.
    pub(super) cpu_percent_now: f64,
    pub(super) threads: u64,
    pub(super) open_files: u64,
    /// Null where there is no limit.
    pub(super) open_files_max: Option<u64>,
}

/// Hit rates, and what could raise them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CachePerformanceDocument {
    pub(super) overall_hit_rate_percent: f64,
    /// Routes by name.
    pub(super) caches: BTreeMap<String, CacheAdvice>,
    /// For the whole: memory and Redis.
    pub(super) recommendations: Vec<String>,
}

/// One route's hit rate, and what could raise it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CacheAdvice {
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) total_requests: u64,
    pub(super) hit_rate_percent: f64,
    pub(super) recommendations: Vec<String>,
}

/// Connections to the origin, errors on the way, and its latency over all
/// endpoints since the last reset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UpstreamDocument {
    pub(super) connections: ConnectionsDocument,
    /// Exchanges that failed since the start, by kind.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Exchanges that failed since the origin last answered.
    pub(super) failures_in_a_row: u64,
    /// Bytes of response bodies received since the start.
    pub(super) body_bytes: u64,
    /// Requests the origin saw.
    pub(super) count: u64,
    pub(super) avg_ms: f64,
    pub(super) min_ms: f64,
    pub(super) max_ms: f64,
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
}

/// Connections to the origin.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ConnectionsDocument {
    pub(super) open: u64,
    /// Open and without an exchange.
    pub(super) idle: u64,
    /// Made since the start.
    pub(super) opened: u64,
}

/// What is in flight or waits, and how much may.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueuesDocument {
    pub(super) requests: RequestQueue,
    /// Exchanges with the origin.
    pub(super) upstream: RequestQueue,
    /// Null without `[redis]`.
    pub(super) write_behind: Option<WriteBehindQueue>,
}

/// What is under way, what waits, and how much of both may.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RequestQueue {
    pub(super) in_flight: u64,
    /// `limits.inflight_max`, or `limits.upstream_inflight_max`.
    pub(super) in_flight_max: u64,
    pub(super) waiting: u64,
    /// `limits.queue_max`
    pub(super) waiting_max: u64,
    /// `limits.queue_timeout`
    pub(super) timeout_ms: f64,
    /// Had to wait, since the start.
    pub(super) queued: u64,
    /// Answered `503` because the queue was full, since the start.
    pub(super) refused_full: u64,
    /// Answered `503` because the wait was too long, since the start.
    pub(super) refused_late: u64,
}

/// Records on their way to Redis.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WriteBehindQueue {
    pub(super) length: u64,
    /// `redis.queue_max`.
    pub(super) length_max: u64,
    pub(super) bytes: u64,
    /// `redis.queue_bytes_max`.
    pub(super) bytes_max: u64,
    /// Records dropped at a bound, since the last reset.
    pub(super) dropped: u64,
}

/// Everything in one document.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatsDocument {
    /// When this was read (RFC 3339).
    pub(super) timestamp: String,
    pub(super) cache: CacheDocument,
    pub(super) performance: PerformanceDocument,
    pub(super) queues: QueuesDocument,
    pub(super) health: HealthDocument,
    pub(super) warm: WarmDocument,
}

/// How far warming has come.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WarmDocument {
    /// URLs that `[[warm]]` names.
    pub(super) total: u64,
    /// Fetched.
    pub(super) warmed: u64,
    /// Could not be fetched.
    pub(super) failed: u64,
    /// `/readyz` waits for the rest.
    pub(super) is_awaited: bool,
}

/// Everything below `/performance`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PerformanceDocument {
    pub(super) endpoints: Vec<EndpointDocument>,
    pub(super) system: SystemDocument,
    pub(super) cache: CachePerformanceDocument,
    pub(super) upstream: UpstreamDocument,
    /// The last 24 hours.
    pub(super) summary: SummaryDocument,
}

/// Three decimals are enough for people, and short in JSON.
pub(super) fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

/// `part` of `whole` in percent; `empty` where there is no whole.
#[expect(clippy::cast_precision_loss, reason = "a percentage, shown to people")]
pub(super) fn percent(part: u64, whole: u64, empty: f64) -> f64 {
    if whole == 0 {
        empty
    } else {
        rounded(part as f64 * 100.0 / whole as f64)
    }
}
