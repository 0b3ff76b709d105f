//! A request made of a head that was parsed and checked: its target and its
//! values are parts of one copy of the head.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::server::Problem;
use crate::server::wire::{as_uri, has_unsafe_bytes};

/// Those that say to the origin who asked: its copy of the map has room for them.
const FIELDS_ADDED: usize = 8;

/// The request of `head`, which parsed to `parsed`.
pub(super) fn request_of(
    head: &[u8],
    parsed: &httparse::Request<'_, '_>,
) -> Result<Request<()>, Problem> {
    let copy = Bytes::copy_from_slice(head);
    let shared = |part: &[u8]| {
        // A part of the head: where it is in it, it is in the copy.
        let start = part.as_ptr().addr().wrapping_sub(head.as_ptr().addr());
        copy.slice(start..start + part.len())
    };
    let invalid = |_| Problem::bad_request("The request line is not valid.");
    let method = parsed.method.unwrap_or_default().as_bytes();
    let method = Method::from_bytes(method).map_err(|_| invalid(()))?;
    let target = parsed.path.unwrap_or_default().as_bytes();
    let uri = if has_unsafe_bytes(target) {
        as_uri(target)
    } else {
        Uri::from_maybe_shared(shared(target))
    };
    let uri = uri.map_err(|_| invalid(()))?;
    let mut fields = HeaderMap::with_capacity(parsed.headers.len() + FIELDS_ADDED);
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| Problem::bad_request("A field name is not valid."))?;
        let value = HeaderValue::from_maybe_shared(shared(field.value))
            .map_err(|_| Problem::bad_request("A field value is not valid."))?;
        fields.append(name, value);
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = match parsed.version {
        Some(0) => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    *request.headers_mut() = fields;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_its_head_said() {
        let head = b"PUT /a?b HTTP/1.0\r\nHost: x\r\nX-Y:\t z \r\nx-y:\r\n\r\n";
        let mut fields = [httparse::EMPTY_HEADER; 8];
        let mut parsed = httparse::Request::new(&mut fields);
        assert!(parsed.parse(head).unwrap().is_complete());
        let request = request_of(head, &parsed).unwrap();
        assert_eq!(request.method(), Method::PUT);
        assert_eq!(request.uri(), "/a?b");
        assert_eq!(request.version(), Version::HTTP_10);
        let values: Vec<_> = request.headers().get_all("x-y").iter().collect();
        assert_eq!(values, ["z", ""]);
        assert_eq!(request.headers()["host"], "x");
    }
}
