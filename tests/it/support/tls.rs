//! A certificate authority of a test's own, servers it vouches for, and clients
//! that trust it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::within;

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate that it has signed.
pub(crate) struct Issued {
    /// The certificate, PEM.
    pub(crate) pem: String,
    /// The same, DER.
    pub(crate) der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    /// A new one.
    pub(crate) fn new() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(authority, key);
        Self(issuer.expect("a self-signed certificate"))
    }

    /// Its certificate, PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Signs a certificate for these names.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &self.0))
            .expect("a signed certificate");
        Issued {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            key,
        }
    }

    /// A client that trusts it, and speaks what `alpn` says.
    pub(crate) fn client(&self, alpn: &[&str]) -> Client {
        self.make_client(alpn, None)
    }

    /// The same, with a certificate of its own.
    pub(crate) fn client_with(&self, alpn: &[&str], own: &Issued) -> Client {
        self.make_client(alpn, Some(own))
    }

    fn make_client(&self, alpn: &[&str], own: Option<&Issued>) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder
                .with_client_auth_cert(vec![own.der.clone()], own.private())
                .expect("a certificate and its key"),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Client {
            connector: TlsConnector::from(Arc::new(config)),
        }
    }
}

impl Issued {
    /// Writes `name.pem` and `name.key`.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        std::fs::write(folder.join(format!("{name}.pem")), &self.pem).expect("a file");
        let key = self.key.serialize_pem();
        std::fs::write(folder.join(format!("{name}.key")), key).expect("a file");
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// `certificate = …` and `key = …` for files that [`Issued::write`] wrote.
pub(crate) fn pair(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    let path = path.display();
    format!("certificate = \"{path}.pem\"\nkey = \"{path}.key\"\n")
}

/// A client of TLS.
pub(crate) struct Client {
    connector: TlsConnector,
}

impl Client {
    /// Shakes hands with `name` at `address`.
    ///
    /// # Panics
    /// Where that comes to nothing.
    pub(crate) async fn connect(&self, address: SocketAddr, name: &str) -> TlsStream<TcpStream> {
        let connected = self.try_connect(address, name, b"").await;
        connected.unwrap_or_else(|error| panic!("no handshake with {name}: {error}"))
    }

    /// The same after some other bytes.
    pub(crate) async fn try_connect(
        &self,
        address: SocketAddr,
        name: &str,
        before: &[u8],
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(before).await?;
        self.over(stream, name).await
    }

    /// Shakes hands with `name` on a connection that is there.
    pub(crate) async fn over<I>(&self, stream: I, name: &str) -> io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        within("a handshake", self.connector.connect(name, stream)).await
    }

    /// The certificate that `name` at `address` presents.
    pub(crate) async fn shown(&self, address: SocketAddr, name: &str) -> CertificateDer<'static> {
        let stream = self.connect(address, name).await;
        let shown = stream.get_ref().1.peer_certificates();
        shown.expect("a certificate")[0].clone().into_owned()
    }
}

/// A server for `localhost`.
pub(crate) struct Localhost {
    /// The authority's certificate, as `[origin] ca_file` wants it.
    pub(crate) ca_pem: String,
    /// The server's side of TLS.
    pub(crate) acceptor: TlsAcceptor,
}

/// A new authority and a certificate for `localhost` signed by it.
pub(crate) fn localhost() -> Localhost {
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("protocol versions")
        .with_no_client_auth()
        .with_single_cert(vec![issued.der.clone()], issued.private())
        .expect("a certificate and its key");
    Localhost {
        ca_pem: authority.pem(),
        acceptor: TlsAcceptor::from(Arc::new(server)),
    }
}
