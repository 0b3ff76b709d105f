//! Counters that the layers above write and the admin listener reads.

use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::DurationHistogram;
use super::log_counters::LogCounters;
use super::names::NamedCounts;
use super::stripes::StripedCounter;

/// A figure that only grows, until it is reset.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A figure that rises and falls.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Raises it.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Lowers it. What is taken was added before.
    pub fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The figure now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one route's cache did. Never reset: `/cache/reset-stats` remembers a
/// snapshot and subtracts it, so that Prometheus' counters only grow.
#[derive(Debug, Default)]
pub struct RouteCounters {
    /// Requests answered from the store: fresh, stale or revalidated.
    pub hits: StripedCounter,
    /// Requests of this route that the origin answered.
    pub misses: StripedCounter,
    /// Responses stored.
    pub sets: Counter,
    /// Stored responses dropped to make room.
    pub evictions: Counter,
    /// Those of them that had most of their lifetime before them: memory is
    /// too small for what is asked.
    pub evictions_early: Counter,
    /// Stored responses whose lifetime ended: fetched anew, or dropped.
    pub expirations: Counter,
    /// Stored responses dropped because an invalidation matched them.
    pub invalidations: Counter,
    /// Bytes of bodies answered from the store, as far as known when they
    /// began.
    pub hit_bytes: StripedCounter,
    /// Bytes of all bodies answered, likewise.
    pub body_bytes: StripedCounter,
    /// What fetching had cost what the store answered, in microseconds.
    pub saved_micros: StripedCounter,
    /// Responses not stored, by reason.
    pub refusals: NamedCounts,
    /// Responses fetched anew whose bodies were those of the stale ones they
    /// replaced: a longer life, or a validator, would have saved the fetch.
    pub unchanged: Counter,
    /// Responses stored in memory now.
    pub entries: Gauge,
    /// Bytes they take.
    pub bytes: Gauge,
}

/// What happened on the way to and from Redis.
#[derive(Debug, Default)]
pub struct RedisCounters {
    /// 1 while the lookup connection stands, else 0.
    pub up: Gauge,
    /// Lookups that found a record that answered somebody.
    pub hits: Counter,
    /// Lookups that found none that could.
    pub misses: Counter,
    /// Lookups that were not answered within the budget.
    pub timeouts: Counter,
    /// Lookups not made: no live connection, or the breaker is open.
    pub skipped: Counter,
    /// Lookups that failed otherwise.
    pub errors: Counter,
    /// Records that did not decode (also counted as misses).
    pub corrupt: Counter,
    /// Records written.
    pub stores: Counter,
    /// Records dropped because the queue was full.
    pub stores_dropped: Counter,
    /// Records whose write failed.
    pub stores_failed: Counter,
    /// 1 while Redis refuses to store: `maxmemory` without eviction, say.
    pub stores_refused: Gauge,
    /// Records waiting to be written.
    pub queue_length: Gauge,
    /// Bytes waiting to be written.
    pub queue_bytes: Gauge,
    /// Connections made, the first included.
    pub connects: Counter,
    /// Times the breaker opened.
    pub breaker_opened: Counter,
    /// What lookups took that were made, whatever came of them.
    pub lookup_durations: DurationHistogram,
    /// What writes took, one pipeline each.
    pub store_durations: DurationHistogram,
    /// Instances of the fleet when it was last asked for, this one included;
    /// 0: not known.
    pub fleet_instances: Gauge,
    /// What happened on the way to and from the invalidation log.
    pub log: LogCounters,
}
