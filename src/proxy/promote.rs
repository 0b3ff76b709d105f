//! What a fetch takes from Redis.
//!
//! A fetch takes only what it has not got: a record that is no newer than the
//! stored response it sets out from would be the answer to its own validation.
//! And only what serves it: one whose stored response answers already is out
//! for a fresh one. The record has to be of the target that was asked for,
//! whatever key it stands under, and no invalidation may be against it.

use std::sync::Arc;

use super::ask::{Ask, Cacheable};
use super::fetch::Fetch;
use super::shared::Shared;
use crate::invalidation::bans::Verdict;
use crate::semantics::policy::StoreSetCookie;
use crate::semantics::reuse::Reuse;
use crate::semantics::storability::remove_cookies;
use crate::semantics::stored::{StoredHead, StoredResponse};
use crate::semantics::vary::VaryNames;
use crate::store::lookups::Budget;
use crate::store::memory::Entry;
use crate::store::redis::{FoundRecord, Lookup, RedisStore};

/// What Redis has for a fetch.
pub(super) enum FromRedis {
    /// A response that answers; it is in memory now.
    Answer(Arc<Entry>),
    /// One that is newer than what the fetch has, and may be asked about.
    Candidate(Arc<Entry>),
    /// Nothing of use.
    Nothing,
}

impl Fetch {
    /// Looks in Redis for what this fetch is out for.
    pub(super) async fn look_in_redis(
        &self,
        redis: &RedisStore,
        cacheable: &Cacheable,
        budget: &mut Budget,
    ) -> FromRedis {
        let guess = self.guess(cacheable);
        let selecting = self.ask.selecting();
        let lookup = redis.lookup(&cacheable.key, selecting, guess.as_ref(), budget);
        let lookup = lookup.await;
        self.weigh(redis, cacheable, lookup)
    }

    /// What memory knows of the names that this key varies on.
    pub(super) fn guess(&self, cacheable: &Cacheable) -> Option<VaryNames> {
        let memory = &self.shared.store.memory;
        memory.vary_names(&cacheable.cache, &cacheable.key)
    }

    /// What a record is good for, which is counted.
    pub(super) fn weigh(
        &self,
        redis: &RedisStore,
        cacheable: &Cacheable,
        lookup: Lookup,
    ) -> FromRedis {
        let Lookup::Hit(record) = lookup else {
            return FromRedis::Nothing;
        };
        if !is_for(&record.response.head, cacheable) {
            redis.count_misplaced();
            return FromRedis::Nothing;
        }
        let weighed = match self.newer_and_valid(cacheable, record) {
            None => FromRedis::Nothing,
            Some(entry) if self.is_good_enough(&entry) => {
                self.shared.store.promote(&cacheable.cache, &entry);
                FromRedis::Answer(Arc::new(entry))
            }
            Some(entry) => FromRedis::Candidate(Arc::new(entry)),
        };
        redis.count(matches!(weighed, FromRedis::Answer(_)));
        weighed
    }

    fn newer_and_valid(&self, cacheable: &Cacheable, record: FoundRecord) -> Option<Entry> {
        let mut response = record.response;
        if cacheable.route.policy.set_cookie != StoreSetCookie::Origin {
            // Written under other rules: it was one client's cookie.
            remove_cookies(&mut response.head.fields);
        }
        let clock = &self.shared.clock;
        let now = clock.now();
        let response = Arc::from(response);
        let response =
            StoredResponse::told_by_another(&response, clock.lead(), now, record.stored_for);
        let head = &response.head;
        let is_news = self
            .candidate
            .as_ref()
            .is_none_or(|candidate| head.response_time > candidate.response.head.response_time);
        if !is_news || head.is_spent(now) {
            return None;
        }
        let checked = self.shared.invalidation.judge_record(head);
        let softened = match checked.verdict {
            Verdict::Banned => return None,
            Verdict::Softened { by } => by,
            Verdict::Stands => 0,
        };
        let (key, checked) = (cacheable.key, checked.checked);
        Some(Entry::promoted(key, response, checked, softened))
    }

    /// Whether it serves what this fetch is for. One that set out from what
    /// answers already, to renew it, needs a fresh one.
    fn is_good_enough(&self, entry: &Entry) -> bool {
        let (shared, ask) = (&self.shared, &self.ask);
        let candidate = self.candidate.as_ref();
        let renews = candidate
            .is_some_and(|candidate| !matches!(judge(shared, ask, candidate), Reuse::Validate(_)));
        match judge(shared, ask, entry) {
            Reuse::Fresh => true,
            Reuse::Stale { .. } => !renews,
            Reuse::Validate(_) => false,
        }
    }
}

/// What a stored response is good for to this request.
fn judge(shared: &Shared, ask: &Ask, entry: &Entry) -> Reuse {
    shared.assess(entry.kept(), ask.started, ask.now, &ask.directives)
}

/// Whether a record is of what was asked for: a client that can write to Redis could
/// have put any record under any key.
fn is_for(head: &StoredHead, cacheable: &Cacheable) -> bool {
    let (target, asked) = (&head.target, &cacheable.target);
    *head.route == *cacheable.route.name
        && target.path == asked.path
        && target.query == asked.query
        && (target.host == asked.host || !cacheable.route.key.host)
}
