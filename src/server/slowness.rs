//! How long a request body may be waited for in all.
//!
//! Each second of waiting for the client is paid for with bytes that it sent.
//! The first seconds are given, so that a lost packet or a client that computes
//! what it sends is no failure. What was earned is kept up to a bound: a large
//! beginning does not buy hours of trickling. The time in which nothing is
//! asked of the client, because the origin takes nothing, is never counted.

use std::time::Duration;

use tokio::time::Instant;

/// Given at the start, where a single pause may be as long: a packet that was
/// lost three times is back by then.
const GRACE: Duration = Duration::from_secs(10);

/// What may still be waited for the client of one request body.
#[derive(Debug)]
pub(super) struct Allowance {
    /// Bytes that a second costs; zero: waiting is free.
    rate_min: u64,
    left: Duration,
    /// No more is kept: a pause that `body_idle_timeout` allows is paid for by
    /// who sent enough before it.
    left_max: Duration,
    waits_since: Option<Instant>,
}

impl Allowance {
    pub(super) fn new(rate_min: u64, idle_timeout: Duration) -> Self {
        Self {
            rate_min,
            left: GRACE.min(idle_timeout),
            left_max: idle_timeout,
            waits_since: None,
        }
    }

    /// The client is waited for from `now` on; says for how long it may be.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.waits_since = Some(now);
        if self.rate_min == 0 {
            Duration::MAX
        } else {
            self.left
        }
    }

    /// Whether the wait under way has used up what there was.
    pub(super) fn is_spent(&self, now: Instant) -> bool {
        let waited = self.waits_since.map(|since| now - since);
        self.rate_min > 0 && waited.is_some_and(|waited| waited >= self.left)
    }

    /// The wait is over.
    pub(super) fn waited(&mut self, now: Instant) {
        if let Some(since) = self.waits_since.take() {
            self.left = self.left.saturating_sub(now - since);
        }
    }

    /// So much came.
    pub(super) fn earn(&mut self, bytes: u64) {
        let nanos = bytes
            .saturating_mul(1_000_000_000)
            .checked_div(self.rate_min);
        let earned = Duration::from_nanos(nanos.unwrap_or_default());
        self.left = self.left.saturating_add(earned).min(self.left_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a client is borne that sends `bytes` at once and then one byte
    /// each `every`; `None` where that is an hour.
    fn borne(rate_min: u64, bytes: u64, every: Duration) -> Option<Duration> {
        let mut allowance = Allowance::new(rate_min, Duration::from_secs(30));
        let started = Instant::now();
        let mut now = started;
        allowance.earn(bytes);
        while now - started < Duration::from_secs(3600) {
            let patience = allowance.wait(now);
            if patience <= every {
                return Some(now - started + patience);
            }
            now += every;
            assert!(!allowance.is_spent(now));
            allowance.waited(now);
            allowance.earn(1);
        }
        None
    }

    #[test]
    fn a_client_pays_for_each_second_with_bytes() {
        let second = Duration::from_secs(1);
        let trickle = borne(256, 0, second).expect("an end");
        assert!((10..12).contains(&trickle.as_secs()), "{trickle:?}");
        let steady = borne(256, 0, second / 300);
        assert_eq!(steady, None, "faster than it has to be");
        assert_eq!(borne(0, 0, second * 20), None, "no bound");
    }

    #[test]
    fn a_large_beginning_buys_no_hours() {
        let bought = borne(256, 1 << 40, Duration::from_secs(1)).expect("an end");
        assert!((30..32).contains(&bought.as_secs()), "{bought:?}");
    }
}
