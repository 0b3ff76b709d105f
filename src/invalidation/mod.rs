//! What makes stored responses invalid, and how every instance learns of it.
//!
//! | module | what it is |
//! |---|---|
//! | [`scope`] | what an invalidation speaks of |
//! | [`rules`] | which invalidations a write brings |
//! | [`bans`] | those in force, and what outlived them |
//! | [`wire`] | what the log is in Redis: keys, scripts, entries |
//! | [`log`] | appending to it, again until it worked |
//! | [`follow`] | reading it, from where this instance was |
//!
//! [`Invalidation`] holds them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};
use crate::config::{CoherenceConfig, RedisConfig};
use crate::link::{Endpoint, EndpointError, Task};
use crate::semantics::stored::{LogPosition, Position, StoredHead, Target};
use crate::telemetry::counters::RedisCounters;

pub mod bans;
pub mod follow;
pub mod log;
mod replay;
pub mod rules;
pub mod scope;
pub mod wire;

use bans::{Bans, Checked, Read, Verdict};
use follow::Event;
use log::{Appended, Log};
use scope::{Ban, Scope};
use wire::{LogEntry, LogName};

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
    log: Log,
    _follower: Task,
}

/// What this instance knows.
#[derive(Debug)]
struct Here {
    bans: Bans,
    clock: Clock,
    /// Whether the log can be read; of no meaning where there is none.
    is_in_touch: AtomicBool,
    changed: Notify,
}

/// What became of an invalidation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Its place in the log; `None` without a log, or while the log cannot be
    /// reached: then it is in force here and will be in the log as soon as
    /// that can be.
    pub position: Option<LogPosition>,
}

impl Invalidation {
    /// Invalidation in this instance alone.
    #[must_use]
    pub fn alone(config: &CoherenceConfig, clock: Clock) -> Self {
        Self {
            here: Here::new(config, clock, true),
            instance: instance(),
            unsynced_age_max: config.unsynced_age_max,
            shared: None,
        }
    }

    /// Invalidation in every instance of the namespace. Starts to connect, on
    /// the runtime this is called from.
    ///
    /// # Errors
    /// Where the configuration leads to no Redis; one that is merely away is
    /// no error.
    pub fn shared(
        redis: &RedisConfig,
        config: &CoherenceConfig,
        clock: Clock,
        counters: &Arc<RedisCounters>,
    ) -> Result<Self, EndpointError> {
        let here = Here::new(config, clock, false);
        let instance = instance();
        let endpoint = Endpoint::of(redis)?;
        let name = LogName::new(&redis.namespace, &instance, config.bans_max);
        let log = Log::start(
            endpoint.clone(),
            name.clone(),
            config.append_timeout,
            Arc::clone(counters),
            || Bytes::from(scope::write(&[Ban::hard(Scope::All)])),
        );
        let told = Arc::clone(&here);
        let own = instance.clone();
        let sink = move |event| told.hear(event, &own);
        let follower = follow::follow(endpoint, name, Arc::clone(counters), sink);
        Ok(Self {
            here,
            instance,
            unsynced_age_max: config.unsynced_age_max,
            shared: Some(SharedLog {
                log,
                _follower: follower,
            }),
        })
    }

    /// This instance's name in the log and to operators.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Puts bans in force: here at once, then in the log. Waits for the log no
    /// longer than `append_timeout`; what is not in it by then will be.
    pub async fn put_in_force(&self, bans: &[Ban]) -> Receipt {
        if bans.is_empty() {
            return Receipt::default();
        }
        let number = self.here.bans.apply(bans, self.here.clock.now());
        self.here.changed.notify_one();
        let Some(shared) = &self.shared else {
            return Receipt::default();
        };
        let payload = Bytes::from(scope::write(bans));
        match shared.log.append(number, payload).await {
            Appended::At(position) => {
                self.here.bans.confirm(number, position);
                Receipt {
                    position: Some(position),
                }
            }
            Appended::Pending => {
                tracing::warn!("an invalidation is in force here and not yet in the log");
                Receipt::default()
            }
        }
    }

    /// Waits until every invalidation made here is in the log.
    pub async fn flushed(&self) {
        if let Some(shared) = &self.shared {
            shared.log.flushed().await;
        }
    }

    /// Waits until bans were added. For one waiter.
    pub async fn changed(&self) {
        self.here.changed.notified().await;
    }

    /// How far bans are known; to be read before the origin is asked.
    #[must_use]
    pub fn position(&self) -> Position {
        self.here.bans.position()
    }

    /// How many bans are held.
    #[must_use]
    pub fn bans_held(&self) -> usize {
        self.here.bans.len()
    }

    /// Lets go of bans that everything they could match has outlived.
    pub fn prune(&self, now: Timestamp) {
        self.here.bans.prune(now, KEPT_FOR);
    }

    /// Whether a fetch of `target` that began at `position` was overtaken.
    #[must_use]
    pub fn overtook(&self, position: &Position, route: &str, target: &Target) -> bool {
        self.here.bans.overtook(position, route, target)
    }

    /// Whether a response that has been here for `resident_time` may not be
    /// reused unasked, because the log is out of reach and invalidations may
    /// have been missed meanwhile.
    #[must_use]
    pub fn is_unsynced(&self, resident_time: Duration) -> bool {
        !self.here.is_in_touch.load(Ordering::Relaxed) && resident_time > self.unsynced_age_max
    }

    /// Judges a record from Redis.
    #[must_use]
    pub fn judge_record(&self, head: &StoredHead) -> Checked {
        self.here.bans.judge_record(head)
    }

    /// Judges a response in memory that remembers in `checked` and `softened`
    /// what was found before. While nothing was invalidated since, that is one
    /// comparison.
    #[must_use]
    pub fn judge(&self, head: &StoredHead, checked: &AtomicU64, softened: &AtomicU64) -> Verdict {
        let seen = checked.load(Ordering::Acquire);
        if seen != self.here.bans.head() {
            let Checked {
                verdict,
                checked: up_to,
            } = self.here.bans.judge(head, seen);
            match verdict {
                Verdict::Banned => return Verdict::Banned,
                Verdict::Softened { by } => {
                    softened.fetch_max(by, Ordering::AcqRel);
                }
                Verdict::Stands => {}
            }
            // After `softened`: whoever sees the number sees the mark.
            checked.fetch_max(up_to, Ordering::AcqRel);
        }
        match softened.load(Ordering::Acquire) {
            0 => Verdict::Stands,
            by => Verdict::Softened { by },
        }
    }
}

impl Here {
    fn new(config: &CoherenceConfig, clock: Clock, is_in_touch: bool) -> Arc<Self> {
        Arc::new(Self {
            bans: Bans::new(config.bans_max),
            clock,
            is_in_touch: AtomicBool::new(is_in_touch),
            changed: Notify::new(),
        })
    }

    /// Takes what the follower tells.
    fn hear(&self, event: Event, own: &str) {
        let now = self.clock.now();
        match event {
            Event::Gap {
                horizon,
                position,
                entries,
            } => {
                tracing::info!(entries = entries.len(), "the invalidation log is read anew");
                let entries = read_all(&entries, own);
                self.bans.start_over(horizon, &entries, position, now);
                self.changed.notify_one();
            }
            Event::Applied { position, entries } => {
                self.bans.follow(&read_all(&entries, own), position, now);
                if !entries.is_empty() {
                    self.changed.notify_one();
                }
            }
            Event::InSync(_) => {
                if !self.is_in_touch.swap(true, Ordering::AcqRel) {
                    tracing::info!("in touch with the invalidation log");
                }
            }
            Event::OutOfTouch => {
                self.is_in_touch.store(false, Ordering::Release);
                tracing::warn!("out of touch with the invalidation log");
            }
        }
    }
}

fn read_all(entries: &[LogEntry], own: &str) -> Vec<Read> {
    let read = entries.iter().map(|entry| Read {
        position: entry.position,
        own: (&*entry.instance == own).then_some(entry.nonce),
        bans: read(entry),
    });
    read.collect()
}

/// What an entry says. One that cannot be read, from a newer version perhaps,
/// may have meant anything: it counts for everything.
fn read(entry: &LogEntry) -> Vec<Ban> {
    let text = String::from_utf8_lossy(&entry.payload);
    scope::read(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, "an invalidation that cannot be read counts for everything");
        vec![Ban::hard(Scope::All)]
    })
}

/// A name for this run of this process: no other has it.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let mut hasher = blake3::Hasher::new();
    hasher.update(host.as_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    hasher.update(
        &Timestamp::from(std::time::SystemTime::now())
            .unix_millis()
            .to_le_bytes(),
    );
    if let Ok(boot) = std::fs::read("/proc/sys/kernel/random/uuid") {
        hasher.update(&boot);
    }
    let digest = hasher.finalize().to_hex();
    let name = if host.is_empty() { "pannier" } else { host };
    format!("{name}-{}", &digest.as_str()[..12])
}
