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
use redis::{Pipeline, RedisResult, Value};
use tokio::sync::Notify;

use super::hold::{Asked, Hold, Holder};
use super::keys::Keys;
use super::lookups::{Budget, FIRST_BYTES, Lookups, NoAnswer};
use super::popular::Popular;
use super::queue::{Queue, Write};
use super::record::{self, DecodeError, Record};
use super::sweep::sweep;
use super::writer::Writer;
use crate::config::RedisConfig;
use crate::link::{Endpoint, EndpointError, Link, Role, Task};
use crate::semantics::key::CacheKey;
use crate::semantics::stored::StoredResponse;
use crate::semantics::vary::VaryNames;
use crate::telemetry::counters::RedisCounters;

/// No record lives longer, whatever its lifetime and graces.
pub const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a lookup found.
#[derive(Debug)]
pub enum Lookup {
    /// A stored response that the request selects; reusable or not. Whether it
    /// served anybody is for the caller to say, by [`RedisStore::count`].
    Hit(FoundRecord),
    /// Redis has none.
    Miss,
    /// Redis could not be asked, or did not answer in time.
    Unavailable,
}

/// A record that a lookup found.
#[derive(Debug)]
pub struct FoundRecord {
    /// What it holds.
    pub response: Box<StoredResponse>,
    /// How long it has been stored at least, by the clock of Redis: what it has
    /// used up of its time there.
    pub stored_for: Duration,
}

/// The stored responses in Redis. Dropping it ends its tasks.
pub struct RedisStore {
    lookups: Lookups,
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
    Response(FoundRecord),
    Nothing,
    Corrupt(DecodeError),
}

/// What stands under one key.
#[derive(Default)]
struct Standing {
    /// The value, or its beginning where it is large; `None` where there is none.
    value: Option<Vec<u8>>,
    /// How long it will stand yet; `None` where Redis does not say.
    left: Option<Duration>,
    /// Something else than a value stands there.
    is_foreign: bool,
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
            lookups: Lookups::start(&endpoint, config.lookup_timeout, &counters),
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
        self.lookups.link.current().is_some()
    }

    /// What one request may wait for Redis.
    #[must_use]
    pub fn budget(&self) -> Budget {
        self.lookups.budget()
    }

    /// The stored response that a request with these fields selects, within
    /// its budget. `guess`: the names its `Vary` had when it was last seen;
    /// where that still holds, one round trip is enough.
    pub async fn lookup(
        &self,
        key: &CacheKey,
        request: &HeaderMap,
        guess: Option<&VaryNames>,
        budget: &mut Budget,
    ) -> Lookup {
        let reading = self.reading(key, request, guess);
        let mut commands = Pipeline::new();
        reading.add_to(&mut commands);
        let Ok(answers) = self.lookups.ask(commands, budget).await else {
            return Lookup::Unavailable;
        };
        self.find(key, request, reading, answers, budget).await
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

    /// Asks to be the one who fetches what is to be stored under `key`, and
    /// looks it up once more: who had the hold may have just been done. One
    /// round trip within the budget.
    pub async fn hold(
        &self,
        key: &CacheKey,
        request: &HeaderMap,
        guess: Option<&VaryNames>,
        holder: &Holder,
        budget: &mut Budget,
    ) -> (Asked, Lookup) {
        let name = self.keys.hold(key);
        let reading = self.reading(key, request, guess);
        let mut commands = Pipeline::new();
        holder.add_to(&mut commands, &name);
        reading.add_to(&mut commands);
        let Ok(mut answers) = self.lookups.ask(commands, budget).await else {
            return (Asked::Unavailable, Lookup::Unavailable);
        };
        let taken = answers.drain(..Holder::COMMANDS.min(answers.len()));
        let asked = Hold::taken(taken.collect(), name, &self.stores, &self.queue);
        let found = self.find(key, request, reading, answers, budget).await;
        (asked, found)
    }

    /// Counts what became of a record that was found: whether it answered
    /// anybody.
    pub fn count(&self, has_served: bool) {
        if has_served {
            self.counters.hits.increment();
        } else {
            self.counters.misses.increment();
        }
    }

    /// Counts a record that stands in another's place as one that is none.
    pub fn count_misplaced(&self) {
        self.counters.misses.increment();
        self.counters.corrupt.increment();
        tracing::debug!("a record in Redis is of another target than its key");
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
            Found::Response(found) => Lookup::Hit(found),
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

    fn reading<'a>(
        &self,
        key: &CacheKey,
        request: &HeaderMap,
        guess: Option<&'a VaryNames>,
    ) -> Reading<'a> {
        let guess = guess.filter(|names| !names.is_empty());
        Reading {
            base: self.keys.base(key),
            guess: guess.map(|names| (names, self.keys.variant(key, &names.select(request)))),
        }
    }

    async fn find(
        &self,
        key: &CacheKey,
        request: &HeaderMap,
        reading: Reading<'_>,
        answers: Vec<RedisResult<Value>>,
        budget: &mut Budget,
    ) -> Lookup {
        match self.try_find(key, request, reading, answers, budget).await {
            Ok(found) => self.told(found),
            Err(NoAnswer) => Lookup::Unavailable,
        }
    }

    async fn try_find(
        &self,
        key: &CacheKey,
        request: &HeaderMap,
        reading: Reading<'_>,
        answers: Vec<RedisResult<Value>>,
        budget: &mut Budget,
    ) -> Result<Found, NoAnswer> {
        let mut standing = self.standing(answers)?.into_iter();
        let first = standing.next().unwrap_or_default();
        let left = first.left;
        let names = match self.record(&reading.base, first).await? {
            Ok(Some(Record::Pointer(names))) => names,
            Ok(Some(Record::Response(response))) if response.head.vary.is_empty() => {
                return Ok(found(response, left));
            }
            Ok(Some(Record::Response(_))) => return Ok(Found::Corrupt(DecodeError::Content)),
            Ok(None) => return Ok(Found::Nothing),
            Err(error) => return Ok(Found::Corrupt(error)),
        };
        let secondary = names.select(request);
        let (place, second) = match (reading.guess, standing.next()) {
            (Some((guess, place)), Some(second)) if *guess == names => (place, second),
            _ => {
                let place = self.keys.variant(key, &secondary);
                let mut commands = Pipeline::new();
                read_into(&mut commands, &place);
                let answers = self.lookups.ask(commands, budget).await?;
                let second = self.standing(answers)?.pop().unwrap_or_default();
                (place, second)
            }
        };
        let left = second.left;
        Ok(match self.record(&place, second).await? {
            Ok(Some(Record::Response(response)))
                if response.head.vary == names && response.head.secondary == secondary =>
            {
                found(response, left)
            }
            // Written for other names, before the pointer was: nobody's now.
            Ok(Some(Record::Response(_)) | None) => Found::Nothing,
            Ok(Some(Record::Pointer(_))) => Found::Corrupt(DecodeError::Content),
            Err(error) => Found::Corrupt(error),
        })
    }

    /// What Redis said of each key that was read.
    fn standing(&self, answers: Vec<RedisResult<Value>>) -> Result<Vec<Standing>, NoAnswer> {
        let mut answers = answers.into_iter();
        let mut all = Vec::with_capacity(2);
        while let Some(value) = answers.next() {
            let left = answers.next().and_then(RedisResult::ok);
            let left = left.and_then(|left| redis::from_redis_value::<i64>(left).ok());
            let left = left.and_then(|millis| u64::try_from(millis).ok());
            let mut standing = Standing {
                left: left.map(Duration::from_millis),
                ..Standing::default()
            };
            match value.and_then(|value| Ok(redis::from_redis_value::<Vec<u8>>(value)?)) {
                // There is no record without a byte.
                Ok(value) => standing.value = Some(value).filter(|value| !value.is_empty()),
                Err(error) if error.code() == Some("WRONGTYPE") => standing.is_foreign = true,
                Err(error) => {
                    self.counters.errors.increment();
                    tracing::debug!(%error, "a record in Redis was not given");
                    return Err(NoAnswer);
                }
            }
            all.push(standing);
        }
        Ok(all)
    }

    /// What a value holds. A large one is read whole first, but no more of it
    /// than a record may have.
    async fn record(
        &self,
        name: &str,
        standing: Standing,
    ) -> Result<Result<Option<Record>, DecodeError>, NoAnswer> {
        if standing.is_foreign {
            return Ok(Err(DecodeError::Magic));
        }
        let Some(mut value) = standing.value else {
            return Ok(Ok(None));
        };
        if value.len() >= FIRST_BYTES {
            let length = match record::length(&value, self.body_bytes_max) {
                Ok(length) => length,
                Err(error) => return Ok(Err(error)),
            };
            if length > value.len() {
                let bytes_max = record::bytes_max(self.body_bytes_max);
                value = self.lookups.read_large(name, length, bytes_max).await?;
            }
        }
        let decoded = record::decode(&Bytes::from(value), self.body_bytes_max);
        Ok(decoded.map(Some))
    }
}

/// The keys that one round trip reads.
struct Reading<'a> {
    base: String,
    /// Names to vary on, and where what varies on them would be.
    guess: Option<(&'a VaryNames, String)>,
}

impl Reading<'_> {
    fn add_to(&self, commands: &mut Pipeline) {
        read_into(commands, &self.base);
        if let Some((_, variant)) = &self.guess {
            read_into(commands, variant);
        }
    }
}

/// Reads a value, as far as one that is not large goes, and how long it stands.
fn read_into(commands: &mut Pipeline, name: &str) {
    commands
        .cmd("GETRANGE")
        .arg(name)
        .arg(0)
        .arg(FIRST_BYTES - 1)
        .cmd("PTTL")
        .arg(name)
        .ignore_errors();
}

fn found(response: Box<StoredResponse>, left: Option<Duration>) -> Found {
    let given = response.head.kept_for().min(TTL_MAX);
    Found::Response(FoundRecord {
        stored_for: left.map_or(Duration::ZERO, |left| given.saturating_sub(left)),
        response,
    })
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisStore")
            .field("is_connected", &self.is_connected())
            .finish_non_exhaustive()
    }
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
