//! TLS towards the application: whom it is believed, and for which name.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::client::TrustError;

/// HTTP/2, as ALPN calls it.
pub(super) const HTTP2: &[u8] = b"h2";

/// What makes TLS connections: of HTTP/1, and of what the upstream chooses.
pub(super) struct Connectors {
    pub(super) http1: TlsConnector,
    pub(super) either: TlsConnector,
}

/// What makes TLS connections that trust the certificates of `ca_file`, or the
/// system's.
///
/// # Errors
/// [`TrustError`] where there are none.
pub(super) fn connectors(ca_file: Option<&Path>) -> Result<Connectors, TrustError> {
    let roots = match ca_file {
        Some(path) => roots_in(path)?,
        None => roots_of_the_system().map_err(TrustError::System)?,
    };
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut offering = config.clone();
    offering.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(Connectors {
        http1: TlsConnector::from(Arc::new(config)),
        either: TlsConnector::from(Arc::new(offering)),
    })
}

fn roots_in(path: &Path) -> Result<RootCertStore, TrustError> {
    let shown = path.display().to_string();
    let unreadable = |source| TrustError::File {
        path: shown.clone(),
        source,
    };
    let malformed = |error: Box<dyn std::error::Error + Send + Sync>| {
        unreadable(io::Error::new(io::ErrorKind::InvalidData, error))
    };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_reader_iter(&mut file) {
        let certificate = certificate.map_err(|error| malformed(error.into()))?;
        roots
            .add(certificate)
            .map_err(|error| malformed(error.into()))?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty(shown));
    }
    Ok(roots)
}

/// Those that can be read: one that cannot does not take the others away.
fn roots_of_the_system() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors = found.errors.iter().map(ToString::to_string);
        let errors = errors.collect::<Vec<_>>().join("; ");
        let none = format!("none that can be used were found ({errors})");
        return Err(io::Error::new(io::ErrorKind::NotFound, none));
    }
    for error in found.errors {
        tracing::warn!(%error, "some certificates of the system cannot be read");
    }
    Ok(roots)
}
