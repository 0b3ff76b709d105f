//! `/cache/*` and `/queues`: what the caches hold, and commands to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::control::Control;
use super::operations::{InvalidateRequest, Invalidated, Scope};
use super::parameters::{InvalidateQuery, Parameters, Segments, TierQuery};
use super::problem::Problem;
use super::shapes::{
    CacheDocument, CacheFigures, CacheSummary, ClearedDocument, InvalidatedDocument,
    QueuesDocument, RedisDocument, RequestQueue, ResetDocument, WriteBehindQueue, percent, rounded,
};
use crate::gate::GateFigures;
use crate::telemetry::{milliseconds, rfc3339};

/// `GET /cache/stats`
pub(super) async fn stats(State(control): State<Arc<Control>>) -> Json<CacheDocument> {
    Json(document(&control))
}

/// The caches of the configured routes; a route without a request yet is there
/// with zeros.
pub(super) fn document(control: &Control) -> CacheDocument {
    let bounds = control.operations.bounds();
    let mut summary = CacheSummary {
        total_hits: 0,
        total_misses: 0,
        total_requests: 0,
        overall_hit_rate_percent: 0.0,
        byte_hit_rate_percent: 0.0,
        hit_bytes: 0,
        body_bytes: 0,
        saved_seconds: 0.0,
        size: 0,
        bytes: 0,
        max_bytes: bounds.memory_bytes_max,
    };
    let mut caches = BTreeMap::new();
    for route in control.operations.routes() {
        let telemetry = control.telemetry.known_route(&route.name);
        let counts = telemetry
            .as_ref()
            .map(|route| route.cache_counts())
            .unwrap_or_default();
        let (size, bytes) = telemetry.as_ref().map_or((0, 0), |route| {
            let counters = route.counters();
            (counters.entries.get(), counters.bytes.get())
        });
        let utilization_percent = match route.entries_max {
            Some(entries_max) => percent(size, entries_max, 0.0),
            None => percent(bytes, bounds.memory_bytes_max, 0.0),
        };
        let total_requests = counts.hits + counts.misses;
        summary.total_hits += counts.hits;
        summary.total_misses += counts.misses;
        summary.size += size;
        summary.bytes += bytes;
        summary.hit_bytes += counts.hit_bytes;
        summary.body_bytes += counts.body_bytes;
        summary.saved_seconds += counts.saved.as_secs_f64();
        let refusals = telemetry.as_ref().map(|route| route.refusals());
        caches.insert(
            route.name.to_string(),
            CacheFigures {
                path: route.path.to_string(),
                size,
                max_size: route.entries_max.unwrap_or(0),
                utilization_percent,
                bytes,
                hits: counts.hits,
                misses: counts.misses,
                hit_rate_percent: percent(counts.hits, total_requests, 0.0),
                sets: counts.sets,
                evictions: counts.evictions,
                expirations: counts.expirations,
                invalidations: counts.invalidations,
                total_requests,
                evictions_early: counts.evictions_early,
                unchanged: counts.unchanged,
                hit_bytes: counts.hit_bytes,
                body_bytes: counts.body_bytes,
                byte_hit_rate_percent: percent(counts.hit_bytes, counts.body_bytes, 0.0),
                saved_seconds: rounded(counts.saved.as_secs_f64()),
                refusals: refusals.into_iter().flatten().collect(),
            },
        );
    }
    summary.total_requests = summary.total_hits + summary.total_misses;
    summary.overall_hit_rate_percent = percent(summary.total_hits, summary.total_requests, 0.0);
    summary.byte_hit_rate_percent = percent(summary.hit_bytes, summary.body_bytes, 0.0);
    summary.saved_seconds = rounded(summary.saved_seconds);
    CacheDocument {
        timestamp: rfc3339::text(control.telemetry.now()),
        caches,
        summary,
        redis: redis(control),
    }
}

fn redis(control: &Control) -> RedisDocument {
    let counts = control.telemetry.redis_counts();
    let counters = control.telemetry.redis();
    RedisDocument {
        configured: control.operations.bounds().redis.is_some(),
        connected: counters.up.get() > 0,
        hits: counts.hits,
        misses: counts.misses,
        hit_rate_percent: percent(counts.hits, counts.hits + counts.misses, 0.0),
        errors: counts.errors,
        timeouts: counts.timeouts,
        skipped: counts.skipped,
        corrupt: counts.corrupt,
        stores: counts.stores,
        stores_dropped: counts.stores_dropped,
        stores_failed: counts.stores_failed,
        stores_refused: counters.stores_refused.get() > 0,
        queue_length: counters.queue_length.get(),
        queue_bytes: counters.queue_bytes.get(),
        connects: counts.connects,
        breaker_opened: counts.breaker_opened,
    }
}

/// `POST /cache/invalidate`
pub(super) async fn invalidate(
    State(control): State<Arc<Control>>,
    Parameters(query): Parameters<InvalidateQuery>,
) -> Result<Json<InvalidatedDocument>, Problem> {
    let request = query.request(&control.operations.routes())?;
    perform(&control, request).await
}

/// `POST /cache/invalidate/{route}`
pub(super) async fn invalidate_route(
    State(control): State<Arc<Control>>,
    Segments(name): Segments<String>,
    Parameters(query): Parameters<InvalidateQuery>,
) -> Result<Json<InvalidatedDocument>, Problem> {
    let request = query.request_for_route(&name, &control.operations.routes())?;
    perform(&control, request).await
}

/// Invalidates, logs it, and says what came of it.
pub(super) async fn perform(
    control: &Control,
    request: InvalidateRequest,
) -> Result<Json<InvalidatedDocument>, Problem> {
    let invalidated = list(&request.scopes, Scope::to_string);
    let logged = list(&request.scopes, Scope::without_query);
    let is_tags = request.scopes.iter().all(Scope::is_tag);
    let (soft, dry_run) = (request.soft, request.is_dry_run);
    let done = control.operations.invalidate(request).await?;
    let note = note(&done, is_tags);
    if !dry_run {
        tracing::info!(
            scope = logged,
            soft,
            position = done.position,
            matched = done.matched,
            note,
            "invalidated by an operator"
        );
    }
    Ok(Json(InvalidatedDocument {
        invalidated,
        soft,
        dry_run,
        matched: done.matched,
        note,
        position: done.position,
        acknowledged: done.acknowledged,
        missing: done.missing,
    }))
}

fn list(scopes: &[Scope], write: impl Fn(&Scope) -> String) -> String {
    let written: Vec<String> = scopes.iter().map(write).collect();
    written.join(", ")
}

/// What an operator may not have expected.
fn note(done: &Invalidated, is_tags: bool) -> Option<&'static str> {
    if !done.may_match {
        return Some("no route can match: nothing is ever stored for it");
    }
    if done.matched != Some(0) {
        return None;
    }
    Some(if is_tags {
        "unknown tag: no response in this instance's memory carries it"
    } else {
        "no response in this instance's memory matched"
    })
}

/// `POST /cache/clear`
pub(super) async fn clear(
    State(control): State<Arc<Control>>,
    Parameters(query): Parameters<TierQuery>,
) -> Result<Json<ClearedDocument>, Problem> {
    let tier = query.tier()?;
    control.operations.clear(tier).await?;
    tracing::info!(tier = tier.as_str(), "cleared by an operator");
    Ok(Json(ClearedDocument {
        cleared: tier.as_str().to_owned(),
    }))
}

/// `POST /cache/reset-stats`
pub(super) async fn reset_stats(State(control): State<Arc<Control>>) -> Json<ResetDocument> {
    control.telemetry.reset_cache_stats();
    Json(ResetDocument {
        reset: "cache".to_owned(),
        timestamp: rfc3339::text(control.telemetry.now()),
    })
}

/// `GET /queues`
pub(super) async fn queues(State(control): State<Arc<Control>>) -> Json<QueuesDocument> {
    Json(queues_document(&control))
}

/// What is in flight or waits.
pub(super) fn queues_document(control: &Control) -> QueuesDocument {
    let bounds = control.operations.bounds();
    let counters = control.telemetry.redis();
    QueuesDocument {
        requests: queue(&control.telemetry.requests().figures()),
        upstream: queue(&control.telemetry.upstream().exchanges.figures()),
        write_behind: bounds.redis.map(|bounds| WriteBehindQueue {
            length: counters.queue_length.get(),
            length_max: bounds.queue_max,
            bytes: counters.queue_bytes.get(),
            bytes_max: bounds.queue_bytes_max,
            dropped: control.telemetry.redis_counts().stores_dropped,
        }),
    }
}

fn queue(figures: &GateFigures) -> RequestQueue {
    RequestQueue {
        in_flight: figures.taken,
        in_flight_max: figures.bounds.permits_max,
        waiting: figures.waiting,
        waiting_max: figures.bounds.queue_max,
        timeout_ms: rounded(milliseconds(figures.bounds.queue_timeout)),
        queued: figures.queued,
        refused_full: figures.refused_full,
        refused_late: figures.refused_late,
    }
}
