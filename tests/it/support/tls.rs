//! A certificate authority of a test's own, and a server it vouches for.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// A server for `localhost`.
pub(crate) struct Localhost {
    /// The authority's certificate, as `[origin] ca_file` wants it.
    pub(crate) ca_pem: String,
    /// The server's side of TLS.
    pub(crate) acceptor: TlsAcceptor,
}

/// A new authority and a certificate for `localhost` signed by it.
pub(crate) fn localhost() -> Localhost {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().expect("a key"))
        .expect("a self-signed certificate");

    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])
        .and_then(|server| server.signed_by(&key, &authority))
        .expect("a signed certificate");
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("a certificate and its key");
    Localhost {
        ca_pem: authority.pem(),
        acceptor: TlsAcceptor::from(Arc::new(server)),
    }
}
