//! One address in front of several servers, as a proxy or a service has: what
//! is behind it may change while connections stand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::redis::Redis;

/// The address, until dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    is_refusing: AtomicBool,
    /// While true, nothing that Redis says arrives.
    held: watch::Sender<bool>,
    /// What answers say, and what arrives in its place.
    rewriting: Mutex<Option<(Vec<u8>, Vec<u8>)>>,
    /// Counts how often everything was cut.
    cuts: watch::Sender<u64>,
}

/// Starts one that leads to `redis`.
pub(crate) async fn to(redis: &Redis) -> Relay {
    to_address(redis.address()).await
}

/// Starts one that leads there.
pub(crate) async fn to_address(target: SocketAddr) -> Relay {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let shared = Arc::new(Shared {
        target: Mutex::new(target),
        is_refusing: AtomicBool::new(false),
        held: watch::Sender::new(false),
        rewriting: Mutex::default(),
        cuts: watch::Sender::new(0),
    });
    let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
    Relay {
        address,
        shared,
        accepting,
    }
}

impl Relay {
    /// What `url` in `[redis]` says, as TOML writes it.
    pub(crate) fn url(&self) -> String {
        format!("\"redis://{}\"", self.address)
    }

    /// New connections lead there; those that stand stay where they are.
    pub(crate) fn lead_to(&self, redis: &Redis) {
        *self.shared.target.lock() = redis.address();
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Cuts every connection and lets none in.
    pub(crate) fn refuse(&self) {
        self.shared.is_refusing.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Lets connections in again.
    pub(crate) fn admit(&self) {
        self.shared.is_refusing.store(false, Ordering::SeqCst);
    }

    /// What Redis says does not arrive until [`Relay::release`].
    pub(crate) fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// What was held back arrives.
    pub(crate) fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Answers that begin with `said` arrive as ones that begin with `heard`.
    pub(crate) fn rewrite(&self, said: &str, heard: &str) {
        *self.shared.rewriting.lock() = Some((said.into(), heard.into()));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        if !shared.is_refusing.load(Ordering::SeqCst) {
            tokio::spawn(carry(client, Arc::clone(&shared)));
        }
    }
}

async fn carry(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let target = *shared.target.lock();
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::io::copy(&mut from_client, &mut to_server);
    let down = async {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count = from_server.read(&mut bytes).await.unwrap_or_default();
            if count == 0 {
                return;
            }
            let mut held = shared.held.subscribe();
            // The sender lives as long as the relay does.
            let is_released = held.wait_for(|is_held| !is_held).await.is_ok();
            if !is_released {
                return;
            }
            let rewriting = shared.rewriting.lock().clone();
            let answer = rewriting
                .and_then(|(said, heard)| {
                    let rest = bytes[..count].strip_prefix(&said[..])?;
                    Some([&heard[..], rest].concat())
                })
                .unwrap_or_else(|| bytes[..count].to_vec());
            if to_client.write_all(&answer).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = up => {}
        () = down => {}
        _ = cuts.changed() => {}
    }
}
