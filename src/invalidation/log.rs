//! Appending to the invalidation log, again until it worked.
//!
//! Promises: what was handed over is appended, in the order it was handed
//! over, however long Redis is away; whoever waits for it waits no longer than
//! [`Wait`] says. An append whose answer was lost is made again, so an
//! entry may be in the log twice: a ban that is applied twice bans no less.
//! Knows nothing of what an entry says.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{RedisError, RedisResult};
use tokio::sync::{Notify, oneshot};

use super::wire::{LogName, LogState};
use crate::link::backoff::Backoff;
use crate::link::{Connection, Endpoint, Link, Role, Task};
use crate::semantics::stored::LogPosition;
use crate::telemetry::counters::RedisCounters;

/// Ban batches that may wait. One more, and all that wait become one that
/// matches everything: nothing is lost but precision.
pub const PENDING_MAX: usize = 1024;
/// A larger payload becomes one that matches everything.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// Batches in one round trip.
const BATCH_MAX: usize = 64;
/// One attempt to append, after which it is made again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long whoever appends waits for it.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// So long, every time: what follows depends on it.
    EveryTime(Duration),
    /// So long, but not again until an append has succeeded: in an outage the
    /// first write pays for finding out, the others are answered at once.
    OnceAnOutage(Duration),
}

/// What became of an append in the time there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log, here. Where it was folded into one that matches
    /// everything, that one is.
    At(LogPosition),
    /// Not yet; it will be.
    Pending,
}

/// The end of the log that is written to. Dropping it gives up what waits.
pub struct Log {
    queue: Arc<Queue>,
    wait: Wait,
    _worker: Task,
}

/// What the worker needs besides the queue.
struct Worker {
    link: Link,
    name: LogName,
    queue: Arc<Queue>,
}

struct Queue {
    state: Mutex<State>,
    /// Makes the payload that matches everything.
    everything: Box<dyn Fn() -> Bytes + Send + Sync>,
    counters: Arc<RedisCounters>,
    /// A wait has run out, and nothing was appended since.
    is_late: AtomicBool,
    filled: Notify,
    emptied: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Pending>,
    /// Taken by the worker; put back where its attempt fails.
    in_flight: usize,
}

struct Pending {
    nonce: u64,
    payload: Bytes,
    /// Who waits for it: more than one after folding.
    waiters: Vec<oneshot::Sender<LogPosition>>,
}

impl Log {
    /// Starts to connect, on the runtime this is called from; appends may come
    /// from any. `everything` makes the payload that stands for any number of
    /// others: a ban that matches everything.
    pub fn start(
        endpoint: Endpoint,
        name: LogName,
        wait: Wait,
        counters: Arc<RedisCounters>,
        everything: impl Fn() -> Bytes + Send + Sync + 'static,
    ) -> Self {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            everything: Box::new(everything),
            counters: Arc::clone(&counters),
            is_late: AtomicBool::new(false),
            filled: Notify::new(),
            emptied: Notify::new(),
        });
        let worker = Worker {
            link: Link::start(endpoint, Role::Append, counters),
            name,
            queue: Arc::clone(&queue),
        };
        Self {
            queue,
            wait,
            _worker: Task::start(worker.run()),
        }
    }

    /// Hands a ban batch over, now, and gives a wait for it that may be given
    /// up: the batch is appended all the same. `nonce` is what the appending
    /// instance knows it by when it reads it.
    pub fn append(
        &self,
        nonce: u64,
        payload: Bytes,
    ) -> impl Future<Output = Appended> + Send + 'static {
        let (waiter, appended) = oneshot::channel();
        self.queue.push(nonce, payload, waiter);
        let queue = Arc::clone(&self.queue);
        let wait = match self.wait {
            Wait::EveryTime(wait) => wait,
            Wait::OnceAnOutage(_) if queue.is_late.load(Ordering::Relaxed) => Duration::ZERO,
            Wait::OnceAnOutage(wait) => wait,
        };
        async move {
            match tokio::time::timeout(wait, appended).await {
                Ok(Ok(position)) => Appended::At(position),
                Ok(Err(_)) | Err(_) => {
                    queue.is_late.store(true, Ordering::Relaxed);
                    Appended::Pending
                }
            }
        }
    }

    /// Waits until everything handed over is in the log.
    pub async fn flushed(&self) {
        self.queue.emptied().await;
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Log").finish_non_exhaustive()
    }
}

impl Worker {
    async fn run(self) {
        let mut backoff = Backoff::default();
        let mut is_first_failure = true;
        loop {
            self.queue.filled().await;
            let mut connection = self.link.connected().await;
            let batch = self.queue.take();
            let started = Instant::now();
            let outcome = self.append(&mut connection, &batch).await;
            let durations = &self.queue.counters.log.append_durations;
            durations.record(started.elapsed());
            match outcome {
                Ok(positions) => {
                    self.queue.settle(batch, &positions);
                    backoff.reset();
                    is_first_failure = true;
                }
                Err(error) => {
                    // An outage is told once, not at every attempt.
                    if is_first_failure {
                        tracing::warn!(%error, "bans cannot be appended to the log yet");
                    } else {
                        tracing::debug!(%error, "bans still cannot be appended to the log");
                    }
                    is_first_failure = false;
                    self.link.report(&connection, &error);
                    self.queue.put_back(batch);
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    async fn append(
        &self,
        connection: &mut Connection,
        batch: &[Pending],
    ) -> RedisResult<Vec<LogPosition>> {
        let entries: Vec<(u64, Bytes)> = batch
            .iter()
            .map(|pending| (pending.nonce, pending.payload.clone()))
            .collect();
        let command = self.name.append(&entries);
        let attempt = command.query_async::<LogState>(connection);
        let state = tokio::time::timeout(ATTEMPT_TIMEOUT, attempt)
            .await
            .unwrap_or_else(|_| {
                let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
                Err(RedisError::from(late))
            })?;
        Ok(state.appended)
    }
}

impl Queue {
    fn push(&self, nonce: u64, payload: Bytes, waiter: oneshot::Sender<LogPosition>) {
        let is_too_large = payload.len() > PAYLOAD_BYTES_MAX;
        let payload = if is_too_large {
            self.counters.log.appends_folded.increment();
            (self.everything)()
        } else {
            payload
        };
        let mut state = self.state.lock();
        state.waiting.push_back(Pending {
            nonce,
            payload,
            waiters: vec![waiter],
        });
        if state.waiting.len() > PENDING_MAX {
            self.fold(&mut state);
        }
        self.count(&state);
        self.filled.notify_one();
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
            waiters: Vec::new(),
        };
        for pending in state.waiting.drain(..) {
            folded.nonce = pending.nonce;
            // Those who gave up waiting are forgotten; the others are as many
            // as there are requests under way.
            let waiters = pending.waiters.into_iter();
            folded
                .waiters
                .extend(waiters.filter(|waiter| !waiter.is_closed()));
        }
        state.waiting.push_back(folded);
    }

    async fn filled(&self) {
        while self.state.lock().waiting.is_empty() {
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Vec<Pending> {
        let mut state = self.state.lock();
        let count = state.waiting.len().min(BATCH_MAX);
        state.in_flight = count;
        state.waiting.drain(..count).collect()
    }

    fn put_back(&self, batch: Vec<Pending>) {
        self.counters.log.append_retries.add(batch.len() as u64);
        let mut state = self.state.lock();
        state.in_flight = 0;
        for pending in batch.into_iter().rev() {
            state.waiting.push_front(pending);
        }
        self.count(&state);
    }

    fn settle(&self, batch: Vec<Pending>, positions: &[LogPosition]) {
        self.is_late.store(false, Ordering::Relaxed);
        self.counters.log.appends.add(batch.len() as u64);
        for (pending, position) in batch.into_iter().zip(positions) {
            for waiter in pending.waiters {
                // Whoever gave up waiting does not want to know.
                let _given_up = waiter.send(*position);
            }
        }
        let mut state = self.state.lock();
        state.in_flight = 0;
        self.count(&state);
    }

    async fn emptied(&self) {
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

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
