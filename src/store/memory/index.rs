//! Where the responses of one shard are found, and in which order they leave.
//!
//! Two orders. *LRU* is exact: the least recently used leaves first. *S3-FIFO*
//! (Yang et al., SOSP 2023) resists scans: what is new waits in a small queue,
//! a tenth of the bytes, and is let into the main one only if it is used there
//! or was asked for again soon after it had left; neither queue is reordered
//! by a use, which only raises a small counter.
//!
//! Nodes live side by side in chunks and refer to each other by number, which
//! takes half the room of boxes and pointers. Knows nothing of bounds.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Slot;
use super::kept::Kept;
use crate::config::EvictionPolicy;

/// What an entry takes here: its node, and its place in the table at the load
/// a table has on average.
pub(super) const NODE_BYTES: u64 = size_of::<Node>() as u64 + 8;

/// Nodes of one chunk.
const CHUNK_NODES: usize = 64;
/// No node.
const NONE: u32 = u32::MAX;
/// The small queue of S3-FIFO has this part of the bytes.
const SMALL_PART: u64 = 10;
/// A counter of uses goes no higher.
const USES_MAX: u8 = 3;
/// Used more often than this in the small queue, it is let into the main one.
const USES_TO_STAY: u8 = 1;

/// One of the two queues. LRU has the main one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Main,
    Small,
}

#[derive(Debug)]
struct Node {
    slot: Slot,
    /// `None` in a node that is free.
    kept: Option<Arc<Kept>>,
    /// When it was last used (LRU), or put where it is (S3-FIFO).
    since: u64,
    /// Towards the newest.
    newer: u32,
    /// Towards the oldest.
    older: u32,
    queue: Queue,
    uses: u8,
}

/// A queue's ends, and what it holds.
#[derive(Clone, Copy, Debug)]
struct Ends {
    newest: u32,
    oldest: u32,
    bytes: u64,
    length: usize,
}

/// The responses of one shard.
#[derive(Debug)]
pub(super) struct Index {
    policy: EvictionPolicy,
    hasher: RandomState,
    table: HashTable<u32>,
    chunks: Vec<Vec<Node>>,
    free: Vec<u32>,
    main: Ends,
    small: Ends,
    ghosts: Ghosts,
}

impl Index {
    pub(super) fn new(policy: EvictionPolicy) -> Self {
        Self {
            policy,
            hasher: RandomState::default(),
            table: HashTable::new(),
            chunks: Vec::new(),
            free: Vec::new(),
            main: Ends::EMPTY,
            small: Ends::EMPTY,
            ghosts: Ghosts::default(),
        }
    }

    /// What is in a slot.
    pub(super) fn peek(&self, slot: &Slot) -> Option<&Arc<Kept>> {
        self.node(self.find(slot)?).kept.as_ref()
    }

    /// What is in a slot, used at `now`.
    pub(super) fn use_at(&mut self, slot: &Slot, now: u64) -> Option<&Arc<Kept>> {
        let at = self.find(slot)?;
        match self.policy {
            EvictionPolicy::Lru => {
                if self.main.newest != at {
                    self.unlink(at);
                    self.link(at, Queue::Main);
                }
                self.node_mut(at).since = now;
            }
            EvictionPolicy::S3Fifo => {
                let node = self.node_mut(at);
                node.uses = (node.uses + 1).min(USES_MAX);
            }
        }
        self.node(at).kept.as_ref()
    }

    /// When what is in a slot was last used, as far as the order knows.
    pub(super) fn since(&self, slot: &Slot) -> Option<u64> {
        self.find(slot).map(|at| self.node(at).since)
    }

    /// Puts a response into a slot, in place of another if there is one.
    pub(super) fn put(&mut self, slot: Slot, kept: Arc<Kept>, now: u64) {
        let hash = self.hasher.hash_one(slot);
        let is_welcome = match self.policy {
            EvictionPolicy::Lru => true,
            EvictionPolicy::S3Fifo => self.pop(&slot).is_some() | self.ghosts.take(hash),
        };
        if self.policy == EvictionPolicy::Lru {
            drop(self.pop(&slot));
        }
        let queue = if is_welcome {
            Queue::Main
        } else {
            Queue::Small
        };
        let at = self.place(Node {
            slot,
            kept: Some(kept),
            since: now,
            newer: NONE,
            older: NONE,
            queue,
            uses: 0,
        });
        self.link(at, queue);
        let (chunks, hasher) = (&self.chunks, &self.hasher);
        self.table
            .insert_unique(hash, at, |&at| hasher.hash_one(node_of(chunks, at).slot));
    }

    /// Takes a response out. Room for others is kept until the last is gone.
    pub(super) fn pop(&mut self, slot: &Slot) -> Option<Arc<Kept>> {
        let hash = self.hasher.hash_one(slot);
        let chunks = &self.chunks;
        let found = self
            .table
            .find_entry(hash, |&at| node_of(chunks, at).slot == *slot)
            .ok()?;
        let (at, _) = found.remove();
        self.unlink(at);
        self.free.push(at);
        let kept = self.node_mut(at).kept.take();
        if self.table.is_empty() && self.chunks.len() > 1 {
            (self.table, self.chunks, self.free) = Default::default();
        }
        kept
    }

    /// Takes a response out to make room: S3-FIFO remembers it for a while.
    pub(super) fn evict(&mut self, slot: &Slot) -> Option<Arc<Kept>> {
        let at = self.find(slot)?;
        if self.policy == EvictionPolicy::S3Fifo && self.node(at).queue == Queue::Small {
            let hash = self.hasher.hash_one(slot);
            self.ghosts.remember(hash, self.main.length);
        }
        self.pop(slot)
    }

    /// What is to leave next, and since when it is where it is. S3-FIFO lets
    /// pass, on the way, what was used.
    pub(super) fn candidate(&mut self, now: u64) -> Option<(Slot, u64)> {
        loop {
            let all_bytes = self.small.bytes + self.main.bytes;
            let from_small = self.main.oldest == NONE
                || (self.small.oldest != NONE && self.small.bytes * SMALL_PART > all_bytes);
            let ends = if from_small { self.small } else { self.main };
            if ends.oldest == NONE {
                return None;
            }
            let node = self.node(ends.oldest);
            let stays = match (self.policy, node.queue) {
                (EvictionPolicy::Lru, _) => false,
                (EvictionPolicy::S3Fifo, Queue::Small) => node.uses > USES_TO_STAY,
                (EvictionPolicy::S3Fifo, Queue::Main) => node.uses > 0,
            };
            if !stays {
                return Some((node.slot, node.since));
            }
            let was_small = node.queue == Queue::Small;
            self.unlink(ends.oldest);
            let node = self.node_mut(ends.oldest);
            node.uses = if was_small { 0 } else { node.uses - 1 };
            node.since = now;
            self.link(ends.oldest, Queue::Main);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Slot, &Arc<Kept>)> {
        let nodes = self.chunks.iter().flatten();
        nodes.filter_map(|node| Some((&node.slot, node.kept.as_ref()?)))
    }

    fn find(&self, slot: &Slot) -> Option<u32> {
        let hash = self.hasher.hash_one(slot);
        self.table
            .find(hash, |&at| node_of(&self.chunks, at).slot == *slot)
            .copied()
    }

    /// Numbers in the table and the queues are those of nodes.
    fn node(&self, at: u32) -> &Node {
        node_of(&self.chunks, at)
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.chunks[at as usize / CHUNK_NODES][at as usize % CHUNK_NODES]
    }

    fn place(&mut self, node: Node) -> u32 {
        if let Some(at) = self.free.pop() {
            *self.node_mut(at) = node;
            return at;
        }
        let is_full = self
            .chunks
            .last()
            .is_none_or(|chunk| chunk.len() == CHUNK_NODES);
        if is_full {
            self.chunks.push(Vec::with_capacity(CHUNK_NODES));
        }
        let before = (self.chunks.len() - 1) * CHUNK_NODES;
        let chunk = &mut self.chunks[before / CHUNK_NODES];
        chunk.push(node);
        // A shard of 2^32 responses would take terabytes.
        u32::try_from(before + chunk.len() - 1).unwrap_or(NONE)
    }

    fn ends(&mut self, queue: Queue) -> &mut Ends {
        match queue {
            Queue::Main => &mut self.main,
            Queue::Small => &mut self.small,
        }
    }

    /// Makes a node the newest of a queue.
    fn link(&mut self, at: u32, queue: Queue) {
        let bytes = self.node(at).weight_bytes();
        let ends = self.ends(queue);
        let older = std::mem::replace(&mut ends.newest, at);
        if older == NONE {
            ends.oldest = at;
        }
        ends.bytes += bytes;
        ends.length += 1;
        if older != NONE {
            self.node_mut(older).newer = at;
        }
        let node = self.node_mut(at);
        (node.newer, node.older, node.queue) = (NONE, older, queue);
    }

    fn unlink(&mut self, at: u32) {
        let node = self.node(at);
        let (newer, older, queue) = (node.newer, node.older, node.queue);
        let bytes = node.weight_bytes();
        let ends = self.ends(queue);
        ends.bytes -= bytes;
        ends.length -= 1;
        if newer == NONE {
            ends.newest = older;
        }
        if older == NONE {
            ends.oldest = newer;
        }
        if newer != NONE {
            self.node_mut(newer).older = older;
        }
        if older != NONE {
            self.node_mut(older).newer = newer;
        }
    }
}

impl Ends {
    const EMPTY: Self = Self {
        newest: NONE,
        oldest: NONE,
        bytes: 0,
        length: 0,
    };
}

impl Node {
    fn weight_bytes(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.weight_bytes())
    }
}

fn node_of(chunks: &[Vec<Node>], at: u32) -> &Node {
    &chunks[at as usize / CHUNK_NODES][at as usize % CHUNK_NODES]
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
            let kept = Kept::pack(&samples::response("x"), 0, 0);
            self.index.put(slot(n), Arc::new(kept), self.now);
            while self.index.iter().count() > most {
                let (oldest, _) = self.index.candidate(self.now).unwrap();
                assert!(self.index.evict(&oldest).is_some());
            }
            false
        }

        fn holds(&self) -> Vec<u32> {
            let numbers = self.index.iter().map(|(slot, _)| {
                let bytes = slot.0.0[..4].try_into().unwrap();
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
            assert!(index.chunks.len() <= 2);
            let length = index.main.length + index.small.length;
            assert_eq!((index.table.len(), length), (length, index.iter().count()));
            while let Some((oldest, _)) = index.candidate(0) {
                assert!(index.evict(&oldest).is_some());
            }
            assert_eq!(index.main.bytes + index.small.bytes, 0);
            assert!(index.chunks.is_empty() && index.free.is_empty());
        }
    }
}
