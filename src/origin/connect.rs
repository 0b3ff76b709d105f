//! How connections to the application come to be, for the pooled client.

use std::error::Error;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tower_service::Service;

/// A connector that is given so long for each connection, from the first
/// packet to the last of a TLS handshake.
#[derive(Clone, Debug)]
pub struct Timed<C> {
    connector: C,
    connect_timeout: Duration,
}

impl<C> Timed<C> {
    /// `connector`, with so long for each connection.
    #[must_use]
    pub fn new(connector: C, connect_timeout: Duration) -> Self {
        Self {
            connector,
            connect_timeout,
        }
    }
}

impl<C> Service<Uri> for Timed<C>
where
    C: Service<Uri>,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.connect_timeout, self.connector.call(uri));
        Box::pin(async move {
            let connected = connecting
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
            connected.map_err(Into::into)
        })
    }
}

/// Connects to one URI, whatever the one that is asked for says.
#[derive(Clone, Debug)]
pub struct To<C> {
    connector: C,
    uri: Uri,
}

impl<C> To<C> {
    /// `connector`, to `uri`.
    #[must_use]
    pub fn new(connector: C, uri: Uri) -> Self {
        Self { connector, uri }
    }
}

impl<C: Service<Uri>> Service<Uri> for To<C> {
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, _uri: Uri) -> C::Future {
        self.connector.call(self.uri.clone())
    }
}

/// Connects to one Unix socket, whatever the URI says.
#[derive(Clone, Debug)]
pub struct UnixConnector {
    path: Arc<PathBuf>,
}

impl UnixConnector {
    /// A connector to the socket at `path`.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path: Arc::new(path),
        }
    }
}

impl Service<Uri> for UnixConnector {
    type Response = UnixConnection;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<UnixConnection>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let path = Arc::clone(&self.path);
        Box::pin(async move {
            let stream = UnixStream::connect(path.as_path()).await?;
            Ok(UnixConnection(TokioIo::new(stream)))
        })
    }
}

/// A connection to a Unix socket.
#[derive(Debug)]
pub struct UnixConnection(TokioIo<UnixStream>);

impl UnixConnection {
    pub(super) fn stream(&self) -> &UnixStream {
        self.0.inner()
    }

    pub(super) fn stream_mut(&mut self) -> &mut UnixStream {
        self.0.inner_mut()
    }
}

impl Connection for UnixConnection {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for UnixConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for UnixConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }
}
