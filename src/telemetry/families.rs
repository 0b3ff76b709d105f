//! The names that `/metrics` uses: what each says, its kind and its labels.
//! `docs/metrics.md` lists the same; a test holds the two together.

use ::prometheus::proto::MetricType;

/// One family: its name, what it says, its kind and its labels.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: MetricType,
    pub(super) labels: &'static [&'static str],
}

const fn counter(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Family {
    Family {
        name,
        help,
        kind: MetricType::COUNTER,
        labels,
    }
}

const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Family {
    Family {
        name,
        help,
        kind: MetricType::GAUGE,
        labels,
    }
}

const fn histogram(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
) -> Family {
    Family {
        name,
        help,
        kind: MetricType::HISTOGRAM,
        labels,
    }
}

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
pub(super) const CACHE_EXPIRATIONS: Family = counter(
    "pannier_cache_expirations_total",
    "Stored responses dropped because they could not be reused any more.",
    &["route"],
);
pub(super) const CACHE_INVALIDATIONS: Family = counter(
    "pannier_cache_invalidations_total",
    "Stored responses dropped because an invalidation matched them.",
    &["route"],
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

pub(super) const FAMILIES: [&Family; 25] = [
    &REQUESTS,
    &REQUEST_DURATION,
    &UPSTREAM_DURATION,
    &BODY_BYTES,
    &INFLIGHT,
    &CACHE_ENTRIES,
    &CACHE_BYTES,
    &CACHE_SETS,
    &CACHE_EVICTIONS,
    &CACHE_EXPIRATIONS,
    &CACHE_INVALIDATIONS,
    &REDIS_UP,
    &REDIS_OPERATIONS,
    &REDIS_DURATION,
    &REDIS_QUEUE,
    &REDIS_QUEUE_BYTES,
    &REDIS_CONNECTS,
    &REDIS_BREAKER,
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
