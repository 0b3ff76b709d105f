//! Requests as they are answered, for those who watch (`GET /tail`).
//!
//! Promises: a request never waits for a watcher, and costs nothing but one look
//! at a number while there is none; a watcher that reads too slowly misses lines
//! and is told how many. A line holds the path without its query and no field of
//! the request.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::broadcast::{self, error::RecvError};

use super::ResponseServed;
use super::access;
use crate::clock::Timestamp;
use crate::semantics::outcome::CacheResult;

/// Watchers at once; further ones are refused.
pub const WATCHERS_MAX: usize = 16;
/// Lines that wait for a watcher; past it the oldest are lost to it.
const LINES_MAX: usize = 1_024;

/// What is told of a request that was answered.
#[derive(Clone, Debug)]
pub struct Line {
    /// The route's name; empty for none.
    pub route: Arc<str>,
    /// The answer's status.
    pub status: u16,
    /// How the cache answered.
    pub cache: CacheResult,
    /// All of it, as JSON, with a line's end.
    pub json: Arc<str>,
}

/// The way from requests to watchers.
#[derive(Debug, Default)]
pub struct Tail {
    watchers: Arc<AtomicUsize>,
    lines: OnceLock<broadcast::Sender<Line>>,
}

/// Somebody who watches; a place is free again when it is dropped.
#[derive(Debug)]
pub struct Watcher {
    lines: broadcast::Receiver<Line>,
    watchers: Arc<AtomicUsize>,
}

/// What a watcher sees next.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A request was answered.
    Line(Line),
    /// So many were answered that it did not see.
    Missed(u64),
}

impl Tail {
    /// Watches from now on; `None` where too many do.
    #[must_use]
    pub fn watch(&self) -> Option<Watcher> {
        let taken = self
            .watchers
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |watchers| {
                (watchers < WATCHERS_MAX).then_some(watchers + 1)
            });
        taken.ok()?;
        let lines = self.lines.get_or_init(|| broadcast::channel(LINES_MAX).0);
        Some(Watcher {
            lines: lines.subscribe(),
            watchers: Arc::clone(&self.watchers),
        })
    }

    pub(super) fn write(&self, event: &ResponseServed<'_>, route: &str, now: Timestamp) {
        if self.watchers.load(Ordering::Relaxed) == 0 {
            return;
        }
        if let Some(lines) = self.lines.get() {
            // Nobody may be left to see it.
            let _ = lines.send(Line {
                route: route.into(),
                status: event.status.as_u16(),
                cache: event.cache,
                json: access::json(event, route, now).into(),
            });
        }
    }
}

impl Watcher {
    /// Waits for the next request.
    pub async fn next(&mut self) -> Option<Seen> {
        match self.lines.recv().await {
            Ok(line) => Some(Seen::Line(line)),
            Err(RecvError::Lagged(missed)) => Some(Seen::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_watchers() {
        let tail = Tail::default();
        let mut all: Vec<Watcher> = (0..WATCHERS_MAX).filter_map(|_| tail.watch()).collect();
        assert_eq!(all.len(), WATCHERS_MAX);
        assert!(tail.watch().is_none());
        all.pop();
        assert!(tail.watch().is_some());
    }
}
