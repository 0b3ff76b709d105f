//! A small language for integration tests.
//!
//! | word | stands for |
//! |---|---|
//! | [`origin`] | an application on raw sockets that answers as it is told |
//! | [`reply`] | what it is told to answer |
//! | [`gate`] | a barrier that holds an answer until the test opens it |
//! | [`proxy`] | the real program, its configuration, its admin listener |
//! | [`client`] | requests and what came back |
//! | [`raw`] | a connection of bytes, for what no client would send |
//! | [`redis`] | a real `redis-server` that can be killed, stopped and flushed |
//! | [`relay`] | one address, and what is behind it may change |
//! | [`cli`] | one command of the program, run to its end |
//!
//! Nothing here sleeps. A test waits at a [`gate::Gate`], or polls with
//! [`eventually`], which gives up at a deadline and says what it waited for.

pub(crate) mod cli;
pub(crate) mod client;
pub(crate) mod gate;
pub(crate) mod origin;
pub(crate) mod ports;
pub(crate) mod proxy;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod relay;
pub(crate) mod reply;
pub(crate) mod tls;
pub(crate) mod wire;

use std::time::Duration;

pub(crate) use pannier::semantics::outcome::CacheResult::{Bypass, Hit, Miss, Revalidated, Stale};

pub(crate) use gate::Gate;
pub(crate) use reply::{Feed, by, fed, hang_up, ok, raw_reply, short, silence, status};

/// How long a test waits for anything before it fails. Far beyond what a
/// loaded machine needs: reaching it is a failure, never a measurement.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Asks `probe` again and again until it gives something.
///
/// # Panics
/// Past [`DEADLINE`], naming `what` was awaited.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    within(what, async {
        loop {
            ticks.tick().await;
            if let Some(found) = probe().await {
                return found;
            }
        }
    })
    .await
}

/// Waits for `future`, but not past [`DEADLINE`].
///
/// # Panics
/// Past [`DEADLINE`], naming `what` was awaited.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("waited {DEADLINE:?} in vain for: {what}"))
}
