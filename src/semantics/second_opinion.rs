//! `http-cache-semantics` as a second opinion on storability and freshness.
//!
//! Only on inputs where it is right: GET and `200` without `Authorization`,
//! `Set-Cookie`, `Vary`, `Age` and targeted fields; each directive once, in
//! lower case, its number in range; no `must-understand` (it does not know
//! it), no `proxy-revalidate` (it takes that for stale at once), no `no-cache` or `private` with names, no `immutable` (it makes
//! heuristic freshness of it). `Date` is there and now. It clamps nothing and
//! gives a heuristic lifetime of a tenth without a bound, so `Last-Modified`
//! is less than ten days old.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};
use proptest::prelude::*;

use super::freshness::STALENESS_MAX;
use super::key::CacheKey;
use super::policy::{KeySpec, Policy};
use super::storability::{Exchange, Storability, judge};
use crate::clock::Timestamp;
use crate::message::directives::RequestDirectives;
use crate::semantics::reuse::{Circumstances, Reuse, assess};

/// 2026-11-20, a full second: HTTP dates have no finer ones.
const NOW: Timestamp = Timestamp::from_unix_millis(1_795_132_800_000);

fn date(seconds: i64) -> HeaderValue {
    let millis = NOW.unix_millis().saturating_add_signed(seconds * 1_000);
    let moment = Timestamp::from_unix_millis(millis).to_system_time();
    HeaderValue::try_from(httpdate::fmt_http_date(moment)).expect("a date")
}

#[derive(Clone, Debug)]
struct Said {
    directives: Vec<String>,
    expires: Option<i64>,
    modified: Option<i64>,
}

impl Said {
    fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        fields.insert("date", date(0));
        if !self.directives.is_empty() {
            let line = self.directives.join(", ");
            let line = HeaderValue::try_from(line).expect("a value");
            fields.insert("cache-control", line);
        }
        if let Some(expires) = self.expires {
            fields.insert("expires", date(expires));
        }
        if let Some(modified) = self.modified {
            fields.insert("last-modified", date(-modified));
        }
        fields
    }
}

fn said() -> impl Strategy<Value = Said> {
    let numbered = |name: &'static str| {
        prop::option::of((0_u32..100_000).prop_map(move |n| format!("{name}={n}")))
    };
    let plain = |name: &'static str| prop::option::weighted(0.2, Just(name.to_owned()));
    let directives = (
        numbered("max-age"),
        numbered("s-maxage"),
        plain("no-store"),
        plain("private"),
        plain("public"),
        plain("must-revalidate"),
    )
        .prop_map(|(a, b, c, d, e, f)| [a, b, c, d, e, f].into_iter().flatten().collect());
    let expires = prop::option::of(-1_000_i64..100_000);
    let modified = prop::option::of(0_i64..860_000);
    (directives, expires, modified).prop_map(|(directives, expires, modified)| Said {
        directives,
        expires,
        modified,
    })
}

proptest! {
    #[test]
    fn on_plain_responses_both_opinions_agree(said in said(), later in 0_u64..120_000) {
        let fields = said.fields();
        let request = HeaderMap::new();
        let exchange = Exchange {
            host: "h",
            request: &request,
            status: StatusCode::OK,
            response: &fields,
            request_time: NOW,
            response_time: NOW,
        };
        let ours = judge(&exchange, &Policy::default(), &KeySpec::default());

        let asked = Request::get("http://h/").body(()).expect("a request");
        let mut answered = Response::new(());
        *answered.headers_mut() = fields.clone();
        let options = CacheOptions {
            shared: true,
            immutable_min_time_to_live: Duration::ZERO,
            ..CacheOptions::default()
        };
        let received: SystemTime = NOW.to_system_time();
        let theirs = CachePolicy::new_options(&asked, &answered, received, options);

        match ours {
            Storability::Store(storable) => {
                prop_assert!(theirs.is_storable());
                let at = NOW.plus(Duration::from_secs(later));
                let age = storable.freshness.current_age(NOW, at);
                let request = RequestDirectives::default();
                let is_fresh = assess(&storable.freshness, age, &request, Circumstances::default())
                    == Reuse::Fresh;
                let theirs = theirs.before_request(&asked, at.to_system_time());
                let is_fresh_theirs = matches!(theirs, http_cache_semantics::BeforeRequest::Fresh(_));
                prop_assert_eq!(is_fresh, is_fresh_theirs);
            }
            // We refuse more: what can never be reused is not worth storing.
            Storability::Refuse(_) => {
                let is_of_use = theirs.is_storable()
                    && (!theirs.is_stale(received) || said.modified.is_some());
                prop_assert!(!is_of_use);
            }
        }
    }

    #[test]
    fn age_never_decreases_while_time_goes_on(
        said in said(),
        age in "[0-9a-z,; -]{0,12}",
        early in 0_u64..1_000_000,
        later in 0_u64..1_000_000,
    ) {
        let mut fields = said.fields();
        fields.insert("age", HeaderValue::try_from(age).expect("a value"));
        let request = HeaderMap::new();
        let exchange = Exchange {
            host: "h",
            request: &request,
            status: StatusCode::OK,
            response: &fields,
            request_time: NOW,
            response_time: NOW,
        };
        if let Storability::Store(storable) = judge(&exchange, &Policy::default(), &KeySpec::default()) {
            let at = |seconds| NOW.plus(Duration::from_secs(seconds));
            let first = storable.freshness.current_age(NOW, at(early));
            let second = storable.freshness.current_age(NOW, at(early + later));
            prop_assert!(first <= second);
            prop_assert!(storable.freshness.stale_if_error <= STALENESS_MAX);
        }
    }

    #[test]
    fn a_part_has_a_key_of_its_own(bytes: [u8; 32]) {
        let key = CacheKey(bytes);
        prop_assert_ne!(key, key.of_part());
        prop_assert_eq!(key, key.of_part().of_part());
    }
}
