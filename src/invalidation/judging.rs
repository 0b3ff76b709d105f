//! What the bans say of what is stored, and of what is about to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bans::{Checked, Verdict};
use super::scope::Ban;
use super::{Invalidation, KEPT_FOR};
use crate::clock::Timestamp;
use crate::semantics::stored::{BanSubject, LogPosition, Position, StoredHead, Target};

impl Invalidation {
    /// How far bans are known; to be read before the origin is asked.
    #[must_use]
    pub fn position(&self) -> Position {
        self.here.bans.position()
    }

    /// How many bans are held.
    #[must_use]
    pub fn bans_held(&self) -> usize {
        self.here.bans.len()
    }

    /// The number of the newest ban.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.here.bans.head()
    }

    /// Whether a response in memory was usable while `newest` was the newest
    /// ban; `checked` are the bans that it has seen.
    #[must_use]
    pub fn stood_before(&self, subject: &BanSubject<'_>, checked: u64, newest: u64) -> bool {
        self.here.bans.stood_before(subject, checked, newest)
    }

    /// Whether a route that is known here, of this instance or of the fleet,
    /// may have stored something that one of these bans matches.
    #[must_use]
    pub fn may_meet(&self, bans: &[Ban]) -> bool {
        self.here.routes.may_meet_known(bans)
    }

    /// Lets go of bans that everything they could match has outlived.
    pub fn prune(&self, now: Timestamp) {
        self.here.bans.prune(now, KEPT_FOR);
    }

    /// Whether a fetch of `target` that began at `position` was overtaken.
    #[must_use]
    pub fn overtook(&self, position: &Position, route: &str, target: &Target) -> bool {
        self.here.bans.overtook(position, route, target)
    }

    /// The same for a fetch of another instance, which began at that position
    /// of the log: whether a record of it would be of no use here.
    #[must_use]
    pub fn overtook_another(&self, began: LogPosition, route: &Arc<str>, target: &Target) -> bool {
        let head = StoredHead::expected(route, target, began);
        self.judge_record(&head).verdict == Verdict::Banned
    }

    /// Whether a ban on what `head` describes was put in force within `settle`
    /// before `since`: the origin may not have caught up with it yet.
    #[must_use]
    pub fn settles(&self, head: &StoredHead, since: Timestamp, settle: Duration) -> bool {
        settle > Duration::ZERO && self.here.bans.settles(head, since, settle)
    }

    /// Judges a record from Redis.
    #[must_use]
    pub fn judge_record(&self, head: &StoredHead) -> Checked {
        self.here.bans.judge_record(head)
    }

    /// Judges a response in memory that remembers in `checked` and `softened`
    /// what was found before. While nothing was invalidated since, that is one
    /// comparison.
    #[must_use]
    pub fn judge(&self, head: &StoredHead, checked: &AtomicU64, softened: &AtomicU64) -> Verdict {
        self.judge_with(checked, softened, || Some(head.ban_subject()))
    }

    /// The same where what bans look at costs something to be had: it is asked
    /// for only where something was invalidated since. A response of which it
    /// cannot be had is not to be reused.
    #[must_use]
    pub fn judge_with<'a>(
        &self,
        checked: &AtomicU64,
        softened: &AtomicU64,
        subject: impl FnOnce() -> Option<BanSubject<'a>>,
    ) -> Verdict {
        let seen = checked.load(Ordering::Acquire);
        if seen != self.here.bans.head() {
            let Some(subject) = subject() else {
                return Verdict::Banned;
            };
            let Checked {
                verdict,
                checked: up_to,
            } = self.here.bans.judge(&subject, seen);
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
