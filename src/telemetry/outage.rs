//! When exchanges with the origin began to fail, of what, and when that was
//! over: told once each, however many requests fail meanwhile.
//!
//! Promises: two lines in [`REST`] at most, also where the origin fails every
//! other request; what is not told is counted in the next line.

use std::time::{Duration, Instant};

/// Between two beginnings that are told.
pub const REST: Duration = Duration::from_secs(10);

/// What is known of the outage under way, if there is one.
#[derive(Debug, Default)]
pub struct Outage {
    /// When the first exchange failed that none answered since.
    since: Option<Instant>,
    failed: u64,
    /// The cause that was told of it.
    told: Option<&'static str>,
    last_told: Option<Instant>,
    /// Failures of outages that were over before they were told.
    untold: u64,
}

/// An outage that was told and is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// How long it took.
    pub after: Duration,
    /// How many exchanges failed.
    pub failed: u64,
}

impl Outage {
    /// An exchange failed of this. Where that is to be told: how many failed
    /// before it and were not told.
    pub fn failed(&mut self, cause: &'static str, now: Instant) -> Option<u64> {
        self.since.get_or_insert(now);
        self.failed += 1;
        let is_new = self.told != Some(cause);
        let is_rested = self
            .last_told
            .is_none_or(|told| now.saturating_duration_since(told) >= REST);
        if !(is_new && is_rested) {
            return None;
        }
        let is_first = self.told.replace(cause).is_none();
        self.last_told = Some(now);
        let earlier = std::mem::take(&mut self.untold);
        Some(if is_first {
            earlier + self.failed - 1
        } else {
            0
        })
    }

    /// The origin answered. Where that ends an outage that was told: what it
    /// was.
    pub fn answered(&mut self, now: Instant) -> Option<Over> {
        let since = self.since.take()?;
        let failed = std::mem::take(&mut self.failed);
        if self.told.take().is_none() {
            self.untold += failed;
            return None;
        }
        Some(Over {
            after: now.saturating_duration_since(since),
            failed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_when_it_begins_and_when_it_is_over() {
        let mut outage = Outage::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(outage.answered(at(0)), None);
        assert_eq!(outage.failed("refused", at(1)), Some(0));
        for second in 1..13 {
            assert_eq!(outage.failed("refused", at(second)), None);
        }
        let over = outage.answered(at(13)).unwrap();
        assert_eq!((over.after, over.failed), (Duration::from_secs(12), 13));
        assert_eq!(outage.answered(at(14)), None);
    }

    #[test]
    fn an_origin_that_fails_now_and_then_does_not_fill_the_log() {
        let mut outage = Outage::default();
        let start = Instant::now();
        let mut lines = 0;
        let mut told = 0;
        for tenth in 0..600 {
            let now = start + Duration::from_millis(tenth * 100);
            if let Some(earlier) = outage.failed("reset", now) {
                lines += 1;
                told += earlier + 1;
            }
            lines += u64::from(outage.answered(now).is_some());
        }
        assert_eq!(lines, 12, "two in ten seconds");
        assert!(told > 500, "what was not told is counted: {told}");
    }

    #[test]
    fn another_cause_is_told_after_a_rest() {
        let mut outage = Outage::default();
        let start = Instant::now();
        assert!(outage.failed("refused", start).is_some());
        assert!(outage.failed("time-out", start + REST / 2).is_none());
        assert!(outage.failed("time-out", start + REST).is_some());
        assert_eq!(outage.answered(start + REST).unwrap().failed, 3);
    }
}
