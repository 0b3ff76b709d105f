//! When to stop asking a Redis that does not answer in time.
//!
//! A pure state machine: the caller brings the moment, asks whether to go
//! ahead, and reports what came of it. Without it, each request would spend
//! its whole lookup budget on a Redis that hangs.
//!
//! Requests that wait at the same time wait for the same thing: one pause of
//! Redis counts once, however many fell into it.

use std::time::{Duration, Instant};

/// Opens after consecutive time-outs, then lets one request through at a time
/// to see whether Redis answers again.
#[derive(Debug)]
pub struct Breaker {
    timeouts_max: u32,
    pause: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Everything is let through; so many time-outs came one after the other,
    /// the last of them at `last`.
    Closed {
        timeouts: u32,
        last: Option<Instant>,
    },
    /// Nothing is let through before `probe_at`, then one request. A probe
    /// that is never reported back blocks nothing: the next goes a pause later.
    Open { probe_at: Instant },
}

const CLOSED: State = State::Closed {
    timeouts: 0,
    last: None,
};

impl Breaker {
    /// A closed breaker that opens at the `timeouts_max`-th consecutive
    /// time-out and then probes every `pause`.
    #[must_use]
    pub fn new(timeouts_max: u32, pause: Duration) -> Self {
        Self {
            timeouts_max,
            pause,
            state: CLOSED,
        }
    }

    /// Whether a request may be sent at `now`. While open, true once per pause.
    #[must_use]
    pub fn admits(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Closed { .. } => true,
            State::Open { probe_at } if now >= *probe_at => {
                *probe_at = now + self.pause;
                true
            }
            State::Open { .. } => false,
        }
    }

    /// A request was answered in time: closes.
    pub fn answered(&mut self) {
        self.state = CLOSED;
    }

    /// A request that began at `began` was not answered in time. True where
    /// this one opened it.
    #[must_use]
    pub fn timed_out(&mut self, began: Instant, now: Instant) -> bool {
        let open = State::Open {
            probe_at: now + self.pause,
        };
        match &mut self.state {
            // It fell into the pause that was counted already.
            State::Closed {
                last: Some(last), ..
            } if began < *last => false,
            State::Closed { timeouts, last } if *timeouts + 1 < self.timeouts_max => {
                *timeouts += 1;
                *last = Some(now);
                false
            }
            State::Closed { .. } => {
                self.state = open;
                true
            }
            State::Open { .. } => {
                self.state = open;
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, PAUSE);
        assert!(!breaker.timed_out(now, now));
        assert!(!breaker.timed_out(now, now));
        assert!(breaker.timed_out(now, now));
        breaker
    }

    #[test]
    fn one_pause_counts_once_however_many_wait_for_its_end() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut breaker = Breaker::new(3, PAUSE);
        for millis in 0..100 {
            // All of them were sent before the first of them was given up.
            assert!(!breaker.timed_out(at(millis / 20), at(5 + millis / 20)));
        }
        assert!(breaker.admits(at(11)));
        assert!(!breaker.timed_out(at(6), at(11)), "the second in a row");
        assert!(breaker.timed_out(at(11), at(16)), "the third");
    }

    #[test]
    fn only_consecutive_time_outs_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, PAUSE);
        for _ in 0..10 {
            assert!(!breaker.timed_out(now, now));
            assert!(!breaker.timed_out(now, now));
            breaker.answered();
            assert!(breaker.admits(now));
        }
    }

    #[test]
    fn while_open_one_request_a_pause_goes_through() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(!breaker.admits(now));
        assert!(breaker.admits(now + PAUSE));
        assert!(!breaker.admits(now + PAUSE));
        assert!(!breaker.timed_out(now, now + PAUSE), "it was open already");
        assert!(!breaker.admits(now + PAUSE + PAUSE / 2));
        assert!(breaker.admits(now + PAUSE * 2));
    }

    #[test]
    fn an_answered_probe_closes_it() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(breaker.admits(now + PAUSE));
        breaker.answered();
        assert!(breaker.admits(now + PAUSE));
        assert!(breaker.admits(now + PAUSE));
    }

    #[test]
    fn a_probe_that_was_given_up_is_followed_by_another() {
        let now = Instant::now();
        let mut breaker = opened(now);
        assert!(breaker.admits(now + PAUSE));
        assert!(breaker.admits(now + PAUSE * 2));
    }
}
