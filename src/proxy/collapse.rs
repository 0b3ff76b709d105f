//! One fetch of a cold key over all instances that share Redis, where that is
//! wanted (`[redis] collapse`).
//!
//! Promises: nobody waits longer than `coalescing.wait_timeout`, nor for a
//! fetch that began before an invalidation of what it fetches, and whatever
//! goes wrong ends in a fetch of one's own. What another fetched is judged as
//! any record is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::Cacheable;
use super::fetch::{Fetch, Wanted};
use super::promote::FromRedis;
use crate::semantics::stored::LogPosition;
use crate::store::hold::{Asked, Hold, Holder};
use crate::store::lookups::Budget;
use crate::store::memory::Entry;
use crate::store::redis::RedisStore;

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
    /// waits for its record, or for being the one. The first question comes
    /// out of what is left of `budget`.
    pub(super) async fn collapse(
        &self,
        redis: &RedisStore,
        cacheable: &Cacheable,
        mut budget: Budget,
    ) -> Collapsed {
        let is_cold = matches!(self.wanted, Wanted::Whole) && self.candidate.is_none();
        if !is_cold || !redis.is_collapsing() {
            return Collapsed::Ours(None);
        }
        let guess = self.guess(cacheable);
        let (key, selecting) = (&cacheable.key, self.ask.selecting());
        let mut holder = Holder {
            began: self.began.log,
            takes_over: false,
        };
        let wait = self.ask.site.config.coalescing.wait_timeout;
        let until = Instant::now() + wait;
        while Instant::now() < until {
            let (asked, lookup) = redis
                .hold(key, selecting, guess.as_ref(), &holder, &mut budget)
                .await;
            if let FromRedis::Answer(entry) = self.weigh(redis, cacheable, lookup) {
                return Collapsed::Found(entry);
            }
            match asked {
                Asked::Ours(hold) => return Collapsed::Ours(Some(hold)),
                Asked::Unavailable => break,
                Asked::Foreign => holder.takes_over = true,
                Asked::Theirs(Some(began)) if self.is_in_vain(cacheable, began) => {
                    holder.takes_over = true;
                }
                Asked::Theirs(_) => {
                    tokio::time::sleep(COLLAPSE_PAUSE).await;
                    budget = redis.budget();
                }
            }
        }
        Collapsed::Ours(None)
    }

    /// Whether what is fetched from `began` on is invalid already, as far as
    /// is known here.
    fn is_in_vain(&self, cacheable: &Cacheable, began: LogPosition) -> bool {
        let (route, target) = (&cacheable.route.name, &cacheable.target);
        let invalidation = &self.shared.invalidation;
        invalidation.overtook_another(began, route, target)
    }
}
