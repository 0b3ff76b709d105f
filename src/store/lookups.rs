//! How lookups ask Redis: over connections of their own, on a thread of its
//! own, within a budget, and not past the breaker.
//!
//! Promises: what is measured is the time Redis took. The thread does nothing
//! but carry lookups, so a busy proxy does not make Redis look slow; and where
//! the thread itself got no processor time, it looks once more at what has
//! arrived before it calls an answer missing.
//!
//! Values are read in part at first: a small one arrives whole, and of a large
//! one enough to know how large it is. The rest of it is read over another
//! connection, so that no small one waits behind it.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Pipeline, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::link::breaker::Breaker;
use crate::link::patience::answered_within;
use crate::link::{Connection, Endpoint, Link, Role};
use crate::telemetry::counters::RedisCounters;

/// Time-outs, one after the other, after which Redis is left alone…
pub(super) const TIMEOUTS_MAX: u32 = 5;
/// … but for one lookup in this time.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
/// A request waits for so many times its budget where it is this process that
/// has no time to look at the answer.
const BUSY_FACTOR: u32 = 4;
/// So many bytes of a value are read at first; a longer one is large.
pub(super) const FIRST_BYTES: usize = 32 << 10;
/// Large values that are read at once; further ones wait within their budget.
const LARGE_READS_MAX: usize = 8;
/// A large value may take a millisecond longer for so many bytes: a link that is
/// slower than 16 MiB a second is not worth the wait.
const LARGE_BYTES_PER_MILLI: usize = 16 << 10;

/// What is left of the time that one request may wait for Redis.
#[derive(Debug)]
pub struct Budget {
    left: Duration,
}

/// Redis could not be asked, or did not answer in time; it was counted.
#[derive(Debug)]
pub(super) struct NoAnswer;

/// The way of lookups to Redis.
pub(super) struct Lookups {
    pub(super) link: Arc<Link>,
    large: Link,
    large_reads: Semaphore,
    breaker: Arc<Mutex<Breaker>>,
    timeout: Duration,
    counters: Arc<RedisCounters>,
    thread: LookupThread,
}

/// What came back, and how long Redis took. `None`: nothing in time.
type Told = (Option<RedisResult<Vec<RedisResult<Value>>>>, Duration);

impl Lookups {
    /// Starts to connect. `timeout`: what one request may wait for Redis.
    pub(super) fn start(
        endpoint: &Endpoint,
        timeout: Duration,
        counters: &Arc<RedisCounters>,
    ) -> Self {
        let thread = LookupThread::start();
        let link = {
            let _on_the_thread = thread.runtime.enter();
            Link::start(endpoint.clone(), Role::Lookup, Arc::clone(counters))
        };
        Self {
            link: Arc::new(link),
            large: Link::start(endpoint.clone(), Role::Large, Arc::clone(counters)),
            large_reads: Semaphore::new(LARGE_READS_MAX),
            breaker: Arc::new(Mutex::new(Breaker::new(TIMEOUTS_MAX, PROBE_PAUSE))),
            timeout,
            counters: Arc::clone(counters),
            thread,
        }
    }

    #[cfg(test)]
    pub(super) async fn large_connected(&self) {
        self.large.connected().await;
    }

    /// What a request may wait for Redis that has not waited yet.
    pub(super) fn budget(&self) -> Budget {
        Budget { left: self.timeout }
    }

    /// Sends commands in one round trip; gives what came of each.
    pub(super) async fn ask(
        &self,
        commands: Pipeline,
        budget: &mut Budget,
    ) -> Result<Vec<RedisResult<Value>>, NoAnswer> {
        if budget.left.is_zero() {
            return Err(NoAnswer);
        }
        let connection = self.link.current();
        let admitted = connection.filter(|_| self.breaker.lock().admits(Instant::now()));
        let Some(connection) = admitted else {
            self.counters.skipped.increment();
            return Err(NoAnswer);
        };
        let (tell, told) = oneshot::channel();
        self.thread.runtime.spawn(carry(
            Carried {
                connection,
                commands,
                link: Arc::clone(&self.link),
                breaker: Arc::clone(&self.breaker),
                counters: Arc::clone(&self.counters),
            },
            budget.left,
            self.timeout,
            tell,
        ));
        let told = tokio::time::timeout(budget.left * BUSY_FACTOR, told).await;
        match told {
            Ok(Ok((Some(Ok(answers)), took))) => {
                budget.left = budget.left.saturating_sub(took);
                Ok(answers)
            }
            Ok(Ok((Some(Err(error)), _))) => {
                self.counters.errors.increment();
                tracing::debug!(%error, "a lookup in Redis failed");
                Err(NoAnswer)
            }
            // Silence; or a thread that had no time; or the end of everything.
            Ok(Ok((None, _)) | Err(_)) | Err(_) => {
                budget.left = Duration::ZERO;
                self.counters.timeouts.increment();
                Err(NoAnswer)
            }
        }
    }

    /// The value at `name`, known to be `length` bytes long, whole or not at
    /// all; no more than `bytes_max` of it. It may take longer than a small
    /// one, and says nothing about whether Redis is in good health.
    pub(super) async fn read_large(
        &self,
        name: &str,
        length: usize,
        bytes_max: usize,
    ) -> Result<Vec<u8>, NoAnswer> {
        let Some(mut connection) = self.large.current() else {
            self.counters.skipped.increment();
            return Err(NoAnswer);
        };
        let millis = (length / LARGE_BYTES_PER_MILLI) as u64;
        let within = self.timeout + Duration::from_millis(millis);
        let read = async {
            let _place = self.large_reads.acquire().await;
            redis::cmd("GETRANGE")
                .arg(name)
                .arg(0)
                .arg(bytes_max)
                .query_async::<Vec<u8>>(&mut connection)
                .await
        };
        let outcome = tokio::time::timeout(within, read).await;
        match outcome {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                self.counters.errors.increment();
                tracing::debug!(%error, "a lookup of a large record failed");
                self.large.report(&connection, &error);
                Err(NoAnswer)
            }
            Err(_) => {
                self.counters.timeouts.increment();
                Err(NoAnswer)
            }
        }
    }
}

/// What a request to Redis takes along to the thread.
struct Carried {
    connection: Connection,
    commands: Pipeline,
    link: Arc<Link>,
    breaker: Arc<Mutex<Breaker>>,
    counters: Arc<RedisCounters>,
}

/// Asks, judges, tells. The request hears after `left` at the latest; Redis is
/// judged by `whole`, which it is given in any case.
async fn carry(mut carried: Carried, left: Duration, whole: Duration, tell: oneshot::Sender<Told>) {
    let started = Instant::now();
    let mut tell = Some(tell);
    let outcome = {
        let mut answer = pin!(carried.commands.query_async(&mut carried.connection));
        let mut outcome = answered_within(left, answer.as_mut()).await;
        if outcome.is_none() && left < whole {
            let waits = tell.take();
            let _nobody_waits = waits.map(|tell| tell.send((None, left)));
            outcome = answered_within(whole.saturating_sub(left), answer.as_mut()).await;
        }
        outcome
    };
    let took = started.elapsed();
    carried.counters.lookup_durations.record(took);
    match &outcome {
        Some(Ok(_)) => carried.breaker.lock().answered(),
        Some(Err(error)) => carried.link.report(&carried.connection, error),
        None => {
            carried.link.report_timeout();
            if carried.breaker.lock().timed_out(started, Instant::now()) {
                carried.counters.breaker_opened.increment();
                tracing::warn!("Redis does not answer in time: lookups are held back");
            }
        }
    }
    let _nobody_waits = tell.map(|tell| tell.send((outcome, took)));
}

/// A thread that carries lookups and does nothing else. Ends with its owner.
struct LookupThread {
    runtime: Handle,
    _ends: Option<oneshot::Sender<()>>,
}

impl LookupThread {
    fn start() -> Self {
        match Self::try_start() {
            Ok(thread) => thread,
            Err(error) => {
                tracing::warn!(%error, "lookups have no thread of their own and share one");
                Self {
                    runtime: Handle::current(),
                    _ends: None,
                }
            }
        }
    }

    fn try_start() -> std::io::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build()?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name("pannier-lookup".to_owned())
            .spawn(move || {
                let _owner_gone = runtime.block_on(ended);
            })?;
        Ok(Self {
            runtime: handle,
            _ends: Some(alive),
        })
    }
}
