//! The pooled client of the upstream.
//!
//! Promises: connections are kept alive and reused; a response head comes
//! within `response_timeout` or is an error; every error says whether the
//! origin may have acted. Knows nothing of caching.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::body::OriginBody;
use super::connect::{Timed, To, UnixConnector};
use super::counted::Counted;
use super::error::{OriginError, OriginErrorKind, chain};
use super::upload::Upload;
use super::wire_pool::{Dial, WirePool};
use crate::config::{OriginConfig, Upstream};
use crate::message::{Body, BodyError};
use crate::telemetry::upstream::UpstreamCounters;

/// The client of one data thread. Cloning shares its connections.
#[derive(Clone, Debug)]
pub struct OriginClient {
    transport: Transport,
    /// Connections for exchanges written by hand, where there may be any.
    wire: Option<Arc<WirePool>>,
    config: Arc<OriginConfig>,
    counters: Arc<UpstreamCounters>,
}

#[derive(Clone, Debug)]
enum Transport {
    Http(Client<Counted<Timed<To<HttpConnector>>>, Upload>),
    Https(Client<Counted<Timed<To<HttpsConnector<HttpConnector>>>>, Upload>),
    Unix(Client<Counted<Timed<UnixConnector>>, Upload>),
}

/// The certificates to trust cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// `ca_file` cannot be read.
    #[error("`ca_file` {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It holds no certificate.
    #[error("`ca_file` {0} holds no certificate")]
    Empty(String),
    /// The system's certificates cannot be read.
    #[error("the system's certificates: {0}")]
    System(io::Error),
}

impl OriginClient {
    /// A client of `upstream`; connections are made when they are needed.
    ///
    /// # Errors
    /// [`TrustError`] where an `https` upstream has no certificates to trust.
    pub fn new(
        upstream: &Upstream,
        config: &OriginConfig,
        counters: &Arc<UpstreamCounters>,
    ) -> Result<Self, TrustError> {
        let root = PathAndQuery::from_static("/");
        let (transport, dial) = match upstream {
            Upstream::Http { authority } => {
                let to = uri(Scheme::HTTP, authority.clone(), root);
                let connector = timed(config, To::new(tcp(), to));
                let connector = Counted::new(connector, counters);
                let dial = Dial::Tcp(connector.clone());
                (
                    Transport::Http(builder(config).build(connector)),
                    Some(dial),
                )
            }
            Upstream::Https { authority } => {
                let to = uri(Scheme::HTTPS, authority.clone(), root);
                let connector = timed(config, To::new(tls(config)?, to));
                let connector = Counted::new(connector, counters);
                (Transport::Https(builder(config).build(connector)), None)
            }
            Upstream::Unix { path } => {
                let connector = timed(config, UnixConnector::new(path.clone()));
                let connector = Counted::new(connector, counters);
                let dial = Dial::Unix(connector.clone());
                (
                    Transport::Unix(builder(config).build(connector)),
                    Some(dial),
                )
            }
        };
        let config = Arc::new(config.clone());
        let wire = dial.map(|dial| WirePool::new(dial, Arc::clone(&config), Arc::clone(counters)));
        Ok(Self {
            transport,
            wire,
            config,
            counters: Arc::clone(counters),
        })
    }

    /// Connections for exchanges written by hand; `None` where the upstream is
    /// spoken to in TLS.
    #[must_use]
    pub fn wire(&self) -> Option<&Arc<WirePool>> {
        self.wire.as_ref()
    }

    /// Timeouts and bounds of this client.
    #[must_use]
    pub fn config(&self) -> &OriginConfig {
        &self.config
    }

    /// Sends a request and waits for the response head. Waits its turn before,
    /// where as many exchanges are under way as may be. The time a client takes
    /// over its body is not the origin's.
    ///
    /// # Errors
    /// [`OriginError`], which says whether the origin may have acted.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<OriginBody>, OriginError> {
        let permit = match self.counters.exchanges.enter().await {
            Ok(permit) => permit,
            Err(refused) => {
                return Err(OriginError::new(OriginErrorKind::Overloaded, refused));
            }
        };
        let sent = self.exchange(request).await;
        match &sent {
            Ok(_) => self.counters.answered(),
            Err(error) if error.kind == OriginErrorKind::RequestBody => {
                self.counters.gave_up(error.kind.as_str());
            }
            Err(error) => self.counters.failed(error.kind.as_str()),
        }
        sent.map(|response| {
            response.map(|body| OriginBody::new(body, permit, Arc::clone(&self.counters)))
        })
    }

    /// Sends it over one of the connections, all of which lead to the upstream.
    /// The pool finds them by authority, which it hashes byte by byte and three
    /// times a request: so it gets a short one.
    async fn exchange(&self, request: Request<Body>) -> Result<Response<Incoming>, OriginError> {
        let (parts, body) = request.into_parts();
        let (body, progress) = Upload::of(body);
        let mut request = Request::from_parts(parts, body);
        *request.version_mut() = Version::HTTP_11;
        let target = request.uri().path_and_query().cloned();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = uri(Scheme::HTTP, Authority::from_static("o"), target);
        let sending = match &self.transport {
            Transport::Http(client) => client.request(request),
            Transport::Https(client) => client.request(request),
            Transport::Unix(client) => client.request(request),
        };
        let answer = tokio::select! {
            biased;
            answer = sending => answer.map_err(classify),
            () = progress.none_for(self.config.response_timeout) => {
                Err(OriginError::bare(OriginErrorKind::ResponseTimeout))
            }
        };
        answer.map_err(|error| error.after(progress.is_whole()))
    }
}

fn uri(scheme: Scheme, authority: Authority, path_and_query: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path_and_query);
    // All three parts are there: this is always a URI.
    Uri::from_parts(parts).unwrap_or_default()
}

fn builder(config: &OriginConfig) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(config.idle_timeout)
        .pool_max_idle_per_host(config.idle_connections_max)
        .set_host(false);
    builder
}

fn timed<C>(config: &OriginConfig, connector: C) -> Timed<C> {
    Timed::new(connector, config.connect_timeout)
}

fn tcp() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.enforce_http(false);
    connector
}

fn tls(config: &OriginConfig) -> Result<HttpsConnector<HttpConnector>, TrustError> {
    let tls = HttpsConnectorBuilder::new();
    let builder = match &config.ca_file {
        None => tls.with_native_roots().map_err(TrustError::System)?,
        Some(path) => {
            let shown = path.display().to_string();
            let unreadable = |source| TrustError::File {
                path: shown.clone(),
                source,
            };
            let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_reader_iter(&mut file) {
                let certificate = certificate.map_err(|error| {
                    unreadable(io::Error::new(io::ErrorKind::InvalidData, error))
                })?;
                roots.add(certificate).map_err(|error| {
                    unreadable(io::Error::new(io::ErrorKind::InvalidData, error))
                })?;
            }
            if roots.is_empty() {
                return Err(TrustError::Empty(shown));
            }
            let client = rustls::ClientConfig::builder()
                .with_root_certificates(roots)
                .with_no_client_auth();
            tls.with_tls_config(client)
        }
    };
    Ok(builder.https_only().enable_http1().wrap_connector(tcp()))
}

fn classify(error: ClientError) -> OriginError {
    let kind = if error.is_connect() {
        OriginErrorKind::of_connect(&error)
    } else if caused_by(&error, |cause| cause.is::<BodyError>()) {
        OriginErrorKind::RequestBody
    } else if caused_by(&error, is_protocol) {
        OriginErrorKind::Protocol
    } else {
        OriginErrorKind::Reset
    };
    OriginError::new(kind, error)
}

fn is_protocol(cause: &(dyn Error + 'static)) -> bool {
    cause
        .downcast_ref::<hyper::Error>()
        .is_some_and(hyper::Error::is_parse)
}

fn caused_by(error: &ClientError, predicate: impl Fn(&(dyn Error + 'static)) -> bool) -> bool {
    chain(error).skip(1).any(predicate)
}
