//! What is stored and what is not, claim by claim.

use super::*;
use crate::message::samples::fields;
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

#[test]
fn an_ignored_cookie_is_not_replayed() {
    let policy = Policy {
        ignore: super::super::policy::IgnoredFields {
            set_cookie: true,
            ..Default::default()
        },
        ..with_ttl()
    };
    let cookie = [("set-cookie", "sid=1"), ("x-kept", "1")];
    let stored = judged(200, &[], &cookie, &policy, &KeySpec::default()).expect("stored");
    assert!(!stored.fields.contains_key(SET_COOKIE));
    assert!(stored.fields.contains_key("x-kept"));
}

#[test]
fn a_withheld_field_is_left_out_and_the_rest_stored() {
    let lines = [
        ("cache-control", "max-age=9, private=\"Set-Cookie\""),
        ("set-cookie", "sid=1"),
    ];
    let stored = judged(200, &[], &lines, &with_ttl(), &KeySpec::default()).expect("stored");
    assert!(!stored.fields.contains_key(SET_COOKIE));
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
fn a_failure_is_shared_where_its_fields_speak_of_nobody_rfc9111_3_5_5_2_2() {
    let is_shared = |request: Lines<'_>, response: Lines<'_>| {
        let now = Timestamp::from_unix_millis(1_000_000);
        let exchange = Exchange {
            host: "h",
            request: &fields(request),
            status: StatusCode::INTERNAL_SERVER_ERROR,
            response: &fields(response),
            request_time: now,
            response_time: now,
        };
        judge_failure(&exchange, &Policy::default(), &KeySpec::default()).is_some()
    };
    assert!(is_shared(&[], &[]));
    assert!(is_shared(&[("cookie", "a=1")], &[("vary", "cookie")]));
    for response in [
        ("cache-control", "private"),
        ("cache-control", "no-store"),
        ("cache-control", "no-cache"),
        ("set-cookie", "a=1"),
        ("vary", "*"),
        ("content-type", "text/event-stream"),
    ] {
        assert!(!is_shared(&[], &[response]), "{response:?}");
    }
    assert!(!is_shared(&[("authorization", "Bearer x")], &[]));
    assert!(!is_shared(&[("cache-control", "no-store")], &[]));
    assert!(!is_shared(&[("cookie", "a=1")], &[]));
}
