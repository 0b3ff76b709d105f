//! Who may ask.
//!
//! With a token: whoever presents it. Without one the listener is on loopback
//! (the configuration refuses anything else), so anyone on this machine; but
//! not a web page in a browser on this machine, which can send requests here
//! and, by rebinding its name to 127.0.0.1, read the answers. Such requests
//! carry the `Origin` of another place or a `Host` that is a name. The
//! dashboard's carry an `Origin` that is their `Host`, and that an address.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, CACHE_CONTROL, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use super::control::Control;
use super::dashboard;
use super::problem::Problem;
use crate::config::Secret;

/// Paths that anyone may ask: orchestrators have no token.
pub(super) const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// The page that asks for the token; refused, it is shown all the same. It
/// holds no figures.
pub(super) const DASHBOARD: &str = "/";

/// Decides who may ask.
#[derive(Clone)]
pub struct Guard {
    /// Digest of the token: digests have one length, and their comparison
    /// takes the same time wherever they differ.
    token: Option<blake3::Hash>,
}

impl Guard {
    /// Lets in whoever presents `token`; without one, whoever is on this
    /// machine and no web page.
    #[must_use]
    pub fn new(token: Option<&Secret>) -> Self {
        Self {
            token: token.map(|token| blake3::hash(token.reveal().as_bytes())),
        }
    }

    fn admits(&self, method: &Method, uri: &Uri, fields: &HeaderMap) -> Result<(), Problem> {
        if OPEN.contains(&uri.path()) {
            return Ok(());
        }
        match &self.token {
            Some(token) => has_token(token, fields),
            None if method.is_safe() => Ok(()),
            None => is_no_web_page(uri, fields),
        }
    }
}

fn has_token(token: &blake3::Hash, fields: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail: &str| Err(Problem::new(StatusCode::UNAUTHORIZED, detail));
    let Some(credentials) = fields.get(AUTHORIZATION) else {
        return refused("this needs `Authorization: Bearer` with the admin token");
    };
    let presented = credentials.as_bytes();
    let is_right = presented
        .iter()
        .position(|byte| *byte == b' ')
        .map(|space| presented.split_at(space))
        .is_some_and(|(scheme, rest)| {
            scheme.eq_ignore_ascii_case(b"bearer") && blake3::hash(rest.trim_ascii()) == *token
        });
    if is_right {
        Ok(())
    } else {
        refused("the token is not the admin token")
    }
}

fn is_no_web_page(uri: &Uri, fields: &HeaderMap) -> Result<(), Problem> {
    let refused = |detail: String| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    // RFC 9112 §3.2.2: the authority of an absolute target goes before Host.
    let host = match uri.authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => fields.get(HOST).map(HeaderValue::as_bytes),
    };
    // The dashboard's own requests come from where they go to; by which name,
    // is looked at below.
    let is_our_page = |origin: &HeaderValue| {
        let origin = origin.as_bytes().strip_prefix(b"http://");
        origin.is_some() && origin == host
    };
    let mut origins = fields.get_all(ORIGIN).iter();
    if !origins.all(is_our_page) {
        return refused(
            "a web page may not change anything here while no admin token is configured".to_owned(),
        );
    }
    match host {
        Some(host) if !is_local_or_address(host) => refused(format!(
            "`{}` is neither an address nor localhost; configure an admin token to use a name",
            String::from_utf8_lossy(host)
        )),
        _ => Ok(()),
    }
}

/// Whether an authority is an address or `localhost`: no name that someone
/// else could point here.
fn is_local_or_address(authority: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(authority) else {
        return false;
    };
    if let Some(rest) = authority.strip_prefix('[') {
        return rest
            .split_once(']')
            .is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    }
    let host = authority.split(':').next().unwrap_or_default();
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

/// Middleware: lets a request pass or answers it with the refusal; no answer
/// of this listener is for caches or for a browser to interpret.
pub(super) async fn check(
    State(control): State<Arc<Control>>,
    request: Request,
    next: Next,
) -> Response {
    let admitted = control
        .guard
        .admits(request.method(), request.uri(), request.headers());
    let is_dashboard = request.uri().path() == DASHBOARD && request.method() == Method::GET;
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(problem) if is_dashboard => problem.challenging(dashboard::answer(problem.status())),
        Err(problem) => problem.into_response(),
    };
    let fields = response.headers_mut();
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_others_could_point_here_is_refused() {
        for (host, is_fine) in [
            ("127.0.0.1:9090", true),
            ("localhost", true),
            ("LOCALHOST:9090", true),
            ("[::1]:9090", true),
            ("10.1.2.3", true),
            ("evil.example:9090", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("[evil]:9090", false),
            ("", false),
        ] {
            assert_eq!(is_local_or_address(host.as_bytes()), is_fine, "{host}");
        }
    }

    #[test]
    fn a_token_is_taken_whole_and_in_any_case_of_its_scheme() {
        let guard = Guard::new(Some(&Secret::new("s3cret")));
        for (credentials, is_fine) in [
            ("Bearer s3cret", true),
            ("bearer  s3cret ", true),
            ("Bearer s3cre", false),
            ("Bearer s3cret1", false),
            ("Bearer", false),
            ("Basic s3cret", false),
            ("s3cret", false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(AUTHORIZATION, HeaderValue::from_static(credentials));
            let uri = Uri::from_static("/metrics");
            let admitted = guard.admits(&Method::GET, &uri, &fields);
            assert_eq!(admitted.is_ok(), is_fine, "{credentials}");
        }
    }
}
