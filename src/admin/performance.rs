//! `/performance*` and `/stats`: how fast what was answered.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::Method;

use super::control::Control;
use super::parameters::{LimitQuery, Parameters, Segments, WindowQuery};
use super::problem::Problem;
use super::shapes::{
    CacheAdvice, CachePerformanceDocument, CacheSplit, CgroupDocument, ConnectionsDocument,
    EndpointDocument, PerformanceDocument, ProcessDocument, ResetDocument, StatsDocument,
    SystemDocument, UpstreamDocument, UpstreamOfEndpoint, WarmDocument, percent, rounded,
};
use super::{advice, cache, watch};
use crate::semantics::outcome::CacheResult;
use crate::telemetry::cgroup::CgroupFigures;
use crate::telemetry::endpoints::{CLASSES, EndpointFigures, OTHER};
use crate::telemetry::labels::MethodLabel;
use crate::telemetry::process::ProcessFigures;
use crate::telemetry::{milliseconds, rfc3339, template};

/// `GET /performance`
pub(super) async fn endpoints(State(control): State<Arc<Control>>) -> Json<Vec<EndpointDocument>> {
    Json(all(&control))
}

fn all(control: &Control) -> Vec<EndpointDocument> {
    let figures = control.telemetry.endpoints().figures();
    figures.iter().map(document).collect()
}

/// `GET /performance/endpoint/{method}/{endpoint}`
pub(super) async fn endpoint(
    State(control): State<Arc<Control>>,
    Segments((method, endpoint)): Segments<(String, String)>,
) -> Result<Json<EndpointDocument>, Problem> {
    let method = method.to_ascii_uppercase();
    let label = Method::from_bytes(method.as_bytes())
        .map(|method| MethodLabel::from(&method))
        .map_err(|_| Problem::bad(format!("`{method}` is not a method")))?;
    // The slash before the endpoint is the one a template starts with.
    let path = if endpoint.starts_with('/') || endpoint == OTHER {
        endpoint
    } else {
        format!("/{endpoint}")
    };
    let known = control.telemetry.endpoints();
    known
        .figures_of(label, &path)
        .or_else(|| known.figures_of(label, &template::of_path(&path)))
        .map(|figures| Json(document(&figures)))
        .ok_or_else(|| {
            Problem::missing(format!(
                "no request of {method} {path} was counted; /performance lists what was"
            ))
        })
}

/// `GET /performance/slowest`: by average time.
pub(super) async fn slowest(
    State(control): State<Arc<Control>>,
    Parameters(query): Parameters<LimitQuery>,
) -> Result<Json<Vec<EndpointDocument>>, Problem> {
    let limit = query.limit()?;
    let mut figures = control.telemetry.endpoints().figures();
    figures.sort_by_key(|endpoint| Reverse(endpoint.latency.avg));
    Ok(Json(figures.iter().take(limit).map(document).collect()))
}

/// `GET /performance/most-requested`
pub(super) async fn most_requested(
    State(control): State<Arc<Control>>,
    Parameters(query): Parameters<LimitQuery>,
) -> Result<Json<Vec<EndpointDocument>>, Problem> {
    let limit = query.limit()?;
    let mut figures = control.telemetry.endpoints().figures();
    figures.sort_by_key(|endpoint| Reverse(endpoint.count));
    Ok(Json(figures.iter().take(limit).map(document).collect()))
}

/// The classes of status codes, in the order in which they are counted.
const CLASS_NAMES: [&str; CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

fn document(figures: &EndpointFigures) -> EndpointDocument {
    let latency = &figures.latency;
    let from_store = CacheResult::ALL
        .into_iter()
        .filter(|result| result.is_from_store())
        .map(|result| figures.answered(result))
        .sum();
    let bypass = figures.answered(CacheResult::Bypass);
    // Read one after the other while requests come in: never below zero.
    let successes = figures.count.saturating_sub(figures.errors);
    EndpointDocument {
        method: figures.method.as_str().to_owned(),
        endpoint: figures.template.to_string(),
        count: figures.count,
        errors: figures.errors,
        client_errors: figures.by_class[3],
        statuses: CLASS_NAMES
            .into_iter()
            .zip(figures.by_class)
            .filter(|(_, count)| *count > 0)
            .collect(),
        success_rate_percent: percent(successes, figures.count, 100.0),
        avg_ms: rounded(milliseconds(latency.avg)),
        min_ms: rounded(milliseconds(latency.min)),
        max_ms: rounded(milliseconds(latency.max)),
        p50_ms: rounded(milliseconds(latency.p50)),
        p95_ms: rounded(milliseconds(latency.p95)),
        p99_ms: rounded(milliseconds(latency.p99)),
        last_request: figures.last_request.map(rfc3339::text),
        cache: CacheSplit {
            hits: figures.answered(CacheResult::Hit),
            stale: figures.answered(CacheResult::Stale),
            revalidated: figures.answered(CacheResult::Revalidated),
            misses: figures.answered(CacheResult::Miss),
            bypass,
            hit_rate_percent: percent(from_store, figures.count - bypass, 0.0),
        },
        upstream: UpstreamOfEndpoint {
            count: figures.upstream.count,
            avg_ms: rounded(milliseconds(figures.upstream.avg)),
            p95_ms: rounded(milliseconds(figures.upstream.p95)),
        },
    }
}

/// `GET /performance/system`
pub(super) async fn system(State(control): State<Arc<Control>>) -> Json<SystemDocument> {
    Json(system_document(&control))
}

fn system_document(control: &Control) -> SystemDocument {
    let telemetry = &control.telemetry;
    let (total_requests, errors) = telemetry.endpoints().totals();
    SystemDocument {
        timestamp: rfc3339::text(telemetry.now()),
        uptime_seconds: rounded(telemetry.uptime().as_secs_f64()),
        requests_per_second: rounded(telemetry.requests_per_second()),
        total_requests,
        success_rate_percent: percent(total_requests.saturating_sub(errors), total_requests, 100.0),
        in_flight: telemetry.in_flight(),
        process: ProcessFigures::read().map(|process| {
            let since_epoch = Duration::from_millis(telemetry.now().unix_millis());
            let lived_seconds = (since_epoch.as_secs_f64() - process.start_seconds).max(0.001);
            ProcessDocument {
                memory_bytes: process.resident_bytes,
                virtual_memory_bytes: process.virtual_bytes,
                cpu_seconds: rounded(process.cpu_seconds),
                cpu_percent: rounded(process.cpu_seconds * 100.0 / lived_seconds),
                cpu_percent_now: rounded(telemetry.cpu_percent_now()),
                threads: process.threads,
                open_files: process.open_files,
                open_files_max: process.open_files_max,
            }
        }),
        cgroup: CgroupFigures::read().map(|cgroup| CgroupDocument {
            memory_bytes_max: cgroup.memory_bytes_max,
            memory_bytes: cgroup.memory_bytes,
            cpu_cores_max: cgroup.cpu_cores_max,
        }),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// `GET /performance/cache`
pub(super) async fn cache_rates(
    State(control): State<Arc<Control>>,
) -> Json<CachePerformanceDocument> {
    Json(cache_document(&control))
}

fn cache_document(control: &Control) -> CachePerformanceDocument {
    let document = cache::document(control);
    let is_full = advice::is_full(&document);
    CachePerformanceDocument {
        overall_hit_rate_percent: document.summary.overall_hit_rate_percent,
        recommendations: advice::of_all(&document),
        caches: document
            .caches
            .into_iter()
            .map(|(name, figures)| {
                let advice = CacheAdvice {
                    hits: figures.hits,
                    misses: figures.misses,
                    total_requests: figures.total_requests,
                    hit_rate_percent: figures.hit_rate_percent,
                    recommendations: advice::of_route(&figures, is_full),
                };
                (name, advice)
            })
            .collect(),
    }
}

/// `GET /performance/upstream`
pub(super) async fn upstream(State(control): State<Arc<Control>>) -> Json<UpstreamDocument> {
    Json(upstream_document(&control))
}

fn upstream_document(control: &Control) -> UpstreamDocument {
    let upstream = control.telemetry.upstream();
    let latency = upstream.latencies.figures();
    UpstreamDocument {
        connections: ConnectionsDocument {
            open: upstream.open.get(),
            idle: upstream.idle(),
            opened: upstream.opened.get(),
        },
        errors: upstream.errors.counts().into_iter().collect(),
        failures_in_a_row: upstream.failures_in_a_row(),
        body_bytes: upstream.body_bytes.get(),
        count: latency.count,
        avg_ms: rounded(milliseconds(latency.avg)),
        min_ms: rounded(milliseconds(latency.min)),
        max_ms: rounded(milliseconds(latency.max)),
        p50_ms: rounded(milliseconds(latency.p50)),
        p95_ms: rounded(milliseconds(latency.p95)),
        p99_ms: rounded(milliseconds(latency.p99)),
    }
}

/// `POST /performance/reset`
pub(super) async fn reset(State(control): State<Arc<Control>>) -> Json<ResetDocument> {
    control.telemetry.reset_performance();
    Json(ResetDocument {
        reset: "performance".to_owned(),
        timestamp: rfc3339::text(control.telemetry.now()),
    })
}

/// `GET /stats`
pub(super) async fn stats(
    State(control): State<Arc<Control>>,
) -> Result<Json<StatsDocument>, Problem> {
    let warmth = control.telemetry.warmth().figures();
    Ok(Json(StatsDocument {
        timestamp: rfc3339::text(control.telemetry.now()),
        cache: cache::document(&control),
        performance: PerformanceDocument {
            endpoints: all(&control),
            system: system_document(&control),
            cache: cache_document(&control),
            upstream: upstream_document(&control),
            summary: watch::summary_document(&control, WindowQuery::default())?,
        },
        queues: cache::queues_document(&control),
        health: watch::health_document(&control),
        warm: WarmDocument {
            total: warmth.total,
            warmed: warmth.warmed,
            failed: warmth.failed,
            is_awaited: warmth.is_awaited,
        },
    }))
}
