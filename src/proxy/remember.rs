//! Two bounded memories of fetching: which keys are not worth queueing for,
//! and how much is being received at once.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::config::CoalescingConfig;
use crate::semantics::key::CacheKey;

/// Keys whose last response could not be shared: requests for them do not
/// queue behind each other. At the bound the least recently seen is forgotten,
/// and its requests queue once more.
#[derive(Debug)]
pub(super) struct NotShareable(Mutex<Marks>);

#[derive(Debug)]
struct Marks {
    until: LruCache<CacheKey, Timestamp, foldhash::fast::RandomState>,
    ttl: Duration,
}

impl NotShareable {
    pub(super) fn new(config: &CoalescingConfig) -> Self {
        Self(Mutex::new(Marks {
            until: LruCache::with_hasher(bound(config), foldhash::fast::RandomState::default()),
            ttl: config.not_shareable_ttl,
        }))
    }

    pub(super) fn set_bounds(&self, config: &CoalescingConfig) {
        let mut marks = self.0.lock();
        marks.until.resize(bound(config));
        marks.ttl = config.not_shareable_ttl;
    }

    pub(super) fn remember(&self, key: CacheKey, now: Timestamp) {
        let mut marks = self.0.lock();
        let until = now.plus(marks.ttl);
        marks.until.put(key, until);
    }

    pub(super) fn forget(&self, key: &CacheKey) {
        self.0.lock().until.pop(key);
    }

    pub(super) fn is_remembered(&self, key: &CacheKey, now: Timestamp) -> bool {
        let mut marks = self.0.lock();
        match marks.until.get(key) {
            Some(until) if now < *until => true,
            Some(_) => {
                marks.until.pop(key);
                false
            }
            None => false,
        }
    }
}

fn bound(config: &CoalescingConfig) -> NonZeroUsize {
    NonZeroUsize::new(config.not_shareable_max).unwrap_or(NonZeroUsize::MIN)
}

/// Bounds the bodies that are on their way into the store, all together.
#[derive(Debug)]
pub(super) struct FillingBudget {
    used: AtomicU64,
    bound: AtomicU64,
}

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Arc<FillingBudget>,
    bytes: u64,
}

impl FillingBudget {
    pub(super) fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            bound: AtomicU64::new(bytes_max),
        })
    }

    pub(super) fn set_bound(&self, bytes_max: u64) {
        self.bound.store(bytes_max, Ordering::Relaxed);
    }

    /// A share of nothing, to grow.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        Share {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl Share {
    /// Takes `bytes` more; false where they are not there.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let bound = self.budget.bound.load(Ordering::Relaxed);
        let grown = self
            .budget
            .used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= bound)
            });
        if grown.is_ok() {
            self.bytes += bytes;
        }
        grown.is_ok()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_ends_and_the_oldest_gives_way() {
        let config = CoalescingConfig {
            wait_timeout: Duration::from_secs(1),
            not_shareable_ttl: Duration::from_secs(10),
            not_shareable_max: 2,
        };
        let marks = NotShareable::new(&config);
        let at = Timestamp::from_unix_millis;
        let key = |n| CacheKey([n; 32]);
        marks.remember(key(1), at(0));
        assert!(marks.is_remembered(&key(1), at(9_999)));
        assert!(!marks.is_remembered(&key(1), at(10_000)));
        for n in [1, 2, 3] {
            marks.remember(key(n), at(0));
        }
        assert!(!marks.is_remembered(&key(1), at(1)));
        assert!(marks.is_remembered(&key(3), at(1)));
        marks.forget(&key(3));
        assert!(!marks.is_remembered(&key(3), at(1)));
    }

    #[test]
    fn the_budget_is_never_exceeded_and_always_given_back() {
        let budget = FillingBudget::new(10);
        let mut one = budget.share();
        let mut other = budget.share();
        assert!(one.grow(7));
        assert!(!other.grow(4));
        assert!(other.grow(3));
        drop(one);
        assert!(other.grow(7));
    }
}
