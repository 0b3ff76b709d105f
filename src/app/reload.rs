//! Puts a changed configuration in force: on SIGHUP, and when the file changes.
//!
//! Watched is the directory, not the file: editors and Kubernetes put a new
//! file, or a new symlink, in the place of the old one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::signal::unix::Signal;
use tokio::sync::Notify;

use super::signals;
use crate::config::{self, Limits};
use crate::proxy::Shared;

/// Changes that come together are one.
const GATHER: Duration = Duration::from_millis(200);

/// Reloads for ever.
pub(super) async fn run(file: PathBuf, shared: Arc<Shared>, limits: Arc<ArcSwap<Limits>>) {
    let changed = Arc::new(Notify::new());
    // Held: it watches for as long as it lives.
    let _watcher = watch(&file, Arc::clone(&changed));
    let mut hangup = signals::asked_to_reload();
    let mut in_force = std::fs::read(&file).unwrap_or_default();
    loop {
        let is_asked = tokio::select! {
            () = heard(&mut hangup) => true,
            () = changed.notified() => {
                tokio::time::sleep(GATHER).await;
                false
            }
        };
        let found = std::fs::read(&file).unwrap_or_default();
        if is_asked || found != in_force {
            in_force = found;
            reload(&file, &shared, &limits);
        }
    }
}

async fn heard(hangup: &mut Option<Signal>) {
    match hangup {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

fn watch(file: &Path, changed: Arc<Notify>) -> Option<RecommendedWatcher> {
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let on_event = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            changed.notify_one();
        }
    };
    let watching = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    watching
        .inspect_err(|error| {
            tracing::warn!(%error, "the configuration is not watched; SIGHUP still reloads it");
        })
        .ok()
}

fn reload(file: &Path, shared: &Shared, limits: &ArcSwap<Limits>) {
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
