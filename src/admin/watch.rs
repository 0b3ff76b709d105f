//! `/health`, `/history`, `/performance/summary`, `/cache/top-keys`: how it
//! does, and what it did.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::control::Control;
use super::operations::Operations;
use super::parameters::{LimitQuery, Parameters, WindowQuery};
use super::problem::Problem;
use super::shapes::{percent, rounded};
use super::watch_shapes::{
    HealthDocument, HistoryDocument, IndicatorDocument, MissedKeyDocument, PeriodDocument,
    SummaryDocument, TopKeyDocument, TopKeysDocument,
};
use super::{advice, cache};
use crate::telemetry::health::{Assessment, assess};
use crate::telemetry::history::Period;
use crate::telemetry::top_keys::TopKey;
use crate::telemetry::{Telemetry, milliseconds, rfc3339};

/// `GET /health`
pub(super) async fn health(State(control): State<Arc<Control>>) -> Json<HealthDocument> {
    Json(health_document(&control))
}

/// How the proxy does, judged now.
pub(super) fn assessment(telemetry: &Telemetry, operations: &dyn Operations) -> Assessment {
    let bytes_max = operations.bounds().memory_bytes_max;
    let situation = telemetry.situation(bytes_max, operations.followed());
    assess(&situation, &operations.health())
}

pub(super) fn health_document(control: &Control) -> HealthDocument {
    let assessment = assessment(&control.telemetry, &*control.operations);
    let caches = cache::document(control);
    let mut recommendations = advice::of_all(&caches);
    let is_full = advice::is_full(&caches);
    for (name, figures) in &caches.caches {
        let of_route = advice::of_route(figures, is_full).into_iter();
        recommendations.extend(of_route.map(|advice| format!("route `{name}`: {advice}")));
    }
    HealthDocument {
        timestamp: rfc3339::text(control.telemetry.now()),
        status: assessment.level.as_str(),
        score: assessment.score,
        message: assessment.message,
        indicators: assessment
            .indicators
            .into_iter()
            .map(|indicator| IndicatorDocument {
                name: indicator.name,
                status: indicator.level.as_str(),
                value: indicator.value,
                threshold: indicator.threshold,
                unit: indicator.unit,
                advice: indicator.advice,
            })
            .collect(),
        recommendations,
    }
}

/// `GET /history`
pub(super) async fn history(
    State(control): State<Arc<Control>>,
    Parameters(query): Parameters<WindowQuery>,
) -> Result<Json<HistoryDocument>, Problem> {
    let window = query.window()?;
    let minutes = control.telemetry.minutes(window);
    let counts = |of: fn(&Period) -> u64| minutes.iter().map(of).collect::<Vec<_>>();
    let figures = |of: fn(&Period) -> f64| {
        let all = minutes.iter().map(of);
        all.map(rounded).collect::<Vec<_>>()
    };
    Ok(Json(HistoryDocument {
        timestamp: rfc3339::text(control.telemetry.now()),
        window_seconds: window.as_secs(),
        step_seconds: 60,
        start: counts(|minute| minute.start.unix_millis() / 1_000),
        seconds: figures(|minute| minute.length.as_secs_f64()),
        requests: counts(|minute| minute.counts.requests),
        hits: counts(|minute| minute.counts.hits),
        misses: counts(|minute| minute.counts.misses),
        errors: counts(|minute| minute.counts.errors),
        client_errors: counts(|minute| minute.counts.client_errors),
        p50_ms: figures(|minute| milliseconds(minute.p50)),
        p95_ms: figures(|minute| milliseconds(minute.p95)),
        p99_ms: figures(|minute| milliseconds(minute.p99)),
        bytes: counts(|minute| minute.counts.bytes),
        upstream: counts(|minute| minute.counts.upstream),
        upstream_errors: counts(|minute| minute.counts.upstream_errors),
        evictions: counts(|minute| minute.counts.evictions),
        invalidations: counts(|minute| minute.counts.invalidations),
        refused: counts(|minute| minute.counts.refused),
        memory_bytes: counts(|minute| minute.memory_bytes),
        cpu_percent: figures(|minute| minute.cpu_percent),
    }))
}

/// `GET /performance/summary`
pub(super) async fn summary(
    State(control): State<Arc<Control>>,
    Parameters(query): Parameters<WindowQuery>,
) -> Result<Json<SummaryDocument>, Problem> {
    Ok(Json(summary_document(&control, query)?))
}

/// The window's totals and its hours.
pub(super) fn summary_document(
    control: &Control,
    query: WindowQuery,
) -> Result<SummaryDocument, Problem> {
    let window = query.window()?;
    let (hours, total) = control.telemetry.hours(window);
    Ok(SummaryDocument {
        timestamp: rfc3339::text(control.telemetry.now()),
        window_seconds: window.as_secs(),
        total: period(&total),
        hours: hours.iter().map(period).collect(),
    })
}

fn period(period: &Period) -> PeriodDocument {
    let counts = &period.counts;
    let seconds = period.length.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate, shown to people")]
    let requests = counts.requests as f64;
    let successes = counts.requests.saturating_sub(counts.errors);
    PeriodDocument {
        start: rfc3339::text(period.start),
        seconds: rounded(seconds),
        requests: counts.requests,
        requests_per_second: rounded(requests / seconds.max(1.0)),
        hits: counts.hits,
        misses: counts.misses,
        hit_rate_percent: percent(counts.hits, counts.hits + counts.misses, 0.0),
        errors: counts.errors,
        client_errors: counts.client_errors,
        success_rate_percent: percent(successes, counts.requests, 100.0),
        p50_ms: rounded(milliseconds(period.p50)),
        p95_ms: rounded(milliseconds(period.p95)),
        p99_ms: rounded(milliseconds(period.p99)),
        bytes: counts.bytes,
        upstream: counts.upstream,
        upstream_errors: counts.upstream_errors,
        evictions: counts.evictions,
        invalidations: counts.invalidations,
        refused: counts.refused,
    }
}

/// `GET /cache/top-keys`
pub(super) async fn top_keys(
    State(control): State<Arc<Control>>,
    Parameters(query): Parameters<LimitQuery>,
) -> Result<Json<TopKeysDocument>, Problem> {
    let limit = query.limit()?;
    let keys = control.telemetry.top_keys();
    let missed = control.telemetry.missed_keys().by_hits(limit);
    let documents = |keys: Vec<TopKey>| keys.into_iter().map(top_key).collect();
    Ok(Json(TopKeysDocument {
        timestamp: rfc3339::text(control.telemetry.now()),
        by_hits: documents(keys.by_hits(limit)),
        by_bytes: documents(keys.by_bytes(limit)),
        by_misses: missed.into_iter().map(missed_key).collect(),
    }))
}

fn missed_key(key: TopKey) -> MissedKeyDocument {
    MissedKeyDocument {
        route: key.route.to_string(),
        path: key.path.to_string(),
        misses: key.hits,
        error: key.error,
    }
}

fn top_key(key: TopKey) -> TopKeyDocument {
    TopKeyDocument {
        route: key.route.to_string(),
        path: key.path.to_string(),
        hits: key.hits,
        bytes: key.bytes,
        error: key.error,
    }
}
