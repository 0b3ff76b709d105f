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

use crate::clock::{Clock, Timestamp};
use crate::gate::Gate;

pub mod access;
pub mod cgroup;
pub mod counters;
mod endpoint;
pub mod endpoints;
mod event;
pub mod exchanges;
mod families;
pub mod health;
mod health_origin;
#[cfg(test)]
mod health_tests;
pub mod histogram;
pub mod history;
pub mod labels;
pub mod log_counters;
pub mod logging;
mod look;
pub mod names;
pub mod origin_check;
pub mod outage;
pub mod page;
pub mod process;
pub mod prometheus;
pub mod rate;
mod redis_counts;
pub mod rfc3339;
pub mod route;
pub mod spans;
pub mod spread;
pub mod stripes;
pub mod tail;
pub mod template;
pub mod top_keys;
pub mod upstream;
pub mod warmth;

use self::access::AccessLog;
use self::counters::{Counter, RedisCounters};
use self::endpoints::Endpoints;
pub use self::event::ResponseServed;
use self::history::History;
use self::rate::Rate;
pub use self::redis_counts::RedisCounts;
pub use self::route::RouteTelemetry;
use self::spans::Spans;
use self::tail::Tail;
use self::top_keys::TopKeys;
use self::upstream::UpstreamCounters;
use self::warmth::Warmth;

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
    requests: Arc<Gate>,
    rate: Rate,
    connections_failed: Counter,
    handshakes_failed: Counter,
    tls_reloads_failed: Counter,
    proxy_headers_refused: Counter,
    upstream: Arc<UpstreamCounters>,
    top_keys: TopKeys,
    missed_keys: TopKeys,
    history: parking_lot::Mutex<History>,
    access: AccessLog,
    tail: Tail,
    spans: Spans,
    warmth: Warmth,
}

impl Telemetry {
    /// Starts counting now.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let started = clock.now();
        Self {
            history: parking_lot::Mutex::new(History::new(started, look::none())),
            started,
            clock,
            started_instant: Instant::now(),
            routes: DashMap::new(),
            unrouted: Arc::new(RouteTelemetry::unrouted()),
            endpoints: Endpoints::default(),
            redis: Arc::default(),
            redis_baseline: parking_lot::Mutex::default(),
            requests: Arc::default(),
            rate: Rate::default(),
            connections_failed: Counter::default(),
            handshakes_failed: Counter::default(),
            tls_reloads_failed: Counter::default(),
            proxy_headers_refused: Counter::default(),
            upstream: Arc::default(),
            top_keys: TopKeys::default(),
            missed_keys: TopKeys::default(),
            access: AccessLog::default(),
            tail: Tail::default(),
            spans: Spans::default(),
            warmth: Warmth::default(),
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

    /// Bounds the requests being answered, and counts them.
    #[must_use]
    pub fn requests(&self) -> &Arc<Gate> {
        &self.requests
    }

    /// Requests being answered.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.requests.figures().taken
    }

    /// Requests per second over the last minute.
    #[must_use]
    pub fn requests_per_second(&self) -> f64 {
        self.rate.per_second(self.started, self.clock.now())
    }

    /// Statistics per endpoint.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// What happens on the way to and from the origin: to write to, and as
    /// Prometheus sees it.
    #[must_use]
    pub fn upstream(&self) -> &Arc<UpstreamCounters> {
        &self.upstream
    }

    /// The keys that are asked for most.
    #[must_use]
    pub fn top_keys(&self) -> &TopKeys {
        &self.top_keys
    }

    /// The keys of routes that the origin answers most.
    #[must_use]
    pub fn missed_keys(&self) -> &TopKeys {
        &self.missed_keys
    }

    /// The access log.
    #[must_use]
    pub fn access(&self) -> &AccessLog {
        &self.access
    }

    /// Requests as they are answered, for those who watch.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Connections of clients that ended in an error.
    #[must_use]
    pub fn connections_failed(&self) -> &Counter {
        &self.connections_failed
    }

    /// TLS handshakes of clients that came to nothing.
    #[must_use]
    pub fn handshakes_failed(&self) -> &Counter {
        &self.handshakes_failed
    }

    /// Times that changed certificates could not be used.
    #[must_use]
    pub fn tls_reloads_failed(&self) -> &Counter {
        &self.tls_reloads_failed
    }

    /// Connections closed for the PROXY header they did not, or might not, begin
    /// with.
    #[must_use]
    pub fn proxy_headers_refused(&self) -> &Counter {
        &self.proxy_headers_refused
    }

    /// The spans of requests.
    #[must_use]
    pub fn spans(&self) -> &Spans {
        &self.spans
    }

    /// How far warming has come.
    #[must_use]
    pub fn warmth(&self) -> &Warmth {
        &self.warmth
    }

    /// Sets what `/performance` shows to zero. Prometheus' counters go on, and
    /// so does the history.
    pub fn reset_performance(&self) {
        let mut history = self.history.lock();
        history.advance(self.clock.now(), self.look());
        self.endpoints.reset();
        self.upstream.latencies.reset();
        history.latencies_were_reset();
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
        self.top_keys.reset();
        self.missed_keys.reset();
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

/// A duration in milliseconds, for people and JSON: whole thousandths, which
/// print with three decimals at most.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a figure, shown to people")]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::labels::MethodLabel;
    use super::*;
    use crate::clock::ManualClock;
    use crate::semantics::outcome::CacheResult;
    use http::{Method, StatusCode};

    fn telemetry() -> Telemetry {
        let start = Timestamp::from_unix_millis(1_700_000_000_000);
        Telemetry::new(Clock::Manual(ManualClock::at(start)))
    }

    fn served<'a>(route: Option<&'a RouteTelemetry>, cache: CacheResult) -> ResponseServed<'a> {
        ResponseServed {
            at: Timestamp::from_unix_millis(1_700_000_000_000),
            route,
            method: &Method::GET,
            path: "/users/7",
            status: StatusCode::OK,
            cache,
            elapsed: Duration::from_millis(2),
            upstream: None,
            body_bytes: Some(10),
            saved: cache.is_from_store().then_some(Duration::from_millis(50)),
            client: None,
            span: None,
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
        assert_eq!((counts.hit_bytes, counts.body_bytes), (30, 50));
        assert_eq!(counts.saved, Duration::from_millis(150));
        assert_eq!(telemetry.top_keys().by_hits(1)[0].hits, 3);

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
    fn milliseconds_print_with_three_decimals_at_most() {
        let odd = Duration::from_nanos(1_001_121_412);
        assert_eq!(milliseconds(odd).to_string(), "1001.121");
    }

    #[test]
    fn history_goes_on_across_resets() {
        let telemetry = telemetry();
        let route = telemetry.route("users", "/users/{id}");
        telemetry.served(&served(Some(&route), CacheResult::Hit));
        telemetry.reset_performance();
        telemetry.reset_cache_stats();
        telemetry.served(&served(Some(&route), CacheResult::Miss));
        telemetry.served(&served(None, CacheResult::Bypass));
        let minutes = telemetry.minutes(Duration::from_secs(3_600));
        assert_eq!(minutes.len(), 1);
        let counts = minutes[0].counts;
        assert_eq!((counts.requests, counts.hits, counts.misses), (3, 1, 1));
        assert_eq!(counts.bytes, 30);
        assert!(minutes[0].p95 >= Duration::from_millis(2));
        assert_eq!(telemetry.hours(Duration::from_secs(60)).1.counts, counts);
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
