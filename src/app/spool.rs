//! Where the bans that wait for Redis are kept, unless `coherence.spool` says.
//!
//! In the state directory of the process, in a file for each Redis and
//! namespace: what was meant for one log goes into no other.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use crate::config::{RedisConfig, SpoolPlace};
use crate::link::{Endpoint, EndpointError};

/// `None` where it is off, or where there is no place for it, which is said.
pub(super) fn path(
    place: &SpoolPlace,
    redis: &RedisConfig,
) -> Result<Option<PathBuf>, EndpointError> {
    let name = match place {
        SpoolPlace::Off => return Ok(None),
        SpoolPlace::At(path) => return Ok(Some(path.clone())),
        SpoolPlace::StateDirectory => {
            let log = blake3::hash(Endpoint::of(redis)?.place().as_bytes());
            format!("{}-{}.bans", redis.namespace, &log.to_hex()[..8])
        }
    };
    let folder = folders(|name| std::env::var_os(name))
        .into_iter()
        .find(|folder| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.is_ok()
        });
    if folder.is_none() {
        tracing::warn!(
            "no directory for the spool: invalidations that wait for Redis are lost when this process ends; set `coherence.spool` or STATE_DIRECTORY"
        );
    }
    Ok(folder.map(|folder| folder.join(name)))
}

/// The state directories, the best first.
fn folders(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    // systemd may name several.
    let of_service = given("STATE_DIRECTORY").and_then(|value| {
        let mut paths = std::env::split_paths(&value);
        paths.next()
    });
    let of_user = given("XDG_STATE_HOME").map(|value| PathBuf::from(value).join("pannier"));
    let of_home = given("HOME").map(|value| PathBuf::from(value).join(".local/state/pannier"));
    let folders = [of_service, of_user, of_home].into_iter().flatten();
    folders.filter(|folder| folder.is_absolute()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Vec<PathBuf> {
        folders(|name| {
            let mut variables = variables.iter();
            let found = variables.find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).into())
        })
    }

    #[test]
    fn the_directory_of_the_service_comes_first_and_then_that_of_the_user() {
        assert_eq!(
            of(&[
                ("HOME", "/root"),
                ("XDG_STATE_HOME", "/x"),
                ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"),
            ]),
            [
                PathBuf::from("/var/lib/a"),
                PathBuf::from("/x/pannier"),
                PathBuf::from("/root/.local/state/pannier"),
            ]
        );
    }

    #[test]
    fn what_is_not_said_or_not_absolute_is_no_place() {
        assert!(of(&[]).is_empty());
        assert!(of(&[("HOME", ""), ("XDG_STATE_HOME", "state")]).is_empty());
    }
}
