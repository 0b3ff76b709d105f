//! What takes part: instances, each behind an address of its own to the one
//! Redis that is in charge, and the others that may take its place.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::support::proxy::{Builder, Proxy};
use crate::support::redis::{self, Redis};
use crate::support::relay::{self, Relay};

/// Servers of which one is in charge.
const SERVERS: usize = 3;

/// An instance that may be started again, elsewhere.
pub(crate) struct Instance {
    pub(crate) who: usize,
    builder: Builder,
    running: Mutex<Arc<Proxy>>,
    /// Outlives the process: its spool.
    _state: TempDir,
}

impl Instance {
    pub(crate) async fn start(who: usize, builder: Builder) -> Arc<Self> {
        let state = TempDir::new().expect("a temporary folder");
        let builder = builder.state(state.path());
        let proxy = builder.clone().run().await;
        proxy.reaches_redis().await;
        Arc::new(Self {
            who,
            builder,
            running: Mutex::new(Arc::new(proxy)),
            _state: state,
        })
    }

    pub(crate) fn proxy(&self) -> Arc<Proxy> {
        Arc::clone(&self.running.lock())
    }

    /// Where it listens now.
    pub(crate) fn address(&self) -> SocketAddr {
        self.running.lock().address
    }

    /// Starts it again, once it has ended, and waits until it is of use.
    pub(crate) async fn start_again(&self) {
        self.proxy().exit().await;
        let proxy = self.builder.clone().run().await;
        proxy.reaches_redis().await;
        *self.running.lock() = Arc::new(proxy);
    }
}

/// Servers behind one address.
pub(crate) struct Servers {
    servers: Vec<Redis>,
    in_charge: usize,
    pub(crate) relays: Vec<Relay>,
}

impl Servers {
    /// Starts them, and an address to the first for each instance.
    pub(crate) async fn start(instances: usize) -> Self {
        let mut servers = Vec::new();
        for _ in 0..SERVERS {
            servers.push(redis::start().await);
        }
        let relays = relays(servers[0].address(), instances).await;
        let started = Self {
            servers,
            in_charge: 0,
            relays,
        };
        for server in &started.servers {
            syncs_at_once(server).await;
        }
        started
    }

    /// The one in charge.
    pub(crate) fn redis(&self) -> &Redis {
        &self.servers[self.in_charge]
    }

    /// Ends it: connections break.
    pub(crate) async fn kill(&mut self) {
        self.servers[self.in_charge].kill().await;
    }

    /// Starts it again, empty.
    pub(crate) async fn restart(&mut self) {
        self.servers[self.in_charge].restart().await;
        syncs_at_once(self.redis()).await;
    }

    /// Puts another in charge, as it was left; gives the one that was.
    pub(crate) async fn swap(&mut self, other: usize) -> usize {
        // Nobody speaks to two primaries at once.
        self.relays.iter().for_each(Relay::refuse);
        self.servers[other].follow_nobody().await;
        let before = std::mem::replace(&mut self.in_charge, other);
        for relay in &self.relays {
            relay.lead_to(&self.servers[other]);
            relay.admit();
        }
        before
    }

    /// One that is not in charge.
    pub(crate) fn another(&self, chance: usize) -> usize {
        (self.in_charge + 1 + chance % (SERVERS - 1)) % SERVERS
    }

    /// Makes another a copy of the one in charge.
    pub(crate) async fn copy_to(&self, other: usize) {
        self.servers[other].follow(self.redis()).await;
    }

    /// Promotes a copy. The old primary lives on as a copy of it, and
    /// connections that stand stay there.
    pub(crate) async fn promote(&mut self, copy: usize) {
        let port = self.servers[copy].address().port().to_string();
        let demote = ["REPLICAOF", "127.0.0.1", &port];
        self.redis().command::<()>(&demote).await;
        self.servers[copy].follow_nobody().await;
        self.in_charge = copy;
        for relay in &self.relays {
            relay.lead_to(&self.servers[copy]);
        }
    }
}

/// A copy is made when it is asked for, not seconds later.
async fn syncs_at_once(redis: &Redis) {
    redis
        .command::<()>(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"])
        .await;
}

/// Addresses that lead there, served by a thread of their own: what an instance
/// waits for is Redis and not the clients of this test.
async fn relays(target: SocketAddr, count: usize) -> Vec<Relay> {
    let (told, relays) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let mut relays = Vec::new();
            for _ in 0..count {
                relays.push(relay::to_address(target).await);
            }
            let _ = told.send(relays);
            std::future::pending::<()>().await;
        });
    });
    relays.await.expect("the relays listen")
}
