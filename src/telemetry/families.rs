//! The names that `/metrics` uses: what each says, its kind and its labels.
//! `docs/metrics.md` lists the same; a test holds the two together.

use super::page::{Family, counter, gauge, histogram};

pub(super) const REQUESTS: Family = counter(
    "pannier_requests_total",
    "Requests answered; route is empty for paths without one.",
    &["route", "method", "status", "cache"],
);
pub(super) const REQUEST_DURATION: Family = histogram(
    "pannier_request_duration_seconds",
    "Time from request head read to response head written.",
    &["route", "cache"],
);
pub(super) const UPSTREAM_DURATION: Family = histogram(
    "pannier_upstream_duration_seconds",
    "Time from request sent to the origin to its response head.",
    &["route"],
);
pub(super) const BODY_BYTES: Family = counter(
    "pannier_response_body_bytes_total",
    "Bytes of response bodies whose length was known when they began.",
    &[],
);
pub(super) const INFLIGHT: Family = gauge(
    "pannier_inflight_requests",
    "Requests being answered now.",
    &[],
);
pub(super) const WAITING: Family = gauge(
    "pannier_waiting_requests",
    "Requests waiting for a place, before all work and before the origin.",
    &["queue"],
);
pub(super) const REFUSED: Family = counter(
    "pannier_overload_refusals_total",
    "Requests refused for want of a place.",
    &["queue", "reason"],
);
pub(super) const CACHE_ENTRIES: Family = gauge(
    "pannier_cache_entries",
    "Responses stored in memory.",
    &["route"],
);
pub(super) const CACHE_BYTES: Family = gauge(
    "pannier_cache_bytes",
    "Bytes that responses stored in memory take.",
    &["route"],
);
pub(super) const CACHE_SETS: Family =
    counter("pannier_cache_sets_total", "Responses stored.", &["route"]);
pub(super) const CACHE_EVICTIONS: Family = counter(
    "pannier_cache_evictions_total",
    "Stored responses dropped to make room.",
    &["route"],
);
pub(super) const CACHE_EVICTIONS_EARLY: Family = counter(
    "pannier_cache_evictions_early_total",
    "Evictions before 70 % of the lifetime was over.",
    &["route"],
);
pub(super) const CACHE_EXPIRATIONS: Family = counter(
    "pannier_cache_expirations_total",
    "Stored responses whose lifetime ended: fetched anew, or dropped.",
    &["route"],
);
pub(super) const CACHE_INVALIDATIONS: Family = counter(
    "pannier_cache_invalidations_total",
    "Stored responses dropped because an invalidation matched them.",
    &["route"],
);
pub(super) const CACHE_HIT_BYTES: Family = counter(
    "pannier_cache_hit_bytes_total",
    "Bytes of bodies answered from the store.",
    &["route"],
);
pub(super) const CACHE_BODY_BYTES: Family = counter(
    "pannier_cache_body_bytes_total",
    "Bytes of all bodies answered, as far as known.",
    &["route"],
);
pub(super) const CACHE_SAVED: Family = counter(
    "pannier_cache_saved_seconds_total",
    "What fetching had cost what the store answered.",
    &["route"],
);
pub(super) const REFUSALS: Family = counter(
    "pannier_refusals_total",
    "Responses not stored, by reason.",
    &["route", "reason"],
);
pub(super) const UPSTREAM_INFLIGHT: Family = gauge(
    "pannier_upstream_inflight_requests",
    "Exchanges with the origin under way.",
    &[],
);
pub(super) const UPSTREAM_CONNECTIONS: Family = gauge(
    "pannier_upstream_connections",
    "Connections to the origin that are open.",
    &[],
);
pub(super) const UPSTREAM_OPENED: Family = counter(
    "pannier_upstream_connects_total",
    "Connections made to the origin.",
    &[],
);
pub(super) const UPSTREAM_RETRIES: Family = counter(
    "pannier_upstream_retries_total",
    "Times that a request was sent to the origin again, because its connection closed before an answer.",
    &[],
);
pub(super) const UPSTREAM_WAITING: Family = gauge(
    "pannier_upstream_restart_waiting_requests",
    "Requests that wait for an origin that takes no connection.",
    &[],
);
pub(super) const UPSTREAM_WAITED: Family = counter(
    "pannier_upstream_restart_waits_total",
    "Requests that had to wait for an origin that took no connection.",
    &[],
);
pub(super) const UPSTREAM_BODY_BYTES: Family = counter(
    "pannier_upstream_body_bytes_total",
    "Bytes of response bodies received from the origin.",
    &[],
);
pub(super) const UPSTREAM_ERRORS: Family = counter(
    "pannier_upstream_errors_total",
    "Exchanges with the origin that failed, by kind.",
    &["kind"],
);
pub(super) const UPSTREAM_RESPONSES: Family = counter(
    "pannier_upstream_responses_total",
    "Exchanges with the origin, validations and refreshes included, by status; none: no answer came.",
    &["route", "status"],
);
pub(super) const STALE_ON_ERROR: Family = gauge(
    "pannier_stale_on_error_seconds",
    "For how long the route has answered with stale responses because the origin fails; 0: it does not.",
    &["route"],
);
pub(super) const UPSTREAM_CHECK: Family = gauge(
    "pannier_upstream_check_up",
    "Whether the last active check of the origin passed; only where one is configured.",
    &[],
);
pub(super) const REDIS_UP: Family = gauge(
    "pannier_redis_up",
    "Whether the connection for lookups stands.",
    &[],
);
pub(super) const REDIS_OPERATIONS: Family = counter(
    "pannier_redis_operations_total",
    "What came of operations on Redis.",
    &["operation", "outcome"],
);
pub(super) const REDIS_DURATION: Family = histogram(
    "pannier_redis_duration_seconds",
    "Time Redis took.",
    &["operation"],
);
pub(super) const REDIS_QUEUE: Family = gauge(
    "pannier_redis_queue_entries",
    "Records waiting to be written to Redis.",
    &[],
);
pub(super) const REDIS_QUEUE_BYTES: Family = gauge(
    "pannier_redis_queue_bytes",
    "Bytes waiting to be written to Redis.",
    &[],
);
pub(super) const REDIS_CONNECTS: Family = counter(
    "pannier_redis_connects_total",
    "Connections made to Redis, the first included.",
    &[],
);
pub(super) const REDIS_BREAKER: Family = counter(
    "pannier_redis_breaker_opened_total",
    "Times lookups were suspended after repeated time-outs.",
    &[],
);
pub(super) const REDIS_STORES_REFUSED: Family = gauge(
    "pannier_redis_stores_refused",
    "Whether Redis refuses to store responses, for want of memory for example.",
    &[],
);
pub(super) const BUILD: Family = gauge(
    "pannier_build_info",
    "Always 1; the labels say what runs.",
    &["version"],
);
pub(super) const ACCESS_DROPPED: Family = counter(
    "pannier_access_log_dropped_total",
    "Lines of the access log dropped because too many waited.",
    &[],
);
pub(super) const CONNECTIONS_FAILED: Family = counter(
    "pannier_connections_failed_total",
    "Connections of clients that ended in an error.",
    &[],
);
pub(super) const HANDSHAKES_FAILED: Family = counter(
    "pannier_tls_handshakes_failed_total",
    "TLS handshakes of clients that came to nothing.",
    &[],
);
pub(super) const TLS_RELOADS_FAILED: Family = counter(
    "pannier_tls_reloads_failed_total",
    "Times that changed certificates could not be used, and the old ones stayed.",
    &[],
);
pub(super) const PROXY_HEADERS_REFUSED: Family = counter(
    "pannier_proxy_headers_refused_total",
    "Connections closed without a PROXY header from a trusted peer.",
    &[],
);
pub(super) const SPANS: Family = counter(
    "pannier_spans_total",
    "Spans of requests, by what became of them; only where they are exported.",
    &["outcome"],
);
pub(super) const PROCESS_CPU: Family = counter(
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
    &[],
);
pub(super) const PROCESS_OPEN_FDS: Family =
    gauge("process_open_fds", "Number of open file descriptors.", &[]);
pub(super) const PROCESS_MAX_FDS: Family = gauge(
    "process_max_fds",
    "Maximum number of open file descriptors.",
    &[],
);
pub(super) const PROCESS_VIRTUAL: Family = gauge(
    "process_virtual_memory_bytes",
    "Virtual memory size in bytes.",
    &[],
);
pub(super) const PROCESS_RESIDENT: Family = gauge(
    "process_resident_memory_bytes",
    "Resident memory size in bytes.",
    &[],
);
pub(super) const PROCESS_START: Family = gauge(
    "process_start_time_seconds",
    "Start time of the process since unix epoch in seconds.",
    &[],
);
pub(super) const PROCESS_THREADS: Family = gauge(
    "process_threads",
    "Number of OS threads in the process.",
    &[],
);

pub(super) const FAMILIES: [&Family; 51] = [
    &REQUESTS,
    &REQUEST_DURATION,
    &UPSTREAM_DURATION,
    &BODY_BYTES,
    &CONNECTIONS_FAILED,
    &HANDSHAKES_FAILED,
    &TLS_RELOADS_FAILED,
    &PROXY_HEADERS_REFUSED,
    &INFLIGHT,
    &WAITING,
    &REFUSED,
    &CACHE_ENTRIES,
    &CACHE_BYTES,
    &CACHE_SETS,
    &CACHE_EVICTIONS,
    &CACHE_EVICTIONS_EARLY,
    &CACHE_EXPIRATIONS,
    &CACHE_INVALIDATIONS,
    &CACHE_HIT_BYTES,
    &CACHE_BODY_BYTES,
    &CACHE_SAVED,
    &REFUSALS,
    &UPSTREAM_INFLIGHT,
    &UPSTREAM_CONNECTIONS,
    &UPSTREAM_OPENED,
    &UPSTREAM_RETRIES,
    &UPSTREAM_WAITING,
    &UPSTREAM_WAITED,
    &UPSTREAM_BODY_BYTES,
    &UPSTREAM_ERRORS,
    &UPSTREAM_RESPONSES,
    &STALE_ON_ERROR,
    &UPSTREAM_CHECK,
    &REDIS_UP,
    &REDIS_OPERATIONS,
    &REDIS_DURATION,
    &REDIS_QUEUE,
    &REDIS_QUEUE_BYTES,
    &REDIS_CONNECTS,
    &REDIS_BREAKER,
    &REDIS_STORES_REFUSED,
    &BUILD,
    &ACCESS_DROPPED,
    &SPANS,
    &PROCESS_CPU,
    &PROCESS_OPEN_FDS,
    &PROCESS_MAX_FDS,
    &PROCESS_VIRTUAL,
    &PROCESS_RESIDENT,
    &PROCESS_START,
    &PROCESS_THREADS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_documented_and_every_documented_metric_exists() {
        let documented: Vec<&str> = include_str!("../../docs/metrics.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `"))
            .filter_map(|line| line.split(['`', '{']).next())
            .collect();
        let exported: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(documented, exported);
    }
}
