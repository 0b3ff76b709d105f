//! The task that drains the write-behind queue into Redis.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};

use super::keys::Keys;
use super::queue::{Queue, Write};
use super::record;
use crate::link::{Connection, Link};
use crate::telemetry::counters::RedisCounters;

/// Responses in one round trip.
const BATCH_LENGTH_MAX: usize = 64;
/// Their bytes; a larger response travels alone.
const BATCH_BYTES_MAX: u64 = 1 << 20;
/// A response that could not be written for so long is dropped: by then the
/// requests it would have spared were answered by the origin.
const QUEUED_MAX: Duration = Duration::from_secs(10);

/// Everything the task needs.
pub(super) struct Writer {
    pub(super) link: Arc<Link>,
    pub(super) queue: Arc<Queue>,
    pub(super) keys: Keys,
    pub(super) counters: Arc<RedisCounters>,
}

impl Writer {
    /// Writes what is queued, in the order it was queued, for ever.
    pub(super) async fn run(self) {
        loop {
            self.queue.filled().await;
            let connection = tokio::select! {
                connection = self.link.connected() => connection,
                () = tokio::time::sleep(QUEUED_MAX / 10) => {
                    if let Some(moment) = Instant::now().checked_sub(QUEUED_MAX) {
                        self.queue.drop_older_than(moment);
                    }
                    continue;
                }
            };
            let batch = self.queue.take(BATCH_LENGTH_MAX, BATCH_BYTES_MAX);
            self.write(connection, &batch).await;
            self.queue.done(batch.len());
        }
    }

    /// A write that fails is not repeated: its response is of less use by the
    /// time Redis is back than those queued since.
    async fn write(&self, mut connection: Connection, batch: &[Write]) {
        let groups: Vec<Vec<Cmd>> = batch
            .iter()
            .filter_map(|write| self.commands(write))
            .collect();
        if groups.is_empty() {
            return;
        }
        let started = Instant::now();
        let outcomes = connection.send_groups(groups).await;
        self.counters.store_durations.record(started.elapsed());
        for outcome in outcomes {
            match outcome {
                Ok(()) => {
                    self.counters.stores.increment();
                    self.are_accepted();
                }
                Err(error) => {
                    self.counters.stores_failed.increment();
                    tracing::debug!(%error, "a stored response could not be written to Redis");
                    self.link.report(&connection, &error);
                    if is_refusal(&error) {
                        self.are_refused(&error);
                    }
                }
            }
        }
    }

    /// Told once, until one is accepted again: Redis will not get better for
    /// being complained of at every response.
    fn are_refused(&self, error: &RedisError) {
        if self.counters.stores_refused.get() == 0 {
            self.counters.stores_refused.set(1);
            tracing::warn!(%error, "Redis refuses to store responses");
        }
    }

    fn are_accepted(&self) {
        if self.counters.stores_refused.get() > 0 {
            self.counters.stores_refused.set(0);
            tracing::info!("Redis stores responses again");
        }
    }

    /// The commands that write a response; the first of them matters.
    fn commands(&self, write: &Write) -> Option<Vec<Cmd>> {
        let names = &write.response.head.vary;
        let encoded = record::encode_response(&write.response).and_then(|response| {
            let pointer = record::encode_pointer(names)?;
            Ok((response, pointer))
        });
        let (response, pointer) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                self.counters.stores_failed.increment();
                tracing::debug!(%error, "a stored response has no record");
                return None;
            }
        };
        // What it has used up while it was queued: others tell its age by what
        // is left.
        let ttl = write.ttl.saturating_sub(write.queued_at.elapsed());
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        if ttl == 0 {
            self.counters.stores_dropped.increment();
            return None;
        }
        let base = self.keys.base(&write.key);
        if names.is_empty() {
            return Some(vec![set(&base, &response, ttl)]);
        }
        let variant = self
            .keys
            .variant(&write.key, &write.response.head.secondary);
        // The pointer lives as long as the longest lived response it leads to:
        // a younger one with less time to live must not shorten it. (Redis 6
        // knows no GT: there it lives as long as the first one.)
        Some(vec![
            set(&variant, &response, ttl),
            redis::cmd("SET")
                .arg(&base)
                .arg(&pointer)
                .arg("XX")
                .arg("KEEPTTL")
                .take(),
            set(&base, &pointer, ttl).arg("NX").take(),
            redis::cmd("PEXPIRE").arg(&base).arg(ttl).arg("GT").take(),
        ])
    }
}

/// Whether Redis answered and will not store, for want of memory, of rights or
/// of a place to save to; one that is on the way to another place is none.
fn is_refusal(error: &RedisError) -> bool {
    let code = error.code().unwrap_or_default();
    ["OOM", "MISCONF", "NOREPLICAS"].contains(&code)
        || matches!(
            error.kind(),
            ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::ReadOnly)
        )
}

fn set(key: &str, record: &[u8], ttl_millis: u64) -> Cmd {
    redis::cmd("SET")
        .arg(key)
        .arg(record)
        .arg("PX")
        .arg(ttl_millis)
        .take()
}
