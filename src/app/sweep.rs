//! Clears out what nothing can reuse any more: every minute, and soon after
//! an invalidation.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

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
/// Rests so many times as long as the sweep took, if that is longer: while there
/// are writes without end, sweeps take a hundredth of a core.
const RESTS: u32 = 99;

/// Sweeps for ever, on a thread of its own: the one that this is called from
/// follows the invalidation log meanwhile, and appends to it.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut every = interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => {}
            () = shared.invalidation.changed() => sleep(GATHER).await,
        }
        let began = Instant::now();
        let shared = Arc::clone(&shared);
        let swept = spawn_blocking(move || sweep_once(&shared)).await;
        if let Err(error) = swept {
            tracing::error!(%error, "a sweep ended early");
        }
        let rest = (began.elapsed() * RESTS).clamp(REST, EVERY);
        sleep(rest).await;
    }
}

fn sweep_once(shared: &Shared) {
    let now = shared.clock.now();
    shared.store.memory.sweep(|kept| judge(shared, kept, now));
    shared.invalidation.prune(now);
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
