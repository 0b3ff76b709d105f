//! How a request was answered: the fields by which its response says so, and the
//! one event that feeds figures and logs. All ways through the proxy end here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::AGE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
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
use crate::telemetry::{ResponseServed, RouteTelemetry, Telemetry};

/// A field of ours: its name, and how its line begins.
#[derive(Debug)]
pub(super) struct OurField {
    name: HeaderName,
    line: &'static [u8],
}

static OUR_AGE: OurField = OurField {
    name: AGE,
    line: b"age: ",
};
static X_CACHE: OurField = OurField {
    name: HeaderName::from_static("x-cache"),
    line: b"x-cache: ",
};
static X_CACHE_AGE: OurField = OurField {
    name: HeaderName::from_static("x-cache-age"),
    line: b"x-cache-age: ",
};
static X_PROCESS_TIME: OurField = OurField {
    name: HeaderName::from_static("x-process-time"),
    line: b"x-process-time: ",
};
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// How a request was answered, for the client and for the figures.
#[derive(Debug)]
pub struct Outcome {
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) route: Option<Arc<Route>>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) facts: Facts,
}

/// The same, borrowed: nothing is copied for a request that is answered at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutcomeView<'a> {
    pub(super) telemetry: &'a Telemetry,
    pub(super) route: Option<&'a RouteTelemetry>,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    pub(super) facts: Facts,
}

/// What there is to say of the answer to one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
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

impl Outcome {
    /// Adds the fields that every response has, and counts the response. Called
    /// once, last, for each.
    #[must_use]
    pub fn finish(self, mut response: Response<Body>) -> Response<Body> {
        let status = response.status();
        let body_bytes = response.body().size_hint().exact();
        let view = OutcomeView {
            telemetry: &self.telemetry,
            route: self.route.as_ref().map(|route| &*route.telemetry),
            method: &self.method,
            path: self.uri.path(),
            facts: self.facts,
        };
        view.finish(response.headers_mut(), status, body_bytes);
        response
    }
}

impl OutcomeView<'_> {
    /// Adds the fields that every response has to `head`, and counts the
    /// response. Called once, last, for each.
    pub(super) fn finish(
        &self,
        head: &mut impl ResponseFields,
        status: StatusCode,
        body_bytes: Option<u64>,
    ) {
        let facts = &self.facts;
        head.add_cache_status(facts.status);
        head.set_text(&X_CACHE, facts.cache.as_str());
        if let Some(ages) = facts.ages {
            head.set_number(&OUR_AGE, ages.current.as_secs());
            head.set_number(&X_CACHE_AGE, ages.since_validated.as_secs());
        }
        let elapsed = facts.started.elapsed();
        head.set_milliseconds(&X_PROCESS_TIME, elapsed);
        self.telemetry.served(&ResponseServed {
            at: facts.now.plus(elapsed),
            route: self.route,
            method: self.method,
            path: self.path,
            status,
            cache: facts.cache,
            elapsed,
            upstream: facts.upstream,
            body_bytes,
            saved: facts.saved,
            client: Some(facts.client),
            span: facts.span,
        });
    }
}

/// Adds the fields that every response has to one that is no answer of the
/// proxy: the request was refused before it came here, at `received`.
pub fn finish_refused(fields: &mut HeaderMap, received: Instant) {
    fields.set_text(&X_CACHE, CacheResult::Bypass.as_str());
    fields.set_milliseconds(&X_PROCESS_TIME, received.elapsed());
}

/// A response head that our fields are added to: a map, or lines as they go to
/// an HTTP/1 client. None of them is there, unless the origin said it.
pub(super) trait ResponseFields {
    /// Adds our member of `Cache-Status`, behind those of caches before us.
    fn add_cache_status(&mut self, status: CacheStatus);

    /// Sets a field of ours.
    fn set_text(&mut self, field: &OurField, value: &'static str);

    /// The same, to a whole number.
    fn set_number(&mut self, field: &OurField, value: u64);

    /// The same, to milliseconds with three decimals.
    fn set_milliseconds(&mut self, field: &OurField, value: Duration);
}

impl ResponseFields for HeaderMap {
    fn add_cache_status(&mut self, status: CacheStatus) {
        // It spoke to us (RFC 9213 §2.2).
        self.remove(PANNIER_CACHE_CONTROL);
        self.remove(&X_CACHE_AGE.name);
        append_member(self, CACHE_STATUS, status.to_value());
    }

    fn set_text(&mut self, field: &OurField, value: &'static str) {
        self.insert(field.name.clone(), HeaderValue::from_static(value));
    }

    fn set_number(&mut self, field: &OurField, value: u64) {
        self.insert(field.name.clone(), value.into());
    }

    fn set_milliseconds(&mut self, field: &OurField, value: Duration) {
        let mut text = Vec::with_capacity(16);
        push_thousandths(&mut text, micros(value));
        let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0.000"));
        self.insert(field.name.clone(), value);
    }
}

/// Lines that stand where our member of `Cache-Status` goes, without any field
/// that is set here.
impl ResponseFields for Vec<u8> {
    fn add_cache_status(&mut self, status: CacheStatus) {
        status.write(self);
        self.extend_from_slice(b"\r\n");
    }

    fn set_text(&mut self, field: &OurField, value: &'static str) {
        self.extend_from_slice(field.line);
        self.extend_from_slice(value.as_bytes());
        self.extend_from_slice(b"\r\n");
    }

    fn set_number(&mut self, field: &OurField, value: u64) {
        self.extend_from_slice(field.line);
        push_number(self, value);
        self.extend_from_slice(b"\r\n");
    }

    fn set_milliseconds(&mut self, field: &OurField, value: Duration) {
        self.extend_from_slice(field.line);
        push_thousandths(self, micros(value));
        self.extend_from_slice(b"\r\n");
    }
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_and_lines_are_told_the_same() {
        fn tell(head: &mut impl ResponseFields) {
            head.add_cache_status(CacheStatus::default());
            head.set_text(&X_CACHE, "HIT");
            head.set_number(&OUR_AGE, 7);
            head.set_milliseconds(&X_PROCESS_TIME, Duration::from_micros(152_034));
        }
        let mut map = HeaderMap::new();
        let mut lines = b"cache-status: ".to_vec();
        tell(&mut map);
        tell(&mut lines);
        let of_map = map.iter();
        let of_map: Vec<_> = of_map
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        let lines = String::from_utf8(lines).unwrap();
        assert_eq!(of_map, lines.lines().collect::<Vec<_>>());
        assert_eq!(
            of_map[1..],
            ["x-cache: HIT", "age: 7", "x-process-time: 152.034"]
        );
    }

    #[test]
    fn milliseconds_have_three_decimals() {
        let mut map = HeaderMap::new();
        map.set_milliseconds(&X_PROCESS_TIME, Duration::from_micros(7));
        assert_eq!(map["x-process-time"], "0.007");
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
