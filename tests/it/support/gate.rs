//! Barriers: an answer of the origin waits until the test opens the gate.

use std::sync::Arc;

use tokio::sync::watch;

use super::within;

/// A gate that starts closed. Clones are the same gate.
#[derive(Clone)]
pub(crate) struct Gate {
    inner: Arc<Inner>,
}

struct Inner {
    open: watch::Sender<bool>,
    arrived: watch::Sender<usize>,
}

impl Gate {
    /// A closed gate.
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                open: watch::Sender::new(false),
                arrived: watch::Sender::new(0),
            }),
        }
    }

    /// Lets everyone through, now and later.
    pub(crate) fn open(&self) {
        self.inner.open.send_replace(true);
    }

    /// Waits until `count` requests have arrived at the gate.
    pub(crate) async fn reached_by(&self, count: usize) {
        let mut arrived = self.inner.arrived.subscribe();
        within(
            &format!("{count} requests at the origin's gate"),
            arrived.wait_for(|seen| *seen >= count),
        )
        .await
        .expect("the gate outlives its watchers");
    }

    /// Arrives, and waits until the gate is open.
    pub(super) async fn pass(&self) {
        self.inner.arrived.send_modify(|seen| *seen += 1);
        let mut open = self.inner.open.subscribe();
        // The gate's owner may be gone at the end of a test; then so are we.
        let _ = open.wait_for(|open| *open).await;
    }
}
