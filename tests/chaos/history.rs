//! What was written and read, and whether that was allowed.
//!
//! The origin counts the writes of each key. A read must answer with the count
//! of every write that was answered before the read began, less a bound in
//! eventual mode. What was not answered with success promises nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Keys that are read and written.
pub(crate) const KEYS: usize = 48;

/// The record of a run.
pub(crate) struct History {
    bound: Duration,
    keys: Vec<Mutex<Vec<Answered>>>,
    reads: AtomicU64,
    hits: AtomicU64,
    writes: AtomicU64,
    refused: AtomicU64,
    lags: Mutex<Vec<Duration>>,
    violations: Mutex<Vec<String>>,
}

/// A write that was answered.
#[derive(Clone, Copy)]
struct Answered {
    version: u64,
    at: Instant,
}

impl History {
    pub(crate) fn new(bound: Duration) -> Self {
        Self {
            bound,
            keys: (0..KEYS).map(|_| Mutex::default()).collect(),
            reads: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            lags: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    /// A write was answered with success, as this version.
    pub(crate) fn wrote(&self, key: usize, version: u64) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let at = Instant::now();
        let mut answered = self.keys[key].lock();
        // What later versions promise, an earlier one that was answered later
        // promises as well.
        let place = answered.partition_point(|earlier| earlier.version < version);
        answered.insert(place, Answered { version, at });
    }

    /// A request was answered with something else.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// A read that began then was answered with this version.
    pub(crate) fn read(&self, key: usize, began: Instant, version: u64, how: &str, who: usize) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if how == "HIT" {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        let missed = {
            let answered = self.keys[key].lock();
            let newer = answered.partition_point(|write| write.version <= version);
            let before = answered[newer..].iter().filter(|write| write.at < began);
            before.copied().min_by_key(|write| write.at)
        };
        let Some(missed) = missed else {
            return;
        };
        let lag = began - missed.at;
        self.lags.lock().push(lag);
        if lag > self.bound {
            self.violations.lock().push(format!(
                "key {key}: instance {who} answered {how} with version {version}, {lag:?} after \
                 version {} had been answered",
                missed.version
            ));
        }
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn report(&self) -> String {
        let mut lags = self.lags.lock().clone();
        lags.sort();
        let at = |share: f64| {
            let index = (lags.len() as f64 * share) as usize;
            lags.get(index.min(lags.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{} reads, {} hits, {} writes answered, {} refused or lost, {} reads behind a write \
             (lag p50 {:?}, p99 {:?}, longest {:?}), {} beyond the bound of {:?}",
            self.reads(),
            count(&self.hits),
            count(&self.writes),
            count(&self.refused),
            lags.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            self.violations.lock().len(),
            self.bound,
        )
    }

    /// Every read was allowed.
    #[track_caller]
    pub(crate) fn is_kept(&self) {
        let violations = self.violations.lock();
        let shown: Vec<&String> = violations.iter().take(20).collect();
        assert!(
            violations.is_empty(),
            "{} violations: {shown:#?}",
            violations.len()
        );
    }
}
