//! L1: responses stored in this process, least recently used out first.
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
//! correcting and repeating where its oldest entry was used since.
//!
//! Knows nothing of freshness or bans: callers judge what they find, and tell
//! the sweep what is dead.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use http::HeaderMap;
use lru::LruCache;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::config::MemoryConfig;
use crate::semantics::key::CacheKey;
use crate::semantics::stored::StoredResponse;
use crate::semantics::vary::{SecondaryKey, VaryNames};
use crate::telemetry::counters::RouteCounters;

/// Shards of one route's cache.
const SHARDS: usize = 16;
/// A key whose responses name more different sets of `Vary` fields than this
/// forgets the oldest set.
const VARY_SETS_MAX: usize = 4;
/// What an entry takes besides its fields and body: the map's node, the
/// order's links, and the response's own structure.
const ENTRY_OVERHEAD_BYTES: u64 = 640;
/// What one field takes besides its name and value.
const FIELD_OVERHEAD_BYTES: u64 = 96;

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

/// A response in the store, with what was learnt about it since.
#[derive(Debug)]
pub struct Entry {
    /// The response; shared with the queue to Redis.
    pub response: Arc<StoredResponse>,
    /// The newest ban it was checked against (see `invalidation::bans`).
    pub checked: AtomicU64,
    /// When a soft ban made it stale: the ban's number, or 0.
    pub softened: AtomicU64,
}

impl Entry {
    /// A response of which every ban up to its own position is known.
    #[must_use]
    pub fn new(response: Arc<StoredResponse>) -> Self {
        let checked = AtomicU64::new(response.head.position.local);
        Self {
            response,
            checked,
            softened: AtomicU64::new(0),
        }
    }

    /// A record from Redis, of which every ban up to `checked` is known; a
    /// soft one among them is `softened`.
    #[must_use]
    pub fn promoted(response: Arc<StoredResponse>, checked: u64, softened: u64) -> Self {
        Self {
            response,
            checked: AtomicU64::new(checked),
            softened: AtomicU64::new(softened),
        }
    }

    /// Bytes it is charged with.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        let head = &self.response.head;
        let fields: u64 = head
            .fields
            .iter()
            .map(|(name, value)| name.as_str().len() as u64 + value.len() as u64)
            .sum();
        let tags: u64 = head.tags.iter().map(|tag| tag.len() as u64 + 16).sum();
        ENTRY_OVERHEAD_BYTES
            + fields
            + tags
            + head.fields.len() as u64 * FIELD_OVERHEAD_BYTES
            + head.target.path.len() as u64
            + head.target.query.len() as u64
            + head.target.host.len() as u64
            + self.response.body.len() as u64
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
}

#[derive(Debug)]
struct Shard {
    content: Mutex<Content>,
    /// Not later than the last use of the oldest entry; `u64::MAX` when empty.
    oldest: AtomicU64,
}

type Slot = (CacheKey, SecondaryKey);

#[derive(Debug)]
struct Content {
    entries: LruCache<Slot, Held, foldhash::fast::RandomState>,
    /// Keys whose responses vary: on which fields, and what is stored.
    varying: HashMap<CacheKey, Varying, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Held {
    entry: Arc<Entry>,
    last_used: u64,
    weight_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    request_time: Timestamp,
    weight_bytes: u64,
}

#[derive(Debug, Default)]
struct Varying {
    /// Most recently stored first.
    sets: SmallVec<[VaryNames; 1]>,
    secondaries: Vec<SecondaryKey>,
}

/// A response that was not stored: it is larger than the whole store.
#[derive(Debug, PartialEq, Eq)]
pub struct DoesNotFit;

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
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
            .or_insert_with(|| Arc::new(RouteCache::new(Arc::clone(counters))))
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
        for cache in self.caches.iter().filter(|cache| !keep(cache.key())) {
            self.sweep_cache(cache.value(), |_| Fate::Drop(Departure::Replaced));
        }
        self.caches.retain(|name, _| keep(name));
    }

    /// The stored response of `key` that a request with these fields selects,
    /// the most recent of several (RFC 9111 §4.1). Counts as a use.
    #[must_use]
    pub fn lookup(
        &self,
        cache: &RouteCache,
        key: &CacheKey,
        request: &HeaderMap,
    ) -> Option<Arc<Entry>> {
        let now = self.tick();
        let mut content = cache.shard(key).content.lock();
        if let Some(held) = content.entries.get_mut(&(*key, SecondaryKey::default())) {
            held.last_used = now;
            return Some(Arc::clone(&held.entry));
        }
        let content = &mut *content;
        let varying = content.varying.get(key)?;
        let selected = varying
            .sets
            .iter()
            .map(|names| (*key, names.select(request)))
            .filter_map(|slot| {
                let held = content.entries.peek(&slot)?;
                Some((held.entry.response.head.response_time, slot))
            })
            .max_by_key(|(response_time, _)| *response_time)
            .map(|(_, slot)| slot)?;
        let held = content.entries.get_mut(&selected)?;
        held.last_used = now;
        Some(Arc::clone(&held.entry))
    }

    /// The fields that responses of `key` were last seen to vary on.
    #[must_use]
    pub fn vary_names(&self, cache: &RouteCache, key: &CacheKey) -> Option<VaryNames> {
        let content = cache.shard(key).content.lock();
        content.varying.get(key)?.sets.first().cloned()
    }

    /// Stores a response under its key and what its `Vary` selects, making
    /// room for it. One that is older than what is stored there is dropped.
    ///
    /// # Errors
    /// [`DoesNotFit`] where it alone is larger than the store.
    pub fn insert(
        &self,
        cache: &Arc<RouteCache>,
        key: CacheKey,
        entry: Arc<Entry>,
    ) -> Result<(), DoesNotFit> {
        let weight_bytes = entry.weight_bytes();
        let bounds = **self.bounds.load();
        if weight_bytes > bounds.bytes_max {
            return Err(DoesNotFit);
        }
        let shard = cache.shard(&key);
        let head = &entry.response.head;
        let slot = (key, head.secondary);
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
            content.remember_variant(&slot, &head.vary);
            let now = self.tick();
            let held = Held {
                entry: Arc::clone(&entry),
                last_used: now,
                weight_bytes,
            };
            content.entries.put(slot, held);
            shard.oldest.fetch_min(now, Ordering::Relaxed);
            cache.counters.sets.increment();
            cache.counters.entries.add(more_entries);
            cache.counters.bytes.add(weight_bytes);
            cache.counters.bytes.subtract(standing_bytes.unwrap_or(0));
            return Ok(());
        }
    }

    /// Drops this very entry, if it is still there.
    pub fn remove(&self, cache: &RouteCache, key: &CacheKey, entry: &Entry, why: Departure) {
        let slot = (*key, entry.response.head.secondary);
        let mut content = cache.shard(key).content.lock();
        let is_same = content
            .entries
            .peek(&slot)
            .is_some_and(|held| std::ptr::eq(&raw const *held.entry, entry));
        if is_same {
            self.remove_slot(cache, &mut content, &slot, why);
        }
    }

    /// Shows every entry to `judge` and drops what it says. Holds the lock of
    /// one shard at a time.
    pub fn sweep(&self, mut judge: impl FnMut(&Entry) -> Fate) {
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

    fn sweep_cache(&self, cache: &RouteCache, mut judge: impl FnMut(&Entry) -> Fate) {
        for shard in &cache.shards {
            let mut content = shard.content.lock();
            let condemned: Vec<(Slot, Departure)> = content
                .entries
                .iter()
                .filter_map(|(slot, held)| match judge(&held.entry) {
                    Fate::Keep => None,
                    Fate::Drop(why) => Some((*slot, why)),
                })
                .collect();
            for (slot, why) in condemned {
                self.remove_slot(cache, &mut content, &slot, why);
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
            let oldest = content
                .entries
                .peek_lru()
                .map(|(slot, held)| (*slot, held.last_used));
            match oldest {
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
        let Some(held) = content.entries.pop(slot) else {
            return;
        };
        content.forget_variant(slot);
        self.give_back(cache, 1, held.weight_bytes);
        let counters = &cache.counters;
        counters.entries.subtract(1);
        counters.bytes.subtract(held.weight_bytes);
        match why {
            Departure::Evicted => counters.evictions.increment(),
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
    fn new(counters: Arc<RouteCounters>) -> Self {
        let shard = || Shard {
            content: Mutex::new(Content {
                entries: LruCache::unbounded_with_hasher(foldhash::fast::RandomState::default()),
                varying: HashMap::default(),
            }),
            oldest: AtomicU64::new(u64::MAX),
        };
        Self {
            counters,
            entries_max: AtomicU64::new(u64::MAX),
            entries: AtomicU64::new(0),
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        }
    }

    fn shard(&self, key: &CacheKey) -> &Shard {
        &self.shards[usize::from(key.0[0]) % SHARDS]
    }
}

impl Content {
    /// What stands in a slot.
    fn standing(&self, slot: &Slot) -> Option<Standing> {
        self.entries.peek(slot).map(|held| Standing {
            request_time: held.entry.response.head.request_time,
            weight_bytes: held.weight_bytes,
        })
    }

    /// What has to go before a response with this `Vary` takes this slot: a
    /// response without `Vary` and ones with it do not live side by side, and
    /// of too many variants the least recently used goes.
    fn displaced_by(&self, slot: &Slot, vary: &VaryNames, variants_max: usize) -> Vec<Slot> {
        let (key, secondary) = slot;
        let others = self.varying.get(key);
        let all_variants = || {
            let secondaries = others.map(|varying| varying.secondaries.as_slice());
            secondaries
                .unwrap_or_default()
                .iter()
                .map(|other| (*key, *other))
        };
        if vary.is_empty() {
            return all_variants().collect();
        }
        let mut displaced = vec![(*key, SecondaryKey::default())];
        let others: Vec<Slot> = all_variants()
            .filter(|(_, other)| other != secondary)
            .collect();
        if others.len() >= variants_max {
            let least_used = others
                .into_iter()
                .min_by_key(|slot| self.entries.peek(slot).map_or(0, |held| held.last_used));
            displaced.extend(least_used);
        }
        displaced
    }

    fn remember_variant(&mut self, slot: &Slot, vary: &VaryNames) {
        if vary.is_empty() {
            return;
        }
        let varying = self.varying.entry(slot.0).or_default();
        varying.sets.retain(|names| names != vary);
        varying.sets.insert(0, vary.clone());
        varying.sets.truncate(VARY_SETS_MAX);
        if !varying.secondaries.contains(&slot.1) {
            varying.secondaries.push(slot.1);
        }
    }

    fn forget_variant(&mut self, slot: &Slot) {
        if let Some(varying) = self.varying.get_mut(&slot.0) {
            varying.secondaries.retain(|other| *other != slot.1);
            if varying.secondaries.is_empty() {
                self.varying.remove(&slot.0);
            }
        }
    }
}

/// Adds `n` where the sum stays within `most`.
fn try_add(figure: &AtomicU64, n: u64, most: u64) -> bool {
    figure
        .try_update(Ordering::Relaxed, Ordering::Relaxed, |current| {
            current.checked_add(n).filter(|sum| *sum <= most)
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::stored::tests_support::response;
    use http::HeaderValue;

    fn key(n: u8) -> CacheKey {
        CacheKey([n; 32])
    }

    fn entry(body_bytes: usize) -> Arc<Entry> {
        Arc::new(Entry::new(Arc::new(response("/x", body_bytes))))
    }

    struct Fixture {
        memory: Memory,
        counters: Arc<RouteCounters>,
        cache: Arc<RouteCache>,
    }

    fn fixture(bytes_max: u64, entries_max: Option<u64>, route_max: Option<u64>) -> Fixture {
        let memory = Memory::new(Bounds {
            bytes_max,
            entries_max,
            variants_max: 2,
        });
        let counters = Arc::<RouteCounters>::default();
        let cache = memory.route(&"r".into(), route_max, &counters);
        Fixture {
            memory,
            counters,
            cache,
        }
    }

    impl Fixture {
        fn put(&self, n: u8, body_bytes: usize) {
            self.memory
                .insert(&self.cache, key(n), entry(body_bytes))
                .expect("it fits");
        }

        fn has(&self, n: u8) -> bool {
            self.memory
                .lookup(&self.cache, &key(n), &HeaderMap::new())
                .is_some()
        }

        fn put_variant(&self, language: &'static str) {
            let mut response = response("/x", 1);
            response.head.vary = VaryNames::from_names(vec![http::header::ACCEPT_LANGUAGE]);
            response.head.secondary = response.head.vary.select(&speaking(language));
            let entry = Arc::new(Entry::new(Arc::new(response)));
            self.memory
                .insert(&self.cache, key(0), entry)
                .expect("it fits");
        }

        fn has_variant(&self, language: &'static str) -> bool {
            self.memory
                .lookup(&self.cache, &key(0), &speaking(language))
                .is_some()
        }
    }

    fn speaking(language: &'static str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        let value = HeaderValue::from_static(language);
        fields.insert(http::header::ACCEPT_LANGUAGE, value);
        fields
    }

    #[test]
    fn the_least_recently_used_of_all_goes_whatever_its_shard() {
        let store = fixture(u64::MAX, Some(3), None);
        for n in [1, 2, 3] {
            store.put(n, 10);
        }
        assert!(store.has(1));
        store.put(4, 10);
        assert!(store.has(1) && !store.has(2) && store.has(3) && store.has(4));
        assert_eq!(store.counters.evictions.get(), 1);
    }

    #[test]
    fn storing_again_under_a_key_evicts_nobody() {
        let store = fixture(u64::MAX, Some(2), None);
        store.put(1, 10);
        store.put(2, 10);
        store.put(2, 20);
        assert!(store.has(1) && store.has(2));
        assert_eq!(store.counters.evictions.get(), 0);
        assert_eq!(store.memory.entries(), 2);
    }

    #[test]
    fn the_byte_bound_holds_over_routes() {
        let weight = entry(1_000).weight_bytes();
        let store = fixture(weight * 3, None, None);
        let other_counters = Arc::<RouteCounters>::default();
        let other = store.memory.route(&"other".into(), None, &other_counters);
        store.put(1, 1_000);
        for n in 2..=4 {
            store
                .memory
                .insert(&other, key(n), entry(1_000))
                .expect("it fits");
        }
        assert!(!store.has(1), "the oldest is in another route's cache");
        assert_eq!(store.memory.bytes(), weight * 3);
        assert_eq!(other_counters.bytes.get(), weight * 3);
        assert_eq!(store.counters.bytes.get(), 0);
    }

    #[test]
    fn a_routes_own_bound_leaves_other_routes_alone() {
        let store = fixture(u64::MAX, None, Some(1));
        let other_counters = Arc::<RouteCounters>::default();
        let other = store.memory.route(&"other".into(), None, &other_counters);
        store
            .memory
            .insert(&other, key(9), entry(1))
            .expect("it fits");
        store.put(1, 1);
        store.put(2, 1);
        assert!(!store.has(1) && store.has(2));
        assert_eq!(other_counters.entries.get(), 1);
    }

    #[test]
    fn what_is_larger_than_the_store_is_refused_and_evicts_nobody() {
        let store = fixture(2_000, None, None);
        store.put(1, 10);
        let refused = store.memory.insert(&store.cache, key(2), entry(5_000));
        assert_eq!(refused, Err(DoesNotFit));
        assert!(store.has(1));
    }

    #[test]
    fn variants_are_selected_bounded_and_replaced_by_a_response_without_vary() {
        let store = fixture(u64::MAX, None, None);
        store.put_variant("de");
        store.put_variant("en");
        assert!(store.has_variant("de") && store.has_variant("en") && !store.has_variant("fr"));
        assert!(store.has_variant("de"));
        store.put_variant("fr");
        assert!(store.has_variant("de") && store.has_variant("fr") && !store.has_variant("en"));
        store.put(0, 1);
        assert_eq!(store.memory.entries(), 1);
        assert!(store.has_variant("it"));
        store.put_variant("de");
        assert_eq!(store.memory.entries(), 1);
        assert!(!store.has_variant("it"));
    }

    #[test]
    fn a_late_fetch_does_not_replace_a_newer_response() {
        let store = fixture(u64::MAX, None, None);
        let mut newer = response("/x", 10);
        newer.head.request_time = Timestamp::from_unix_millis(u64::MAX);
        let newer = Arc::new(Entry::new(Arc::new(newer)));
        store
            .memory
            .insert(&store.cache, key(1), newer)
            .expect("it fits");
        store.put(1, 99);
        let stands = store
            .memory
            .lookup(&store.cache, &key(1), &HeaderMap::new())
            .expect("stored");
        assert_eq!(stands.response.body.len(), 10);
    }

    #[test]
    fn every_departure_is_counted_by_its_reason() {
        let store = fixture(u64::MAX, None, None);
        for n in 1..=3 {
            store.put(n, usize::from(n));
        }
        store.memory.sweep(|entry| match entry.response.body.len() {
            1 => Fate::Drop(Departure::Expired),
            2 => Fate::Drop(Departure::Invalidated),
            _ => Fate::Keep,
        });
        assert_eq!(store.counters.expirations.get(), 1);
        assert_eq!(store.counters.invalidations.get(), 1);
        assert_eq!(store.counters.entries.get(), 1);
        store.memory.clear();
        assert_eq!((store.memory.bytes(), store.memory.entries()), (0, 0));
    }

    #[test]
    fn the_bounds_hold_under_many_threads() {
        let weight = entry(100).weight_bytes();
        let store = fixture(weight * 50, Some(40), Some(30));
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                let store = &store;
                scope.spawn(move || {
                    for round in 0..2_000_u32 {
                        let n = (round.wrapping_mul(31) % 61) as u8 * 4 + thread;
                        store.put(n, 100 - usize::from(n % 3));
                        store.has(n.wrapping_add(7));
                        assert!(store.memory.bytes() <= weight * 50);
                    }
                });
            }
        });
        assert!(store.memory.entries() <= 30);
        assert_eq!(store.counters.entries.get(), store.memory.entries());
        assert_eq!(store.counters.bytes.get(), store.memory.bytes());
        store.memory.clear();
        assert_eq!(store.memory.bytes(), 0);
    }
}
