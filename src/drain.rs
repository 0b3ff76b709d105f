//! The orderly end of the data plane.
//!
//! A [`Drain`] is one switch for every listener and connection: once it is
//! thrown, nothing new is accepted, what is idle is closed, what is in flight
//! is finished, and what is still there at the deadline is cut.
//!
//! Knows nothing of signals: whoever hears them calls [`Drain::begin`].

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How long after the deadline [`Drain::finished`] still waits for
/// connections to be gone: they cut themselves, each on its own thread.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// The switch. Clones are the same switch.
#[derive(Clone, Debug)]
pub struct Drain(Arc<State>);

#[derive(Debug)]
struct State {
    /// When everything must be over; `None` while serving.
    deadline: watch::Sender<Option<Instant>>,
    /// Whether it was thrown, for a quick look.
    is_thrown: AtomicBool,
    /// Connections open now, upgraded ones included.
    open: AtomicUsize,
    /// Told each time `open` falls to zero.
    emptied: Notify,
}

impl Drain {
    /// A switch that has not been thrown.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(State {
            deadline: watch::Sender::new(None),
            is_thrown: AtomicBool::new(false),
            open: AtomicUsize::new(0),
            emptied: Notify::new(),
        }))
    }

    /// Throws the switch: what is unfinished after `within` is cut. A second
    /// call changes nothing.
    pub fn begin(&self, within: Duration) {
        let deadline = Instant::now() + within;
        // Before those who wait are woken: they look at it first.
        self.0.is_thrown.store(true, Ordering::Release);
        self.0.deadline.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(deadline);
            }
            first
        });
    }

    /// Whether it was thrown.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.is_thrown.load(Ordering::Acquire)
    }

    /// Connections open now, upgraded ones included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// Waits until it is thrown; gives the deadline.
    pub async fn begun(&self) -> Instant {
        let mut deadline = self.0.deadline.subscribe();
        loop {
            let known = *deadline.borrow_and_update();
            if let Some(deadline) = known {
                return deadline;
            }
            // The sender lives in `self`, so this cannot fail while we wait.
            if deadline.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The same for one that is polled often and in vain, such as beside a
    /// connection: polled again by the task that waits already, it looks at a
    /// flag and at nothing that other tasks write to.
    pub fn begun_beside(&self) -> impl Future<Output = Instant> + '_ {
        let mut begun = Box::pin(self.begun());
        let mut waiting: Option<Waker> = None;
        poll_fn(move |cx| {
            let waits_already = waiting
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()));
            if waits_already && !self.0.is_thrown.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            let polled = begun.as_mut().poll(cx);
            if polled.is_pending() {
                waiting = Some(cx.waker().clone());
            }
            polled
        })
    }

    /// Waits until what is left must be cut.
    pub async fn cut(&self) {
        sleep_until(self.begun().await).await;
    }

    /// Waits until a drain that was begun is over; gives the number of
    /// connections that were left at the end (zero: all finished or were cut).
    pub async fn finished(&self) -> usize {
        let deadline = self.begun().await;
        let emptied = async {
            loop {
                let emptied = self.0.emptied.notified();
                if self.open() == 0 {
                    return;
                }
                emptied.await;
            }
        };
        let _over_or_late = timeout_at(deadline + CUT_GRACE, emptied).await;
        self.open()
    }

    /// Counts one connection as open until the token is dropped.
    #[must_use]
    pub fn track(&self) -> Tracked {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        Tracked(Arc::clone(&self.0))
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

/// A connection that counts as open.
#[derive(Debug)]
pub struct Tracked(Arc<State>);

impl Drop for Tracked {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_drain_is_over_when_the_last_connection_is_gone() {
        let drain = Drain::new();
        let connection = drain.track();
        assert!(!drain.is_draining());
        drain.begin(Duration::from_secs(30));
        assert!(drain.is_draining());
        let started = Instant::now();
        let (left, ()) = tokio::join!(drain.finished(), async { drop(connection) });
        assert_eq!(left, 0);
        assert_eq!(started.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_does_not_wait_past_its_deadline() {
        let drain = Drain::new();
        let _stuck = drain.track();
        drain.begin(Duration::from_secs(5));
        drain.begin(Duration::from_secs(500));
        let started = Instant::now();
        drain.cut().await;
        assert_eq!(started.elapsed(), Duration::from_secs(5));
        assert_eq!(drain.finished().await, 1);
        assert_eq!(started.elapsed(), Duration::from_secs(5) + CUT_GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_beside_something_else_is_woken_too() {
        let drain = Drain::new();
        let thrower = drain.clone();
        let mut polls = 0;
        let beside = async {
            let mut begun = std::pin::pin!(drain.begun_beside());
            poll_fn(|cx| {
                polls += 1;
                begun.as_mut().poll(cx)
            })
            .await
        };
        let throw = async move {
            tokio::task::yield_now().await;
            thrower.begin(Duration::from_secs(5));
        };
        let (deadline, ()) = tokio::join!(beside, throw);
        assert_eq!(deadline, Instant::now() + Duration::from_secs(5));
        assert!(polls >= 2);
    }
}
