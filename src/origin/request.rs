//! The request the origin gets: the client's, less what was meant for us,
//! plus who sent it.

use std::net::IpAddr;

use http::header::{CONNECTION, EXPECT, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::message::fields;

/// Fields by which frameworks let a request speak of another resource or
/// method than its own. A response to one must never be stored under the
/// resource it was sent to.
const OVERRIDES: [HeaderName; 8] = [
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-host"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-forwarded-prefix"),
];

/// Whether a request asks the application to read it as another one, by a
/// field that is not in `keyed`.
#[must_use]
pub fn has_override(request: &HeaderMap, keyed: &[HeaderName]) -> bool {
    OVERRIDES
        .iter()
        .any(|name| request.contains_key(name) && !keyed.contains(name))
}

/// Those of them that name another method.
static METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

/// The methods that an application may take a request for besides its own.
pub fn overriding_methods(request: &HeaderMap) -> impl Iterator<Item = Method> {
    METHOD_OVERRIDES
        .iter()
        .flat_map(|name| request.get_all(name))
        .filter_map(|value| {
            let method = value.as_bytes().trim_ascii().to_ascii_uppercase();
            Method::from_bytes(&method).ok()
        })
}

/// Whether a field of this name may be such a field, whatever is keyed.
#[must_use]
pub fn names_override(name: &str) -> bool {
    // All of them begin so, and few others do.
    let may_be = matches!(name.as_bytes(), [b'x' | b'X', b'-', ..]);
    may_be
        && OVERRIDES
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other.as_str()))
}

/// Who sent a request, and how.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// Its address.
    pub address: IpAddr,
    /// Whether what it says of those before it is believed.
    pub is_trusted: bool,
    /// The version it speaks.
    pub version: Version,
}

/// The fields for the origin.
#[must_use]
pub fn fields_for_origin(request: &HeaderMap, sender: &Sender) -> HeaderMap {
    let takes_trailers = request
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    let mut forwarded = request.clone();
    fields::strip_hop_by_hop(&mut forwarded);
    // Answered by us already: the body is on its way.
    forwarded.remove(EXPECT);
    if takes_trailers {
        forwarded.insert(TE, HeaderValue::from_static("trailers"));
        forwarded.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    fields::append_via(&mut forwarded, sender.version);
    fields::set_forwarded(&mut forwarded, sender.address, sender.is_trusted);
    forwarded
}

/// A path and query, put together from parts of a request that was accepted.
#[must_use]
pub fn path_and_query(path: &str, query: &str) -> PathAndQuery {
    let text = if query.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{query}")
    };
    PathAndQuery::try_from(text).unwrap_or_else(|_| PathAndQuery::from_static("/"))
}
