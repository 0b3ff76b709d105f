//! The memory store: order, bounds, variants, and how entries leave.

use super::*;
use crate::clock::Timestamp;
use crate::config::EvictionPolicy;
use crate::semantics::stored::tests_support::response;
use crate::semantics::vary::VaryNames;
use http::{HeaderMap, HeaderValue};

fn key(n: u8) -> CacheKey {
    CacheKey([n; 32])
}

fn entry(n: u8, body_bytes: usize) -> Entry {
    Entry::new(key(n), Arc::new(response("/x", body_bytes)))
}

struct Fixture {
    memory: Memory,
    counters: Arc<RouteCounters>,
    cache: Arc<RouteCache>,
}

fn fixture(bytes_max: u64, entries_max: Option<u64>, route_max: Option<u64>) -> Fixture {
    fixture_of(EvictionPolicy::Lru, bytes_max, entries_max, route_max)
}

fn fixture_of(
    policy: EvictionPolicy,
    bytes_max: u64,
    entries_max: Option<u64>,
    route_max: Option<u64>,
) -> Fixture {
    let memory = Memory::new(
        Bounds {
            bytes_max,
            entries_max,
            variants_max: 2,
        },
        policy,
    );
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
            .insert(&self.cache, &entry(n, body_bytes))
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
        let entry = Entry::new(key(0), Arc::new(response));
        self.memory.insert(&self.cache, &entry).expect("it fits");
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
    let weight = entry(0, 1_000).weight_bytes();
    let store = fixture(weight * 3, None, None);
    let other_counters = Arc::<RouteCounters>::default();
    let other = store.memory.route(&"other".into(), None, &other_counters);
    store.put(1, 1_000);
    for n in 2..=4 {
        store
            .memory
            .insert(&other, &entry(n, 1_000))
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
    store.memory.insert(&other, &entry(9, 1)).expect("it fits");
    store.put(1, 1);
    store.put(2, 1);
    assert!(!store.has(1) && store.has(2));
    assert_eq!(other_counters.entries.get(), 1);
}

#[test]
fn what_is_larger_than_the_store_is_refused_and_evicts_nobody() {
    let store = fixture(2_000, None, None);
    store.put(1, 10);
    let refused = store.memory.insert(&store.cache, &entry(2, 5_000));
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
    let newer = Entry::new(key(1), Arc::new(newer));
    store.memory.insert(&store.cache, &newer).expect("it fits");
    store.put(1, 99);
    let stands = store
        .memory
        .lookup(&store.cache, &key(1), &HeaderMap::new())
        .expect("stored");
    assert_eq!(stands.body().count(), 10);
}

#[test]
fn every_departure_is_counted_by_its_reason() {
    let store = fixture(u64::MAX, None, None);
    for n in 1..=3 {
        store.put(n, usize::from(n));
    }
    store.memory.sweep(|kept| match kept.body().count() {
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
    bounds_hold_under_many_threads(EvictionPolicy::Lru);
    bounds_hold_under_many_threads(EvictionPolicy::S3Fifo);
}

fn bounds_hold_under_many_threads(policy: EvictionPolicy) {
    let weight = entry(0, 100).weight_bytes();
    let store = fixture_of(policy, weight * 50, Some(40), Some(30));
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

#[test]
fn what_a_late_fetch_stores_under_a_route_that_is_gone_leaves_again() {
    let store = fixture(u64::MAX, None, None);
    store.put(1, 10);
    store.memory.retain_routes(|_| false);
    store.put(2, 10);
    assert_eq!((store.memory.bytes(), store.memory.entries()), (0, 0));
}

#[test]
fn a_scan_leaves_s3fifo_what_is_in_use_and_lru_nothing_of_it() {
    let wide_key = |n: u32| {
        let mut key = [0; 32];
        key[0] = (n % 251) as u8;
        key[1..5].copy_from_slice(&n.to_le_bytes());
        CacheKey(key)
    };
    let stored = entry(0, 100);
    let room = stored.weight_bytes() * 1_000;
    for (policy, at_least, at_most) in [
        (EvictionPolicy::Lru, 0, 0),
        (EvictionPolicy::S3Fifo, 720, 800),
    ] {
        let store = fixture_of(policy, room, None, None);
        let ask = |n| {
            let (key, nothing) = (wide_key(n), HeaderMap::new());
            let found = store.memory.lookup(&store.cache, &key, &nothing).is_some();
            if !found {
                let entry = Entry::new(key, Arc::new(response("/x", 100)));
                store.memory.insert(&store.cache, &entry).expect("it fits");
            }
            assert!(store.memory.bytes() <= room);
            found
        };
        for n in (0..4).flat_map(|_| 0..800) {
            ask(n);
        }
        for n in 10_000..15_000 {
            ask(n);
        }
        let left = (0..800).rev().filter(|n| {
            let key = wide_key(*n);
            let shard = store.cache.shard(&key);
            shard
                .content
                .lock()
                .index
                .peek(&(key, SecondaryKey::default()))
                .is_some()
        });
        let left = left.count();
        assert!((at_least..=at_most).contains(&left), "{policy:?}: {left}");
    }
}

#[test]
fn what_is_charged_is_what_is_held_and_nothing_when_all_is_gone() {
    for policy in [EvictionPolicy::Lru, EvictionPolicy::S3Fifo] {
        let store = fixture_of(policy, 60_000, None, None);
        let mut chance = 1_u32;
        for round in 0..3_000 {
            chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let n = (chance >> 20) as u8;
            match chance >> 28 {
                0 => store.put_variant(["de", "en", "fr"][round % 3]),
                1 => store.memory.sweep(|kept| match kept.body().count() % 5 {
                    0 => Fate::Drop(Departure::Invalidated),
                    _ => Fate::Keep,
                }),
                _ => store.put(n, (chance >> 16) as usize % 2_000),
            }
            let mut held = (0, 0);
            store.memory.sweep(|kept| {
                held = (held.0 + kept.weight_bytes(), held.1 + 1);
                Fate::Keep
            });
            assert_eq!((store.memory.bytes(), store.memory.entries()), held);
        }
        assert!(store.counters.evictions.get() > 0);
        store.memory.clear();
        assert_eq!((store.memory.bytes(), store.counters.bytes.get()), (0, 0));
        assert_eq!(
            (store.memory.entries(), store.counters.entries.get()),
            (0, 0)
        );
    }
}
