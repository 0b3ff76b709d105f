//! Where responses are stored: in this process and in Redis.

use std::sync::Arc;
use std::time::Duration;

use crate::semantics::key::CacheKey;
use crate::semantics::stored::StoredResponse;

pub mod hold;
mod keys;
pub mod lookups;
pub mod memory;
pub mod popular;
mod queue;
pub mod record;
pub mod redis;
#[cfg(test)]
mod samples;
mod sweep;
mod writer;

use memory::{Entry, Memory, RouteCache};
use redis::RedisStore;

/// The stores of this instance, nearest first.
#[derive(Debug)]
pub struct Store {
    /// In this process (L1).
    pub memory: Memory,
    /// Shared by instances (L2); `None` where there is none.
    pub redis: Option<RedisStore>,
}

impl Store {
    /// Stores a response everywhere. What is too large for memory is still
    /// given back, to answer with. `lead`: how far its times are ahead of the
    /// wall clock, by which records are dated.
    pub fn put(
        &self,
        cache: &Arc<RouteCache>,
        key: CacheKey,
        response: Arc<StoredResponse>,
        lead: Duration,
    ) -> Arc<Entry> {
        if let Some(redis) = &self.redis {
            let kept_for = response.head.kept_for();
            redis.store(key, response.earlier_by(lead), kept_for);
        }
        let entry = Arc::new(Entry::new(key, response));
        self.promote(cache, &entry);
        entry
    }

    /// Puts into memory what another tier has.
    pub fn promote(&self, cache: &Arc<RouteCache>, entry: &Entry) {
        if self.memory.insert(cache, entry).is_err() {
            let key = entry.kept().key();
            tracing::debug!(?key, "a response alone is larger than the memory store");
        }
    }

    /// Waits until what is on its way to Redis is written or dropped.
    pub async fn flushed(&self) {
        if let Some(redis) = &self.redis {
            redis.flushed().await;
        }
    }
}
