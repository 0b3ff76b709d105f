//! What happened, minute by minute, over the last day.
//!
//! Costs requests nothing: once a minute, and whenever it is read, the
//! counters that only grow are looked at and what they grew by is kept. At
//! most [`MINUTES_MAX`] minutes and [`HOURS_MAX`] hours are kept, some 500 KiB;
//! the oldest goes. Lives as long as the process, across reloads.

use std::collections::VecDeque;
use std::time::Duration;

use super::spread::Spread;
use crate::clock::Timestamp;

/// Minutes kept, the one under way apart.
pub const MINUTES_MAX: usize = 24 * 60;
/// Hours kept, the one under way included: a day touches 25.
pub const HOURS_MAX: usize = 25;

const MINUTE_MILLIS: u64 = 60_000;
const HOUR_MILLIS: u64 = 60 * MINUTE_MILLIS;

/// Counters that only grow, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Requests answered.
    pub requests: u64,
    /// Those answered from the store.
    pub hits: u64,
    /// Those of a route that the origin answered.
    pub misses: u64,
    /// Those answered with 5xx.
    pub errors: u64,
    /// Those answered with 4xx.
    pub client_errors: u64,
    /// Bytes of the answers' bodies, as far as known when they began.
    pub bytes: u64,
    /// Exchanges with the origin.
    pub upstream: u64,
    /// Those that failed: without an answer, or answered with 5xx.
    pub upstream_errors: u64,
    /// Stored responses dropped to make room.
    pub evictions: u64,
    /// Those of them that had most of their lifetime before them.
    pub evictions_early: u64,
    /// Stored responses dropped because an invalidation matched them.
    pub invalidations: u64,
    /// Requests refused because there was too much to do.
    pub refused: u64,
}

impl Totals {
    /// What they grew by since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    fn with(&self, other: &Self, merge: fn(u64, u64) -> u64) -> Self {
        Self {
            requests: merge(self.requests, other.requests),
            hits: merge(self.hits, other.hits),
            misses: merge(self.misses, other.misses),
            errors: merge(self.errors, other.errors),
            client_errors: merge(self.client_errors, other.client_errors),
            bytes: merge(self.bytes, other.bytes),
            upstream: merge(self.upstream, other.upstream),
            upstream_errors: merge(self.upstream_errors, other.upstream_errors),
            evictions: merge(self.evictions, other.evictions),
            evictions_early: merge(self.evictions_early, other.evictions_early),
            invalidations: merge(self.invalidations, other.invalidations),
            refused: merge(self.refused, other.refused),
        }
    }
}

/// What is looked at.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The counters.
    pub totals: Totals,
    /// All latencies since the last reset.
    pub spread: Spread,
    /// Memory of the process, in bytes.
    pub memory_bytes: u64,
    /// Processor time of the process so far, in seconds.
    pub cpu_seconds: f64,
    /// Instances of the fleet; 0: not known.
    pub instances: u64,
}

/// One minute, or one hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// When it began.
    pub start: Timestamp,
    /// How much of it there was: less than whole for the first and the last.
    pub length: Duration,
    /// What was counted in it.
    pub counts: Totals,
    /// Percentiles of the time from request head to response head.
    pub p50: Duration,
    /// 95 % were no longer.
    pub p95: Duration,
    /// 99 % were no longer.
    pub p99: Duration,
    /// Memory of the process at its end, in bytes.
    pub memory_bytes: u64,
    /// Processor time used, in percent of one core.
    pub cpu_percent: f64,
    /// Instances of the fleet at its end; 0: not known.
    pub instances: u64,
}

/// The last day. Not shared between threads: whoever has it locks it.
#[derive(Debug)]
pub struct History {
    minutes: VecDeque<Period>,
    hours: VecDeque<Hour>,
    open: Open,
    /// Latencies at the last look, to see what came since.
    seen: Spread,
}

/// The minute under way.
#[derive(Debug)]
struct Open {
    start: Timestamp,
    began: Look,
    spread: Spread,
}

/// An hour; its percentiles are those of all its requests.
#[derive(Debug)]
struct Hour {
    start: Timestamp,
    length: Duration,
    counts: Totals,
    spread: Spread,
    memory_bytes: u64,
    cpu_seconds: f64,
    instances: u64,
}

impl History {
    /// Begins now.
    #[must_use]
    pub fn new(now: Timestamp, began: Look) -> Self {
        Self {
            minutes: VecDeque::new(),
            hours: VecDeque::new(),
            seen: began.spread.clone(),
            open: Open {
                start: now,
                began,
                spread: Spread::default(),
            },
        }
    }

    /// Takes what came since the last look, and closes the minute where it is
    /// over. What came during minutes that nobody looked counts for the first.
    pub fn advance(&mut self, now: Timestamp, look: Look) {
        self.open.spread.add(&look.spread.since(&self.seen));
        self.seen = look.spread.clone();
        if minute_of(now) <= minute_of(self.open.start) {
            return;
        }
        let end = Timestamp::from_unix_millis((minute_of(self.open.start) + 1) * MINUTE_MILLIS);
        self.close(end, &look);
        // Minutes that nobody looked at (the machine slept) were without events.
        let first = minute_of(end).max(minute_of(now).saturating_sub(MINUTES_MAX as u64));
        for minute in first..minute_of(now) {
            let start = Timestamp::from_unix_millis(minute * MINUTE_MILLIS);
            self.open.start = start;
            self.close(start.plus(Duration::from_millis(MINUTE_MILLIS)), &look);
        }
        self.open.start = Timestamp::from_unix_millis(minute_of(now) * MINUTE_MILLIS);
    }

    /// The latencies were reset to zero: what comes is counted from there.
    pub fn latencies_were_reset(&mut self) {
        self.seen = Spread::default();
    }

    /// The minutes that began within `window` before `now`, oldest first, the
    /// one under way last. `look` is what was last looked at.
    #[must_use]
    pub fn minutes(&self, now: Timestamp, window: Duration, look: &Look) -> Vec<Period> {
        let from = since(now, window);
        let closed = self.minutes.iter().filter(|minute| minute.start >= from);
        closed
            .copied()
            .chain([self.open.period(now, look)])
            .collect()
    }

    /// The hours that `window` before `now` touches, oldest first, and all of
    /// them together.
    #[must_use]
    pub fn hours(&self, now: Timestamp, window: Duration, look: &Look) -> (Vec<Period>, Period) {
        let from = hour_of(since(now, window));
        let open = Hour::of(&self.open, now, look);
        let mut hours: Vec<Hour> = Vec::new();
        let closed = self.hours.iter().map(Hour::copied);
        for hour in closed.filter(|hour| hour_of(hour.start) >= from) {
            hours.push(hour);
        }
        match hours.last_mut() {
            Some(last) if hour_of(last.start) == hour_of(open.start) => last.absorb(&open),
            _ => hours.push(open),
        }
        let mut whole = hours[0].copied();
        for hour in &hours[1..] {
            whole.absorb(hour);
        }
        (hours.iter().map(Hour::period).collect(), whole.period())
    }

    fn close(&mut self, end: Timestamp, look: &Look) {
        let minute = self.open.period(end, look);
        if self.minutes.len() == MINUTES_MAX {
            self.minutes.pop_front();
        }
        self.minutes.push_back(minute);
        let closed = Hour::of(&self.open, end, look);
        match self.hours.back_mut() {
            Some(hour) if hour_of(hour.start) == hour_of(closed.start) => hour.absorb(&closed),
            _ => {
                if self.hours.len() == HOURS_MAX {
                    self.hours.pop_front();
                }
                self.hours.push_back(closed);
            }
        }
        self.open.spread = Spread::default();
        self.open.began = Look {
            spread: Spread::default(),
            ..look.clone()
        };
    }
}

impl Open {
    fn period(&self, end: Timestamp, look: &Look) -> Period {
        Hour::of(self, end, look).period()
    }
}

impl Hour {
    fn of(open: &Open, end: Timestamp, look: &Look) -> Self {
        Self {
            start: open.start,
            length: end.since(open.start),
            counts: look.totals.since(&open.began.totals),
            spread: open.spread.clone(),
            memory_bytes: look.memory_bytes,
            instances: look.instances,
            cpu_seconds: (look.cpu_seconds - open.began.cpu_seconds).max(0.0),
        }
    }

    fn copied(&self) -> Self {
        Self {
            spread: self.spread.clone(),
            ..*self
        }
    }

    fn absorb(&mut self, later: &Self) {
        self.length += later.length;
        self.counts = self.counts.plus(&later.counts);
        self.spread.add(&later.spread);
        self.memory_bytes = later.memory_bytes;
        self.instances = later.instances;
        self.cpu_seconds += later.cpu_seconds;
    }

    fn period(&self) -> Period {
        let seconds = self.length.as_secs_f64();
        Period {
            start: self.start,
            length: self.length,
            counts: self.counts,
            p50: self.spread.percentile(0.50),
            p95: self.spread.percentile(0.95),
            p99: self.spread.percentile(0.99),
            memory_bytes: self.memory_bytes,
            instances: self.instances,
            cpu_percent: if seconds > 0.0 {
                self.cpu_seconds * 100.0 / seconds
            } else {
                0.0
            },
        }
    }
}

fn since(now: Timestamp, window: Duration) -> Timestamp {
    let window = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_unix_millis(now.unix_millis().saturating_sub(window))
}

fn minute_of(moment: Timestamp) -> u64 {
    moment.unix_millis() / MINUTE_MILLIS
}

fn hour_of(moment: Timestamp) -> u64 {
    moment.unix_millis() / HOUR_MILLIS
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Latencies;
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(minute: u64, second: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_400_000 + minute * MINUTE_MILLIS + second * 1_000)
    }

    fn look(requests: u64, latencies: &Latencies) -> Look {
        Look {
            totals: Totals {
                requests,
                ..Totals::default()
            },
            spread: latencies.spread(),
            memory_bytes: 7,
            ..Look::default()
        }
    }

    #[test]
    fn a_minute_holds_what_came_in_it() {
        let latencies = Latencies::default();
        let mut history = History::new(at(0, 30), look(5, &latencies));
        latencies.record(Duration::from_millis(10));
        history.advance(at(0, 40), look(8, &latencies));
        latencies.record(Duration::from_millis(20));
        history.advance(at(1, 2), look(9, &latencies));
        latencies.record(Duration::from_millis(500));
        let now = look(11, &latencies);
        history.advance(at(1, 30), now.clone());

        let minutes = history.minutes(at(1, 30), DAY, &now);
        assert_eq!(minutes.len(), 2);
        assert_eq!(minutes[0].start, at(0, 30));
        assert_eq!(minutes[0].length, Duration::from_secs(30));
        assert_eq!(minutes[0].counts.requests, 4);
        assert!(minutes[0].p99 < Duration::from_millis(21));
        assert_eq!(minutes[1].counts.requests, 2);
        assert!(minutes[1].p50 >= Duration::from_millis(500));

        let (hours, whole) = history.hours(at(1, 30), DAY, &now);
        assert_eq!(hours.len(), 1);
        assert_eq!(hours[0], whole);
        assert_eq!(whole.counts.requests, 6);
        assert_eq!(whole.length, Duration::from_secs(60));
        assert!(whole.p95 >= Duration::from_millis(500));
        assert!(whole.p50 < Duration::from_millis(21));
    }

    #[test]
    fn a_day_is_kept_and_no_more() {
        let latencies = Latencies::default();
        let mut history = History::new(at(0, 0), look(0, &latencies));
        for minute in 1..3_000 {
            history.advance(at(minute, 1), look(minute, &latencies));
        }
        let last = look(3_000, &latencies);
        let now = at(2_999, 59);
        history.advance(now, last.clone());
        assert_eq!(history.minutes.len(), MINUTES_MAX);
        assert_eq!(history.hours.len(), HOURS_MAX);
        let hour = history.minutes(now, Duration::from_secs(3_600), &last);
        assert_eq!(hour.len(), 61 - 1);
        assert!(hour.iter().all(|minute| minute.counts.requests == 1));
        assert!(history.hours(now, DAY, &last).0.len() <= HOURS_MAX);
    }

    #[test]
    fn minutes_nobody_looked_at_are_there_and_empty() {
        let latencies = Latencies::default();
        let mut history = History::new(at(0, 0), look(0, &latencies));
        let now = look(4, &latencies);
        history.advance(at(5, 0), now.clone());
        let minutes = history.minutes(at(5, 0), DAY, &now);
        let counts: Vec<u64> = minutes.iter().map(|one| one.counts.requests).collect();
        assert_eq!(counts, [4, 0, 0, 0, 0, 0]);
        // A machine that slept for a year has not a year of them.
        history.advance(at(600_000, 0), now);
        assert_eq!(history.minutes.len(), MINUTES_MAX);
    }

    #[test]
    fn a_reset_of_the_latencies_loses_none_that_came_before_or_after() {
        let latencies = Latencies::default();
        let mut history = History::new(at(0, 0), look(0, &latencies));
        latencies.record(Duration::from_millis(1));
        history.advance(at(0, 1), look(1, &latencies));
        latencies.reset();
        history.latencies_were_reset();
        latencies.record(Duration::from_millis(1));
        let now = look(2, &latencies);
        history.advance(at(0, 2), now.clone());
        assert_eq!(history.open.spread.count(), 2);
    }
}
