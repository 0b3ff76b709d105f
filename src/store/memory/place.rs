//! Where a response stands in its shard's index.
//!
//! The index alone changes it, under the lock of the shard. It is kept in the
//! response and not beside it because a hit reads that memory anyway; so a
//! response can stand in one index only, and only once.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::nodes::NONE;

/// The place of a response.
#[derive(Debug)]
pub(super) struct Place {
    since: AtomicU64,
    node: AtomicU32,
    uses: AtomicU8,
    is_small: AtomicBool,
}

impl Place {
    /// No place.
    pub(super) fn none() -> Self {
        Self {
            since: AtomicU64::new(0),
            node: AtomicU32::new(NONE),
            uses: AtomicU8::new(0),
            is_small: AtomicBool::new(false),
        }
    }

    /// It has a node, and was used just now.
    pub(super) fn begin(&self, node: u32, now: u64) {
        let before = self.node.swap(node, Ordering::Relaxed);
        debug_assert_eq!(before, NONE, "a response stands in two places");
        self.set_since(now);
        self.set_uses(0);
    }

    /// It has left; gives the number of the node it had.
    pub(super) fn end(&self) -> u32 {
        self.node.swap(NONE, Ordering::Relaxed)
    }

    /// The number of its node.
    pub(super) fn node(&self) -> u32 {
        self.node.load(Ordering::Relaxed)
    }

    /// When it was last used (LRU), or put where it is (S3-FIFO).
    pub(super) fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    pub(super) fn set_since(&self, now: u64) {
        self.since.store(now, Ordering::Relaxed);
    }

    /// How often it was used (S3-FIFO), up to a bound.
    pub(super) fn uses(&self) -> u8 {
        self.uses.load(Ordering::Relaxed)
    }

    pub(super) fn set_uses(&self, uses: u8) {
        self.uses.store(uses, Ordering::Relaxed);
    }

    /// Whether it is in the small queue (S3-FIFO).
    pub(super) fn is_small(&self) -> bool {
        self.is_small.load(Ordering::Relaxed)
    }

    pub(super) fn set_small(&self, is_small: bool) {
        self.is_small.store(is_small, Ordering::Relaxed);
    }
}
