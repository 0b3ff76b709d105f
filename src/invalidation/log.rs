//! Appending to the invalidation log, again until it worked.
//!
//! Promises: what was handed over is appended, in the order it was handed
//! over, however long Redis is away; whoever waits for it waits no longer than
//! [`Wait`] says. An append whose answer was lost is made again, so an
//! entry may be in the log twice: a ban that is applied twice bans no less.
//! Where there is a [`Spool`], nobody is told [`Appended::Pending`] before the
//! entry is in it, and what waits longer than a moment is in it in any case.
//! A connection whose appends keep failing is replaced, whatever the error says.
//! Knows nothing of what an entry says.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::{RedisError, RedisResult};
use tokio::sync::oneshot;

use super::followed::Followed;
use super::queue::{Pending, QUEUED, Queue, SPOOLED};
use super::spool::{Orphan, Spool};
use super::wire::{LogName, LogState};
use crate::backoff::Backoff;
use crate::link::{Connection, Endpoint, Link, Role, Task};
use crate::semantics::stored::LogPosition;
use crate::telemetry::counters::RedisCounters;

/// One attempt to append, after which it is made again.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// What waits for so long is put into the spool, whoever waits for it.
const SPOOLED_AFTER: Duration = Duration::from_secs(1);
/// Attempts in a row that fail over one connection before it is replaced: it
/// may lead to a node that will never take an append again.
const FAILURES_MAX: u32 = 3;

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
    /// `None` where nobody follows the log.
    followed: Option<Arc<Followed>>,
    queue: Arc<Queue>,
}

impl Log {
    /// Starts to connect, on the runtime this is called from; appends may come
    /// from any. `everything` makes the payload that stands for any number of
    /// others: a ban that matches everything.
    pub(super) fn start(
        endpoint: Endpoint,
        name: LogName,
        wait: Wait,
        counters: Arc<RedisCounters>,
        spool: Option<Spool>,
        followed: Option<Arc<Followed>>,
        everything: impl Fn() -> Bytes + Send + Sync + 'static,
    ) -> Self {
        let queue = Queue::new(Arc::clone(&counters), spool, Box::new(everything));
        let worker = Worker {
            link: Link::start(endpoint, Role::Append, counters),
            name,
            followed,
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
    ) -> impl Future<Output = Appended> + Send + use<> {
        let (waiter, appended) = oneshot::channel();
        let entry = self.queue.push(nonce, payload, Some(waiter), QUEUED);
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
                    queue.spooled(&entry).await;
                    Appended::Pending
                }
            }
        }
    }

    /// Hands over what the spool of this process holds already, where there is
    /// one.
    pub(super) fn append_again(&self, nonce: u64, payload: Bytes) {
        let is_spooled = self.queue.spool.is_some();
        let stage = if is_spooled { SPOOLED } else { QUEUED };
        self.queue.push(nonce, payload, None, stage);
    }

    /// What was handed over stands for what another process has left: its file
    /// is not needed any more once that is in the spool.
    pub(super) fn take_over(&self, orphan: Orphan) {
        self.queue.spool_waiting();
        if let Some(spool) = &self.queue.spool {
            spool.release(orphan);
        }
    }

    /// Files of processes that are gone. Reads the disk.
    pub(super) fn orphans(&self) -> Vec<Orphan> {
        let spool = self.queue.spool.as_ref();
        spool.map_or_else(Vec::new, Spool::orphans)
    }

    /// Waits until everything handed over is in the log.
    pub async fn flushed(&self) {
        self.queue.emptied().await;
        if let Some(spool) = &self.queue.spool {
            // What is still in it would be appended once more at the next start.
            let _found_again = spool.synced().await;
        }
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
        let mut failures = 0;
        loop {
            self.queue.filled().await;
            let mut connection = self.connected().await;
            let batch = self.queue.take();
            let started = Instant::now();
            let outcome = self.append(&mut connection, &batch).await;
            let durations = &self.queue.counters.log.append_durations;
            durations.record(started.elapsed());
            match outcome {
                Ok(positions) if !self.is_followed(&batch, &positions).await => {
                    tracing::warn!("bans went into another log than is followed here");
                    self.link.condemn(&connection);
                    if let Some(followed) = &self.followed {
                        followed.doubt();
                    }
                    self.queue.put_back(batch);
                    self.queue.spool_waiting();
                    tokio::time::sleep(backoff.pause()).await;
                }
                Ok(positions) => {
                    self.queue.settle(batch, &positions);
                    backoff.reset();
                    failures = 0;
                }
                Err(error) => {
                    failures += 1;
                    // An outage is told once, not at every attempt.
                    if failures == 1 {
                        tracing::warn!(%error, "bans cannot be appended to the log yet");
                    } else {
                        tracing::debug!(%error, "bans still cannot be appended to the log");
                    }
                    if failures % FAILURES_MAX == 0 {
                        self.link.condemn(&connection);
                    } else {
                        self.link.report(&connection, &error);
                    }
                    self.queue.put_back(batch);
                    self.queue.spool_waiting();
                    tokio::time::sleep(backoff.pause()).await;
                }
            }
        }
    }

    /// Waits for a connection; what waits meanwhile is spooled.
    async fn connected(&self) -> Connection {
        loop {
            let connected = tokio::time::timeout(SPOOLED_AFTER, self.link.connected());
            match connected.await {
                Ok(connection) => return connection,
                Err(_) => self.queue.spool_waiting(),
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
        let followed = self.followed.as_ref();
        let position = followed.map_or_else(LogPosition::default, |followed| followed.position());
        let command = self.name.append(&entries, position);
        let attempt = command.query_async::<LogState>(connection);
        let state = tokio::time::timeout(ATTEMPT_TIMEOUT, attempt)
            .await
            .unwrap_or_else(|_| {
                let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
                Err(RedisError::from(late))
            })?;
        if state.foreign_keys > 0 {
            tracing::error!("a key of the invalidation log held another type: it was deleted");
        }
        if let Some(followed) = followed.filter(|_| state.is_digest_due) {
            followed.digest_is_due();
        }
        Ok(state.appended)
    }

    /// Waits until it is known whether this batch is in the log that is
    /// followed here: the connection may lead to another. What is in none that
    /// is known is spooled meanwhile.
    async fn is_followed(&self, batch: &[Pending], positions: &[LogPosition]) -> bool {
        let (Some(followed), Some(last)) = (&self.followed, positions.last()) else {
            return true;
        };
        let known = followed.is_in(last.incarnation, Instant::now());
        tokio::pin!(known);
        loop {
            match tokio::time::timeout(SPOOLED_AFTER, &mut known).await {
                Ok(is_followed) => return is_followed,
                Err(_) => {
                    self.queue.spool_batch(batch);
                    self.queue.spool_waiting();
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
