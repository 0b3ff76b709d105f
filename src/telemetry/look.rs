//! What the history sees when it looks: all counters at one moment.

use std::time::Duration;

use super::Telemetry;
use super::health::{Followed, RedisSituation, Situation};
use super::history::{Look, Period, Totals};
use super::process::ProcessFigures;
use crate::semantics::outcome::CacheResult;

const MINUTE: Duration = Duration::from_secs(60);
/// What health compares with.
const HOUR: Duration = Duration::from_secs(3_600);
/// An instance that was there within so many minutes and is not is missing.
const FLEET_MINUTES: usize = 10;
/// The minutes that count as now, the one under way included.
const RECENT_MINUTES: usize = 6;

/// What there is to see before anything was counted.
pub(super) fn none() -> Look {
    let process = ProcessFigures::read();
    Look {
        memory_bytes: process.map_or(0, |process| process.resident_bytes),
        cpu_seconds: process.map_or(0.0, |process| process.cpu_seconds),
        ..Look::default()
    }
}

impl Telemetry {
    /// Lets the history take what came since it last looked. Called once a
    /// minute at least; takes as long as it takes to read all counters.
    pub fn tick(&self) {
        let mut history = self.history.lock();
        history.advance(self.now(), self.look());
    }

    /// The minutes of the last `window`, oldest first, the one under way last.
    #[must_use]
    pub fn minutes(&self, window: Duration) -> Vec<Period> {
        let mut history = self.history.lock();
        let (now, look) = (self.now(), self.look());
        history.advance(now, look.clone());
        history.minutes(now, window, &look)
    }

    /// The hours that the last `window` touches, oldest first, and all of them
    /// together.
    #[must_use]
    pub fn hours(&self, window: Duration) -> (Vec<Period>, Period) {
        let mut history = self.history.lock();
        let (now, look) = (self.now(), self.look());
        history.advance(now, look.clone());
        history.hours(now, window, &look)
    }

    /// Processor time in the minute under way, in percent of one core; that of
    /// the minute before while the one under way has only begun.
    #[must_use]
    pub fn cpu_percent_now(&self) -> f64 {
        let minutes = self.minutes(2 * MINUTE);
        let has_begun = |period: &&Period| period.length >= MINUTE / 12;
        let latest = minutes.iter().rev().find(has_begun).or(minutes.last());
        latest.map_or(0.0, |period| period.cpu_percent)
    }

    /// What there is to judge: `memory_bytes_max` is the configuration's,
    /// `followed` is `None` without `[redis]`.
    #[must_use]
    pub fn situation(&self, memory_bytes_max: u64, followed: Option<Followed>) -> Situation {
        let redis = self.redis();
        let instances = followed.and_then(|followed| followed.instances);
        redis.fleet_instances.set(instances.unwrap_or(0));
        let hour = self.minutes(HOUR);
        let recent_from = hour.len().saturating_sub(RECENT_MINUTES);
        let (before, recent) = hour.split_at(recent_from);
        let sum = |periods: &[Period]| {
            let counts = periods.iter().map(|period| period.counts);
            counts.fold(Totals::default(), |sum, counts| sum.plus(&counts))
        };
        let counts = sum(recent);
        let with_requests = |periods: &[Period]| {
            let busy = periods.iter().filter(|period| period.counts.requests > 0);
            busy.map(|period| period.p95).collect::<Vec<_>>()
        };
        let mut recent_p95 = with_requests(recent);
        recent_p95.sort_unstable();
        let bytes: u64 = self
            .routes()
            .iter()
            .map(|route| route.counters().bytes.get())
            .sum();
        #[expect(clippy::cast_precision_loss, reason = "a percentage, shown to people")]
        let memory_fill_percent = bytes as f64 * 100.0 / memory_bytes_max.max(1) as f64;
        let lately = hour.iter().rev().take(FLEET_MINUTES);
        let most = lately.map(|minute| minute.instances).max().unwrap_or(0);
        Situation {
            requests: counts.requests,
            errors: counts.errors,
            hits: counts.hits,
            misses: counts.misses,
            upstream: counts.upstream,
            upstream_errors: counts.upstream_errors,
            failures_in_a_row: self.upstream().failures_in_a_row(),
            stale: self.lives_on_stale(),
            check: self.upstream().check.last(),
            p95: recent_p95
                .get(recent_p95.len() / 2)
                .copied()
                .unwrap_or_default(),
            p95_before: with_requests(before),
            waiting: self.requests().figures().waiting
                + self.upstream().exchanges.figures().waiting,
            refused: counts.refused,
            evictions_early: sum(&hour).evictions_early,
            memory_fill_percent,
            redis: followed.map(|followed| RedisSituation {
                is_connected: redis.up.get() > 0,
                refuses_stores: redis.stores_refused.get() > 0,
                is_in_touch: followed.is_in_touch,
                lag: followed.lag.unwrap_or_default(),
                missing: instances.map_or(0, |instances| most.saturating_sub(instances)),
            }),
        }
    }

    pub(super) fn look(&self) -> Look {
        let process = none();
        Look {
            totals: self.totals(),
            spread: self.endpoints().spread(),
            instances: self.redis().fleet_instances.get(),
            ..process
        }
    }

    /// Everything that was counted since the start, over all routes.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let unrouted = std::iter::once(std::sync::Arc::clone(self.unrouted()));
        for route in self.routes().into_iter().chain(unrouted) {
            for request in route.requests() {
                totals.requests += request.count;
                if request.is_error {
                    totals.errors += request.count;
                }
                if request.is_client_error {
                    totals.client_errors += request.count;
                }
                if request.cache.is_from_store() {
                    totals.hits += request.count;
                }
                if request.cache == CacheResult::Miss {
                    totals.misses += request.count;
                }
            }
            let counters = route.counters();
            totals.bytes += counters.body_bytes.get();
            totals.evictions += counters.evictions.get();
            totals.evictions_early += counters.evictions_early.get();
            totals.invalidations += counters.invalidations.get();
            let (exchanges, failed) = route.exchanges().total();
            totals.upstream += exchanges;
            totals.upstream_errors += failed;
        }
        for gate in [self.requests(), &self.upstream().exchanges] {
            let figures = gate.figures();
            totals.refused += figures.refused_full + figures.refused_late;
        }
        totals
    }
}
