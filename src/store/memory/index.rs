//! Where the responses of one shard are found, and in which order they leave.
//!
//! Two orders. *LRU* is exact: the least recently used leaves first. *S3-FIFO*
//! (Yang et al., SOSP 2023) resists scans: what is new waits in a small queue,
//! a tenth of the bytes, and is let into the main one only if it is used there
//! or was asked for again soon after it had left; neither queue is reordered
//! by a use, which only raises a small counter.
//!
//! A use is a note of the response's number; the order follows before anybody
//! looks at it. Knows nothing of bounds.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::Slot;
use super::kept::Kept;
use super::nodes::{self, Ends, NONE, Nodes};
use super::table::{self, Table};
use crate::config::EvictionPolicy;

/// What a response takes here.
pub(super) const PLACE_BYTES: u64 = nodes::NODE_BYTES + table::WAY_BYTES;

/// Uses noted before the order follows.
const NOTED_MAX: usize = 64;
/// The small queue of S3-FIFO has this part of the bytes.
const SMALL_PART: u64 = 10;
/// A counter of uses goes no higher.
const USES_MAX: u8 = 3;
/// Used more often than this in the small queue, it is let into the main one.
const USES_TO_STAY: u8 = 1;

/// A queue, and what it holds. LRU has one.
#[derive(Debug)]
struct Queue {
    ends: Ends,
    bytes: u64,
    length: usize,
}

/// The responses of one shard.
#[derive(Debug)]
pub(super) struct Index {
    policy: EvictionPolicy,
    hasher: RandomState,
    table: Table,
    nodes: Nodes,
    /// What was used since the order was true (LRU), the last use last.
    noted: Vec<u32>,
    main: Queue,
    small: Queue,
    ghosts: Ghosts,
}

impl Index {
    pub(super) fn new(policy: EvictionPolicy) -> Self {
        Self {
            policy,
            hasher: RandomState::default(),
            table: Table::default(),
            nodes: Nodes::default(),
            noted: Vec::new(),
            main: Queue::EMPTY,
            small: Queue::EMPTY,
            ghosts: Ghosts::default(),
        }
    }

    /// What is in a slot.
    pub(super) fn peek(&self, slot: &Slot) -> Option<&Kept> {
        let tag = tag(self.hash(slot));
        self.table.find(tag, |kept| kept.slot() == slot)
    }

    /// What is in a slot, used at `now`.
    pub(super) fn use_at(&mut self, slot: &Slot, now: u64) -> Option<&Kept> {
        if self.noted.len() == NOTED_MAX {
            self.settle();
        }
        let tag = tag(self.hash(slot));
        let is_it = |kept: &Kept| {
            kept.prefetch();
            kept.slot() == slot
        };
        let kept = self.table.find(tag, is_it)?;
        let place = kept.place();
        match self.policy {
            EvictionPolicy::Lru => {
                place.set_since(now);
                if self.noted.last() != Some(&place.node()) {
                    self.noted.push(place.node());
                }
            }
            // Nothing is written to what all threads read of a popular one.
            EvictionPolicy::S3Fifo if place.uses() == USES_MAX => {}
            EvictionPolicy::S3Fifo => place.set_uses(place.uses() + 1),
        }
        Some(kept)
    }

    /// Puts a response that stands nowhere else into its slot, in place of
    /// another if there is one.
    pub(super) fn put(&mut self, kept: &Kept, now: u64) {
        let slot = kept.slot();
        let hash = self.hash(slot);
        let was_there = self.pop(slot).is_some();
        let is_welcome = match self.policy {
            EvictionPolicy::Lru => true,
            EvictionPolicy::S3Fifo => was_there | self.ghosts.take(hash),
        };
        self.table.insert(tag(hash), kept.clone());
        let at = self.nodes.add(kept.clone());
        kept.place().begin(at, now);
        self.link(kept, !is_welcome);
    }

    /// Takes a response out. Room for others is kept until the last is gone.
    pub(super) fn pop(&mut self, slot: &Slot) -> Option<Kept> {
        self.settle();
        let tag = tag(self.hash(slot));
        let kept = self.table.remove(tag, |kept| kept.slot() == slot)?;
        self.unlink(&kept);
        self.nodes.empty(kept.place().end());
        if self.table.len() == 0 && self.nodes.have_grown() {
            (self.table, self.nodes) = Default::default();
        }
        Some(kept)
    }

    /// Takes a response out to make room: S3-FIFO remembers it for a while.
    pub(super) fn evict(&mut self, slot: &Slot) -> Option<Kept> {
        let kept = self.pop(slot)?;
        if kept.place().is_small() {
            let hash = self.hash(slot);
            self.ghosts.remember(hash, self.main.length);
        }
        Some(kept)
    }

    /// What is to leave next, and since when it is where it is. S3-FIFO lets
    /// pass, on the way, what was used.
    pub(super) fn candidate(&mut self, now: u64) -> Option<(Slot, u64)> {
        self.settle();
        loop {
            let all_bytes = self.small.bytes + self.main.bytes;
            let (small, main) = (self.small.ends.oldest, self.main.ends.oldest);
            let from_small =
                main == NONE || (small != NONE && self.small.bytes * SMALL_PART > all_bytes);
            let oldest = if from_small { small } else { main };
            if oldest == NONE {
                return None;
            }
            let kept = self.nodes.kept(oldest)?.clone();
            let place = kept.place();
            let stays = match self.policy {
                EvictionPolicy::Lru => false,
                EvictionPolicy::S3Fifo if from_small => place.uses() > USES_TO_STAY,
                EvictionPolicy::S3Fifo => place.uses() > 0,
            };
            if !stays {
                return Some((*kept.slot(), place.since()));
            }
            self.unlink(&kept);
            place.set_uses(if from_small { 0 } else { place.uses() - 1 });
            place.set_since(now);
            self.link(&kept, false);
        }
    }

    /// Some of the responses, in no order: those of the next `count` places
    /// from `at` on, and where to go on; `None` where these are the last.
    pub(super) fn some(&self, at: u32, count: u32) -> (impl Iterator<Item = &Kept>, Option<u32>) {
        let given = self.nodes.given();
        let end = at.saturating_add(count).min(given);
        let some = (at..end).filter_map(|at| self.nodes.kept(at));
        (some, (end < given).then_some(end))
    }

    fn hash(&self, slot: &Slot) -> u64 {
        self.hasher.hash_one(slot)
    }

    /// Makes the order follow the uses.
    fn settle(&mut self) {
        self.nodes.make_newest(&mut self.main.ends, &self.noted);
        self.noted.clear();
    }

    /// Makes a response the newest of a queue.
    fn link(&mut self, kept: &Kept, is_small: bool) {
        let place = kept.place();
        place.set_small(is_small);
        let queue = if is_small {
            &mut self.small
        } else {
            &mut self.main
        };
        queue.bytes += kept.weight_bytes();
        queue.length += 1;
        self.nodes.join(&mut queue.ends, place.node());
    }

    fn unlink(&mut self, kept: &Kept) {
        let place = kept.place();
        let queue = if place.is_small() {
            &mut self.small
        } else {
            &mut self.main
        };
        queue.bytes -= kept.weight_bytes();
        queue.length -= 1;
        self.nodes.part(&mut queue.ends, place.node());
    }
}

impl Queue {
    const EMPTY: Self = Self {
        ends: Ends::NONE,
        bytes: 0,
        length: 0,
    };
}

/// The part of a hash that the table goes by.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// What left the small queue not long ago: digests of slots, no more of them
/// than there are responses in the main queue.
#[derive(Debug, Default)]
struct Ghosts {
    order: VecDeque<u64>,
    known: HashSet<u64, RandomState>,
}

impl Ghosts {
    fn remember(&mut self, hash: u64, length_max: usize) {
        if self.known.insert(hash) {
            self.order.push_back(hash);
        }
        while self.order.len() > length_max.max(1) {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Whether it left not long ago; only once.
    fn take(&mut self, hash: u64) -> bool {
        self.known.remove(&hash)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::semantics::key::CacheKey;
    use crate::semantics::vary::SecondaryKey;
    use crate::store::samples;

    struct Fixture {
        index: Index,
        now: u64,
    }

    fn slot(n: u32) -> Slot {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        (CacheKey(key), SecondaryKey::default())
    }

    impl Fixture {
        fn new(policy: EvictionPolicy) -> Self {
            let index = Index::new(policy);
            Self { index, now: 0 }
        }

        /// Asks for `n`; stores it where it is not there, among `most`.
        fn ask(&mut self, n: u32, most: usize) -> bool {
            self.now += 1;
            if self.index.use_at(&slot(n), self.now).is_some() {
                return true;
            }
            let kept = Kept::pack(slot(n).0, &samples::response("x"), 0, 0);
            self.index.put(&kept, self.now);
            while self.index.some(0, u32::MAX).0.count() > most {
                let (oldest, _) = self.index.candidate(self.now).unwrap();
                assert!(self.index.evict(&oldest).is_some());
            }
            false
        }

        fn holds(&self) -> Vec<u32> {
            let numbers = self.index.some(0, u32::MAX).0.map(|kept| {
                let bytes = kept.slot().0.0[..4].try_into().unwrap();
                u32::from_le_bytes(bytes)
            });
            let mut numbers: Vec<u32> = numbers.collect();
            numbers.sort_unstable();
            numbers
        }
    }

    #[test]
    fn least_recently_used_leaves_first() {
        let mut lru = Fixture::new(EvictionPolicy::Lru);
        for n in [1, 2, 3, 1, 4, 2, 5] {
            lru.ask(n, 3);
        }
        assert_eq!(lru.holds(), [2, 4, 5]);
    }

    proptest! {
        /// More uses than are noted, and any change between them.
        #[test]
        fn lru_leaves_in_the_order_of_a_list(
            steps in prop::collection::vec((0..100_u8, 0..100_u32), 0..600),
        ) {
            let mut fixture = Fixture::new(EvictionPolicy::Lru);
            let mut list: Vec<u32> = Vec::new();
            for (what, n) in steps {
                fixture.now += 1;
                let (index, now) = (&mut fixture.index, fixture.now);
                let stood = list.iter().position(|other| *other == n);
                let stood = stood.map(|at| list.remove(at));
                match what {
                    0 => prop_assert_eq!(index.pop(&slot(n)).is_some(), stood.is_some()),
                    1..15 => {
                        let response = samples::response("x");
                        index.put(&Kept::pack(slot(n).0, &response, 0, 0), now);
                        list.push(n);
                    }
                    _ => {
                        let used = index.use_at(&slot(n), now);
                        prop_assert_eq!(used.is_some(), stood.is_some());
                        list.extend(stood);
                    }
                }
            }
            for n in list {
                let (oldest, _) = fixture.index.candidate(fixture.now).unwrap();
                prop_assert_eq!(oldest, slot(n));
                prop_assert!(fixture.index.evict(&oldest).is_some());
            }
            prop_assert!(fixture.index.candidate(fixture.now).is_none());
        }
    }

    #[test]
    fn a_scan_takes_little_of_what_is_in_use() {
        for (policy, least, most) in [
            (EvictionPolicy::S3Fifo, 80, 100),
            (EvictionPolicy::Lru, 0, 0),
        ] {
            let mut store = Fixture::new(policy);
            for _ in 0..4 {
                for n in 0..90 {
                    store.ask(n, 100);
                }
            }
            for n in 1_000..1_500 {
                store.ask(n, 100);
            }
            let kept = store.holds().iter().filter(|n| **n < 90).count();
            assert!((least..=most).contains(&kept), "{policy:?} {kept}");
        }
    }

    #[test]
    fn numbers_are_used_again_and_the_queues_stay_whole() {
        for policy in [EvictionPolicy::Lru, EvictionPolicy::S3Fifo] {
            let mut store = Fixture::new(policy);
            let mut n = 1_u32;
            for round in 0..5_000 {
                n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let wanted = (n >> 16) % 150;
                store.ask(wanted, 100);
                if round % 7 == 0 {
                    store.index.pop(&slot(wanted));
                }
            }
            let index = &mut store.index;
            let length = index.main.length + index.small.length;
            assert_eq!(
                (index.table.len(), length),
                (length, index.some(0, u32::MAX).0.count())
            );
            while let Some((oldest, _)) = index.candidate(0) {
                assert!(index.evict(&oldest).is_some());
            }
            assert_eq!(index.main.bytes + index.small.bytes, 0);
            assert!(!index.nodes.have_grown());
        }
    }
}
