//! Who may ask.
//!
//! With a token: every client that presents it. Without one the listener is on
//! loopback (the configuration refuses anything else), so anyone on this
//! machine; but not a web page in a browser on this machine, which can send
//! requests here and, by rebinding its name to 127.0.0.1, read the answers. Such
//! requests carry the `Origin` of another place or a `Host` that is a name: on
//! every method a name is refused that is neither `localhost` nor in
//! `[admin] hosts`. The dashboard's carry an `Origin` that is their `Host`.

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
    /// Names that the listener may be asked by without a token, lower case.
    hosts: Vec<String>,
}

impl Guard {
    /// Admits requests with `token`; without one, requests from this machine
    /// that no web page sent, by address, as `localhost` or by one of `hosts`.
    #[must_use]
    pub fn new(token: Option<&Secret>, hosts: &[String]) -> Self {
        Self {
            token: token.map(|token| blake3::hash(token.reveal().as_bytes())),
            hosts: hosts.to_vec(),
        }
    }

    /// Whether a token is asked for.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    fn admits(&self, method: &Method, uri: &Uri, fields: &HeaderMap) -> Result<(), Problem> {
        // PURGE, BAN and their kin mean a site's path, not a probe.
        if OPEN.contains(&uri.path()) && method.is_safe() {
            return Ok(());
        }
        match &self.token {
            Some(token) => has_token(token, fields),
            None => {
                let host = host_of(uri, fields);
                if !method.is_safe() {
                    is_no_web_page(host, fields)?;
                }
                self.is_known(host)
            }
        }
    }

    /// Refuses a name that others could point to this machine.
    fn is_known(&self, host: Option<&[u8]>) -> Result<(), Problem> {
        match host {
            Some(host) if !self.knows(host) => {
                let detail = format!(
                    "`{}` is neither an address nor localhost nor in `[admin] hosts`, and no admin token is configured",
                    String::from_utf8_lossy(host)
                );
                Err(Problem::new(StatusCode::FORBIDDEN, detail))
            }
            _ => Ok(()),
        }
    }

    /// Whether an authority is this machine or one of the listener's own names.
    pub(super) fn knows(&self, authority: &[u8]) -> bool {
        is_local_or_address(authority) || self.is_configured(authority)
    }

    fn is_configured(&self, authority: &[u8]) -> bool {
        let name = authority
            .split(|byte| *byte == b':')
            .next()
            .unwrap_or_default();
        self.hosts
            .iter()
            .any(|host| host.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// RFC 9112 §3.2.2: the authority of an absolute target goes before `Host`.
fn host_of<'a>(uri: &'a Uri, fields: &'a HeaderMap) -> Option<&'a [u8]> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => fields.get(HOST).map(HeaderValue::as_bytes),
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

fn is_no_web_page(host: Option<&[u8]>, fields: &HeaderMap) -> Result<(), Problem> {
    // The dashboard's own requests come from where they go to; by which name,
    // is looked at below.
    let is_our_page = |origin: &HeaderValue| {
        let origin = origin.as_bytes().strip_prefix(b"http://");
        origin.is_some() && origin == host
    };
    let mut origins = fields.get_all(ORIGIN).iter();
    if origins.all(is_our_page) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "a web page may not change anything here while no admin token is configured",
    ))
}

/// Whether an authority is an address or `localhost`: no name that someone
/// else could point here.
fn is_local_or_address(authority: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(authority) else {
        return false;
    };
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_number);
            is_port && address.parse::<Ipv6Addr>().is_ok()
        });
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_local = host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok();
    is_local && is_number(port)
}

fn is_number(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit())
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
            ("[::1].evil.example", false),
            ("localhost:80@evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_local_or_address(host.as_bytes()), is_fine, "{host}");
        }
    }

    #[test]
    fn without_a_token_a_name_is_refused_on_every_method_unless_it_is_configured() {
        let guard = Guard::new(None, &["ops.internal".to_owned()]);
        for method in [Method::GET, Method::HEAD, Method::POST] {
            for (host, is_fine) in [
                ("127.0.0.1:9090", true),
                ("OPS.internal:9090", true),
                ("evil.example:9090", false),
                ("ops.internal.evil.example", false),
            ] {
                let mut fields = HeaderMap::new();
                fields.insert(HOST, HeaderValue::from_static(host));
                let admitted = guard.admits(&method, &Uri::from_static("/metrics"), &fields);
                assert_eq!(admitted.is_ok(), is_fine, "{method} {host}");
            }
        }
    }

    #[test]
    fn a_token_is_taken_whole_and_in_any_case_of_its_scheme() {
        let guard = Guard::new(Some(&Secret::new("s3cret")), &[]);
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
