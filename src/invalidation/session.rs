//! Read-your-writes: the position that a client takes from the answer to its
//! write to whatever instance it asks next.
//!
//! A position in the log is good at every instance that has applied it. A
//! *local* one, of this instance's own incarnation, says how far its own bans
//! were in force: it is handed out where a ban has no place in the log, or not
//! yet. A request that brings it to another instance is answered by the origin.
//! So is one that brings [`UNKNOWN`], a position of another log, or one that
//! cannot be read.
//!
//! Bounds: nobody waits longer than [`WAIT_MAX`], and no more than
//! [`WAITERS_MAX`] requests wait at once; the others count as not reached.

use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

use super::wire::{self, fresh_incarnation};
use super::{Invalidation, Receipt};
use crate::clock::Timestamp;
use crate::semantics::stored::LogPosition;

/// How long a request waits until this instance has applied what it brings. On
/// a healthy network a follower is behind by milliseconds.
const WAIT_MAX: Duration = Duration::from_millis(250);
/// Requests that wait at once.
const WAITERS_MAX: usize = 256;
/// How long a client brings a position, and how long it asks the origin where
/// it brings one that no instance can answer for.
pub const POSITION_AGE_MAX: Duration = Duration::from_secs(5 * 60);
/// The text of a position is no longer: 32 digits, 20 and 20.
const TEXT_MAX: usize = 74;

/// The incarnation of a position that no instance has reached: what it says in
/// place of the first half is when it was handed out.
const UNKNOWN: u128 = 0;

/// What a request brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Brought {
    /// Nothing: it takes what there is.
    #[default]
    Nothing,
    /// What it has written is no newer than this.
    Position(LogPosition),
    /// Something that is no position.
    Unreadable,
}

impl Brought {
    /// What this text says.
    #[must_use]
    pub fn read(text: &[u8]) -> Self {
        read(text).map_or(Self::Unreadable, Self::Position)
    }
}

/// What an instance needs to know of those who bring positions.
#[derive(Debug)]
pub(super) struct Sessions {
    /// The incarnation of local positions: of this process alone.
    own: u128,
    /// The log was applied further.
    applied: Notify,
    waiters: Semaphore,
}

impl Sessions {
    pub(super) fn new() -> Self {
        let own = u128::from_str_radix(&fresh_incarnation(), 16).unwrap_or_default();
        Self {
            own: own.max(UNKNOWN + 1),
            applied: Notify::new(),
            waiters: Semaphore::new(WAITERS_MAX),
        }
    }

    /// The log was applied further.
    pub(super) fn advanced(&self) {
        self.applied.notify_waiters();
    }
}

impl Invalidation {
    /// The position of a write whose bans are in force, for the client whose
    /// request `brought` another. Where the answer `goes_on`, its bans come
    /// once more at its end.
    #[must_use]
    pub fn session_position(
        &self,
        receipt: &Receipt,
        goes_on: bool,
        brought: Brought,
        now: Timestamp,
    ) -> LogPosition {
        let local = LogPosition {
            incarnation: self.here.sessions.own,
            millis: 0,
            sequence: receipt.number,
        };
        let position = receipt.position.filter(|_| !goes_on).unwrap_or(local);
        let Brought::Position(brought) = brought else {
            return position;
        };
        // What was brought has to hold on: what is handed out takes its place.
        let follows_on = self.is_reached(brought)
            || brought.incarnation == position.incarnation
            || (brought.incarnation == UNKNOWN && is_over(brought, now));
        if follows_on {
            return position;
        }
        LogPosition {
            incarnation: UNKNOWN,
            millis: if brought.incarnation == UNKNOWN {
                brought.millis
            } else {
                now.unix_millis()
            },
            sequence: 0,
        }
    }

    /// Whether what is stored here may answer a request that brings this,
    /// after a wait for it where that may help.
    pub async fn has_reached(&self, brought: Brought) -> bool {
        let position = match brought {
            Brought::Nothing => return true,
            Brought::Unreadable => return false,
            Brought::Position(position) => position,
        };
        if self.is_reached(position) {
            return true;
        }
        // Nothing will come: of another log, or while the log is out of reach.
        let log = self.here.bans.applied();
        let may_come = position.incarnation == log.incarnation && log.incarnation != UNKNOWN;
        if !may_come || self.here.touch.is_lost() {
            return false;
        }
        let Ok(_waiter) = self.here.sessions.waiters.try_acquire() else {
            return false;
        };
        let reached = async {
            loop {
                let advanced = self.here.sessions.applied.notified();
                tokio::pin!(advanced);
                advanced.as_mut().enable();
                if self.is_reached(position) {
                    return;
                }
                advanced.await;
            }
        };
        tokio::time::timeout(WAIT_MAX, reached).await.is_ok()
    }

    fn is_reached(&self, position: LogPosition) -> bool {
        if position.incarnation == UNKNOWN {
            return false;
        }
        if position.incarnation == self.here.sessions.own {
            return position.millis == 0 && position.sequence <= self.here.bans.head();
        }
        let applied = self.here.bans.applied();
        position.incarnation == applied.incarnation && position <= applied
    }
}

/// Whether no client has to bring it any more.
fn is_over(unknown: LogPosition, now: Timestamp) -> bool {
    let age = now.unix_millis().checked_sub(unknown.millis);
    age.is_some_and(|age| u128::from(age) > POSITION_AGE_MAX.as_millis())
}

/// A position as a client brings it: `incarnation-millis-sequence`.
#[must_use]
pub fn write(position: &LogPosition) -> String {
    format!("{:x}-{position}", position.incarnation)
}

fn read(text: &[u8]) -> Option<LogPosition> {
    let is_one = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b'-';
    if text.len() > TEXT_MAX || !text.iter().all(is_one) {
        return None;
    }
    let (incarnation, id) = std::str::from_utf8(text).ok()?.split_once('-')?;
    let incarnation = u128::from_str_radix(incarnation, 16).ok()?;
    wire::position(incarnation, id)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
