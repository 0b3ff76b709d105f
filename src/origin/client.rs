//! The client of the upstream: one request, and the head of its response.
//!
//! Promises: connections are kept alive and reused; a response head comes
//! within `response_timeout` or is an error; every error says whether the
//! origin may have acted. Knows nothing of caching.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::UPGRADE;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use tokio::time::{Instant, sleep_until};

use super::body::{Came, OriginBody};
use super::error::{OriginError, OriginErrorKind};
use super::exchange::Exchange;
use super::head::Head;
use super::http2::Way;
use super::pool::Pool;
use super::response::{Piece, Sink};
use super::restart::RestartWindow;
use super::stream;
use crate::config::{OriginConfig, Upstream};
use crate::message::Body;
use crate::message::interim::Interim;
use crate::message::presence::Presence;
use crate::telemetry::upstream::UpstreamCounters;

/// The client of one data thread. Cloning shares its connections.
#[derive(Clone, Debug)]
pub struct OriginClient {
    pool: Arc<Pool>,
}

/// How long the origin may take to answer a request; among its extensions, where
/// that is not what `[origin]` says.
#[derive(Clone, Copy, Debug)]
pub struct ResponseTimeout(pub Duration);

/// The certificates to trust cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// `ca_file` cannot be read.
    #[error("`ca_file` {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It holds no certificate.
    #[error("`ca_file` {0} holds no certificate")]
    Empty(String),
    /// The system's certificates cannot be read.
    #[error("the system's certificates: {0}")]
    System(io::Error),
}

impl OriginClient {
    /// A client of `upstream`; connections are made when they are needed.
    ///
    /// # Errors
    /// [`TrustError`] where an `https` upstream has no certificates to trust.
    pub fn new(
        upstream: &Upstream,
        config: &OriginConfig,
        counters: &Arc<UpstreamCounters>,
    ) -> Result<Self, TrustError> {
        let pool = Pool::new(upstream, config, counters)?;
        Ok(Self { pool })
    }

    /// Its connections, for exchanges that are polled by hand.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Timeouts and bounds of this client.
    #[must_use]
    pub fn config(&self) -> &OriginConfig {
        &self.pool.config
    }

    /// Sends a request and waits for the response head. Waits its turn before,
    /// where as many exchanges are under way as may be. The time a client takes
    /// over its body is not the origin's. Interim responses go where an
    /// [`Interim`] among the request's extensions leads, and a
    /// [`ResponseTimeout`] there is heeded.
    ///
    /// # Errors
    /// [`OriginError`], which says whether the origin may have acted.
    pub async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<OriginBody>, OriginError> {
        let counters = &self.pool.counters;
        let permit = match counters.exchanges.enter().await {
            Ok(permit) => permit,
            Err(refused) => {
                return Err(OriginError::new(OriginErrorKind::Overloaded, refused));
            }
        };
        let interim = request.extensions_mut().remove::<Interim>();
        let limit = request.extensions_mut().remove::<ResponseTimeout>();
        let limit = limit.map_or(self.config().response_timeout, |limit| limit.0);
        let wants_switch = request.headers().contains_key(UPGRADE);
        let client = request.extensions_mut().get::<Presence>().cloned();
        let window = RestartWindow::new(self.config(), client.unwrap_or_default());
        let way = self.pool.way(wants_switch, window.as_ref(), None, 0).await;
        let answered = match way {
            Ok(Way::Http1(made)) => {
                if let Some(connection) = made {
                    self.pool.put(connection);
                }
                let exchange = Box::new(Exchange::of(&self.pool, permit, request));
                self.answer(exchange, interim, limit).await
            }
            Ok(Way::Http2(lease)) => {
                let sent = Box::pin(stream::send(
                    &self.pool, permit, lease, request, limit, window,
                ));
                sent.await
                    .map(|(head, stream)| Response::from_parts(head, OriginBody::of_stream(stream)))
            }
            Err(error) => Err(error),
        };
        match &answered {
            Ok(_) => {}
            Err(error) if error.kind == OriginErrorKind::RequestBody => {
                counters.gave_up(error.kind.as_str());
            }
            Err(error) => counters.failed(&error.event(self.pool.upstream())),
        }
        answered
    }

    async fn answer(
        &self,
        mut exchange: Box<Exchange>,
        interim: Option<Interim>,
        limit: Duration,
    ) -> Result<Response<OriginBody>, OriginError> {
        let mut answer = Answer {
            interim,
            head: None,
            came: Came::default(),
        };
        let mut late = pin!(sleep_until(exchange.patience(limit)));
        let answered = poll_fn(|cx| {
            loop {
                match exchange.poll(cx, &mut answer) {
                    Poll::Ready(progress) if answer.head.is_some() || progress.is_err() => {
                        return Poll::Ready(progress);
                    }
                    // Interim responses are no answer, however many come.
                    Poll::Ready(_) => {
                        if exchange.patience(limit) > Instant::now() {
                            continue;
                        }
                    }
                    Poll::Pending => {
                        if late.as_mut().poll(cx).is_pending() {
                            return Poll::Pending;
                        }
                        let until = exchange.patience(limit);
                        if until > Instant::now() {
                            late.as_mut().reset(until);
                            continue;
                        }
                    }
                }
                let error = OriginError::bare(OriginErrorKind::ResponseTimeout);
                return Poll::Ready(Err(error));
            }
        });
        let progress = answered.await;
        let head = match answer.head {
            Some(Some(head)) => head,
            Some(None) => return Err(OriginError::bare(OriginErrorKind::Protocol)),
            None => {
                let error = progress.err();
                let error = error.unwrap_or(OriginError::bare(OriginErrorKind::Reset));
                return Err(error.after(exchange.is_sent()));
            }
        };
        let mut response = Response::new(OriginBody::new(exchange, progress, answer.came));
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.fields;
        Ok(response)
    }
}

/// A head that is kept.
struct Kept {
    status: StatusCode,
    version: Version,
    fields: HeaderMap,
}

/// What comes of a response up to its head, and with it.
struct Answer {
    interim: Option<Interim>,
    /// The head; `None` of one that cannot be kept.
    head: Option<Option<Kept>>,
    came: Came,
}

impl Sink for Answer {
    fn interim(&mut self, head: &Head<'_>) {
        if let (Some(interim), Some(fields)) = (&self.interim, head.to_map()) {
            interim.tell(head.status, &fields);
        }
    }

    fn head(&mut self, head: &Head<'_>) {
        let version = match head.is_http_10 {
            true => Version::HTTP_10,
            false => Version::HTTP_11,
        };
        self.head = Some(head.to_map().map(|fields| Kept {
            status: head.status,
            version,
            fields,
        }));
    }

    fn content(&mut self, piece: Piece<'_>) {
        self.came.content(piece);
    }

    fn trailers(&mut self, fields: HeaderMap) {
        self.came.trailers(fields);
    }
}
