//! What one route counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::counters::RouteCounters;
use super::endpoints::{Endpoint, Endpoints};
use super::exchanges::Exchanges;
use super::histogram::DurationHistogram;
use super::labels::{MethodLabel, StatusIndex};
use super::stripes::{Cells, Striped};
use super::{ResponseServed, names};
use crate::semantics::outcome::CacheResult;

/// The counters of one route, kept as long as the process lives: a reload that
/// takes the route away and a later one that brings it back go on counting.
#[derive(Debug)]
pub struct RouteTelemetry {
    name: Arc<str>,
    /// `None` for requests without a route: their endpoint is that of the path.
    template: Option<Arc<str>>,
    figures: Arc<RouteFigures>,
    /// Endpoint handles, by method, resolved at the method's first request.
    endpoints: [OnceLock<Arc<Endpoint>>; MethodLabel::ALL.len()],
}

/// What outlives a change of the route's path.
#[derive(Debug, Default)]
struct RouteFigures {
    counters: Arc<RouteCounters>,
    /// What `/cache/stats` takes off: the figures at the last reset.
    baseline: parking_lot::Mutex<Baseline>,
    durations: [DurationHistogram; CacheResult::ALL.len()],
    upstream: DurationHistogram,
    exchanges: Exchanges,
    /// Made at a method's first request.
    methods: [OnceLock<Box<ByStatus>>; MethodLabel::ALL.len()],
}

/// Figures at the last reset.
#[derive(Debug, Default)]
struct Baseline {
    counts: CacheCounts,
    refusals: Vec<(&'static str, u64)>,
}

/// Requests of one method, by status and cache result. A status takes memory
/// once it was sent: a table of all would be 20 KiB a method.
#[derive(Debug)]
struct ByStatus([OnceLock<Box<Striped<ByCache>>>; StatusIndex::COUNT]);

/// What one thread counted.
#[derive(Debug, Default)]
struct ByCache([AtomicU64; CacheResult::ALL.len()]);

impl Cells for ByCache {
    fn clear(&self) {
        self.0
            .iter()
            .for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

/// One series of `pannier_requests_total`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestCount {
    /// The method's label.
    pub method: MethodLabel,
    /// The status label.
    pub status: String,
    /// Whether the status is a 5xx.
    pub is_error: bool,
    /// Whether it is a 4xx.
    pub is_client_error: bool,
    /// How the cache answered.
    pub cache: CacheResult,
    /// How many.
    pub count: u64,
}

/// What a route's cache counted since the last reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Answered from the store.
    pub hits: u64,
    /// Answered by the origin.
    pub misses: u64,
    /// Responses stored.
    pub sets: u64,
    /// Dropped to make room.
    pub evictions: u64,
    /// Whose lifetime ended: fetched anew, or dropped.
    pub expirations: u64,
    /// Dropped because an invalidation matched them.
    pub invalidations: u64,
    /// Dropped to make room with most of their lifetime before them.
    pub evictions_early: u64,
    /// Fetched anew and found to be what was stored.
    pub unchanged: u64,
    /// Bytes of bodies answered from the store.
    pub hit_bytes: u64,
    /// Bytes of all bodies answered.
    pub body_bytes: u64,
    /// What fetching had cost what the store answered.
    pub saved: Duration,
}

impl CacheCounts {
    fn of(counters: &RouteCounters) -> Self {
        Self {
            hits: counters.hits.get(),
            misses: counters.misses.get(),
            sets: counters.sets.get(),
            evictions: counters.evictions.get(),
            expirations: counters.expirations.get(),
            invalidations: counters.invalidations.get(),
            evictions_early: counters.evictions_early.get(),
            unchanged: counters.unchanged.get(),
            hit_bytes: counters.hit_bytes.get(),
            body_bytes: counters.body_bytes.get(),
            saved: Duration::from_micros(counters.saved_micros.get()),
        }
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(earlier.hits),
            misses: self.misses.saturating_sub(earlier.misses),
            sets: self.sets.saturating_sub(earlier.sets),
            evictions: self.evictions.saturating_sub(earlier.evictions),
            expirations: self.expirations.saturating_sub(earlier.expirations),
            invalidations: self.invalidations.saturating_sub(earlier.invalidations),
            evictions_early: self.evictions_early.saturating_sub(earlier.evictions_early),
            unchanged: self.unchanged.saturating_sub(earlier.unchanged),
            hit_bytes: self.hit_bytes.saturating_sub(earlier.hit_bytes),
            body_bytes: self.body_bytes.saturating_sub(earlier.body_bytes),
            saved: self.saved.saturating_sub(earlier.saved),
        }
    }
}

impl RouteTelemetry {
    pub(super) fn routed(name: &str, template: &str) -> Self {
        Self {
            name: name.into(),
            template: Some(template.into()),
            figures: Arc::default(),
            endpoints: Default::default(),
        }
    }

    /// For requests without a route: the `route` label is empty.
    pub(super) fn unrouted() -> Self {
        Self {
            name: "".into(),
            template: None,
            figures: Arc::default(),
            endpoints: Default::default(),
        }
    }

    /// The same counters for a route that moved to another path.
    pub(super) fn moved_to(&self, template: &str) -> Self {
        Self {
            name: Arc::clone(&self.name),
            template: Some(template.into()),
            figures: Arc::clone(&self.figures),
            endpoints: Default::default(),
        }
    }

    /// The route's name, the `route` label; empty for requests without one.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The route's path; `None` for requests without a route.
    #[must_use]
    pub fn template(&self) -> Option<&str> {
        self.template.as_deref()
    }

    /// The same, to be kept.
    #[cfg(feature = "otlp")]
    pub(super) fn shared_template(&self) -> Option<Arc<str>> {
        self.template.clone()
    }

    /// What its cache did: written by the store and, for hits and misses, by
    /// [`super::Telemetry::served`].
    #[must_use]
    pub fn counters(&self) -> &Arc<RouteCounters> {
        &self.figures.counters
    }

    /// What its cache counted since the last reset.
    #[must_use]
    pub fn cache_counts(&self) -> CacheCounts {
        let baseline = self.figures.baseline.lock().counts;
        CacheCounts::of(self.counters()).since(baseline)
    }

    /// Why responses were not stored since the last reset, and how often.
    #[must_use]
    pub fn refusals(&self) -> Vec<(&'static str, u64)> {
        let baseline = self.figures.baseline.lock();
        names::since(self.counters().refusals.counts(), &baseline.refusals)
    }

    /// Lets [`Self::cache_counts`] and [`Self::refusals`] start from zero.
    pub fn reset_cache_counts(&self) {
        *self.figures.baseline.lock() = Baseline {
            counts: CacheCounts::of(self.counters()),
            refusals: self.counters().refusals.counts(),
        };
    }

    /// Times from request head to response head, by how the cache answered.
    #[must_use]
    pub fn durations(&self, cache: CacheResult) -> &DurationHistogram {
        &self.figures.durations[cache.index()]
    }

    /// Every exchange with the origin.
    #[must_use]
    pub fn exchanges(&self) -> &Exchanges {
        &self.figures.exchanges
    }

    /// What the origin took.
    #[must_use]
    pub fn upstream(&self) -> &DurationHistogram {
        &self.figures.upstream
    }

    /// Every series of requests that counted one.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestCount> {
        let mut all = Vec::new();
        for (method, by_status) in MethodLabel::ALL.into_iter().zip(&self.figures.methods) {
            let Some(by_status) = by_status.get() else {
                continue;
            };
            for (index, counts) in by_status.0.iter().enumerate() {
                let Some(counts) = counts.get() else { continue };
                for cache in CacheResult::ALL {
                    let of_cache =
                        |counts: &ByCache| counts.0[cache.index()].load(Ordering::Relaxed);
                    let count = counts.all().map(of_cache).sum();
                    if count > 0 {
                        let status = StatusIndex(index);
                        all.push(RequestCount {
                            method,
                            is_error: status.is_error(),
                            is_client_error: status.is_client_error(),
                            status: status.label(),
                            cache,
                            count,
                        });
                    }
                }
            }
        }
        all
    }

    /// The endpoint of a request; `None` where it depends on the path.
    pub(super) fn endpoint(
        &self,
        method: MethodLabel,
        endpoints: &Endpoints,
    ) -> Option<&Arc<Endpoint>> {
        let template = self.template.as_deref()?;
        let slot = &self.endpoints[method.index()];
        Some(slot.get_or_init(|| endpoints.resolve(method, template)))
    }

    pub(super) fn count(&self, method: MethodLabel, event: &ResponseServed<'_>) {
        let by_status = self.figures.methods[method.index()]
            .get_or_init(|| Box::new(ByStatus(std::array::from_fn(|_| OnceLock::new()))));
        let counts = by_status.0[StatusIndex::from(event.status).0].get_or_init(Box::default);
        let (counts, hand) = counts.here();
        hand.add(&counts.0[event.cache.index()], 1);
        self.durations(event.cache).record(event.elapsed);
        let counters = self.counters();
        let bytes = event.body_bytes.unwrap_or(0);
        counters.body_bytes.add(bytes);
        if self.template.is_none() {
            return;
        }
        match event.cache {
            CacheResult::Hit | CacheResult::Stale | CacheResult::Revalidated => {
                if event.cache == CacheResult::Stale {
                    self.exchanges().answered_stale(event.at);
                }
                counters.hits.increment();
                counters.hit_bytes.add(bytes);
            }
            CacheResult::Miss => counters.misses.increment(),
            CacheResult::Bypass => {}
        }
        if let Some(saved) = event.saved {
            let micros = u64::try_from(saved.as_micros()).unwrap_or(u64::MAX);
            counters.saved_micros.add(micros);
        }
    }
}
