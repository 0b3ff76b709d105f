//! A client's connection that becomes another protocol's (RFC 9110 §7.8).
//!
//! The server puts an [`Upgrade`] among the extensions of a request that offers
//! to switch; once the answer `101` has been written, it hands the connection
//! over. Where the answer is another one, nothing ever comes.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// A connection of any kind.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// The connection, from its first byte in the other protocol on.
pub type Upgraded = Box<dyn Connection>;

/// The promise of a connection. Clones are the same promise.
#[derive(Clone)]
pub struct Upgrade(Arc<Mutex<Option<oneshot::Receiver<Upgraded>>>>);

/// What keeps the promise.
pub struct Upgrading(oneshot::Sender<Upgraded>);

impl std::fmt::Debug for Upgrade {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Upgrade")
    }
}

impl Upgrade {
    /// A promise, and what keeps it.
    #[must_use]
    pub fn promise() -> (Upgrading, Self) {
        let (sender, receiver) = oneshot::channel();
        let promise = Self(Arc::new(Mutex::new(Some(receiver))));
        (Upgrading(sender), promise)
    }

    /// Waits for the connection; `None` where it does not come, or somebody
    /// else waited.
    pub async fn connection(self) -> Option<Upgraded> {
        let receiver = self.0.lock().take()?;
        receiver.await.ok()
    }
}

impl Upgrading {
    /// Hands the connection over. It is closed where nobody wants it.
    pub fn hand_over(self, connection: impl Connection + 'static) {
        let _unwanted = self.0.send(Box::new(connection));
    }
}
