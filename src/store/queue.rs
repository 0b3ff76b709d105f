//! The write-behind queue: responses on their way to Redis.
//!
//! Promises: bounded in number and bytes, and what does not fit is refused at
//! once; of several writes to one place only the newest is kept; nothing is
//! kept for longer than its time. Knows nothing of Redis.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::semantics::key::CacheKey;
use crate::semantics::stored::StoredResponse;
use crate::semantics::vary::SecondaryKey;
use crate::telemetry::counters::RedisCounters;

/// What a queued response takes besides its body and fields.
const OVERHEAD_BYTES: u64 = 512;

/// A response to be written.
pub(super) struct Write {
    pub(super) key: CacheKey,
    pub(super) response: Arc<StoredResponse>,
    pub(super) ttl: Duration,
    pub(super) queued_at: Instant,
    bytes: u64,
}

impl Write {
    pub(super) fn new(
        key: CacheKey,
        response: Arc<StoredResponse>,
        ttl: Duration,
        queued_at: Instant,
    ) -> Self {
        let fields = response.head.fields.iter();
        let fields: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        let bytes = (response.body.len() + fields) as u64 + OVERHEAD_BYTES;
        Self {
            key,
            response,
            ttl,
            queued_at,
            bytes,
        }
    }

    fn place(&self) -> Place {
        (self.key, self.response.head.secondary)
    }
}

type Place = (CacheKey, SecondaryKey);

/// The queue. Its length and bytes stand in the gauges of its counters.
pub(super) struct Queue {
    length_max: usize,
    bytes_max: u64,
    counters: Arc<RedisCounters>,
    state: Mutex<State>,
    /// Something was queued.
    filled: Notify,
    /// Everything queued was dealt with.
    emptied: Notify,
}

#[derive(Default)]
struct State {
    /// In the order they were queued.
    writes: BTreeMap<u64, Write>,
    places: HashMap<Place, u64, RandomState>,
    next: u64,
    bytes: u64,
    /// Taken and not dealt with yet.
    in_flight: usize,
}

impl Queue {
    pub(super) fn new(length_max: usize, bytes_max: u64, counters: Arc<RedisCounters>) -> Self {
        Self {
            length_max,
            bytes_max,
            counters,
            state: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
        }
    }

    /// Queues a write, in place of an older one to the same place. Where it
    /// does not fit, it is dropped and counted, and so is the older one: what
    /// was to replace it is newer.
    pub(super) fn push(&self, write: Write) {
        let mut state = self.state.lock();
        let place = write.place();
        if let Some(older) = state.places.get(&place).copied() {
            state.remove(older);
        }
        let fits = state.writes.len() < self.length_max
            && state.bytes.saturating_add(write.bytes) <= self.bytes_max;
        if fits {
            let at = state.next;
            state.next += 1;
            state.bytes += write.bytes;
            state.places.insert(place, at);
            state.writes.insert(at, write);
            self.filled.notify_one();
        } else {
            self.counters.stores_dropped.increment();
        }
        self.settle(&state);
    }

    /// Waits until something is queued.
    pub(super) async fn filled(&self) {
        while self.state.lock().writes.is_empty() {
            self.filled.notified().await;
        }
    }

    /// Takes the oldest writes, no more than these bounds allow but at least
    /// one. The taker says [`Self::done`] when it has dealt with them.
    pub(super) fn take(&self, length_max: usize, bytes_max: u64) -> Vec<Write> {
        let mut state = self.state.lock();
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some((at, write)) = state.writes.first_key_value() {
            let is_full = batch.len() >= length_max || bytes + write.bytes > bytes_max;
            if is_full && !batch.is_empty() {
                break;
            }
            bytes += write.bytes;
            let at = *at;
            batch.extend(state.remove(at));
        }
        state.in_flight += batch.len();
        self.settle(&state);
        batch
    }

    /// So many that were taken are dealt with.
    pub(super) fn done(&self, count: usize) {
        let mut state = self.state.lock();
        state.in_flight = state.in_flight.saturating_sub(count);
        self.settle(&state);
    }

    /// Drops what was queued before `moment` and counts it as dropped.
    pub(super) fn drop_older_than(&self, moment: Instant) {
        let mut state = self.state.lock();
        while let Some((at, write)) = state.writes.first_key_value() {
            if write.queued_at >= moment {
                break;
            }
            let at = *at;
            state.remove(at);
            self.counters.stores_dropped.increment();
        }
        self.settle(&state);
    }

    /// Drops everything; the caller wants it gone and nothing is counted.
    pub(super) fn clear(&self) {
        let mut state = self.state.lock();
        state.writes.clear();
        state.places.clear();
        state.bytes = 0;
        self.settle(&state);
    }

    /// Waits until everything queued was dealt with.
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

    fn settle(&self, state: &State) {
        self.counters.queue_length.set(state.writes.len() as u64);
        self.counters.queue_bytes.set(state.bytes);
        if state.is_empty() {
            self.emptied.notify_waiters();
        }
    }
}

impl State {
    fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.in_flight == 0
    }

    fn remove(&mut self, at: u64) -> Option<Write> {
        let write = self.writes.remove(&at)?;
        self.places.remove(&write.place());
        self.bytes -= write.bytes;
        Some(write)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::store::samples::response;

    fn write(key: u8, body: &'static str, queued_at: Instant) -> Write {
        let response = Arc::new(response(body));
        Write::new(CacheKey([key; 32]), response, Duration::ZERO, queued_at)
    }

    fn bodies(batch: &[Write]) -> Vec<&[u8]> {
        batch.iter().map(|write| &*write.response.body).collect()
    }

    #[test]
    fn the_newest_write_to_a_place_is_the_one_kept() {
        let now = Instant::now();
        let queue = Queue::new(8, 1 << 20, Arc::default());
        queue.push(write(1, "old", now));
        queue.push(write(2, "other", now));
        queue.push(write(1, "new", now));
        assert_eq!(
            bodies(&queue.take(8, u64::MAX)),
            [b"other" as &[u8], b"new"]
        );
        assert_eq!(queue.counters.stores_dropped.get(), 0);
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let now = Instant::now();
        let queue = Queue::new(2, 1 << 20, Arc::default());
        for key in 0..5 {
            queue.push(write(key, "x", now));
        }
        assert_eq!(queue.counters.stores_dropped.get(), 3);
        assert_eq!(queue.counters.queue_length.get(), 2);

        let queue = Queue::new(8, 10, Arc::default());
        queue.push(write(1, "larger than all there is", now));
        assert_eq!(queue.counters.stores_dropped.get(), 1);
        assert_eq!(queue.counters.queue_bytes.get(), 0);
    }

    #[test]
    fn batches_keep_to_their_bounds_and_carry_at_least_one() {
        let now = Instant::now();
        let queue = Queue::new(8, 1 << 20, Arc::default());
        for key in 0..5 {
            queue.push(write(key, "x", now));
        }
        assert_eq!(queue.take(3, u64::MAX).len(), 3);
        assert_eq!(queue.take(3, 1).len(), 1);
        assert_eq!(queue.take(3, u64::MAX).len(), 1);
        assert_eq!(queue.counters.queue_bytes.get(), 0);
    }

    #[test]
    fn the_old_ones_go_and_the_young_ones_stay() {
        let now = Instant::now();
        let queue = Queue::new(8, 1 << 20, Arc::default());
        queue.push(write(1, "old", now));
        queue.push(write(2, "young", now + Duration::from_secs(9)));
        queue.drop_older_than(now + Duration::from_secs(5));
        assert_eq!(bodies(&queue.take(8, u64::MAX)), [b"young"]);
        assert_eq!(queue.counters.stores_dropped.get(), 1);
    }

    #[tokio::test]
    async fn it_is_empty_only_when_what_was_taken_is_dealt_with() {
        let queue = Queue::new(8, 1 << 20, Arc::default());
        queue.emptied().await;
        queue.push(write(1, "x", Instant::now()));
        let batch = queue.take(8, u64::MAX);
        let mut emptied = std::pin::pin!(queue.emptied());
        assert!(emptied.as_mut().now_or_never().is_none());
        queue.done(batch.len());
        emptied.await;
    }
}
