//! Where Redis is, and how one connection to it is made.

use std::path::Path;
use std::time::Duration;

use redis::cluster::ClusterClient;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisError, RedisResult, TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::connection::Connection;
use crate::config::{RedisConfig, Secret};

/// Requests a connection takes in before their callers wait to hand theirs
/// over; the wait counts against the caller's own budget.
const IN_FLIGHT_MAX: usize = 1024;

/// Where Redis is: one node, or some nodes of a cluster. Holds credentials and
/// is therefore not printable.
#[derive(Clone)]
pub struct Endpoint {
    nodes: Nodes,
    connect_timeout: Duration,
}

#[derive(Clone)]
enum Nodes {
    Single(Box<Client>),
    Cluster(Vec<ConnectionInfo>, Option<TlsCertificates>),
}

/// Why there is no way to Redis. Names no URL: they hold passwords.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// No URL at all.
    #[error("no Redis URL is given")]
    None,
    /// One that is no Redis URL.
    #[error("Redis URL number {number} cannot be used: {reason}")]
    Url {
        /// Which one, counted from one.
        number: usize,
        /// Why, in words that do not repeat it.
        reason: String,
    },
    /// `ca_file` cannot be read, or holds no certificates.
    #[error("`redis.ca_file` {path} cannot be used: {reason}")]
    Trust {
        /// Where it is.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Endpoint {
    /// The endpoint of a configuration.
    ///
    /// # Errors
    ///
    /// Where a URL cannot be used.
    pub fn of(config: &RedisConfig) -> Result<Self, EndpointError> {
        let trust = config.ca_file.as_deref().map(certificates).transpose()?;
        Self::new(
            &config.nodes,
            config.is_cluster,
            trust,
            config.connect_timeout,
        )
    }

    /// One URL is a single node, unless `is_cluster`; several are nodes of one
    /// cluster. Schemes: `redis`, `rediss` (TLS, trusting the authorities of
    /// `trust` in place of the system's), `redis+unix`.
    ///
    /// # Errors
    ///
    /// Where a URL cannot be used.
    pub fn new(
        urls: &[Secret],
        is_cluster: bool,
        trust: Option<TlsCertificates>,
        connect_timeout: Duration,
    ) -> Result<Self, EndpointError> {
        let mut infos = Vec::with_capacity(urls.len());
        for (index, url) in urls.iter().enumerate() {
            let info = connection_info(url).map_err(|error| unusable(index + 1, &error))?;
            infos.push(info);
        }
        // Given certificates, a cluster would speak TLS to any node.
        let is_tls = |info: &ConnectionInfo| matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let trust = trust.filter(|_| infos.iter().any(is_tls));
        let nodes = match infos.len() {
            0 => return Err(EndpointError::None),
            1 if !is_cluster => {
                let info = infos.remove(0);
                let client = match trust {
                    Some(trust) => Client::build_with_tls(info, trust),
                    None => Client::open(info),
                };
                let client = client.map_err(|error| unusable(1, &error))?;
                Nodes::Single(Box::new(client))
            }
            _ => Nodes::Cluster(infos, trust),
        };
        Ok(Self {
            nodes,
            connect_timeout,
        })
    }

    /// Where it leads, without credentials: `host:port/number`, of a cluster
    /// every node that is configured.
    #[must_use]
    pub fn place(&self) -> String {
        let of = |info: &ConnectionInfo| format!("{}/{}", info.addr(), info.redis_settings().db());
        match &self.nodes {
            Nodes::Single(client) => of(client.get_connection_info()),
            Nodes::Cluster(infos, _) => {
                let mut places: Vec<String> = infos.iter().map(of).collect();
                places.sort();
                places.join(",")
            }
        }
    }

    /// Makes a connection whose answers are given up on after
    /// `response_timeout`. Name resolution, TLS and AUTH are part of it and
    /// share one `connect_timeout`.
    ///
    /// # Errors
    ///
    /// Those of Redis and of the network.
    pub async fn connect(&self, response_timeout: Duration) -> RedisResult<Connection> {
        tokio::time::timeout(self.connect_timeout, self.attempt(response_timeout))
            .await
            .unwrap_or_else(|_| {
                let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
                Err(RedisError::from(late))
            })
    }

    async fn attempt(&self, response_timeout: Duration) -> RedisResult<Connection> {
        match &self.nodes {
            Nodes::Single(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(self.connect_timeout))
                    .set_response_timeout(Some(response_timeout))
                    .set_pipeline_buffer_size(IN_FLIGHT_MAX);
                let connection = client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?;
                Ok(Connection::single(connection))
            }
            Nodes::Cluster(infos, trust) => {
                let builder = ClusterClient::builder(infos.clone());
                let builder = match trust {
                    Some(trust) => builder.certs(trust.clone()),
                    None => builder,
                };
                let connection = builder
                    .connection_timeout(self.connect_timeout)
                    .response_timeout(response_timeout)
                    .tcp_settings(TcpSettings::default().set_nodelay(true))
                    .build()?
                    .get_async_connection()
                    .await?;
                Ok(Connection::cluster(connection))
            }
        }
    }
}

/// The authorities that a PEM file names.
fn certificates(path: &Path) -> Result<TlsCertificates, EndpointError> {
    let unusable = |reason: String| EndpointError::Trust {
        path: path.display().to_string(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let mut found = CertificateDer::pem_slice_iter(&pem);
    match found.next() {
        Some(Ok(_)) if found.all(|certificate| certificate.is_ok()) => Ok(TlsCertificates {
            client_tls: None,
            root_cert: Some(pem),
        }),
        Some(_) => Err(unusable("a certificate in it cannot be read".to_owned())),
        None => Err(unusable("it holds no certificate".to_owned())),
    }
}

fn connection_info(url: &Secret) -> RedisResult<ConnectionInfo> {
    let info = url.reveal().into_connection_info()?;
    let settings = info
        .redis_settings()
        .clone()
        .set_lib_name("pannier", env!("CARGO_PKG_VERSION"));
    Ok(info
        .set_tcp_settings(TcpSettings::default().set_nodelay(true))
        .set_redis_settings(settings))
}

fn unusable(number: usize, error: &RedisError) -> EndpointError {
    let reason = match error.kind() {
        ErrorKind::InvalidClientConfig => error
            .detail()
            .map_or_else(|| error.category().to_owned(), str::to_owned),
        _ => error.category().to_owned(),
    };
    EndpointError::Url { number, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::test_redis::TestRedis;

    #[test]
    fn a_url_that_cannot_be_used_is_named_by_number_and_not_repeated() {
        let urls = [
            Secret::new("redis://127.0.0.1:1"),
            Secret::new("http://user:hunter2@example/"),
        ];
        let error = Endpoint::new(&urls, true, None, Duration::from_secs(1))
            .err()
            .unwrap();
        let text = format!("{error} {error:?}");
        assert!(text.contains('2') && !text.contains("hunter2"), "{text}");
        assert!(matches!(
            Endpoint::new(&[], false, None, Duration::from_secs(1)),
            Err(EndpointError::None)
        ));
    }

    #[test]
    fn tls_unix_and_plain_urls_are_understood() {
        for url in [
            "redis://user:pass@localhost:6379/2",
            "rediss://localhost",
            "redis+unix:///run/redis.sock?db=1",
        ] {
            assert!(
                Endpoint::new(&[Secret::new(url)], false, None, Duration::from_secs(1)).is_ok()
            );
        }
    }

    #[tokio::test]
    async fn a_private_authority_is_trusted_where_it_is_named_and_nowhere_else() {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let (redis, ca_file) = TestRedis::on_tls();
        let patient = Duration::from_secs(5);
        let trusting = Endpoint::of(&redis.tls_config(Some(ca_file))).unwrap();
        let mut connection = trusting.connect(patient).await.unwrap();
        connection.ping().await.unwrap();
        let distrusting = Endpoint::of(&redis.tls_config(None)).unwrap();
        assert!(distrusting.connect(patient).await.is_err());
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing").unwrap();
        for path in [empty, folder.path().join("missing.pem")] {
            let config = RedisConfig {
                ca_file: Some(path.clone()),
                ..TestRedis::reserve().config()
            };
            let error = Endpoint::of(&config).err().unwrap().to_string();
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_does_not_speak_tls_is_an_error() {
        let redis = TestRedis::on_tcp();
        let url = redis.config().nodes[0]
            .reveal()
            .replace("redis:", "rediss:");
        let endpoint =
            Endpoint::new(&[Secret::new(url)], false, None, Duration::from_millis(300)).unwrap();
        assert!(endpoint.connect(Duration::from_secs(5)).await.is_err());
    }
}
