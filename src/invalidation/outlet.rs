//! From this instance into the log: a ban is put in force here and handed to
//! the log in one step, so that both have their bans in one order.
//!
//! Also brings in what other processes could not hand over before they ended:
//! what the spool holds at the start, and files that somebody left since.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::here::{self, Here};
use super::log::{Appended, Log};
use super::scope::{self, Ban};
use super::spool::Orphan;

/// Between two looks for files that processes of this machine have left.
const ORPHANS_EVERY: Duration = Duration::from_secs(10);

/// The way into the log.
#[derive(Debug)]
pub(super) struct Outlet {
    here: Arc<Here>,
    pub(super) log: Log,
    /// Held while bans are put in force here and handed to the log: they are
    /// in the log in the order of their numbers.
    order: Mutex<()>,
}

impl Outlet {
    /// `payloads` and `orphans` are what was found in the spool: in force here
    /// before this returns.
    pub(super) fn new(
        here: Arc<Here>,
        log: Log,
        payloads: Vec<Bytes>,
        orphans: Vec<Orphan>,
    ) -> Arc<Self> {
        let outlet = Self {
            here,
            log,
            order: Mutex::new(()),
        };
        if !payloads.is_empty() {
            tracing::warn!(
                count = payloads.len(),
                "bans that an earlier process could not append are put in force"
            );
        }
        for payload in payloads {
            let _order = outlet.order.lock();
            let number = outlet.here.apply(&here::read(&payload));
            outlet.log.append_again(number, payload);
        }
        outlet.take_over(orphans);
        Arc::new(outlet)
    }

    /// Puts bans in force here; the number of the last, and a wait for the log.
    pub(super) fn put(&self, bans: &[Ban]) -> (u64, impl Future<Output = Appended> + Send + use<>) {
        let payload = Bytes::from(scope::write(bans));
        let _order = self.order.lock();
        let number = self.here.apply(bans);
        (number, self.log.append(number, payload))
    }

    /// Takes over what processes leave that end while this one runs.
    pub(super) async fn take_over_orphans(self: Arc<Self>) {
        loop {
            tokio::time::sleep(ORPHANS_EVERY).await;
            let outlet = Arc::clone(&self);
            // The disk may keep it waiting; nobody waits for it.
            let looked = tokio::task::spawn_blocking(move || {
                outlet.take_over(outlet.log.orphans());
            });
            if let Err(error) = looked.await {
                tracing::error!(%error, "what other processes left could not be taken over");
            }
        }
    }

    fn take_over(&self, orphans: Vec<Orphan>) {
        for orphan in orphans {
            tracing::warn!(
                count = orphan.payloads.len(),
                "bans that another process could not append are put in force"
            );
            for payload in &orphan.payloads {
                let bans = here::read(payload);
                // Not waited for.
                let (_number, _appended) = self.put(&bans);
            }
            self.log.take_over(orphan);
        }
    }
}
