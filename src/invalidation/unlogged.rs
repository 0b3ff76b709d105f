//! Bans of writes that can meet nothing that a route of the fleet could have
//! stored: they wait here until that is certain, and are then forgotten.
//!
//! When such a write was answered, a route may just have been announced that
//! this instance did not know yet. It does with its next word from the log that
//! was asked for after the write: either that brings a route that the bans may
//! meet, and they are logged, or whatever is fetched under a new route is
//! fetched after the write. A log that changed meanwhile says nothing: then they
//! are logged, too.

use std::collections::HashMap;
use std::time::Instant;

use foldhash::quality::RandomState;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::scope::Ban;

/// Different writes that wait; one more is logged.
const WAITING_MAX: usize = 4_096;

/// The bans that wait.
#[derive(Debug, Default)]
pub(super) struct Unlogged {
    waiting: Mutex<HashMap<Box<[Ban]>, Since, RandomState>>,
    filled: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Since {
    at: Instant,
    incarnation: u128,
}

impl Unlogged {
    /// Whether these wait from now on, while the log of this incarnation is
    /// followed; they do not where too many do.
    pub(super) fn put(&self, bans: &[Ban], incarnation: u128) -> bool {
        let since = Since {
            at: Instant::now(),
            incarnation,
        };
        let mut waiting = self.waiting.lock();
        if let Some(before) = waiting.get_mut(bans) {
            if before.incarnation != incarnation {
                return false;
            }
            *before = since;
            return true;
        }
        if waiting.len() >= WAITING_MAX {
            return false;
        }
        waiting.insert(bans.into(), since);
        self.filled.notify_one();
        true
    }

    /// Everything that was in the log of this incarnation at `word` is known,
    /// and was when this is called. Gives the bans that are to be logged: those
    /// from before that which `may_meet` something, or wait on another log.
    pub(super) fn settle(
        &self,
        word: Instant,
        incarnation: u128,
        may_meet: impl Fn(&[Ban]) -> bool,
    ) -> Vec<Box<[Ban]>> {
        let mut to_log = Vec::new();
        self.waiting.lock().retain(|bans, since| {
            let is_elsewhere = since.incarnation != incarnation;
            let is_settled = since.at < word || is_elsewhere;
            if is_settled && (is_elsewhere || may_meet(bans)) {
                to_log.push(bans.clone());
            }
            !is_settled
        });
        to_log
    }

    /// All that wait; they wait no more.
    pub(super) fn take(&self) -> Vec<Box<[Ban]>> {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_keys().collect()
    }

    /// Waits until some do.
    pub(super) async fn filled(&self) {
        while self.waiting.lock().is_empty() {
            self.filled.notified().await;
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invalidation::scope::Scope;
    use crate::pattern::Pattern;

    fn ban(path: &str) -> [Ban; 1] {
        [Ban::hard(Scope::Pattern(Pattern::literal(path)))]
    }

    #[test]
    fn what_a_later_word_does_not_contradict_is_forgotten() {
        let unlogged = Unlogged::default();
        let earlier = Instant::now();
        assert!(unlogged.put(&ban("/a"), 1));
        assert!(unlogged.settle(earlier, 1, |_| true).is_empty());
        assert!(!unlogged.is_empty(), "a word from before the write");
        let later = Instant::now() + std::time::Duration::from_millis(1);
        assert!(unlogged.settle(later, 1, |_| false).is_empty());
        assert!(unlogged.is_empty());
    }

    #[test]
    fn what_may_meet_a_route_by_then_is_logged() {
        let unlogged = Unlogged::default();
        assert!(unlogged.put(&ban("/a"), 1));
        assert!(unlogged.put(&ban("/b"), 1));
        let later = Instant::now() + std::time::Duration::from_millis(1);
        let to_log = unlogged.settle(later, 1, |bans| *bans == ban("/b"));
        assert_eq!(to_log, [Box::from(ban("/b"))]);
        assert!(unlogged.is_empty());
    }

    #[test]
    fn a_log_that_changed_says_nothing() {
        let unlogged = Unlogged::default();
        assert!(unlogged.put(&ban("/a"), 1));
        assert!(!unlogged.put(&ban("/a"), 2));
        let to_log = unlogged.settle(Instant::now(), 2, |_| false);
        assert_eq!(to_log, [Box::from(ban("/a"))]);
    }

    #[test]
    fn no_more_than_a_bound_wait() {
        let unlogged = Unlogged::default();
        for number in 0..WAITING_MAX {
            assert!(unlogged.put(&ban(&number.to_string()), 1));
        }
        assert!(!unlogged.put(&ban("one more"), 1));
        assert!(unlogged.put(&ban("7"), 1), "one of them again");
        assert_eq!(unlogged.take().len(), WAITING_MAX);
    }
}
