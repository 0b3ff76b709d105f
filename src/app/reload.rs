//! Puts a changed configuration, and changed certificates, in force: on SIGHUP,
//! and when a file changes.
//!
//! Watched are directories, not files: editors and Kubernetes put a new
//! file, or a new symlink, in the place of the old one. What no directory tells of
//! (the target of a symlink elsewhere, a single file mounted into a container, a
//! network file system) is noticed by looking at the files every [`LOOK_EVERY`].

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::Signal;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use super::signals;
use crate::config::{self, Config, Limits};
use crate::proxy::Shared;
use crate::server::tls::{self, Tls};

/// Changes that come together are one.
const GATHER: Duration = Duration::from_millis(200);
/// Between two looks at the files themselves.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reloads for ever.
pub(super) async fn run(
    file: PathBuf,
    shared: Arc<Shared>,
    limits: Arc<ArcSwap<Limits>>,
    tls: Option<Arc<Tls>>,
) {
    let changed = Arc::new(Notify::new());
    let mut watching = Watching::new(&changed);
    watching.watch(&folders(&file, &shared.site().config));
    let mut hangup = signals::asked_to_reload();
    let mut in_force = text_of(&file);
    let mut seen = stamps(&file, &shared.site().config);
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_asked = tokio::select! {
            () = heard(&mut hangup) => true,
            () = changed.notified() => {
                tokio::time::sleep(GATHER).await;
                false
            }
            _ = look.tick() => {
                if stamps(&file, &shared.site().config) == seen {
                    continue;
                }
                // The file may be half written.
                tokio::time::sleep(GATHER).await;
                false
            }
        };
        seen = stamps(&file, &shared.site().config);
        let found = text_of(&file);
        if is_asked || found != in_force {
            in_force = found;
            reload(&file, &shared, &limits);
            watching.watch(&folders(&file, &shared.site().config));
        }
        if let Some(tls) = &tls {
            renew(tls, is_asked, &shared);
        }
    }
}

/// Takes the certificates in use from their files, where those have changed.
fn renew(tls: &Tls, is_asked: bool, shared: &Shared) {
    let site = shared.site();
    let Some(config) = &site.config.tls else {
        return;
    };
    if !is_asked && !tls.has_changed(config) {
        return;
    }
    match tls.reload(config) {
        Ok(()) => tracing::info!("the certificates were read again"),
        Err(error) => {
            shared.telemetry.tls_reloads_failed().increment();
            tracing::error!(%error, "the certificates were not read again; the old ones stay in use");
        }
    }
}

/// Where changes are looked out for: the folders of all files that are read
/// again.
fn folders(file: &Path, config: &Config) -> BTreeSet<PathBuf> {
    let of_tls = config.tls.iter().flat_map(tls::paths);
    std::iter::once(file)
        .chain(of_tls)
        .map(|file| match file.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        })
        .collect()
}

/// What tells that a file is another one, or was written: device, inode, size,
/// seconds and nanoseconds of its last change. `None`: it is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The stamps of all files that are read again, symlinks followed.
fn stamps(file: &Path, config: &Config) -> Vec<Stamp> {
    let of_tls = config.tls.iter().flat_map(tls::paths);
    let files = std::iter::once(file).chain(of_tls);
    files
        .map(|file| {
            let found = std::fs::metadata(file).ok()?;
            Some((
                found.dev(),
                found.ino(),
                found.size(),
                found.mtime(),
                found.mtime_nsec(),
            ))
        })
        .collect()
}

async fn heard(hangup: &mut Option<Signal>) {
    match hangup {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// What looks out for changes, for as long as it lives.
struct Watching {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Watching {
    fn new(changed: &Arc<Notify>) -> Self {
        let changed = Arc::clone(changed);
        let on_event = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                changed.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(on_event);
        Self {
            watcher: watcher.inspect_err(not_watched).ok(),
            folders: BTreeSet::new(),
        }
    }

    /// Looks out in these folders, and in no others.
    fn watch(&mut self, folders: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        for left in self.folders.difference(folders) {
            // It may be gone.
            let _ = watcher.unwatch(left);
        }
        // One that could not be watched is tried again.
        self.folders.retain(|folder| folders.contains(folder));
        for folder in folders {
            if self.folders.contains(folder) {
                continue;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.folders.insert(folder.clone());
                }
                Err(error) => not_watched(&error),
            }
        }
    }
}

fn not_watched(error: &notify::Error) {
    tracing::warn!(%error, "changes of files are not noticed; SIGHUP still reloads them");
}

/// What stands in the file, as far as a configuration goes; nothing where it
/// cannot be read.
fn text_of(file: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    if !would_block(file) {
        // What is cut off here is refused as too long by whoever loads it.
        let _ = File::open(file)
            .and_then(|file| file.take(config::FILE_BYTES_MAX + 1).read_to_end(&mut text));
    }
    text
}

/// Whether reading may wait for ever, as for someone to write into a pipe: the
/// administration runs on this thread too. At the start a pipe is welcome.
fn would_block(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

fn reload(file: &Path, shared: &Shared, limits: &ArcSwap<Limits>) {
    if would_block(file) {
        tracing::error!(file = %file.display(), "the configuration was not reloaded, as it is no longer a regular file; the old one stays in force");
        return;
    }
    let config = match config::load(file) {
        Ok(config) => super::in_container(config),
        Err(problems) => {
            tracing::error!(%problems, "the configuration was not reloaded; the old one stays in force");
            return;
        }
    };
    let started = &shared.site().config;
    for key in config::restart_needed(started, &config) {
        tracing::warn!(key, "a changed value waits for the next start");
    }
    let config = config.started_as(started);
    let new_limits = config.limits.clone();
    match shared.reload(config) {
        Ok(()) => {
            limits.store(Arc::new(new_limits));
            tracing::info!("the configuration was reloaded");
        }
        Err(error) => {
            tracing::error!(%error, "the configuration was not reloaded; the old one stays in force");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_by_another_name_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let authority = "127.0.0.1:3000".parse().unwrap();
        let config = Config::default_for(config::Upstream::Http { authority });
        let elsewhere = folder.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        let target = elsewhere.join("shop.toml");
        std::fs::write(&target, "a").unwrap();
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let mounted = folder.path().join("mounted.toml");
        std::fs::hard_link(&target, &mounted).unwrap();
        let before = [&link, &mounted].map(|file| stamps(file, &config));
        std::fs::write(&target, "ab").unwrap();
        for (file, before) in [&link, &mounted].into_iter().zip(before) {
            assert_ne!(stamps(file, &config), before, "{}", file.display());
        }
        assert_eq!(stamps(Path::new("/nowhere"), &config), [None]);
    }

    #[test]
    fn what_never_ends_and_what_may_block_is_not_read() {
        for special in ["/dev/zero", "/dev/tty"] {
            assert!(text_of(Path::new(special)).is_empty(), "{special}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(text_of(folder.path()).is_empty());
        let file = folder.path().join("proxy.toml");
        assert!(text_of(&file).is_empty());
        std::fs::write(&file, "a").unwrap();
        assert_eq!(text_of(&file), b"a");
        std::fs::write(&file, vec![b'#'; 3 << 20]).unwrap();
        assert_eq!(text_of(&file).len() as u64, config::FILE_BYTES_MAX + 1);
    }
}
