//! Figures that many threads write and few read: each thread has cells of its
//! own, and whoever reads adds them up.
//!
//! Promises: at most [`STRIPES`] sets of cells, made at a thread's first write.
//! The first threads have one each and write it without an atomic
//! read-modify-write, so that they share no cache line; further threads share
//! the last one and do no worse than counters usually do. A thread that ends
//! gives its stripe to the next.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

/// Sets of cells: eight threads with their own, one for all others.
pub const STRIPES: usize = 9;
const SHARED: usize = STRIPES - 1;

/// Cells that can be set to nothing.
pub(super) trait Cells: Default {
    /// Sets them to nothing.
    fn clear(&self);
}

/// How this thread may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hand {
    /// Nobody else writes these cells.
    Own,
    /// Others do.
    Shared,
}

impl Hand {
    /// Adds `n` to a cell of the stripe this hand came with.
    #[inline]
    pub(super) fn add(self, cell: &AtomicU64, n: u64) {
        match self {
            Self::Own => {
                let sum = cell.load(Ordering::Relaxed).wrapping_add(n);
                cell.store(sum, Ordering::Relaxed);
            }
            Self::Shared => {
                cell.fetch_add(n, Ordering::Relaxed);
            }
        }
    }
}

/// One set of cells a thread.
#[derive(Debug)]
pub(super) struct Striped<T> {
    /// All threads write the shared stripe: for figures that are many and
    /// seldom written.
    is_narrow: bool,
    /// Raised by a reset; stripes of an earlier one, but the shared, count as
    /// empty.
    epoch: AtomicU32,
    stripes: [OnceLock<Box<Stripe<T>>>; STRIPES],
}

/// Two cache lines apart: processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe<T> {
    epoch: AtomicU32,
    cells: T,
}

impl<T> Default for Striped<T> {
    fn default() -> Self {
        Self {
            is_narrow: false,
            epoch: AtomicU32::new(0),
            stripes: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

impl<T: Cells> Striped<T> {
    /// One set of cells for all threads.
    pub(super) fn narrow() -> Self {
        Self {
            is_narrow: true,
            ..Self::default()
        }
    }

    /// This thread's cells, and how to write them.
    #[inline]
    pub(super) fn here(&self) -> (&T, Hand) {
        let index = if self.is_narrow { SHARED } else { own_index() };
        let stripe = self.stripes[index].get_or_init(|| {
            Box::new(Stripe {
                epoch: AtomicU32::new(self.epoch.load(Ordering::Relaxed)),
                cells: T::default(),
            })
        });
        if index == SHARED {
            return (&stripe.cells, Hand::Shared);
        }
        let epoch = self.epoch.load(Ordering::Relaxed);
        if stripe.epoch.load(Ordering::Relaxed) != epoch {
            // Cleared by its writer: a reset in the midst of an addition would
            // be undone by its second half.
            stripe.cells.clear();
            stripe.epoch.store(epoch, Ordering::Release);
        }
        (&stripe.cells, Hand::Own)
    }

    /// The cells of all threads, to be added up.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        let epoch = self.epoch.load(Ordering::Relaxed);
        let stripes = self.stripes.iter().enumerate();
        stripes
            .filter_map(|(index, stripe)| Some((index, stripe.get()?)))
            .filter(move |(index, stripe)| {
                *index == SHARED || stripe.epoch.load(Ordering::Acquire) == epoch
            })
            .map(|(_, stripe)| &stripe.cells)
    }

    /// Lets all begin from nothing. What others write meanwhile may be lost;
    /// what they write once this has returned is not.
    pub(super) fn reset(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
        // Its writers add in one step, so that it can be cleared from here; of
        // them, the first to see the reset would clear what the second added.
        if let Some(shared) = self.stripes[SHARED].get() {
            shared.cells.clear();
        }
    }
}

/// A count that many threads raise.
#[derive(Debug, Default)]
pub struct StripedCounter(Striped<Count>);

#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Cells for Count {
    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl StripedCounter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        let (count, hand) = self.0.here();
        hand.add(&count.0, n);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        let counts = self.0.all().map(|count| count.0.load(Ordering::Relaxed));
        counts.fold(0, u64::wrapping_add)
    }
}

/// Stripes that no thread has: a thread that ends gives its own back. The lock
/// orders what it wrote before what the next one reads.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
static TAKEN: Mutex<usize> = Mutex::new(0);

struct Lease(Cell<usize>);

impl Drop for Lease {
    fn drop(&mut self) {
        if self.0.get() != SHARED {
            FREE.lock().push(self.0.get());
        }
    }
}

thread_local! {
    static LEASE: Lease = Lease(Cell::new(lease()));
}

fn lease() -> usize {
    if let Some(free) = FREE.lock().pop() {
        return free;
    }
    let mut taken = TAKEN.lock();
    if *taken < SHARED {
        *taken += 1;
        *taken - 1
    } else {
        SHARED
    }
}

/// The stripe of this thread; the shared one while the thread ends.
#[inline]
fn own_index() -> usize {
    LEASE.try_with(|lease| lease.0.get()).unwrap_or(SHARED)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn no_count_is_lost_between_more_threads_than_stripes() {
        let counter = StripedCounter::default();
        for _ in 0..2 {
            std::thread::scope(|scope| {
                for _ in 0..2 * STRIPES {
                    scope.spawn(|| {
                        for _ in 0..10_000 {
                            counter.increment();
                        }
                    });
                }
            });
        }
        assert_eq!(counter.get(), 2 * 2 * STRIPES as u64 * 10_000);
    }

    #[test]
    fn a_reset_is_not_undone_by_who_writes() {
        let striped: Striped<Count> = Striped::default();
        let add = || {
            let (count, hand) = striped.here();
            hand.add(&count.0, 1);
        };
        let sum = || -> u64 {
            let counts = striped.all().map(|count| count.0.load(Ordering::Relaxed));
            counts.sum()
        };
        add();
        std::thread::scope(|scope| {
            scope.spawn(add);
        });
        assert_eq!(sum(), 2);
        striped.reset();
        assert_eq!(sum(), 0);
        add();
        assert_eq!(sum(), 1);
    }

    #[test]
    fn what_is_counted_after_a_reset_is_counted_exactly() {
        const THREADS: usize = 2 * STRIPES;
        const EACH: u64 = 2_000;
        for striped in [Striped::<Count>::default(), Striped::narrow()] {
            let (before, after) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
            let add = || {
                let (count, hand) = striped.here();
                hand.add(&count.0, 1);
            };
            let sum = || -> u64 {
                let counts = striped.all().map(|count| count.0.load(Ordering::Relaxed));
                counts.sum()
            };
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        for _ in 0..8 {
                            // These run against the reset: any of them may count.
                            before.wait();
                            add();
                            after.wait();
                            // These do not: the reset has returned.
                            (0..EACH).for_each(|_| add());
                            before.wait();
                            after.wait();
                        }
                    });
                }
                for _ in 0..8 {
                    before.wait();
                    striped.reset();
                    let raced = THREADS as u64;
                    after.wait();
                    before.wait();
                    let counted = sum();
                    let least = THREADS as u64 * EACH;
                    assert!((least..=least + raced).contains(&counted), "{counted}");
                    after.wait();
                }
            });
        }
    }

    #[test]
    fn a_stripe_passes_to_the_next_thread_with_what_it_counted() {
        let counter = StripedCounter::default();
        for _ in 0..100 * STRIPES {
            std::thread::scope(|scope| {
                scope.spawn(|| counter.increment());
            });
        }
        assert_eq!(counter.get(), 100 * STRIPES as u64);
    }

    #[test]
    fn a_narrow_one_has_one_stripe() {
        let striped: Striped<Count> = Striped::narrow();
        for _ in 0..4 {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let (count, hand) = striped.here();
                    assert_eq!(hand, Hand::Shared);
                    hand.add(&count.0, 1);
                });
            });
        }
        assert_eq!(striped.all().count(), 1);
    }
}
