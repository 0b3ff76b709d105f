//! How long a response is fresh and how old it is (RFC 9111 §4.2).

use std::time::Duration;

use http::header::{AGE, DATE, EXPIRES, LAST_MODIFIED};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use super::date::http_date;
use super::policy::Policy;
use crate::clock::Timestamp;
use crate::message::directives::ResponseDirectives;
use crate::message::lines::FieldLines;

/// No lifetime, age or grace is larger than this (RFC 9111 §1.2.2: a value
/// that is too large is read as 2^31 seconds).
pub const SECONDS_MAX: u64 = 1 << 31;

/// A heuristic lifetime is this part of the time since `Last-Modified`…
const HEURISTIC_FRACTION: u32 = 10;
/// … and never longer than this (RFC 9111 §4.2.2).
const HEURISTIC_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Nothing is reused further past its lifetime than this, whatever origin,
/// route and client allow together (RFC 5861 sets no bound).
pub const STALENESS_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A `Date` is given in whole seconds, and servers that make it once a second
/// are late with it by up to another: so much says nothing of an age.
const DATE_LAG_MAX: Duration = Duration::from_secs(2);

/// Everything that reuse needs to know about time, computed at storing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Freshness {
    /// Freshness lifetime (§4.2.1).
    pub lifetime: Duration,
    /// Where the lifetime comes from.
    pub source: LifetimeSource,
    /// Corrected initial age (§4.2.3): how old the response was on arrival.
    pub initial_age: Duration,
    /// Reuse past the lifetime while it is validated in the background.
    pub stale_while_revalidate: Duration,
    /// Reuse past the lifetime when the origin fails.
    pub stale_if_error: Duration,
    /// `no-cache`: never reused without validation.
    pub always_validate: bool,
    /// `must-revalidate`, `proxy-revalidate`, `s-maxage`: what a client would
    /// accept of stale responses does not count.
    pub refuses_max_stale: bool,
    /// `immutable`: while it is fresh, only `no-cache` has it validated
    /// (RFC 8246 §2).
    pub is_immutable: bool,
}

/// Where a freshness lifetime comes from, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LifetimeSource {
    /// `s-maxage`, `max-age` or `Expires`.
    Origin,
    /// The route's `ttl`.
    Route,
    /// A tenth of the time since `Last-Modified` (§4.2.2).
    Heuristic,
    /// Nothing gives it one: stale on arrival.
    None,
}

impl Freshness {
    /// Computes it for a response head that arrived at `response_time`.
    ///
    /// `directives` are those of the response, already emptied where the
    /// route ignores `Cache-Control`.
    #[must_use]
    pub fn of(
        status: StatusCode,
        fields: &HeaderMap,
        directives: &ResponseDirectives,
        policy: &Policy,
        request_time: Timestamp,
        response_time: Timestamp,
    ) -> Self {
        let date = date_field(fields, response_time).unwrap_or(response_time);
        let (lifetime, source) = lifetime(status, fields, directives, policy, date, response_time);
        let is_never_stale =
            directives.must_revalidate || directives.proxy_revalidate || directives.no_cache;
        // `s-maxage` alone forbids stale responses as well (§5.2.2.10); said or
        // configured beside it, they are meant.
        let grace = |own: Option<Duration>, of_route: Duration| {
            let grace = own.unwrap_or(of_route).min(STALENESS_MAX);
            if is_never_stale {
                Duration::ZERO
            } else {
                grace
            }
        };
        let initial_age = match source {
            LifetimeSource::Route => age_field(fields),
            _ => initial_age(fields, date, request_time, response_time),
        };
        Self {
            lifetime,
            source,
            initial_age,
            stale_while_revalidate: grace(
                directives.stale_while_revalidate,
                policy.stale_while_revalidate,
            ),
            stale_if_error: grace(directives.stale_if_error, policy.stale_if_error),
            refuses_max_stale: is_never_stale || directives.s_maxage.is_some(),
            always_validate: directives.no_cache,
            is_immutable: directives.immutable,
        }
    }

    /// Current age (§4.2.3) of a response that arrived at `response_time`.
    #[must_use]
    pub fn current_age(&self, response_time: Timestamp, now: Timestamp) -> Duration {
        self.initial_age + now.since(response_time)
    }

    /// How long after its arrival nothing can reuse it any more: lifetime and
    /// the longer grace, less the age it arrived with.
    #[must_use]
    pub fn usable_for(&self) -> Duration {
        let grace = self.stale_while_revalidate.max(self.stale_if_error);
        (self.lifetime + grace).saturating_sub(self.initial_age)
    }
}

/// Freshness that the origin stated itself, if it did: `s-maxage`, `max-age`,
/// `Expires` (§4.2.1). An `Expires` that cannot be read is in the past.
#[must_use]
pub fn explicit_lifetime(
    fields: &HeaderMap,
    directives: &ResponseDirectives,
    date: Timestamp,
    response_time: Timestamp,
) -> Option<Duration> {
    if let Some(lifetime) = directives.s_maxage.or(directives.max_age) {
        return Some(lifetime);
    }
    if directives.without_expires {
        return None;
    }
    let mut values = fields.get_all(EXPIRES).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return Some(Duration::ZERO);
    }
    let expires = http_date(first.as_bytes(), response_time);
    let lifetime = expires.map_or(Duration::ZERO, |expires| expires.since(date));
    Some(lifetime.min(Duration::from_secs(SECONDS_MAX)))
}

/// The `Date` of a response, where it is there once and can be read.
#[must_use]
pub fn date_field(
    fields: &(impl FieldLines + ?Sized),
    response_time: Timestamp,
) -> Option<Timestamp> {
    let line = fields.lines(&DATE).next()?;
    http_date(line, response_time)
}

fn lifetime(
    status: StatusCode,
    fields: &HeaderMap,
    directives: &ResponseDirectives,
    policy: &Policy,
    date: Timestamp,
    response_time: Timestamp,
) -> (Duration, LifetimeSource) {
    let bounded = |lifetime: Duration| {
        let bounds = policy.ttl_bounds;
        lifetime.max(bounds.min).min(bounds.max)
    };
    if let Some(lifetime) = explicit_lifetime(fields, directives, date, response_time) {
        return (bounded(lifetime), LifetimeSource::Origin);
    }
    if let Some(ttl) = policy.ttl_of(status) {
        return (ttl, LifetimeSource::Route);
    }
    let modified = fields
        .get(LAST_MODIFIED)
        .and_then(|value| http_date(value.as_bytes(), response_time));
    // `public` marks any status as cacheable (§4.2.2, §5.2.2.9).
    let may_guess = is_heuristically_cacheable(status) || directives.public;
    match modified {
        Some(modified) if may_guess => {
            let lifetime = (date.since(modified) / HEURISTIC_FRACTION).min(HEURISTIC_MAX);
            (bounded(lifetime), LifetimeSource::Heuristic)
        }
        _ => (Duration::ZERO, LifetimeSource::None),
    }
}

/// The status codes of RFC 9110 §15.1 that may be stored without explicit freshness.
#[must_use]
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// Corrected initial age (§4.2.3).
fn initial_age(
    fields: &HeaderMap,
    date: Timestamp,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Duration {
    let apparent = response_time.since(date);
    let is_old = apparent >= DATE_LAG_MAX;
    let apparent = if is_old { apparent } else { Duration::ZERO };
    let stated = age_field(fields) + response_time.since(request_time);
    apparent.max(stated)
}

/// The `Age` of a response; zero where it has none or it cannot be read.
/// Of several members the first counts (RFC 9111 §5.1).
fn age_field(fields: &HeaderMap) -> Duration {
    let seconds = fields
        .get(AGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(',').next())
        .map(str::trim)
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(0, |digits| digits.parse::<u64>().unwrap_or(SECONDS_MAX));
    Duration::from_secs(seconds.min(SECONDS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::samples::fields;
    use crate::semantics::policy::LifetimeBounds;

    const NOW: Timestamp = Timestamp::from_unix_millis(784_111_787_000); // 10 s after the example date

    fn freshness(lines: &[(&'static str, &'static str)], policy: &Policy) -> Freshness {
        let fields = fields(lines);
        let directives = ResponseDirectives::of(&fields);
        Freshness::of(StatusCode::OK, &fields, &directives, policy, NOW, NOW)
    }

    #[test]
    fn bounds_hold_for_what_the_origin_states_and_not_for_the_route() {
        let policy = Policy {
            ttl: Some(Duration::from_secs(1)),
            ttl_bounds: LifetimeBounds {
                min: Duration::from_secs(5),
                max: Duration::from_secs(60),
            },
            ..Policy::default()
        };
        for (stated, seconds) in [("max-age=0", 5), ("max-age=30", 30), ("s-maxage=600", 60)] {
            let found = freshness(&[("cache-control", stated)], &policy);
            assert_eq!(found.lifetime, Duration::from_secs(seconds), "{stated}");
        }
        assert_eq!(freshness(&[], &policy).lifetime, Duration::from_secs(1));
        let insisting = freshness(&[("cache-control", "max-age=0, no-cache")], &policy);
        assert!(insisting.always_validate);
    }

    #[test]
    fn a_status_may_have_a_lifetime_of_its_own() {
        let policy = Policy {
            ttl: Some(Duration::from_secs(60)),
            ttl_by_status: vec![
                (StatusCode::NOT_FOUND, Duration::from_secs(10)),
                (StatusCode::ACCEPTED, Duration::from_secs(2)),
            ],
            ..Policy::default()
        };
        let of = |status| {
            let (fields, directives) = (HeaderMap::new(), ResponseDirectives::default());
            Freshness::of(status, &fields, &directives, &policy, NOW, NOW).lifetime
        };
        assert_eq!(of(StatusCode::OK), Duration::from_secs(60));
        assert_eq!(of(StatusCode::ACCEPTED), Duration::from_secs(2));
        assert_eq!(of(StatusCode::NOT_FOUND), Duration::from_secs(10));
        assert_eq!(of(StatusCode::BAD_GATEWAY), Duration::ZERO);
    }

    #[test]
    fn the_origin_outranks_the_route_and_s_maxage_outranks_max_age() {
        let policy = Policy {
            ttl: Some(Duration::from_secs(60)),
            ..Policy::default()
        };
        let stated = freshness(&[("cache-control", "max-age=5, s-maxage=7")], &policy);
        assert_eq!(stated.lifetime, Duration::from_secs(7));
        let expires = freshness(
            &[
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ("expires", "Sun, 06 Nov 1994 08:49:49 GMT"),
            ],
            &policy,
        );
        assert_eq!(expires.lifetime, Duration::from_secs(12));
        let broken = freshness(&[("expires", "0")], &policy);
        assert_eq!(broken.lifetime, Duration::ZERO);
        let silent = freshness(&[], &policy);
        assert_eq!(
            (silent.lifetime, silent.source),
            (Duration::from_secs(60), LifetimeSource::Route)
        );
    }

    #[test]
    fn no_lifetime_exceeds_the_standards_bound_rfc9111_1_2_2() {
        let bound = Duration::from_secs(SECONDS_MAX);
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let expires = ("expires", "Fri, 31 Dec 9999 23:59:59 GMT");
        let of = |lines: &[_]| freshness(lines, &Policy::default()).lifetime;
        assert_eq!(of(&[date, expires]), bound);
        assert_eq!(
            of(&[("cache-control", "max-age=99999999999999999999")]),
            bound
        );
    }

    #[test]
    fn graces_hold_for_s_maxage_and_for_nothing_that_must_be_revalidated() {
        let policy = Policy {
            stale_if_error: Duration::from_secs(30),
            ..Policy::default()
        };
        let graces = |line| {
            let found = freshness(&[("cache-control", line)], &policy);
            let seconds = |grace: Duration| grace.as_secs();
            let own = seconds(found.stale_while_revalidate);
            (own, seconds(found.stale_if_error), found.refuses_max_stale)
        };
        let own = "s-maxage=1, stale-while-revalidate=60";
        assert_eq!(graces(own), (60, 30, true));
        assert_eq!(graces("max-age=1"), (0, 30, false));
        for forbidding in ["must-revalidate", "proxy-revalidate", "no-cache"] {
            let line = format!("{own}, {forbidding}").leak();
            assert_eq!(graces(line), (0, 0, true), "{forbidding}");
        }
    }

    #[test]
    fn a_date_that_lags_ages_nothing_and_none_ages_what_a_route_keeps() {
        let lag = |seconds: u64, policy: &Policy| {
            let date = NOW.unix_millis() / 1_000 - seconds;
            let date = std::time::UNIX_EPOCH + Duration::from_secs(date);
            let date = httpdate::fmt_http_date(date).leak();
            let found = freshness(&[("date", date), ("age", "1")], policy);
            found.initial_age.as_secs()
        };
        assert_eq!(lag(1, &Policy::default()), 1);
        assert_eq!(lag(2, &Policy::default()), 2);
        let kept = Policy {
            ttl: Some(Duration::from_secs(9)),
            ..Policy::default()
        };
        assert_eq!(lag(8, &kept), 1);
    }

    #[test]
    fn a_tenth_of_its_age_is_the_heuristic() {
        let heuristic = freshness(
            &[
                ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                ("last-modified", "Sun, 06 Nov 1994 08:32:57 GMT"),
            ],
            &Policy::default(),
        );
        assert_eq!(heuristic.lifetime, Duration::from_secs(100));
        assert_eq!(heuristic.source, LifetimeSource::Heuristic);
    }

    #[test]
    fn age_starts_at_the_larger_of_date_and_age() {
        let by_date = freshness(
            &[("date", "Sun, 06 Nov 1994 08:49:37 GMT")],
            &Policy::default(),
        );
        assert_eq!(by_date.initial_age, Duration::from_secs(10));
        let by_age = freshness(&[("age", "12, 99")], &Policy::default());
        assert_eq!(by_age.initial_age, Duration::from_secs(12));
        let huge = freshness(&[("age", "99999999999999999999")], &Policy::default());
        assert_eq!(huge.initial_age, Duration::from_secs(SECONDS_MAX));
        let broken = freshness(&[("age", "-3")], &Policy::default());
        assert_eq!(broken.initial_age, Duration::ZERO);
    }
}
