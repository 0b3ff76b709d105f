//! What makes stored responses invalid, and how every instance learns of it.
//!
//! | module | what it is |
//! |---|---|
//! | [`scope`] | what an invalidation speaks of |
//! | [`rules`] | which invalidations a write brings |
//! | [`bans`] | those in force, and what outlived them |
//! | [`wire`] | what the log is in Redis: keys, scripts, entries |
//! | [`log`] | appending to it, again until it worked |
//! | `queue`, `spool`, `outlet` | what is not in it yet; it survives this process |
//! | `digest` | what it said, where it is trimmed |
//! | [`follow`] | reading it, from where this instance was |
//! | `routes`, `announce` | what the instances of the fleet may have stored |
//! | `unlogged` | bans that can meet nothing of that |
//! | [`acks`], `roll` | waiting until others have read it |
//! | `followed`, `here`, `touch` | what this instance knows, and since when |
//! | [`session`] | what a client takes from its write to its next read |

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::{CoherenceConfig, CoherenceMode, RedisConfig};
use crate::link::{Endpoint, EndpointError, Task};
use crate::semantics::stored::LogPosition;
use crate::telemetry::counters::RedisCounters;

pub mod acks;
mod announce;
pub mod bans;
mod digest;
pub mod follow;
mod followed;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod here;
mod judging;
pub mod log;
mod outlet;
mod queue;
mod replay;
mod roll;
mod routes;
pub mod rules;
pub mod scope;
pub mod session;
mod sparing;
mod spool;
mod touch;
mod unlogged;
pub mod wire;

use acks::{Acknowledged, Acks, Patience};
use announce::Announcer;
use followed::Followed;
use here::Here;
use log::{Appended, Log, Wait};
use outlet::Outlet;
use scope::{Ban, Scope};
use spool::Spool;
use unlogged::Unlogged;
use wire::LogName;

/// Bans are kept so long at least: longer than any record lives in Redis.
const KEPT_FOR: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// The bans of this instance and the way to those of others.
#[derive(Debug)]
pub struct Invalidation {
    here: Arc<Here>,
    instance: String,
    unsynced_age_max: Duration,
    shared: Option<SharedLog>,
}

/// The log that instances share.
#[derive(Debug)]
struct SharedLog {
    outlet: Arc<Outlet>,
    followed: Arc<Followed>,
    acks: Arc<Acks>,
    unlogged: Arc<Unlogged>,
    counters: Arc<RedisCounters>,
    /// `None` in eventual mode.
    lease: Option<Duration>,
    /// After so long without word from the log, this instance is out of touch.
    silence_max: Duration,
    _orphans: Task,
    _digests: Task,
    _announcer: Task,
    _settler: Task,
    /// `None` after this instance has left.
    follower: Mutex<Option<Task>>,
}

/// What became of an invalidation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The local number of the last of the bans: what is known here to have
    /// been stored after them may stand.
    pub number: u64,
    /// Its place in the log; `None` without a log, or while the log cannot be
    /// reached: then it is in force here and will be in the log as soon as
    /// that can be.
    pub position: Option<LogPosition>,
    /// Whether what the mode promises of other instances holds now. In
    /// eventual mode nothing is promised of this moment.
    pub is_kept: bool,
    /// It can meet nothing that is stored: it is in no log and not in force.
    pub is_unlogged: bool,
    /// When it was in the log.
    appended: Instant,
}

/// In strict mode, this instance is out of touch with the log: what it stored
/// is not reused, and what it writes could not be told to others.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfTouch;

impl Invalidation {
    /// Invalidation in this instance alone.
    #[must_use]
    pub fn alone(config: &CoherenceConfig, clock: Clock) -> Self {
        let instance = here::name();
        Self {
            here: Here::new(config, clock, &instance),
            instance,
            unsynced_age_max: config.unsynced_age_max,
            shared: None,
        }
    }

    /// Invalidation in every instance of the namespace. Starts to connect, on
    /// the runtime this is called from. What waits for the log is kept in the
    /// file at `spool`, and what is in that is in force when this returns.
    ///
    /// # Errors
    /// Where the configuration leads to no Redis; one that is merely away is
    /// no error.
    pub fn shared(
        redis: &RedisConfig,
        config: &CoherenceConfig,
        spool: Option<&Path>,
        clock: Clock,
        counters: &Arc<RedisCounters>,
    ) -> Result<Self, EndpointError> {
        let instance = here::name();
        let here = Here::new(config, clock, &instance);
        let endpoint = Endpoint::of(redis)?;
        let name = LogName::new(&redis.namespace, &instance, config.bans_max);
        let (lease, append_wait, silence_max) = match config.mode {
            // Two reads that wait as long as they may, and some more.
            CoherenceMode::Eventual => {
                let silence_max = config.unsynced_age_max.max(follow::BLOCK_MAX * 4);
                (None, Wait::OnceAnOutage(config.append_timeout), silence_max)
            }
            // There is no answer without it: it is given the time that
            // everything else has.
            CoherenceMode::Strict => {
                let append_wait = Wait::EveryTime(config.append_timeout.max(config.lease));
                (Some(config.lease), append_wait, config.lease)
            }
        };
        let everything = || Bytes::from(scope::write(&[Ban::hard(Scope::All)]));
        let opened = spool
            .map(|path| Spool::open(path, &redis.namespace, everything(), counters))
            .unwrap_or_default();
        let followed = Arc::<Followed>::default();
        let log = Log::start(
            endpoint.clone(),
            name.clone(),
            append_wait,
            Arc::clone(counters),
            opened.spool,
            Some(Arc::clone(&followed)),
            everything,
        );
        let outlet = Outlet::new(Arc::clone(&here), log, opened.payloads, opened.orphans);
        let digests = digest::keep(
            Arc::clone(&here),
            Arc::clone(&followed),
            endpoint.clone(),
            name.clone(),
        );
        let acks = Arc::new(Acks::start(
            endpoint.clone(),
            name.clone(),
            Arc::clone(&followed),
            Arc::clone(counters),
        ));
        let announcer = Announcer {
            here: Arc::clone(&here),
            followed: Arc::clone(&followed),
            acks: Arc::clone(&acks),
            endpoint: endpoint.clone(),
            name: name.clone(),
            lease,
        };
        let unlogged = Arc::<Unlogged>::default();
        let settler = sparing::settle(
            Arc::clone(&here),
            Arc::clone(&unlogged),
            Arc::clone(&outlet),
        );
        let told = Arc::clone(&here);
        let sink = move |event| told.hear(event);
        let follower = follow::follow(
            endpoint,
            name,
            lease.unwrap_or_default(),
            Arc::clone(counters),
            Arc::clone(&followed),
            everything(),
            sink,
        );
        Ok(Self {
            here,
            instance,
            unsynced_age_max: config.unsynced_age_max,
            shared: Some(SharedLog {
                _orphans: Task::start(Arc::clone(&outlet).take_over_orphans()),
                _digests: Task::start(digests),
                _announcer: Task::start(announcer.run()),
                _settler: Task::start(settler),
                outlet,
                followed,
                acks,
                unlogged,
                counters: Arc::clone(counters),
                lease,
                silence_max,
                follower: Mutex::new(Some(follower)),
            }),
        })
    }

    /// This instance's name in the log and to operators.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Waits until this instance is in touch with the log, as it is at once
    /// where there is none. What is fetched before is dropped then.
    pub async fn in_touch(&self) {
        while !self.is_in_touch() {
            self.here.heard().await;
        }
    }

    /// Puts bans in force: here at once, then in the log. Waits for the log no
    /// longer than `append_timeout`; what is not in it by then will be. In
    /// strict mode, waits as well until every other instance has applied them
    /// or its lease has run out.
    pub async fn put_in_force(&self, bans: &[Ban]) -> Receipt {
        let mut receipt = Receipt {
            number: self.here.bans.head(),
            position: None,
            is_kept: true,
            is_unlogged: false,
            appended: Instant::now(),
        };
        let Some(shared) = &self.shared else {
            receipt.number = self.here.apply(bans);
            return receipt;
        };
        if bans.is_empty() {
            return receipt;
        }
        let (number, appended) = shared.outlet.put(bans);
        receipt.number = number;
        match appended.await {
            Appended::At(position) => {
                receipt.appended = Instant::now();
                receipt.position = Some(position);
                self.here.bans.confirm(number, position);
                if let Some(lease) = shared.lease {
                    shared
                        .acks
                        .leased_to_nobody(&self.here.touch, position, receipt.appended, lease)
                        .await;
                }
            }
            Appended::Pending => {
                receipt.is_kept = shared.lease.is_none();
                tracing::debug!("an invalidation is in force here and not yet in the log");
            }
        }
        receipt
    }

    /// Who has applied an invalidation, waiting for all who follow the log but
    /// not longer than `wait`.
    pub async fn acknowledged(&self, receipt: &Receipt, wait: Duration) -> Acknowledged {
        match (&self.shared, receipt.position) {
            (Some(shared), Some(position)) => {
                let until = Instant::now() + wait;
                shared
                    .acks
                    .wait(position, receipt.appended, Patience::Everybody, until)
                    .await
            }
            _ => Acknowledged {
                by: vec![self.instance.clone()],
                missing: Vec::new(),
            },
        }
    }

    /// Tells the others that nothing is reused here any more, so that no write
    /// waits for this instance.
    pub async fn leave(&self) {
        let Some(shared) = &self.shared else {
            return;
        };
        // It would say at its next look that this instance is back.
        drop(shared.follower.lock().take());
        shared.followed.end();
        if let Err(error) = shared.acks.leave().await {
            tracing::debug!(%error, "the others were not told that this instance ends");
        }
    }

    /// Waits until every invalidation made here is in the log.
    pub async fn flushed(&self) {
        if let Some(shared) = &self.shared {
            self.log_all_unlogged(shared);
            shared.outlet.log.flushed().await;
        }
    }

    /// Waits until bans were added. For one waiter.
    pub async fn changed(&self) {
        self.here.changed().await;
    }

    /// Whether a response that was asked for so long ago may not be reused
    /// unasked at `at`, nor a fetch be joined, because no word has come from
    /// the log for too long and invalidations may have been missed meanwhile.
    /// While in touch, that is one comparison.
    ///
    /// In eventual mode, what was true `unsynced_age_max` ago may be told, be
    /// it because the log was in reach then or because the origin said it.
    #[must_use]
    pub fn is_unsynced(&self, at: Instant, asked_ago: Duration) -> bool {
        let Some(shared) = &self.shared else {
            return false;
        };
        if self.is_heard_within(shared.silence_max, at) {
            return false;
        }
        shared.lease.is_some() || asked_ago > self.unsynced_age_max
    }

    /// Whether, in strict mode, this instance was out of touch with the log for
    /// so long at `at` that it may answer with nothing but what the origin says.
    #[must_use]
    pub fn has_lapsed(&self, at: Instant) -> bool {
        let lease = self.shared.as_ref().and_then(|shared| shared.lease);
        lease.is_some_and(|lease| !self.is_heard_within(lease, at))
    }

    fn is_heard_within(&self, silence_max: Duration, at: Instant) -> bool {
        let silence = self.here.touch.silence(at);
        silence.is_some_and(|silence| silence < silence_max)
    }

    /// How long ago the whole log was known to be in force here; `None` where
    /// there is none, or it was not reached yet. Up to half a second is what
    /// one look at the log takes.
    #[must_use]
    pub fn lag(&self) -> Option<Duration> {
        self.here.touch.silence(Instant::now())
    }

    /// Whether the log is in reach, as far as is known, and no invalidation can
    /// have been missed for longer than the configuration allows. True where
    /// there is none.
    #[must_use]
    pub fn is_in_touch(&self) -> bool {
        let now = Instant::now();
        self.shared.as_ref().is_none_or(|shared| {
            self.is_heard_within(shared.silence_max, now)
                && !self.here.touch.is_lost()
                && self.is_announced()
        })
    }

    /// Whether the log was read for the first time and has this instance's
    /// routes, or is out of reach. What is stored before that is dropped. True where there is
    /// no log.
    #[must_use]
    pub fn has_started(&self) -> bool {
        let touch = &self.here.touch;
        self.shared.is_none() || touch.is_tried() && (touch.is_lost() || self.is_announced())
    }

    /// How long, all together, the log could not be reached.
    #[must_use]
    pub fn out_of_touch(&self) -> Duration {
        self.shared
            .as_ref()
            .map_or(Duration::ZERO, |_| self.here.touch.out_of_touch())
    }

    /// How many instances follow the log, this one among them.
    #[must_use]
    pub fn followers(&self) -> usize {
        self.shared
            .as_ref()
            .map_or(1, |shared| shared.acks.followers())
    }
}
