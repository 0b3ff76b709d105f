//! What is stored and what is not, claim by claim.

use super::*;
use crate::message::samples::fields;
use http::header::{ACCEPT, ACCEPT_LANGUAGE, ORIGIN};
use std::time::Duration;

type Lines<'a> = &'a [(&'static str, &'static str)];

fn judged(
    status: u16,
    request: Lines<'_>,
    response: Lines<'_>,
    policy: &Policy,
    spec: &KeySpec,
) -> Result<Storable, Refusal> {
    let now = Timestamp::from_unix_millis(1_000_000);
    let exchange = Exchange {
        host: "h",
        request: &fields(request),
        status: StatusCode::from_u16(status).expect("a status"),
        response: &fields(response),
        request_time: now,
        response_time: now,
    };
    match judge(&exchange, policy, spec) {
        Storability::Store(storable) => Ok(*storable),
        Storability::Refuse(refusal) => Err(refusal),
    }
}

fn with_ttl() -> Policy {
    Policy {
        ttl: Some(Duration::from_secs(60)),
        ..Policy::default()
    }
}

fn refusal(status: u16, request: Lines<'_>, response: Lines<'_>) -> Option<Refusal> {
    judged(status, request, response, &with_ttl(), &KeySpec::default()).err()
}

#[test]
fn what_belongs_to_one_user_is_not_stored() {
    for (response, expected) in [
        (("cache-control", "no-store"), Refusal::NoStore),
        (("cache-control", "Private, max-age=9"), Refusal::Private),
        (("set-cookie", "sid=1"), Refusal::SetCookie),
        (("vary", "*"), Refusal::VaryAny),
        (
            ("content-type", "Text/Event-Stream;x"),
            Refusal::EventStream,
        ),
    ] {
        assert_eq!(refusal(200, &[], &[response]), Some(expected));
    }
}

#[test]
fn an_answer_to_credentials_is_stored_only_where_it_says_so() {
    let credentials = [("authorization", "Bearer x")];
    let closed = [("cache-control", "max-age=9")];
    assert_eq!(
        refusal(200, &credentials, &closed),
        Some(Refusal::Authorization)
    );
    for open in ["public", "s-maxage=9", "max-age=9, must-revalidate"] {
        assert_eq!(refusal(200, &credentials, &[("cache-control", open)]), None);
    }
    let keyed = KeySpec {
        headers: vec![AUTHORIZATION],
        ..KeySpec::default()
    };
    assert!(judged(200, &credentials, &closed, &with_ttl(), &keyed).is_ok());
}

fn with_cookies(set_cookie: StoreSetCookie) -> Policy {
    Policy {
        set_cookie,
        ..with_ttl()
    }
}

#[test]
fn a_response_that_sets_a_cookie_is_for_its_client_alone_by_default() {
    for cache_control in [
        "public, max-age=9",
        "s-maxage=9",
        "private=\"Set-Cookie\", max-age=9",
    ] {
        let lines = [("cache-control", cache_control), ("set-cookie", "sid=1")];
        assert_eq!(
            refusal(200, &[], &lines),
            Some(Refusal::SetCookie),
            "{cache_control}"
        );
    }
    assert_eq!(
        refusal(200, &[], &[("set-cookie2", "sid=1")]),
        Some(Refusal::SetCookie)
    );
}

#[test]
fn a_stripped_cookie_is_not_replayed() {
    let policy = with_cookies(StoreSetCookie::Strip);
    let cookie = [("set-cookie", "sid=1"), ("x-kept", "1")];
    let stored = judged(200, &[], &cookie, &policy, &KeySpec::default()).expect("stored");
    assert!(!stored.fields.contains_key(SET_COOKIE));
    assert!(stored.fields.contains_key("x-kept"));
}

#[test]
fn an_origin_may_share_a_cookie_where_the_route_lets_it_rfc9111_7_3() {
    let policy = with_cookies(StoreSetCookie::Origin);
    let fresh = [("cache-control", "max-age=9"), ("set-cookie", "lang=de")];
    let stored = judged(200, &[], &fresh, &policy, &KeySpec::default()).expect("stored");
    assert!(stored.fields.contains_key(SET_COOKIE));
    let unsaid = [("set-cookie", "lang=de")];
    let judged = judged(200, &[], &unsaid, &policy, &KeySpec::default());
    assert_eq!(judged.err(), Some(Refusal::SetCookie));
}

#[test]
fn what_is_garbled_permits_nothing_to_credentials() {
    let credentials = [("authorization", "Bearer x")];
    for line in ["public; max-age=9", "s-maxage=9; x"] {
        let refused = refusal(200, &credentials, &[("cache-control", line)]);
        assert_eq!(refused, Some(Refusal::Authorization), "{line}");
    }
}

#[test]
fn a_withheld_field_is_left_out_and_the_rest_stored() {
    let lines = [
        ("cache-control", "max-age=9, private=\"X-User\""),
        ("x-user", "ada"),
    ];
    let stored = judged(200, &[], &lines, &with_ttl(), &KeySpec::default()).expect("stored");
    assert!(!stored.fields.contains_key("x-user"));
}

#[test]
fn errors_are_stored_only_where_route_and_origin_agree() {
    let fresh = [("cache-control", "max-age=9")];
    assert_eq!(refusal(404, &[], &fresh), Some(Refusal::Status));
    let origin = Policy {
        errors: StoreErrors::Origin,
        ..with_ttl()
    };
    assert!(judged(404, &[], &fresh, &origin, &KeySpec::default()).is_ok());
    assert_eq!(
        judged(404, &[], &[], &origin, &KeySpec::default()).err(),
        Some(Refusal::Status)
    );
}

#[test]
fn must_understand_decides_beside_no_store_rfc9111_5_2_2_3() {
    let policy = Policy {
        errors: StoreErrors::Origin,
        ..Policy::default()
    };
    let lines = [("cache-control", "max-age=9, no-store, must-understand")];
    let spec = KeySpec::default();
    assert!(judged(200, &[], &lines, &policy, &spec).is_ok());
    assert!(judged(404, &[], &lines, &policy, &spec).is_ok());
    assert_eq!(
        judged(599, &[], &lines, &policy, &spec).err(),
        Some(Refusal::NotUnderstood)
    );
}

#[test]
fn heuristics_are_for_known_statuses_and_for_public_rfc9111_4_2_2() {
    let policy = Policy {
        errors: StoreErrors::Origin,
        ..Policy::default()
    };
    let modified = ("last-modified", "Thu, 01 Jan 1970 00:00:01 GMT");
    let public = ("cache-control", "public");
    let spec = KeySpec::default();
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        let found = judged(status, &[], &[modified], &policy, &spec);
        assert!(found.is_ok(), "{status}");
    }
    for status in [201, 202, 302, 403, 500, 502, 503, 504, 599] {
        let found = judged(status, &[], &[modified], &policy, &spec).err();
        assert_eq!(found, Some(Refusal::Status), "{status}");
        let marked = judged(status, &[], &[modified, public], &policy, &spec);
        assert!(marked.is_ok(), "{status}");
    }
    // A route with a lifetime of its own guesses nothing about errors.
    let with_ttl = Policy {
        errors: StoreErrors::Origin,
        ..with_ttl()
    };
    let found = judged(404, &[], &[modified], &with_ttl, &spec).err();
    assert_eq!(found, Some(Refusal::Status));
}

#[test]
fn several_parts_in_one_message_are_not_stored_rfc9111_3_3() {
    let fresh = ("cache-control", "max-age=9");
    let part = ("content-range", "bytes 0-4/10");
    assert_eq!(refusal(206, &[], &[fresh]), Some(Refusal::Partial));
    assert_eq!(refusal(206, &[], &[fresh, part]), None);
    // On any other response the field means nothing (RFC 9110 §14.4).
    assert_eq!(refusal(200, &[], &[fresh, part]), None);
}

#[test]
fn what_can_be_neither_reused_nor_validated_is_not_stored() {
    let policy = Policy::default();
    let spec = KeySpec::default();
    assert_eq!(
        judged(200, &[], &[], &policy, &spec).err(),
        Some(Refusal::NoFreshness)
    );
    assert!(judged(200, &[], &[("etag", "\"1\"")], &policy, &spec).is_ok());
    assert_eq!(
        refusal(200, &[], &[("cache-control", "no-cache")]),
        Some(Refusal::NoFreshness)
    );
}

#[test]
fn an_error_with_a_lifetime_of_its_own_is_not_the_route_s_to_keep() {
    let policy = Policy {
        ttl_by_status: vec![(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(1))],
        ..with_ttl()
    };
    let spec = KeySpec::default();
    let kept = judged(503, &[], &[], &policy, &spec).expect("the route keeps it");
    assert_eq!(kept.freshness.lifetime, Duration::from_secs(1));
    let stated = [("cache-control", "max-age=3600")];
    assert!(judged(503, &[], &stated, &policy, &spec).is_err());
}

#[test]
fn vary_of_what_the_key_names_selects_nothing_more() {
    let spec = KeySpec {
        headers: vec![ACCEPT],
        cookies: vec!["sid".to_owned()],
        ..KeySpec::default()
    };
    let policy = Policy {
        ignore_vary: vec![ORIGIN],
        ..with_ttl()
    };
    let lines = [("vary", "Accept, Cookie, Origin, Accept-Language")];
    let names = |spec: &KeySpec, policy: &Policy| {
        let storable = judged(200, &[], &lines, policy, spec).expect("it is stored");
        storable.vary.names().to_vec()
    };
    assert_eq!(names(&spec, &policy), [ACCEPT_LANGUAGE]);
    let plain = names(&KeySpec::default(), &with_ttl());
    assert_eq!(plain, [ACCEPT, ACCEPT_LANGUAGE, COOKIE, ORIGIN]);
}
