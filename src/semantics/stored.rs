//! A stored response and what was computed when it was stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::freshness::{Freshness, LifetimeSource};
use super::validation::Validators;
use super::vary::{SecondaryKey, VaryNames};
use crate::clock::Timestamp;

/// A place in the invalidation log: how far an instance had read it.
///
/// Positions of one `incarnation` are ordered by `(millis, sequence)`, the two
/// halves of a Redis stream id. Positions of different incarnations are not
/// comparable: a record of another incarnation is a miss.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LogPosition {
    /// Which log this is; a flushed or replaced log has another one.
    pub incarnation: u128,
    /// First half of the stream id.
    pub millis: u64,
    /// Second half of the stream id.
    pub sequence: u64,
}

impl std::fmt::Display for LogPosition {
    /// As Redis writes it: `millis-sequence`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}-{}", self.millis, self.sequence)
    }
}

/// How far invalidations were known when the fetch of a response *began*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Bans applied by this instance, counted from its start.
    pub local: u64,
    /// How far this instance had read the shared log.
    pub log: LogPosition,
}

/// The target URI of a stored response: what bans look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Host and port as the client named them, lower case; may be empty.
    pub host: Box<str>,
    /// The normalised path.
    pub path: Box<str>,
    /// The query as it stands in the key (sorted, filtered), without `?`.
    pub query: Box<str>,
}

/// What bans look at of a stored response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanSubject<'a> {
    /// The name of the route it was stored under.
    pub route: &'a str,
    /// [`Target::host`].
    pub host: &'a str,
    /// [`Target::path`].
    pub path: &'a str,
    /// [`Target::query`].
    pub query: &'a str,
    /// Names under which it can be invalidated together with others.
    pub tags: SmallVec<[&'a str; 4]>,
}

impl<'a> BanSubject<'a> {
    /// What is going to be stored for a target, before its tags are known.
    #[must_use]
    pub fn of_target(route: &'a str, target: &'a Target) -> Self {
        Self {
            route,
            host: &target.host,
            path: &target.path,
            query: &target.query,
            tags: SmallVec::new(),
        }
    }
}

/// Everything about a stored response but its body.
#[derive(Clone, Debug)]
pub struct StoredHead {
    /// The status code.
    pub status: StatusCode,
    /// End-to-end fields, as they are to be replayed: without hop-by-hop
    /// fields, `Age`, ignored and field-qualified `private`/`no-cache` fields.
    pub fields: HeaderMap,
    /// What it answers.
    pub target: Target,
    /// The name of the route it was stored under.
    pub route: Arc<str>,
    /// The request fields its `Vary` names; empty where it has none.
    pub vary: VaryNames,
    /// The values of those fields in the request it was stored for.
    pub secondary: SecondaryKey,
    /// Under which further keys requests find it that like its language best
    /// (see [`VaryNames::select_by_first_choice`]); empty where none do.
    pub language_keys: Box<[SecondaryKey]>,
    /// When its request was sent (RFC 9111 §4.2.3 `request_time`).
    pub request_time: Timestamp,
    /// When its head arrived, or when it was last validated.
    pub response_time: Timestamp,
    /// How long it is fresh and how far past that it may be reused.
    pub freshness: Freshness,
    /// `ETag` and `Last-Modified`, parsed.
    pub validators: Validators,
    /// Names under which it can be invalidated together with others.
    pub tags: Box<[Box<str>]>,
    /// How far invalidations were known when its fetch began.
    pub position: Position,
    /// What fetching it cost: from request sent to body complete.
    pub fetch_cost: Duration,
}

/// A stored response: shared, never changed.
#[derive(Clone, Debug)]
pub struct StoredResponse {
    /// Status, fields and what was computed from them.
    pub head: StoredHead,
    /// The whole content.
    pub body: Bytes,
}

impl StoredResponse {
    /// The same on a clock that is behind by so much: for other instances,
    /// which know nothing of this one's [lead](crate::clock::Clock::lead).
    #[must_use]
    pub fn earlier_by(self: &Arc<Self>, lead: Duration) -> Arc<Self> {
        self.on_another_clock(lead, |time| time.minus(lead))
    }

    /// One that another instance stored, as this instance's clock, ahead by so
    /// much, has it `now`. It has been stored for `stored_for` at least: where
    /// the other's clock is ahead of ours it would seem younger, or still to
    /// come, each time it is read, and would outlive its lifetime.
    #[must_use]
    pub fn told_by_another(
        self: &Arc<Self>,
        lead: Duration,
        now: Timestamp,
        stored_for: Duration,
    ) -> Arc<Self> {
        let ours = self.on_another_clock(lead, |time| time.plus(lead));
        ours.earlier_by(ours.head.response_time.since(now.minus(stored_for)))
    }

    fn on_another_clock(
        self: &Arc<Self>,
        lead: Duration,
        read: impl Fn(Timestamp) -> Timestamp,
    ) -> Arc<Self> {
        if lead.is_zero() {
            return Arc::clone(self);
        }
        let mut head = self.head.clone();
        head.request_time = read(head.request_time);
        head.response_time = read(head.response_time);
        let body = self.body.clone();
        Arc::new(Self { head, body })
    }
}

impl StoredHead {
    /// What bans look at.
    #[must_use]
    pub fn ban_subject(&self) -> BanSubject<'_> {
        BanSubject {
            tags: self.tags.iter().map(|tag| &**tag).collect(),
            ..BanSubject::of_target(&self.route, &self.target)
        }
    }

    /// Current age (RFC 9111 §4.2.3).
    #[must_use]
    pub fn current_age(&self, now: Timestamp) -> Duration {
        self.freshness.current_age(self.response_time, now)
    }

    /// How long it was here, or has been since it was last validated.
    #[must_use]
    pub fn resident_time(&self, now: Timestamp) -> Duration {
        now.since(self.response_time)
    }

    /// How long it is worth keeping after it arrived or was validated: as long
    /// as it can be reused, and some more where it can be validated.
    #[must_use]
    pub fn kept_for(&self) -> Duration {
        let to_validate = if self.validators.any() {
            VALIDATABLE_FOR
        } else {
            Duration::ZERO
        };
        self.freshness.usable_for() + to_validate
    }

    /// Whether it is not worth keeping any more.
    #[must_use]
    pub fn is_spent(&self, now: Timestamp) -> bool {
        self.resident_time(now) >= self.kept_for()
    }

    /// What is known of a response that is still being fetched: no more than
    /// invalidations look at, its tags excepted.
    #[must_use]
    pub fn expected(route: &Arc<str>, target: &Target, began: LogPosition) -> Self {
        Self {
            status: StatusCode::OK,
            fields: HeaderMap::new(),
            target: target.clone(),
            route: Arc::clone(route),
            vary: VaryNames::default(),
            secondary: SecondaryKey::default(),
            language_keys: Box::default(),
            request_time: Timestamp::default(),
            response_time: Timestamp::default(),
            freshness: Freshness {
                lifetime: Duration::ZERO,
                source: LifetimeSource::Origin,
                initial_age: Duration::ZERO,
                stale_while_revalidate: Duration::ZERO,
                stale_if_error: Duration::ZERO,
                always_validate: false,
                refuses_max_stale: false,
                is_immutable: false,
            },
            validators: Validators::default(),
            tags: Box::default(),
            position: Position {
                local: 0,
                log: began,
            },
            fetch_cost: Duration::ZERO,
        }
    }
}

/// A stale response with a validator is worth keeping so long: a `304` is
/// cheaper than a body.
pub const VALIDATABLE_FOR: Duration = Duration::from_secs(600);

/// Stored responses for tests of the layers above.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A response of that path with a body of so many bytes, fresh for a minute.
    pub(crate) fn response(path: &str, body_bytes: usize) -> StoredResponse {
        let head = StoredHead {
            status: StatusCode::OK,
            fields: HeaderMap::new(),
            target: Target {
                host: "h".into(),
                path: path.into(),
                query: "".into(),
            },
            route: "r".into(),
            vary: VaryNames::default(),
            secondary: SecondaryKey::default(),
            language_keys: Box::default(),
            request_time: Timestamp::from_unix_millis(1_000),
            response_time: Timestamp::from_unix_millis(1_000),
            freshness: Freshness {
                lifetime: Duration::from_secs(60),
                source: LifetimeSource::Origin,
                initial_age: Duration::ZERO,
                stale_while_revalidate: Duration::ZERO,
                stale_if_error: Duration::ZERO,
                always_validate: false,
                refuses_max_stale: false,
                is_immutable: false,
            },
            validators: Validators::default(),
            tags: Box::default(),
            position: Position::default(),
            fetch_cost: Duration::ZERO,
        };
        StoredResponse {
            head,
            body: Bytes::from(vec![b'x'; body_bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_read_an_age_that_does_not_depend_on_our_lead() {
        let ours = Arc::new(tests_support::response("/a", 1));
        let lead = Duration::from_millis(400);
        let told = ours.earlier_by(lead);
        let at = |millis| Timestamp::from_unix_millis(millis);
        assert_eq!(
            told.head.current_age(at(1_600)),
            ours.head.current_age(at(2_000))
        );
        let back = told.told_by_another(lead, at(5_000), Duration::ZERO);
        assert_eq!(back.head.response_time, ours.head.response_time);
        let same = ours.told_by_another(Duration::ZERO, at(5_000), Duration::ZERO);
        assert!(Arc::ptr_eq(&ours, &same));
    }

    #[test]
    fn what_a_faster_clock_stored_has_the_age_that_redis_tells() {
        let theirs = Arc::new(tests_support::response("/a", 1));
        let at = |millis| Timestamp::from_unix_millis(millis);
        let read = |now, stored_for| {
            let stored_for = Duration::from_millis(stored_for);
            theirs.told_by_another(Duration::ZERO, at(now), stored_for)
        };
        assert_eq!(read(100, 40).head.response_time, at(60));
        assert_eq!(read(1_000, 40).head.response_time, at(960));
        assert_eq!(
            read(2_000, 40).head.response_time,
            at(1_000),
            "older by its date"
        );
        let read = read(100, 0);
        assert_eq!(read.head.response_time, at(100));
        assert!(read.head.request_time <= at(100));
        let aged = read.head.current_age(at(150));
        assert_eq!(aged, theirs.head.current_age(at(1_050)));
    }
}
