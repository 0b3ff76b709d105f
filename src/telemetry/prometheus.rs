//! `/metrics`: the figures in Prometheus' text format.
//!
//! A collector over this crate's own atomics. The crate's label vectors are
//! not used: they find a series by a hash of its label values without a
//! separator, so that two series can be taken for one.
//!
//! Every label value comes from a finite set: routes from the configuration,
//! methods and codes from [`super::labels`], the rest from enums.

use std::sync::Arc;
use std::time::Duration;

use ::prometheus::core::{Collector, Desc};
use ::prometheus::proto::MetricFamily;
use ::prometheus::{Registry, TextEncoder};

use super::Telemetry;
use super::counters::RedisCounters;
use super::families::{self, FAMILIES};
use super::histogram::DurationHistogram;
use super::page::{Family, Page, distribution, float, value};
use super::process::ProcessFigures;
use super::route::RouteTelemetry;
use super::upstream::UpstreamCounters;
use crate::semantics::outcome::CacheResult;

/// The `Content-Type` of what [`Exporter::render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes the page Prometheus reads.
pub struct Exporter {
    registry: Registry,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporter {
    /// Exports everything `telemetry` counts.
    ///
    /// # Errors
    /// Where the names of this module contradict each other; a test holds that
    /// they do not.
    pub fn new(telemetry: Arc<Telemetry>) -> Result<Self, ::prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(TelemetryCollector::new(telemetry)?))?;
        Ok(Self { registry })
    }

    /// Adds the figures of another module.
    ///
    /// # Errors
    /// Where one of its names is taken.
    pub fn register(&self, collector: Box<dyn Collector>) -> Result<(), ::prometheus::Error> {
        self.registry.register(collector)
    }

    /// The page.
    ///
    /// # Errors
    /// Where a collector gives a family without metrics or name.
    pub fn render(&self) -> Result<String, ::prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

struct TelemetryCollector {
    telemetry: Arc<Telemetry>,
    descriptions: Vec<Desc>,
}

impl TelemetryCollector {
    fn new(telemetry: Arc<Telemetry>) -> Result<Self, ::prometheus::Error> {
        let descriptions = FAMILIES.into_iter().map(Family::described);
        let descriptions = descriptions.collect::<Result<_, _>>()?;
        Ok(Self {
            telemetry,
            descriptions,
        })
    }
}

impl Collector for TelemetryCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut page = Page::default();
        let routes = self.telemetry.routes();
        requests(&mut page, &routes, self.telemetry.unrouted());
        page.value(&families::BODY_BYTES, self.telemetry.totals().bytes);
        let failed = self.telemetry.connections_failed().get();
        page.value(&families::CONNECTIONS_FAILED, failed);
        let failed = self.telemetry.handshakes_failed().get();
        page.value(&families::HANDSHAKES_FAILED, failed);
        let failed = self.telemetry.tls_reloads_failed().get();
        page.value(&families::TLS_RELOADS_FAILED, failed);
        let refused = self.telemetry.proxy_headers_refused().get();
        page.value(&families::PROXY_HEADERS_REFUSED, refused);
        queues(&mut page, &self.telemetry);
        caches(&mut page, &routes);
        upstream(&mut page, self.telemetry.upstream());
        exchanges(&mut page, &routes, &self.telemetry);
        redis(&mut page, self.telemetry.redis());
        let version = &[env!("CARGO_PKG_VERSION")];
        page.family(
            &families::BUILD,
            vec![value(&families::BUILD, version, 1.0)],
        );
        page.value(&families::ACCESS_DROPPED, self.telemetry.access().dropped());
        if let Some(spans) = self.telemetry.spans().figures() {
            let outcome = |name, count| value(&families::SPANS, &[name], float(count));
            page.family(
                &families::SPANS,
                vec![
                    outcome("exported", spans.exported),
                    outcome("dropped", spans.dropped),
                    outcome("failed", spans.failed),
                ],
            );
        }
        if let Some(figures) = ProcessFigures::read() {
            process(&mut page, &figures);
        }
        // One without samples yet has nothing to say.
        page.0.retain(|family| !family.get_metric().is_empty());
        page.0
    }
}

fn requests(page: &mut Page, routes: &[Arc<RouteTelemetry>], unrouted: &Arc<RouteTelemetry>) {
    let mut counts = Vec::new();
    let mut durations = Vec::new();
    let mut upstream = Vec::new();
    for route in routes.iter().chain([unrouted]) {
        for request in route.requests() {
            let labels = [
                route.name(),
                request.method.as_str(),
                &request.status,
                request.cache.label(),
            ];
            counts.push(value(&families::REQUESTS, &labels, float(request.count)));
        }
        for cache in CacheResult::ALL {
            let labels = [route.name(), cache.label()];
            let snapshot = route.durations(cache).snapshot();
            durations.extend(distribution(
                &families::REQUEST_DURATION,
                &labels,
                &snapshot,
            ));
        }
        let snapshot = route.upstream().snapshot();
        upstream.extend(distribution(
            &families::UPSTREAM_DURATION,
            &[route.name()],
            &snapshot,
        ));
    }
    page.family(&families::REQUESTS, counts);
    page.family(&families::REQUEST_DURATION, durations);
    page.family(&families::UPSTREAM_DURATION, upstream);
}

fn caches(page: &mut Page, routes: &[Arc<RouteTelemetry>]) {
    let mut per_route = |family: &Family, figure: fn(&RouteTelemetry) -> u64| {
        let metrics = routes
            .iter()
            .map(|route| value(family, &[route.name()], float(figure(route))))
            .collect();
        page.family(family, metrics);
    };
    per_route(&families::CACHE_ENTRIES, |route| {
        route.counters().entries.get()
    });
    per_route(&families::CACHE_BYTES, |route| route.counters().bytes.get());
    per_route(&families::CACHE_SETS, |route| route.counters().sets.get());
    per_route(&families::CACHE_EVICTIONS, |route| {
        route.counters().evictions.get()
    });
    per_route(&families::CACHE_EVICTIONS_EARLY, |route| {
        route.counters().evictions_early.get()
    });
    per_route(&families::CACHE_EXPIRATIONS, |route| {
        route.counters().expirations.get()
    });
    per_route(&families::CACHE_INVALIDATIONS, |route| {
        route.counters().invalidations.get()
    });
    per_route(&families::CACHE_HIT_BYTES, |route| {
        route.counters().hit_bytes.get()
    });
    per_route(&families::CACHE_BODY_BYTES, |route| {
        route.counters().body_bytes.get()
    });
    let saved = routes.iter().map(|route| {
        let saved = Duration::from_micros(route.counters().saved_micros.get());
        value(&families::CACHE_SAVED, &[route.name()], saved.as_secs_f64())
    });
    page.family(&families::CACHE_SAVED, saved.collect());
    let mut refusals = Vec::new();
    for route in routes {
        for (reason, count) in route.counters().refusals.counts() {
            let labels = [route.name(), reason];
            refusals.push(value(&families::REFUSALS, &labels, float(count)));
        }
    }
    page.family(&families::REFUSALS, refusals);
}

fn queues(page: &mut Page, telemetry: &Telemetry) {
    let gates = [
        ("requests", telemetry.requests().figures()),
        ("upstream", telemetry.upstream().exchanges.figures()),
    ];
    page.value(&families::INFLIGHT, gates[0].1.taken);
    let waiting =
        gates.map(|(queue, figures)| value(&families::WAITING, &[queue], float(figures.waiting)));
    page.family(&families::WAITING, waiting.into());
    let mut refused = Vec::new();
    for (queue, figures) in gates {
        let reasons = [
            ("queue-full", figures.refused_full),
            ("timed-out", figures.refused_late),
        ];
        for (reason, count) in reasons {
            refused.push(value(&families::REFUSED, &[queue, reason], float(count)));
        }
    }
    page.family(&families::REFUSED, refused);
}

fn upstream(page: &mut Page, upstream: &UpstreamCounters) {
    page.value(
        &families::UPSTREAM_INFLIGHT,
        upstream.exchanges.figures().taken,
    );
    page.value(&families::UPSTREAM_CONNECTIONS, upstream.open.get());
    page.value(&families::UPSTREAM_OPENED, upstream.opened.get());
    page.value(&families::UPSTREAM_RETRIES, upstream.retries.get());
    let waiting = upstream.restart_waits.figures().taken;
    page.value(&families::UPSTREAM_WAITING, waiting);
    page.value(&families::UPSTREAM_WAITED, upstream.restart_waited.get());
    page.value(&families::UPSTREAM_BODY_BYTES, upstream.body_bytes.get());
    let errors = upstream.errors.counts();
    let errors = errors
        .into_iter()
        .map(|(kind, count)| value(&families::UPSTREAM_ERRORS, &[kind], float(count)));
    page.family(&families::UPSTREAM_ERRORS, errors.collect());
}

fn exchanges(page: &mut Page, routes: &[Arc<RouteTelemetry>], telemetry: &Telemetry) {
    let mut responses = Vec::new();
    let mut stale = Vec::new();
    let now = telemetry.now();
    for route in routes.iter().chain([telemetry.unrouted()]) {
        for (status, count) in route.exchanges().counts() {
            let labels = [route.name(), &status];
            responses.push(value(&families::UPSTREAM_RESPONSES, &labels, float(count)));
        }
    }
    for route in routes {
        let since = route.exchanges().lives_on_stale(now);
        let seconds = since.map_or(0.0, |(since, _)| now.since(since).as_secs_f64());
        stale.push(value(&families::STALE_ON_ERROR, &[route.name()], seconds));
    }
    page.family(&families::UPSTREAM_RESPONSES, responses);
    page.family(&families::STALE_ON_ERROR, stale);
    if let Some(check) = telemetry.upstream().check.last() {
        page.value(&families::UPSTREAM_CHECK, u64::from(check.failures == 0));
    }
}

fn redis(page: &mut Page, counters: &RedisCounters) {
    page.value(&families::REDIS_UP, counters.up.get());
    // Corrupt records are counted as misses too; here each outcome stands alone.
    let corrupt = counters.corrupt.get();
    let operations = [
        ("lookup", "hit", counters.hits.get()),
        (
            "lookup",
            "miss",
            counters.misses.get().saturating_sub(corrupt),
        ),
        ("lookup", "corrupt", corrupt),
        ("lookup", "timeout", counters.timeouts.get()),
        ("lookup", "skipped", counters.skipped.get()),
        ("lookup", "error", counters.errors.get()),
        ("store", "ok", counters.stores.get()),
        ("store", "dropped", counters.stores_dropped.get()),
        ("store", "error", counters.stores_failed.get()),
        ("append", "ok", counters.log.appends.get()),
        ("append", "error", counters.log.append_retries.get()),
        ("append", "folded", counters.log.appends_folded.get()),
    ];
    page.family(
        &families::REDIS_OPERATIONS,
        operations
            .into_iter()
            .map(|(operation, outcome, count)| {
                let labels = [operation, outcome];
                value(&families::REDIS_OPERATIONS, &labels, float(count))
            })
            .collect(),
    );
    let timed: [(&str, &DurationHistogram); 3] = [
        ("lookup", &counters.lookup_durations),
        ("store", &counters.store_durations),
        ("append", &counters.log.append_durations),
    ];
    let durations = timed.into_iter().filter_map(|(operation, durations)| {
        distribution(
            &families::REDIS_DURATION,
            &[operation],
            &durations.snapshot(),
        )
    });
    page.family(&families::REDIS_DURATION, durations.collect());
    page.value(&families::REDIS_QUEUE, counters.queue_length.get());
    page.value(&families::REDIS_QUEUE_BYTES, counters.queue_bytes.get());
    page.value(&families::REDIS_CONNECTS, counters.connects.get());
    page.value(&families::REDIS_BREAKER, counters.breaker_opened.get());
    page.value(
        &families::REDIS_STORES_REFUSED,
        counters.stores_refused.get(),
    );
}

fn process(page: &mut Page, figures: &ProcessFigures) {
    page.float(&families::PROCESS_CPU, figures.cpu_seconds);
    page.value(&families::PROCESS_OPEN_FDS, figures.open_files);
    if let Some(open_files_max) = figures.open_files_max {
        page.value(&families::PROCESS_MAX_FDS, open_files_max);
    }
    page.value(&families::PROCESS_VIRTUAL, figures.virtual_bytes);
    page.value(&families::PROCESS_RESIDENT, figures.resident_bytes);
    page.float(&families::PROCESS_START, figures.start_seconds);
    page.value(&families::PROCESS_THREADS, figures.threads);
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};

    use super::*;
    use crate::clock::Clock;
    use crate::telemetry::ResponseServed;
    use crate::telemetry::exchanges::Exchanged;
    use crate::telemetry::upstream::ExchangeFailed;

    fn page(telemetry: &Arc<Telemetry>) -> String {
        let exporter = Exporter::new(Arc::clone(telemetry)).unwrap();
        exporter.render().unwrap()
    }

    fn serve(telemetry: &Telemetry, route: Option<&RouteTelemetry>, cache: CacheResult) {
        telemetry.served(&ResponseServed {
            at: telemetry.now(),
            route,
            method: &Method::GET,
            path: "/x",
            status: StatusCode::OK,
            cache,
            elapsed: Duration::from_micros(40),
            upstream: (cache == CacheResult::Miss).then_some(Duration::from_millis(3)),
            body_bytes: None,
            saved: None,
            client: None,
            span: None,
        });
    }

    #[test]
    fn what_was_served_is_on_the_page() {
        let telemetry = Arc::new(Telemetry::new(Clock::System));
        let route = telemetry.route("a\"b", "/x");
        serve(&telemetry, Some(&route), CacheResult::Miss);
        serve(&telemetry, Some(&route), CacheResult::Hit);
        serve(&telemetry, None, CacheResult::Bypass);
        route.counters().entries.set(7);
        route.counters().refusals.increment("no-store");
        route.counters().saved_micros.add(1_500_000);
        let took = Duration::from_millis(3);
        for answer in [Some((StatusCode::OK, took)), None] {
            telemetry.exchanged(&Exchanged {
                route: Some(&route),
                method: &Method::GET,
                at: telemetry.now(),
                answer,
            });
        }
        telemetry.upstream().failed(&ExchangeFailed {
            kind: "connect",
            cause: "connection refused",
            upstream: "127.0.0.1:3000",
            error: &"refused",
        });
        telemetry.redis().misses.add(3);
        telemetry.redis().corrupt.increment();
        let page = page(&telemetry);
        for line in [
            r#"pannier_requests_total{route="a\"b",method="GET",status="200",cache="hit"} 1"#,
            r#"pannier_requests_total{route="",method="GET",status="200",cache="bypass"} 1"#,
            r#"pannier_request_duration_seconds_bucket{route="a\"b",cache="hit",le="0.00005"} 1"#,
            r#"pannier_request_duration_seconds_bucket{route="a\"b",cache="hit",le="0.000025"} 0"#,
            r#"pannier_request_duration_seconds_count{route="a\"b",cache="hit"} 1"#,
            r#"pannier_upstream_duration_seconds_sum{route="a\"b"} 0.003"#,
            r#"pannier_cache_entries{route="a\"b"} 7"#,
            r#"pannier_redis_operations_total{operation="lookup",outcome="miss"} 2"#,
            r#"pannier_redis_operations_total{operation="lookup",outcome="corrupt"} 1"#,
            r#"pannier_refusals_total{route="a\"b",reason="no-store"} 1"#,
            r#"pannier_cache_saved_seconds_total{route="a\"b"} 1.5"#,
            r#"pannier_upstream_errors_total{kind="connect"} 1"#,
            r#"pannier_upstream_responses_total{route="a\"b",status="200"} 1"#,
            r#"pannier_upstream_responses_total{route="a\"b",status="none"} 1"#,
            r#"pannier_stale_on_error_seconds{route="a\"b"} 0"#,
            r#"pannier_overload_refusals_total{queue="upstream",reason="queue-full"} 0"#,
            "pannier_redis_up 0",
            "pannier_inflight_requests 0",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}\n{page}");
        }
        assert!(page.contains("process_resident_memory_bytes "));
        assert!(!page.contains("pannier_cache_entries{route=\"\"}"));
    }

    #[test]
    fn neighbouring_label_values_do_not_share_a_series() {
        let telemetry = Arc::new(Telemetry::new(Clock::System));
        for name in ["ab", "a"] {
            let route = telemetry.route(name, &format!("/{name}"));
            serve(&telemetry, Some(&route), CacheResult::Hit);
        }
        let page = page(&telemetry);
        for name in ["ab", "a"] {
            let series = format!(
                "pannier_requests_total{{route=\"{name}\",method=\"GET\",status=\"200\",cache=\"hit\"}} 1"
            );
            assert!(page.contains(&series), "{page}");
        }
    }

    #[test]
    fn a_second_scrape_never_sees_a_smaller_counter_after_a_reset() {
        let telemetry = Arc::new(Telemetry::new(Clock::System));
        let route = telemetry.route("a", "/a");
        serve(&telemetry, Some(&route), CacheResult::Hit);
        telemetry.reset_cache_stats();
        telemetry.endpoints().reset();
        let series =
            "pannier_requests_total{route=\"a\",method=\"GET\",status=\"200\",cache=\"hit\"} 1";
        assert!(page(&telemetry).contains(series));
    }
}
