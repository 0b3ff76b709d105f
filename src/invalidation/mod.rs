//! Invalidation: bans, the rules that make writes into bans, and the log that
//! carries bans between instances.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Clock;
use crate::semantics::stored::{LogPosition, Position, StoredHead, Target};

pub mod bans;
pub mod follow;
pub mod log;
mod replay;
pub mod rules;
pub mod scope;
pub mod wire;

use bans::{Bans, Checked, Verdict};
use scope::Ban;

/// The bans of this instance and the way to those of others.
#[derive(Debug)]
pub struct Invalidation {
    /// The bans in force.
    pub bans: Bans,
    clock: Clock,
}

/// What became of an invalidation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Its place in the log; `None` without a log, or while the log cannot be
    /// reached.
    pub position: Option<LogPosition>,
    /// It is in force here and will be in the log, but is not yet.
    pub is_pending: bool,
}

impl Invalidation {
    /// Invalidation in this instance alone.
    #[must_use]
    pub fn alone(bans_max: usize, clock: Clock) -> Self {
        Self {
            bans: Bans::new(bans_max),
            clock,
        }
    }

    /// Puts bans in force: here at once, then in the log.
    pub async fn put_in_force(&self, bans: &[Ban]) -> Receipt {
        if bans.is_empty() {
            return Receipt::default();
        }
        self.bans.apply(bans, self.clock.now());
        Receipt::default()
    }

    /// How far bans are known; to be read before the origin is asked.
    #[must_use]
    pub fn position(&self) -> Position {
        self.bans.position()
    }

    /// Whether a fetch of `target` that began at `position` was overtaken.
    #[must_use]
    pub fn overtook(&self, position: &Position, route: &str, target: &Target) -> bool {
        self.bans.overtook(position, route, target)
    }

    /// Whether a response that has been here for `resident_time` may not be
    /// reused unasked, because invalidations may have been missed meanwhile.
    #[must_use]
    pub fn is_unsynced(&self, resident_time: Duration) -> bool {
        let _ = resident_time;
        false
    }

    /// Judges a response in memory that remembers in `checked` and `softened`
    /// what was found before. While nothing was invalidated since, that is one
    /// comparison.
    #[must_use]
    pub fn judge(
        &self,
        head: &StoredHead,
        checked: &std::sync::atomic::AtomicU64,
        softened: &std::sync::atomic::AtomicU64,
    ) -> Verdict {
        let seen = checked.load(Ordering::Acquire);
        if seen != self.bans.head() {
            let Checked {
                verdict,
                checked: up_to,
            } = self.bans.judge(head, seen);
            match verdict {
                Verdict::Banned => return Verdict::Banned,
                Verdict::Softened { by } => {
                    softened.fetch_max(by, Ordering::AcqRel);
                }
                Verdict::Stands => {}
            }
            // After `softened`: whoever sees the number sees the mark.
            checked.fetch_max(up_to, Ordering::AcqRel);
        }
        match softened.load(Ordering::Acquire) {
            0 => Verdict::Stands,
            by => Verdict::Softened { by },
        }
    }
}
