//! How durations spread: counts by length that can be added up and taken off
//! each other, and percentiles of them. Made of [`super::histogram::Latencies`],
//! with their precision.

use std::time::Duration;

use histogram::Histogram;

use super::histogram::{GROUPING_POWER, MAX_VALUE_POWER};

/// Counts of durations by length. Empty until something is added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread(Vec<u64>);

impl Spread {
    /// Of the counts of a histogram with the precision of latencies.
    pub(super) fn of(counts: &[u64]) -> Self {
        Self(counts.to_vec())
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count = count.saturating_add(*more);
        }
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = earlier.0.iter().copied().chain(std::iter::repeat(0));
        let counts = self.0.iter().zip(before);
        Self(counts.map(|(now, then)| now.saturating_sub(then)).collect())
    }

    /// How many durations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// So large a share of the durations is no longer than this; zero where
    /// there are none.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Duration {
        let histogram =
            Histogram::from_buckets(GROUPING_POWER, MAX_VALUE_POWER, self.0.clone()).ok();
        let bucket = histogram.and_then(|counts| counts.quantile_bucket(share).ok().flatten());
        bucket.map_or(Duration::ZERO, |bucket| Duration::from_micros(bucket.end()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Latencies;
    use super::*;

    #[test]
    fn a_spread_grows_and_shrinks_by_others() {
        let latencies = Latencies::default();
        for millis in 1..=100 {
            latencies.record(Duration::from_millis(millis));
        }
        let earlier = latencies.spread();
        latencies.record(Duration::from_secs(7));
        let since = latencies.spread().since(&earlier);
        assert_eq!(since.count(), 1);
        let seconds = since.percentile(0.5).as_secs_f64();
        assert!((7.0..7.3).contains(&seconds), "{seconds}");

        let mut sum = Spread::default();
        assert_eq!(sum.percentile(0.95), Duration::ZERO);
        sum.add(&earlier);
        sum.add(&earlier);
        assert_eq!(sum.count(), 200);
        let p95 = sum.percentile(0.95).as_millis();
        assert!((95..99).contains(&p95), "{p95}");
    }
}
