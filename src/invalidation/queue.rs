//! What waits to be appended to the invalidation log, in order, and who waits
//! for it.
//!
//! Promises: at most [`PENDING_MAX`] batches wait; past that they become one
//! that matches everything. Where there is a [`Spool`], it holds what is said
//! to be in it until that is in the log. Knows nothing of Redis.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::spool::Spool;
use crate::semantics::stored::LogPosition;
use crate::telemetry::counters::RedisCounters;

/// Ban batches that may wait. One more, and all that wait become one that
/// matches everything: nothing is lost but precision.
pub(super) const PENDING_MAX: usize = 1024;
/// A larger payload becomes one that matches everything.
pub(super) const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// Batches in one round trip.
const BATCH_MAX: usize = 64;
pub(super) struct Queue {
    state: Mutex<State>,
    /// Makes the payload that matches everything.
    pub(super) everything: Box<dyn Fn() -> Bytes + Send + Sync>,
    pub(super) counters: Arc<RedisCounters>,
    /// `None` where none is configured, or none can be had.
    pub(super) spool: Option<Spool>,
    /// A wait has run out, and nothing was appended since.
    pub(super) is_late: AtomicBool,
    filled: Notify,
    emptied: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Pending>,
    /// Taken by the worker; put back where its attempt fails.
    in_flight: usize,
    /// Of all these, how many are in the spool.
    spooled: usize,
}

pub(super) struct Pending {
    pub(super) nonce: u64,
    pub(super) payload: Bytes,
    stage: Arc<Stage>,
    /// Who waits for it: more than one after folding.
    waiters: Vec<oneshot::Sender<LogPosition>>,
}

/// An entry, for whoever waits for it.
pub(super) struct Waited {
    payload: Bytes,
    stage: Arc<Stage>,
}

/// Where an entry is. Written with the queue locked.
#[derive(Debug, Default)]
struct Stage(AtomicU8);

pub(super) const QUEUED: u8 = 0;
pub(super) const SPOOLED: u8 = 1;
const SETTLED: u8 = 2;

impl Stage {
    fn is(&self, stage: u8) -> bool {
        self.0.load(Ordering::Acquire) == stage
    }

    fn set(&self, stage: u8) {
        self.0.store(stage, Ordering::Release);
    }
}

impl Queue {
    pub(super) fn new(
        counters: Arc<RedisCounters>,
        spool: Option<Spool>,
        everything: Box<dyn Fn() -> Bytes + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            everything,
            counters,
            spool,
            is_late: AtomicBool::new(false),
            filled: Notify::new(),
            emptied: Notify::new(),
        })
    }

    pub(super) fn push(
        &self,
        nonce: u64,
        payload: Bytes,
        waiter: Option<oneshot::Sender<LogPosition>>,
        stage: u8,
    ) -> Waited {
        let is_too_large = payload.len() > PAYLOAD_BYTES_MAX;
        let payload = if is_too_large {
            self.counters.log.appends_folded.increment();
            (self.everything)()
        } else {
            payload
        };
        let entry = Waited {
            payload: payload.clone(),
            stage: Arc::new(Stage(AtomicU8::new(stage))),
        };
        let mut state = self.state.lock();
        state.spooled += usize::from(entry.stage.is(SPOOLED));
        state.waiting.push_back(Pending {
            nonce,
            payload,
            stage: Arc::clone(&entry.stage),
            waiters: waiter.into_iter().collect(),
        });
        if state.waiting.len() > PENDING_MAX {
            self.fold(&mut state);
        }
        self.count(&state);
        self.filled.notify_one();
        entry
    }

    /// Makes one of all that wait.
    fn fold(&self, state: &mut State) {
        self.counters
            .log
            .appends_folded
            .add(state.waiting.len() as u64);
        let mut folded = Pending {
            nonce: 0,
            payload: (self.everything)(),
            stage: Arc::default(),
            waiters: Vec::new(),
        };
        // It stands for them in the spool as well, before any of them is told.
        self.spool(state, &folded.payload, &folded.stage);
        for pending in std::mem::take(&mut state.waiting) {
            folded.nonce = pending.nonce;
            if self.spool.is_some() {
                state.spooled -= usize::from(pending.stage.is(SPOOLED));
                pending.stage.set(SPOOLED);
            }
            // Those who gave up waiting are forgotten; the others are as many
            // as there are requests under way.
            let waiters = pending.waiters.into_iter();
            folded
                .waiters
                .extend(waiters.filter(|waiter| !waiter.is_closed()));
        }
        state.waiting.push_back(folded);
    }

    /// Puts an entry into the spool, where there is one and it is not in it.
    fn spool(&self, state: &mut State, payload: &Bytes, stage: &Stage) {
        if let Some(spool) = &self.spool
            && stage.is(QUEUED)
        {
            spool.keep(payload.clone());
            stage.set(SPOOLED);
            state.spooled += 1;
        }
    }

    /// Puts everything that waits into the spool.
    pub(super) fn spool_waiting(&self) {
        let mut state = self.state.lock();
        let waiting = std::mem::take(&mut state.waiting);
        for pending in &waiting {
            self.spool(&mut state, &pending.payload, &pending.stage);
        }
        state.waiting = waiting;
        self.count(&state);
    }

    /// Puts what is in flight into the spool.
    pub(super) fn spool_batch(&self, batch: &[Pending]) {
        let mut state = self.state.lock();
        for pending in batch {
            self.spool(&mut state, &pending.payload, &pending.stage);
        }
        self.count(&state);
    }

    /// Waits until this entry is in the log or on the disk; not for a disk
    /// that hangs or fails, which is said where it is found out.
    pub(super) async fn spooled(&self, entry: &Waited) {
        let Some(spool) = &self.spool else {
            return;
        };
        {
            let mut state = self.state.lock();
            if entry.stage.is(SETTLED) {
                return;
            }
            self.spool(&mut state, &entry.payload, &entry.stage);
            self.count(&state);
        }
        let _said_where_it_failed = spool.synced().await;
    }

    pub(super) async fn filled(&self) {
        while self.state.lock().waiting.is_empty() {
            self.filled.notified().await;
        }
    }

    pub(super) fn take(&self) -> Vec<Pending> {
        let mut state = self.state.lock();
        let count = state.waiting.len().min(BATCH_MAX);
        state.in_flight = count;
        state.waiting.drain(..count).collect()
    }

    pub(super) fn put_back(&self, batch: Vec<Pending>) {
        self.counters.log.append_retries.add(batch.len() as u64);
        let mut state = self.state.lock();
        state.in_flight = 0;
        for pending in batch.into_iter().rev() {
            state.waiting.push_front(pending);
        }
        self.count(&state);
    }

    pub(super) fn settle(&self, batch: Vec<Pending>, positions: &[LogPosition]) {
        self.is_late.store(false, Ordering::Relaxed);
        self.counters.log.appends.add(batch.len() as u64);
        let mut state = self.state.lock();
        let were_spooled = state.spooled;
        for (pending, position) in batch.into_iter().zip(positions) {
            state.spooled -= usize::from(pending.stage.is(SPOOLED));
            pending.stage.set(SETTLED);
            for waiter in pending.waiters {
                // Whoever gave up waiting does not want to know.
                let _given_up = waiter.send(*position);
            }
        }
        if let Some(spool) = &self.spool
            && were_spooled > 0
            && state.spooled == 0
        {
            spool.clear();
        }
        state.in_flight = 0;
        self.count(&state);
    }

    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.state.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }

    fn count(&self, state: &State) {
        let pending = state.waiting.len() + state.in_flight;
        self.counters.log.appends_pending.set(pending as u64);
        let spooled = state.spooled as u64;
        self.counters.log.appends_spooled.set(spooled);
        if state.is_empty() {
            self.emptied.notify_waiters();
        }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight == 0
    }
}
