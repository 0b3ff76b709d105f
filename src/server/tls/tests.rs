//! Certificates that are read, chosen, and refused.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::ring;
use tempfile::TempDir;

use super::*;
use crate::config::CertificateFiles;

/// A certificate for `names` and its key in files of `folder`; gives its bytes
/// too.
fn written(folder: &Path, file: &str, names: &[&str]) -> (CertificateFiles, Vec<u8>) {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key);
    let certificate = certificate.unwrap();
    let files = CertificateFiles {
        certificate: folder.join(format!("{file}.pem")),
        key: folder.join(format!("{file}.key")),
    };
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    (files, certificate.der().to_vec())
}

fn config(certificates: Vec<CertificateFiles>) -> TlsConfig {
    TlsConfig {
        listen: None,
        proxy_protocol: false,
        certificates,
        client_ca: None,
    }
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let folder = TempDir::new().unwrap();
    let (first, first_der) = written(folder.path(), "first", &["shop.example"]);
    let (wild, wild_der) = written(folder.path(), "wild", &["*.Shop.example", "other.example"]);
    let (late, _) = written(folder.path(), "late", &["shop.example"]);
    let provider = ring::default_provider();
    let certificates = Certificates::load(&[first, wild, late], &provider).unwrap();
    for (name, expected) in [
        (Some("shop.example"), &first_der),
        (Some("SHOP.example"), &first_der),
        (Some("www.shop.example"), &wild_der),
        (Some("other.example"), &wild_der),
        (Some("a.www.shop.example"), &first_der),
        (Some("unknown.example"), &first_der),
        (Some("localhost"), &first_der),
        (Some("*.shop.example"), &wild_der),
        (None, &first_der),
    ] {
        assert_eq!(certificates.shown(name), expected, "{name:?}");
    }
}

#[track_caller]
fn is_refused(config: &TlsConfig, file: &Path, saying: &str) {
    let error = Tls::load(config).err().map(|error| error.to_string());
    let error = error.unwrap_or_else(|| panic!("{} is taken", file.display()));
    assert!(error.starts_with(&file.display().to_string()), "{error}");
    assert!(error.contains(saying), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn what_cannot_be_used_is_named_with_its_reason() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (good, _) = written(folder.path(), "good", &["a.example"]);
    let (other, _) = written(folder.path(), "other", &["b.example"]);
    let (nameless, _) = written(folder.path(), "nameless", &[]);
    assert!(Tls::load(&config(vec![good.clone(), other.clone()])).is_ok());
    assert!(Tls::load(&config(vec![nameless.clone()])).is_ok());
    is_refused(
        &config(vec![good.clone(), nameless.clone()]),
        &nameless.certificate,
        "for no host",
    );

    let with = |certificate: &PathBuf, key: &PathBuf| {
        config(vec![CertificateFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        }])
    };
    is_refused(
        &with(&good.certificate, &other.key),
        &other.key,
        "not the key of",
    );
    is_refused(&with(&good.key, &good.key), &good.key, "no certificate");
    is_refused(
        &with(&good.certificate, &good.certificate),
        &good.certificate,
        "no private key",
    );
    is_refused(
        &with(&path("none"), &good.key),
        &path("none"),
        "cannot be read",
    );
    is_refused(
        &with(&folder.path().to_owned(), &good.key),
        folder.path(),
        "not a regular file",
    );

    let section =
        |kind: &str, text: &str| format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
    for (text, saying) in [
        (section("PRIVATE KEY", "secret!"), "base64"),
        (
            "-----BEGIN PRIVATE KEY-----\nsecret".to_owned(),
            "does not end",
        ),
        (section("PRIVATE KEY", "c2VjcmV0"), "cannot be used"),
        (section("ENCRYPTED PRIVATE KEY", "c2VjcmV0"), "password"),
        ("secret".to_owned(), "no private key"),
    ] {
        std::fs::write(path("bad.key"), text).unwrap();
        is_refused(
            &with(&good.certificate, &path("bad.key")),
            &path("bad.key"),
            saying,
        );
    }
    for (text, saying) in [
        (section("CERTIFICATE", "c2VjcmV0"), "cannot be read"),
        (section("CERTIFICATE", "secret!"), "base64"),
    ] {
        std::fs::write(path("bad.pem"), &text).unwrap();
        is_refused(&with(&path("bad.pem"), &good.key), &path("bad.pem"), saying);
        let clients = TlsConfig {
            client_ca: Some(path("bad.pem")),
            ..config(vec![good.clone()])
        };
        is_refused(&clients, &path("bad.pem"), "");
    }
}

#[test]
fn a_renewal_that_cannot_be_used_changes_nothing() {
    let folder = TempDir::new().unwrap();
    let (files, _) = written(folder.path(), "a", &["a.example"]);
    let config = config(vec![files.clone()]);
    let tls = Tls::load(&config).unwrap();
    let before = tls.current.load_full();
    assert!(!tls.has_changed(&config));
    std::fs::write(&files.certificate, "").unwrap();
    assert!(tls.has_changed(&config));
    assert!(tls.reload(&config).is_err());
    assert!(!tls.has_changed(&config), "it is not tried again and again");
    assert!(Arc::ptr_eq(&before, &tls.current.load_full()));
    written(folder.path(), "a", &["a.example"]);
    tls.reload(&config).unwrap();
    assert!(!Arc::ptr_eq(&before, &tls.current.load_full()));
}
