//! A request on its way to the origin, and how long the origin has been silent
//! about it.
//!
//! Promises: the head and small content that is there at once go in one piece;
//! of what follows, no more is taken from the client than one piece, before the
//! origin has taken that; the request can be told to begin again as long as
//! nothing that was taken is gone.
//!
//! An upload may take as long as its client needs; the origin has only so long
//! for its own part. So its time starts anew with every piece that it takes,
//! and stands still while the next piece has yet to come from the client (how
//! long that may take is the server's to bound).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    COOKIE, EXPECT, HOST, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use http_body::Body as HttpBody;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::head::Expected;
use super::request::names_override;
use crate::message::chunked::push_size;
use crate::message::digits::push_number;
use crate::message::fields::{is_hop_by_hop, is_of_the_way};
use crate::message::{Body, BodyError};

/// Content of at most so many bytes that is there at once goes with the head.
const AT_ONCE_BYTES_MAX: usize = 16 * 1024;

/// How often the head waits for other tasks of this thread, which may have such
/// content at hand.
const TURNS_WAITED: u8 = 2;

/// Fields that are none of a trailer section (RFC 9110 §6.5.1).
static NO_TRAILERS: [HeaderName; 15] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    EXPECT,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    VIA,
];

/// A request that is being sent.
#[derive(Debug)]
pub(super) struct Upload {
    /// Its head, and content that was there at once.
    head: Vec<u8>,
    /// So much of that was taken by the connection.
    head_sent: usize,
    /// What frames the piece that is under way, before it and behind it.
    before: Vec<u8>,
    before_sent: usize,
    piece: Bytes,
    behind: &'static [u8],
    body: Body,
    framing: Framing,
    /// Fields that were announced for the trailer section.
    announced: Vec<HeaderName>,
    stage: Stage,
    is_idempotent: bool,
    /// Whether content was taken that is not in `head`.
    is_taken: bool,
    /// Whether the connection took anything.
    is_begun: bool,
    /// The connection takes no more.
    is_broken: bool,
    /// When the origin last took something.
    last: Instant,
    /// The next piece was asked for and is not there yet.
    waits_for_client: bool,
}

/// How the end of the content is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// So much is to come.
    Counted(u64),
    Chunked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was sent: content may go with the head yet.
    Gathering { turns: u8 },
    /// There is more content.
    Streaming,
    /// All that there is was taken from the client.
    Ending,
    /// The connection has all of it.
    Over,
}

/// Why a request cannot be sent to its end.
#[derive(Debug)]
pub(super) enum Failed {
    /// Its content broke off, or is not what was announced.
    Content(BodyError),
    /// The connection broke.
    Write(io::Error),
}

/// Content is not as long as was announced.
#[derive(Debug, thiserror::Error)]
#[error("the content has another length than was announced")]
struct OtherLength;

impl Upload {
    /// A request without content, whose head is written: one that may be asked
    /// again.
    pub(super) fn of_head(head: Vec<u8>) -> Self {
        Self {
            head,
            head_sent: 0,
            before: Vec::new(),
            before_sent: 0,
            piece: Bytes::new(),
            behind: b"",
            body: Body::Empty,
            framing: Framing::Counted(0),
            announced: Vec::new(),
            stage: Stage::Ending,
            is_idempotent: true,
            is_taken: false,
            is_begun: false,
            is_broken: false,
            last: Instant::now(),
            waits_for_client: false,
        }
    }

    /// Any request: its head is written.
    pub(super) fn of(parts: &Parts, body: Body) -> Self {
        let fields = &parts.headers;
        let framing = framing_of(fields, &body);
        let mut upload = Self::of_head(write_head(parts, framing));
        upload.is_idempotent = parts.method.is_idempotent();
        if let Some(framing) = framing.filter(|&framing| framing != Framing::Counted(0)) {
            upload.framing = framing;
            upload.body = body;
            upload.stage = Stage::Gathering { turns: 0 };
            if framing == Framing::Chunked {
                upload.announced = announced(fields);
            }
        }
        upload
    }

    /// What the response to it may be like.
    pub(super) fn expects(parts: &Parts) -> Expected {
        Expected {
            is_to_head: parts.method == Method::HEAD,
            may_switch: parts.headers.contains_key(UPGRADE),
        }
    }

    /// Whether the connection has all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Whether the connection has any of it.
    pub(super) fn is_begun(&self) -> bool {
        self.is_begun
    }

    /// Whether there is nothing more to be sent.
    pub(super) fn is_over(&self) -> bool {
        self.is_whole() || self.is_broken
    }

    /// The connection takes no more; what was sent may be answered yet.
    pub(super) fn break_off(&mut self) {
        self.is_broken = true;
        self.pause_over();
    }

    /// Whether it may be sent again over another connection (RFC 9110 §9.2.2),
    /// and can.
    pub(super) fn can_begin_again(&self) -> bool {
        !self.is_begun || (self.is_idempotent && !self.is_taken)
    }

    /// Begins again.
    pub(super) fn begin_again(&mut self) {
        self.head_sent = 0;
        self.is_begun = false;
        self.is_broken = false;
        if self.stage == Stage::Over {
            self.stage = Stage::Ending;
        }
    }

    /// Until when the origin has time for its part, if it has so long for it.
    pub(super) fn patience(&self, limit: Duration) -> Instant {
        let since = match self.waits_for_client {
            true => Instant::now(),
            false => self.last,
        };
        since + limit
    }

    /// The origin's time begins now.
    pub(super) fn begin_patience(&mut self) {
        self.last = Instant::now();
    }

    /// Sends what there is, and goes on until all is sent.
    pub(super) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut W,
    ) -> Poll<Result<(), Failed>> {
        if let Stage::Gathering { turns } = self.stage
            && let Err(error) = ready!(self.gather(cx, turns))
        {
            return Poll::Ready(Err(Failed::Content(error)));
        }
        loop {
            if let Err(error) = ready!(self.write(cx, connection)) {
                return Poll::Ready(Err(Failed::Write(error)));
            }
            if self.stage != Stage::Streaming {
                self.stage = Stage::Over;
                return Poll::Ready(Ok(()));
            }
            if let Err(error) = ready!(self.take(cx)) {
                return Poll::Ready(Err(Failed::Content(error)));
            }
        }
    }

    /// Puts small content behind the head, if there is any by now.
    fn gather(&mut self, cx: &mut Context<'_>, turns: u8) -> Poll<Result<(), BodyError>> {
        let is_small = match self.framing {
            Framing::Counted(left) => left <= AT_ONCE_BYTES_MAX as u64,
            Framing::Chunked => false,
        };
        let taken = self.take(cx);
        if taken.is_pending() && is_small && turns < TURNS_WAITED {
            self.stage = Stage::Gathering { turns: turns + 1 };
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if matches!(self.stage, Stage::Gathering { .. }) {
            self.stage = Stage::Streaming;
        }
        if let Poll::Ready(Err(error)) = taken {
            return Poll::Ready(Err(error));
        }
        let is_small = is_small || self.framing == Framing::Chunked;
        if is_small && self.piece.len() <= AT_ONCE_BYTES_MAX {
            self.head.append(&mut self.before);
            self.head
                .extend_from_slice(&std::mem::take(&mut self.piece));
            self.head
                .extend_from_slice(std::mem::take(&mut self.behind));
            self.is_taken = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the next piece of content from the client, or its end.
    fn take(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        loop {
            let next = Pin::new(&mut self.body).poll_frame(cx);
            let Poll::Ready(next) = next else {
                self.waits_for_client = true;
                return Poll::Pending;
            };
            self.pause_over();
            let Some(frame) = next else {
                return Poll::Ready(self.end(&HeaderMap::new()));
            };
            match frame?.into_data() {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Poll::Ready(self.put(piece)),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Poll::Ready(self.end(&trailers));
                }
            }
        }
    }

    fn put(&mut self, piece: Bytes) -> Result<(), BodyError> {
        self.is_taken = true;
        self.before.clear();
        self.before_sent = 0;
        if self.head_sent == self.head.len() {
            // It is not sent again.
            self.head = Vec::new();
            self.head_sent = 0;
        }
        match &mut self.framing {
            Framing::Counted(left) => match left.checked_sub(piece.len() as u64) {
                Some(0) => {
                    *left = 0;
                    self.stage = Stage::Ending;
                }
                Some(rest) => *left = rest,
                None => return Err(BodyError::Broken(OtherLength.into())),
            },
            Framing::Chunked => {
                push_size(&mut self.before, piece.len());
                self.behind = b"\r\n";
                if self.body.is_end_stream() {
                    self.behind = b"\r\n0\r\n\r\n";
                    self.stage = Stage::Ending;
                }
            }
        }
        self.piece = piece;
        Ok(())
    }

    fn end(&mut self, trailers: &HeaderMap) -> Result<(), BodyError> {
        self.stage = Stage::Ending;
        if self.framing != Framing::Chunked {
            // All of it came before, or it broke off.
            return Err(BodyError::Broken(OtherLength.into()));
        }
        self.is_taken = true;
        self.before.clear();
        self.before_sent = 0;
        self.before.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            if self.announced.contains(name) && may_be_trailer(name) {
                push_field(&mut self.before, name, value.as_bytes());
            }
        }
        self.behind = b"\r\n";
        Ok(())
    }

    /// Gives the connection what was taken, to the last byte.
    fn write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut W,
    ) -> Poll<io::Result<()>> {
        loop {
            let head = &self.head[self.head_sent..];
            let before = &self.before[self.before_sent..];
            let is_alone = before.is_empty() && self.piece.is_empty() && self.behind.is_empty();
            let mut connection = Pin::new(&mut *connection);
            let written = if is_alone && head.is_empty() {
                return connection.poll_flush(cx);
            } else if is_alone {
                ready!(connection.as_mut().poll_write(cx, head))?
            } else {
                let all = [head, before, &self.piece, self.behind].map(IoSlice::new);
                ready!(connection.as_mut().poll_write_vectored(cx, &all))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written(written);
        }
    }

    fn written(&mut self, mut count: usize) {
        self.is_begun = true;
        if self.is_taken {
            self.last = Instant::now();
        }
        let mut part = |left: usize| {
            let here = left.min(count);
            count -= here;
            here
        };
        self.head_sent += part(self.head.len() - self.head_sent);
        self.before_sent += part(self.before.len() - self.before_sent);
        self.piece.advance(part(self.piece.len()));
        if self.piece.is_empty() {
            // Not the memory it was read into.
            self.piece = Bytes::new();
        }
        self.behind = &self.behind[part(self.behind.len())..];
    }

    /// The client is not what is waited for.
    fn pause_over(&mut self) {
        self.waits_for_client = false;
        self.last = Instant::now();
    }
}

/// How content is framed: as its length was announced, or is known, else in
/// chunks. `None` where there is none, and nothing need be said of it.
fn framing_of(fields: &HeaderMap, body: &Body) -> Option<Framing> {
    if body.is_end_stream() {
        return fields
            .contains_key(CONTENT_LENGTH)
            .then_some(Framing::Counted(0));
    }
    let announced = fields.get(CONTENT_LENGTH).and_then(|length| {
        let digits = length.to_str().ok()?;
        digits.parse().ok()
    });
    let length = announced.or_else(|| body.size_hint().exact());
    Some(length.map_or(Framing::Chunked, Framing::Counted))
}

/// Whether a field may come behind content. An application may take it for one of
/// the head, so that nothing passes which a head was rid of.
pub(super) fn may_be_trailer(name: &HeaderName) -> bool {
    let text = name.as_str();
    !NO_TRAILERS.contains(name)
        && !is_hop_by_hop(text)
        && !is_of_the_way(text)
        && !names_override(text)
        && memchr::memchr(b'_', text.as_bytes()).is_none()
}

fn announced(fields: &HeaderMap) -> Vec<HeaderName> {
    let lines = fields.get_all(TRAILER).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect()
}

fn write_head(parts: &Parts, framing: Option<Framing>) -> Vec<u8> {
    let mut head = Vec::with_capacity(1024);
    head.extend_from_slice(parts.method.as_str().as_bytes());
    head.push(b' ');
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    if !target.starts_with(['/', '*']) {
        head.push(b'/');
    }
    head.extend_from_slice(target.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    let mut is_framed = framing.is_none();
    for (name, value) in &parts.headers {
        if *name == CONTENT_LENGTH {
            if !std::mem::replace(&mut is_framed, true) {
                push_framing(&mut head, framing);
            }
        } else if *name != TRANSFER_ENCODING {
            push_field(&mut head, name, value.as_bytes());
        }
    }
    if !is_framed {
        push_framing(&mut head, framing);
    }
    head.extend_from_slice(b"\r\n");
    head
}

fn push_framing(head: &mut Vec<u8>, framing: Option<Framing>) {
    match framing {
        Some(Framing::Counted(length)) => {
            head.extend_from_slice(b"content-length: ");
            push_number(head, length);
            head.extend_from_slice(b"\r\n");
        }
        Some(Framing::Chunked) => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        None => {}
    }
}

fn push_field(text: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    text.extend_from_slice(name.as_str().as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

#[cfg(test)]
#[path = "upload_tests.rs"]
mod tests;
