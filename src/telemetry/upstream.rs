//! What happens on the way to and from the origin.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::counters::{Counter, Gauge};
use super::histogram::Latencies;
use super::names::NamedCounts;
use super::origin_check::OriginCheck;
use super::outage::Outage;
use crate::gate::Gate;

/// What happens on the way to and from the origin. Never reset, but for the
/// latencies that `/performance` shows.
#[derive(Debug, Default)]
pub struct UpstreamCounters {
    /// Connections made.
    pub opened: Counter,
    /// Connections open now.
    pub open: Gauge,
    /// Bounds the exchanges under way, and counts them: an exchange is over
    /// when the body of its response is.
    pub exchanges: Arc<Gate>,
    /// Bounds the requests that wait for an origin that restarts, and counts
    /// them; no bound until one is set.
    pub restart_waits: Arc<Gate>,
    /// Requests that had to wait so, whatever came of it.
    pub restart_waited: Counter,
    /// Times that a request was sent again.
    pub retries: Counter,
    /// Bytes of response bodies that were received.
    pub body_bytes: Counter,
    /// Exchanges that failed, by kind.
    pub errors: NamedCounts,
    /// Since the last reset.
    pub latencies: Latencies,
    /// What the active check found.
    pub check: OriginCheck,
    failures_in_a_row: AtomicU64,
    outage: Mutex<Outage>,
}

/// An exchange that failed for a reason on the origin's side.
#[derive(Clone, Copy)]
pub struct ExchangeFailed<'a> {
    /// The kind of failure, for figures.
    pub kind: &'static str,
    /// Its cause in a word.
    pub cause: &'static str,
    /// The upstream as configured.
    pub upstream: &'a str,
    /// The whole error, with the address and what the system says.
    pub error: &'a dyn Display,
}

impl UpstreamCounters {
    /// A response head came.
    pub fn answered(&self) {
        // Read first: with a healthy origin nothing is written here.
        if self.failures_in_a_row.load(Ordering::Relaxed) == 0 {
            return;
        }
        let over = {
            let mut outage = self.outage.lock();
            self.failures_in_a_row.store(0, Ordering::Relaxed);
            outage.answered(Instant::now())
        };
        if let Some(over) = over {
            let seconds = over.after.as_secs();
            tracing::info!(
                seconds,
                failed = over.failed,
                "origin reachable again after {seconds} s, {} requests failed",
                over.failed
            );
        }
    }

    /// No response head came, for a reason on the origin's side. Told once, until
    /// the origin has answered.
    pub fn failed(&self, failed: &ExchangeFailed<'_>) {
        self.errors.increment(failed.kind);
        let earlier = {
            let mut outage = self.outage.lock();
            self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
            outage.failed(failed.cause, Instant::now())
        };
        if let Some(earlier) = earlier {
            tracing::warn!(
                cause = failed.cause,
                upstream = failed.upstream,
                error = %failed.error,
                earlier,
                "the origin fails: {}",
                failed.cause
            );
        }
    }

    /// An exchange that the origin had no part in failed: it was refused here,
    /// or its client broke off.
    pub fn gave_up(&self, kind: &'static str) {
        self.errors.increment(kind);
    }

    /// Exchanges that failed since the origin last answered.
    #[must_use]
    pub fn failures_in_a_row(&self) -> u64 {
        self.failures_in_a_row.load(Ordering::Relaxed)
    }

    /// Connections that no exchange uses. Read one after the other while
    /// exchanges come and go: may be off by as many.
    #[must_use]
    pub fn idle(&self) -> u64 {
        self.open
            .get()
            .saturating_sub(self.exchanges.figures().taken)
    }
}
