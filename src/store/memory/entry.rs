//! A response in memory, with what was learnt about it since it was stored.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::wire;
use crate::semantics::stored::StoredResponse;

/// What an entry takes besides its fields and body: the map's node, the
/// order's links, and the response's own structure.
const ENTRY_OVERHEAD_BYTES: u64 = 640;
/// What a map of fields takes for each it has room for, besides name and value.
const FIELD_SLOT_BYTES: u64 = 112;

/// A response in the store, with what was learnt about it since.
#[derive(Debug)]
pub struct Entry {
    /// The response; shared with the queue to Redis.
    pub response: Arc<StoredResponse>,
    /// The newest ban it was checked against (see `invalidation::bans`).
    pub checked: AtomicU64,
    /// When a soft ban made it stale: the ban's number, or 0.
    pub softened: AtomicU64,
    /// See [`Entry::wire_head`].
    wire_head: Option<Box<[u8]>>,
}

impl Entry {
    /// A response of which every ban up to its own position is known.
    #[must_use]
    pub fn new(response: Arc<StoredResponse>) -> Self {
        let checked = response.head.position.local;
        Self::promoted(response, checked, 0)
    }

    /// A record from Redis, of which every ban up to `checked` is known; a
    /// soft one among them is `softened`.
    #[must_use]
    pub fn promoted(response: Arc<StoredResponse>, checked: u64, softened: u64) -> Self {
        let head = &response.head;
        Self {
            wire_head: wire::head(head.status, &head.fields, &response.body),
            response,
            checked: AtomicU64::new(checked),
            softened: AtomicU64::new(softened),
        }
    }

    /// The head as it goes to an HTTP/1 client, up to the place where our
    /// member of `Cache-Status` is appended; `None` where it needs a closer
    /// look.
    #[must_use]
    pub fn wire_head(&self) -> Option<&[u8]> {
        self.wire_head.as_deref()
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
            + head.fields.capacity().max(head.fields.len()) as u64 * FIELD_SLOT_BYTES
            + head.target.path.len() as u64
            + head.target.query.len() as u64
            + head.target.host.len() as u64
            + self.response.body.len() as u64
            + self.wire_head.as_ref().map_or(0, |head| head.len() as u64)
    }
}
