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
//! They are found by what they match (`index`), and most hits do not even look
//! there (`recent`). Nothing waits for more than a few bans to be put in force:
//! a log that is read from its beginning is put together beside those in force.
//!
//! Bounds: at most `bans_max` bans, see `bounded`. A ban on what an older one
//! speaks of takes its place.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::digest::Digest;
use super::scope::Ban;
use crate::clock::Timestamp;
use crate::semantics::stored::{BanSubject, LogPosition, Position, StoredHead, Target};

mod bounded;
mod index;
mod recent;

use bounded::BoundedBans;
use index::{Entry, Index, Key, Mark};
use recent::Recent;

/// Bans put in force or dropped with the lock held once.
const AT_ONCE_MAX: usize = 128;
/// The local number of every ban that was read with a log from its beginning.
/// Responses in memory from before that are banned by a floor: it is records
/// alone that those bans are measured against.
const REPLAYED: u64 = 1;

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
    recent: Recent,
    bans_max: usize,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    bans: BoundedBans,
    /// How far the log was read.
    applied: LogPosition,
}

impl Bans {
    /// No bans; at most `bans_max` of them from now on.
    #[must_use]
    pub fn new(bans_max: usize) -> Self {
        Self {
            head: AtomicU64::new(0),
            recent: Recent::new(),
            bans_max: bans_max.max(2),
            state: RwLock::default(),
        }
    }

    /// How far bans are known now. To be read *before* the origin is asked.
    #[must_use]
    pub fn position(&self) -> Position {
        let state = self.state.read();
        Position {
            local: self.head(),
            log: state.applied,
        }
    }

    /// How far the log was read.
    #[must_use]
    pub fn applied(&self) -> LogPosition {
        self.state.read().applied
    }

    /// The number of the newest ban.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// How many bans are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.read().bans.index.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts bans of our own in force. Answers the number of the last one, by
    /// which [`Bans::confirm`] finds them again.
    pub fn apply(&self, bans: &[Ban], now: Timestamp) -> u64 {
        let mut needless = Vec::new();
        let mut state = self.state.write();
        let last = self.head() + bans.len() as u64;
        let place = Place::Awaited(last);
        for ban in bans {
            needless.extend(self.push(&mut state, ban, place, now));
        }
        drop(state);
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
        let mut needless = Vec::new();
        for some in entries.chunks(AT_ONCE_MAX / 4) {
            let mut state = self.state.write();
            for entry in some {
                if let Some(last) = entry.own {
                    state.confirm(last, entry.position);
                    continue;
                }
                for ban in &entry.bans {
                    let place = Place::At(entry.position);
                    needless.extend(self.push(&mut state, ban, place, now));
                }
            }
        }
        // Not before all of them: what is fetched meanwhile is taken to know
        // none.
        self.state.write().applied = position;
    }

    /// The log was read from its beginning, because what came since is not
    /// known: everything in memory is banned, and every record before
    /// `horizon` or of another log. `entries` are all there is after it.
    ///
    /// Takes a while, for which nobody waits.
    pub fn start_over(
        &self,
        horizon: LogPosition,
        entries: &[Read],
        position: LogPosition,
        now: Timestamp,
    ) {
        let mut bans = BoundedBans::default();
        for entry in entries {
            let mark = Mark {
                local: REPLAYED,
                log: Some(entry.position),
                awaited: None,
                at: now,
            };
            for ban in &entry.bans {
                drop(bans.add(ban, mark, self.bans_max));
            }
        }
        bans.log_floor = bans.log_floor.max(horizon);
        bans.forgotten_at = Some(now);

        let mut state = self.state.write();
        let number = self.head() + 1;
        bans.local_floor = number;
        let is_same_log = state.applied.incarnation == position.incarnation;
        let before = std::mem::replace(&mut state.bans, bans);
        // Our own stay in force that are on their way into the log, or came
        // into it after it was read: their entries are not applied again. What
        // another log said of places means nothing in this one.
        for (key, is_soft, mut mark) in before.index.marks() {
            mark.log = mark.log.filter(|_| is_same_log);
            if mark.awaited.is_some() || mark.log.is_some_and(|log| log > position) {
                state.bans.put(key.clone(), is_soft, mark, self.bans_max);
            }
        }
        // The same for those of them that were forgotten.
        let log_floor = before.log_floor;
        if is_same_log && log_floor > position {
            state.bans.log_floor = state.bans.log_floor.max(log_floor);
        }
        state.applied = position;
        for entry in entries {
            if let Some(last) = entry.own {
                state.confirm(last, entry.position);
            }
        }
        self.recent.note_any(number);
        // Published with the lock held: whoever sees it finds the floor.
        self.head.store(number, Ordering::Release);
        drop(state);
        drop(before);
    }

    /// What the log said up to where it was read; `None` before that. Bans of
    /// our own that it does not have yet are in a later digest.
    pub(super) fn digest(&self) -> Option<Digest> {
        let state = self.state.read();
        let (position, horizon) = (state.applied, state.bans.log_floor);
        if position.incarnation == 0 || horizon.incarnation != position.incarnation {
            return None;
        }
        let marks = state.bans.index.marks().filter_map(|(key, is_soft, mark)| {
            let at = mark
                .log
                .filter(|at| at.incarnation == position.incarnation)?;
            Some((at, key.clone(), is_soft))
        });
        let marks: Vec<(LogPosition, Key, bool)> = marks.collect();
        drop(state);
        let bans = marks.into_iter().map(|(at, key, is_soft)| {
            let scope = key.scope();
            (at, Ban { scope, is_soft })
        });
        Some(Digest {
            horizon,
            position,
            routes: None,
            bans: bans.collect(),
        })
    }

    /// Judges a response in memory, of which every ban up to `checked` was
    /// seen before.
    #[must_use]
    pub fn judge(&self, subject: &BanSubject<'_>, checked: u64) -> Checked {
        let newest = self.head();
        if !self.recent.is_touched(subject, checked) {
            return Checked {
                verdict: Verdict::Stands,
                checked: newest,
            };
        }
        let state = self.state.read();
        let newest = self.head();
        if checked < state.bans.local_floor {
            return banned(newest);
        }
        Checked {
            verdict: state.verdict(subject, |mark| mark.local > checked),
            checked: newest,
        }
    }

    /// Whether a response in memory, checked against every ban up to `checked`
    /// before, was usable while `newest` was the newest ban.
    #[must_use]
    pub fn stood_before(&self, subject: &BanSubject<'_>, checked: u64, newest: u64) -> bool {
        let state = self.state.read();
        let floor = state.bans.local_floor;
        let is_meant = |mark: &Mark| mark.local > checked && mark.local <= newest;
        let was_dropped = checked < floor && floor <= newest;
        !was_dropped && state.verdict(subject, is_meant) != Verdict::Banned
    }

    /// Judges a record read from Redis. Where it stands, it may be put in
    /// memory as a response that has seen every ban up to `checked`.
    #[must_use]
    pub fn judge_record(&self, head: &StoredHead) -> Checked {
        let state = self.state.read();
        let newest = self.head();
        let position = head.position.log;
        if position.incarnation != state.applied.incarnation || position < state.bans.log_floor {
            return banned(newest);
        }
        Checked {
            verdict: state.verdict(&head.ban_subject(), |mark| mark.is_after(position)),
            checked: newest,
        }
    }

    /// Whether a fetch of `target` that began at `position` was overtaken by
    /// a ban, or may have been: its tags are not known yet.
    #[must_use]
    pub fn overtook(&self, position: &Position, route: &str, target: &Target) -> bool {
        let began = position.local;
        let subject = BanSubject::of_target(route, target);
        if self.head() == began || !self.recent.is_target_touched(&subject, began) {
            return false;
        }
        let state = self.state.read();
        let is_newer = |mark: &Mark| mark.local > began;
        began < state.bans.local_floor
            || began < state.bans.newest_tag
            || state.verdict(&subject, is_newer) == Verdict::Banned
    }

    /// Whether a ban on what `head` describes was put in force within `settle`
    /// before `since`. A ban that was forgotten counts for everything.
    #[must_use]
    pub fn settles(&self, head: &StoredHead, since: Timestamp, settle: Duration) -> bool {
        let state = self.state.read();
        let is_recent = |at: Timestamp| since.since(at) < settle;
        state.bans.forgotten_at.is_some_and(is_recent)
            || state.verdict(&head.ban_subject(), |mark| is_recent(mark.at)) != Verdict::Stands
    }

    /// Lets go of bans that everything they could match has outlived: those
    /// applied longer ago than anything is kept.
    pub fn prune(&self, now: Timestamp, kept_for: Duration) {
        let is_old = |mark: &Mark| now.since(mark.at) > kept_for;
        loop {
            let mut state = self.state.write();
            let index = &mut state.bans.index;
            let oldest: Vec<_> = index
                .oldest()
                .take(AT_ONCE_MAX)
                .take_while(|id| index.mark(*id).is_some_and(is_old))
                .collect();
            if oldest.is_empty() {
                return;
            }
            for id in oldest {
                index.take(id);
            }
        }
    }

    /// Puts a ban in force. What comes back is to be dropped when nobody waits.
    fn push(&self, state: &mut State, ban: &Ban, place: Place, now: Timestamp) -> Option<Index> {
        let number = self.head() + 1;
        let (log, awaited) = match place {
            Place::At(position) => (Some(position), None),
            Place::Awaited(number) => (None, Some(number)),
        };
        let mark = Mark {
            local: number,
            log,
            awaited,
            at: now,
        };
        let needless = state.bans.add(ban, mark, self.bans_max);
        self.recent.note(&Key::of(&ban.scope), number);
        // Published last, and under the lock: whoever sees the number finds
        // the ban.
        self.head.store(number, Ordering::Release);
        needless
    }
}

/// Where a ban stands in the log.
#[derive(Clone, Copy)]
enum Place {
    At(LogPosition),
    /// Nowhere yet; it is one of our own, of this number.
    Awaited(u64),
}

impl State {
    fn confirm(&mut self, last: u64, position: LogPosition) {
        if position.incarnation == self.applied.incarnation {
            self.bans.index.confirm(last, position);
        }
    }

    /// The worst that those bans say of `subject` that are `later`.
    fn verdict(&self, subject: &BanSubject<'_>, later: impl Fn(&Mark) -> bool) -> Verdict {
        let mut softened: Option<u64> = None;
        for Entry { hard, soft, .. } in self.bans.index.matching(subject) {
            if hard.as_ref().is_some_and(&later) {
                return Verdict::Banned;
            }
            softened = softened.max(soft.filter(&later).map(|mark| mark.local));
        }
        softened.map_or(Verdict::Stands, |by| Verdict::Softened { by })
    }
}

fn banned(checked: u64) -> Checked {
    Checked {
        verdict: Verdict::Banned,
        checked,
    }
}

#[cfg(test)]
#[path = "bans_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "bans_list_tests.rs"]
mod list_tests;
