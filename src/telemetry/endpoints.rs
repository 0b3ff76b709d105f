//! Statistics per endpoint: a method and a path template.
//!
//! Promises: recording takes no lock that two requests wait on and costs tens
//! of nanoseconds; at most [`ENDPOINTS_MAX`] endpoints are kept, the rest
//! count as one named `other`. Knows nothing of routes: whoever has one keeps
//! its handles.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use dashmap::DashMap;

pub use super::endpoint::{CLASSES, Endpoint, EndpointFigures, Sample};
use super::labels::MethodLabel;
use super::spread::Spread;

/// Endpoints kept; requests of further ones count as [`OTHER`].
pub const ENDPOINTS_MAX: usize = 1_000;

/// Endpoints of routes whose figures every thread writes apart: the first so
/// many. One takes up to 130 KiB so, and 14 KiB otherwise, which is 30 MiB for
/// all endpoints at the most.
const WIDE_MAX: usize = 128;

/// The template of the endpoint that stands for all not kept.
pub const OTHER: &str = "other";

/// The endpoints of one template, made as their methods are first seen.
#[derive(Debug)]
struct Template {
    name: Arc<str>,
    /// Whether a route has this template. Others are forgotten at a reset.
    is_route: bool,
    methods: [OnceLock<Arc<Endpoint>>; MethodLabel::ALL.len()],
}

impl Template {
    fn new(name: Arc<str>) -> Self {
        Self {
            name,
            is_route: false,
            methods: Default::default(),
        }
    }

    fn made(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.methods.iter().filter_map(OnceLock::get)
    }
}

/// All endpoints of the process.
#[derive(Debug)]
pub struct Endpoints {
    templates: DashMap<Arc<str>, Template>,
    /// Endpoints made or being made; never above `endpoints_max`.
    taken: AtomicUsize,
    endpoints_max: usize,
    /// How many of them are wide; never above [`WIDE_MAX`].
    wide: AtomicUsize,
    other: Arc<Endpoint>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self::with_bound(ENDPOINTS_MAX)
    }
}

impl Endpoints {
    /// Keeps at most `endpoints_max` endpoints.
    #[must_use]
    pub fn with_bound(endpoints_max: usize) -> Self {
        Self {
            templates: DashMap::new(),
            taken: AtomicUsize::new(0),
            endpoints_max,
            wide: AtomicUsize::new(0),
            other: Arc::new(Endpoint::new(MethodLabel::Other, OTHER.into(), false)),
        }
    }

    /// Counts a request for the endpoint that stands for all not kept.
    pub(super) fn record_other(&self, sample: &Sample) {
        self.other.record(sample);
    }

    /// Marks a template as that of a route: its endpoints outlive a reset, so
    /// that handles kept by the route stay those that are shown. Its GET
    /// endpoint gets its place now, before paths without a route take them all.
    pub fn keep_for_route(&self, template: &str) {
        let name: Arc<str> = template.into();
        let mut known = self
            .templates
            .entry(Arc::clone(&name))
            .or_insert_with(|| Template::new(name));
        known.is_route = true;
        drop(self.endpoint_of(&known, MethodLabel::Get));
    }

    /// The endpoint of a method and a template, made if there is room, else
    /// the one for all others. A route keeps what it gets: the same handle
    /// serves every further request of the two.
    #[must_use]
    pub fn resolve(&self, method: MethodLabel, template: &str) -> Arc<Endpoint> {
        // The shard's guard is held until the endpoint stands, so that a reset
        // cannot take the template away meanwhile. Readers share it.
        if let Some(known) = self.templates.get(template) {
            return self.endpoint_of(&known, method);
        }
        let is_full = self.taken.load(Ordering::Relaxed) >= self.endpoints_max;
        if is_full {
            return Arc::clone(&self.other);
        }
        let name: Arc<str> = template.into();
        let known = self
            .templates
            .entry(Arc::clone(&name))
            .or_insert_with(|| Template::new(name));
        self.endpoint_of(&known, method)
    }

    fn endpoint_of(&self, template: &Template, method: MethodLabel) -> Arc<Endpoint> {
        let slot = &template.methods[method.index()];
        if let Some(endpoint) = slot.get() {
            return Arc::clone(endpoint);
        }
        if !take_place(&self.taken, self.endpoints_max) {
            return Arc::clone(&self.other);
        }
        let mut is_ours = false;
        let endpoint = slot.get_or_init(|| {
            is_ours = true;
            let name = Arc::clone(&template.name);
            let is_wide = template.is_route && take_place(&self.wide, WIDE_MAX);
            Arc::new(Endpoint::new(method, name, is_wide))
        });
        if !is_ours {
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
        Arc::clone(endpoint)
    }

    /// The figures of every endpoint that counted a request, by template and
    /// method, `other` last.
    #[must_use]
    pub fn figures(&self) -> Vec<EndpointFigures> {
        let mut counted: Vec<Arc<Endpoint>> = Vec::new();
        for template in &self.templates {
            let made = template.made().filter(|endpoint| endpoint.count() > 0);
            counted.extend(made.cloned());
        }
        counted.sort_by(|left, right| {
            (&left.template, left.method).cmp(&(&right.template, right.method))
        });
        if self.other.count() > 0 {
            counted.push(Arc::clone(&self.other));
        }
        counted.iter().map(|endpoint| endpoint.figures()).collect()
    }

    /// Requests since the last reset, and those of them answered with 5xx.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        let mut totals = (self.other.count(), self.other.errors());
        for template in &self.templates {
            for endpoint in template.made() {
                totals.0 += endpoint.count();
                totals.1 += endpoint.errors();
            }
        }
        totals
    }

    /// How the latencies of all endpoints spread since the last reset.
    #[must_use]
    pub fn spread(&self) -> Spread {
        let mut all = self.other.latencies.spread();
        for template in &self.templates {
            for endpoint in template.made() {
                all.add(&endpoint.latencies.spread());
            }
        }
        all
    }

    /// The figures of one endpoint, if it counted a request.
    #[must_use]
    pub fn figures_of(&self, method: MethodLabel, template: &str) -> Option<EndpointFigures> {
        let is_other = method == MethodLabel::Other && template == OTHER;
        let endpoint = if is_other {
            Arc::clone(&self.other)
        } else {
            let known = self.templates.get(template)?;
            Arc::clone(known.methods[method.index()].get()?)
        };
        (endpoint.count() > 0).then(|| endpoint.figures())
    }

    /// Sets routes' endpoints to zero and forgets those of paths without a
    /// route: a scan that took all places is over with it. Prometheus'
    /// counters are others and stay.
    pub fn reset(&self) {
        self.templates.retain(|_, template| {
            if template.is_route {
                template.made().for_each(|endpoint| endpoint.reset());
            } else {
                self.taken
                    .fetch_sub(template.made().count(), Ordering::Relaxed);
            }
            template.is_route
        });
        self.other.reset();
    }
}

fn take_place(taken: &AtomicUsize, max: usize) -> bool {
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            (taken < max).then_some(taken + 1)
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::semantics::outcome::CacheResult;

    fn sample(millis: u64, cache: CacheResult) -> Sample {
        Sample {
            at: Timestamp::from_unix_millis(1_000),
            cache,
            status: http::StatusCode::OK,
            elapsed: Duration::from_millis(millis),
            upstream: None,
        }
    }

    #[test]
    fn the_one_thousand_and_first_endpoint_is_other() {
        let endpoints = Endpoints::default();
        for number in 0..ENDPOINTS_MAX + 5 {
            endpoints
                .resolve(MethodLabel::Get, &format!("/page-{number}"))
                .record(&sample(1, CacheResult::Bypass));
        }
        let figures = endpoints.figures();
        assert_eq!(figures.len(), ENDPOINTS_MAX + 1);
        let last = figures.last().unwrap();
        assert_eq!((&*last.template, last.count), (OTHER, 5));
        // One that is known still counts as itself.
        endpoints
            .resolve(MethodLabel::Get, "/page-7")
            .record(&sample(1, CacheResult::Bypass));
        let known = endpoints.figures_of(MethodLabel::Get, "/page-7").unwrap();
        assert_eq!(known.count, 2);
        // A second method of a known template is an endpoint of its own.
        let post = endpoints.resolve(MethodLabel::Post, "/page-7");
        assert_eq!(&*post.template, OTHER);
    }

    #[test]
    fn a_route_has_its_place_whatever_strangers_ask_for() {
        let endpoints = Endpoints::with_bound(2);
        endpoints.keep_for_route("/a/{id}");
        for path in ["/x", "/y", "/z"] {
            let _ = endpoints.resolve(MethodLabel::Get, path);
        }
        let routed = endpoints.resolve(MethodLabel::Get, "/a/{id}");
        assert_eq!(&*routed.template, "/a/{id}");
    }

    #[test]
    fn many_routes_do_not_take_memory_for_every_thread() {
        let endpoints = Endpoints::default();
        for number in 0..WIDE_MAX + 50 {
            endpoints.keep_for_route(&format!("/route-{number}"));
        }
        assert_eq!(endpoints.wide.load(Ordering::Relaxed), WIDE_MAX);
        // Paths without a route take none of these places.
        let stranger = endpoints.resolve(MethodLabel::Get, "/x");
        let late = endpoints.resolve(MethodLabel::Get, "/route-177");
        for endpoint in [stranger, late] {
            for _ in 0..3 {
                std::thread::scope(|scope| {
                    scope.spawn(|| endpoint.record(&sample(1, CacheResult::Hit)));
                });
            }
            assert_eq!(endpoint.tallies.all().count(), 1);
            assert_eq!(endpoint.figures().count, 3);
        }
    }

    #[test]
    fn a_reset_zeroes_routes_and_gives_strangers_their_places_back() {
        let endpoints = Endpoints::with_bound(2);
        endpoints.keep_for_route("/a");
        let kept = endpoints.resolve(MethodLabel::Get, "/a");
        kept.record(&Sample {
            status: http::StatusCode::BAD_GATEWAY,
            upstream: Some(Duration::from_millis(3)),
            ..sample(4, CacheResult::Miss)
        });
        let stranger = endpoints.resolve(MethodLabel::Get, "/x");
        stranger.record(&sample(1, CacheResult::Bypass));
        endpoints
            .resolve(MethodLabel::Get, "/y")
            .record(&sample(1, CacheResult::Bypass));

        endpoints.reset();
        assert!(endpoints.figures().is_empty());

        kept.record(&sample(2, CacheResult::Hit));
        let again = endpoints.figures_of(MethodLabel::Get, "/a").unwrap();
        assert_eq!((again.count, again.errors), (1, 0));
        assert_eq!(again.upstream.count, 0);
        assert_eq!(again.latency.max, Duration::from_millis(2));
        let newcomer = endpoints.resolve(MethodLabel::Get, "/y");
        assert_eq!(&*newcomer.template, "/y");
    }

    #[test]
    fn no_request_is_lost_between_four_threads() {
        const EACH: u64 = 10_000;
        let endpoints = Endpoints::with_bound(2);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..EACH {
                        let template = ["/a", "/b", "/c"][usize::try_from(number % 3).unwrap()];
                        endpoints
                            .resolve(MethodLabel::Get, template)
                            .record(&sample(number, CacheResult::Hit));
                    }
                });
            }
        });
        let figures = endpoints.figures();
        let total: u64 = figures.iter().map(|endpoint| endpoint.count).sum();
        assert_eq!((figures.len(), total), (3, 4 * EACH));
        assert_eq!(endpoints.totals(), (4 * EACH, 0));
        for endpoint in figures {
            assert_eq!(endpoint.latency.count, endpoint.count);
            assert_eq!(endpoint.answered(CacheResult::Hit), endpoint.count);
        }
    }
}
