//! One exchange with the upstream, written and read by hand: a GET without
//! content, and the response as it arrives.
//!
//! Promises: a connection is used again only after a response that was whole,
//! with nothing behind it; one that its upstream had closed before a byte of
//! the response came is replaced once; nothing is read that was not asked for
//! by [`WireExchange::poll`], so that whoever takes it slowly slows the upstream
//! down. While it waits it holds no buffer.
//!
//! Knows nothing of time: whoever polls says how long to wait.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::error::{OriginError, OriginErrorKind};
use super::wire_head::{self, Framing, Head};
use super::wire_pool::{Connecting, Connection, WirePool};
use crate::config::OriginConfig;
use crate::gate::Permit;
use crate::message::chunked::{Chunked, Then};

/// A response head, the interim ones before it not counted (bytes); a larger
/// one is invalid.
const HEAD_BYTES_MAX: usize = 400 * 1024;

/// What is read at once (bytes).
const READ_BYTES: usize = 32 * 1024;

thread_local! {
    /// The buffer that is read into; of no exchange.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What takes a response.
pub trait Sink {
    /// An interim response, of which there may be several.
    fn interim(&mut self, head: &Head<'_>);
    /// The final response begins.
    fn head(&mut self, head: &Head<'_>);
    /// A piece of its content; never empty.
    fn content(&mut self, piece: &[u8]);
}

/// How an exchange goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something came; there is more to come.
    More,
    /// Not at all: the response is whole.
    Over,
}

/// An exchange under way. Dropped before it is over, it takes its connection
/// with it.
pub struct WireExchange {
    pool: Arc<WirePool>,
    request: Vec<u8>,
    way: Way,
    /// Whether the connection has been used before.
    is_reused: bool,
    response: Response,
    /// Leave to have an exchange.
    _permit: Permit,
}

enum Way {
    Connecting(Connecting),
    Sending(Connection, usize),
    Receiving(Connection),
    Over,
}

impl WireExchange {
    /// An exchange over a connection of `pool`, of a request with this head;
    /// `None` at the bound on exchanges.
    #[must_use]
    pub fn new(pool: &Arc<WirePool>, request: Vec<u8>) -> Option<Self> {
        let permit = pool.counters.exchanges.try_enter()?;
        let unused = pool.take();
        Some(Self {
            pool: Arc::clone(pool),
            request,
            is_reused: unused.is_some(),
            way: match unused {
                Some(connection) => Way::Sending(connection, 0),
                None => Way::Connecting(pool.connect()),
            },
            response: Response::default(),
            _permit: permit,
        })
    }

    /// Timeouts of this upstream.
    #[must_use]
    pub fn config(&self) -> &OriginConfig {
        &self.pool.config
    }

    /// Whether the response's head has come.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.response.content.is_some()
    }

    /// No response came, for this reason.
    pub fn failed(&self, kind: OriginErrorKind) {
        self.pool.counters.failed(kind.as_str());
    }

    /// Goes on until something was given to `sink`, or nothing will be.
    ///
    /// # Errors
    /// [`OriginError`] where the response does not come or breaks off.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl Sink,
    ) -> Poll<Result<Progress, OriginError>> {
        loop {
            match &mut self.way {
                Way::Connecting(connecting) => {
                    let connection = ready!(connecting.as_mut().poll(cx))?;
                    self.way = Way::Sending(connection, 0);
                }
                Way::Sending(connection, sent) => {
                    match ready!(connection.poll_write(cx, &self.request[*sent..])) {
                        Ok(count) if count > 0 => *sent += count,
                        Ok(_) => self.try_again(io::ErrorKind::WriteZero.into())?,
                        Err(error) => self.try_again(error)?,
                    }
                    self.way = match std::mem::replace(&mut self.way, Way::Over) {
                        Way::Sending(connection, sent) if sent == self.request.len() => {
                            Way::Receiving(connection)
                        }
                        way => way,
                    };
                }
                Way::Receiving(connection) => {
                    let mut space = SPARE.take();
                    space.resize(READ_BYTES, 0);
                    let mut buffer = ReadBuf::new(&mut space);
                    let read = connection.poll_read(cx, &mut buffer);
                    let received = match read {
                        Poll::Pending => {
                            SPARE.set(space);
                            return Poll::Pending;
                        }
                        Poll::Ready(Ok(())) => Ok(buffer.filled().len()),
                        Poll::Ready(Err(error)) => Err(error),
                    };
                    let gone_on = match received {
                        Ok(count) if count > 0 => self.receive(&space[..count], sink).map(Some),
                        ended => self.end(ended.err()),
                    };
                    SPARE.set(space);
                    if let Some(progress) = gone_on? {
                        return Poll::Ready(Ok(progress));
                    }
                }
                Way::Over => return Poll::Ready(Ok(Progress::Over)),
            }
        }
    }

    fn receive(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<Progress, OriginError> {
        let was_answered = self.is_answered();
        let received = self.response.receive(bytes, sink);
        if !was_answered && self.is_answered() {
            self.pool.counters.answered();
        }
        let Received { content_bytes, end } = received.map_err(OriginError::bare)?;
        self.pool.counters.body_bytes.add(content_bytes);
        let Some(is_clean) = end else {
            return Ok(Progress::More);
        };
        let way = std::mem::replace(&mut self.way, Way::Over);
        if let (Way::Receiving(connection), true) = (way, is_clean) {
            self.pool.put(connection);
        }
        Ok(Progress::Over)
    }

    /// The upstream has closed the connection, or it broke.
    fn end(&mut self, error: Option<io::Error>) -> Result<Option<Progress>, OriginError> {
        if error.is_none() && self.response.content == Some(Content::UntilClose) {
            self.way = Way::Over;
            return Ok(Some(Progress::Over));
        }
        let error = error.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
        self.try_again(error).map(|()| None)
    }

    /// A connection that was used before may have been closed since: then the
    /// upstream has not seen the request, or a GET may be repeated.
    fn try_again(&mut self, error: io::Error) -> Result<(), OriginError> {
        if !self.is_reused || self.response.has_begun {
            return Err(OriginError::new(OriginErrorKind::Reset, error));
        }
        self.is_reused = false;
        self.way = Way::Connecting(self.pool.connect());
        Ok(())
    }
}

/// What has come of a response.
#[derive(Default)]
struct Response {
    /// Whether anything has.
    has_begun: bool,
    /// A head that came in pieces, as far as it came.
    partial: Vec<u8>,
    /// `None` before the final head.
    content: Option<Content>,
    keeps_alive: bool,
}

#[derive(PartialEq, Eq)]
enum Content {
    /// So much is to come.
    Counted(u64),
    Chunked(Chunked),
    UntilClose,
}

/// What some bytes were.
struct Received {
    content_bytes: u64,
    /// Whether the response is whole, and then whether the connection can be
    /// used again.
    end: Option<bool>,
}

impl Response {
    fn receive(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<Received, OriginErrorKind> {
        self.has_begun = true;
        if self.content.is_some() {
            return self.receive_content(bytes, sink);
        }
        if self.partial.is_empty() {
            return self.receive_head(bytes, sink);
        }
        let looked_through = self.partial.len().saturating_sub(2);
        self.partial.extend_from_slice(bytes);
        if !has_empty_line(&self.partial[looked_through..]) {
            return self.wait_for_head();
        }
        let gathered = std::mem::take(&mut self.partial);
        self.receive_head(&gathered, sink)
    }

    fn receive_head(
        &mut self,
        mut bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Received, OriginErrorKind> {
        loop {
            let read = wire_head::read(bytes, |head| {
                if head.status.is_informational() {
                    sink.interim(head);
                    return;
                }
                sink.head(head);
                self.keeps_alive = head.keeps_alive();
                self.content = Some(match head.framing {
                    Framing::Absent => Content::Counted(0),
                    Framing::Counted(length) => Content::Counted(length),
                    Framing::Chunked => Content::Chunked(Chunked::of_response()),
                    Framing::UntilClose => Content::UntilClose,
                });
            })?;
            let Some((length, ())) = read else {
                self.partial.extend_from_slice(bytes);
                return self.wait_for_head();
            };
            if length > HEAD_BYTES_MAX {
                return Err(OriginErrorKind::Protocol);
            }
            bytes = &bytes[length..];
            if self.content.is_some() {
                return self.receive_content(bytes, sink);
            }
        }
    }

    fn wait_for_head(&self) -> Result<Received, OriginErrorKind> {
        if self.partial.len() > HEAD_BYTES_MAX {
            return Err(OriginErrorKind::Protocol);
        }
        Ok(Received {
            content_bytes: 0,
            end: None,
        })
    }

    fn receive_content(
        &mut self,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<Received, OriginErrorKind> {
        let mut content_bytes = 0;
        let mut take = |piece: &[u8]| {
            if !piece.is_empty() {
                content_bytes += piece.len() as u64;
                sink.content(piece);
            }
        };
        let used = match self.content.as_mut() {
            Some(Content::Counted(left)) => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                take(&bytes[..here]);
                *left -= here as u64;
                (*left == 0).then_some(here)
            }
            Some(Content::Chunked(chunked)) => {
                let found = chunked.take_content(bytes, &mut take);
                match found.then {
                    Then::More => None,
                    Then::End => Some(found.passed),
                    Then::Malformed => return Err(OriginErrorKind::Protocol),
                }
            }
            Some(Content::UntilClose) | None => {
                take(bytes);
                None
            }
        };
        Ok(Received {
            content_bytes,
            // What nobody asked for could be taken for the next response.
            end: used.map(|used| self.keeps_alive && used == bytes.len()),
        })
    }
}

/// Whether a head may end in these bytes.
fn has_empty_line(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| {
        let before = &bytes[..at];
        before.ends_with(b"\n") || before.ends_with(b"\n\r")
    })
}

/// Without the request and the response, which may hold secrets.
impl fmt::Debug for WireExchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Connecting(_) => "connecting",
            Way::Sending(..) => "sending",
            Way::Receiving(_) => "receiving",
            Way::Over => "over",
        };
        write!(formatter, "WireExchange({way})")
    }
}

#[cfg(test)]
#[path = "wire_exchange_tests.rs"]
mod tests;
