//! Speaks to the admin listener of a running Pannier.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::time::timeout;

use crate::config::{self, AdminConfig, Problems, Secret};

/// The environment variable that holds the token; it goes before the
/// configuration's.
pub const TOKEN_VARIABLE: &str = "PANNIER_ADMIN_TOKEN";

/// The environment variable that names the admin listener.
pub const ADDRESS_VARIABLE: &str = "PANNIER_ADMIN";

/// An answer takes no longer: the longest wait the listener grants, and more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Where the admin listener is.
#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// The admin listener, as http://host:port; by default what PANNIER_ADMIN
    /// says, else that of the configuration, which is not read where either is
    /// given. The token is taken from --token-file, else from
    /// PANNIER_ADMIN_TOKEN, else from the configuration
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// A file that holds the admin token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The configuration that names the admin listener; by default proxy.toml,
    /// and, where there is none, http://127.0.0.1:9090 is asked. Only what it
    /// says of the listener has to be valid
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The configuration that is read where none is named.
const CONFIG_DEFAULT: &str = "proxy.toml";
/// The listener of a configuration that says nothing of one.
const ADMIN_DEFAULT: &str = "http://127.0.0.1:9090";

impl AdminArgs {
    /// The listener these arguments, the environment and the configuration
    /// name.
    ///
    /// # Errors
    /// Where the address or the configuration cannot be read, or the
    /// configuration says that there is no admin listener.
    pub fn target(&self) -> Result<AdminTarget, AdminError> {
        let token = match &self.token_file {
            Some(path) => Some(token_in(path)?),
            None => AdminTarget::token_of_environment(),
        };
        let address = std::env::var(ADDRESS_VARIABLE).ok();
        let address = address.filter(|address| !address.is_empty());
        if let Some(url) = self.admin.as_ref().or(address.as_ref()) {
            return AdminTarget::at(url, token);
        }
        let is_any_configured = self.config.is_some() || Path::new(CONFIG_DEFAULT).exists();
        if !is_any_configured {
            return AdminTarget::at(ADMIN_DEFAULT, token);
        }
        let path = self.config.as_deref().unwrap_or(Path::new(CONFIG_DEFAULT));
        let admin = config::load_admin(path)?.ok_or(AdminError::Off)?;
        Ok(AdminTarget::of_config(&admin, token))
    }
}

/// An admin listener, and what to say at its door.
#[derive(Clone, Debug)]
pub struct AdminTarget {
    /// `http://host:port`, without a final slash.
    url: String,
    token: Option<Secret>,
}

/// Why the admin listener did not do what was asked. Displays as what to tell
/// the operator.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// `--admin` is no such address.
    #[error("`{0}` is not an address like http://127.0.0.1:9090")]
    Url(String),
    /// The configuration cannot be read.
    #[error("{0}\n`--admin URL` and PANNIER_ADMIN name the listener without a configuration")]
    Config(#[from] Problems),
    /// `admin.listen` is `"off"`.
    #[error("the configuration says `admin.listen = \"off\"`: there is nobody to ask")]
    Off,
    /// The token holds what cannot stand in a field.
    #[error("the admin token holds characters that no HTTP field can carry")]
    Token,
    /// `--token-file` cannot be read.
    #[error("the token file {0} cannot be read: {1}")]
    TokenFile(PathBuf, #[source] std::io::Error),
    /// Nobody answers.
    #[error(
        "{url} does not answer: {reason}\nis Pannier running, and is this its `[admin] listen`? `--admin URL` or PANNIER_ADMIN names another"
    )]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// It says no.
    #[error("refused ({status}): {detail}{}", what_to_do(*status))]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// The listener's own sentence.
        detail: String,
    },
    /// Whoever answers is no Pannier.
    #[error(
        "{0} answers, but not as Pannier's admin listener does; is it the port of `[admin] listen`?"
    )]
    Stranger(String),
    /// `--route` names none.
    #[error("there is no route `{0}`; `pannier stats` lists those there are")]
    NoRoute(String),
    /// An instance did not acknowledge in time.
    #[error("not acknowledged within the wait by {0}")]
    Unacknowledged(String),
    /// Standard output is closed or full.
    #[error("the answer could not be printed: {0}")]
    Output(#[from] std::io::Error),
}

impl AdminTarget {
    /// The listener at `url`.
    ///
    /// # Errors
    /// Where `url` is neither `http://host:port` nor `host:port`.
    pub fn at(url: &str, token: Option<Secret>) -> Result<Self, AdminError> {
        let refused = || AdminError::Url(url.to_owned());
        let full = if url.contains("://") {
            url.to_owned()
        } else {
            format!("http://{url}")
        };
        let parsed: http::Uri = full.parse().map_err(|_| refused())?;
        let is_root = matches!(parsed.path(), "" | "/") && parsed.query().is_none();
        let authority = parsed.authority().ok_or_else(refused)?;
        let is_plain_http = parsed.scheme_str() == Some("http");
        if is_plain_http && is_root {
            let url = format!("http://{authority}");
            Ok(Self { url, token })
        } else {
            Err(refused())
        }
    }

    /// The listener of a configuration. One that listens on every address is
    /// asked on loopback. `token` goes before the configuration's.
    #[must_use]
    pub fn of_config(admin: &AdminConfig, token: Option<Secret>) -> Self {
        let address = match admin.listen.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        Self {
            url: format!("http://{}", SocketAddr::new(address, admin.listen.port())),
            token: token.or_else(|| admin.token.clone()),
        }
    }

    /// The token of [`TOKEN_VARIABLE`], if it is set to anything.
    #[must_use]
    pub fn token_of_environment() -> Option<Secret> {
        let token = std::env::var(TOKEN_VARIABLE).ok()?;
        (!token.is_empty()).then(|| Secret::new(token))
    }

    /// Asks, and gives the document that is answered.
    ///
    /// # Errors
    /// Says who does not answer, or why it refused.
    pub async fn ask(&self, method: Method, target: &str) -> Result<Value, AdminError> {
        let exchange = async {
            let response = self.send(method, target).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| self.unreachable(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        let (status, body) = timeout(ANSWER_TIMEOUT, exchange)
            .await
            .unwrap_or_else(|_| Err(self.unreachable("it took too long".to_owned())))?;
        let document: Option<Value> = serde_json::from_slice(&body).ok();
        if status.is_success() {
            return document.ok_or_else(|| AdminError::Stranger(self.url.clone()));
        }
        Err(self.refusal(status, document.as_ref()))
    }

    /// Asks for lines without an end, and gives each to `take` until that says
    /// that it was enough, or the listener ends the answer.
    ///
    /// # Errors
    /// Says who does not answer, or why it refused; what `take` fails of.
    pub async fn follow(
        &self,
        target: &str,
        mut take: impl FnMut(&str) -> Result<bool, AdminError>,
    ) -> Result<(), AdminError> {
        let sent = timeout(ANSWER_TIMEOUT, self.send(Method::GET, target)).await;
        let response =
            sent.unwrap_or_else(|_| Err(self.unreachable("it took too long".to_owned())))?;
        let status = response.status();
        let mut body = response.into_body();
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.unreachable(innermost(&error)))?;
            rest.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            if rest.len() > ANSWER_BYTES_MAX {
                return Err(AdminError::Stranger(self.url.clone()));
            }
            while let (true, Some(end)) = (
                status.is_success(),
                rest.iter().position(|byte| *byte == b'\n'),
            ) {
                let line: Vec<u8> = rest.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let line = line.trim();
                if !line.is_empty() && !take(line)? {
                    return Ok(());
                }
            }
        }
        if status.is_success() {
            return Ok(());
        }
        let document: Option<Value> = serde_json::from_slice(&rest).ok();
        Err(self.refusal(status, document.as_ref()))
    }

    fn unreachable(&self, reason: String) -> AdminError {
        AdminError::Unreachable {
            url: self.url.clone(),
            reason,
        }
    }

    fn refusal(&self, status: StatusCode, document: Option<&Value>) -> AdminError {
        let detail = document.and_then(|document| document["detail"].as_str());
        match detail {
            Some(detail) => AdminError::Refused {
                status,
                detail: detail.to_owned(),
            },
            None => AdminError::Stranger(self.url.clone()),
        }
    }

    async fn send(&self, method: Method, target: &str) -> Result<Response<Incoming>, AdminError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.url));
        if let Some(token) = &self.token {
            let credentials = format!("Bearer {}", token.reveal());
            let mut credentials =
                HeaderValue::try_from(credentials).map_err(|_| AdminError::Token)?;
            credentials.set_sensitive(true);
            request = request.header(AUTHORIZATION, credentials);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|_| AdminError::Url(format!("{}{target}", self.url)))?;
        let client: Client<HttpConnector, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build_http();
        let sent = client.request(request).await;
        sent.map_err(|error| self.unreachable(innermost(&error)))
    }
}

/// What an operator may do about a refusal.
fn what_to_do(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => {
            "\ngive the token of `[admin]` in PANNIER_ADMIN_TOKEN or by --token-file"
        }
        _ => "",
    }
}

fn token_in(path: &Path) -> Result<Secret, AdminError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| AdminError::TokenFile(path.to_owned(), error))?;
    Ok(Secret::new(text.trim()))
}

/// What began an error: "connection refused", not "client error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// A query of names and values, escaped (RFC 3986 §2.1); empty for none.
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(name);
        query.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
                query.push(char::from(byte));
            } else {
                let written = write!(query, "%{byte:02X}");
                debug_assert!(written.is_ok(), "a string takes everything");
            }
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        for (listen, url) in [
            ("0.0.0.0:9090", "http://127.0.0.1:9090"),
            ("[::]:9090", "http://[::1]:9090"),
            ("10.1.2.3:80", "http://10.1.2.3:80"),
        ] {
            let config = AdminConfig {
                listen: listen.parse().unwrap(),
                token: None,
                hosts: Vec::new(),
            };
            assert_eq!(AdminTarget::of_config(&config, None).url, url);
        }
    }

    #[test]
    fn an_address_is_plain_http_without_a_path() {
        for (written, is_fine) in [
            ("http://127.0.0.1:9090", true),
            ("http://pannier:9090/", true),
            ("https://127.0.0.1:9090", false),
            ("127.0.0.1:9090", true),
            ("http://127.0.0.1:9090/stats", false),
            ("nonsense url", false),
        ] {
            assert_eq!(AdminTarget::at(written, None).is_ok(), is_fine, "{written}");
        }
    }

    #[test]
    fn the_configuration_names_the_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.toml");
        let args = AdminArgs {
            admin: None,
            token_file: None,
            config: Some(path.clone()),
        };
        assert!(matches!(args.target(), Err(AdminError::Config(_))));
        let upstream = "upstream = \"http://127.0.0.1:3000\"\n";
        let listen = "[admin]\nlisten = \"127.0.0.1:7070\"\n";
        std::fs::write(&path, format!("{upstream}{listen}")).unwrap();
        assert_eq!(args.target().unwrap().url, "http://127.0.0.1:7070");
        // What else is wrong with the file does not matter here.
        std::fs::write(&path, format!("threads = \"x\"\n{listen}")).unwrap();
        assert_eq!(args.target().unwrap().url, "http://127.0.0.1:7070");
        std::fs::write(&path, "[admin]\nlisten = 7").unwrap();
        assert!(matches!(args.target(), Err(AdminError::Config(_))));
        std::fs::write(&path, format!("{upstream}[admin]\nlisten = \"off\"\n")).unwrap();
        assert!(matches!(args.target(), Err(AdminError::Off)));
    }

    #[test]
    fn a_query_is_escaped() {
        let written = query(&[("pattern", "/a/**?b&c=é"), ("soft", "true")]);
        assert_eq!(written, "?pattern=/a/%2A%2A%3Fb%26c%3D%C3%A9&soft=true");
        assert_eq!(query(&[]), "");
    }

    #[test]
    fn the_token_is_not_printed() {
        let target = AdminTarget::at("http://a:1", Some(Secret::new("s3cret"))).unwrap();
        assert!(!format!("{target:?}").contains("s3cret"));
    }
}
