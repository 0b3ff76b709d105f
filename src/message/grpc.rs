//! How calls of gRPC are told from other requests.

use http::HeaderValue;

/// The media type of all its forms.
const GRPC: &[u8] = b"application/grpc";

/// Whether a `Content-Type` is that of a call of gRPC.
#[must_use]
pub fn is_grpc(content_type: &HeaderValue) -> bool {
    let value = content_type.as_bytes();
    let rest = match value.split_at_checked(GRPC.len()) {
        Some((start, rest)) if start.eq_ignore_ascii_case(GRPC) => rest,
        _ => return false,
    };
    // `application/grpc-web` is plain HTTP.
    matches!(rest.first(), None | Some(b'+' | b';' | b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_grpc_is_told_by_its_content_type() {
        let is_call = |value: &'static str| is_grpc(&HeaderValue::from_static(value));
        for call in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC;charset=utf-8",
        ] {
            assert!(is_call(call), "{call}");
        }
        for other in ["", "application/grp", "application/grpc-web", "text/grpc"] {
            assert!(!is_call(other), "{other}");
        }
    }
}
