//! Connections to the application: how they are made, and what is read from
//! and written to them.
//!
//! Knows nothing of HTTP.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use http::uri::Authority;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use super::cause::{NotConnected, Step};
use super::client::TrustError;
use super::error::{OriginError, OriginErrorKind};
use super::resolve::{Resolver, connect_any};
use super::tls::{self, Connectors};
use crate::config::{OriginConfig, Upstream};
use crate::telemetry::upstream::UpstreamCounters;

/// What of an upload the kernel takes ahead of what the origin has room for
/// (bytes); past it the connection takes nothing more until the origin reads.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// A connection that is being made.
pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Connection, OriginError>> + Send>>;

/// What makes connections to one upstream.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    to: Arc<Destination>,
    upstream: Box<str>,
    connect_timeout: Duration,
    counters: Arc<UpstreamCounters>,
}

/// What a connection is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// HTTP/1.
    Http1,
    /// HTTP/2, where TLS is used and the upstream chooses it; without TLS it is
    /// known to.
    Http2,
}

enum Destination {
    Tcp(Place),
    Tls(Place, Connectors),
    Unix(PathBuf),
}

/// A host, without the brackets of an IPv6 address, and where it is.
#[derive(Debug)]
struct Place {
    host: String,
    port: u16,
    resolver: Resolver,
}

impl Connector {
    /// # Errors
    /// [`TrustError`] where an `https` upstream has no certificates to trust.
    pub(super) fn new(
        upstream: &Upstream,
        config: &OriginConfig,
        counters: &Arc<UpstreamCounters>,
    ) -> Result<Self, TrustError> {
        let to = match upstream {
            Upstream::Http { authority } | Upstream::H2c { authority } => {
                Destination::Tcp(Place::of(authority, 80))
            }
            Upstream::Https { authority } => {
                let connectors = tls::connectors(config.ca_file.as_deref())?;
                Destination::Tls(Place::of(authority, 443), connectors)
            }
            Upstream::Unix { path } => Destination::Unix(path.clone()),
        };
        Ok(Self {
            upstream: to.to_string().into(),
            to: Arc::new(to),
            connect_timeout: config.connect_timeout,
            counters: Arc::clone(counters),
        })
    }

    /// Where they lead, for logs.
    pub(super) fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Makes a connection: all of it, TLS included, within its time.
    pub(super) fn connect(&self, offer: Offer) -> Connecting {
        let to = Arc::clone(&self.to);
        let counters = Arc::clone(&self.counters);
        let limit = self.connect_timeout;
        Box::pin(async move {
            let connected = timeout(limit, to.connect(offer)).await;
            let connected = connected.unwrap_or_else(|_| {
                let late = io::ErrorKind::TimedOut.into();
                Err(failed(Step::Connect, to.to_string(), late))
            });
            let stream = connected
                .map_err(|error| OriginError::new(OriginErrorKind::of_connect(&error), error))?;
            counters.opened.increment();
            counters.open.add(1);
            Ok(Connection {
                stream,
                made: Instant::now(),
                counters,
            })
        })
    }
}

impl Destination {
    async fn connect(&self, offer: Offer) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(place) => Stream::Tcp(place.connect().await?),
            Self::Tls(place, connectors) => {
                let connector = match offer {
                    Offer::Http1 => &connectors.http1,
                    Offer::Http2 => &connectors.either,
                };
                let name = ServerName::try_from(place.host.clone())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                let tcp = place.connect().await?;
                let agreed = connector.connect(name, tcp).await;
                Stream::Tls(Box::new(
                    agreed.map_err(|error| failed(Step::Tls, self.to_string(), error))?,
                ))
            }
            Self::Unix(path) => {
                let connected = UnixStream::connect(path).await;
                Stream::Unix(
                    connected.map_err(|error| failed(Step::Connect, self.to_string(), error))?,
                )
            }
        })
    }
}

fn failed(step: Step, to: String, source: io::Error) -> io::Error {
    NotConnected { to, step, source }.into_io()
}

/// As it is configured.
impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) | Self::Tls(place, _) if place.host.contains(':') => {
                write!(formatter, "[{}]:{}", place.host, place.port)
            }
            Self::Tcp(place) | Self::Tls(place, _) => {
                write!(formatter, "{}:{}", place.host, place.port)
            }
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
        }
    }
}

impl Place {
    fn of(authority: &Authority, default_port: u16) -> Self {
        let host = authority.host();
        let host = host.strip_prefix('[').unwrap_or(host);
        let host = host.strip_suffix(']').unwrap_or(host);
        let port = authority.port_u16().unwrap_or(default_port);
        Self {
            host: host.to_owned(),
            port,
            resolver: Resolver::new(host, port),
        }
    }

    /// Connects to the first of its addresses that takes the connection.
    async fn connect(&self) -> io::Result<TcpStream> {
        let addresses = self.resolver.addresses().await;
        let addresses =
            addresses.map_err(|error| failed(Step::Lookup, self.host.clone(), error))?;
        let stream = connect_any(&addresses, async |address| {
            let connected = TcpStream::connect(address).await;
            connected.map_err(|error| failed(Step::Connect, address.to_string(), error))
        })
        .await?;
        stream.set_nodelay(true)?;
        // An upload waits with its client, and not in a kernel that takes megabytes
        // of it for an origin that does not read.
        SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        Ok(stream)
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(place) => write!(formatter, "Tcp({place:?})"),
            Self::Tls(place, _) => write!(formatter, "Tls({place:?})"),
            Self::Unix(path) => write!(formatter, "Unix({path:?})"),
        }
    }
}

/// A connection to the upstream, counted as open until it is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    made: Instant,
    counters: Arc<UpstreamCounters>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    /// One that is made up.
    #[cfg(any(test, fuzzing))]
    Script(crate::script::Script),
}

impl Connection {
    /// One on which an origin says what was made up.
    #[cfg(any(test, fuzzing))]
    pub(super) fn of_script(
        script: crate::script::Script,
        counters: &Arc<UpstreamCounters>,
    ) -> Self {
        counters.open.add(1);
        Self {
            stream: Stream::Script(script),
            made: Instant::now(),
            counters: Arc::clone(counters),
        }
    }

    /// When it was made.
    pub(super) fn made(&self) -> Instant {
        self.made
    }

    /// Whether the upstream chose HTTP/2 when it was made.
    pub(super) fn chose_http2(&self) -> bool {
        match &self.stream {
            Stream::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2),
            Stream::Tcp(_) | Stream::Unix(_) => false,
            #[cfg(any(test, fuzzing))]
            Stream::Script(_) => false,
        }
    }

    /// Whether nothing came from the upstream, its end included, that was not
    /// read.
    pub(super) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(self)
            .poll_read(&mut cx, &mut ReadBuf::new(&mut byte))
            .is_pending()
    }

    #[cfg(test)]
    pub(super) fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Tcp(stream) => stream,
            Stream::Tls(_) | Stream::Unix(_) | Stream::Script(_) => panic!("not TCP"),
        }
    }

    /// Reads what there is, as far as there is room: how much it was, none at
    /// its end.
    pub(super) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        pin!(self.read_buf(buffer)).poll(cx)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counters.open.subtract(1);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(any(test, fuzzing))]
            Stream::Script(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(any(test, fuzzing))]
            Stream::Script(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(any(test, fuzzing))]
            Stream::Script(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(any(test, fuzzing))]
            Stream::Script(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
            #[cfg(any(test, fuzzing))]
            Stream::Script(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            #[cfg(any(test, fuzzing))]
            Stream::Script(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        }
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[tokio::test]
    async fn the_kernel_takes_little_ahead_for_an_origin_that_does_not_read() {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_recv_buffer_size(4 * 1024).unwrap();
        let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        listener.bind(&any.into()).unwrap();
        listener.listen(1).unwrap();
        let port = listener.local_addr().unwrap().as_socket().unwrap().port();
        let place = Place::of(&format!("127.0.0.1:{port}").parse().unwrap(), 80);
        let stream = place.connect().await.unwrap();
        let _unread = listener.accept().unwrap();
        let mut taken = 0;
        stream.writable().await.unwrap();
        while let Ok(count) = stream.try_write(&[0; 16 * 1024]) {
            taken += count;
        }
        assert!(taken >= UNSENT_BYTES_MAX as usize, "{taken}");
        assert!(taken <= 3 * UNSENT_BYTES_MAX as usize, "{taken}");
    }
}
