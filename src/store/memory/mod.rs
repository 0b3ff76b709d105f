//! L1: responses stored in this process, least recently used out first, or by
//! S3-FIFO (`[memory] policy`).
//!
//! Promises: the order is exact over all routes and threads, not sampled;
//! neither bound is ever exceeded; every response that leaves is counted once,
//! by its reason. A lookup takes one short lock of one shard and allocates
//! nothing.
//!
//! How the order is exact although shards have locks of their own: every
//! entry knows when it was last used, and every shard publishes a moment that
//! is not later than that of its own oldest entry. The globally oldest entry
//! is found by taking the shard with the earliest published moment, and by
//! correcting and repeating where its oldest entry was used since. (S3-FIFO
//! orders the responses of a shard; between shards, what is next to leave and
//! has been longest where it is leaves first.)
//!
//! Responses are held packed ([`Kept`]); [`Entry`] is one taken apart.
//!
//! Knows nothing of freshness or bans: callers judge what they find, and tell
//! the sweep what is dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::{EvictionPolicy, MemoryConfig};
use crate::message::lines::FieldLines;
use crate::semantics::key::CacheKey;
use crate::semantics::vary::{SecondaryKey, VaryNames};
use crate::telemetry::counters::RouteCounters;

mod cold;
mod content;
mod entry;
mod index;
mod kept;
mod lines;
mod nodes;
mod place;
mod table;
#[cfg(test)]
mod tests;
mod times;

pub use entry::Entry;
pub use kept::{Kept, Marks};
pub use lines::StoredLines;

use content::Content;

/// Where a response stands: its key, and what its `Vary` selects of it.
type Slot = (CacheKey, SecondaryKey);

/// Shards of one route's cache.
const SHARDS: usize = 16;
/// Responses that a sweep looks at before it lets others have the lock.
const SWEPT_AT_ONCE: u32 = 512;

/// Bounds of the store; `None` is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// On all that is held, in bytes.
    pub bytes_max: u64,
    /// On stored responses.
    pub entries_max: Option<u64>,
    /// On stored responses of one key.
    pub variants_max: usize,
}

impl Bounds {
    /// The bounds of a configuration.
    #[must_use]
    pub fn of(config: &MemoryConfig) -> Self {
        Self {
            bytes_max: config.bytes_max,
            entries_max: config.entries_max,
            variants_max: config.variants_max,
        }
    }
}

/// Why an entry leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// To make room.
    Evicted,
    /// It cannot be reused any more.
    Expired,
    /// A ban matched it.
    Invalidated,
    /// A newer response took its place, or it was dropped on request.
    Replaced,
}

/// What the sweep is to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It goes.
    Drop(Departure),
}

/// The store.
#[derive(Debug)]
pub struct Memory {
    policy: EvictionPolicy,
    bounds: ArcSwap<Bounds>,
    bytes: AtomicU64,
    entries: AtomicU64,
    caches: DashMap<Arc<str>, Arc<RouteCache>>,
    started: Instant,
}

/// The part of the store that belongs to one route.
#[derive(Debug)]
pub struct RouteCache {
    counters: Arc<RouteCounters>,
    entries_max: AtomicU64,
    entries: AtomicU64,
    shards: Box<[Shard]>,
    /// Its route is gone: what a late fetch puts here leaves again.
    is_retired: AtomicBool,
}

#[derive(Debug)]
struct Shard {
    content: Mutex<Content>,
    /// Not later than the last use of the oldest entry; `u64::MAX` when empty.
    oldest: AtomicU64,
}

/// A response that was not stored: it is larger than the whole store.
#[derive(Debug, PartialEq, Eq)]
pub struct DoesNotFit;

impl Memory {
    /// An empty store that evicts by `policy`.
    #[must_use]
    pub fn new(bounds: Bounds, policy: EvictionPolicy) -> Self {
        Self {
            policy,
            bounds: ArcSwap::from_pointee(bounds),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            caches: DashMap::new(),
            started: Instant::now(),
        }
    }

    /// The cache of a route, new or as it is; `entries_max` bounds it from now on.
    pub fn route(
        &self,
        name: &Arc<str>,
        entries_max: Option<u64>,
        counters: &Arc<RouteCounters>,
    ) -> Arc<RouteCache> {
        let cache = self
            .caches
            .entry(Arc::clone(name))
            .or_insert_with(|| Arc::new(RouteCache::new(Arc::clone(counters), self.policy)))
            .clone();
        let bound = entries_max.unwrap_or(u64::MAX);
        cache.entries_max.store(bound, Ordering::Relaxed);
        while cache.entries.load(Ordering::Relaxed) > bound {
            if !self.evict_oldest(&[Arc::clone(&cache)]) {
                break;
            }
        }
        cache
    }

    /// Changes the bounds; what exceeds them leaves at once.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.bounds.store(Arc::new(bounds));
        let caches = self.all_caches();
        while self.exceeds(&bounds) {
            if !self.evict_oldest(&caches) {
                break;
            }
        }
    }

    /// Drops what is stored under routes that `keep` does not name.
    pub fn retain_routes(&self, keep: impl Fn(&str) -> bool) {
        self.caches.retain(|name, cache| {
            let is_kept = keep(name);
            if !is_kept {
                cache.is_retired.store(true, Ordering::SeqCst);
                self.sweep_cache(cache, |_| Fate::Drop(Departure::Replaced));
            }
            is_kept
        });
    }

    /// The stored response of `key` that a request with these fields selects,
    /// the most recent of several (RFC 9111 §4.1). Counts as a use.
    #[must_use]
    pub fn lookup(
        &self,
        cache: &RouteCache,
        key: &CacheKey,
        request: &(impl FieldLines + ?Sized),
    ) -> Option<Kept> {
        let now = self.tick();
        let kept = cache.shard(key).content.lock().find(key, request, now)?;
        kept.prefetch_rest();
        Some(kept)
    }

    /// The response in one slot. Does not count as a use.
    #[must_use]
    pub fn peek(
        &self,
        cache: &RouteCache,
        key: &CacheKey,
        secondary: SecondaryKey,
    ) -> Option<Arc<Entry>> {
        let slot = (*key, secondary);
        let kept = cache.shard(key).content.lock().index.peek(&slot).cloned();
        Entry::of(kept?).map(Arc::new)
    }

    /// The fields that responses of `key` were last seen to vary on.
    #[must_use]
    pub fn vary_names(&self, cache: &RouteCache, key: &CacheKey) -> Option<VaryNames> {
        cache.shard(key).content.lock().vary_names(key)
    }

    /// Stores a response under its key and what its `Vary` selects, making
    /// room for it. One that is older than what is stored there is dropped.
    ///
    /// # Errors
    /// [`DoesNotFit`] where it alone is larger than the store.
    pub fn insert(&self, cache: &Arc<RouteCache>, entry: &Entry) -> Result<(), DoesNotFit> {
        let weight_bytes = entry.weight_bytes();
        let bounds = **self.bounds.load();
        if weight_bytes > bounds.bytes_max {
            return Err(DoesNotFit);
        }
        let head = &entry.response.head;
        let slot = *entry.kept().slot();
        let shard = cache.shard(&slot.0);
        // Room is made without holding the shard's lock, so what stands in the
        // slot can change meanwhile: then the room is given back and made anew.
        loop {
            let standing = shard.content.lock().standing(&slot);
            if standing.is_some_and(|held| held.request_time > head.request_time) {
                return Ok(());
            }
            let standing_bytes = standing.map(|held| held.weight_bytes);
            let more_entries = u64::from(standing.is_none());
            let more_bytes = weight_bytes.saturating_sub(standing_bytes.unwrap_or(0));
            self.make_room(cache, more_entries, more_bytes, &bounds);

            let mut content = shard.content.lock();
            let is_unchanged =
                content.standing(&slot).map(|held| held.weight_bytes) == standing_bytes;
            if !is_unchanged {
                self.give_back(cache, more_entries, more_bytes);
                continue;
            }
            let spare_bytes = standing_bytes.unwrap_or(0).saturating_sub(weight_bytes);
            self.give_back(cache, 0, spare_bytes);
            for displaced in content.displaced_by(&slot, &head.vary, bounds.variants_max) {
                self.remove_slot(cache, &mut content, &displaced, Departure::Replaced);
            }
            content.remember_variant(&slot, head);
            let now = self.tick();
            content.index.put(entry.kept(), now);
            shard.oldest.fetch_min(now, Ordering::Relaxed);
            cache.counters.sets.increment();
            cache.counters.entries.add(more_entries);
            cache.counters.bytes.add(weight_bytes);
            cache.counters.bytes.subtract(standing_bytes.unwrap_or(0));
            drop(content);
            if cache.is_retired.load(Ordering::SeqCst) {
                self.sweep_cache(cache, |_| Fate::Drop(Departure::Replaced));
            }
            return Ok(());
        }
    }

    /// Drops this very response, if it is still there.
    pub fn remove(&self, cache: &RouteCache, kept: &Kept, why: Departure) {
        let slot = *kept.slot();
        let mut content = cache.shard(&slot.0).content.lock();
        let standing = content.index.peek(&slot);
        let is_same = standing.is_some_and(|standing| standing.is(kept));
        if is_same {
            self.remove_slot(cache, &mut content, &slot, why);
        }
    }

    /// Shows every entry to `judge` and drops what it says. Holds the lock of
    /// one shard at a time, and that for a few entries.
    pub fn sweep(&self, mut judge: impl FnMut(&Kept) -> Fate) {
        for cache in self.all_caches() {
            self.sweep_cache(&cache, &mut judge);
        }
    }

    /// Drops everything.
    pub fn clear(&self) {
        self.sweep(|_| Fate::Drop(Departure::Replaced));
    }

    /// Bytes held now.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Responses held now.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    fn sweep_cache(&self, cache: &RouteCache, mut judge: impl FnMut(&Kept) -> Fate) {
        for shard in &cache.shards {
            let mut at = Some(0);
            while let Some(from) = at {
                let mut content = shard.content.lock();
                let (some, next) = content.index.some(from, SWEPT_AT_ONCE);
                at = next;
                let condemned: Vec<(Slot, Departure)> = some
                    .filter_map(|kept| match judge(kept) {
                        Fate::Keep => None,
                        Fate::Drop(why) => Some((*kept.slot(), why)),
                    })
                    .collect();
                for (slot, why) in condemned {
                    self.remove_slot(cache, &mut content, &slot, why);
                }
            }
        }
    }

    /// Takes so much out of the bounds, evicting until it is there.
    fn make_room(
        &self,
        cache: &Arc<RouteCache>,
        more_entries: u64,
        more_bytes: u64,
        bounds: &Bounds,
    ) {
        let of_route = [Arc::clone(cache)];
        let route_max = cache.entries_max.load(Ordering::Relaxed);
        while !try_add(&cache.entries, more_entries, route_max) {
            self.evict_or_yield(&of_route);
        }
        let entries_max = bounds.entries_max.unwrap_or(u64::MAX);
        while !try_add(&self.entries, more_entries, entries_max) {
            self.evict_or_yield(&self.all_caches());
        }
        while !try_add(&self.bytes, more_bytes, bounds.bytes_max) {
            self.evict_or_yield(&self.all_caches());
        }
    }

    /// Where there is nothing to evict, another thread has taken room for what
    /// it is about to store, and will have stored it in a moment.
    fn evict_or_yield(&self, caches: &[Arc<RouteCache>]) {
        if !self.evict_oldest(caches) {
            std::thread::yield_now();
        }
    }

    fn give_back(&self, cache: &RouteCache, entries: u64, bytes: u64) {
        cache.entries.fetch_sub(entries, Ordering::Relaxed);
        self.entries.fetch_sub(entries, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn exceeds(&self, bounds: &Bounds) -> bool {
        let has_too_many = bounds.entries_max.is_some_and(|most| self.entries() > most);
        self.bytes() > bounds.bytes_max || has_too_many
    }

    /// Evicts the least recently used entry of these caches; false where
    /// there is none.
    fn evict_oldest(&self, caches: &[Arc<RouteCache>]) -> bool {
        loop {
            let candidate = caches
                .iter()
                .flat_map(|cache| cache.shards.iter().map(move |shard| (cache, shard)))
                .min_by_key(|(_, shard)| shard.oldest.load(Ordering::Relaxed));
            let Some((cache, shard)) = candidate else {
                return false;
            };
            let published = shard.oldest.load(Ordering::Relaxed);
            if published == u64::MAX {
                return false;
            }
            let mut content = shard.content.lock();
            match content.index.candidate(self.tick()) {
                Some((slot, last_used)) if last_used <= published => {
                    self.remove_slot(cache, &mut content, &slot, Departure::Evicted);
                    return true;
                }
                // It was used since: publish what is true now and look again.
                Some((_, last_used)) => shard.oldest.store(last_used, Ordering::Relaxed),
                None => shard.oldest.store(u64::MAX, Ordering::Relaxed),
            }
        }
    }

    fn remove_slot(&self, cache: &RouteCache, content: &mut Content, slot: &Slot, why: Departure) {
        let removed = match why {
            Departure::Evicted => content.index.evict(slot),
            Departure::Expired | Departure::Invalidated | Departure::Replaced => {
                content.index.pop(slot)
            }
        };
        let Some(kept) = removed else {
            return;
        };
        let weight_bytes = kept.weight_bytes();
        content.forget_variant(slot);
        self.give_back(cache, 1, weight_bytes);
        let counters = &cache.counters;
        counters.entries.subtract(1);
        counters.bytes.subtract(weight_bytes);
        match why {
            Departure::Evicted => {
                counters.evictions.increment();
                if is_early(&kept) {
                    counters.evictions_early.increment();
                }
            }
            Departure::Expired => counters.expirations.increment(),
            Departure::Invalidated => counters.invalidations.increment(),
            Departure::Replaced => {}
        }
    }

    fn all_caches(&self) -> Vec<Arc<RouteCache>> {
        self.caches
            .iter()
            .map(|cache| Arc::clone(cache.value()))
            .collect()
    }

    /// Nanoseconds since this store was made: the order of uses.
    fn tick(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl RouteCache {
    fn new(counters: Arc<RouteCounters>, policy: EvictionPolicy) -> Self {
        let shard = || Shard {
            content: Mutex::new(Content::new(policy)),
            oldest: AtomicU64::new(u64::MAX),
        };
        Self {
            counters,
            entries_max: AtomicU64::new(u64::MAX),
            entries: AtomicU64::new(0),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            is_retired: AtomicBool::new(false),
        }
    }

    fn shard(&self, key: &CacheKey) -> &Shard {
        &self.shards[usize::from(key.0[0]) % SHARDS]
    }
}

/// Whether an eviction comes before 70 % of the lifetime is over.
fn is_early(kept: &Kept) -> bool {
    let freshness = kept.freshness();
    // For figures only: nothing is decided by it, so no clock is asked for.
    let age = freshness.current_age(kept.response_time(), Clock::System.now());
    age.as_millis() * 10 < freshness.lifetime.as_millis() * 7
}

/// Adds `n` where the sum stays within `most`.
fn try_add(figure: &AtomicU64, n: u64, most: u64) -> bool {
    figure
        .try_update(Ordering::Relaxed, Ordering::Relaxed, |current| {
            current.checked_add(n).filter(|sum| *sum <= most)
        })
        .is_ok()
}
