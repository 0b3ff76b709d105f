//! TLS for clients: certificates, handshakes, and what was agreed in them.
//!
//! Promises: which certificate is presented follows the name that the client
//! asks for; certificates can be renewed while connections go on, and where new
//! ones cannot be used the old ones stay in use; a key is in no log. Session
//! tickets are encrypted with a key of this process that changes on its own and
//! with every renewal, so that no session outlives the authorities its client
//! was checked against.
//!
//! Knows nothing of HTTP but the names of its versions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::TlsConfig;

mod files;
mod names;

use files::FileContents;
use names::Certificates;

/// What may be agreed on (RFC 7301), the most wanted first. Some clients that
/// speak HTTP/1.0 say so.
const PROTOCOLS: [&[u8]; 3] = [HTTP_2, b"http/1.1", b"http/1.0"];
const HTTP_2: &[u8] = b"h2";

/// A file of `[tls]` that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct TlsError {
    /// Its path.
    pub file: PathBuf,
    /// Why not; quotes nothing of it.
    pub reason: String,
}

impl TlsError {
    fn new(file: &Path, reason: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            reason: reason.into(),
        }
    }
}

/// What TLS is spoken with.
#[derive(Debug)]
pub struct Tls {
    current: ArcSwap<ServerConfig>,
    /// Of the files when they were last read, whether or not they could be used.
    read: Mutex<Fingerprint>,
}

/// The contents of files as one value, which differs where one of them does.
type Fingerprint = [u8; 32];

impl Tls {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// [`TlsError`] for the first that cannot be used.
    pub fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        // First: what changes meanwhile is a change.
        let read = Mutex::new(fingerprint(config));
        Ok(Self {
            current: ArcSwap::from_pointee(server_config(config)?),
            read,
        })
    }

    /// Reads them again: handshakes that begin from now on use them.
    ///
    /// # Errors
    /// [`TlsError`] for the first that cannot be used; then nothing has changed.
    pub fn reload(&self, config: &TlsConfig) -> Result<(), TlsError> {
        *self.read.lock() = fingerprint(config);
        self.current.store(Arc::new(server_config(config)?));
        Ok(())
    }

    /// Whether the files are others than were last read.
    #[must_use]
    pub fn has_changed(&self, config: &TlsConfig) -> bool {
        fingerprint(config) != *self.read.lock()
    }

    /// Shakes hands with the client at the other end of `socket`.
    pub(super) async fn accept<I>(&self, socket: I) -> std::io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        acceptor.accept(socket).await
    }
}

/// What was agreed in a handshake: whether it is HTTP/2, if anything was.
pub(super) fn is_http_2<I>(stream: &TlsStream<I>) -> Option<bool> {
    let (_, connection) = stream.get_ref();
    let agreed = connection.alpn_protocol()?;
    Some(agreed == HTTP_2)
}

/// Of all files that `config` names; one that cannot be read is like an empty
/// one.
fn fingerprint(config: &TlsConfig) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    for path in paths(config) {
        let contents = files::read(path).unwrap_or_default();
        hasher.update(&(contents.len() as u64).to_le_bytes());
        hasher.update(&contents);
    }
    *hasher.finalize().as_bytes()
}

/// All files that `config` names.
pub fn paths(config: &TlsConfig) -> impl Iterator<Item = &Path> {
    let pairs = config.certificates.iter();
    let pairs = pairs.flat_map(|pair| [&*pair.certificate, &*pair.key]);
    pairs.chain(config.client_ca.as_deref())
}

fn server_config(config: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certificates = Certificates::load(&config.certificates, &provider)?;
    let internal = |error: rustls::Error| {
        let file = config.certificates.first().map(|pair| &*pair.certificate);
        TlsError::new(file.unwrap_or(Path::new("")), error.to_string())
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(internal)?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(FileContents::read(path)?.roots()?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| TlsError::new(path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder.with_cert_resolver(Arc::new(certificates));
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    server.ticketer = ring::Ticketer::new().map_err(internal)?;
    Ok(server)
}

#[cfg(test)]
mod tests;
