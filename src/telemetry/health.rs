//! How it does: indicators held against thresholds, a score, one word.
//!
//! Pure: a [`Situation`] and the thresholds of `[health]` in, an
//! [`Assessment`] out. An indicator judges only where enough happened to
//! judge, and says what to do about it.

use std::time::Duration;

use super::exchanges::LivesOnStale;
use super::health_origin as origin;
use super::origin_check::Checked;
use crate::config::HealthConfig;

/// Fewer requests in five minutes say nothing about a rate.
pub(super) const REQUESTS_MIN: u64 = 20;
/// Fewer minutes with requests are no hour to compare with.
const MINUTES_MIN: usize = 10;
/// A p95 below this is not called slow, whatever it was before.
const P95_FLOOR: Duration = Duration::from_millis(5);
/// What a warning and a critical indicator take off the score.
const WARNING_COSTS: u64 = 10;
const CRITICAL_COSTS: u64 = 40;

/// How it does, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing to do.
    Healthy,
    /// Worth a look.
    Warning,
    /// Somebody should come.
    Critical,
}

impl Level {
    /// All levels, the best first.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Warning, Self::Critical];

    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What is judged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Situation {
    /// Requests of the last five minutes.
    pub requests: u64,
    /// Those of them answered with 5xx.
    pub errors: u64,
    /// Those that the store answered, and those it could have answered.
    pub hits: u64,
    /// Requests of a route that the origin answered.
    pub misses: u64,
    /// Exchanges with the origin in the last five minutes.
    pub upstream: u64,
    /// Those that failed: without an answer, or answered with 5xx.
    pub upstream_errors: u64,
    /// Routes whose origin fails behind stale responses.
    pub stale: Vec<LivesOnStale>,
    /// The last active check of the origin; `None` where there is none.
    pub check: Option<Checked>,
    /// Exchanges that failed since the origin last answered.
    pub failures_in_a_row: u64,
    /// The 95th percentile of the last five minutes.
    pub p95: Duration,
    /// The same, minute by minute, over the hour before; minutes without
    /// requests left out.
    pub p95_before: Vec<Duration>,
    /// Requests waiting for a place.
    pub waiting: u64,
    /// Requests refused in the last five minutes for want of a place.
    pub refused: u64,
    /// Early evictions of the last hour: of responses with most of their
    /// lifetime before them.
    pub evictions_early: u64,
    /// Of memory, in percent.
    pub memory_fill_percent: f64,
    /// `None` without `[redis]`.
    pub redis: Option<RedisSituation>,
}

/// What this instance knows of the log it follows, and of its fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Whether the invalidation log is followed.
    pub is_in_touch: bool,
    /// How far behind it; `None` before it was reached.
    pub lag: Option<Duration>,
    /// Instances there are; `None` where Redis cannot be asked.
    pub instances: Option<u64>,
}

/// What is judged of Redis and the fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RedisSituation {
    /// Whether the connection for lookups stands.
    pub is_connected: bool,
    /// Whether Redis refuses to store responses.
    pub refuses_stores: bool,
    /// Whether the invalidation log is followed.
    pub is_in_touch: bool,
    /// How far this instance is behind the log.
    pub lag: Duration,
    /// Instances that were there some minutes ago and are not.
    pub missing: u64,
}

/// One thing looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Indicator {
    /// Its name; never changes.
    pub name: &'static str,
    /// What came of it.
    pub level: Level,
    /// What was found; `None` where too little happened to judge.
    pub value: Option<f64>,
    /// From where on it is a warning, or critical where that is how it stands.
    pub threshold: Option<f64>,
    /// What both are counted in.
    pub unit: &'static str,
    /// What was found and, where something is wrong, what to do about it.
    pub advice: String,
}

/// How it does.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The worst of all indicators.
    pub level: Level,
    /// 100 less what the indicators cost; never below 0.
    pub score: u64,
    /// One sentence.
    pub message: String,
    /// In the order people should look at them.
    pub indicators: Vec<Indicator>,
}

/// Holds a situation against the thresholds.
#[must_use]
pub fn assess(situation: &Situation, thresholds: &HealthConfig) -> Assessment {
    let mut indicators = vec![
        origin::reachable(situation, thresholds),
        origin::errors(situation, thresholds),
        origin::stale(situation),
        errors(situation, thresholds),
        latency(situation, thresholds),
        queue(situation, thresholds),
        hit_rate(situation, thresholds),
        evictions(situation, thresholds),
        memory(situation, thresholds),
    ];
    if let Some(check) = &situation.check {
        indicators.insert(1, origin::checked(check, thresholds));
    }
    if let Some(redis) = &situation.redis {
        indicators.extend(of_redis(redis, thresholds));
    }
    let level = indicators.iter().map(|one| one.level).max();
    let level = level.unwrap_or(Level::Healthy);
    let costs: u64 = indicators
        .iter()
        .map(|one| match one.level {
            Level::Healthy => 0,
            Level::Warning => WARNING_COSTS,
            Level::Critical => CRITICAL_COSTS,
        })
        .sum();
    Assessment {
        level,
        score: 100_u64.saturating_sub(costs),
        message: message(&indicators, level),
        indicators,
    }
}

fn message(indicators: &[Indicator], level: Level) -> String {
    if level == Level::Healthy {
        return "all is well".to_owned();
    }
    let worst = indicators.iter().filter(|one| one.level == level);
    let advice: Vec<&str> = worst.map(|one| one.advice.as_str()).collect();
    advice.join("; ")
}

/// An indicator of which more is worse.
pub(super) struct Scale {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) warning: f64,
    pub(super) critical: Option<f64>,
}

impl Scale {
    pub(super) fn judge(&self, value: f64, found: String, what_to_do: &str) -> Indicator {
        let is_critical = self.critical.is_some_and(|critical| value >= critical);
        let level = if is_critical {
            Level::Critical
        } else if value >= self.warning {
            Level::Warning
        } else {
            Level::Healthy
        };
        let threshold = if is_critical {
            self.critical
        } else {
            Some(self.warning)
        };
        self.indicator(level, Some(value), threshold, found, what_to_do)
    }

    pub(super) fn not_judged(&self, why: &str) -> Indicator {
        self.indicator(Level::Healthy, None, Some(self.warning), why.to_owned(), "")
    }

    fn indicator(
        &self,
        level: Level,
        value: Option<f64>,
        threshold: Option<f64>,
        found: String,
        what_to_do: &str,
    ) -> Indicator {
        let advice = if level == Level::Healthy || what_to_do.is_empty() {
            found
        } else {
            format!("{found}: {what_to_do}")
        };
        Indicator {
            name: self.name,
            level,
            value: value.map(|value| (value * 1_000.0).round() / 1_000.0),
            threshold,
            unit: self.unit,
            advice,
        }
    }
}

fn errors(situation: &Situation, thresholds: &HealthConfig) -> Indicator {
    let scale = Scale {
        name: "error_rate",
        unit: "%",
        warning: float(thresholds.error_rate_warning_percent),
        critical: Some(float(thresholds.error_rate_critical_percent)),
    };
    if situation.requests < REQUESTS_MIN {
        return scale.not_judged("there were few requests in the last five minutes");
    }
    let rate = percent(situation.errors, situation.requests);
    let found = format!("{rate:.1} % of requests were answered with 5xx in five minutes");
    scale.judge(
        rate,
        found,
        "`/performance` says which endpoints; `stale_if_error` of a route bridges failures",
    )
}

fn latency(situation: &Situation, thresholds: &HealthConfig) -> Indicator {
    let scale = Scale {
        name: "p95_against_last_hour",
        unit: "times",
        warning: float(thresholds.p95_factor_warning),
        critical: Some(float(thresholds.p95_factor_critical)),
    };
    let mut before = situation.p95_before.clone();
    if before.len() < MINUTES_MIN || situation.requests < REQUESTS_MIN {
        return scale.not_judged("there is no hour to compare with yet");
    }
    before.sort_unstable();
    let usual = before[before.len() / 2];
    let milliseconds = situation.p95.as_secs_f64() * 1_000.0;
    let factor = if situation.p95 < P95_FLOOR {
        // So quick that the difference is noise.
        1.0
    } else {
        situation.p95.as_secs_f64() / usual.as_secs_f64().max(1e-6)
    };
    let found = format!(
        "the 95th percentile is {milliseconds:.1} ms, in the hour before {:.1} ms",
        usual.as_secs_f64() * 1_000.0
    );
    scale.judge(
        factor,
        found,
        "`/performance/slowest` says which endpoints, `upstream` there whether the origin is slow",
    )
}

fn queue(situation: &Situation, thresholds: &HealthConfig) -> Indicator {
    let scale = Scale {
        name: "queue_depth",
        unit: "requests",
        warning: float(thresholds.queue_warning),
        critical: Some(float(thresholds.queue_critical)),
    };
    let found = match (situation.waiting, situation.refused) {
        (waiting, 0) => format!("{waiting} requests wait for a place"),
        (waiting, refused) => {
            format!("{waiting} requests wait for a place, {refused} were refused in five minutes")
        }
    };
    let what_to_do = "raise `limits.inflight_max` or `limits.upstream_inflight_max`, or add \
                      instances; a slow origin is the usual cause";
    let judged = scale.judge(float(situation.waiting), found.clone(), what_to_do);
    if situation.refused > 0 && judged.level == Level::Healthy {
        // The queue may be empty again; those who were refused were there.
        return scale.indicator(
            Level::Warning,
            judged.value,
            judged.threshold,
            found,
            what_to_do,
        );
    }
    judged
}

fn hit_rate(situation: &Situation, thresholds: &HealthConfig) -> Indicator {
    let threshold = float(thresholds.hit_rate_warning_percent);
    let scale = Scale {
        name: "hit_rate",
        unit: "%",
        warning: threshold,
        critical: None,
    };
    let asked = situation.hits + situation.misses;
    if asked < REQUESTS_MIN {
        return scale.not_judged("there were few requests for routes in the last five minutes");
    }
    let rate = percent(situation.hits, asked);
    let level = if rate < threshold {
        Level::Warning
    } else {
        Level::Healthy
    };
    let found = format!("the store answered {rate:.1} % of what it could in five minutes");
    let what_to_do = "`/performance/cache` says for each route what could raise it";
    scale.indicator(level, Some(rate), Some(threshold), found, what_to_do)
}

fn evictions(situation: &Situation, thresholds: &HealthConfig) -> Indicator {
    let scale = Scale {
        name: "early_evictions",
        unit: "an hour",
        warning: float(thresholds.evictions_warning_per_hour),
        critical: None,
    };
    let early = situation.evictions_early;
    let found = format!(
        "{early} responses were evicted within an hour before 70 % of their lifetime was over"
    );
    scale.judge(
        float(early),
        found,
        "raise `memory.bytes_max`, or `entries_max` of the route",
    )
}

fn memory(situation: &Situation, thresholds: &HealthConfig) -> Indicator {
    let scale = Scale {
        name: "memory_fill",
        unit: "%",
        warning: float(thresholds.memory_warning_percent),
        critical: None,
    };
    let fill = situation.memory_fill_percent;
    let found = format!("the store in memory is {fill:.0} % full");
    if situation.evictions_early < thresholds.evictions_warning_per_hour {
        // A full store that lets go of what is old does what it is for.
        return scale.indicator(Level::Healthy, Some(fill), Some(scale.warning), found, "");
    }
    scale.judge(
        fill,
        found,
        "it lets go of what is asked for again: raise `memory.bytes_max`, or lower lifetimes",
    )
}

fn of_redis(redis: &RedisSituation, thresholds: &HealthConfig) -> Vec<Indicator> {
    let link = Scale {
        name: "redis_link",
        unit: "lost",
        warning: 1.0,
        critical: None,
    };
    let log = Scale {
        name: "log_lag",
        unit: "s",
        warning: thresholds.lag_warning.as_secs_f64(),
        critical: Some(thresholds.lag_critical.as_secs_f64()),
    };
    let fleet = Scale {
        name: "fleet_missing",
        unit: "instances",
        warning: 1.0,
        critical: None,
    };
    let link = if redis.is_connected {
        link.judge(0.0, "Redis is connected".to_owned(), "")
    } else {
        link.judge(
            1.0,
            "Redis is not connected".to_owned(),
            "every instance works from its own memory until it is back; see `redis.url` and the log",
        )
    };
    let stores = Scale {
        name: "redis_stores",
        unit: "refused",
        warning: 1.0,
        critical: None,
    };
    let stores = if redis.refuses_stores {
        stores.judge(
            1.0,
            "Redis refuses to store responses".to_owned(),
            "instances share nothing new until it does; raise its `maxmemory`, or let it evict \
             (`maxmemory-policy volatile-lru`); the log has its words",
        )
    } else {
        stores.judge(0.0, "Redis stores what it is given".to_owned(), "")
    };
    let what_to_do = "stored responses older than `coherence.unsynced_age_max` are not reused \
                      unasked meanwhile; see whether Redis is slow or gone";
    let lag = redis.lag.as_secs_f64();
    let log = if redis.is_in_touch {
        let found = format!("the invalidation log is followed, {lag:.1} s behind");
        log.judge(lag, found, what_to_do)
    } else {
        let found = "the invalidation log is out of reach".to_owned();
        let worst = lag.max(thresholds.lag_warning.as_secs_f64());
        log.judge(worst, found, what_to_do)
    };
    let found = match redis.missing {
        0 => "every instance of the fleet tells of itself".to_owned(),
        n => format!("{n} instances that were there ten minutes ago are gone"),
    };
    let fleet = fleet.judge(float(redis.missing), found, "`/fleet` says which are there");
    vec![link, stores, log, fleet]
}

#[expect(clippy::cast_precision_loss, reason = "a figure, shown to people")]
pub(super) fn float(figure: u64) -> f64 {
    figure as f64
}

pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        float(part) * 100.0 / float(whole)
    }
}
