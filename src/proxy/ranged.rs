//! Answers that are parts of what is stored (RFC 9110 §14, §15.3.7, §15.5.17).
//!
//! Bounded against abuse where the request is read (`semantics::range`): few
//! ranges, none of which overlap, so that an answer is never much larger than
//! the whole. No part is copied.

use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE, VIA};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::ask::Ask;
use crate::message::Body;
use crate::message::parts::Parts;
use crate::semantics::partial::{Part, content_range};
use crate::semantics::range::{ByteRanges, ContentRange, Selection, if_range_holds};
use crate::semantics::stored::StoredResponse;

/// The answer to a request for parts of a whole stored response; `None` where
/// the whole answers it.
pub(super) fn of_whole(ask: &Ask, stored: &StoredResponse) -> Option<Response<Body>> {
    let head = &stored.head;
    if ask.method != Method::GET || head.status != StatusCode::OK {
        return None;
    }
    let ranges = ByteRanges::of(&ask.fields)?;
    if !if_range_holds(&ask.fields, &head.fields, head.response_time) {
        return None;
    }
    let length = stored.body.len() as u64;
    match ranges.select(length) {
        Selection::Whole => None,
        Selection::Unsatisfiable => Some(unsatisfiable(&head.fields, length)),
        Selection::Parts(parts) => {
            let parts: Vec<(ContentRange, Bytes)> = parts
                .into_iter()
                .map(|part| {
                    let range = ContentRange {
                        first: part.start,
                        last: part.end - 1,
                        complete: Some(length),
                    };
                    (range, slice(&stored.body, part.start, part.end))
                })
                .collect();
            match parts.as_slice() {
                [(range, bytes)] => Some(single(&head.fields, range, bytes.clone())),
                _ => Some(multiple(&head.fields, &parts)),
            }
        }
    }
}

/// The answer to a request for one range out of a stored part; `None` where
/// the part has not all of it.
pub(super) fn of_part(ask: &Ask, stored: &StoredResponse) -> Option<Response<Body>> {
    let head = &stored.head;
    let wanted = ByteRanges::of(&ask.fields)?.single()?;
    let holds = if_range_holds(&ask.fields, &head.fields, head.response_time);
    if ask.method != Method::GET || !holds {
        return None;
    }
    let part = Part::of(&head.fields, stored.body.len() as u64)?;
    let found = part.excerpt(wanted)?;
    Some(single(
        &head.fields,
        &found.range,
        stored.body.slice(found.bytes),
    ))
}

fn single(stored: &HeaderMap, range: &ContentRange, bytes: Bytes) -> Response<Body> {
    let mut fields = stored.clone();
    fields.insert(CONTENT_RANGE, content_range(range));
    fields.insert(CONTENT_LENGTH, bytes.len().into());
    partial(fields, Body::full(bytes))
}

/// `multipart/byteranges` (RFC 9110 §14.6).
fn multiple(stored: &HeaderMap, parts: &[(ContentRange, Bytes)]) -> Response<Body> {
    let boundary = boundary();
    let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
    for (range, bytes) in parts {
        let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
        if let Some(kind) = stored.get(CONTENT_TYPE) {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(kind.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"Content-Range: ");
        head.extend_from_slice(content_range(range).as_bytes());
        head.extend_from_slice(b"\r\n\r\n");
        pieces.push(Bytes::from(head));
        pieces.push(bytes.clone());
    }
    pieces.push(Bytes::from(format!("\r\n--{boundary}--\r\n")));
    let length: usize = pieces.iter().map(Bytes::len).sum();

    let mut fields = stored.clone();
    fields.remove(CONTENT_RANGE);
    fields.insert(CONTENT_LENGTH, length.into());
    let kind = format!("multipart/byteranges; boundary={boundary}");
    if let Ok(kind) = HeaderValue::try_from(kind) {
        fields.insert(CONTENT_TYPE, kind);
    }
    partial(fields, Body::boxed(Parts::new(pieces)))
}

fn partial(fields: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    *response.headers_mut() = fields;
    response
}

fn unsatisfiable(stored: &HeaderMap, length: u64) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    let fields = response.headers_mut();
    for name in [DATE, VIA] {
        if let Some(value) = stored.get(&name) {
            fields.insert(name, value.clone());
        }
    }
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{length}")) {
        fields.insert(CONTENT_RANGE, value);
    }
    fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// Positions within the content: `select` promises that they are.
fn slice(body: &Bytes, start: u64, end: u64) -> Bytes {
    let at = |position: u64| usize::try_from(position).map_or(body.len(), |at| at.min(body.len()));
    body.slice(at(start)..at(end))
}

/// Nobody who wrote the content can have known it.
fn boundary() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_never_the_same() {
        assert_ne!(boundary(), boundary());
        assert_eq!(boundary().len(), 32);
    }
}
