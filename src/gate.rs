//! A bound on how much is under way at once, with a bounded queue before it.
//!
//! Promises: never more permits than the bound; whoever waits is let in in the
//! order of arrival, before anyone who comes later; nobody waits past the
//! time-out, nor does anyone wait where the queue is full; a permit goes back
//! when it is dropped, whatever became of its holder. While there is room,
//! entering and leaving take no lock; at the bound, a lock is held for the
//! length of a push or a pop and never while anyone waits.
//!
//! Knows nothing of what it bounds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How much a [`Gate`] lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateBounds {
    /// Permits out at once; `u64::MAX`: no bound.
    pub permits_max: u64,
    /// Waiting for one; past it [`Refused::QueueFull`].
    pub queue_max: u64,
    /// For one who waits; past it [`Refused::TimedOut`].
    pub queue_timeout: Duration,
}

/// The gate. Shared by `Arc`.
#[derive(Debug)]
pub struct Gate {
    permits_max: AtomicU64,
    queue_max: AtomicU64,
    queue_timeout_nanos: AtomicU64,
    taken: AtomicU64,
    /// Raised before a newcomer looks for room a last time, so that whoever
    /// leaves after that look sees it.
    waiting: AtomicU64,
    queue: Mutex<VecDeque<oneshot::Sender<Permit>>>,
    queued: AtomicU64,
    refused_full: AtomicU64,
    refused_late: AtomicU64,
}

/// Leave to go on; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Arc<Gate>,
    /// Given back already.
    is_settled: bool,
}

/// Why there is no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many wait as may.
    #[error("the queue is full")]
    QueueFull,
    /// None became free in time.
    #[error("no place became free in time")]
    TimedOut,
}

/// What a gate counted, and its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateFigures {
    /// Permits out now.
    pub taken: u64,
    /// Waiting for one now.
    pub waiting: u64,
    /// The bounds in force.
    pub bounds: GateBounds,
    /// Who had to wait so far, whatever came of it.
    pub queued: u64,
    /// Refused because the queue was full.
    pub refused_full: u64,
    /// Refused because the wait was too long.
    pub refused_late: u64,
}

impl Default for Gate {
    /// A gate without a bound, which counts.
    fn default() -> Self {
        Self::new(GateBounds {
            permits_max: u64::MAX,
            queue_max: 0,
            queue_timeout: Duration::ZERO,
        })
    }
}

impl Gate {
    /// A gate that is empty.
    #[must_use]
    pub fn new(bounds: GateBounds) -> Self {
        let gate = Self {
            permits_max: AtomicU64::new(0),
            queue_max: AtomicU64::new(0),
            queue_timeout_nanos: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            queue: Mutex::default(),
            queued: AtomicU64::new(0),
            refused_full: AtomicU64::new(0),
            refused_late: AtomicU64::new(0),
        };
        gate.store(bounds);
        gate
    }

    /// Changes the bounds. Who is in stays in; who waits and now has room is
    /// let in.
    pub fn set_bounds(self: &Arc<Self>, bounds: GateBounds) {
        self.store(bounds);
        self.let_in();
    }

    fn store(&self, bounds: GateBounds) {
        let nanos = u64::try_from(bounds.queue_timeout.as_nanos()).unwrap_or(u64::MAX);
        self.queue_max.store(bounds.queue_max, Ordering::SeqCst);
        self.queue_timeout_nanos.store(nanos, Ordering::SeqCst);
        self.permits_max.store(bounds.permits_max, Ordering::SeqCst);
    }

    /// A permit, at once or after a wait. A caller that stops waiting leaves
    /// the queue, and hands on what it was given meanwhile.
    ///
    /// # Errors
    /// [`Refused`] says which bound was reached.
    pub async fn enter(self: &Arc<Self>) -> Result<Permit, Refused> {
        match self.try_enter() {
            Some(permit) => Ok(permit),
            None => self.wait().await,
        }
    }

    /// A permit where there is one and nobody waits for it.
    #[must_use]
    pub fn try_enter(self: &Arc<Self>) -> Option<Permit> {
        let nobody_waits = self.waiting.load(Ordering::SeqCst) == 0;
        if nobody_waits { self.take() } else { None }
    }

    /// What it counted.
    #[must_use]
    pub fn figures(&self) -> GateFigures {
        let nanos = self.queue_timeout_nanos.load(Ordering::Relaxed);
        GateFigures {
            taken: self.taken.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
            bounds: GateBounds {
                permits_max: self.permits_max.load(Ordering::Relaxed),
                queue_max: self.queue_max.load(Ordering::Relaxed),
                queue_timeout: Duration::from_nanos(nanos),
            },
            queued: self.queued.load(Ordering::Relaxed),
            refused_full: self.refused_full.load(Ordering::Relaxed),
            refused_late: self.refused_late.load(Ordering::Relaxed),
        }
    }

    fn take(self: &Arc<Self>) -> Option<Permit> {
        let permits_max = self.permits_max.load(Ordering::SeqCst);
        self.taken
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |taken| {
                (taken < permits_max).then_some(taken + 1)
            })
            .is_ok()
            .then(|| Permit {
                gate: Arc::clone(self),
                is_settled: false,
            })
    }

    async fn wait(self: &Arc<Self>) -> Result<Permit, Refused> {
        let place = match self.join_queue()? {
            Joined::Free(permit) => return Ok(permit),
            Joined::Waiting(place) => place,
        };
        let nanos = self.queue_timeout_nanos.load(Ordering::Relaxed);
        let mut place = Place {
            gate: self,
            permit: place,
        };
        match timeout(Duration::from_nanos(nanos), &mut place.permit).await {
            Ok(Ok(permit)) => Ok(permit),
            // The sender waits in the queue of a gate that we keep alive; an
            // error means no more than "not in time".
            Ok(Err(_)) | Err(_) => {
                // It may have come at the very last moment.
                if let Ok(permit) = place.permit.try_recv() {
                    return Ok(permit);
                }
                self.refused_late.fetch_add(1, Ordering::Relaxed);
                Err(Refused::TimedOut)
            }
        }
    }

    fn join_queue(self: &Arc<Self>) -> Result<Joined, Refused> {
        let mut queue = self.queue.lock();
        // Those who gave up are still in the queue; they take no place.
        if self.waiting.load(Ordering::SeqCst) >= self.queue_max.load(Ordering::SeqCst) {
            drop(queue);
            // With a queue of no length, room is still room.
            if let Some(permit) = self.try_enter() {
                return Ok(Joined::Free(permit));
            }
            self.refused_full.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::QueueFull);
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        queue.retain(|waiter| !waiter.is_closed());
        // Whoever left before `waiting` rose did not see us: look once more.
        if queue.is_empty()
            && let Some(permit) = self.take()
        {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            return Ok(Joined::Free(permit));
        }
        let (sender, receiver) = oneshot::channel();
        queue.push_back(sender);
        self.queued.fetch_add(1, Ordering::Relaxed);
        Ok(Joined::Waiting(receiver))
    }

    /// Gives permits to those who wait, as far as there are any.
    fn let_in(self: &Arc<Self>) {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            let mut queue = self.queue.lock();
            while queue.front().is_some_and(oneshot::Sender::is_closed) {
                queue.pop_front();
            }
            if queue.is_empty() {
                return;
            }
            let Some(permit) = self.take() else {
                return;
            };
            let waiter = queue.pop_front();
            drop(queue);
            // One who has just gone gives it back; settled here, because its
            // drop would come here again, once for each who has gone.
            if let Some(waiter) = waiter
                && let Err(mut permit) = waiter.send(permit)
            {
                self.taken.fetch_sub(1, Ordering::SeqCst);
                permit.is_settled = true;
            }
        }
    }
}

enum Joined {
    Free(Permit),
    Waiting(oneshot::Receiver<Permit>),
}

/// A place in the queue, left when dropped.
struct Place<'a> {
    gate: &'a Arc<Gate>,
    permit: oneshot::Receiver<Permit>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.permit.close();
        self.gate.waiting.fetch_sub(1, Ordering::SeqCst);
        // A permit still in the channel is dropped with it, and goes on.
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        self.gate.taken.fetch_sub(1, Ordering::SeqCst);
        if self.gate.waiting.load(Ordering::SeqCst) > 0 {
            self.gate.let_in();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::*;

    fn gate(permits_max: u64, queue_max: u64) -> Arc<Gate> {
        Arc::new(Gate::new(GateBounds {
            permits_max,
            queue_max,
            queue_timeout: Duration::from_secs(1),
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_let_in_in_order_and_before_newcomers() {
        let gate = gate(1, 8);
        let first = gate.enter().await.unwrap();
        let mut second = Box::pin(gate.enter());
        let mut third = Box::pin(gate.enter());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!(gate.figures().waiting, 2);
        drop(first);
        assert!(gate.try_enter().is_none(), "two came before");
        assert!(third.as_mut().now_or_never().is_none());
        let second = second.await.unwrap();
        drop(second);
        let third = third.await.unwrap();
        drop(third);
        let figures = gate.figures();
        assert_eq!((figures.taken, figures.waiting, figures.queued), (0, 0, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_ends_and_so_does_the_wait() {
        let gate = gate(1, 1);
        let inside = gate.enter().await.unwrap();
        let mut waiting = Box::pin(gate.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!(gate.enter().await.unwrap_err(), Refused::QueueFull);
        assert_eq!(waiting.await.unwrap_err(), Refused::TimedOut);
        let figures = gate.figures();
        assert_eq!((figures.refused_full, figures.refused_late), (1, 1));
        assert_eq!((figures.taken, figures.waiting), (1, 0));
        drop(inside);
        assert!(gate.try_enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_stops_waiting_hands_on_what_it_was_given() {
        let gate = gate(1, 8);
        let inside = gate.enter().await.unwrap();
        let mut gone = Box::pin(gate.enter());
        let mut next = Box::pin(gate.enter());
        assert!(gone.as_mut().now_or_never().is_none());
        assert!(next.as_mut().now_or_never().is_none());
        // The permit is in the first one's hands, unseen, when it goes.
        drop(inside);
        drop(gone);
        drop(next.await.unwrap());
        assert_eq!(gate.figures().taken, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn more_room_lets_those_in_who_wait() {
        let gate = gate(0, 8);
        let mut waiting = Box::pin(gate.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        gate.set_bounds(GateBounds {
            permits_max: 1,
            ..gate.figures().bounds
        });
        assert!(waiting.await.is_ok());
    }

    #[test]
    fn four_threads_never_exceed_the_bound_nor_lose_a_permit() {
        let gate = gate(2, 64);
        let inside = AtomicU64::new(0);
        let runtime = || {
            tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap()
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    runtime().block_on(async {
                        for _ in 0..2_000 {
                            let permit = gate.enter().await.unwrap();
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                            std::hint::spin_loop();
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        }
                    });
                });
            }
        });
        let figures = gate.figures();
        assert_eq!((figures.taken, figures.waiting), (0, 0));
    }

    proptest! {
        #[test]
        fn whatever_comes_and_goes_the_counts_agree(steps in prop::collection::vec(0_u8..4, 1..60)) {
            let gate = gate(2, 3);
            let mut inside = Vec::new();
            let mut waiting = VecDeque::new();
            for step in steps {
                match step {
                    0 | 1 => {
                        let mut entering = { let gate = Arc::clone(&gate); Box::pin(async move { gate.enter().await }) };
                        match poll_without_time(&mut entering) {
                            Some(Ok(permit)) => inside.push(permit),
                            Some(Err(refused)) => prop_assert_eq!(refused, Refused::QueueFull),
                            None => waiting.push_back(entering),
                        }
                    }
                    2 => drop(inside.pop()),
                    _ => drop(waiting.pop_front()),
                }
                // Whoever waits and was let in is inside.
                let mut still = VecDeque::new();
                for mut entering in waiting.drain(..) {
                    match poll_without_time(&mut entering) {
                        Some(Ok(permit)) => inside.push(permit),
                        Some(Err(_)) => {}
                        None => still.push_back(entering),
                    }
                }
                waiting = still;
                let figures = gate.figures();
                prop_assert_eq!(figures.taken, inside.len() as u64);
                prop_assert_eq!(figures.waiting, waiting.len() as u64);
                prop_assert!(figures.taken <= 2 && figures.waiting <= 3);
                prop_assert!(waiting.is_empty() || figures.taken == 2, "nobody waits while there is room");
            }
        }
    }

    fn poll_without_time<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        thread_local! {
            static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
        }
        RUNTIME.with(|runtime| {
            let _entered = runtime.enter();
            future.now_or_never()
        })
    }
}
