//! `Max-Forwards` (RFC 9110, section 7.6.2): how many proxies an OPTIONS or a
//! TRACE may still pass. The one that it may not pass answers it.

use http::header::{ALLOW, CONTENT_TYPE, HOST, MAX_FORWARDS, VIA};
use http::{HeaderMap, HeaderValue, Method, Response};

use super::ask::Ask;
use super::outcome::{CacheStatus, Forwarded};
use crate::message::Body;
use crate::semantics::outcome::CacheResult;

/// What is passed on and answered here, as far as a proxy can tell.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

/// The fields that the answer to a TRACE shows: those that tell of the way.
/// Others may hold what the page that asks must not read.
const TRACED: [http::HeaderName; 3] = [HOST, VIA, MAX_FORWARDS];

/// Takes one from the request's `Max-Forwards`; the answer where none is left.
/// A value that is no number counts as none.
pub(super) fn take_one(ask: &mut Ask) -> Option<Response<Body>> {
    if ask.method != Method::OPTIONS && ask.method != Method::TRACE {
        return None;
    }
    let Some(left) = max_forwards(&ask.fields)?.checked_sub(1) else {
        let status = CacheStatus {
            detail: Some("max-forwards"),
            ..CacheStatus::forwarded(Forwarded::Bypass)
        };
        let outcome = ask.outcome(CacheResult::Bypass, status);
        return Some(outcome.finish(answer(ask)));
    };
    ask.forwarded.insert(MAX_FORWARDS, HeaderValue::from(left));
    None
}

/// A number too large for us is taken for the largest that is not.
fn max_forwards(fields: &HeaderMap) -> Option<u64> {
    let mut values = fields.get_all(MAX_FORWARDS).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let digits = value.as_bytes();
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| {
        digits.iter().fold(0_u64, |number, digit| {
            let digit = u64::from(digit - b'0');
            number.saturating_mul(10).saturating_add(digit)
        })
    })
}

/// Our own answer.
fn answer(ask: &Ask) -> Response<Body> {
    if ask.method == Method::OPTIONS {
        let mut response = Response::new(Body::Empty);
        let methods = HeaderValue::from_static(METHODS);
        response.headers_mut().insert(ALLOW, methods);
        return response;
    }
    let target = ask
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let mut message = format!("TRACE {target} HTTP/1.1\r\n").into_bytes();
    for name in TRACED {
        for value in ask.fields.get_all(&name) {
            message.extend_from_slice(name.as_str().as_bytes());
            message.extend_from_slice(b": ");
            message.extend_from_slice(value.as_bytes());
            message.extend_from_slice(b"\r\n");
        }
    }
    message.extend_from_slice(b"\r\n");
    let mut response = Response::new(Body::full(message));
    let kind = HeaderValue::from_static("message/http");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_number_counts() {
        let of = |values: &[&'static str]| {
            let mut fields = HeaderMap::new();
            for value in values {
                fields.append(MAX_FORWARDS, HeaderValue::from_static(value));
            }
            max_forwards(&fields)
        };
        assert_eq!(of(&["0"]), Some(0));
        assert_eq!(of(&["007"]), Some(7));
        assert_eq!(of(&["99999999999999999999999"]), Some(u64::MAX));
        for none in [&[][..], &[""], &["+1"], &["-1"], &["1, 2"], &["1", "2"]] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
