//! Stored responses for tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::clock::Timestamp;
use crate::message::samples::fields;
use crate::semantics::freshness::{Freshness, LifetimeSource};
use crate::semantics::stored::{LogPosition, Position, StoredHead, StoredResponse, Target};
use crate::semantics::validation::Validators;
use crate::semantics::vary::{SecondaryKey, Vary, VaryNames};

/// A fresh response of `/users/7` without `Vary`.
pub(crate) fn response(body: impl Into<Bytes>) -> StoredResponse {
    varying(body, "", &HeaderMap::new())
}

/// A fresh response of `/users/7` that varies, as `request` selects it.
pub(crate) fn varying(body: impl Into<Bytes>, vary: &str, request: &HeaderMap) -> StoredResponse {
    let mut fields = fields(&[
        ("content-type", "application/json"),
        ("etag", "\"v1\""),
        ("link", "</a>; rel=next"),
        ("link", "</b>; rel=prev"),
    ]);
    if !vary.is_empty() {
        fields.insert("vary", HeaderValue::try_from(vary).unwrap());
    }
    let names = match Vary::of(&fields) {
        Vary::Names(names) => names,
        Vary::Any => VaryNames::default(),
    };
    let secondary: SecondaryKey = names.select(request);
    StoredResponse {
        head: StoredHead {
            status: StatusCode::OK,
            validators: Validators::of(&fields, Timestamp::from_unix_millis(1_150)),
            fields,
            target: Target {
                host: "shop.example".into(),
                path: "/users/7".into(),
                query: "page=2".into(),
            },
            route: Arc::from("users"),
            vary: names,
            secondary,
            language_keys: Box::default(),
            request_time: Timestamp::from_unix_millis(1_000),
            response_time: Timestamp::from_unix_millis(1_150),
            freshness: Freshness {
                lifetime: Duration::from_secs(60),
                source: LifetimeSource::Origin,
                initial_age: Duration::from_millis(150),
                stale_while_revalidate: Duration::from_secs(30),
                stale_if_error: Duration::ZERO,
                always_validate: false,
                refuses_max_stale: false,
                is_immutable: false,
            },
            tags: ["user-7".into(), "users".into()].into(),
            position: Position {
                local: 41,
                log: LogPosition {
                    incarnation: u128::MAX - 1,
                    millis: 5,
                    sequence: 6,
                },
            },
            fetch_cost: Duration::from_millis(149),
        },
        body: body.into(),
    }
}
