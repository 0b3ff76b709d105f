//! How far warming has come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far warming has come. Written by whoever warms, read by the admin
/// listener.
#[derive(Debug, Default)]
pub struct Warmth {
    total: AtomicU64,
    warmed: AtomicU64,
    failed: AtomicU64,
    is_awaited: AtomicBool,
}

/// What [`Warmth`] held at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmthFigures {
    /// URLs to fetch.
    pub total: u64,
    /// Those answered with success.
    pub warmed: u64,
    /// Those that were not.
    pub failed: u64,
    /// Whether readiness waits for the rest.
    pub is_awaited: bool,
}

impl Warmth {
    /// There is so much more to fetch.
    pub fn plan(&self, urls: u64) {
        self.total.fetch_add(urls, Ordering::Relaxed);
    }

    /// One was fetched, or was not.
    pub fn count(&self, is_success: bool) {
        let counter = if is_success {
            &self.warmed
        } else {
            &self.failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether readiness waits.
    pub fn set_awaited(&self, is_awaited: bool) {
        self.is_awaited.store(is_awaited, Ordering::Release);
    }

    /// The figures now.
    #[must_use]
    pub fn figures(&self) -> WarmthFigures {
        WarmthFigures {
            total: self.total.load(Ordering::Relaxed),
            warmed: self.warmed.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            is_awaited: self.is_awaited.load(Ordering::Acquire),
        }
    }
}
