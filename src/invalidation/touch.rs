//! When this instance last knew that it had read the whole log.
//!
//! Measured on the monotonic clock only, from before Redis was asked: what
//! the answer says was true then or later. One atomic number, read by every
//! hit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The last word from the log.
#[derive(Debug)]
pub(super) struct Touch {
    start: Instant,
    /// Microseconds from `start` to the last word, and one; 0 before the first.
    last: AtomicU64,
    log: Mutex<Known>,
}

/// What is known of the log itself.
#[derive(Clone, Copy, Debug)]
struct Known {
    incarnation: u128,
    since: Instant,
    /// Out of touch since then.
    lost: Option<Instant>,
    /// It was heard from, or tried in vain.
    is_tried: bool,
    out_of_touch: Duration,
}

impl Touch {
    pub(super) fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            last: AtomicU64::new(0),
            log: Mutex::new(Known {
                incarnation: 0,
                since: start,
                lost: Some(start),
                is_tried: false,
                out_of_touch: Duration::ZERO,
            }),
        }
    }

    /// Everything in that log at `at` is in force here. True where this is the
    /// first word after a silence that was told.
    pub(super) fn heard(&self, at: Instant, incarnation: u128) -> bool {
        let micros = at.saturating_duration_since(self.start).as_micros() as u64;
        self.last.fetch_max(micros + 1, Ordering::AcqRel);
        self.met(incarnation);
        let mut log = self.log.lock();
        let lost = log.lost.take();
        log.is_tried = true;
        log.out_of_touch += lost.map_or(Duration::ZERO, |lost| lost.elapsed());
        lost.is_some()
    }

    /// Redis said that this is the log now.
    pub(super) fn met(&self, incarnation: u128) {
        let mut log = self.log.lock();
        if log.incarnation != incarnation {
            log.incarnation = incarnation;
            log.since = Instant::now();
        }
    }

    /// The log cannot be reached.
    pub(super) fn lost(&self) {
        let silent_since = self.last_word().unwrap_or(self.start);
        let mut log = self.log.lock();
        log.lost.get_or_insert(silent_since);
        log.is_tried = true;
    }

    /// Whether the log was heard from, or tried in vain, since the start.
    pub(super) fn is_tried(&self) -> bool {
        self.log.lock().is_tried
    }

    /// Whether the log could not be reached when it was last tried.
    pub(super) fn is_lost(&self) -> bool {
        self.log.lock().lost.is_some()
    }

    /// For how long no word had come at `at`; `None` before the first.
    pub(super) fn silence(&self, at: Instant) -> Option<Duration> {
        let last = self.last_word()?;
        Some(at.saturating_duration_since(last))
    }

    /// Since when this has been known to be the log.
    pub(super) fn known_since(&self, incarnation: u128) -> Option<Instant> {
        let log = self.log.lock();
        (log.incarnation == incarnation).then_some(log.since)
    }

    /// How long, all together, the log could not be reached.
    pub(super) fn out_of_touch(&self) -> Duration {
        let log = self.log.lock();
        log.out_of_touch + log.lost.map_or(Duration::ZERO, |lost| lost.elapsed())
    }

    /// When that was asked for.
    pub(super) fn last_word(&self) -> Option<Instant> {
        let last = self.last.load(Ordering::Acquire);
        (last > 0).then(|| self.start + Duration::from_micros(last - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_measured_from_the_newest_word() {
        let touch = Touch::new();
        let at = |millis| touch.start + Duration::from_millis(millis);
        assert_eq!(touch.silence(at(5)), None);
        assert!(!touch.is_tried());
        assert!(touch.heard(at(10), 1));
        assert!(!touch.heard(at(7), 1), "an earlier word");
        assert_eq!(touch.silence(at(25)), Some(Duration::from_millis(15)));
        assert_eq!(touch.silence(at(2)), Some(Duration::ZERO));
        touch.lost();
        assert!(touch.heard(at(30), 1));
    }

    #[test]
    fn a_log_out_of_reach_was_tried() {
        let touch = Touch::new();
        touch.met(1);
        assert!(!touch.is_tried(), "it may not have been read");
        touch.lost();
        assert!(touch.is_tried());
    }

    #[test]
    fn a_log_is_known_from_when_it_was_first_met() {
        let touch = Touch::new();
        touch.met(1);
        let since = touch.known_since(1).unwrap();
        touch.heard(Instant::now(), 1);
        assert_eq!(touch.known_since(1), Some(since));
        touch.met(2);
        assert_eq!(touch.known_since(1), None);
    }
}
