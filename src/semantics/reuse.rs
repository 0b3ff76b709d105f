//! Whether a stored response may answer a request (RFC 9111 §4).

use std::time::Duration;

use super::freshness::{Freshness, STALENESS_MAX};
use crate::message::directives::RequestDirectives;

/// What a stored response is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It answers.
    Fresh,
    /// It answers past its lifetime, while it is validated in the background
    /// (RFC 5861 §3), or because the client accepts it (`max-stale`).
    Stale {
        /// Whether a validation is to be started.
        validate: bool,
    },
    /// The origin is to be asked first.
    Validate(Why),
}

/// Why the origin is asked although a response is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is past its lifetime.
    Stale,
    /// The request insists: `no-cache`, `max-age`, `min-fresh`.
    Request,
    /// The response insists: `no-cache`.
    Response,
    /// The invalidation log has been out of reach for too long.
    Unsynced,
}

/// What is known about a stored response besides its freshness.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances {
    /// A soft ban made it stale.
    pub is_softly_banned: bool,
    /// The log is out of reach, and the response older than what is allowed then.
    pub is_unsynced: bool,
}

/// Judges a stored response of `current_age` for a request.
#[must_use]
pub fn assess(
    freshness: &Freshness,
    current_age: Duration,
    request: &RequestDirectives,
    circumstances: Circumstances,
) -> Reuse {
    if freshness.always_validate {
        return Reuse::Validate(Why::Response);
    }
    if circumstances.is_unsynced {
        return Reuse::Validate(Why::Unsynced);
    }
    let is_fresh = current_age < freshness.lifetime && !circumstances.is_softly_banned;
    let is_too_old = request.max_age.is_some_and(|most| current_age > most)
        && !(freshness.is_immutable && is_fresh);
    if request.no_cache || is_too_old {
        let accepts_stale = !request.no_cache && request.max_stale.is_some();
        if !accepts_stale {
            return Reuse::Validate(Why::Request);
        }
    }
    if is_fresh {
        let left = freshness.lifetime.saturating_sub(current_age);
        return if request.min_fresh.is_some_and(|least| left < least) {
            Reuse::Validate(Why::Request)
        } else {
            Reuse::Fresh
        };
    }
    if request.min_fresh.is_some() {
        return Reuse::Validate(Why::Stale);
    }
    let staleness = current_age.saturating_sub(freshness.lifetime);
    let max_stale = request.max_stale.filter(|_| !freshness.refuses_max_stale);
    if max_stale.is_some_and(|most| staleness <= most.min(STALENESS_MAX)) {
        return Reuse::Stale { validate: false };
    }
    if staleness < freshness.stale_while_revalidate {
        return Reuse::Stale { validate: true };
    }
    Reuse::Validate(Why::Stale)
}

/// Whether it may answer when the origin failed (RFC 5861 §4): past its
/// lifetime for `stale-if-error`, and only where nothing forbids stale
/// responses.
#[must_use]
pub fn may_answer_on_error(
    freshness: &Freshness,
    current_age: Duration,
    request: &RequestDirectives,
) -> bool {
    if freshness.always_validate || request.no_cache {
        return false;
    }
    let asked = request
        .stale_if_error
        .filter(|_| !freshness.refuses_max_stale)
        .unwrap_or_default();
    let grace = freshness.stale_if_error.max(asked).min(STALENESS_MAX);
    current_age < freshness.lifetime + grace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::freshness::LifetimeSource;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn stored() -> Freshness {
        Freshness {
            lifetime: seconds(60),
            source: LifetimeSource::Origin,
            initial_age: Duration::ZERO,
            stale_while_revalidate: seconds(10),
            stale_if_error: seconds(100),
            always_validate: false,
            refuses_max_stale: false,
            is_immutable: false,
        }
    }

    fn at(age: u64, request: &RequestDirectives) -> Reuse {
        assess(&stored(), seconds(age), request, Circumstances::default())
    }

    #[test]
    fn fresh_then_stale_then_validated() {
        let plain = RequestDirectives::default();
        assert_eq!(at(59, &plain), Reuse::Fresh);
        assert_eq!(at(60, &plain), Reuse::Stale { validate: true });
        assert_eq!(at(70, &plain), Reuse::Validate(Why::Stale));
    }

    #[test]
    fn a_request_can_insist() {
        let no_cache = RequestDirectives {
            no_cache: true,
            ..Default::default()
        };
        let young = RequestDirectives {
            max_age: Some(seconds(5)),
            ..Default::default()
        };
        let long = RequestDirectives {
            min_fresh: Some(seconds(30)),
            ..Default::default()
        };
        assert_eq!(at(1, &no_cache), Reuse::Validate(Why::Request));
        assert_eq!(at(5, &young), Reuse::Fresh);
        assert_eq!(at(6, &young), Reuse::Validate(Why::Request));
        assert_eq!(at(31, &long), Reuse::Validate(Why::Request));
    }

    #[test]
    fn a_fresh_immutable_response_is_validated_for_no_cache_alone_rfc8246_2() {
        let immutable = Freshness {
            is_immutable: true,
            ..stored()
        };
        let reload = RequestDirectives {
            max_age: Some(Duration::ZERO),
            ..Default::default()
        };
        let insist = RequestDirectives {
            no_cache: true,
            ..Default::default()
        };
        let at = |age, request| assess(&immutable, seconds(age), request, Circumstances::default());
        assert_eq!(at(59, &reload), Reuse::Fresh);
        assert_eq!(at(60, &reload), Reuse::Validate(Why::Request));
        assert_eq!(at(1, &insist), Reuse::Validate(Why::Request));
    }

    #[test]
    fn where_the_response_refuses_it_no_client_extends_a_grace() {
        let strict = Freshness {
            refuses_max_stale: true,
            ..stored()
        };
        let lenient = RequestDirectives {
            max_stale: Some(Duration::MAX),
            stale_if_error: Some(Duration::MAX),
            ..Default::default()
        };
        let at = |age| assess(&strict, seconds(age), &lenient, Circumstances::default());
        assert_eq!(at(61), Reuse::Stale { validate: true });
        assert_eq!(at(70), Reuse::Validate(Why::Stale));
        assert!(may_answer_on_error(&strict, seconds(159), &lenient));
        assert!(!may_answer_on_error(&strict, seconds(160), &lenient));
    }

    #[test]
    fn a_softly_banned_response_is_stale_however_young() {
        let circumstances = Circumstances {
            is_softly_banned: true,
            ..Default::default()
        };
        let plain = RequestDirectives::default();
        let judged = assess(&stored(), seconds(1), &plain, circumstances);
        assert_eq!(judged, Reuse::Stale { validate: true });
    }

    #[test]
    fn an_error_is_bridged_for_as_long_as_was_said() {
        let plain = RequestDirectives::default();
        assert!(may_answer_on_error(&stored(), seconds(159), &plain));
        assert!(!may_answer_on_error(&stored(), seconds(160), &plain));
    }
}
