//! One fetch of a cold key over all instances that share Redis, where that is
//! wanted (`[redis] collapse`).
//!
//! Promises: nobody waits longer than `coalescing.wait_timeout`, and whatever
//! goes wrong ends in a fetch of one's own. What another fetched is judged as
//! any record is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::Cacheable;
use super::fetch::{Fetch, Wanted, is_usable};
use crate::store::hold::{Asked, Hold};
use crate::store::memory::Entry;

/// What became of leaving a fetch to another instance.
pub(super) enum Collapsed {
    /// It is ours, with a hold where there is one.
    Ours(Option<Hold>),
    /// Another has fetched it.
    Found(Arc<Entry>),
}

/// Between two looks for what another instance fetches.
const COLLAPSE_PAUSE: Duration = Duration::from_millis(10);

impl Fetch {
    /// Leaves the fetch of a cold key to one instance, where that is wanted:
    /// waits for its record, or for being the one.
    pub(super) async fn collapse(&self, cacheable: &Cacheable) -> Collapsed {
        let redis = self.shared.store.redis.as_ref();
        let is_whole = matches!(self.wanted, Wanted::Whole);
        let is_cold = is_whole && self.may_use_redis && self.candidate.is_none();
        let Some(redis) = redis.filter(|redis| is_cold && redis.is_collapsing()) else {
            return Collapsed::Ours(None);
        };
        let wait = self.ask.site.config.coalescing.wait_timeout;
        let until = Instant::now() + wait;
        while Instant::now() < until {
            let hold = match redis.hold(&cacheable.key).await {
                Asked::Ours(hold) => Some(hold),
                Asked::Theirs => {
                    tokio::time::sleep(COLLAPSE_PAUSE).await;
                    None
                }
                Asked::Unavailable => break,
            };
            // The one who had the hold before may have just been done.
            if let Some(entry) = self.look_in_redis(cacheable).await
                && is_usable(&entry, &self.ask)
            {
                return Collapsed::Found(entry);
            }
            if hold.is_some() {
                return Collapsed::Ours(hold);
            }
        }
        Collapsed::Ours(None)
    }
}
