//! Which writes are spared the log, and what may be stored before the others
//! know of a route.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acks::margin;
use super::announce::WORD_AGE_MAX;
use super::here::Here;
use super::outlet::Outlet;
use super::scope::Ban;
use super::unlogged::Unlogged;
use super::{Invalidation, OutOfTouch, Receipt, SharedLog};
use crate::semantics::stored::Position;

impl Invalidation {
    /// These are the routes of this instance from now on. The others are told.
    pub fn set_routes<'a>(&self, paths: impl Iterator<Item = &'a str>) {
        self.here.routes.set_own(paths.map(Box::from).collect());
    }

    /// Whether all instances that there are announce their routes, as their
    /// heartbeats say. Those of older versions do not.
    pub fn set_announcing(&self, is_everybody: bool) {
        self.here.routes.set_announcing(is_everybody);
    }

    /// How far bans are known, for a fetch under the route of this path; to be
    /// read before the origin is asked. While the others may not know of the
    /// route, nothing is: what is fetched is not stored.
    #[must_use]
    pub fn position_under(&self, path: &str) -> Position {
        let position = self.position();
        let incarnation = position.log.incarnation;
        let is_known = self.shared.is_none()
            || incarnation == 0
            || self.here.routes.is_announced(path, incarnation);
        if is_known {
            position
        } else {
            Position::default()
        }
    }

    /// The same as [`Self::put_in_force`], for the bans of a write that was
    /// answered: they are left out of the log, and nobody is waited for, where
    /// no route of the fleet could have stored anything that they match.
    pub async fn put_write_in_force(&self, bans: &[Ban]) -> Receipt {
        let is_needless = !bans.is_empty()
            && match &self.shared {
                Some(shared) => self.spares(shared, bans),
                None => !self.here.routes.may_meet_known(bans),
            };
        if !is_needless {
            return self.put_in_force(bans).await;
        }
        if let Some(shared) = &self.shared {
            shared.counters.log.unlogged.increment();
        }
        Receipt {
            number: self.here.bans.head(),
            position: None,
            is_kept: true,
            is_unlogged: true,
            appended: Instant::now(),
        }
    }

    fn spares(&self, shared: &SharedLog, bans: &[Ban]) -> bool {
        let incarnation = self.here.bans.applied().incarnation;
        let (routes, now) = (&self.here.routes, Instant::now());
        let may_be_met = match shared.lease {
            Some(_) if self.has_lapsed(now) => routes.could_meet(bans, incarnation),
            Some(lease) if self.is_heard_since(lease, incarnation, now) => {
                routes.may_meet(bans, incarnation)
            }
            None if self.is_heard_within(WORD_AGE_MAX, now) => routes.may_meet(bans, incarnation),
            _ => true,
        };
        incarnation != 0 && !may_be_met && shared.unlogged.put(bans, incarnation)
    }

    /// Whether a word came within the lease, and the log has stood for one. Before
    /// that, others may still answer by the log before it, which may have
    /// announced a route that was not read here.
    fn is_heard_since(&self, lease: Duration, incarnation: u128, now: Instant) -> bool {
        let known_since = self.here.touch.known_since(incarnation);
        let stands_until = known_since.map(|since| since + lease + margin(lease));
        self.is_heard_within(lease, now) && stands_until.is_some_and(|until| until <= now)
    }

    /// Waits until a write may be made that `might_ban` so much: in strict mode,
    /// until this instance is in touch with the log, so that it can tell the
    /// others; where it could meet nothing of what was last known of the fleet's
    /// routes, not at all.
    ///
    /// # Errors
    /// [`OutOfTouch`] where it has not been for as long as the lease.
    pub async fn may_write(&self, might_ban: impl FnOnce() -> Vec<Ban>) -> Result<(), OutOfTouch> {
        let Some(lease) = self.shared.as_ref().and_then(|shared| shared.lease) else {
            return Ok(());
        };
        if !self.has_lapsed(Instant::now()) {
            return Ok(());
        }
        let incarnation = self.here.bans.applied().incarnation;
        if incarnation != 0 && !self.here.routes.could_meet(&might_ban(), incarnation) {
            return Ok(());
        }
        let in_touch = async {
            while self.has_lapsed(Instant::now()) {
                self.here.heard().await;
            }
        };
        tokio::time::timeout(lease, in_touch)
            .await
            .map_err(|_| OutOfTouch)
    }

    /// Whether this instance's routes were announced in the log that it follows;
    /// those that came by a reload perhaps not yet.
    pub(super) fn is_announced(&self) -> bool {
        let incarnation = self.here.bans.applied().incarnation;
        self.here.routes.are_announced_in(incarnation)
    }

    /// What is not known to be needless is logged before this process ends.
    pub(super) fn log_all_unlogged(&self, shared: &SharedLog) {
        for bans in shared.unlogged.take() {
            // Waited for with all the others.
            let (_number, _appended) = shared.outlet.put(&bans);
        }
    }
}

/// Logs those of the bans left out that turn out to be needed, until dropped.
pub(super) async fn settle(here: Arc<Here>, unlogged: Arc<Unlogged>, outlet: Arc<Outlet>) {
    /// A word that came in between is made up for by the next.
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    loop {
        unlogged.filled().await;
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(word) = here.touch.last_word() else {
            continue;
        };
        // Read after the word: it is of this log, or of one before it.
        let incarnation = here.bans.applied().incarnation;
        let may_meet = |bans: &[Ban]| here.routes.may_meet(bans, incarnation);
        for bans in unlogged.settle(word, incarnation, may_meet) {
            tracing::debug!("a write may have met a route that was new: it is logged");
            // Nobody waits for it.
            let (_number, _appended) = outlet.put(&bans);
        }
    }
}
