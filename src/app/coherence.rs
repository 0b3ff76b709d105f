//! What instances share, where they share anything: the store in Redis, the
//! invalidation log, the fleet; and the figures of the three together.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::spool;
use crate::clock::Clock;
use crate::config::{CoherenceConfig, CoherenceMode, Config};
use crate::fleet::{Fleet, Presence};
use crate::invalidation::Invalidation;
use crate::link::EndpointError;
use crate::store::redis::RedisStore;
use crate::telemetry::Telemetry;
use crate::telemetry::page::{Family, counter, gauge, value};

/// What this instance shares with others.
pub(super) struct Coherence {
    pub(super) invalidation: Arc<Invalidation>,
    /// `None` where there is no Redis.
    pub(super) store: Option<RedisStore>,
    pub(super) fleet: Option<Arc<Fleet>>,
}

impl Coherence {
    /// Starts to connect.
    pub(super) fn start(
        config: &Config,
        clock: &Clock,
        telemetry: &Telemetry,
    ) -> Result<Self, EndpointError> {
        let Some(redis) = &config.redis else {
            let alone = Invalidation::alone(&config.coherence, clock.clone());
            return Ok(Self {
                invalidation: Arc::new(alone),
                store: None,
                fleet: None,
            });
        };
        let counters = telemetry.redis();
        let spool = spool::path(&config.coherence.spool, redis)?;
        let shared = Invalidation::shared(
            redis,
            &config.coherence,
            spool.as_deref(),
            clock.clone(),
            counters,
        )?;
        let invalidation = Arc::new(shared);
        let body_bytes_max = config.memory.body_bytes_max;
        let store = RedisStore::start(redis, body_bytes_max, Arc::clone(counters))?;
        let started_millis = clock.now().unix_millis();
        let speaker = Arc::clone(&invalidation);
        let mode = mode(&config.coherence);
        let host = host();
        let myself = move || Presence {
            host: host.clone(),
            mode: mode.clone(),
            ..of(&speaker, started_millis)
        };
        let listener = Arc::clone(&invalidation);
        let told = move |is_everybody| listener.set_announcing(is_everybody);
        let fleet = Fleet::start(redis, Arc::clone(counters), myself, told)?;
        Ok(Self {
            invalidation,
            store: Some(store),
            fleet: Some(Arc::new(fleet)),
        })
    }
}

/// What an instance says of itself that has no others.
pub(super) fn alone(invalidation: &Invalidation, started_millis: u64) -> Presence {
    Presence {
        host: host(),
        ..of(invalidation, started_millis)
    }
}

fn host() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname");
    host.unwrap_or_default().trim().to_owned()
}

/// What instances have to agree in.
fn mode(config: &CoherenceConfig) -> String {
    match config.mode {
        CoherenceMode::Eventual => "eventual".to_owned(),
        CoherenceMode::Strict => format!("strict {:?}", config.lease),
    }
}

fn of(invalidation: &Invalidation, started_millis: u64) -> Presence {
    let lag = invalidation.lag();
    Presence {
        id: invalidation.instance().to_owned(),
        host: String::new(),
        mode: String::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_millis,
        position: lag.map(|_| invalidation.position().log.to_string()),
        lag_millis: lag.map(|lag| lag.as_millis() as u64),
        is_in_touch: invalidation.is_in_touch(),
        announces_routes: true,
    }
}

/// The figures of the log and of the fleet, for Prometheus.
pub(super) struct Figures {
    pub(super) invalidation: Arc<Invalidation>,
    pub(super) fleet: Option<Arc<Fleet>>,
    pub(super) telemetry: Arc<Telemetry>,
    descriptions: Vec<Desc>,
}

/// docs/metrics.md lists the same.
static FAMILIES: [Family; 11] = [
    gauge(
        "pannier_fleet_instances",
        "Instances heard of in the last 8 s; absent where Redis cannot be asked.",
        &[],
    ),
    gauge(
        "pannier_invalidation_in_touch",
        "1 while the invalidation log was heard from recently enough for what the mode promises.",
        &[],
    ),
    gauge(
        "pannier_invalidation_lag_seconds",
        "Time since the whole log was known to be applied here; absent before the first time.",
        &[],
    ),
    counter(
        "pannier_invalidation_out_of_touch_seconds_total",
        "Time in which the log could not be reached.",
        &[],
    ),
    counter(
        "pannier_invalidation_gaps_total",
        "Times the log was read from its beginning, the first included.",
        &[],
    ),
    gauge(
        "pannier_invalidation_pending",
        "Invalidations in force here and not yet in the log.",
        &[],
    ),
    counter(
        "pannier_invalidation_unlogged_total",
        "Writes whose invalidations could meet nothing that a route of the fleet may have stored, and were not logged.",
        &[],
    ),
    gauge("pannier_invalidation_bans", "Bans held.", &[]),
    gauge(
        "pannier_invalidation_spooled",
        "Of those pending, how many are in the spool as well, so that they survive this process.",
        &[],
    ),
    gauge(
        "pannier_invalidation_spool_failing",
        "1 while the spool cannot be written: what is pending is lost with this process.",
        &[],
    ),
    counter(
        "pannier_redis_stores_dropped_total",
        "Responses not written to Redis because its queue was full.",
        &[],
    ),
];

impl Figures {
    pub(super) fn new(
        coherence: &Coherence,
        telemetry: &Arc<Telemetry>,
    ) -> Result<Self, prometheus::Error> {
        let descriptions = FAMILIES.iter().map(Family::described);
        Ok(Self {
            invalidation: Arc::clone(&coherence.invalidation),
            fleet: coherence.fleet.clone(),
            telemetry: Arc::clone(telemetry),
            descriptions: descriptions.collect::<Result<_, _>>()?,
        })
    }

    /// In the order of [`FAMILIES`]; `None` where there is nothing to say.
    fn read(&self) -> [Option<f64>; 11] {
        let redis = self.telemetry.redis();
        let instances = match &self.fleet {
            Some(fleet) => fleet.count(),
            None => Some(1),
        };
        let number = |figure: u64| Some(figure as f64);
        [
            instances.and_then(number),
            number(u64::from(self.invalidation.is_in_touch())),
            self.invalidation.lag().map(|lag| lag.as_secs_f64()),
            Some(self.invalidation.out_of_touch().as_secs_f64()),
            number(redis.log.gaps.get()),
            number(redis.log.appends_pending.get()),
            number(redis.log.unlogged.get()),
            number(self.invalidation.bans_held() as u64),
            number(redis.log.appends_spooled.get()),
            number(redis.log.spool_failing.get()),
            number(redis.stores_dropped.get()),
        ]
    }
}

impl Collector for Figures {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let read = FAMILIES.iter().zip(self.read());
        read.filter_map(|(family, figure)| Some(family.of(vec![value(family, &[], figure?)])))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_documented() {
        let documented = include_str!("../../docs/metrics.md");
        for Family { name, .. } in &FAMILIES {
            assert!(documented.contains(&format!("- `{name}`")), "{name}");
        }
    }
}
