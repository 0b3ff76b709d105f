//! What runs, on which thread, and in which order it stops.
//!
//! Data threads, one current-thread runtime each, run the proxy and nothing
//! else. One control thread, the caller's, runs the admin listener, the
//! connections to Redis, the sweep and the reload. They share [`Shared`].
//!
//! It stops in this order: the drain begins (nothing new is accepted, probes
//! say so), the data threads finish, what waits for Redis is written, the
//! admin listener ends last, so that it can be asked until then.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout_at};

use crate::admin::{self, Control, Guard, HealthPage, Operations};
use crate::clock::Clock;
use crate::config::{Config, Limits, ListenAddress};
use crate::drain::Drain;
use crate::link::EndpointError;
use crate::proxy::{Proxy, Shared, SiteError};
use crate::server::tls::{Tls, TlsError};
use crate::server::{self, Entrance, Sockets};
use crate::store::Store;
use crate::store::memory::{Bounds, Memory};
use crate::telemetry::Telemetry;
use crate::telemetry::cgroup::CgroupFigures;
use crate::telemetry::prometheus::Exporter;

mod check;
mod checks;
mod coherence;
mod descriptors;
mod history;
mod matched;
mod operations;
mod reload;
mod signals;
mod spool;
mod sweep;
mod warm;

pub use checks::{Findings, check};
use coherence::{Coherence, Figures};
use operations::Running;

/// What waits for Redis at the end is given so long; invalidations until the
/// drain's deadline.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Why it did not start. Displays as one sentence for the user.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {0}")]
    Listen(#[source] io::Error),
    /// The admin address cannot be listened on.
    #[error("cannot listen on {0} for admin: {1}")]
    AdminListen(SocketAddr, #[source] io::Error),
    /// A file that `[tls]` names cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// A thread or its runtime could not be made.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The configuration cannot be put in force.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// `[redis]` leads to no Redis.
    #[error("Redis: {0}")]
    Redis(#[from] EndpointError),
    /// The metrics contradict each other.
    #[error("the metrics: {0}")]
    Metrics(#[from] ::prometheus::Error),
}

impl StartError {
    /// Whether the configuration is at fault, and not the moment or the machine.
    #[must_use]
    pub fn is_of_the_configuration(&self) -> bool {
        let is_busy = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        match self {
            Self::Tls(_) | Self::Site(_) | Self::Redis(_) => true,
            Self::Listen(error) | Self::AdminListen(_, error) => !is_busy(error),
            Self::Thread(_) | Self::Metrics(_) => false,
        }
    }
}

/// Where a running proxy listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The data plane.
    pub data: Vec<ListenAddress>,
    /// Those of it where `[tls]` has an address of its own.
    pub tls: Vec<ListenAddress>,
    /// The control plane; `None` where it is off.
    pub admin: Option<SocketAddr>,
}

/// Runs until a signal ends it and everything is drained. `file` is what a
/// reload reads again; `ready` is called once everything listens.
///
/// # Errors
/// [`StartError`] where it does not get that far.
pub fn run(
    config: Config,
    file: Option<PathBuf>,
    ready: impl FnOnce(&Addresses),
) -> Result<(), StartError> {
    // Fails only where a provider was installed before, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ceiling = descriptors::connections_ceiling(&config.limits);
    let tls = load_tls(&config)?;
    let entrances = entrances(&config, tls.as_ref());
    let sockets = server::bind(&entrances, config.threads, ceiling).map_err(StartError::Listen)?;
    let runtime = runtime()?;
    runtime.block_on(serve(config, file, tls, sockets, ready))
}

fn load_tls(config: &Config) -> Result<Option<Arc<Tls>>, StartError> {
    let tls = config.tls.as_ref().map(Tls::load).transpose()?;
    Ok(tls.map(Arc::new))
}

/// Where clients connect: the addresses of `listen`, then those of
/// `tls.listen`.
fn entrances(config: &Config, tls: Option<&Arc<Tls>>) -> Vec<Entrance> {
    let own = config.tls.as_ref().and_then(|tls| tls.listen.as_deref());
    let of_all = tls.filter(|_| own.is_none());
    let all = config.listen.iter().map(|address| Entrance {
        address: address.clone(),
        tls: of_all.cloned(),
        proxy_protocol: config.proxy_protocol,
    });
    let proxy_protocol = config.tls.as_ref().is_some_and(|tls| tls.proxy_protocol);
    let own = own.into_iter().flatten().map(|address| Entrance {
        address: address.clone(),
        tls: tls.cloned(),
        proxy_protocol,
    });
    all.chain(own).collect()
}

async fn serve(
    config: Config,
    file: Option<PathBuf>,
    tls: Option<Arc<Tls>>,
    sockets: Vec<Sockets>,
    ready: impl FnOnce(&Addresses),
) -> Result<(), StartError> {
    let config = in_container(config);
    let clock = Clock::System;
    let drain = Drain::new();
    let telemetry = Arc::new(Telemetry::new(clock.clone()));
    let mut coherence = Coherence::start(&config, &clock, &telemetry)?;
    let store = Store {
        memory: Memory::new(Bounds::of(&config.memory), config.memory.policy),
        redis: coherence.store.take(),
    };
    let limits = Arc::new(ArcSwap::from_pointee(config.limits.clone()));
    let admin = admin_listener(&config).await?;
    let mut data = data_addresses(&sockets).map_err(StartError::Listen)?;
    let addresses = Addresses {
        tls: data.split_off(config.listen.len()),
        data,
        admin: admin
            .as_ref()
            .and_then(|listener| listener.local_addr().ok()),
    };
    let guard = config.admin.as_ref().map_or_else(
        || Guard::new(None, &[]),
        |admin| Guard::new(admin.token.as_ref(), &admin.hosts),
    );
    let shared = Shared::new(
        config,
        store,
        Arc::clone(&coherence.invalidation),
        Arc::clone(&telemetry),
        clock,
        drain.clone(),
    )?;
    let threads = start_data_threads(sockets, &shared, &limits, &drain)?;
    let exporter = Exporter::new(Arc::clone(&telemetry))?;
    exporter.register(Box::new(Figures::new(&coherence, &telemetry)?))?;
    let fleet = coherence.fleet.clone();
    // Before the first probe is answered: readiness may have to wait for it.
    warm::start(&shared);
    let operations: Arc<dyn Operations> =
        Arc::new(Running::new(Arc::clone(&shared), fleet.clone()));
    let health = HealthPage::new(Arc::clone(&operations), Arc::clone(&telemetry))?;
    exporter.register(Box::new(health))?;
    let control = Arc::new(Control {
        exporter,
        telemetry,
        operations,
        guard,
    });
    let over = Drain::new();
    let admin = admin.map(|listener| {
        let over = over.clone();
        let until_over = async move {
            over.begun().await;
        };
        tokio::spawn(admin::serve(listener, admin::router(control), until_over))
    });
    tokio::spawn(sweep::run(Arc::clone(&shared)));
    tokio::spawn(history::run(Arc::clone(&shared.telemetry), fleet.clone()));
    tokio::spawn(check::run(Arc::clone(&shared)));
    tokio::spawn(warm::keep_for_ever(Arc::clone(&shared)));
    #[cfg(feature = "otlp")]
    {
        let telemetry = Arc::clone(&shared.telemetry);
        tokio::spawn(async move { telemetry.spans().run().await });
    }
    if let Some(file) = file {
        tokio::spawn(reload::run(file, Arc::clone(&shared), limits, tls));
    }
    announce(&addresses);
    ready(&addresses);

    signals::asked_to_stop().await;
    let within = shared.site().config.limits.drain_timeout;
    tracing::info!(within_s = within.as_secs_f64(), "draining");
    drain.begin(within);
    let left = drain.finished().await;
    join(threads).await;
    // Clients were answered for these bans: they have the time that is left.
    let deadline = drain.begun().await.max(Instant::now() + FLUSH_TIMEOUT);
    if timeout_at(deadline, shared.invalidation.flushed())
        .await
        .is_err()
    {
        tracing::warn!(
            "not every invalidation reached the log before the end; see `coherence.spool`"
        );
    }
    let flushed = async {
        // Nothing is reused here any more: no write has to wait for it.
        shared.invalidation.leave().await;
        if let Some(fleet) = &fleet {
            fleet.leave().await;
        }
        warm::keep(&shared).await;
        shared.store.flushed().await;
    };
    if tokio::time::timeout(FLUSH_TIMEOUT, flushed).await.is_err() {
        tracing::warn!("not everything meant for Redis reached it before the end");
    }
    #[cfg(feature = "otlp")]
    if tokio::time::timeout(FLUSH_TIMEOUT, shared.telemetry.spans().flush())
        .await
        .is_err()
    {
        tracing::warn!("not every span reached the collector before the end");
    }
    over.begin(Duration::ZERO);
    if let Some(admin) = admin {
        let _ = admin.await;
    }
    tracing::info!(connections_cut = left, "stopped");
    Ok(())
}

/// The configuration as the container has it, if this is one.
fn in_container(config: Config) -> Config {
    let container = CgroupFigures::read();
    let container_bytes_max = container.and_then(|container| container.memory_bytes_max);
    let memory = config.memory.within(container_bytes_max);
    tracing::info!(
        bytes_max = memory.bytes_max,
        container_bytes_max,
        "the bound on stored responses"
    );
    Config { memory, ..config }
}

fn announce(addresses: &Addresses) {
    let list = |addresses: &[ListenAddress]| {
        let list: Vec<String> = addresses.iter().map(ListenAddress::to_string).collect();
        list.join(",")
    };
    tracing::info!(
        data = list(&addresses.data),
        tls = (!addresses.tls.is_empty()).then(|| list(&addresses.tls)),
        admin = addresses.admin.map(|admin| admin.to_string()),
        "listening"
    );
}

fn data_addresses(sockets: &[Sockets]) -> io::Result<Vec<ListenAddress>> {
    sockets.first().map_or(Ok(Vec::new()), Sockets::addresses)
}

async fn admin_listener(config: &Config) -> Result<Option<TcpListener>, StartError> {
    let Some(admin) = &config.admin else {
        return Ok(None);
    };
    let listener = TcpListener::bind(admin.listen).await;
    listener
        .map(Some)
        .map_err(|error| StartError::AdminListen(admin.listen, error))
}

fn start_data_threads(
    sockets: Vec<Sockets>,
    shared: &Arc<Shared>,
    limits: &Arc<ArcSwap<Limits>>,
    drain: &Drain,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    let start = |(index, sockets)| {
        let runtime = runtime()?;
        let proxy = Proxy::new(Arc::clone(shared), index);
        let (limits, drain) = (Arc::clone(limits), drain.clone());
        std::thread::Builder::new()
            .name(format!("data-{index}"))
            .spawn(move || {
                let served = runtime.block_on(server::serve(sockets, proxy, limits, drain));
                if let Err(error) = served {
                    tracing::error!(%error, "a data thread ended");
                }
                // A resolver that hangs must not hold up the end.
                runtime.shutdown_background();
            })
            .map_err(StartError::Thread)
    };
    sockets.into_iter().enumerate().map(start).collect()
}

/// Data threads end when the drain is over; to wait for them must not keep
/// the control thread from its work.
async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(|| {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a data thread panicked");
            }
        }
    });
    let _ = joined.await;
}

fn runtime() -> Result<Runtime, StartError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)
}
