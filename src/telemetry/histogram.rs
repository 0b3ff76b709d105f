//! How long things took, in two shapes.
//!
//! [`DurationHistogram`] is what Prometheus reads: fixed buckets that only
//! grow. [`Latencies`] is what the statistics read: percentiles within 3 %,
//! set back to zero by an operator. Both are written by any thread without a
//! lock. Neither knows what was timed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use histogram::AtomicHistogram;

use super::spread::Spread;
use super::stripes::{Cells, Striped};

/// Upper bounds of the buckets, in nanoseconds, with the same in seconds as
/// Prometheus writes them. Finer at the low end: a hit takes microseconds.
pub const BUCKETS: [(u64, f64); 18] = [
    (25_000, 0.000_025),
    (50_000, 0.000_05),
    (100_000, 0.000_1),
    (250_000, 0.000_25),
    (500_000, 0.000_5),
    (1_000_000, 0.001),
    (2_500_000, 0.002_5),
    (5_000_000, 0.005),
    (10_000_000, 0.01),
    (25_000_000, 0.025),
    (50_000_000, 0.05),
    (100_000_000, 0.1),
    (250_000_000, 0.25),
    (500_000_000, 0.5),
    (1_000_000_000, 1.0),
    (2_500_000_000, 2.5),
    (5_000_000_000, 5.0),
    (10_000_000_000, 10.0),
];

/// A Prometheus histogram of durations over [`BUCKETS`]. Never reset.
#[derive(Debug, Default)]
pub struct DurationHistogram(Striped<Durations>);

#[derive(Debug, Default)]
struct Durations {
    /// One count per bucket, not cumulative; the last is for what is longer
    /// than every bound.
    counts: [AtomicU64; BUCKETS.len() + 1],
    sum_nanos: AtomicU64,
}

impl Cells for Durations {
    fn clear(&self) {
        for count in self.counts.iter().chain([&self.sum_nanos]) {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// What a [`DurationHistogram`] held at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// Per bound: its seconds, and how many durations were no longer.
    pub cumulative: [(f64, u64); BUCKETS.len()],
    /// How many durations there were.
    pub count: u64,
    /// All of them together, in seconds.
    pub sum_seconds: f64,
}

impl DurationHistogram {
    /// Counts one duration.
    pub fn record(&self, elapsed: Duration) {
        let nanos = nanos(elapsed);
        let bucket = BUCKETS.partition_point(|(bound, _)| *bound < nanos);
        let (durations, hand) = self.0.here();
        hand.add(&durations.counts[bucket], 1);
        hand.add(&durations.sum_nanos, nanos);
    }

    /// The figures now. The count is that of the buckets, so the two agree
    /// even while others write.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut counts = [0; BUCKETS.len() + 1];
        let mut sum_nanos: u64 = 0;
        for durations in self.0.all() {
            for (sum, own) in counts.iter_mut().zip(&durations.counts) {
                *sum += own.load(Ordering::Relaxed);
            }
            sum_nanos = sum_nanos.wrapping_add(durations.sum_nanos.load(Ordering::Relaxed));
        }
        let mut count = 0;
        let mut cumulative = [(0.0, 0); BUCKETS.len()];
        for (slot, ((_, seconds), own)) in cumulative.iter_mut().zip(BUCKETS.iter().zip(counts)) {
            count += own;
            *slot = (*seconds, count);
        }
        count += counts[BUCKETS.len()];
        HistogramSnapshot {
            cumulative,
            count,
            sum_seconds: Duration::from_nanos(sum_nanos).as_secs_f64(),
        }
    }
}

/// Durations of which average, extremes and percentiles are asked.
#[derive(Debug, Default)]
pub struct Latencies(Striped<LatencyCells>);

#[derive(Debug)]
struct LatencyCells {
    sum_nanos: AtomicU64,
    /// `u64::MAX` while nothing was recorded.
    min_nanos: AtomicU64,
    max_nanos: AtomicU64,
    /// In microseconds; `None` only if the constants below were impossible.
    histogram: Option<AtomicHistogram>,
}

/// Percentiles are within one part in 2^5 of the truth: about 3 %.
pub(super) const GROUPING_POWER: u8 = 5;
/// Durations past 2^32 µs, more than an hour, count as that long. With the
/// precision above one histogram takes 7 KiB.
pub(super) const MAX_VALUE_POWER: u8 = 32;
const MICROS_MAX: u64 = (1 << MAX_VALUE_POWER) - 1;

/// What [`Latencies`] held at one moment. Zero where nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencyFigures {
    /// How many durations there were.
    pub count: u64,
    /// Their mean.
    pub avg: Duration,
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
    /// Half of them were no longer.
    pub p50: Duration,
    /// 95 % of them were no longer.
    pub p95: Duration,
    /// 99 % of them were no longer.
    pub p99: Duration,
}

impl Default for LatencyCells {
    fn default() -> Self {
        Self {
            sum_nanos: AtomicU64::new(0),
            min_nanos: AtomicU64::new(u64::MAX),
            max_nanos: AtomicU64::new(0),
            histogram: AtomicHistogram::new(GROUPING_POWER, MAX_VALUE_POWER).ok(),
        }
    }
}

impl Cells for LatencyCells {
    fn clear(&self) {
        self.sum_nanos.store(0, Ordering::Relaxed);
        self.min_nanos.store(u64::MAX, Ordering::Relaxed);
        self.max_nanos.store(0, Ordering::Relaxed);
        if let Some(histogram) = &self.histogram {
            drop(histogram.drain());
        }
    }
}

impl Latencies {
    /// For durations that are seldom recorded: takes the memory of one thread,
    /// however many write.
    #[must_use]
    pub fn narrow() -> Self {
        Self(Striped::narrow())
    }

    /// Counts one duration.
    pub fn record(&self, elapsed: Duration) {
        let nanos = nanos(elapsed);
        let (cells, hand) = self.0.here();
        hand.add(&cells.sum_nanos, nanos);
        // Extremes are rarely beaten: reading first spares the others' caches.
        if nanos < cells.min_nanos.load(Ordering::Relaxed) {
            cells.min_nanos.fetch_min(nanos, Ordering::Relaxed);
        }
        if nanos > cells.max_nanos.load(Ordering::Relaxed) {
            cells.max_nanos.fetch_max(nanos, Ordering::Relaxed);
        }
        if let Some(histogram) = &cells.histogram {
            let in_range = histogram.increment((nanos / 1_000).min(MICROS_MAX));
            debug_assert!(in_range.is_ok(), "the value was capped");
        }
    }

    /// The figures now. Written to meanwhile, they may be one record apart.
    #[must_use]
    pub fn figures(&self) -> LatencyFigures {
        let spread = self.spread();
        let count = spread.count();
        if count == 0 {
            return LatencyFigures::default();
        }
        let (mut sum, mut min, mut max) = (0_u64, u64::MAX, 0);
        for cells in self.0.all() {
            sum = sum.wrapping_add(cells.sum_nanos.load(Ordering::Relaxed));
            min = min.min(cells.min_nanos.load(Ordering::Relaxed));
            max = max.max(cells.max_nanos.load(Ordering::Relaxed));
        }
        let (min, max) = (
            Duration::from_nanos(min.min(max)),
            Duration::from_nanos(max),
        );
        // A bucket's end may lie past anything recorded: the extremes are
        // exact, so they bound it.
        let percentile = |share: f64| spread.percentile(share).clamp(min, max);
        LatencyFigures {
            count,
            avg: Duration::from_nanos(sum / count),
            min,
            max,
            p50: percentile(0.50),
            p95: percentile(0.95),
            p99: percentile(0.99),
        }
    }

    /// How they spread, to be added to others.
    #[must_use]
    pub fn spread(&self) -> Spread {
        let mut all = Spread::default();
        for histogram in self.0.all().filter_map(|cells| cells.histogram.as_ref()) {
            all.add(&Spread::of(histogram.load().as_slice()));
        }
        all
    }

    /// Forgets everything. What others record meanwhile may be lost.
    pub fn reset(&self) {
        self.0.reset();
    }
}

fn nanos(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let histogram = DurationHistogram::default();
        histogram.record(Duration::from_micros(500));
        histogram.record(Duration::from_nanos(500_001));
        histogram.record(Duration::from_secs(3_600));
        let snapshot = histogram.snapshot();
        let at = |seconds: f64| {
            let found = snapshot
                .cumulative
                .iter()
                .find(|(bound, _)| *bound == seconds);
            found.unwrap().1
        };
        assert_eq!((at(0.000_25), at(0.000_5), at(0.001)), (0, 1, 2));
        assert_eq!((at(10.0), snapshot.count), (2, 3));
        assert!((snapshot.sum_seconds - 3_600.001).abs() < 1e-6);
    }

    #[test]
    fn the_two_ways_to_write_a_bound_agree() {
        for (nanos, seconds) in BUCKETS {
            assert_eq!(Duration::from_nanos(nanos).as_secs_f64(), seconds);
        }
        assert!(BUCKETS.is_sorted_by(|left, right| left.0 < right.0));
    }

    #[test]
    fn percentiles_are_within_three_percent() {
        let latencies = Latencies::default();
        for millis in 1..=1_000 {
            latencies.record(Duration::from_millis(millis));
        }
        let figures = latencies.figures();
        assert_eq!(figures.count, 1_000);
        assert_eq!(figures.min, Duration::from_millis(1));
        assert_eq!(figures.max, Duration::from_secs(1));
        assert_eq!(figures.avg, Duration::from_micros(500_500));
        for (found, truth) in [
            (figures.p50, 0.500),
            (figures.p95, 0.950),
            (figures.p99, 0.990),
        ] {
            let error = (found.as_secs_f64() - truth) / truth;
            assert!((0.0..0.032).contains(&error), "{found:?} for {truth}");
        }
    }

    #[test]
    fn what_is_longer_than_the_scale_is_still_counted() {
        let latencies = Latencies::default();
        latencies.record(Duration::MAX);
        assert_eq!(latencies.figures().count, 1);
    }

    #[test]
    fn nothing_recorded_is_nothing_said() {
        let latencies = Latencies::default();
        assert_eq!(latencies.figures(), LatencyFigures::default());
        latencies.record(Duration::from_millis(1));
        latencies.reset();
        assert_eq!(latencies.figures(), LatencyFigures::default());
    }
}
