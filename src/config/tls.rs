//! `[tls]`: what it holds, and its options.

use std::path::PathBuf;

use super::ListenAddress;
use super::kinds::{Flag, OneOrMore, Parsed, Wrong};
use super::listen::listen;
use super::options::pem_file;
use super::reader::Table;

/// `[tls]`: TLS for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// `listen`: where TLS is spoken; `None`: at [`super::Config::listen`].
    pub listen: Option<Vec<ListenAddress>>,
    /// `proxy_protocol`: a connection there begins with a header of the PROXY
    /// protocol (`false`).
    pub proxy_protocol: bool,
    /// `certificate` and `key`, which are the first, and `[[tls.certificates]]`.
    pub certificates: Vec<CertificateFiles>,
    /// `client_ca`: PEM file of authorities; one of them must have signed a
    /// client's certificate (`""`: no client needs one).
    pub client_ca: Option<PathBuf>,
}

/// A certificate and its key, each a PEM file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// `certificate`: the server's, and those between it and an authority.
    pub certificate: PathBuf,
    /// `key`.
    pub key: PathBuf,
}

/// Reads the table; `None` where it names no certificate, which was reported.
pub(super) fn read(mut table: Table<'_>) -> Option<TlsConfig> {
    let listen: Option<Vec<ListenAddress>> = table.optional(
        "listen",
        "\":8443\"",
        OneOrMore(listen()),
        "Where clients connect with TLS. Without it, TLS is what the `listen` at the top of the file speaks.",
    );
    let proxy_protocol = table.option(
        "proxy_protocol",
        false,
        Flag,
        "As at the top of the file, for connections to `tls.listen`.",
    );
    if proxy_protocol && listen.is_none() {
        table.problem(
            "proxy_protocol",
            "`tls.proxy_protocol` is for `tls.listen`, which is left out",
            Some("write `proxy_protocol` at the top of the file".to_owned()),
        );
    }
    let first = pair(
        &mut table,
        "The chain of certificates, PEM, the server's own first: for clients that name no host, or one that no other certificate is for.",
        "Its private key, PEM: PKCS #8, PKCS #1 or SEC1, not encrypted. This file, the one above and those below are read again when they change, and on SIGHUP.",
    );
    let client_ca = table.option(
        "client_ca",
        None,
        pem_file(),
        "Certificates of authorities, PEM: every client must present a certificate that one of them has signed; \"\": none is asked for.",
    );
    let others: Vec<_> = table
        .tables(
            "tls.certificates",
            "Further certificates, for clients that name (SNI) a host they are for.",
        )
        .into_iter()
        .map(|mut table| {
            let pair = pair(
                &mut table,
                "The chain, as above. Which hosts it is for stands in it (subjectAltName); `*.` is for one label.",
                "Its private key.",
            );
            table.finish();
            pair
        })
        .collect();
    table.finish();
    let certificates: Option<Vec<_>> = std::iter::once(first).chain(others).collect();
    Some(TlsConfig {
        listen,
        proxy_protocol,
        certificates: certificates?,
        client_ca,
    })
}

/// A certificate and its key.
fn pair(
    table: &mut Table<'_>,
    certificate: &'static str,
    key: &'static str,
) -> Option<CertificateFiles> {
    let certificate = table.required(
        "certificate",
        "\"/etc/pannier/tls/chain.pem\"",
        file(),
        certificate,
    );
    let key = table.required("key", "\"/etc/pannier/tls/key.pem\"", file(), key);
    Some(CertificateFiles {
        certificate: certificate?,
        key: key?,
    })
}

fn file() -> Parsed<PathBuf> {
    Parsed {
        expects: "the path of a PEM file",
        parse: |text| match text {
            "" => Err(Wrong::new("this is no path")),
            text if text.contains('\0') => Err(Wrong::new("this is no path")),
            path => Ok(path.into()),
        },
        write: |path| path.display().to_string(),
    }
}
