//! A connection of bytes, for what no HTTP client would send.

use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::wire::{Head, Io, Wire};
use super::within;

/// A client connection that sends exactly what it is given.
pub(crate) struct Raw {
    wire: Wire,
}

impl Raw {
    /// Connects.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a listener");
        Self {
            wire: Wire::new(stream),
        }
    }

    /// Speaks on a connection that is there.
    pub(crate) fn over(io: impl Io + 'static) -> Self {
        Self {
            wire: Wire::new(io),
        }
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // A peer that has already answered and closed is no failure here: the
        // test looks at what it answered.
        let _ = within("bytes to be taken", self.wire.send(bytes.as_ref())).await;
    }

    /// The next head of a response; `None` where the peer closed instead.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        let head = within("the head of an answer", self.wire.head()).await;
        head.unwrap_or(None)
    }

    /// The next response with its whole body.
    ///
    /// # Panics
    /// Where the peer closes instead.
    pub(crate) async fn answer(&mut self) -> (Head, String) {
        let head = self.head().await.expect("an answer");
        let body = self.body_of(&head).await;
        (head, body)
    }

    /// The whole body that follows `head`.
    pub(crate) async fn body_of(&mut self, head: &Head) -> String {
        let mut body = Vec::new();
        let read = self.wire.body(head, |piece| body.extend_from_slice(&piece));
        within("the body of an answer", read)
            .await
            .expect("a whole body");
        String::from_utf8_lossy(&body).into_owned()
    }

    /// Everything until the peer closes.
    pub(crate) async fn rest(&mut self) -> String {
        let rest = within("the peer to close", self.wire.rest()).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}
