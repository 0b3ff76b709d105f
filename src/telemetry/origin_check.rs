//! What the active check of the origin found (`[origin] check`).

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// What the check found; nothing where none is configured.
#[derive(Debug, Default)]
pub struct OriginCheck {
    is_on: AtomicBool,
    last: Mutex<Option<Checked>>,
}

/// The last check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What was asked for.
    pub path: String,
    /// `None` where the origin passed, else why not, in a few words.
    pub failure: Option<String>,
    /// Checks that failed one after the other.
    pub failures: u64,
    /// Since when it is so.
    pub since: Timestamp,
}

impl OriginCheck {
    /// No check is configured any more.
    pub fn stop(&self) {
        if self.is_on.swap(false, Ordering::Relaxed) {
            *self.last.lock() = None;
        }
    }

    /// A check of `path` was made; `failure` says why it failed. Tells the log
    /// where that is news.
    pub fn checked(&self, path: &str, failure: Option<String>, now: Timestamp) {
        self.is_on.store(true, Ordering::Relaxed);
        let mut last = self.last.lock();
        let before = last.take().filter(|before| before.path == path);
        let is_failing = failure.is_some();
        let is_news = before
            .as_ref()
            .map_or(is_failing, |before| before.failure.is_some() != is_failing);
        if is_news {
            match &failure {
                Some(failure) => tracing::warn!(path, failure, "the check of the origin fails"),
                None => tracing::info!(path, "the check of the origin passes again"),
            }
        }
        let failures = match (&before, is_failing) {
            (Some(before), true) => before.failures + 1,
            (None, true) => 1,
            (_, false) => 0,
        };
        let since = match before {
            Some(before) if !is_news => before.since,
            _ => now,
        };
        *last = Some(Checked {
            path: path.to_owned(),
            failure,
            failures,
            since,
        });
    }

    /// The last check; `None` where none was made.
    #[must_use]
    pub fn last(&self) -> Option<Checked> {
        let is_on = self.is_on.load(Ordering::Relaxed);
        is_on.then(|| self.last.lock().clone()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_until_it_passes() {
        let check = OriginCheck::default();
        let at = Timestamp::from_unix_millis;
        assert_eq!(check.last(), None);
        check.checked("/up", None, at(1));
        for moment in 2..5 {
            check.checked("/up", Some("answered 503".to_owned()), at(moment));
        }
        let last = check.last().unwrap();
        assert_eq!((last.failures, last.since), (3, at(2)));
        check.checked("/up", None, at(6));
        assert_eq!(check.last().unwrap().failures, 0);
        check.stop();
        assert_eq!(check.last(), None);
    }
}
