//! What every answer tells of itself: in its fields, and to telemetry.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::AGE;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use http_body::Body as _;

use crate::clock::Timestamp;
use crate::message::Body;
use crate::message::client::ClientAddress;
use crate::message::digits::{push_number, push_signed, push_thousandths};
use crate::message::fields::{PSEUDONYM, append_member};
use crate::message::targeted::PANNIER_CACHE_CONTROL;
use crate::route::Route;
use crate::semantics::outcome::CacheResult;
use crate::telemetry::spans::SpanIds;
use crate::telemetry::{ResponseServed, Telemetry};

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const X_CACHE_AGE: HeaderName = HeaderName::from_static("x-cache-age");
const X_PROCESS_TIME: HeaderName = HeaderName::from_static("x-process-time");
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How a request was answered, for the one who asked and for the figures.
#[derive(Debug)]
pub struct Told {
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) route: Option<Arc<Route>>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) started: Instant,
    /// The same moment, on the wall clock.
    pub(super) now: Timestamp,
    pub(super) client: ClientAddress,
    pub(super) span: Option<SpanIds>,
    pub(super) cache: CacheResult,
    pub(super) status: CacheStatus,
    /// Current age and time in the store, where the store answered.
    pub(super) ages: Option<Ages>,
    /// From request sent to the origin's head.
    pub(super) upstream: Option<Duration>,
    /// What fetching had cost what the store answered without the origin.
    pub(super) saved: Option<Duration>,
}

/// How old an answer from the store is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    /// Current age (RFC 9111 §4.2.3), for `Age`.
    pub(super) current: Duration,
    /// Since it was generated or last validated, for `X-Cache-Age`.
    pub(super) since_validated: Duration,
}

/// `Cache-Status` (RFC 9211): what we did and why. Never the key.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CacheStatus {
    /// Why the origin was asked (§2.2); `None` is `hit`.
    pub(super) forwarded: Option<Forwarded>,
    /// What the origin answered, where that is not the status of the answer.
    pub(super) forward_status: Option<StatusCode>,
    /// Freshness left, in seconds; negative where it is over.
    pub(super) ttl: Option<i64>,
    /// The answer was stored.
    pub(super) is_stored: bool,
    /// One fetch answered several requests.
    pub(super) is_collapsed: bool,
    /// What else there is to say; a token.
    pub(super) detail: Option<&'static str>,
}

/// Why a request went forward (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forwarded {
    /// The route is not cached.
    Bypass,
    /// The method is not cached.
    Method,
    /// Nothing is stored.
    UriMiss,
    /// What is stored is a part, and not the one asked for.
    Partial,
    /// What is stored does not match the request's fields.
    VaryMiss,
    /// What is stored is stale.
    Stale,
    /// The request insists.
    Request,
}

impl Forwarded {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::Partial => "partial",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

impl CacheStatus {
    /// Went forward, for that reason.
    pub(super) fn forwarded(why: Forwarded) -> Self {
        Self {
            forwarded: Some(why),
            ..Self::default()
        }
    }

    fn write(self, text: &mut Vec<u8>) {
        let mut push = |part: &str| text.extend_from_slice(part.as_bytes());
        push(PSEUDONYM);
        match self.forwarded {
            None => push("; hit"),
            Some(why) => {
                push("; fwd=");
                push(why.as_str());
            }
        }
        if let Some(status) = self.forward_status {
            push("; fwd-status=");
            push(status.as_str());
        }
        if let Some(ttl) = self.ttl {
            push("; ttl=");
            push_signed(text, ttl);
        }
        let mut push = |part: &str| text.extend_from_slice(part.as_bytes());
        if self.is_stored {
            push("; stored");
        }
        if self.is_collapsed {
            push("; collapsed");
        }
        if let Some(detail) = self.detail {
            push("; detail=");
            push(detail);
        }
    }

    fn to_value(self) -> HeaderValue {
        let mut text = Vec::with_capacity(64);
        self.write(&mut text);
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(PSEUDONYM))
    }
}

impl Told {
    /// Writes the fields that every answer has, and counts the answer. Called
    /// once, last, for each.
    #[must_use]
    pub fn stamp(self, mut response: Response<Body>) -> Response<Body> {
        let fields = response.headers_mut();
        // It spoke to us (RFC 9213 §2.2).
        fields.remove(PANNIER_CACHE_CONTROL);
        append_member(fields, CACHE_STATUS, self.status.to_value());
        fields.insert(X_CACHE, HeaderValue::from_static(self.cache.as_str()));
        match self.ages {
            Some(ages) => {
                fields.insert(AGE, ages.current.as_secs().into());
                fields.insert(X_CACHE_AGE, ages.since_validated.as_secs().into());
            }
            None => {
                fields.remove(X_CACHE_AGE);
            }
        }
        let elapsed = self.started.elapsed();
        fields.insert(X_PROCESS_TIME, milliseconds(elapsed));
        self.telemetry.served(&ResponseServed {
            at: self.now.plus(elapsed),
            route: self.route.as_ref().map(|route| &*route.telemetry),
            method: &self.method,
            path: self.uri.path(),
            status: response.status(),
            cache: self.cache,
            elapsed,
            upstream: self.upstream,
            body_bytes: response.body().size_hint().exact(),
            saved: self.saved,
            client: Some(self.client),
            span: self.span,
        });
        response
    }
}

/// A plain read that memory answers: what [`Told`] is to other requests,
/// without a copy of anything.
#[derive(Debug)]
pub(super) struct Hit<'a> {
    pub(super) telemetry: &'a Telemetry,
    pub(super) route: &'a Route,
    pub(super) path: &'a str,
    pub(super) now: Timestamp,
    pub(super) started: Instant,
    pub(super) client: ClientAddress,
    pub(super) span: Option<SpanIds>,
    /// What fetching had cost.
    pub(super) saved: Duration,
}

impl Hit<'_> {
    /// Ends a head that stands at our member of `Cache-Status`, with the
    /// fields that every answer has, and counts the answer.
    pub(super) fn stamp(
        &self,
        head: &mut Vec<u8>,
        status: StatusCode,
        cache_status: CacheStatus,
        ages: Ages,
        body_bytes: u64,
    ) {
        let cache = CacheResult::Hit;
        cache_status.write(head);
        head.extend_from_slice(b"\r\nx-cache: ");
        head.extend_from_slice(cache.as_str().as_bytes());
        head.extend_from_slice(b"\r\nage: ");
        push_number(head, ages.current.as_secs());
        head.extend_from_slice(b"\r\nx-cache-age: ");
        push_number(head, ages.since_validated.as_secs());
        head.extend_from_slice(b"\r\nx-process-time: ");
        let elapsed = self.started.elapsed();
        push_thousandths(head, micros(elapsed));
        head.extend_from_slice(b"\r\n\r\n");
        self.telemetry.served(&ResponseServed {
            at: self.now,
            route: Some(&self.route.telemetry),
            method: &Method::GET,
            path: self.path,
            status,
            cache,
            elapsed,
            upstream: None,
            body_bytes: Some(body_bytes),
            saved: Some(self.saved),
            client: Some(self.client),
            span: self.span,
        });
    }
}

/// A plain read that was passed on: what [`Told`] is to other requests.
#[derive(Debug)]
pub(super) struct Passed<'a> {
    pub(super) telemetry: &'a Telemetry,
    pub(super) path: &'a str,
    pub(super) now: Timestamp,
    pub(super) started: Instant,
    pub(super) client: ClientAddress,
    /// From request sent to the origin's head.
    pub(super) upstream: Duration,
    pub(super) body_bytes: Option<u64>,
}

impl Passed<'_> {
    /// Ends a head that stands at our member of `Cache-Status`, with the
    /// fields that every answer has, and counts the answer.
    pub(super) fn stamp(&self, head: &mut Vec<u8>, status: StatusCode, cache_status: CacheStatus) {
        let cache = CacheResult::Bypass;
        cache_status.write(head);
        head.extend_from_slice(b"\r\nx-cache: ");
        head.extend_from_slice(cache.as_str().as_bytes());
        head.extend_from_slice(b"\r\nx-process-time: ");
        let elapsed = self.started.elapsed();
        push_thousandths(head, micros(elapsed));
        head.extend_from_slice(b"\r\n\r\n");
        self.telemetry.served(&ResponseServed {
            at: self.now.plus(elapsed),
            route: None,
            method: &Method::GET,
            path: self.path,
            status,
            cache,
            elapsed,
            upstream: Some(self.upstream),
            body_bytes: self.body_bytes,
            saved: None,
            client: Some(self.client),
            span: None,
        });
    }
}

/// Milliseconds with three decimals.
fn milliseconds(elapsed: Duration) -> HeaderValue {
    let mut text = Vec::with_capacity(16);
    push_thousandths(&mut text, micros(elapsed));
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0.000"))
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_three_decimals() {
        assert_eq!(milliseconds(Duration::from_micros(7)), "0.007");
        assert_eq!(milliseconds(Duration::from_micros(152_034)), "152.034");
    }

    #[test]
    fn cache_status_says_what_happened() {
        let hit = CacheStatus {
            ttl: Some(30),
            ..CacheStatus::default()
        };
        assert_eq!(hit.to_value(), "pannier; hit; ttl=30");
        let miss = CacheStatus {
            is_stored: true,
            is_collapsed: true,
            ..CacheStatus::forwarded(Forwarded::UriMiss)
        };
        assert_eq!(miss.to_value(), "pannier; fwd=uri-miss; stored; collapsed");
    }
}
