//! What happened with Redis since the last reset.

use super::counters::{Counter, RedisCounters};

/// What happened with Redis since the last reset: the figures that
/// `/cache/stats` shows and resets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisCounts {
    /// Lookups that found a record that answered somebody.
    pub hits: u64,
    /// Lookups that found none that could.
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
    pub(super) fn of(counters: &RedisCounters, earlier: &Self) -> Self {
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
