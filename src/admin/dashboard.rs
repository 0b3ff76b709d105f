//! `GET /`: the dashboard, one page that stands on its own.
//!
//! The page holds no figures: it asks for them with the token that its user
//! types in. So that a browser can show the prompt, a request without the
//! token is answered `401` and with the page all the same.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{HeaderValue, StatusCode};

const HTML: &str = include_str!("dashboard/index.html");
const STYLE: &str = include_str!("dashboard/style.css");
/// Read in this order, each file a part of one script.
const SCRIPTS: [&str; 6] = [
    include_str!("dashboard/format.js"),
    include_str!("dashboard/api.js"),
    include_str!("dashboard/charts.js"),
    include_str!("dashboard/tables.js"),
    include_str!("dashboard/views.js"),
    include_str!("dashboard/main.js"),
];
const NONCE: &str = "NONCE";

/// The page with its style and script in place; only the nonce is missing.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let script = SCRIPTS.concat();
    HTML.replace("/*STYLE*/", STYLE)
        .replace("/*SCRIPT*/", &script)
        .replace("VERSION", env!("CARGO_PKG_VERSION"))
});

/// `GET /`
pub(super) async fn page() -> Response {
    answer(StatusCode::OK)
}

/// The page: `200`, or `401` where the token is missing.
pub(super) fn answer(status: StatusCode) -> Response {
    let nonce = nonce();
    // Nothing runs, and nothing styles, but what carries this answer's nonce;
    // nothing is loaded, and only this listener is asked.
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let mut response = (status, PAGE.replace(NONCE, &nonce)).into_response();
    let fields = response.headers_mut();
    fields.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    if let Ok(policy) = HeaderValue::try_from(policy) {
        fields.insert(CONTENT_SECURITY_POLICY, policy);
    }
    fields.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Unforeseeable to whoever might get text into the page: made of keys that
/// the system drew for this process.
fn nonce() -> String {
    let mut hasher = blake3::Hasher::new();
    for _ in 0..4 {
        hasher.update(&RandomState::new().build_hasher().finish().to_le_bytes());
    }
    hasher.update(format!("{:?}", std::time::Instant::now()).as_bytes());
    hasher.finalize().to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_its_nonce_is_new_each_time() {
        assert!(!PAGE.contains("/*SCRIPT*/") && !PAGE.contains("/*STYLE*/"));
        assert_eq!(PAGE.matches(NONCE).count(), 2);
        assert_ne!(nonce(), nonce());
        let response = answer(StatusCode::OK);
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'"));
        assert!(!policy.contains("unsafe"));
    }

    #[test]
    fn the_page_loads_nothing_and_has_no_inline_handlers() {
        for forbidden in [
            "@import",
            "url(http",
            "src=\"http",
            "href=\"http",
            "onclick=",
            "style=\"",
            "innerHTML",
            "eval(",
        ] {
            assert!(!PAGE.contains(forbidden), "{forbidden}");
        }
    }
}
