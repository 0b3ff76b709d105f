//! What the follower of the log knows, for those who speak to Redis beside it.
//!
//! An instance has several connections, and each may lead elsewhere: to a node
//! that was demoted, to a Redis that took another's place. What the follower
//! learned last is the measure of what the others are told.

use std::time::Instant;

use tokio::sync::{Notify, watch};

use crate::semantics::stored::LogPosition;

/// Where the follower is.
#[derive(Debug, Default)]
pub(super) struct Followed {
    known: watch::Sender<Known>,
    doubt: Notify,
    digest: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Everything up to here was told; before the first log, the default.
    position: LogPosition,
    /// The newest look that Redis answered.
    look: u64,
    /// When that answer was asked for; `None` before the first.
    asked: Option<Instant>,
    /// This instance follows the log no more.
    is_over: bool,
}

impl Followed {
    /// Redis answered the look of this number, asked for at `asked`;
    /// everything up to `position` was told.
    pub(super) fn heard(&self, position: LogPosition, look: u64, asked: Instant) {
        self.known.send_modify(|known| {
            known.position = position;
            known.look = look;
            known.asked = Some(asked);
        });
    }

    /// This instance follows the log no more: whoever speaks to Redis goes by
    /// what that says.
    pub(super) fn end(&self) {
        self.known.send_modify(|known| known.is_over = true);
    }

    /// How far the log was followed.
    pub(super) fn position(&self) -> LogPosition {
        self.known.borrow().position
    }

    /// The newest look that Redis answered, and when it was taken; `None` where
    /// there will be none.
    pub(super) fn look(&self) -> Option<(u64, Option<Instant>)> {
        let known = self.known.borrow();
        (!known.is_over).then_some((known.look, known.asked))
    }

    /// Waits until it is known whether what was written to a log of this
    /// incarnation, before `answered`, is in the log that is followed: a look
    /// that was taken after it either found that log or another.
    pub(super) async fn is_in(&self, incarnation: u128, answered: Instant) -> bool {
        let mut known = self.known.subscribe();
        loop {
            {
                let known = known.borrow_and_update();
                if known.is_over || known.position.incarnation == incarnation {
                    return true;
                }
                if known.asked.is_some_and(|asked| asked >= answered) {
                    return false;
                }
            }
            // The sender lives as long as `self`.
            let _changed = known.changed().await;
        }
    }

    /// Another log is written to than the one that is followed: one of the two
    /// connections leads to the wrong place.
    pub(super) fn doubt(&self) {
        self.doubt.notify_one();
    }

    /// Waits until everything up to `position` was told; `false` where another
    /// log is followed by then.
    pub(super) async fn reaches(&self, position: LogPosition) -> bool {
        let mut known = self.known.subscribe();
        // The sender lives as long as `self`.
        let reached = known.wait_for(|known| {
            known.is_over
                || known.position >= position
                || known.position.incarnation != position.incarnation
        });
        reached
            .await
            .is_ok_and(|known| known.position.incarnation == position.incarnation)
    }

    /// The log has grown so far that its digest is to be written here.
    pub(super) fn digest_is_due(&self) {
        self.digest.notify_one();
    }

    /// Waits until that is so. For one waiter.
    pub(super) async fn digest_due(&self) {
        self.digest.notified().await;
    }

    /// Waits until the connection of the follower is doubted.
    pub(super) async fn doubted(&self) {
        self.doubt.notified().await;
    }
}
