//! Counts what an operator's invalidation matches in this instance's memory.
//!
//! The bans are in force before anything is counted, so that no invalidation
//! waits for a walk. What the walk finds invalid it drops, as the sweep would.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::invalidation::bans::Verdict;
use crate::invalidation::scope::Scope;
use crate::proxy::Shared;
use crate::store::memory::{Departure, Fate, Kept};

/// A count that takes longer is given up: the answer then has no number.
const COUNT_TIME_MAX: Duration = Duration::from_secs(1);

/// Counts one thing at a time: a walk looks at every stored response.
pub(super) struct Counting {
    place: Arc<Semaphore>,
}

/// What is counted.
#[derive(Clone, Copy)]
pub(super) enum Counted {
    /// What could be used now.
    Usable,
    /// What could be used while this was the newest ban, and cannot any more, or
    /// is stale.
    EndedSince(u64),
}

impl Counting {
    pub(super) fn new() -> Self {
        Self {
            place: Arc::new(Semaphore::new(1)),
        }
    }

    /// How many responses in memory these scopes match. `None` where another
    /// count is under way or this one takes too long.
    pub(super) async fn count(
        &self,
        shared: &Arc<Shared>,
        scopes: Vec<Scope>,
        counted: Counted,
    ) -> Option<u64> {
        let place = Arc::clone(&self.place).try_acquire_owned().ok()?;
        let shared = Arc::clone(shared);
        let walk = spawn_blocking(move || {
            let matched = walk(&shared, &scopes, counted);
            drop(place);
            matched
        });
        walk.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a count of stored responses ended early");
            None
        })
    }
}

fn walk(shared: &Shared, scopes: &[Scope], counted: Counted) -> Option<u64> {
    let deadline = Instant::now() + COUNT_TIME_MAX;
    let now = shared.clock.now();
    let mut matched = 0;
    let mut is_late = false;
    shared.store.memory.sweep(|kept| {
        is_late = is_late || Instant::now() > deadline;
        if is_late || kept.is_spent(now) {
            return Fate::Keep;
        }
        let Some(fate) = judge(shared, scopes, counted, kept) else {
            return Fate::Keep;
        };
        matched += 1;
        fate
    });
    (!is_late).then_some(matched)
}

/// What is to become of a response that is counted; `None` for one that is not.
fn judge(shared: &Shared, scopes: &[Scope], counted: Counted, kept: &Kept) -> Option<Fate> {
    let subject = kept.ban_subject()?;
    if !scopes.iter().any(|scope| scope.matches_subject(&subject)) {
        return None;
    }
    let checked = kept.marks().checked.load(Ordering::Acquire);
    match (counted, shared.judge(kept)) {
        (Counted::Usable, Verdict::Stands | Verdict::Softened { .. }) => Some(Fate::Keep),
        (Counted::Usable, Verdict::Banned) => None,
        (Counted::EndedSince(newest), Verdict::Banned) => shared
            .invalidation
            .stood_before(&subject, checked, newest)
            .then_some(Fate::Drop(Departure::Invalidated)),
        (Counted::EndedSince(newest), Verdict::Softened { by }) => {
            (by > newest).then_some(Fate::Keep)
        }
        (Counted::EndedSince(_), Verdict::Stands) => None,
    }
}
