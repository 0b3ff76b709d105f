//! The bans in force, and whether a stored response outlived them.
//!
//! An invalidation deletes nothing. It is a *ban* with a place in an order,
//! and every stored response remembers how far that order was known when its
//! fetch began; it is reusable only if no later ban matches it. So a fetch
//! that was under way while a write finished is dead on arrival.
//!
//! There are two orders. Responses in memory are measured against the
//! *local* one: the bans this instance applied, counted from its start.
//! Records in Redis, which any instance may have written, are measured against
//! the *log*. A ban of our own is in force locally before it has a place in
//! the log; until it has, it counts as later than every record.
//!
//! Bounds: at most `bans_max` bans. A ban on what an older one speaks of takes
//! its place. At the bound the older half is folded into one that matches
//! everything stored before it: an invalidation too many is safe.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::scope::{Ban, Scope};
use crate::clock::Timestamp;
use crate::semantics::stored::{LogPosition, Position, StoredHead, Target};

/// What the bans say of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No ban since its fetch began matches it.
    Stands,
    /// A soft ban does: it is stale.
    Softened {
        /// The local number of that ban.
        by: u64,
    },
    /// A ban does: it is not to be reused.
    Banned,
}

/// A verdict and how far it holds: every local ban up to `checked` was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What the bans say.
    pub verdict: Verdict,
    /// The newest local ban looked at.
    pub checked: u64,
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct Read {
    /// Its place.
    pub position: LogPosition,
    /// Where it is one of our own: the number [`Bans::apply`] gave for it.
    pub own: Option<u64>,
    /// What it says.
    pub bans: Vec<Ban>,
}

/// The bans in force. Shared by all threads.
#[derive(Debug)]
pub struct Bans {
    /// The number of the newest local ban: all that a hit looks at while
    /// nothing was invalidated.
    head: AtomicU64,
    bans_max: usize,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Ascending by `local`.
    bans: VecDeque<Applied>,
    /// Responses in memory with a position before this are banned.
    local_floor: u64,
    /// Records with a log position before this are banned.
    log_floor: LogPosition,
    /// How far the log was read.
    applied: LogPosition,
    /// The newest ban among those that were folded or forgotten: it may have
    /// been about anything.
    forgotten_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Applied {
    ban: Ban,
    local: u64,
    /// Where the log has it; `None` while it does not.
    log: Option<LogPosition>,
    /// Where it is one of our own that the log does not have yet: its number.
    /// Until that is confirmed it counts as later than every record, whatever
    /// `log` says of another ban on the same.
    awaited: Option<u64>,
    at: Timestamp,
}

impl Applied {
    fn is_after(&self, position: LogPosition) -> bool {
        self.awaited.is_some() || self.log.is_none_or(|log| log > position)
    }
}

impl Bans {
    /// No bans; at most `bans_max` of them from now on.
    #[must_use]
    pub fn new(bans_max: usize) -> Self {
        Self {
            head: AtomicU64::new(0),
            bans_max: bans_max.max(2),
            state: RwLock::default(),
        }
    }

    /// How far bans are known now. To be read *before* the origin is asked.
    #[must_use]
    pub fn position(&self) -> Position {
        let state = self.state.read();
        Position {
            local: self.head.load(Ordering::Acquire),
            log: state.applied,
        }
    }

    /// The number of the newest ban.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// How many bans are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.read().bans.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts bans of our own in force. Answers the number of the last one, by
    /// which [`Bans::confirm`] finds them again.
    pub fn apply(&self, bans: &[Ban], now: Timestamp) -> u64 {
        let mut state = self.state.write();
        let last = self.head.load(Ordering::Acquire) + bans.len() as u64;
        for ban in bans {
            self.push(&mut state, ban.clone(), Place::Awaited(last), now);
        }
        last
    }

    /// Our own bans up to number `last` are in the log, at `position` or
    /// before it. Where that is not the log that was read so far, they stay
    /// later than every record until it is.
    pub fn confirm(&self, last: u64, position: LogPosition) {
        self.state.write().confirm(last, position);
    }

    /// Puts in force what was read from the log, in its order.
    pub fn follow(&self, entries: &[Read], position: LogPosition, now: Timestamp) {
        let mut state = self.state.write();
        for entry in entries {
            if let Some(last) = entry.own {
                state.confirm(last, entry.position);
            } else {
                self.push_all(&mut state, entry, now);
            }
        }
        state.applied = position;
    }

    /// The log was read from its beginning, because what came since is not
    /// known: everything in memory is banned, and every record before
    /// `horizon` or of another log. `entries` are all there is after it.
    pub fn start_over(
        &self,
        horizon: LogPosition,
        entries: &[Read],
        position: LogPosition,
        now: Timestamp,
    ) {
        let mut state = self.state.write();
        let number = self.head.load(Ordering::Acquire) + 1;
        state.local_floor = number;
        state.log_floor = horizon;
        state.forgotten_at = Some(now);
        // Our own stay in force that are on their way into the log, or came
        // into it after it was read: their entries are not applied again. What
        // another log said of places means nothing in this one.
        if state.applied.incarnation != position.incarnation {
            for applied in &mut state.bans {
                applied.log = None;
            }
        }
        state.bans.retain(|applied| {
            applied.awaited.is_some() || applied.log.is_some_and(|log| log > position)
        });
        state.applied = position;
        // Published with the lock held: whoever sees it finds the floor.
        self.head.store(number, Ordering::Release);
        for entry in entries {
            self.push_all(&mut state, entry, now);
            if let Some(last) = entry.own {
                state.confirm(last, entry.position);
            }
        }
    }

    /// Judges a response in memory, of which every ban up to `checked` was
    /// seen before.
    #[must_use]
    pub fn judge(&self, head: &StoredHead, checked: u64) -> Checked {
        let state = self.state.read();
        let newest = self.head.load(Ordering::Acquire);
        if checked < state.local_floor {
            return banned(newest);
        }
        let unseen = state
            .bans
            .partition_point(|applied| applied.local <= checked);
        let matching = state
            .bans
            .range(unseen..)
            .filter(|applied| applied.ban.scope.matches(head));
        Checked {
            verdict: worst(matching),
            checked: newest,
        }
    }

    /// Judges a record read from Redis. Where it stands, it may be put in
    /// memory as a response that has seen every ban up to `checked`.
    #[must_use]
    pub fn judge_record(&self, head: &StoredHead) -> Checked {
        let state = self.state.read();
        let newest = self.head.load(Ordering::Acquire);
        let position = head.position.log;
        if position.incarnation != state.applied.incarnation || position < state.log_floor {
            return banned(newest);
        }
        let matching = state
            .bans
            .iter()
            .filter(|applied| applied.is_after(position) && applied.ban.scope.matches(head));
        Checked {
            verdict: worst(matching),
            checked: newest,
        }
    }

    /// Whether a fetch of `target` that began at `position` was overtaken by
    /// a ban, or may have been: its tags are not known yet.
    #[must_use]
    pub fn overtook(&self, position: &Position, route: &str, target: &Target) -> bool {
        if self.head() == position.local {
            return false;
        }
        let state = self.state.read();
        if position.local < state.local_floor {
            return true;
        }
        let unseen = state
            .bans
            .partition_point(|applied| applied.local <= position.local);
        state
            .bans
            .range(unseen..)
            .any(|applied| !applied.ban.is_soft && applied.ban.scope.matches_target(route, target))
    }

    /// Whether a ban on what `head` describes was put in force within `settle`
    /// before `since`. A ban that was folded counts for everything.
    #[must_use]
    pub fn settles(&self, head: &StoredHead, since: Timestamp, settle: Duration) -> bool {
        let state = self.state.read();
        let is_recent = |at: Timestamp| since.since(at) < settle;
        state.forgotten_at.is_some_and(is_recent)
            || state
                .bans
                .iter()
                .any(|applied| is_recent(applied.at) && applied.ban.scope.matches(head))
    }

    /// Lets go of bans that everything they could match has outlived: those
    /// applied longer ago than anything is kept.
    pub fn prune(&self, now: Timestamp, kept_for: Duration) {
        let mut state = self.state.write();
        while let Some(oldest) = state.bans.front() {
            if now.since(oldest.at) <= kept_for {
                break;
            }
            state.bans.pop_front();
        }
    }

    fn push_all(&self, state: &mut State, entry: &Read, now: Timestamp) {
        for ban in &entry.bans {
            self.push(state, ban.clone(), Place::At(entry.position), now);
        }
    }

    fn push(&self, state: &mut State, ban: Ban, place: Place, now: Timestamp) {
        let number = self.head.load(Ordering::Acquire) + 1;
        let (log, awaited) = match place {
            Place::At(position) => (Some(position), None),
            Place::Awaited(number) => (None, Some(number)),
        };
        let mut newest = Applied {
            ban,
            local: number,
            log,
            awaited,
            at: now,
        };
        // A later ban on the same takes the place of an earlier one, which
        // matched less. Its place in the log only moves forward: the earlier
        // one may have been ours, and be later there than this one.
        state.bans.retain(|applied| {
            let is_covered = newest.covers(applied);
            if is_covered {
                newest.log = newest.log.max(applied.log);
                newest.awaited = newest.awaited.max(applied.awaited);
            }
            !is_covered
        });
        state.bans.push_back(newest);
        if state.bans.len() > self.bans_max {
            state.fold_older_half();
        }
        // Published last, and under the lock: whoever sees the number finds
        // the ban.
        self.head.store(number, Ordering::Release);
    }
}

/// Where a ban stands in the log.
enum Place {
    At(LogPosition),
    /// Nowhere yet; it is one of our own, of this number.
    Awaited(u64),
}

impl Applied {
    /// Whether everything that `earlier` matches is matched as well, no less
    /// hard.
    fn covers(&self, earlier: &Self) -> bool {
        let is_as_hard = !self.ban.is_soft || earlier.ban.is_soft;
        is_as_hard && (self.ban.scope == earlier.ban.scope || self.ban.scope == Scope::All)
    }
}

impl State {
    fn confirm(&mut self, last: u64, position: LogPosition) {
        if position.incarnation != self.applied.incarnation {
            return;
        }
        for applied in &mut self.bans {
            if applied.awaited.is_some_and(|number| number <= last) {
                applied.awaited = None;
                applied.log = applied.log.max(Some(position));
            }
        }
    }

    fn fold_older_half(&mut self) {
        let half = self.bans.len() / 2;
        let mut awaited: Option<Applied> = None;
        for applied in self.bans.drain(..half) {
            self.local_floor = self.local_floor.max(applied.local);
            self.log_floor = self.log_floor.max(applied.log.unwrap_or_default());
            self.forgotten_at = self.forgotten_at.max(Some(applied.at));
            // Those that the log does not have yet become one that will be
            // confirmed with the last of them.
            if applied.awaited.is_some() {
                awaited = Some(Applied {
                    awaited: applied
                        .awaited
                        .max(awaited.and_then(|earlier| earlier.awaited)),
                    ban: Ban::hard(Scope::All),
                    ..applied
                });
            }
        }
        if let Some(awaited) = awaited {
            // Its number is the lowest.
            self.bans.push_front(awaited);
        }
    }
}

fn banned(checked: u64) -> Checked {
    Checked {
        verdict: Verdict::Banned,
        checked,
    }
}

fn worst<'a>(matching: impl Iterator<Item = &'a Applied>) -> Verdict {
    let mut verdict = Verdict::Stands;
    for applied in matching {
        if !applied.ban.is_soft {
            return Verdict::Banned;
        }
        verdict = Verdict::Softened { by: applied.local };
    }
    verdict
}

#[cfg(test)]
#[path = "bans_tests.rs"]
mod tests;
