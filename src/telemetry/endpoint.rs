//! What is counted of one endpoint: how often, how well, how long.
//!
//! Written by every request of it without a lock. Knows nothing of how many
//! endpoints there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;

use super::histogram::{Latencies, LatencyFigures};
use super::labels::MethodLabel;
use super::stripes::{Cells, Striped};
use crate::clock::Timestamp;
use crate::semantics::outcome::CacheResult;

/// Classes of status codes.
pub const CLASSES: usize = 6;

/// Statistics of one endpoint.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) method: MethodLabel,
    pub(super) template: Arc<str>,
    pub(super) tallies: Striped<Tally>,
    pub(super) latencies: Latencies,
    /// Without cells before the first request that the origin saw.
    upstream: Latencies,
}

/// What one thread counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Requests by how the cache answered; their sum is the count.
    by_cache: [AtomicU64; CacheResult::ALL.len()],
    errors: AtomicU64,
    /// By the class of the status: 1xx to 5xx, then any other.
    by_class: [AtomicU64; CLASSES],
    /// Unix milliseconds; 0 before the first request.
    last_request: AtomicU64,
}

impl Cells for Tally {
    fn clear(&self) {
        for count in self
            .by_cache
            .iter()
            .chain(&self.by_class)
            .chain([&self.errors, &self.last_request])
        {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// One request, as an endpoint counts it.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was answered.
    pub at: Timestamp,
    /// How the cache answered.
    pub cache: CacheResult,
    /// The answer's status.
    pub status: StatusCode,
    /// From request head to response head.
    pub elapsed: Duration,
    /// How long the origin took, where it was asked.
    pub upstream: Option<Duration>,
}

/// What an endpoint had counted at one moment.
#[derive(Clone, Debug)]
pub struct EndpointFigures {
    /// Its method; `OTHER` for those without a name here.
    pub method: MethodLabel,
    /// Its path template.
    pub template: Arc<str>,
    /// Requests.
    pub count: u64,
    /// Those answered with 5xx.
    pub errors: u64,
    /// By the class of the status: 1xx to 5xx, then any other.
    pub by_class: [u64; CLASSES],
    /// From request head to response head.
    pub latency: LatencyFigures,
    /// When the last one was answered.
    pub last_request: Option<Timestamp>,
    /// Requests by [`CacheResult::index`].
    pub by_cache: [u64; CacheResult::ALL.len()],
    /// What the origin took, for requests it saw.
    pub upstream: LatencyFigures,
}

impl EndpointFigures {
    /// Requests the cache answered so.
    #[must_use]
    pub fn answered(&self, cache: CacheResult) -> u64 {
        self.by_cache[cache.index()]
    }
}

impl Endpoint {
    /// `is_wide` gives every thread cells of its own.
    pub(super) fn new(method: MethodLabel, template: Arc<str>, is_wide: bool) -> Self {
        let latencies = || {
            if is_wide {
                Latencies::default()
            } else {
                Latencies::narrow()
            }
        };
        Self {
            method,
            template,
            tallies: if is_wide {
                Striped::default()
            } else {
                Striped::narrow()
            },
            latencies: latencies(),
            upstream: latencies(),
        }
    }

    /// Counts one request.
    pub fn record(&self, sample: &Sample) {
        let (tally, hand) = self.tallies.here();
        hand.add(&tally.by_cache[sample.cache.index()], 1);
        tally
            .last_request
            .store(sample.at.unix_millis(), Ordering::Relaxed);
        let class = usize::from(sample.status.as_u16() / 100).wrapping_sub(1);
        hand.add(&tally.by_class[class.min(CLASSES - 1)], 1);
        if sample.status.is_server_error() {
            hand.add(&tally.errors, 1);
        }
        self.latencies.record(sample.elapsed);
        if let Some(upstream) = sample.upstream {
            self.upstream.record(upstream);
        }
    }

    /// Counts an exchange with the origin.
    pub(super) fn record_upstream(&self, took: Duration) {
        self.upstream.record(took);
    }

    /// The figures now.
    #[must_use]
    pub fn figures(&self) -> EndpointFigures {
        let mut by_cache = [0; CacheResult::ALL.len()];
        let mut by_class = [0; CLASSES];
        let mut last_request = 0;
        for tally in self.tallies.all() {
            for (sum, count) in by_cache.iter_mut().zip(&tally.by_cache) {
                *sum += count.load(Ordering::Relaxed);
            }
            for (sum, count) in by_class.iter_mut().zip(&tally.by_class) {
                *sum += count.load(Ordering::Relaxed);
            }
            last_request = last_request.max(tally.last_request.load(Ordering::Relaxed));
        }
        EndpointFigures {
            method: self.method,
            template: Arc::clone(&self.template),
            count: by_cache.iter().sum(),
            errors: self.errors(),
            by_class,
            latency: self.latencies.figures(),
            last_request: (last_request > 0).then(|| Timestamp::from_unix_millis(last_request)),
            by_cache,
            upstream: self.upstream.figures(),
        }
    }

    pub(super) fn count(&self) -> u64 {
        let counts = self.tallies.all().flat_map(|tally| &tally.by_cache);
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn errors(&self) -> u64 {
        let errors = self.tallies.all().map(|tally| &tally.errors);
        errors.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn reset(&self) {
        self.tallies.reset();
        self.latencies.reset();
        self.upstream.reset();
    }
}
