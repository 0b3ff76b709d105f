//! Where responses are stored.

use std::sync::Arc;

use http::HeaderMap;

use crate::semantics::key::CacheKey;
use crate::semantics::stored::StoredResponse;

mod keys;
pub mod memory;
mod queue;
pub mod record;
pub mod redis;
#[cfg(test)]
mod samples;
mod sweep;
mod writer;

use memory::{Departure, Entry, Memory, RouteCache};

/// The stores of this instance, nearest first.
#[derive(Debug)]
pub struct Store {
    /// In this process (L1).
    pub memory: Memory,
}

impl Store {
    /// Stores a response everywhere. What is too large for memory is still
    /// given back, to answer with.
    pub fn put(
        &self,
        cache: &Arc<RouteCache>,
        key: CacheKey,
        response: Arc<StoredResponse>,
    ) -> Arc<Entry> {
        let entry = Arc::new(Entry::new(response));
        self.promote(cache, key, Arc::clone(&entry));
        entry
    }

    /// Puts into memory what another tier has.
    pub fn promote(&self, cache: &Arc<RouteCache>, key: CacheKey, entry: Arc<Entry>) {
        if self.memory.insert(cache, key, entry).is_err() {
            tracing::debug!(?key, "a response alone is larger than the memory store");
        }
    }

    /// Drops this very entry from memory, if it is still there.
    pub fn remove(&self, cache: &RouteCache, key: &CacheKey, entry: &Entry, why: Departure) {
        self.memory.remove(cache, key, entry, why);
    }

    /// What Redis has for a request.
    pub async fn lookup_shared(
        &self,
        _cache: &RouteCache,
        _key: &CacheKey,
        _request: &HeaderMap,
    ) -> Option<Arc<StoredResponse>> {
        None
    }
}
