//! Counts connections as they are made and closed.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower_service::Service;

use crate::telemetry::upstream::UpstreamCounters;

/// A connector whose connections are counted.
#[derive(Clone, Debug)]
pub(super) struct Counted<C> {
    connector: C,
    counters: Arc<UpstreamCounters>,
}

impl<C> Counted<C> {
    pub(super) fn new(connector: C, counters: &Arc<UpstreamCounters>) -> Self {
        Self {
            connector,
            counters: Arc::clone(counters),
        }
    }
}

/// A connection that is counted as open until it is dropped.
#[derive(Debug)]
pub(super) struct CountedConnection<T> {
    connection: T,
    counters: Arc<UpstreamCounters>,
}

impl<T> CountedConnection<T> {
    pub(super) fn get_ref(&self) -> &T {
        &self.connection
    }

    pub(super) fn get_mut(&mut self) -> &mut T {
        &mut self.connection
    }
}

impl<T> Drop for CountedConnection<T> {
    fn drop(&mut self) {
        self.counters.open.subtract(1);
    }
}

impl<C> Service<Uri> for Counted<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Response: 'static,
    C::Error: 'static,
{
    type Response = CountedConnection<C::Response>;
    type Error = C::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, C::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.connector.call(uri);
        let counters = Arc::clone(&self.counters);
        Box::pin(async move {
            let connection = connecting.await?;
            counters.opened.increment();
            counters.open.add(1);
            Ok(CountedConnection {
                connection,
                counters,
            })
        })
    }
}

impl<T: Connection> Connection for CountedConnection<T> {
    fn connected(&self) -> Connected {
        self.connection.connected()
    }
}

impl<T: Read + Unpin> Read for CountedConnection<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl<T: Write + Unpin> Write for CountedConnection<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, pieces)
    }
}
