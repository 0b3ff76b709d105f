//! How long to wait before trying again: doubling, with jitter, bounded.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The first pause.
pub const PAUSE_MIN: Duration = Duration::from_millis(50);
/// No pause is longer than this.
pub const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The pauses between attempts at one thing.
#[derive(Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::between(PAUSE_MIN, PAUSE_MAX)
    }
}

impl Backoff {
    /// Pauses from one length to another.
    #[must_use]
    pub fn between(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            next: min,
        }
    }

    /// The pause before the next attempt: between half of the current step and
    /// all of it, so that those that lost something together do not
    /// return together. The step then doubles, up to its bound.
    #[must_use]
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.max);
        let half = step / 2;
        // A randomly keyed hash of nothing is as random as a jitter needs.
        let chance = RandomState::new().hash_one(()) % 1_000;
        half + half.mul_f64(chance as f64 / 1_000.0)
    }

    /// The attempt held: the next failure starts over.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_start_over() {
        let mut backoff = Backoff::default();
        assert!(backoff.pause() <= PAUSE_MIN);
        for _ in 0..20 {
            let pause = backoff.pause();
            assert!(pause >= PAUSE_MIN && pause <= PAUSE_MAX);
        }
        assert!(backoff.pause() >= PAUSE_MAX / 2);
        backoff.reset();
        assert!(backoff.pause() <= PAUSE_MIN);
    }
}
