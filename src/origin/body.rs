//! The body of a response of the origin: the exchange is under way until it
//! is over, or dropped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::error::OriginError;
use super::exchange::{Exchange, Progress, Switched};
use super::head::Head;
use super::response::{Piece, Sink};
use super::stream::Stream;
use crate::message::BodyError;

/// What arrives of a response's body, read from the connection by whoever
/// reads it.
#[derive(Debug)]
pub struct OriginBody {
    /// `None` where nothing more will come.
    source: Option<Source>,
    /// How much has yet to come, or never will, where its length was said.
    left: Option<u64>,
    came: Came,
    /// It broke off, behind what came.
    broken: Option<Broken>,
    /// What [`Self::arrives`] took in.
    early: VecDeque<Result<Frame<Bytes>, BodyError>>,
}

/// Where it comes from.
#[derive(Debug)]
enum Source {
    Http1(Box<Exchange>),
    Http2(Box<Stream>),
}

/// Why a body broke off.
#[derive(Debug)]
struct Broken {
    error: OriginError,
    /// It is told one turn after what came before it, which is sent on
    /// meanwhile: who writes to a client drops what is not sent at an error.
    was_held_back: bool,
}

/// What came at once and was not read yet.
#[derive(Debug, Default)]
pub(super) struct Came {
    pub(super) content: Option<Bytes>,
    pub(super) trailers: Option<HeaderMap>,
}

impl Came {
    fn is_nothing(&self) -> bool {
        self.content.is_none() && self.trailers.is_none()
    }

    fn next(&mut self) -> Option<Frame<Bytes>> {
        let content = self.content.take().map(Frame::data);
        content.or_else(|| self.trailers.take().map(Frame::trailers))
    }
}

impl Sink for Came {
    fn interim(&mut self, _head: &Head<'_>) {}

    fn head(&mut self, _head: &Head<'_>) {}

    fn content(&mut self, piece: Piece<'_>) {
        self.content = Some(piece.take());
    }

    fn trailers(&mut self, fields: HeaderMap) {
        self.trailers = Some(fields);
    }
}

impl OriginBody {
    /// The body whose head has come, with what came with it. `progress` says
    /// whether that is all.
    pub(super) fn new(
        exchange: Box<Exchange>,
        progress: Result<Progress, OriginError>,
        came: Came,
    ) -> Self {
        let mut body = Self {
            left: exchange.left(),
            source: Some(Source::Http1(exchange)),
            came,
            broken: None,
            early: VecDeque::new(),
        };
        body.goes_on(progress);
        body
    }

    /// The body of a response over HTTP/2 whose head has come.
    pub(super) fn of_stream(stream: Stream) -> Self {
        Self {
            left: stream.left(),
            source: (!stream.is_over()).then(|| Source::Http2(Box::new(stream))),
            came: Came::default(),
            broken: None,
            early: VecDeque::new(),
        }
    }

    fn goes_on(&mut self, progress: Result<Progress, OriginError>) {
        self.left = match &self.source {
            Some(Source::Http1(exchange)) => exchange.left(),
            Some(Source::Http2(stream)) => stream.left(),
            None => None,
        };
        match progress {
            Ok(Progress::More) => return,
            Ok(Progress::Over) => {}
            Err(error) => {
                self.broken = Some(Broken {
                    error,
                    was_held_back: false,
                });
            }
        }
        self.source.take_if(|source| !source.is_switched());
    }

    /// The connection, where both sides have agreed on another protocol.
    #[must_use]
    pub fn into_switched(self) -> Option<Switched> {
        match self.source? {
            Source::Http1(exchange) => exchange.into_switched(),
            Source::Http2(_) => None,
        }
    }

    /// Takes in a body of at most `bytes_max`, for as long as `wait`. Says whether
    /// all of it is there: an answer that comes in one piece was made before it
    /// was sent.
    pub async fn arrives(&mut self, bytes_max: u64, wait: Duration) -> bool {
        if self.is_end_stream() {
            return true;
        }
        if self.size_hint().lower() > bytes_max {
            return false;
        }
        if self.is_over() {
            return true;
        }
        let all = async {
            let mut bytes = 0;
            while !self.is_over() || !self.came.is_nothing() {
                match poll_fn(|cx| self.poll_origin(cx)).await {
                    Some(Ok(frame)) => {
                        bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                        self.early.push_back(Ok(frame));
                        if bytes > bytes_max {
                            return false;
                        }
                    }
                    None => return true,
                    // For the reader to meet.
                    Some(Err(error)) => {
                        self.early.push_back(Err(error));
                        return false;
                    }
                }
            }
            true
        };
        tokio::time::timeout(wait, all).await.unwrap_or(false)
    }

    fn poll_origin(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(frame) = self.came.next() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if let Some(broken) = self.broken.take_if(|broken| broken.was_held_back) {
                let error = BodyError::Broken(broken.error.into());
                return Poll::Ready(Some(Err(error)));
            }
            if let Some(broken) = &mut self.broken {
                broken.was_held_back = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let progress = match &mut self.source {
                None => return Poll::Ready(None),
                Some(source) if source.is_switched() => return Poll::Ready(None),
                Some(source) => ready!(source.poll(cx, &mut self.came)),
            };
            self.goes_on(progress);
        }
    }

    fn is_over(&self) -> bool {
        self.source.is_none() && self.broken.is_none()
    }
}

impl Source {
    fn is_switched(&self) -> bool {
        matches!(self, Self::Http1(exchange) if exchange.is_switched())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        came: &mut Came,
    ) -> Poll<Result<Progress, OriginError>> {
        let stream = match self {
            Self::Http1(exchange) => return exchange.poll(cx, came),
            Self::Http2(stream) => stream,
        };
        let frame = match ready!(stream.poll(cx)) {
            None => return Poll::Ready(Ok(Progress::Over)),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(content) if content.is_empty() => {}
            Ok(content) => came.content = Some(content),
            Err(frame) => came.trailers = frame.into_trailers().ok(),
        }
        Poll::Ready(Ok(match stream.is_over() {
            true => Progress::Over,
            false => Progress::More,
        }))
    }
}

impl HttpBody for OriginBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(next) = this.early.pop_front() {
            return Poll::Ready(Some(next));
        }
        this.poll_origin(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.early.is_empty() && self.came.is_nothing() && self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        let early = self.early.iter().flatten().filter_map(Frame::data_ref);
        let here = early.chain(&self.came.content);
        let here: u64 = here.map(|data| data.len() as u64).sum();
        let mut hint = SizeHint::default();
        match self.left {
            Some(left) => hint.set_exact(here + left),
            None => hint.set_lower(here),
        }
        hint
    }
}
