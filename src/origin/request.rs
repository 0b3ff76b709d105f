//! The request the origin gets: the client's, less what was meant for us,
//! plus who sent it.

use http::header::{CONNECTION, EXPECT, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::config::{Limits, UnderscoreFields};
use crate::message::client::ClientAddress;
use crate::message::fields::{self, is_read_as};
use crate::message::scheme::Scheme;
use crate::rule::{self, Rule};

/// Fields by which frameworks let a request speak of another resource or
/// method than its own. A response to one must never be stored under the
/// resource it was sent to.
static OVERRIDES: [HeaderName; 10] = [
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-host"),
    HeaderName::from_static("x-host"),
    HeaderName::from_static("x-matched-path"),
    HeaderName::from_static("x-middleware-subrequest"),
    HeaderName::from_static("x-now-route-matches"),
];

/// Whether a request asks the application to read it as another one, by a
/// field that is not in `keyed`.
#[must_use]
pub fn has_override(request: &HeaderMap, keyed: &[HeaderName]) -> bool {
    request
        .keys()
        .any(|name| names_override(name.as_str()) && !keyed.contains(name))
}

/// Those of them that name another method.
static METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

/// The methods that an application may take a request for: its own, which
/// stands first, and those that a field puts in its place. That counts on POST
/// alone, as in the frameworks that know such fields.
#[must_use]
pub fn possible_methods(method: &Method, request: &HeaderMap) -> Vec<Method> {
    let mut methods = vec![method.clone()];
    if *method != Method::POST && rule::holds(Rule::OverrideOnPost) {
        return methods;
    }
    let overriding = request.iter().filter(|(name, _)| {
        let is_it = |other: &HeaderName| is_read_as(name.as_str(), other.as_str());
        METHOD_OVERRIDES.iter().any(is_it)
    });
    methods.extend(overriding.filter_map(|(_, value)| {
        let method = value.as_bytes().trim_ascii().to_ascii_uppercase();
        Method::from_bytes(&method).ok()
    }));
    methods
}

/// Whether a field of this name may be such a field, whatever is keyed.
#[must_use]
pub fn names_override(name: &str) -> bool {
    // All of them begin so, and few others do.
    let may_be = matches!(name.as_bytes(), [b'x' | b'X', b'-' | b'_', ..]);
    may_be
        && OVERRIDES
            .iter()
            .any(|other| is_read_as(name, other.as_str()))
}

/// Who sent a request, and how.
#[derive(Clone, Copy, Debug)]
pub struct Sender {
    /// Its address.
    pub address: ClientAddress,
    /// Whether what it says of those before it is believed.
    pub is_trusted: bool,
    /// What becomes of fields with `_` in their names.
    pub underscore_fields: UnderscoreFields,
    /// What its connection is.
    pub scheme: Scheme,
    /// The version it speaks.
    pub version: Version,
}

impl Sender {
    /// The peer at `address`, as the limits have it.
    #[must_use]
    pub fn new(address: ClientAddress, scheme: Scheme, limits: &Limits, version: Version) -> Self {
        Self {
            address,
            is_trusted: limits.trusts(address),
            underscore_fields: limits.underscore_fields,
            scheme,
            version,
        }
    }
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
    fields::remove_where(&mut forwarded, |name| {
        !passes_underscore(name.as_str(), sender.underscore_fields)
    });
    // Answered by us already: the body is on its way.
    forwarded.remove(EXPECT);
    if takes_trailers {
        forwarded.insert(TE, HeaderValue::from_static("trailers"));
        forwarded.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    fields::append_via(&mut forwarded, sender.version);
    let scheme = sender.scheme;
    fields::set_forwarded(&mut forwarded, sender.address, scheme, sender.is_trusted);
    forwarded
}

/// Whether the `_` in its name lets a field go to the origin; a name without one
/// does.
#[must_use]
pub fn passes_underscore(name: &str, mode: UnderscoreFields) -> bool {
    if memchr::memchr(b'_', name.as_bytes()).is_none() {
        return true;
    }
    match mode {
        UnderscoreFields::Drop => !rule::holds(Rule::UnderscoreFields),
        UnderscoreFields::Pass => !fields::is_twin_of_ours(name),
    }
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
