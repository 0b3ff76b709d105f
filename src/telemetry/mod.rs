//! What is counted, timed and told: events in, figures out.
//!
//! Everything here is written by any thread without waiting and read by the
//! admin listener. Knows nothing of HTTP connections, stores or routing.
//!
//! One event says everything: [`Telemetry::served`] is the counter, the
//! histograms, the endpoint's statistics and the debug log at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use http::{Method, StatusCode};

use crate::clock::{Clock, Timestamp};
use crate::semantics::outcome::CacheResult;

pub mod counters;
pub mod endpoints;
mod families;
pub mod histogram;
pub mod labels;
pub mod log_counters;
pub mod logging;
pub mod process;
pub mod prometheus;
pub mod rate;
pub mod route;
pub mod template;

use self::counters::{Counter, Gauge, RedisCounters};
use self::endpoints::{Endpoints, Sample};
use self::histogram::Latencies;
use self::labels::MethodLabel;
use self::rate::Rate;
pub use self::route::RouteTelemetry;

/// All figures of the process. Shared by `Arc`; lives as long as the process,
/// across reloads.
#[derive(Debug)]
pub struct Telemetry {
    clock: Clock,
    started: Timestamp,
    started_instant: Instant,
    routes: DashMap<Arc<str>, Arc<RouteTelemetry>>,
    unrouted: Arc<RouteTelemetry>,
    endpoints: Endpoints,
    redis: Arc<RedisCounters>,
    redis_baseline: parking_lot::Mutex<RedisCounts>,
    in_flight: Arc<Gauge>,
    rate: Rate,
    body_bytes: Counter,
    upstream: Latencies,
}

/// A response whose head was just written.
#[derive(Clone, Copy, Debug)]
pub struct ResponseServed<'a> {
    /// The request's route.
    pub route: Option<&'a RouteTelemetry>,
    /// Its method.
    pub method: &'a Method,
    /// Its path, without the query: a query may hold what is not for logs.
    pub path: &'a str,
    /// The answer's status.
    pub status: StatusCode,
    /// How the cache answered.
    pub cache: CacheResult,
    /// From request head read to response head written.
    pub elapsed: Duration,
    /// From request sent to the origin's response head, where it was asked.
    pub upstream: Option<Duration>,
    /// Length of the answer's body where it is known by now.
    pub body_bytes: Option<u64>,
}

/// A request in flight, until dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Gauge>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.subtract(1);
    }
}

/// What happened with Redis since the last reset: the figures that
/// `/cache/stats` shows and resets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisCounts {
    /// Lookups that found a usable record.
    pub hits: u64,
    /// Lookups that found none.
    pub misses: u64,
    /// Lookups that took longer than the budget.
    pub timeouts: u64,
    /// Lookups not made.
    pub skipped: u64,
    /// Lookups that failed otherwise.
    pub errors: u64,
    /// Records that did not decode.
    pub corrupt: u64,
    /// Records written.
    pub stores: u64,
    /// Records dropped because the queue was full.
    pub stores_dropped: u64,
    /// Records whose write failed.
    pub stores_failed: u64,
    /// Connections made.
    pub connects: u64,
    /// Times the breaker opened.
    pub breaker_opened: u64,
}

impl RedisCounts {
    /// The figures of `counters`, less those of `earlier`.
    fn of(counters: &RedisCounters, earlier: &Self) -> Self {
        let since = |counter: &Counter, earlier: u64| counter.get().saturating_sub(earlier);
        Self {
            hits: since(&counters.hits, earlier.hits),
            misses: since(&counters.misses, earlier.misses),
            timeouts: since(&counters.timeouts, earlier.timeouts),
            skipped: since(&counters.skipped, earlier.skipped),
            errors: since(&counters.errors, earlier.errors),
            corrupt: since(&counters.corrupt, earlier.corrupt),
            stores: since(&counters.stores, earlier.stores),
            stores_dropped: since(&counters.stores_dropped, earlier.stores_dropped),
            stores_failed: since(&counters.stores_failed, earlier.stores_failed),
            connects: since(&counters.connects, earlier.connects),
            breaker_opened: since(&counters.breaker_opened, earlier.breaker_opened),
        }
    }
}

impl Telemetry {
    /// Starts counting now.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self {
            started: clock.now(),
            clock,
            started_instant: Instant::now(),
            routes: DashMap::new(),
            unrouted: Arc::new(RouteTelemetry::unrouted()),
            endpoints: Endpoints::default(),
            redis: Arc::default(),
            redis_baseline: parking_lot::Mutex::default(),
            in_flight: Arc::default(),
            rate: Rate::default(),
            body_bytes: Counter::default(),
            upstream: Latencies::default(),
        }
    }

    /// The counters of a route, made at the first call and the same ever
    /// after, across reloads; also where the route has moved to another path.
    /// For start and reload: the route keeps the handle.
    #[must_use]
    pub fn route(&self, name: &str, template: &str) -> Arc<RouteTelemetry> {
        self.endpoints.keep_for_route(template);
        let mut known = self
            .routes
            .entry(name.into())
            .or_insert_with(|| Arc::new(RouteTelemetry::routed(name, template)));
        if known.template() != Some(template) {
            *known = Arc::new(known.moved_to(template));
        }
        Arc::clone(&known)
    }

    /// The counters of requests without a route; their `route` label is empty.
    #[must_use]
    pub fn unrouted(&self) -> &Arc<RouteTelemetry> {
        &self.unrouted
    }

    /// Every route there ever was, by name, without the unrouted.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<RouteTelemetry>> {
        let mut routes: Vec<_> = self
            .routes
            .iter()
            .map(|route| Arc::clone(route.value()))
            .collect();
        routes.sort_by(|left, right| left.name().cmp(right.name()));
        routes
    }

    /// The counters of a route that is or was configured.
    #[must_use]
    pub fn known_route(&self, name: &str) -> Option<Arc<RouteTelemetry>> {
        self.routes.get(name).map(|route| Arc::clone(&route))
    }

    /// Counts a response: the counters, the histograms, the endpoint's
    /// statistics, and the debug log.
    pub fn served(&self, event: &ResponseServed<'_>) {
        let now = self.clock.now();
        let route = event.route.unwrap_or(&self.unrouted);
        let method = MethodLabel::from(event.method);
        route.count(
            method,
            event.status,
            event.cache,
            event.elapsed,
            event.upstream,
        );
        let sample = Sample {
            at: now,
            cache: event.cache,
            is_error: event.status.is_server_error(),
            elapsed: event.elapsed,
            upstream: event.upstream,
        };
        match route.endpoint(method, &self.endpoints) {
            Some(endpoint) => endpoint.record(&sample),
            None => self
                .endpoints
                .resolve(method, &template::of_path(event.path))
                .record(&sample),
        }
        self.rate.record(now);
        if let Some(upstream) = event.upstream {
            self.upstream.record(upstream);
        }
        if let Some(bytes) = event.body_bytes {
            self.body_bytes.add(bytes);
        }
        tracing::debug!(
            target: "pannier::served",
            route = route.name(),
            method = event.method.as_str(),
            path = event.path,
            status = event.status.as_u16(),
            cache = event.cache.as_str(),
            elapsed_ms = milliseconds(event.elapsed),
            upstream_ms = event.upstream.map(milliseconds),
            body_bytes = event.body_bytes,
            "served"
        );
    }

    /// Counts a request as in flight until the guard is dropped.
    #[must_use]
    pub fn enter(&self) -> InFlight {
        self.in_flight.add(1);
        InFlight(Arc::clone(&self.in_flight))
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight.get()
    }

    /// Requests per second over the last minute.
    #[must_use]
    pub fn requests_per_second(&self) -> f64 {
        self.rate.per_second(self.started, self.clock.now())
    }

    /// Bytes of response bodies whose length was known when they began.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes.get()
    }

    /// Statistics per endpoint.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// What the origin took, over all endpoints, since the last reset.
    #[must_use]
    pub fn upstream(&self) -> &Latencies {
        &self.upstream
    }

    /// Sets what `/performance` shows to zero. Prometheus' counters go on.
    pub fn reset_performance(&self) {
        self.endpoints.reset();
        self.upstream.reset();
    }

    /// What happens on the way to and from Redis: to write to, and as
    /// Prometheus sees it.
    #[must_use]
    pub fn redis(&self) -> &Arc<RedisCounters> {
        &self.redis
    }

    /// What happened with Redis since the last reset.
    #[must_use]
    pub fn redis_counts(&self) -> RedisCounts {
        RedisCounts::of(&self.redis, &self.redis_baseline.lock())
    }

    /// Sets what `/cache/stats` shows to zero. Prometheus' counters go on.
    pub fn reset_cache_stats(&self) {
        for route in self.routes() {
            route.reset_cache_counts();
        }
        *self.redis_baseline.lock() = RedisCounts::of(&self.redis, &RedisCounts::default());
    }

    /// When counting began.
    #[must_use]
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// How long ago counting began.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started_instant.elapsed()
    }

    /// The present moment, on the clock everything here is stamped with.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// A duration in milliseconds, for people and JSON.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn telemetry() -> Telemetry {
        let start = Timestamp::from_unix_millis(1_700_000_000_000);
        Telemetry::new(Clock::Manual(ManualClock::at(start)))
    }

    fn served<'a>(route: Option<&'a RouteTelemetry>, cache: CacheResult) -> ResponseServed<'a> {
        ResponseServed {
            route,
            method: &Method::GET,
            path: "/users/7",
            status: StatusCode::OK,
            cache,
            elapsed: Duration::from_millis(2),
            upstream: None,
            body_bytes: Some(10),
        }
    }

    #[test]
    fn one_event_is_counted_everywhere() {
        let telemetry = telemetry();
        let route = telemetry.route("users", "/users/{id}");
        for cache in CacheResult::ALL {
            telemetry.served(&served(Some(&route), cache));
        }
        telemetry.served(&served(None, CacheResult::Bypass));

        let counts = route.cache_counts();
        assert_eq!((counts.hits, counts.misses), (3, 1));
        assert_eq!(route.requests().len(), 5);
        assert_eq!(route.durations(CacheResult::Hit).snapshot().count, 1);
        assert_eq!(telemetry.unrouted().requests()[0].count, 1);
        assert_eq!(telemetry.unrouted().counters().hits.get(), 0);
        assert_eq!(telemetry.body_bytes(), 60);

        // Both share a template, so they are one endpoint.
        let endpoint = telemetry
            .endpoints()
            .figures_of(MethodLabel::Get, "/users/{id}")
            .unwrap();
        assert_eq!(endpoint.count, 6);
        assert_eq!(endpoint.last_request, Some(telemetry.now()));
    }

    #[test]
    fn a_reset_shows_zero_and_leaves_the_counters() {
        let telemetry = telemetry();
        let route = telemetry.route("users", "/users/{id}");
        telemetry.served(&served(Some(&route), CacheResult::Hit));
        telemetry.redis().hits.add(4);
        telemetry.reset_cache_stats();
        assert_eq!(route.cache_counts(), route::CacheCounts::default());
        assert_eq!(telemetry.redis_counts(), RedisCounts::default());
        telemetry.served(&served(Some(&route), CacheResult::Hit));
        telemetry.redis().hits.increment();
        assert_eq!(route.cache_counts().hits, 1);
        assert_eq!(telemetry.redis_counts().hits, 1);
        assert_eq!(route.counters().hits.get(), 2);
        telemetry.reset_cache_stats();
        assert_eq!(telemetry.redis_counts().hits, 0);
    }

    #[test]
    fn a_route_counts_on_across_reloads_and_moves() {
        let telemetry = telemetry();
        let before = telemetry.route("users", "/users/{id}");
        telemetry.served(&served(Some(&before), CacheResult::Hit));
        assert!(Arc::ptr_eq(
            &before,
            &telemetry.route("users", "/users/{id}")
        ));
        let moved = telemetry.route("users", "/people/{id}");
        telemetry.served(&served(Some(&moved), CacheResult::Hit));
        assert_eq!(moved.cache_counts().hits, 2);
        assert_eq!(telemetry.routes().len(), 1);
        let people = telemetry
            .endpoints()
            .figures_of(MethodLabel::Get, "/people/{id}");
        assert_eq!(people.unwrap().count, 1);
    }

    #[test]
    fn a_request_is_in_flight_until_its_guard_is_dropped() {
        let telemetry = telemetry();
        let first = telemetry.enter();
        let second = telemetry.enter();
        assert_eq!(telemetry.in_flight(), 2);
        drop((first, second));
        assert_eq!(telemetry.in_flight(), 0);
    }

    #[test]
    fn counts_are_exact_under_four_threads() {
        let telemetry = telemetry();
        let route = telemetry.route("users", "/users/{id}");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        telemetry.served(&served(Some(&route), CacheResult::Hit));
                    }
                });
            }
        });
        assert_eq!(route.requests()[0].count, 20_000);
        assert_eq!(route.cache_counts().hits, 20_000);
        assert_eq!(route.durations(CacheResult::Hit).snapshot().count, 20_000);
    }
}
