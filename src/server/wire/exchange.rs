//! What the guard of a connection and its request stack tell each other.
//!
//! Requests are spoken of by ordinal: the guard counts heads, the stack counts
//! requests, both from one, and hyper keeps their order. Nothing a client
//! sends can therefore be mistaken for a refusal, or a refusal for a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::interim::InterimQueue;
use crate::message::interim::InterimSink;
use crate::server::Problem;

/// Of one connection.
#[derive(Debug)]
pub(in crate::server) struct Exchange {
    /// Requests the stack was called with.
    started: AtomicU64,
    /// Those of them whose response has been handed over whole, or dropped.
    finished: AtomicU64,
    /// Response bodies that gave a piece and have not been asked for the next.
    unread: AtomicU64,
    /// The request that is refused; zero: none.
    refused: AtomicU64,
    refusal: Mutex<Option<Problem>>,
    /// The last request that was given its final response.
    answered: AtomicU64,
    interim: InterimQueue,
    /// The request after which the connection is another protocol's; zero: none.
    switched: AtomicU64,
    /// Whether the connection is to end: what comes is hyper's to answer, which
    /// tells the client.
    ending: AtomicBool,
    /// Whether anyone asks when something last went on.
    watched: AtomicBool,
    /// The connection's beginning, and when something last went on after it.
    began: Instant,
    active_millis: AtomicU64,
}

impl Exchange {
    pub(in crate::server) fn new() -> Arc<Self> {
        Arc::new(Self {
            started: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            refusal: Mutex::new(None),
            answered: AtomicU64::new(0),
            interim: InterimQueue::default(),
            switched: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            began: Instant::now(),
            active_millis: AtomicU64::new(0),
        })
    }

    /// The guard: request `ordinal` is refused, nothing comes after it.
    pub(super) fn refuse(&self, ordinal: u64, problem: Problem) {
        *self.refusal.lock() = Some(problem);
        self.refused.store(ordinal, Ordering::Release);
    }

    /// The stack: why request `ordinal` is refused, if it is.
    pub(in crate::server) fn refusal(&self, ordinal: u64) -> Option<Problem> {
        if self.refused.load(Ordering::Acquire) == ordinal {
            self.refusal.lock().take()
        } else {
            None
        }
    }

    /// The stack: request `ordinal` has its final response.
    pub(in crate::server) fn answered(&self, ordinal: u64) {
        self.answered.store(ordinal, Ordering::Release);
    }

    /// The guard: the last request that was given its final response.
    pub(super) fn last_answered(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    /// The interim responses to be written.
    pub(super) fn interim(&self) -> &InterimQueue {
        &self.interim
    }

    /// The stack: the response to request `ordinal` switches protocols.
    pub(in crate::server) fn switch(&self, ordinal: u64) {
        self.switched.store(ordinal, Ordering::Release);
    }

    /// The guard: whether the response to request `ordinal` switched.
    pub(super) fn has_switched(&self, ordinal: u64) -> bool {
        self.switched.load(Ordering::Acquire) == ordinal
    }

    /// The guard: whether all of `heads` requests have their responses.
    pub(super) fn has_finished(&self, heads: u64) -> bool {
        self.finished.load(Ordering::Acquire) == heads
    }

    /// The connection is to end with what is under way.
    pub(in crate::server) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// The guard: whether it is.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// From now on it is kept when something went on: for HTTP/2, whose
    /// requests share a socket. HTTP/1 is timed by the guard and spared this.
    pub(in crate::server) fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
        self.touch();
    }

    /// Something went on.
    pub(in crate::server) fn touch(&self) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.active_millis.store(millis, Ordering::Relaxed);
    }

    /// When something last went on.
    pub(in crate::server) fn last_active(&self) -> Instant {
        self.began + Duration::from_millis(self.active_millis.load(Ordering::Relaxed))
    }

    /// Whether there is no request under way.
    pub(in crate::server) fn is_idle(&self) -> bool {
        self.finished.load(Ordering::Acquire) == self.started.load(Ordering::Acquire)
    }

    /// Whether the client has yet to take what it was given.
    pub(in crate::server) fn waits_for_reader(&self) -> bool {
        self.unread.load(Ordering::Acquire) > 0
    }
}

impl InterimSink for Exchange {
    fn tell(&self, ordinal: u64, status: StatusCode, fields: &HeaderMap) {
        if self.last_answered() < ordinal {
            self.interim.push(ordinal, status, fields);
        }
    }
}

/// A request under way; over when this is dropped.
#[derive(Debug)]
pub(in crate::server) struct InFlight {
    exchange: Arc<Exchange>,
    ordinal: u64,
    unread: bool,
}

impl InFlight {
    /// The connection's next request.
    pub(in crate::server) fn begin(exchange: Arc<Exchange>) -> Self {
        let ordinal = exchange.started.fetch_add(1, Ordering::AcqRel) + 1;
        exchange.touch();
        Self {
            exchange,
            ordinal,
            unread: false,
        }
    }

    /// Which one it is, from one.
    pub(in crate::server) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// Notes whether a piece of its response is with the client now.
    pub(in crate::server) fn set_unread(&mut self, unread: bool) {
        if unread != self.unread {
            self.unread = unread;
            if unread {
                self.exchange.unread.fetch_add(1, Ordering::AcqRel);
            } else {
                self.exchange.unread.fetch_sub(1, Ordering::AcqRel);
            }
        }
        self.exchange.touch();
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.set_unread(false);
        self.exchange.finished.fetch_add(1, Ordering::AcqRel);
    }
}
