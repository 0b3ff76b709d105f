//! A response as it is found in memory, or as it goes there.

use std::sync::Arc;

use super::kept::{Kept, Marks};
use crate::semantics::key::CacheKey;
use crate::semantics::stored::StoredResponse;

/// A response, and what memory keeps of it.
#[derive(Debug)]
pub struct Entry {
    /// The response; shared with the queue to Redis.
    pub response: Arc<StoredResponse>,
    kept: Kept,
}

impl Entry {
    /// A response to be stored under `key`, of which every ban up to its own
    /// position is known.
    #[must_use]
    pub fn new(key: CacheKey, response: Arc<StoredResponse>) -> Self {
        let checked = response.head.position.local;
        Self::promoted(key, response, checked, 0)
    }

    /// A record from Redis, of which every ban up to `checked` is known; a
    /// soft one among them is `softened`.
    #[must_use]
    pub fn promoted(
        key: CacheKey,
        response: Arc<StoredResponse>,
        checked: u64,
        softened: u64,
    ) -> Self {
        let kept = Kept::pack(key, &response, checked, softened);
        Self { response, kept }
    }

    /// What memory has, taken apart. `None` only if memory itself is at fault.
    #[must_use]
    pub fn of(kept: Kept) -> Option<Self> {
        let response = Arc::new(kept.unpacked()?);
        Some(Self { response, kept })
    }

    /// What memory keeps of it.
    #[must_use]
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// What was learnt about it since it was stored.
    #[must_use]
    pub fn marks(&self) -> &Marks {
        self.kept.marks()
    }

    /// Bytes it is charged with.
    #[must_use]
    pub fn weight_bytes(&self) -> u64 {
        self.kept.weight_bytes()
    }
}
