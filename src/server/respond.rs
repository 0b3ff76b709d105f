//! The one place where errors become status codes.
//!
//! A [`Problem`] is what a client is told when there is no response to give:
//! an `application/problem+json` document (RFC 9457). Its words are fixed
//! texts chosen here or by the error's own type; nothing of the request, of
//! an upstream's address or of an error's source gets into them.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::message::{Body, BodyError};
use crate::origin::error::{OriginError, OriginErrorKind};
use crate::proxy::{Failure, Outcome, ProxyError, finish_refused};

/// When to come back where there is too much to do: queues empty in seconds,
/// or not at all.
const OVERLOAD_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a client is told instead of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status code.
    pub status: StatusCode,
    /// The kind of problem in a few words, the same for every occurrence.
    pub title: Cow<'static, str>,
    /// This occurrence, in a sentence a stranger may read.
    pub detail: Cow<'static, str>,
    /// `Retry-After`, told in whole seconds, rounded up.
    pub retry_after: Option<Duration>,
    /// Whether the connection (HTTP/1) ends with this response, because what
    /// follows on it cannot be told apart from this request.
    pub close: bool,
}

impl Problem {
    /// A problem of this status, titled with its reason phrase, that leaves
    /// the connection open.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            title: Cow::Borrowed(status.canonical_reason().unwrap_or("Error")),
            detail: detail.into(),
            retry_after: None,
            close: false,
        }
    }

    /// The same, ending the connection.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The same, with `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// `400`: the request breaks the protocol.
    #[must_use]
    pub fn bad_request(detail: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// `408`: the request did not arrive in time.
    #[must_use]
    pub fn request_timeout(detail: &'static str) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, detail).closing()
    }

    /// `413`: the body is larger than `bytes_max`.
    #[must_use]
    pub fn content_too_large(bytes_max: u64) -> Self {
        let mut problem = Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("A request body may have up to {bytes_max} bytes."),
        );
        problem.title = Cow::Borrowed("Content Too Large");
        problem.closing()
    }

    /// `414`: the target is longer than `bytes_max`.
    #[must_use]
    pub fn target_too_long(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::URI_TOO_LONG,
            format!("A request target may have up to {bytes_max} bytes."),
        )
    }

    /// `431`: the head is larger than `bytes_max`.
    #[must_use]
    pub fn head_too_large(bytes_max: usize) -> Self {
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("A request head may have up to {bytes_max} bytes."),
        )
    }

    /// `501`: not something this server does.
    #[must_use]
    pub fn not_implemented(detail: &'static str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, detail)
    }

    /// `502`: the origin's answer cannot be passed on.
    #[must_use]
    pub fn bad_gateway(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, detail)
    }

    /// `503` with `Retry-After`.
    #[must_use]
    pub fn overloaded(retry_after: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "There is more to do than can be done now.",
        )
        .retry_after(retry_after)
    }

    /// `504`: the origin did not answer in time.
    #[must_use]
    pub fn gateway_timeout(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, detail)
    }

    /// `505`: neither HTTP/1.0, HTTP/1.1 nor HTTP/2.
    #[must_use]
    pub fn version_not_supported() -> Self {
        Self::new(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "The versions spoken here are HTTP/1.0, HTTP/1.1 and HTTP/2.",
        )
    }

    /// The response that tells it (RFC 9457).
    #[must_use]
    pub fn into_response(self) -> Response<Body> {
        let document = serde_json::json!({
            "type": "about:blank",
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(Body::full(document.to_string()));
        *response.status_mut() = self.status;
        let fields = response.headers_mut();
        fields.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        // 414 and 501 may be stored by heuristics (RFC 9110, section 15.1);
        // a problem says nothing about the next request.
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after {
            fields.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        if self.close {
            fields.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// A [`Problem`], and what the proxy had to tell of the request, if the
/// request came that far.
#[derive(Debug)]
pub struct Rejection {
    problem: Problem,
    outcome: Option<Box<Outcome>>,
}

impl Rejection {
    /// The same for another reason: the one that caused it.
    #[must_use]
    pub fn because(mut self, problem: Problem) -> Self {
        self.problem = problem;
        self
    }

    /// Its status, where nobody has counted it and its response will not be.
    pub(super) fn untold(&self) -> Option<StatusCode> {
        self.outcome.is_none().then_some(self.problem.status)
    }

    /// The response, with the fields that every response carries; for a
    /// request whose head had been read at `received`.
    pub(super) fn into_response(self, received: Instant) -> Response<Body> {
        let mut response = self.problem.into_response();
        match self.outcome {
            Some(outcome) => outcome.finish(response),
            None => {
                finish_refused(response.headers_mut(), received);
                response
            }
        }
    }
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            outcome: None,
        }
    }
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        Self {
            problem: Problem::from(&failure.error),
            outcome: Some(failure.outcome),
        }
    }
}

impl From<&ProxyError> for Problem {
    fn from(error: &ProxyError) -> Self {
        match error {
            ProxyError::Origin(error) => Self::from(error),
            ProxyError::OnlyIfCached => Self::gateway_timeout(
                "Nothing reusable is stored, and the request allows nothing else.",
            ),
            ProxyError::OutOfTouch => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The other instances cannot be reached: the write was not made.",
            )
            .retry_after(Duration::from_secs(1)),
            ProxyError::Untold => {
                Self::gateway_timeout("The write was made; other instances may not know of it yet.")
            }
            ProxyError::Overloaded(_) => Self::overloaded(OVERLOAD_RETRY_AFTER),
            ProxyError::Loop(_) => {
                Self::bad_gateway("The request comes back to this proxy: its upstream is a loop.")
            }
        }
    }
}

impl From<&OriginError> for Problem {
    /// The cause is told in its word; no address of the origin.
    fn from(error: &OriginError) -> Self {
        let because = |sentence: &str| format!("{sentence}: {}.", error.cause().as_str());
        match error.kind {
            OriginErrorKind::Connect => Self::bad_gateway(because("The origin cannot be reached")),
            OriginErrorKind::ConnectTimeout => {
                Self::gateway_timeout(because("The origin could not be reached in time"))
            }
            OriginErrorKind::ResponseTimeout => {
                Self::gateway_timeout(because("The origin did not answer in time"))
            }
            OriginErrorKind::Reset => {
                Self::bad_gateway(because("The origin broke off before it had answered"))
            }
            OriginErrorKind::Protocol => {
                Self::bad_gateway("The origin's answer is not valid, or has more than 100 fields.")
            }
            OriginErrorKind::Overloaded => Self::overloaded(OVERLOAD_RETRY_AFTER),
            OriginErrorKind::Failing => {
                Self::bad_gateway("The origin failed at every request for this.")
            }
            OriginErrorKind::RequestBody => {
                Self::bad_request("The request body broke off.").closing()
            }
        }
    }
}

impl From<&BodyError> for Problem {
    /// What a request body that failed means for its request.
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::Broken(_) => {
                Self::bad_request("The request body broke off or its framing is not valid.")
                    .closing()
            }
            BodyError::Idle(_) => {
                Self::request_timeout("The rest of the request body did not arrive in time.")
            }
            BodyError::Slow => Self::request_timeout("The request body arrived too slowly."),
            BodyError::TooLarge(bytes_max) => Self::content_too_large(*bytes_max),
            BodyError::LeftBehind => {
                Self::bad_gateway("The content was replaced while it was being read.")
            }
        }
    }
}

/// Whole seconds, rounded up, at least one: "now" would invite a storm.
fn whole_seconds(duration: Duration) -> u64 {
    let partial = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(partial).max(1)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_problem_is_told_as_rfc_9457_has_it() {
        let response = Problem::overloaded(Duration::from_millis(1_200)).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert!(!response.headers().contains_key(CONNECTION));
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(document["type"], "about:blank");
        assert_eq!(document["title"], "Service Unavailable");
        assert_eq!(document["status"], 503);
        assert!(document["detail"].is_string());
    }

    #[test]
    fn an_origin_that_is_late_is_not_an_origin_that_is_wrong() {
        for (kind, status) in [
            (OriginErrorKind::Connect, 502),
            (OriginErrorKind::ConnectTimeout, 504),
            (OriginErrorKind::ResponseTimeout, 504),
            (OriginErrorKind::Reset, 502),
            (OriginErrorKind::Protocol, 502),
            (OriginErrorKind::RequestBody, 400),
            (OriginErrorKind::Overloaded, 503),
            (OriginErrorKind::Failing, 502),
        ] {
            let error = OriginError::bare(kind);
            assert_eq!(Problem::from(&error).status, status, "{kind:?}");
        }
        assert_eq!(Problem::from(&ProxyError::OnlyIfCached).status, 504);
    }

    #[test]
    fn what_caused_a_failure_is_what_is_told() {
        let failed = Rejection::from(Problem::bad_gateway("The origin broke off."));
        let response = failed
            .because(Problem::content_too_large(5))
            .into_response(Instant::now());
        assert_eq!(response.status(), 413);
        assert_eq!(response.headers()["x-cache"], "BYPASS");
        assert!(response.headers().contains_key("x-process-time"));
    }

    #[test]
    fn retry_after_is_never_zero() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_secs(3)), 3);
    }

    #[test]
    fn a_failed_body_closes_the_connection_it_came_on() {
        for error in [
            BodyError::Broken("x".into()),
            BodyError::Idle(Duration::from_secs(1)),
            BodyError::TooLarge(1),
        ] {
            assert!(Problem::from(&error).close, "{error}");
        }
    }
}
