//! The store that instances share (L2).
//!
//! Promises: a lookup never takes longer than its budget and is an immediate
//! miss where Redis is known to be away; storing never waits at all. Decides
//! nothing about reuse: whether a stored response may still answer is judged
//! by who asked, from its freshness and its position in the invalidation log.
//!
//! A response without `Vary` rests under its cache key. One that varies rests
//! under its cache key and secondary key; what is found under the cache key
//! alone is then a *pointer*: the names of the fields it varies on.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use redis::RedisResult;
use tokio::sync::Notify;

use super::hold::{Asked, Hold};
use super::keys::Keys;
use super::popular::Popular;
use super::queue::{Queue, Write};
use super::record::{self, DecodeError, Record};
use super::sweep::sweep;
use super::writer::Writer;
use crate::config::RedisConfig;
use crate::link::breaker::Breaker;
use crate::link::{Connection, Endpoint, EndpointError, Link, Role, Task};
use crate::semantics::key::CacheKey;
use crate::semantics::stored::StoredResponse;
use crate::semantics::vary::VaryNames;
use crate::telemetry::counters::RedisCounters;

/// Consecutive time-outs after which Redis is left alone…
const TIMEOUTS_MAX: u32 = 5;
/// … but for one lookup in this time.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
/// No record lives longer, whatever its lifetime and graces.
pub const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a lookup found.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A stored response that the request selects; reusable or not.
    Hit(Arc<StoredResponse>),
    /// Redis has none.
    Miss,
    /// Redis could not be asked, or did not answer in time.
    Unavailable,
}

/// The stored responses in Redis. Dropping it ends its tasks.
pub struct RedisStore {
    lookups: Link,
    breaker: Mutex<Breaker>,
    lookup_timeout: Duration,
    body_bytes_max: u64,
    keys: Keys,
    queue: Arc<Queue>,
    popular: Popular,
    stores: Arc<Link>,
    is_collapsing: bool,
    sweep_wanted: Arc<Notify>,
    counters: Arc<RedisCounters>,
    _tasks: [Task; 2],
}

/// What Redis gave for a lookup.
enum Found {
    Response(Box<StoredResponse>),
    Nothing,
    Corrupt(DecodeError),
}

impl RedisStore {
    /// Starts to connect, on the runtime this is called from; lookups may
    /// come from any. `body_bytes_max` bounds the bodies it takes and gives.
    ///
    /// # Errors
    ///
    /// Where the configuration leads to no Redis. One that is merely away is
    /// no error: it is looked for until it is there.
    pub fn start(
        config: &RedisConfig,
        body_bytes_max: u64,
        counters: Arc<RedisCounters>,
    ) -> Result<Self, EndpointError> {
        let endpoint = Endpoint::of(config)?;
        let keys = Keys::of(&config.namespace);
        let queue = Arc::new(Queue::new(
            config.queue_max,
            config.queue_bytes_max,
            Arc::clone(&counters),
        ));
        let stores = Arc::new(Link::start(
            endpoint.clone(),
            Role::Store,
            Arc::clone(&counters),
        ));
        let writer = Writer {
            link: Arc::clone(&stores),
            queue: Arc::clone(&queue),
            keys: keys.clone(),
            counters: Arc::clone(&counters),
        };
        let sweep_wanted = Arc::new(Notify::new());
        Ok(Self {
            lookups: Link::start(endpoint, Role::Lookup, Arc::clone(&counters)),
            breaker: Mutex::new(Breaker::new(TIMEOUTS_MAX, PROBE_PAUSE)),
            lookup_timeout: config.lookup_timeout,
            body_bytes_max,
            _tasks: [
                Task::start(writer.run()),
                Task::start(sweep_on_demand(
                    Arc::clone(&sweep_wanted),
                    Arc::clone(&stores),
                    keys.clone(),
                )),
            ],
            popular: Popular::of(&config.namespace, Arc::clone(&stores)),
            stores,
            is_collapsing: config.collapse,
            keys,
            queue,
            sweep_wanted,
            counters,
        })
    }

    /// Whether the lookup connection stands now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.lookups.current().is_some()
    }

    /// The stored response that a request with these fields selects, within
    /// `lookup_timeout` in all. `guess`: the names its `Vary` had when it was
    /// last seen; where that still holds, one round trip is enough.
    pub async fn lookup(
        &self,
        key: &CacheKey,
        request: &HeaderMap,
        guess: Option<&VaryNames>,
    ) -> Lookup {
        let started = Instant::now();
        let Some(mut connection) = self.lookups.current() else {
            self.counters.skipped.increment();
            return Lookup::Unavailable;
        };
        if !self.breaker.lock().admits(started) {
            self.counters.skipped.increment();
            return Lookup::Unavailable;
        }
        let find = self.find(&mut connection, key, request, guess);
        let outcome = tokio::time::timeout(self.lookup_timeout, find).await;
        self.counters.lookup_durations.record(started.elapsed());
        match outcome {
            Ok(Ok(found)) => {
                self.breaker.lock().answered();
                self.told(found)
            }
            Ok(Err(error)) => {
                self.counters.errors.increment();
                tracing::debug!(%error, "a lookup in Redis failed");
                self.lookups.report(&connection, &error);
                Lookup::Unavailable
            }
            Err(_) => {
                self.counters.timeouts.increment();
                self.lookups.report_timeout();
                if self.breaker.lock().timed_out(Instant::now()) {
                    self.counters.breaker_opened.increment();
                    tracing::warn!("Redis does not answer in time: lookups are held back");
                }
                Lookup::Unavailable
            }
        }
    }

    /// Queues a response to be written, to live for `ttl`. Where the queue is
    /// full it is dropped and counted; one that nothing could reuse, or that
    /// is larger than allowed, is not queued.
    pub fn store(&self, key: CacheKey, response: Arc<StoredResponse>, ttl: Duration) {
        let is_of_use = ttl >= Duration::from_millis(1);
        if !is_of_use || response.body.len() as u64 > self.body_bytes_max {
            return;
        }
        let ttl = ttl.min(TTL_MAX);
        self.queue
            .push(Write::new(key, response, ttl, Instant::now()));
    }

    /// What was asked for most.
    #[must_use]
    pub fn popular(&self) -> &Popular {
        &self.popular
    }

    /// Whether instances leave the fetch of a cold key to one of them.
    #[must_use]
    pub fn is_collapsing(&self) -> bool {
        self.is_collapsing
    }

    /// Asks to be the one who fetches what is to be stored under `key`, within
    /// `lookup_timeout`.
    pub async fn hold(&self, key: &CacheKey) -> Asked {
        let Some(mut connection) = self.lookups.current() else {
            return Asked::Unavailable;
        };
        let name = self.keys.hold(key);
        let taking = Hold::take(&mut connection, name, &self.stores, &self.queue);
        match tokio::time::timeout(self.lookup_timeout, taking).await {
            Ok(Ok(Some(hold))) => Asked::Ours(hold),
            Ok(Ok(None)) => Asked::Theirs,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a hold was not taken");
                self.lookups.report(&connection, &error);
                Asked::Unavailable
            }
            Err(_) => Asked::Unavailable,
        }
    }

    /// Waits until every store made so far was written or dropped.
    pub async fn flushed(&self) {
        self.queue.emptied().await;
    }

    /// Drops what is queued, and frees what the namespace's records take in
    /// Redis, in the background. Whoever wants them not to be reused from this
    /// moment on bans them first: see the invalidation log.
    pub fn clear(&self) {
        self.queue.clear();
        self.sweep_wanted.notify_one();
    }

    fn told(&self, found: Found) -> Lookup {
        match found {
            Found::Response(response) => {
                self.counters.hits.increment();
                Lookup::Hit(Arc::new(*response))
            }
            Found::Nothing => {
                self.counters.misses.increment();
                Lookup::Miss
            }
            Found::Corrupt(error) => {
                self.counters.misses.increment();
                self.counters.corrupt.increment();
                tracing::debug!(%error, "a record in Redis cannot be read");
                Lookup::Miss
            }
        }
    }

    async fn find(
        &self,
        connection: &mut Connection,
        key: &CacheKey,
        request: &HeaderMap,
        guess: Option<&VaryNames>,
    ) -> RedisResult<Found> {
        let base = self.keys.base(key);
        let guess = guess.filter(|names| !names.is_empty());
        let (first, guessed) = match guess {
            Some(names) => {
                let variant = self.keys.variant(key, &names.select(request));
                redis::cmd("MGET")
                    .arg(&base)
                    .arg(&variant)
                    .query_async::<(Option<Vec<u8>>, Option<Vec<u8>>)>(connection)
                    .await?
            }
            None => (get(connection, &base).await?, None),
        };
        let names = match self.decode(first) {
            Ok(Some(Record::Pointer(names))) => names,
            Ok(Some(Record::Response(response))) if response.head.vary.is_empty() => {
                return Ok(Found::Response(response));
            }
            Ok(Some(Record::Response(_))) => return Ok(Found::Corrupt(DecodeError::Content)),
            Ok(None) => return Ok(Found::Nothing),
            Err(error) => return Ok(Found::Corrupt(error)),
        };
        let secondary = names.select(request);
        let second = if guess == Some(&names) {
            guessed
        } else {
            get(connection, &self.keys.variant(key, &secondary)).await?
        };
        Ok(match self.decode(second) {
            Ok(Some(Record::Response(response)))
                if response.head.vary == names && response.head.secondary == secondary =>
            {
                Found::Response(response)
            }
            // Written for other names, before the pointer was: nobody's now.
            Ok(Some(Record::Response(_)) | None) => Found::Nothing,
            Ok(Some(Record::Pointer(_))) => Found::Corrupt(DecodeError::Content),
            Err(error) => Found::Corrupt(error),
        })
    }

    fn decode(&self, record: Option<Vec<u8>>) -> Result<Option<Record>, DecodeError> {
        record
            .map(|record| record::decode(&Bytes::from(record), self.body_bytes_max))
            .transpose()
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisStore")
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}

async fn get(connection: &mut Connection, key: &str) -> RedisResult<Option<Vec<u8>>> {
    redis::cmd("GET").arg(key).query_async(connection).await
}

/// Sweeps when told to; told twice while at it, once more.
async fn sweep_on_demand(wanted: Arc<Notify>, link: Arc<Link>, keys: Keys) {
    loop {
        wanted.notified().await;
        match sweep(&link, &keys).await {
            Ok(unlinked) => tracing::info!(unlinked, "the records in Redis were cleared"),
            Err(error) => {
                // What stays is banned and expires on its own.
                tracing::warn!(%error, "the records in Redis were cleared only in part");
            }
        }
    }
}

#[cfg(test)]
#[path = "redis_tests.rs"]
mod tests;
