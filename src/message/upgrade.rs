//! A client's connection that becomes another protocol's (RFC 9110 §7.8).
//!
//! The server puts an [`Upgrade`] among the extensions of a request that offers
//! to switch; once the answer `101` has been written, it hands the connection
//! over. Where the answer is another one, nothing ever comes.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue};
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

/// The protocols a request wants to switch to, where it asks for one: without
/// `h2c`, which would carry requests past us unread (RFC 9113 §3.1 retires it).
#[must_use]
pub fn upgrade_wanted(fields: &HeaderMap) -> Option<HeaderValue> {
    let is_asked = fields
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
    if !is_asked {
        return None;
    }
    let is_h2c = |protocol: &&[u8]| {
        let name = protocol
            .split(|byte| *byte == b'/')
            .next()
            .unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"h2c")
    };
    let protocols: Vec<&[u8]> = fields
        .get_all(UPGRADE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|protocol| !protocol.is_empty() && !is_h2c(protocol))
        .collect();
    if protocols.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&protocols.join(&b", "[..])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::samples::fields;

    #[test]
    fn h2c_is_never_asked_for() {
        let wanted =
            |upgrade| upgrade_wanted(&fields(&[("connection", "Upgrade"), ("upgrade", upgrade)]));
        for h2c in ["h2c", "H2C", "h2c,", ",h2c", "h2c/1"] {
            assert_eq!(wanted(h2c), None, "{h2c}");
        }
        for list in ["h2c, websocket", "websocket,h2c", "websocket"] {
            assert_eq!(wanted(list).expect("a protocol"), "websocket", "{list}");
        }
    }
}
