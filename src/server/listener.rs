//! Listening sockets and the loop that accepts from them.
//!
//! Every data thread has a listening socket of its own on each TCP address
//! (`SO_REUSEPORT`): the kernel spreads connections, threads share nothing on
//! the way of a request. A Unix socket is one for all threads (`unix`). The count
//! of open connections is common.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::connection;
use super::direct::Answers;
use super::tls::Tls;
use super::unix::{self, UnixSocket};
use crate::config::{Limits, ListenAddress};
use crate::drain::{Drain, Tracked};
use crate::message::client::ClientAddress;

/// Connections the kernel keeps for us until we accept them, per socket.
const BACKLOG: i32 = 1024;

/// Pauses after an accept that failed for want of something (descriptors,
/// memory): the first, and the longest they grow to.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// An address to listen on, and what is spoken there.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// The address.
    pub address: ListenAddress,
    /// TLS, where that is spoken.
    pub tls: Option<Arc<Tls>>,
    /// Whether a connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

impl Entrance {
    /// One where HTTP is spoken as it is.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self {
            address: ListenAddress::Tcp(address),
            tls: None,
            proxy_protocol: false,
        }
    }
}

/// The listening sockets of one data thread.
#[derive(Debug)]
pub struct Sockets {
    listeners: Vec<(Bound, Entrance)>,
    places: Arc<Places>,
}

/// A socket that is bound and listens.
#[derive(Debug)]
enum Bound {
    Tcp(StdListener),
    Unix(UnixSocket),
}

impl Sockets {
    /// The addresses listened on, with the ports that were chosen.
    pub fn addresses(&self) -> io::Result<Vec<ListenAddress>> {
        let address = |(bound, entrance): &(Bound, Entrance)| match bound {
            Bound::Tcp(listener) => listener.local_addr().map(ListenAddress::Tcp),
            Bound::Unix(_) => Ok(entrance.address.clone()),
        };
        self.listeners.iter().map(address).collect()
    }
}

/// Binds the addresses of `entrances` once per thread. Port 0 becomes one port for all threads.
/// However many connections the limits allow, there are at most `ceiling`.
///
/// # Errors
///
/// Where an address cannot be bound, or someone else listens on it; the error
/// names the address.
pub fn bind(entrances: &[Entrance], threads: usize, ceiling: usize) -> io::Result<Vec<Sockets>> {
    let places = Arc::new(Places::new(ceiling));
    let mut all: Vec<Sockets> = (0..threads)
        .map(|_| Sockets {
            listeners: Vec::with_capacity(entrances.len()),
            places: Arc::clone(&places),
        })
        .collect();
    for entrance in entrances {
        let bound: io::Result<Vec<Bound>> = match &entrance.address {
            ListenAddress::Tcp(address) => {
                let bound = bind_tcp(*address, threads);
                bound.map(|sockets| sockets.into_iter().map(Bound::Tcp).collect())
            }
            ListenAddress::Unix(path) => {
                let bound = unix::bind(path, threads, BACKLOG);
                bound.map(|sockets| sockets.into_iter().map(Bound::Unix).collect())
            }
        };
        let bound = bound.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", entrance.address))
        })?;
        for (sockets, bound) in all.iter_mut().zip(bound) {
            sockets.listeners.push((bound, entrance.clone()));
        }
    }
    Ok(all)
}

fn bind_tcp(address: SocketAddr, threads: usize) -> io::Result<Vec<StdListener>> {
    let shared = threads > 1;
    if shared && address.port() != 0 {
        // With SO_REUSEPORT a second Pannier would bind unnoticed and get
        // half of the connections. Without it this fails where it should.
        drop(open(address, false)?);
    }
    let mut resolved = address;
    let mut listeners = Vec::with_capacity(threads);
    for _ in 0..threads {
        let socket = open(resolved, shared)?;
        socket.listen(BACKLOG)?;
        let listener = StdListener::from(socket);
        resolved = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn open(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Serves everything that connects to `sockets`, on this thread's runtime,
/// until `drain` was begun and is over. New connections take the limits that
/// are current when they come.
///
/// # Errors
///
/// Where the sockets cannot be registered with the runtime.
pub async fn serve<S>(
    sockets: Sockets,
    service: S,
    limits: Arc<ArcSwap<Limits>>,
    drain: Drain,
) -> io::Result<()>
where
    S: Answers,
{
    let places = sockets.places;
    let listeners: Vec<(Listener, Entrance)> = sockets
        .listeners
        .into_iter()
        .map(|(bound, entrance)| Ok((Listener::new(bound)?, entrance)))
        .collect::<io::Result<_>>()?;
    let accepting = listeners.into_iter().map(|(listener, entrance)| {
        let door = Door {
            entrance: Arc::new(entrance),
            places: Arc::clone(&places),
            service: service.clone(),
            limits: Arc::clone(&limits),
            drain: drain.clone(),
        };
        let drain = drain.clone();
        // The listener is dropped with the loop: the kernel refuses from there.
        async move {
            tokio::select! {
                biased;
                _ = drain.begun() => {}
                () = accept(listener, door) => {}
            }
        }
    });
    join_all(accepting).await;
    drain.finished().await;
    Ok(())
}

/// A listening socket, registered with the runtime of its thread.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixSocket, UnixListener),
}

impl Listener {
    fn new(bound: Bound) -> io::Result<Self> {
        Ok(match bound {
            Bound::Tcp(listener) => Self::Tcp(TcpListener::from_std(listener)?),
            Bound::Unix(socket) => {
                let listener = UnixListener::from_std(socket.listener()?)?;
                Self::Unix(socket, listener)
            }
        })
    }
}

/// What connections that come in at an entrance are given.
struct Door<S> {
    entrance: Arc<Entrance>,
    places: Arc<Places>,
    service: S,
    limits: Arc<ArcSwap<Limits>>,
    drain: Drain,
}

impl<S: Answers> Door<S> {
    /// Serves a connection, once there is a place for it.
    async fn admit<I>(&self, socket: I, peer: ClientAddress)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // Accepted first: a thread that waited for a place before there was a
        // connection would keep it from a thread that has one. So each
        // listener may hold one connection more than the bound, unserved.
        let place = self.places.take(&self.limits, &self.drain).await;
        tokio::spawn(connection::serve(
            socket,
            peer,
            Arc::clone(&self.entrance),
            place,
            self.service.clone(),
            self.limits.load_full(),
        ));
    }
}

async fn accept<S: Answers>(listener: Listener, door: Door<S>) {
    let mut pause = PAUSE_MIN;
    match listener {
        Listener::Tcp(listener) => loop {
            let accepted = accepted(listener.accept().await, &mut pause).await;
            // Refused only by a connection that is gone already.
            let usable = accepted.filter(|(socket, _)| socket.set_nodelay(true).is_ok());
            if let Some((socket, peer)) = usable {
                door.admit(socket, peer.ip().into()).await;
            }
        },
        Listener::Unix(_socket, listener) => loop {
            if let Some((socket, _)) = accepted(listener.accept().await, &mut pause).await {
                door.admit(socket, ClientAddress::UnixSocket).await;
            }
            // What else waits is for the other threads as well: one that took all
            // of it at once would serve all of it.
            yield_now().await;
        },
    }
}

/// The connection that was accepted. Failures to accept pass: those of one
/// connection at once, those of the process (no descriptor left) after a pause.
async fn accepted<T>(result: io::Result<T>, pause: &mut Duration) -> Option<T> {
    match result {
        Ok(connection) => {
            *pause = PAUSE_MIN;
            return Some(connection);
        }
        Err(error) if is_of_one_connection(&error) => {}
        Err(error) => {
            tracing::warn!(%error, ?pause, "cannot accept connections");
            sleep(*pause).await;
            *pause = (*pause * 2).min(PAUSE_MAX);
        }
    }
    None
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// The bound on open connections, common to all threads.
#[derive(Debug)]
struct Places {
    taken: AtomicUsize,
    freed: Notify,
    /// What the descriptors of the process allow.
    ceiling: usize,
    /// Somebody waits because of the ceiling, and that was said.
    is_at_ceiling: AtomicBool,
}

impl Places {
    fn new(ceiling: usize) -> Self {
        Self {
            taken: AtomicUsize::new(0),
            freed: Notify::new(),
            ceiling,
            is_at_ceiling: AtomicBool::new(false),
        }
    }

    /// Takes a place, once there is one under `connections_max`.
    async fn take(self: &Arc<Self>, limits: &ArcSwap<Limits>, drain: &Drain) -> Place {
        loop {
            let freed = self.freed.notified();
            let configured = limits.load().connections_max;
            let places_max = configured.min(self.ceiling);
            let took = self
                .taken
                .try_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
                    (taken < places_max).then_some(taken + 1)
                });
            if took.is_ok() {
                return Place {
                    places: Arc::clone(self),
                    _tracked: drain.track(),
                    drain: drain.clone(),
                };
            }
            let is_for_descriptors = places_max < configured;
            if is_for_descriptors && !self.is_at_ceiling.swap(true, Ordering::AcqRel) {
                tracing::warn!(
                    connections = places_max,
                    "no new connections are accepted: the limit on open files allows no more"
                );
            }
            freed.await;
        }
    }

    fn give_back(&self) {
        let left = self.taken.fetch_sub(1, Ordering::AcqRel) - 1;
        // Well below it, so that a full house is not said again and again.
        if left < self.ceiling / 2 {
            self.is_at_ceiling.store(false, Ordering::Release);
        }
        self.freed.notify_one();
    }
}

/// The right of a connection to be open.
pub(super) struct Place {
    places: Arc<Places>,
    _tracked: Tracked,
    drain: Drain,
}

impl Place {
    /// A place among no others.
    #[cfg(any(test, fuzzing))]
    pub(super) fn lone(drain: &Drain) -> Self {
        Self {
            places: Arc::new(Places {
                taken: AtomicUsize::new(1),
                ..Places::new(usize::MAX)
            }),
            _tracked: drain.track(),
            drain: drain.clone(),
        }
    }

    /// The drain it counts for.
    pub(super) fn drain(&self) -> &Drain {
        &self.drain
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_listen_on_the_port_that_was_chosen() {
        let sockets = bind(
            &[Entrance::plain("127.0.0.1:0".parse().unwrap())],
            3,
            usize::MAX,
        )
        .unwrap();
        let addresses: Vec<_> = sockets.iter().map(|s| s.addresses().unwrap()).collect();
        assert_eq!(addresses.len(), 3);
        assert_ne!(addresses[0][0].tcp().unwrap().port(), 0);
        assert!(addresses.iter().all(|address| *address == addresses[0]));
    }

    #[test]
    fn an_address_that_is_taken_is_an_error_that_names_it() {
        let first = bind(
            &[Entrance::plain("127.0.0.1:0".parse().unwrap())],
            2,
            usize::MAX,
        )
        .unwrap();
        let address = first[0].addresses().unwrap()[0].tcp().unwrap();
        for threads in [1, 2] {
            let error = bind(&[Entrance::plain(address)], threads, usize::MAX).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&address.to_string()), "{error}");
        }
    }
}
