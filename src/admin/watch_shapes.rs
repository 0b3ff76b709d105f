//! The documents of `/health`, `/history`, `/performance/summary` and
//! `/cache/top-keys`.

use serde::Serialize;
use utoipa::ToSchema;

/// How it does.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthDocument {
    /// When this was judged (RFC 3339).
    pub(super) timestamp: String,
    /// `healthy`, `warning` or `critical`: the worst of the indicators.
    pub(super) status: &'static str,
    /// 0 to 100.
    pub(super) score: u64,
    /// One sentence: what is wrong, and what to do.
    pub(super) message: String,
    pub(super) indicators: Vec<IndicatorDocument>,
    /// What could be better, each naming a route or a key of the configuration.
    pub(super) recommendations: Vec<String>,
}

/// One thing looked at.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct IndicatorDocument {
    /// Never changes.
    pub(super) name: &'static str,
    /// `healthy`, `warning` or `critical`.
    pub(super) status: &'static str,
    /// Null where too little happened to judge.
    pub(super) value: Option<f64>,
    /// From where on it is what `status` says, or would be a warning.
    pub(super) threshold: Option<f64>,
    /// What both are counted in.
    pub(super) unit: &'static str,
    /// What was found, and what to do about it.
    pub(super) advice: String,
}

/// One-minute series, oldest first; all lists are equally long. The last
/// minute is under way.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryDocument {
    /// When this was read (RFC 3339).
    pub(super) timestamp: String,
    pub(super) window_seconds: u64,
    pub(super) step_seconds: u64,
    /// When each minute began, in seconds since the Unix epoch.
    pub(super) start: Vec<u64>,
    /// How long each was, in seconds; the first and the last may be shorter.
    pub(super) seconds: Vec<f64>,
    pub(super) requests: Vec<u64>,
    pub(super) hits: Vec<u64>,
    pub(super) misses: Vec<u64>,
    /// Answered with 5xx.
    /// Answered with 5xx.
    pub(super) errors: Vec<u64>,
    /// Answered with 4xx.
    pub(super) client_errors: Vec<u64>,
    pub(super) p50_ms: Vec<f64>,
    pub(super) p95_ms: Vec<f64>,
    pub(super) p99_ms: Vec<f64>,
    /// Bytes of the answers' bodies.
    pub(super) bytes: Vec<u64>,
    /// Exchanges with the origin.
    pub(super) upstream: Vec<u64>,
    pub(super) upstream_errors: Vec<u64>,
    pub(super) evictions: Vec<u64>,
    pub(super) invalidations: Vec<u64>,
    /// Refused for want of a place.
    pub(super) refused: Vec<u64>,
    /// Memory of the process.
    pub(super) memory_bytes: Vec<u64>,
    /// Of one core.
    pub(super) cpu_percent: Vec<f64>,
}

/// A window's totals and its hours.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SummaryDocument {
    /// When this was read (RFC 3339).
    pub(super) timestamp: String,
    pub(super) window_seconds: u64,
    /// The hours below together.
    pub(super) total: PeriodDocument,
    /// The hours that the window touches, oldest first, the first and the last
    /// as far as there is anything of them.
    pub(super) hours: Vec<PeriodDocument>,
}

/// What happened between two moments.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PeriodDocument {
    /// When it began (RFC 3339).
    pub(super) start: String,
    pub(super) seconds: f64,
    pub(super) requests: u64,
    pub(super) requests_per_second: f64,
    pub(super) hits: u64,
    pub(super) misses: u64,
    pub(super) hit_rate_percent: f64,
    pub(super) errors: u64,
    /// Answered with 4xx.
    pub(super) client_errors: u64,
    pub(super) success_rate_percent: f64,
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) bytes: u64,
    pub(super) upstream: u64,
    pub(super) upstream_errors: u64,
    pub(super) evictions: u64,
    pub(super) invalidations: u64,
    pub(super) refused: u64,
}

/// The keys that the store answers most, estimated since the last reset.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopKeysDocument {
    /// When this was read (RFC 3339).
    pub(super) timestamp: String,
    pub(super) by_hits: Vec<TopKeyDocument>,
    pub(super) by_bytes: Vec<TopKeyDocument>,
    /// Those that the origin answered most.
    pub(super) by_misses: Vec<MissedKeyDocument>,
}

/// A route and a path that the origin answers; queries are left out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MissedKeyDocument {
    pub(super) route: String,
    pub(super) path: String,
    pub(super) misses: u64,
    /// By how much the figure may be too high.
    pub(super) error: u64,
}

/// A route and a path; queries are left out, all of a path count together.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopKeyDocument {
    pub(super) route: String,
    pub(super) path: String,
    pub(super) hits: u64,
    pub(super) bytes: u64,
    /// By how much the figure it is listed for may be too high.
    pub(super) error: u64,
}
