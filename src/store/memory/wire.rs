//! The head of a stored response as it goes to an HTTP/1 client: written once,
//! when the response is stored, copied at every hit.

use bytes::Bytes;
use http::header::{AGE, CONTENT_LENGTH};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::message::targeted::PANNIER_CACHE_CONTROL;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Fields that every answer gets anew, and the one that spoke to us.
const OURS: [HeaderName; 5] = [
    PANNIER_CACHE_CONTROL,
    AGE,
    HeaderName::from_static("x-cache"),
    HeaderName::from_static("x-cache-age"),
    HeaderName::from_static("x-process-time"),
];

/// The head, up to the place where our member of `Cache-Status` is appended.
/// `None` where the response cannot be answered with as it is: its length is
/// not that of its body, or its status has rules of its own.
pub(super) fn head(status: StatusCode, fields: &HeaderMap, body: &Bytes) -> Option<Box<[u8]>> {
    let has_rules = status.is_informational() || matches!(status.as_u16(), 204 | 205 | 206 | 304);
    let length = fields.get(CONTENT_LENGTH)?.to_str().ok()?;
    if has_rules || length.parse() != Ok(body.len()) {
        return None;
    }
    let reason = status.canonical_reason()?;
    let bytes: usize = fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    let mut head = Vec::with_capacity(bytes + 64);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(reason.as_bytes());
    head.extend_from_slice(b"\r\n");
    let mut earlier = fields.get_all(CACHE_STATUS).iter();
    // A list on one line goes on there; one on several gets another line.
    let joined = earlier.next().filter(|_| earlier.next().is_none());
    for (name, value) in fields {
        let is_joined = joined.is_some() && name == CACHE_STATUS;
        if !is_joined && !OURS.contains(name) {
            push_field(&mut head, name, value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
    }
    push_field(&mut head, &CACHE_STATUS, b"");
    if let Some(value) = joined {
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b", ");
    }
    Some(head.into_boxed_slice())
}

fn push_field(head: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    head.extend_from_slice(name.as_str().as_bytes());
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
}
