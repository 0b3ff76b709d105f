//! What memory has for a read: a response, a part of one, or nothing.

use std::sync::Arc;

use http::Response;

use super::ask::{Ask, Cacheable};
use super::decide::{Reading, Stored};
use super::part;
use super::shared::Shared;
use crate::message::Body;
use crate::semantics::key::CacheKey;
use crate::semantics::reuse::Reuse;
use crate::store::memory::Entry;

/// What was found in memory for a read.
pub(super) enum Found {
    /// A response, and what it is good for.
    Response(Arc<Entry>, Reuse),
    /// An answer made of a stored part.
    Part(Response<Body>),
    /// No answer.
    Other(Stored),
}

impl Found {
    pub(super) fn as_stored(&self) -> Stored {
        match self {
            Self::Response(_, reuse) => Stored::Response(*reuse),
            Self::Part(_) => Stored::Part,
            Self::Other(stored) => *stored,
        }
    }

    /// What the origin may be asked to confirm.
    pub(super) fn into_candidate(self) -> Option<Arc<Entry>> {
        match self {
            Self::Response(entry, _) => Some(entry),
            Self::Part(_) | Self::Other(_) => None,
        }
    }
}

/// Looks in memory for what may answer, and says what it is good for.
pub(super) fn find(shared: &Shared, ask: &Ask, reading: &Reading, cacheable: &Cacheable) -> Found {
    if !reading.may_be_stored() {
        return Found::Other(Stored::Nothing);
    }
    if let Some(entry) = in_memory(shared, ask, cacheable, &cacheable.key) {
        let reuse = assess(shared, ask, &entry);
        return Found::Response(entry, reuse);
    }
    if reading.asks_for.range && !reading.is_head {
        match part::find(shared, ask, cacheable) {
            part::Found::Answer(response) => return Found::Part(response),
            part::Found::Other => return Found::Other(Stored::OtherPart),
            part::Found::Nothing => {}
        }
    }
    let memory = &shared.store.memory;
    let variants = memory.vary_names(&cacheable.cache, &cacheable.key);
    Found::Other(match variants {
        Some(_) => Stored::OtherVariants,
        None => Stored::Nothing,
    })
}

/// What memory has under `key` for this request, unless a ban is against it.
pub(super) fn in_memory(
    shared: &Shared,
    ask: &Ask,
    cacheable: &Cacheable,
    key: &CacheKey,
) -> Option<Arc<Entry>> {
    shared.find(&cacheable.cache, key, ask.selecting())
}

/// What an entry is good for to this request, now.
pub(super) fn assess(shared: &Shared, ask: &Ask, entry: &Entry) -> Reuse {
    shared.assess(entry.kept(), ask.started, ask.now, &ask.directives)
}
