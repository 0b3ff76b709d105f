//! PEM files: certificates and keys, and what is wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// Bytes of one file; a longer one is refused.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A file that was read.
pub(super) struct FileContents<'p> {
    path: &'p Path,
    bytes: Vec<u8>,
}

/// Reads a file whole, where it is one: nothing else is waited for.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("it has more than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::other(message));
    }
    Ok(bytes)
}

impl<'p> FileContents<'p> {
    pub(super) fn read(path: &'p Path) -> Result<Self, TlsError> {
        match read(path) {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(error) => {
                let reason = format!("the file cannot be read: {error}");
                Err(TlsError::new(path, reason))
            }
        }
    }

    /// All certificates in it, in order; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        let found = found.map_err(|error| self.malformed(&error))?;
        if found.is_empty() {
            return Err(TlsError::new(self.path, "the file holds no certificate"));
        }
        Ok(found)
    }

    /// The first private key in it.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| match error {
            PemError::NoItemsFound => TlsError::new(
                self.path,
                "the file holds no private key that can be used; one with a password has to be decrypted first",
            ),
            error => self.malformed(&error),
        })
    }

    /// Its certificates, as those of authorities.
    pub(super) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots
                .add(certificate)
                .map_err(|error| TlsError::new(self.path, error.to_string()))?;
        }
        Ok(roots)
    }

    /// What the reader of PEM says may quote the file: a key, perhaps.
    fn malformed(&self, error: &PemError) -> TlsError {
        let reason = match error {
            PemError::MissingSectionEnd { .. } => "this is not PEM: a section does not end",
            PemError::IllegalSectionStart { .. } => "this is not PEM: a section begins badly",
            PemError::Base64Decode(_) => "this is not PEM: a section is not base64",
            _ => "this is not PEM",
        };
        TlsError::new(self.path, reason)
    }
}
