//! Clears out what nothing can reuse any more: every minute, and soon after
//! an invalidation.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::clock::Timestamp;
use crate::invalidation::bans::Verdict;
use crate::proxy::Shared;
use crate::store::memory::{Departure, Fate, Kept};

/// Between two sweeps where nothing else asks for one.
const EVERY: Duration = Duration::from_secs(60);
/// Invalidations that come together are swept together.
const GATHER: Duration = Duration::from_millis(250);
/// Between two sweeps in any case: a sweep looks at every stored response.
const REST: Duration = Duration::from_secs(1);

/// Sweeps for ever.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = shared.invalidation.changed() => sleep(GATHER).await,
        }
        let now = shared.clock.now();
        shared.store.memory.sweep(|kept| judge(&shared, kept, now));
        shared.invalidation.prune(now);
        sleep(REST).await;
    }
}

fn judge(shared: &Shared, kept: &Kept, now: Timestamp) -> Fate {
    if kept.is_spent(now) {
        return Fate::Drop(Departure::Expired);
    }
    match shared.judge(kept) {
        Verdict::Banned => Fate::Drop(Departure::Invalidated),
        Verdict::Stands | Verdict::Softened { .. } => Fate::Keep,
    }
}
