//! What `run` would die of, and what would have no effect: found without running.
//!
//! Ports that are in use are no problem: `check` is asked beside the instance
//! that uses them.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use super::{StartError, load_tls, spool};
use crate::config::{Config, ListenAddress};
use crate::link::Endpoint;
use crate::origin::client::OriginClient;
use crate::pattern::Pattern;
use crate::proxy::SiteError;
use crate::telemetry::upstream::UpstreamCounters;

/// What a configuration leads to besides what its text says.
#[derive(Debug, Default)]
pub struct Findings {
    /// What keeps it from running.
    pub problems: Vec<StartError>,
    /// What has no effect, or works less well than it should.
    pub warnings: Vec<String>,
}

/// Looks whether `config` could run here.
#[must_use]
pub fn check(config: &Config) -> Findings {
    // Fails only where a provider was installed before, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut findings = Findings::default();
    let problems = &mut findings.problems;
    problems.extend(load_tls(config).err());
    let counters = std::sync::Arc::<UpstreamCounters>::default();
    let client = OriginClient::new(&config.upstream, &config.origin, &counters);
    problems.extend(
        client
            .err()
            .map(|error| StartError::Site(SiteError::Trust(error))),
    );
    let tls_listen = config
        .tls
        .iter()
        .flat_map(|tls| tls.listen.iter().flatten());
    for address in config.listen.iter().chain(tls_listen) {
        let bound = match address {
            ListenAddress::Tcp(address) => can_bind(*address),
            ListenAddress::Unix(path) => can_make_socket(path),
        };
        problems.extend(bound.err().map(StartError::Listen));
    }
    if let Some(admin) = &config.admin {
        let bound = can_bind(admin.listen);
        problems.extend(
            bound
                .err()
                .map(|error| StartError::AdminListen(admin.listen, error)),
        );
    }
    if let Some(redis) = &config.redis {
        match Endpoint::of(redis) {
            Err(error) => problems.push(StartError::Redis(error)),
            Ok(_) => findings.warnings.extend(spooling(config)),
        }
    }
    findings.warnings.extend(without_effect(config));
    for file in config.warm.iter().filter_map(|warm| warm.file.as_deref()) {
        if let Err(error) = File::open(file) {
            let shown = file.display();
            findings
                .warnings
                .push(format!("`warm.file` {shown} cannot be read: {error}"));
        }
    }
    findings
}

fn can_bind(address: SocketAddr) -> io::Result<()> {
    match TcpListener::bind(address) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            Err(io::Error::new(error.kind(), format!("{address}: {error}")))
        }
        _ => Ok(()),
    }
}

/// Whether a socket could be made at `path`; where a file stands there, whether it
/// could be replaced.
fn can_make_socket(path: &Path) -> io::Result<()> {
    let shown = |error: io::Error| {
        io::Error::new(error.kind(), format!("unix:{}: {error}", path.display()))
    };
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => Ok(()),
        Ok(_) => Err(shown(io::ErrorKind::AlreadyExists.into())),
        Err(_) => can_write(path).map_err(shown),
    }
}

/// What is wrong with the place for bans that wait for Redis.
fn spooling(config: &Config) -> Option<String> {
    let redis = config.redis.as_ref()?;
    let path = spool::path(&config.coherence.spool, redis).ok()??;
    let error = can_write(&path).err()?;
    Some(format!(
        "the spool {} cannot be written: {error}; invalidations that wait for Redis are lost when \
         the process ends",
        path.display()
    ))
}

/// Whether a file could be written there; leaves none behind.
fn can_write(path: &Path) -> io::Result<()> {
    if path.exists() {
        return OpenOptions::new().append(true).open(path).map(drop);
    }
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    made.and_then(|file| {
        drop(file);
        std::fs::remove_file(path)
    })
}

/// What no route can match.
fn without_effect(config: &Config) -> Vec<String> {
    let routes: Vec<Pattern> = config
        .routes
        .iter()
        .filter_map(|route| Pattern::parse(&route.path).ok())
        .collect();
    let mut warnings = Vec::new();
    for rule in &config.invalidations {
        for purge in &rule.purge {
            if !routes.iter().any(|route| route.may_overlap(purge)) {
                warnings.push(format!(
                    "`purge` of `{purge}` (invalidations of `{}`) has no effect: no route matches it",
                    rule.path
                ));
            }
        }
    }
    for target in config.warm.iter().flat_map(|warm| &warm.paths) {
        let path = target.split('?').next().unwrap_or(target);
        if !routes.iter().any(|route| route.matches(path)) {
            warnings.push(format!(
                "`warm.paths` has `{target}`, which no route matches: it would not be stored"
            ));
        }
    }
    warnings
}
