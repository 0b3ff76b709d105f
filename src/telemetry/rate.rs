//! Requests per second, over the last full minute.

use std::sync::atomic::{AtomicU64, Ordering};

use super::stripes::{Cells, Striped};
use crate::clock::Timestamp;

/// Seconds looked back.
const WINDOW_SECONDS: u64 = 60;
/// One slot a second; more than the window, so that the second being written
/// never shares a slot with one being read.
const SLOTS: usize = 64;
const COUNT_BITS: u32 = 32;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// Counts events in a ring of seconds. A slot packs the second (high half) and
/// its count (low half) in one word, so that both change at once.
#[derive(Debug, Default)]
pub struct Rate(Striped<Seconds>);

/// What one thread counted.
#[derive(Debug)]
struct Seconds([AtomicU64; SLOTS]);

impl Default for Seconds {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Cells for Seconds {
    fn clear(&self) {
        self.0
            .iter()
            .for_each(|slot| slot.store(0, Ordering::Relaxed));
    }
}

impl Rate {
    /// Counts one event.
    pub fn record(&self, now: Timestamp) {
        let second = second_of(now);
        let (seconds, hand) = self.0.here();
        let slot = seconds.slot(second);
        let seen = slot.load(Ordering::Relaxed);
        if seen >> COUNT_BITS == second {
            hand.add(slot, 1);
            return;
        }
        let first = (second << COUNT_BITS) | 1;
        let claimed = slot.compare_exchange(seen, first, Ordering::Relaxed, Ordering::Relaxed);
        if claimed.is_err() {
            // Another thread opened this second between the two lines.
            hand.add(slot, 1);
        }
    }

    /// Events per second over the last 60 full seconds; in the first minute,
    /// over all the time since `started`, by the second at least.
    #[must_use]
    pub fn per_second(&self, started: Timestamp, now: Timestamp) -> f64 {
        let current = second_of(now);
        let lived_millis = now.unix_millis().saturating_sub(started.unix_millis());
        let is_young = lived_millis < WINDOW_SECONDS * 1_000;
        let (looked_at, window_millis) = if is_young {
            (second_of(started)..current + 1, lived_millis.max(1_000))
        } else {
            let from = current.saturating_sub(WINDOW_SECONDS);
            (from..current, WINDOW_SECONDS * 1_000)
        };
        let counted_by = |seconds: &Seconds| -> u64 {
            looked_at
                .clone()
                .map(|second| {
                    let slot = seconds.slot(second).load(Ordering::Relaxed);
                    let is_current = slot >> COUNT_BITS == second;
                    if is_current { slot & COUNT_MASK } else { 0 }
                })
                .sum()
        };
        let counted: u64 = self.0.all().map(counted_by).sum();
        #[expect(clippy::cast_precision_loss, reason = "a rate, shown to people")]
        let rate = counted as f64 * 1e3 / window_millis as f64;
        rate
    }
}

impl Seconds {
    fn slot(&self, second: u64) -> &AtomicU64 {
        let index = usize::try_from(second % SLOTS as u64).unwrap_or_default();
        &self.0[index]
    }
}

fn second_of(moment: Timestamp) -> u64 {
    (moment.unix_millis() / 1_000) & COUNT_MASK
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: u64) -> Timestamp {
        Timestamp::from_unix_millis(second * 1_000)
    }

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let rate = Rate::default();
        for at in 1_000..1_200 {
            for _ in 0..5 {
                rate.record(second(at));
            }
        }
        assert_eq!(rate.per_second(second(1_000), second(1_200)), 5.0);
        assert_eq!(rate.per_second(second(1_000), second(1_230)), 2.5);
        assert_eq!(rate.per_second(second(1_000), second(1_300)), 0.0);
    }

    #[test]
    fn a_young_process_divides_by_its_age() {
        let rate = Rate::default();
        rate.record(second(7));
        rate.record(second(8));
        assert_eq!(rate.per_second(second(7), second(9)), 1.0);
        // Also in its first second, and for what came in the present one.
        let rate = Rate::default();
        (0..5).for_each(|_| rate.record(Timestamp::from_unix_millis(7_100)));
        let in_between = Timestamp::from_unix_millis(7_400);
        assert_eq!(rate.per_second(second(7), in_between), 5.0);
        assert_eq!(
            rate.per_second(second(7), Timestamp::from_unix_millis(9_500)),
            2.0
        );
        assert_eq!(Rate::default().per_second(second(7), second(7)), 0.0);
    }
}
