//! What this instance knows: its bans, and how far it is in touch.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};

use super::bans::{Bans, Read};
use super::follow::Event;
use super::routes::Routes;
use super::scope::{self, Ban, Scope};
use super::session::Sessions;
use super::touch::Touch;
use super::wire::LogEntry;
use crate::clock::{Clock, Timestamp};
use crate::config::CoherenceConfig;

/// What this instance knows.
#[derive(Debug)]
pub(super) struct Here {
    pub(super) bans: Bans,
    pub(super) touch: Touch,
    pub(super) sessions: Sessions,
    pub(super) routes: Routes,
    clock: Clock,
    instance: String,
    changed: Notify,
    heard: Notify,
}

impl Here {
    pub(super) fn new(config: &CoherenceConfig, clock: Clock, instance: &str) -> Arc<Self> {
        Arc::new(Self {
            bans: Bans::new(config.bans_max),
            touch: Touch::new(),
            sessions: Sessions::new(),
            routes: Routes::new(),
            clock,
            instance: instance.to_owned(),
            changed: Notify::new(),
            heard: Notify::new(),
        })
    }

    /// Puts bans of our own in force; the number of the last.
    pub(super) fn apply(&self, bans: &[Ban]) -> u64 {
        let number = self.bans.apply(bans, self.clock.now());
        self.changed.notify_one();
        number
    }

    /// Waits until bans were added. For one waiter.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits for word from the log.
    pub(super) async fn heard(&self) {
        self.heard.notified().await;
    }

    /// Lets those who wait for word from the log look again.
    pub(super) fn look_again(&self) {
        self.heard.notify_waiters();
    }

    /// Takes what the follower tells. A log that was read from its beginning
    /// is put in force on a thread of its own: the one that this is called from
    /// has lookups and appends to make meanwhile.
    pub(super) fn hear(self: &Arc<Self>, event: Event) -> Option<JoinHandle<()>> {
        let now = self.clock.now();
        match event {
            Event::Gap {
                horizon,
                position,
                entries,
                routes,
            } => {
                let here = Arc::clone(self);
                return Some(spawn_blocking(move || {
                    let entries = here.read_all(&entries);
                    // First: who sees the position knows the routes.
                    match routes {
                        Some(routes) => routes
                            .iter()
                            .for_each(|some| here.routes.learn_written(some)),
                        None => here.routes.unknown_in(position.incarnation),
                    }
                    here.bans.start_over(horizon, &entries, position, now);
                    here.sessions.advanced();
                    here.routes.log_changed();
                    here.changed.notify_one();
                }));
            }
            Event::Applied { position, entries } => {
                for entry in entries.iter().filter(|entry| !entry.routes.is_empty()) {
                    self.routes.learn_written(&entry.routes);
                }
                self.bans.follow(&self.read_all(&entries), position, now);
                self.sessions.advanced();
                if !entries.is_empty() {
                    self.changed.notify_one();
                }
            }
            Event::InSync { at, incarnation } => {
                if self.touch.heard(at, incarnation) {
                    tracing::info!("in touch with the invalidation log");
                }
                self.heard.notify_waiters();
            }
            Event::OutOfTouch => self.touch.lost(),
        }
        None
    }

    fn read_all(&self, entries: &[LogEntry]) -> Vec<Read> {
        let read = entries.iter().map(|entry| Read {
            position: entry.position,
            own: (*entry.instance == *self.instance).then_some(entry.nonce),
            bans: read(&entry.payload),
        });
        read.collect()
    }
}

/// What an entry says. One that cannot be read, from a newer version perhaps,
/// may have meant anything: it counts for everything.
pub(super) fn read(payload: &[u8]) -> Vec<Ban> {
    let text = String::from_utf8_lossy(payload);
    scope::read(&text).unwrap_or_else(|error| {
        tracing::warn!(%error, "an invalidation that cannot be read counts for everything");
        vec![Ban::hard(Scope::All)]
    })
}

/// A name for this run of this process: no other has it.
pub(super) fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let mut hasher = blake3::Hasher::new();
    hasher.update(host.as_bytes());
    hasher.update(&std::process::id().to_le_bytes());
    hasher.update(
        &Timestamp::from(std::time::SystemTime::now())
            .unix_millis()
            .to_le_bytes(),
    );
    if let Ok(boot) = std::fs::read("/proc/sys/kernel/random/uuid") {
        hasher.update(&boot);
    }
    let digest = hasher.finalize().to_hex();
    let name = if host.is_empty() { "pannier" } else { host };
    format!("{name}-{}", &digest.as_str()[..12])
}
