//! Who else there is: every instance of a namespace says so every three
//! seconds, and at once when it comes into touch with the log or loses it.
//!
//! Promises: an instance that ended without saying so is missing within ten
//! seconds, and forgotten thirty seconds after it was heard of, by the clock
//! of Redis; what is answered was read from Redis then, or it is an error.
//! Instances that do not agree in what they promise are told of in the log.
//! Decides nothing: whom a write waits for is the invalidation
//! log's business. Knows nothing of what an instance says of itself but that
//! it is a [`Presence`].
//!
//! `{ns}:fleet` (braces included) is a hash of instances; who writes needs
//! EVAL, TIME, HSET, HDEL, HGETALL and DEL. A key that holds another type is
//! deleted, and that is said.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use redis::{Cmd, RedisResult};
use serde::{Deserialize, Serialize};

use crate::config::RedisConfig;
use crate::link::{Connection, Endpoint, EndpointError, Link, Role, Task};
use crate::telemetry::counters::RedisCounters;

/// Between two heartbeats.
pub const BEAT: Duration = Duration::from_secs(3);
/// Between two looks at whether there is something new to say.
const NEWS_EVERY: Duration = Duration::from_millis(200);
/// An instance that has not been heard of for so long is missing: two
/// heartbeats and what they may take.
pub const MISSED_AFTER: Duration = Duration::from_secs(8);
/// Whoever has not been heard of for so long is forgotten.
pub const EXPIRY: Duration = Duration::from_secs(30);
/// One exchange with Redis.
const TIMEOUT: Duration = Duration::from_secs(1);

/// ARGV: who speaks; what they say of themselves, empty where they leave;
/// seconds after which one who was not heard of is gone. Gives the clock's
/// seconds, and of each who is there when he was heard of and what he said.
const SCRIPT: &str = r"
local now = tonumber(redis.call('TIME')[1])
local left = redis.pcall('HDEL', KEYS[1], ARGV[1])
local foreign = 0
if type(left) == 'table' and left.err then
  if not string.find(left.err, 'WRONGTYPE') then return left end
  redis.call('DEL', KEYS[1])
  foreign = 1
end
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2]) end
local all = redis.call('HGETALL', KEYS[1])
local here = {}
for n = 1, #all, 2 do
  local at = tonumber(string.match(all[n + 1], '^%d+'))
  if at and now - at < tonumber(ARGV[3]) then
    here[#here + 1] = all[n + 1]
  else
    redis.call('HDEL', KEYS[1], all[n])
  end
end
return {now, here, foreign}
";

/// What an instance says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Its name in the log.
    pub id: String,
    /// The machine it runs on.
    pub host: String,
    /// Of the program.
    pub version: String,
    /// Milliseconds since the Unix epoch.
    pub started_millis: u64,
    /// How far it has applied the invalidation log.
    pub position: Option<String>,
    /// How long ago it knew that it had applied all of it.
    pub lag_millis: Option<u64>,
    /// Whether that is recent enough for what it promises.
    pub is_in_touch: bool,
    /// What it promises: `coherence.mode`, and `lease` where that matters.
    /// Empty where an older version does not say.
    #[serde(default)]
    pub mode: String,
    /// Whether it announces its routes in the log before it stores anything
    /// under them. Older versions do not.
    #[serde(default)]
    pub announces_routes: bool,
}

/// An instance that is there, or was a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it said.
    pub presence: Presence,
    /// How long ago, to the second.
    pub heard_ago: Duration,
}

impl Instance {
    /// Whether it has fallen silent.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.heard_ago >= MISSED_AFTER
    }
}

/// What the instances promise, each once, where they do not promise the same:
/// then none of it holds.
#[must_use]
pub fn mixed_modes(instances: &[Instance]) -> Vec<&str> {
    let there = instances.iter().filter(|instance| !instance.is_missing());
    let said = there.map(|instance| instance.presence.mode.as_str());
    let mut modes: Vec<&str> = said.filter(|mode| !mode.is_empty()).collect();
    modes.sort_unstable();
    modes.dedup();
    if modes.len() > 1 { modes } else { Vec::new() }
}

/// Redis does not say who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis does not say which instances there are")]
pub struct Unknown;

/// The fleet, as this instance sees it. Dropping it ends its heartbeats.
pub struct Fleet {
    shared: Arc<Shared>,
    _beats: Task,
}

struct Shared {
    link: Link,
    key: String,
    myself: Box<dyn Fn() -> Presence + Send + Sync>,
    told: Box<dyn Fn(bool) + Send + Sync>,
    /// Whether it was said last that this instance is in touch.
    is_in_touch: AtomicBool,
    /// Whether it was told that the modes are mixed.
    is_mixture_told: AtomicBool,
    start: Instant,
    /// How many there were when Redis was asked last…
    count: AtomicU64,
    /// … milliseconds after `start`, and one; 0: never.
    counted: AtomicU64,
}

impl Fleet {
    /// Starts to connect and to say that this instance is there, on the
    /// runtime this is called from. `myself` is what it says; `told` is told
    /// at every heartbeat whether all who are there, or were a moment ago, announce
    /// their routes: `false` too where one says what cannot be read.
    ///
    /// # Errors
    /// Where the configuration leads to no Redis; one that is merely away is
    /// no error.
    pub fn start(
        config: &RedisConfig,
        counters: Arc<RedisCounters>,
        myself: impl Fn() -> Presence + Send + Sync + 'static,
        told: impl Fn(bool) + Send + Sync + 'static,
    ) -> Result<Self, EndpointError> {
        let shared = Arc::new(Shared {
            link: Link::start(Endpoint::of(config)?, Role::Fleet, counters),
            key: format!("{{{}}}:fleet", config.namespace),
            myself: Box::new(myself),
            told: Box::new(told),
            is_in_touch: AtomicBool::new(false),
            is_mixture_told: AtomicBool::new(false),
            start: Instant::now(),
            count: AtomicU64::new(0),
            counted: AtomicU64::new(0),
        });
        Ok(Self {
            _beats: Task::start(Arc::clone(&shared).beat()),
            shared,
        })
    }

    /// Who is there now, by name; this instance is heard of as it asks.
    ///
    /// # Errors
    /// [`Unknown`] where Redis does not say, within a second.
    pub async fn instances(&self) -> Result<Vec<Instance>, Unknown> {
        let mut connection = self.shared.link.current().ok_or(Unknown)?;
        self.shared.speak(&mut connection).await.map_err(|error| {
            tracing::debug!(%error, "the fleet cannot be read");
            Unknown
        })
    }

    /// How many there were when Redis was last asked; `None` where that is too
    /// long ago to say.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        let counted = self.shared.counted.load(Ordering::Acquire).checked_sub(1)?;
        let age = self
            .shared
            .start
            .elapsed()
            .saturating_sub(Duration::from_millis(counted));
        (age < EXPIRY).then(|| self.shared.count.load(Ordering::Acquire))
    }

    /// Tells the others that this instance ends.
    pub async fn leave(&self) {
        let Some(mut connection) = self.shared.link.current() else {
            return;
        };
        let id = (self.shared.myself)().id;
        let command = self.shared.command(&id, "");
        let left = self.shared.exchange(command, &mut connection).await;
        if let Err(error) = left {
            tracing::debug!(%error, "the fleet was not told that this instance ends");
        }
    }
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Fleet").finish_non_exhaustive()
    }
}

impl Shared {
    async fn beat(self: Arc<Self>) {
        loop {
            let mut connection = self.link.connected().await;
            match self.speak(&mut connection).await {
                Ok(_) => {
                    // Not everything is worth saying before it is time.
                    let _due = tokio::time::timeout(BEAT, self.news()).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "a heartbeat did not reach Redis");
                    self.link.report(&connection, &error);
                    tokio::time::sleep(TIMEOUT).await;
                }
            }
        }
    }

    /// Waits until this instance is in touch and has not said so, or is not
    /// any more.
    async fn news(&self) {
        let mut looks = tokio::time::interval(NEWS_EVERY);
        loop {
            looks.tick().await;
            if (self.myself)().is_in_touch != self.is_in_touch.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Says that this instance is there; answers who is.
    async fn speak(&self, connection: &mut Connection) -> RedisResult<Vec<Instance>> {
        let myself = (self.myself)();
        let text = serde_json::to_string(&myself).unwrap_or_default();
        let instances = self
            .exchange(self.command(&myself.id, &text), connection)
            .await?;
        self.is_in_touch
            .store(myself.is_in_touch, Ordering::Release);
        let there = instances.iter().filter(|instance| !instance.is_missing());
        self.count.store(there.count() as u64, Ordering::Release);
        self.tell_mixture(&instances);
        let now = self.start.elapsed().as_millis() as u64;
        self.counted.store(now + 1, Ordering::Release);
        Ok(instances)
    }

    fn tell_mixture(&self, instances: &[Instance]) {
        let modes = mixed_modes(instances);
        let is_mixed = !modes.is_empty();
        let was_told = self.is_mixture_told.swap(is_mixed, Ordering::AcqRel);
        if is_mixed && !was_told {
            tracing::warn!(
                modes = modes.join(", "),
                "instances of one fleet differ in `coherence.mode` or `lease`: strict mode promises nothing until they agree"
            );
        }
    }

    fn command(&self, id: &str, text: &str) -> Cmd {
        redis::cmd("EVAL")
            .arg(SCRIPT)
            .arg(1)
            .arg(&self.key)
            .arg(id)
            .arg(text)
            .arg(EXPIRY.as_secs())
            .take()
    }

    async fn exchange(
        &self,
        command: Cmd,
        connection: &mut Connection,
    ) -> RedisResult<Vec<Instance>> {
        let asked = command.query_async::<(u64, Vec<String>, u64)>(connection);
        let (now, here, foreign) = tokio::time::timeout(TIMEOUT, asked)
            .await
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))?;
        if foreign > 0 {
            tracing::error!("the key of the fleet held another type: it was deleted");
        }
        let mut instances: Vec<Instance> = here.iter().filter_map(|text| read(text, now)).collect();
        let announces = |instance: &Instance| instance.presence.announces_routes;
        (self.told)(here.len() == instances.len() && instances.iter().all(announces));
        instances.sort_by(|one, other| one.presence.id.cmp(&other.presence.id));
        Ok(instances)
    }
}

/// `None` for what another version says in other words.
fn read(text: &str, now: u64) -> Option<Instance> {
    let (at, said) = text.split_once(' ')?;
    Some(Instance {
        presence: serde_json::from_str(said).ok()?,
        heard_ago: Duration::from_secs(now.saturating_sub(at.parse().ok()?)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::test_redis::{TestRedis, within};

    fn presence(id: &str) -> Presence {
        Presence {
            id: id.to_owned(),
            host: "h".to_owned(),
            version: "1".to_owned(),
            started_millis: 0,
            position: None,
            lag_millis: Some(3),
            is_in_touch: true,
            mode: "eventual".to_owned(),
            announces_routes: true,
        }
    }

    fn start(redis: &TestRedis, id: &'static str) -> Fleet {
        Fleet::start(
            &redis.config(),
            Arc::default(),
            move || presence(id),
            |_| {},
        )
        .unwrap()
    }

    async fn names(fleet: &Fleet) -> Vec<String> {
        within(fleet.shared.link.connected()).await;
        let instances = fleet.instances().await.unwrap();
        let names = instances.into_iter().map(|instance| instance.presence.id);
        names.collect()
    }

    #[tokio::test]
    async fn whoever_says_so_is_there_until_he_leaves() {
        let redis = TestRedis::started();
        let left = start(&redis, "left");
        assert_eq!(names(&left).await, ["left"]);
        let right = start(&redis, "right");
        assert_eq!(names(&right).await, ["left", "right"]);
        assert_eq!(right.count(), Some(2));
        left.leave().await;
        assert_eq!(names(&right).await, ["right"]);
    }

    #[tokio::test]
    async fn whoever_has_long_not_been_heard_of_is_gone() {
        let redis = TestRedis::started();
        let fleet = start(&redis, "left");
        for (id, at) in [("old", "1000 "), ("odd", "?")] {
            let text = format!("{at}{}", serde_json::to_string(&presence(id)).unwrap());
            redis.cli(&["HSET", "{shop}:fleet", id, &text]);
        }
        assert_eq!(names(&fleet).await, ["left"]);
        assert_eq!(redis.cli(&["HLEN", "{shop}:fleet"]), "1");
    }

    #[test]
    fn only_those_who_are_there_and_say_what_they_promise_can_differ() {
        let instance = |mode: &str, seconds| Instance {
            presence: Presence {
                mode: mode.to_owned(),
                ..presence("a")
            },
            heard_ago: Duration::from_secs(seconds),
        };
        let fleet = [
            instance("strict 2s", 0),
            instance("strict 2s", 7),
            instance("", 1),
            instance("eventual", 8),
        ];
        assert!(mixed_modes(&fleet).is_empty());
        let fleet = [instance("strict 2s", 0), instance("strict 3s", 1)];
        assert_eq!(mixed_modes(&fleet), ["strict 2s", "strict 3s"]);
    }

    #[tokio::test]
    async fn without_redis_nobody_is_said_to_be_there() {
        let fleet = start(&TestRedis::reserve(), "left");
        assert_eq!(fleet.instances().await, Err(Unknown));
        assert_eq!(fleet.count(), None);
    }
}
