//! Every exchange with the origin, whatever it was for: answers for clients,
//! validations, refreshes, and failures that a stored response hid.
//!
//! Counted where the exchange is made, not where a client is answered: a dead
//! origin behind stale responses is seen here and nowhere else.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};

use super::labels::{MethodLabel, StatusIndex};
use super::{RouteTelemetry, Telemetry};
use crate::clock::Timestamp;

/// The status label of an exchange that brought no answer.
pub const NO_ANSWER: &str = "none";
/// A route that answered nobody with a stale response for so long is not said to
/// live on them any more.
const STALE_FOR_MAX: Duration = Duration::from_secs(300);

/// An exchange that is over, or has brought the head of its answer.
#[derive(Clone, Copy, Debug)]
pub struct Exchanged<'a> {
    /// The route it was made for.
    pub route: Option<&'a RouteTelemetry>,
    /// Its method.
    pub method: &'a Method,
    /// When.
    pub at: Timestamp,
    /// The answer's status, and how long it took; `None` where none came, for a
    /// reason on the origin's side.
    pub answer: Option<(StatusCode, Duration)>,
}

/// The exchanges of one route.
#[derive(Debug, Default)]
pub struct Exchanges {
    /// Made with the first exchange: 4 KiB.
    by_status: OnceLock<Box<ByStatus>>,
    unanswered: AtomicU64,
    /// Unix milliseconds of the first failure that no good answer followed; 0:
    /// the last exchange was none.
    failing_since: AtomicU64,
    /// Unix milliseconds of the first stale answer after that; 0: none.
    stale_since: AtomicU64,
    /// Of the last one.
    stale_last: AtomicU64,
    /// How many there were.
    stale_answers: AtomicU64,
}

#[derive(Debug)]
struct ByStatus([AtomicU64; StatusIndex::COUNT]);

/// A route whose origin fails and whose clients are answered with what is stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LivesOnStale {
    /// The route's name.
    pub route: String,
    /// Since when.
    pub since: Timestamp,
    /// How many were answered so.
    pub answers: u64,
}

impl Exchanges {
    fn count(&self, answer: Option<StatusCode>, at: Timestamp) {
        let is_failure = answer.is_none_or(|status| status.is_server_error());
        match answer {
            Some(status) => {
                let by_status = self
                    .by_status
                    .get_or_init(|| Box::new(ByStatus([const { AtomicU64::new(0) }; _])));
                by_status.0[StatusIndex::from(status).0].fetch_add(1, Ordering::Relaxed);
            }
            None => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
            }
        }
        if is_failure {
            let at = at.unix_millis().max(1);
            // Only the first one counts.
            let _ =
                self.failing_since
                    .compare_exchange(0, at, Ordering::Relaxed, Ordering::Relaxed);
        } else if self.failing_since.load(Ordering::Relaxed) != 0 {
            for figure in [&self.failing_since, &self.stale_since, &self.stale_answers] {
                figure.store(0, Ordering::Relaxed);
            }
        }
    }

    /// A client was answered with a stale response.
    pub(super) fn answered_stale(&self, at: Timestamp) {
        if self.failing_since.load(Ordering::Relaxed) == 0 {
            return;
        }
        let at = at.unix_millis().max(1);
        let _ = self
            .stale_since
            .compare_exchange(0, at, Ordering::Relaxed, Ordering::Relaxed);
        self.stale_last.store(at, Ordering::Relaxed);
        self.stale_answers.fetch_add(1, Ordering::Relaxed);
    }

    /// How often each status came, the exchanges without an answer last.
    #[must_use]
    pub fn counts(&self) -> Vec<(String, u64)> {
        let mut counts = Vec::new();
        for (index, count) in self.all() {
            counts.push((index.label(), count));
        }
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        if unanswered > 0 {
            counts.push((NO_ANSWER.to_owned(), unanswered));
        }
        counts
    }

    /// How many there were, and how many of them failed: without an answer, or
    /// answered with 5xx.
    #[must_use]
    pub fn total(&self) -> (u64, u64) {
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        let sum = (unanswered, unanswered);
        self.all().fold(sum, |(total, failed), (status, count)| {
            let of_these = if status.is_error() { count } else { 0 };
            (total + count, failed + of_these)
        })
    }

    fn all(&self) -> impl Iterator<Item = (StatusIndex, u64)> {
        let counts = self.by_status.get().into_iter().flat_map(|all| &all.0);
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        counts
            .enumerate()
            .filter(|(_, count)| *count > 0)
            .map(|(index, count)| (StatusIndex(index), count))
    }

    /// Since when clients are answered with what is stale because the origin
    /// fails, and how many were.
    #[must_use]
    pub fn lives_on_stale(&self, now: Timestamp) -> Option<(Timestamp, u64)> {
        let since = self.stale_since.load(Ordering::Relaxed);
        let last = Timestamp::from_unix_millis(self.stale_last.load(Ordering::Relaxed));
        let is_so = since != 0 && now.since(last) <= STALE_FOR_MAX;
        is_so.then(|| {
            let answers = self.stale_answers.load(Ordering::Relaxed);
            (Timestamp::from_unix_millis(since), answers)
        })
    }
}

impl Telemetry {
    /// Counts an exchange with the origin.
    pub fn exchanged(&self, exchange: &Exchanged<'_>) {
        let route = exchange.route.unwrap_or(&self.unrouted);
        let status = exchange.answer.map(|(status, _)| status);
        route.exchanges().count(status, exchange.at);
        let Some((_, took)) = exchange.answer else {
            return;
        };
        route.upstream().record(took);
        self.upstream.latencies.record(took);
        // Without a route the endpoint is that of the path: it is counted when
        // the client is answered, once for each exchange.
        let method = MethodLabel::from(exchange.method);
        if let Some(endpoint) = route.endpoint(method, &self.endpoints) {
            endpoint.record_upstream(took);
        }
    }

    /// The routes that live on stale responses.
    #[must_use]
    pub fn lives_on_stale(&self) -> Vec<LivesOnStale> {
        let now = self.now();
        let routes = self.routes().into_iter().filter_map(|route| {
            let (since, answers) = route.exchanges().lives_on_stale(now)?;
            Some(LivesOnStale {
                route: route.name().to_owned(),
                since,
                answers,
            })
        });
        routes.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1_000)
    }

    #[test]
    fn failures_behind_stale_answers_are_counted_and_end_with_a_good_answer() {
        let exchanges = Exchanges::default();
        exchanges.count(Some(StatusCode::OK), at(0));
        exchanges.answered_stale(at(1));
        assert_eq!(exchanges.lives_on_stale(at(1)), None, "while refreshed");
        exchanges.count(Some(StatusCode::INTERNAL_SERVER_ERROR), at(2));
        exchanges.count(None, at(3));
        assert_eq!(exchanges.lives_on_stale(at(3)), None, "nobody was answered");
        exchanges.answered_stale(at(4));
        exchanges.answered_stale(at(5));
        assert_eq!(exchanges.lives_on_stale(at(6)), Some((at(4), 2)));
        assert_eq!(exchanges.lives_on_stale(at(306)), None, "long ago");
        exchanges.count(Some(StatusCode::NOT_MODIFIED), at(7));
        assert_eq!(exchanges.lives_on_stale(at(7)), None);
        assert_eq!(exchanges.total(), (4, 2));
        let counts: Vec<(String, u64)> = exchanges.counts();
        let expected = [("200", 1), ("304", 1), ("500", 1), ("none", 1)];
        assert_eq!(counts, expected.map(|(name, n)| (name.to_owned(), n)));
    }
}
