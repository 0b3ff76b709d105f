//! Which certificate a client is shown: by the name it asks for (SNI, RFC 6066
//! §3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use webpki::EndEntityCert;

use super::TlsError;
use super::files::FileContents;
use crate::config::CertificateFiles;

/// Certificates and their keys.
#[derive(Debug)]
pub(super) struct Certificates {
    /// For clients that ask for none of the names.
    default: Arc<CertifiedKey>,
    /// By the names they are for, lower case; `*.` stands for one label. Where
    /// several are for one, the first.
    by_name: HashMap<Box<str>, Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads `pairs`; the first is the default.
    pub(super) fn load(
        pairs: &[CertificateFiles],
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let mut default = None;
        let mut by_name = HashMap::new();
        for pair in pairs {
            let (certified, names) = load(pair, provider)?;
            if names.is_empty() && default.is_some() {
                return Err(TlsError::new(
                    &pair.certificate,
                    "the certificate is for no host (subjectAltName): no client could ask for it",
                ));
            }
            let certified = Arc::new(certified);
            for name in names {
                by_name
                    .entry(name)
                    .or_insert_with(|| Arc::clone(&certified));
            }
            default.get_or_insert(certified);
        }
        let nothing = || TlsError::new(std::path::Path::new(""), "there is no certificate");
        Ok(Self {
            default: default.ok_or_else(nothing)?,
            by_name,
        })
    }

    /// The one for a client that asks for `name`.
    fn find(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let name = name.strip_suffix('.').unwrap_or(&name);
            self.by_name.get(name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.by_name.get(&*format!("*.{parent}"))
            })
        });
        found.unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

/// A certificate with its key, and the names it is for.
fn load(
    pair: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Vec<Box<str>>), TlsError> {
    let chain = FileContents::read(&pair.certificate)?.certificates()?;
    let key = FileContents::read(&pair.key)?.key()?;
    let of_certificate = |error: String| TlsError::new(&pair.certificate, error);
    let names = match chain.first().map(EndEntityCert::try_from) {
        Some(Ok(certificate)) => certificate
            .valid_dns_names()
            .map(|name| name.to_ascii_lowercase().into())
            .collect(),
        Some(Err(error)) => {
            return Err(of_certificate(format!(
                "the certificate cannot be read: {error}"
            )));
        }
        None => Vec::new(),
    };
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let certificate = pair.certificate.display();
            TlsError::new(&pair.key, format!("this is not the key of {certificate}"))
        }
        Error::InvalidCertificate(error) => of_certificate(format!("{error:?}")),
        error => TlsError::new(&pair.key, format!("the key cannot be used: {error}")),
    })?;
    Ok((certified, names))
}

#[cfg(test)]
impl Certificates {
    /// The certificate shown to a client that asks for `name`.
    pub(super) fn shown(&self, name: Option<&str>) -> &[u8] {
        &self.find(name).cert[0]
    }
}
