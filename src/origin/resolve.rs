//! The addresses of the upstream's name, and connections to the first of them that
//! takes one.
//!
//! Promises: those who connect at once share one lookup; what it found is used for a
//! second and then asked for again, so that a name that leads elsewhere is followed;
//! a lookup that does not end holds up nobody longer than they wait, and no second
//! one is begun beside it for a while. Every address has its turn: the next one where
//! one refuses, or has not answered for a moment (RFC 8305, in simple form).

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared};
use futures_util::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::net::lookup_host;
use tokio::time::{Instant, sleep};

/// What was found is used for so long. The system tells no time to live; its own
/// resolver keeps to that.
const KEPT: Duration = Duration::from_secs(1);
/// A lookup that takes longer is given up, and another one begun.
const LOOKUP_MAX: Duration = Duration::from_secs(30);
/// An address has so long before the next one is tried beside it.
const HEAD_START: Duration = Duration::from_millis(250);
/// Further addresses of one name are not tried.
const ADDRESSES_MAX: usize = 16;

/// Asks for the addresses of one name.
type Lookup = Box<dyn Fn() -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;
/// When it was answered, and what was found. An error is its kind and its text.
type Found = (
    Instant,
    Result<Arc<[SocketAddr]>, (io::ErrorKind, Arc<str>)>,
);

/// The addresses of one name. Every data thread has its own.
pub(super) struct Resolver {
    lookup: Lookup,
    last: Mutex<Option<(Instant, Shared<BoxFuture<'static, Found>>)>>,
}

impl Resolver {
    /// Those of a host, by the system's resolver, on a thread where it may block.
    pub(super) fn new(host: &str, port: u16) -> Self {
        let host: Arc<str> = host.into();
        Self::of(Box::new(move || {
            let host = Arc::clone(&host);
            async move { Ok(lookup_host((&*host, port)).await?.collect()) }.boxed()
        }))
    }

    fn of(lookup: Lookup) -> Self {
        Self {
            lookup,
            last: Mutex::new(None),
        }
    }

    /// The addresses, in the order in which to try them.
    ///
    /// # Errors
    /// Where there are none, or the resolver says why.
    pub(super) async fn addresses(&self) -> io::Result<Arc<[SocketAddr]>> {
        let (_, found) = self.current().await;
        found.map_err(|(kind, text)| io::Error::new(kind, &*text))
    }

    fn current(&self) -> Shared<BoxFuture<'static, Found>> {
        let now = Instant::now();
        let mut last = self.last.lock();
        if let Some((asked, lookup)) = &*last {
            let is_of_use = match lookup.peek() {
                Some((answered, found)) => found.is_ok() && now - *answered < KEPT,
                None => now - *asked < LOOKUP_MAX,
            };
            if is_of_use {
                return lookup.clone();
            }
        }
        let asking = (self.lookup)();
        let lookup = async move {
            let found = match asking.await {
                Ok(addresses) if addresses.is_empty() => {
                    Err((io::ErrorKind::NotFound, "the name has no address".into()))
                }
                Ok(addresses) => Ok(in_turns(addresses).into()),
                Err(error) => Err((error.kind(), error.to_string().into())),
            };
            (Instant::now(), found)
        };
        let lookup = lookup.boxed().shared();
        *last = Some((now, lookup.clone()));
        lookup
    }
}

/// Addresses of IPv6 and IPv4 by turns: where one of the two leads nowhere, that
/// costs one attempt.
fn in_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == is_first_v6);
    let mut others = second.into_iter();
    let mut all = Vec::new();
    for address in first {
        all.push(address);
        all.extend(others.next());
    }
    all.extend(others);
    all.truncate(ADDRESSES_MAX);
    all
}

/// Connects to the first of these addresses that takes the connection.
///
/// # Errors
/// The last one's, where none does.
pub(super) async fn connect_any<T, F>(
    addresses: &[SocketAddr],
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut under_way = FuturesUnordered::new();
    let mut rest = addresses.iter();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        under_way.extend(rest.next().map(|address| connect(*address)));
        tokio::select! {
            ended = under_way.next() => match ended {
                Some(Ok(connection)) => return Ok(connection),
                Some(Err(error)) => failed = error,
                None => return Err(failed),
            },
            () = sleep(HEAD_START), if rest.len() > 0 => {}
        }
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Resolver")
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([127, 0, 0, last], 80).into()
    }

    /// A resolver whose answers wait at a gate: the first lookup finds the first
    /// address, the next one the second.
    fn moving() -> (Arc<Resolver>, Arc<Semaphore>, Arc<AtomicUsize>) {
        let (gate, asked) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let (held, counted) = (Arc::clone(&gate), Arc::clone(&asked));
        let resolver = Resolver::of(Box::new(move || {
            let lookup = counted.fetch_add(1, Ordering::SeqCst);
            let held = Arc::clone(&held);
            async move {
                held.acquire().await.unwrap().forget();
                Ok(vec![address(u8::try_from(lookup).unwrap() + 1)])
            }
            .boxed()
        }));
        (Arc::new(resolver), gate, asked)
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_connect_at_once_share_a_lookup_and_later_ones_ask_again() {
        let (resolver, gate, asked) = moving();
        let all = join_all((0..100).map(|_| resolver.addresses()));
        let (found, ()) = tokio::join!(all, async { gate.add_permits(1) });
        assert!(
            found
                .iter()
                .all(|found| found.as_ref().unwrap()[..] == [address(1)])
        );
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        // Kept for a moment, then followed.
        assert_eq!(resolver.addresses().await.unwrap()[..], [address(1)]);
        tokio::time::advance(KEPT).await;
        gate.add_permits(1);
        assert_eq!(resolver.addresses().await.unwrap()[..], [address(2)]);
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_hangs_is_not_asked_by_each() {
        let (resolver, gate, asked) = moving();
        for _ in 0..10 {
            let waited = timeout(Duration::from_secs(2), resolver.addresses()).await;
            assert!(waited.is_err());
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        tokio::time::advance(LOOKUP_MAX).await;
        gate.add_permits(2);
        assert_eq!(resolver.addresses().await.unwrap()[..], [address(2)]);
    }

    #[tokio::test]
    async fn a_failure_is_told_and_not_kept() {
        let asked = AtomicUsize::new(0);
        let resolver = Resolver::of(Box::new(move || {
            let found = match asked.fetch_add(1, Ordering::SeqCst) {
                0 => Err(io::Error::other("no such host")),
                1 => Ok(Vec::new()),
                _ => Ok(vec![address(1)]),
            };
            async move { found }.boxed()
        }));
        for told in ["no such host", "no address"] {
            let error = resolver.addresses().await.unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
        assert_eq!(resolver.addresses().await.unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_at_a_refusal_and_after_a_moment() {
        let began = Instant::now();
        // The first says nothing, the second refuses, the third takes it.
        let connect = async |address: SocketAddr| match address.ip().to_string().as_str() {
            "127.0.0.1" => pending().await,
            "127.0.0.2" => Err(io::ErrorKind::ConnectionRefused.into()),
            other => Ok(other.to_owned()),
        };
        let all = [address(1), address(2), address(3)];
        assert_eq!(connect_any(&all, connect).await.unwrap(), "127.0.0.3");
        assert_eq!(began.elapsed(), HEAD_START);
        let refused = connect_any(&[address(2), address(2)], connect).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(began.elapsed(), HEAD_START);
    }

    #[test]
    fn both_families_have_their_turn() {
        let v6 = |last: u16| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, last], 80));
        let all = vec![v6(1), v6(2), v6(3), address(1)];
        assert_eq!(in_turns(all), [v6(1), address(1), v6(2), v6(3)]);
        assert_eq!(in_turns(vec![address(1); 40]).len(), ADDRESSES_MAX);
    }
}
