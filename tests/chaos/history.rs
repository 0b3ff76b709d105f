//! What was written and read, and whether that was allowed.
//!
//! The origin counts the writes of each key. A read must answer with the count
//! of every write that was answered before the read began, less a bound in
//! eventual mode. What was not answered with success promises nothing.
//!
//! Each read that came behind a write is counted for the fault before it, by
//! whether that was still on, and by how long after its end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::load::KEYS;

/// The record of a run.
pub(crate) struct History {
    bound: Duration,
    keys: Vec<Mutex<Vec<Answered>>>,
    reads: AtomicU64,
    hits: AtomicU64,
    writes: AtomicU64,
    streamed: AtomicU64,
    refused: AtomicU64,
    behind: Mutex<Behind>,
}

/// What is known of reads that came behind a write.
#[derive(Default)]
struct Behind {
    lags: Vec<Duration>,
    faults: Vec<Fault>,
    kinds: BTreeMap<&'static str, Kind>,
    violations: Vec<String>,
}

/// One fault.
struct Fault {
    kind: &'static str,
    /// Who alone could not tell the others of a write while it was on.
    cut_off: Option<usize>,
    began: Instant,
    ended: Option<Instant>,
}

/// The faults of one kind.
#[derive(Default)]
struct Kind {
    count: u64,
    behind_during: u64,
    behind_after: u64,
    /// Between the answer to a write and a read that came behind it.
    longest: Duration,
    /// Of that, what passed after the fault had ended.
    longest_after: Duration,
}

/// A write that was answered.
#[derive(Clone, Copy)]
struct Answered {
    version: u64,
    at: Instant,
    who: usize,
}

/// How an answered write was told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    AtOnce,
    Streamed,
}

impl History {
    pub(crate) fn new(bound: Duration) -> Self {
        Self {
            bound,
            keys: (0..KEYS).map(|_| Mutex::default()).collect(),
            reads: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            streamed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            behind: Mutex::default(),
        }
    }

    /// A fault begins; `cut_off` alone cannot tell the others of writes until
    /// its end, which eventual mode does not promise (docs/invalidation.md).
    pub(crate) fn fault_begins(&self, kind: &'static str, cut_off: Option<usize>) {
        let mut behind = self.behind.lock();
        behind.kinds.entry(kind).or_default().count += 1;
        behind.faults.push(Fault {
            kind,
            cut_off,
            began: Instant::now(),
            ended: None,
        });
    }

    /// The last fault has ended.
    pub(crate) fn fault_ends(&self) {
        let mut behind = self.behind.lock();
        let last = behind.faults.last_mut().expect("one that began");
        last.ended = Some(Instant::now());
    }

    /// A write through instance `who` was answered with success, as this version.
    pub(crate) fn wrote(&self, key: usize, version: u64, who: usize, told: Told) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if told == Told::Streamed {
            self.streamed.fetch_add(1, Ordering::Relaxed);
        }
        let at = Instant::now();
        let mut answered = self.keys[key].lock();
        // What later versions promise, an earlier one that was answered later
        // promises as well.
        let place = answered.partition_point(|earlier| earlier.version < version);
        answered.insert(place, Answered { version, at, who });
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
        let newer: Vec<Answered> = {
            let answered = self.keys[key].lock();
            let newer = answered.partition_point(|write| write.version <= version);
            let before = answered[newer..].iter().filter(|write| write.at < began);
            before.copied().collect()
        };
        if !newer.is_empty() {
            self.came_behind(
                &newer,
                began,
                &format!("key {key}: instance {who} answered {how} with version {version}"),
            );
        }
    }

    fn came_behind(&self, writes: &[Answered], began: Instant, what: &str) {
        let mut behind = self.behind.lock();
        let first = writes.iter().min_by_key(|write| write.at);
        let missed = first.expect("at least one");
        let lag = began - missed.at;
        behind.lags.push(lag);
        let before = behind.faults.partition_point(|fault| fault.began < began);
        let mut when = "before any fault".to_owned();
        if let Some(at) = before.checked_sub(1) {
            let (kind, ended) = (behind.faults[at].kind, behind.faults[at].ended);
            let figures = behind.kinds.entry(kind).or_default();
            figures.longest = figures.longest.max(lag);
            match ended.filter(|ended| *ended < began) {
                None => {
                    figures.behind_during += 1;
                    when = format!("while: {kind}");
                }
                Some(ended) => {
                    let after = began - ended.max(missed.at);
                    figures.behind_after += 1;
                    figures.longest_after = figures.longest_after.max(after);
                    when = format!("{:?} after: {kind}", began - ended);
                }
            }
        }
        let owed = writes.iter().filter_map(|write| behind.owed_since(write));
        let Some(late) = owed
            .min()
            .and_then(|since| began.checked_duration_since(since))
        else {
            return;
        };
        // Strict mode owes every write from its answer on.
        let late = if self.bound.is_zero() { lag } else { late };
        if late > self.bound {
            behind.violations.push(format!(
                "{what}, {lag:?} after version {} had been answered through instance {} ({when})",
                missed.version, missed.who
            ));
        }
    }

    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// The figures: one line, and one for each kind of fault.
    pub(crate) fn report(&self) -> String {
        let behind = self.behind.lock();
        let mut lags = behind.lags.clone();
        lags.sort();
        let at = |share: f64| {
            let index = (lags.len() as f64 * share) as usize;
            lags.get(index.min(lags.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        };
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut report = format!(
            "{} faults; {} reads, {} hits, {} writes answered ({} streamed), {} refused or lost, \
             {} reads behind a write (lag p50 {:?}, p99 {:?}, longest {:?}), \
             {} beyond the bound of {:?}",
            behind.faults.len(),
            self.reads(),
            count(&self.hits),
            count(&self.writes),
            count(&self.streamed),
            count(&self.refused),
            lags.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            behind.violations.len(),
            self.bound,
        );
        for (name, kind) in &behind.kinds {
            let _ = write!(
                report,
                "\n  {name} ({} times): {} reads behind while it lasted, {} after; \
                 longest lag {:?}, longest after its end {:?}",
                kind.count, kind.behind_during, kind.behind_after, kind.longest, kind.longest_after,
            );
        }
        report
    }

    /// Every read was allowed.
    #[track_caller]
    pub(crate) fn is_kept(&self) {
        let violations = &self.behind.lock().violations;
        let shown: Vec<&String> = violations.iter().take(20).collect();
        assert!(
            violations.is_empty(),
            "{} violations: {shown:#?}",
            violations.len()
        );
    }
}

impl Behind {
    /// Since when all instances are to know of a write in eventual mode; `None`
    /// while the one that made it is cut off alone.
    fn owed_since(&self, write: &Answered) -> Option<Instant> {
        let excuse = self.faults.iter().rev().find(|fault| {
            let is_over = fault.ended.is_some_and(|ended| ended < write.at);
            fault.cut_off == Some(write.who) && fault.began < write.at && !is_over
        });
        match excuse {
            None => Some(write.at),
            Some(fault) => fault.ended,
        }
    }
}
