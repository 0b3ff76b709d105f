//! What tests of fields share.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields of these lines, in their order.
pub(crate) fn fields(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::try_from(*value).unwrap(),
        );
    }
    map
}
