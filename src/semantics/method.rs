//! Which methods change nothing (RFC 9110 §9.2.1).

use http::Method;

/// Whether a method cannot change anything: the safe ones of the IANA registry
/// of methods (RFC 9110 §9.2.1). One that is not known may.
#[must_use]
pub fn is_safe(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY" | "PROPFIND" | "REPORT" | "SEARCH" | "PRI"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_methods_are_those_of_the_registry() {
        for safe in [
            "GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT", "SEARCH",
        ] {
            assert!(
                is_safe(&Method::from_bytes(safe.as_bytes()).expect("a method")),
                "{safe}"
            );
        }
        for other in ["POST", "PROPPATCH", "MKCOL", "get", "LOCK", "PURGE"] {
            assert!(
                !is_safe(&Method::from_bytes(other.as_bytes()).expect("a method")),
                "{other}"
            );
        }
    }
}
