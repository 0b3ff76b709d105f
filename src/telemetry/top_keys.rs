//! Which keys are asked for most: by hits and by bytes; and, in a sketch of its
//! own, which are missed most.
//!
//! Promises: a bounded number of keys ([`KEYS_MAX`]), found by the
//! space-saving algorithm: every key that has more than one part in
//! `KEYS_MAX` of the hits is among them, and no figure is more than
//! its `error` too high. Recording waits for nobody: a hit that finds the
//! sketch in use is not counted, and under load one hit in many stands for
//! all of them, so that it costs the others a look at a counter.
//!
//! A key is a route and a path, never a query: queries hold secrets.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::clock::Timestamp;

/// Keys kept, by hits and by bytes each.
pub const KEYS_MAX: usize = 128;
/// Longer paths are cut.
pub const PATH_BYTES_MAX: usize = 256;
/// Hits looked at in one second; above it fewer are looked at.
const SAMPLES_PER_SECOND: u32 = 1_000;
/// At least one hit in so many is looked at (as a power of two).
const SHIFT_MAX: u32 = 12;

/// A key and how often it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopKey {
    /// The route's name.
    pub route: Arc<str>,
    /// The path, cut where it is long.
    pub path: Arc<str>,
    /// Answers from the store, estimated; where misses are counted, misses.
    pub hits: u64,
    /// Bytes of their bodies, estimated.
    pub bytes: u64,
    /// By how much the figure it is listed for may be too high.
    pub error: u64,
}

/// The sketch.
#[derive(Debug, Default)]
pub struct TopKeys {
    /// One hit in 2^shift is looked at.
    shift: AtomicU32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hasher: RandomState,
    by_hits: Sketch,
    by_bytes: Sketch,
    second: u64,
    samples: u32,
}

#[derive(Debug, Default)]
struct Sketch {
    keys: Vec<Counted>,
    places: HashMap<u64, usize, RandomState>,
}

#[derive(Debug)]
struct Counted {
    hash: u64,
    weight: u64,
    key: TopKey,
}

thread_local! {
    static SEEN: Cell<u32> = const { Cell::new(0) };
}

impl TopKeys {
    /// Counts an answer of this key.
    pub fn record(&self, route: &str, path: &str, bytes: u64, now: Timestamp) {
        let shift = self.shift.load(Ordering::Relaxed);
        let seen = SEEN.get().wrapping_add(1);
        SEEN.set(seen);
        if seen & ((1 << shift) - 1) != 0 {
            return;
        }
        let Some(mut state) = self.state.try_lock() else {
            return;
        };
        self.adapt(&mut state, now);
        let path = cut(path);
        let hash = state.hasher.hash_one((route, path));
        let (hits, bytes) = (1 << shift, bytes << shift);
        state.by_hits.count(hash, hits, route, path, hits, bytes);
        state.by_bytes.count(hash, bytes, route, path, hits, bytes);
    }

    /// Looks at fewer hits where there are many, at more where there are few.
    fn adapt(&self, state: &mut State, now: Timestamp) {
        let second = now.unix_millis() / 1_000;
        let shift = self.shift.load(Ordering::Relaxed);
        if second != state.second {
            if state.samples < SAMPLES_PER_SECOND / 4 && shift > 0 {
                self.shift.store(shift - 1, Ordering::Relaxed);
            }
            state.second = second;
            state.samples = 0;
        }
        state.samples += 1;
        if state.samples >= SAMPLES_PER_SECOND && shift < SHIFT_MAX {
            self.shift.store(shift + 1, Ordering::Relaxed);
            state.samples /= 2;
        }
    }

    /// The `limit` keys with the most hits.
    #[must_use]
    pub fn by_hits(&self, limit: usize) -> Vec<TopKey> {
        self.state.lock().by_hits.top(limit)
    }

    /// The `limit` keys with the most bytes.
    #[must_use]
    pub fn by_bytes(&self, limit: usize) -> Vec<TopKey> {
        self.state.lock().by_bytes.top(limit)
    }

    /// Forgets everything.
    pub fn reset(&self) {
        let mut state = self.state.lock();
        state.by_hits = Sketch::default();
        state.by_bytes = Sketch::default();
    }
}

impl Sketch {
    fn count(&mut self, hash: u64, weight: u64, route: &str, path: &str, hits: u64, bytes: u64) {
        let known = self.places.get(&hash).copied();
        let is_same = |place: &usize| {
            let key = &self.keys[*place].key;
            *key.path == *path && *key.route == *route
        };
        if let Some(place) = known.filter(is_same) {
            let counted = &mut self.keys[place];
            counted.weight += weight;
            counted.key.hits += hits;
            counted.key.bytes += bytes;
            return;
        }
        let mut counted = Counted {
            hash,
            weight,
            key: TopKey {
                route: route.into(),
                path: path.into(),
                hits,
                bytes,
                error: 0,
            },
        };
        if known.is_none() && self.keys.len() < KEYS_MAX {
            self.places.insert(hash, self.keys.len());
            self.keys.push(counted);
            return;
        }
        // The least takes the newcomer's name and keeps its weight: what is
        // counted too much is known as the error.
        let least = known.or_else(|| {
            let places = self.keys.iter().enumerate();
            let least = places.min_by_key(|(_, counted)| counted.weight);
            least.map(|(place, _)| place)
        });
        let Some(place) = least else { return };
        let least = &mut self.keys[place];
        self.places.remove(&least.hash);
        self.places.insert(hash, place);
        counted.weight += least.weight;
        counted.key.error = least.weight;
        *least = counted;
    }

    fn top(&self, limit: usize) -> Vec<TopKey> {
        let mut all: Vec<&Counted> = self.keys.iter().collect();
        all.sort_by(|left, right| {
            let by_weight = right.weight.cmp(&left.weight);
            by_weight.then_with(|| left.key.path.cmp(&right.key.path))
        });
        // A key that owes its place to others' weight says nothing.
        all.iter()
            .filter(|counted| counted.weight > 2 * counted.key.error)
            .take(limit)
            .map(|counted| counted.key.clone())
            .collect()
    }
}

fn cut(path: &str) -> &str {
    if path.len() <= PATH_BYTES_MAX {
        return path;
    }
    let mut end = PATH_BYTES_MAX;
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[test]
    fn the_most_asked_for_come_first_among_many() {
        let top = TopKeys::default();
        // Slow enough that every hit is looked at.
        let mut millis = 0;
        let mut ask = |path: &str, bytes: u64| {
            millis += 2;
            top.record("shop", path, bytes, at(millis));
        };
        for round in 0..2_000_u32 {
            ask("/popular", 1);
            if round % 4 == 0 {
                ask("/large", 10_000);
            }
            ask(&format!("/rare/{round}"), 1);
        }
        let by_hits = top.by_hits(2);
        assert_eq!(&*by_hits[0].path, "/popular");
        assert_eq!(&*by_hits[1].path, "/large");
        assert!(by_hits[0].hits >= 2_000 - 1 && by_hits[0].hits <= 2_000 + by_hits[0].error);
        assert_eq!(&*top.by_bytes(1)[0].path, "/large");
        assert!(top.by_hits(1_000).len() <= KEYS_MAX);
        top.reset();
        assert!(top.by_hits(1).is_empty());
    }

    #[test]
    fn under_load_one_stands_for_many() {
        let top = TopKeys::default();
        for _ in 0..100_000 {
            top.record("shop", "/busy", 10, at(5_000));
        }
        assert!(top.shift.load(Ordering::Relaxed) > 3);
        let hits = top.by_hits(1)[0].hits;
        assert!((80_000..120_000).contains(&hits), "{hits}");
        // Quiet again, every hit is looked at once more.
        for second in 10..60 {
            for _ in 0..200 {
                top.record("shop", "/busy", 10, at(second * 1_000));
                if top.shift.load(Ordering::Relaxed) == 0 {
                    return;
                }
            }
        }
        panic!("it never calmed down");
    }

    #[test]
    fn a_long_path_is_cut_between_characters() {
        let long = "é".repeat(400);
        assert!(cut(&long).len() <= PATH_BYTES_MAX);
        assert!(long.starts_with(cut(&long)));
    }
}
