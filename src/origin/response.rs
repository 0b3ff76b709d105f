//! A response on its way in: bytes as they come, and what they are.
//!
//! Promises: nothing is kept but a head that came in pieces and the trailer
//! section, and both are bounded; bytes behind the response are seen.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::error::OriginErrorKind;
use super::head::{self, Expected, Framing, Head};
use crate::message::chunked::{Chunked, Then};

/// A response head, the interim ones before it not counted (bytes); a larger
/// one is invalid.
const HEAD_BYTES_MAX: usize = 400 * 1024;

/// What takes a response.
pub trait Sink {
    /// An interim response, of which there may be several.
    fn interim(&mut self, head: &Head<'_>);
    /// The final response begins.
    fn head(&mut self, head: &Head<'_>);
    /// A piece of its content; never empty.
    fn content(&mut self, piece: Piece<'_>);
    /// The trailer fields that followed it, where there are any.
    fn trailers(&mut self, _fields: HeaderMap) {}
}

/// A piece of content where it was read.
#[derive(Debug)]
pub struct Piece<'a> {
    buffer: &'a mut BytesMut,
    content: Range<usize>,
}

impl Piece<'_> {
    /// What it is.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.content.clone()]
    }

    /// The same, to be kept: the buffer it was read into where that is nearly
    /// full of it, else a copy, so that little memory is kept besides.
    #[must_use]
    pub fn take(self) -> Bytes {
        if self.content.len() < self.buffer.capacity() / 4 * 3 {
            return Bytes::copy_from_slice(self.bytes());
        }
        let mut taken = std::mem::take(self.buffer).freeze();
        taken.truncate(self.content.end);
        taken.advance(self.content.start);
        taken
    }
}

/// What has come of a response.
#[derive(Debug, Default)]
pub(super) struct Response {
    expected: Expected,
    /// Whether anything has.
    has_begun: bool,
    /// A head that came in pieces, as far as it came.
    partial: BytesMut,
    /// `None` before the final head.
    content: Option<Content>,
    keeps_alive: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    /// So much is to come.
    Counted(u64),
    Chunked(Chunked),
    UntilClose,
    Switched,
}

/// What some bytes were.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) content_bytes: u64,
    /// Whether the response is whole.
    pub(super) end: Option<End>,
}

/// How a response ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The connection can be used again.
    Clean,
    /// It cannot.
    Last,
    /// It goes on in another protocol, and this came of it.
    Switched(Bytes),
}

/// Where content stands in bytes, and how it goes on behind it.
struct Found {
    content: Range<usize>,
    /// So many bytes belong to it, where it ends in them.
    end: Option<usize>,
    is_malformed: bool,
}

impl Response {
    pub(super) fn new(expected: Expected) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// Whether any byte of it has come.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether its head has come.
    pub(super) fn has_head(&self) -> bool {
        self.content.is_some()
    }

    /// Whether it is whole when the connection ends.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.content == Some(Content::UntilClose)
    }

    /// How much of its content has yet to come, where that was said.
    pub(super) fn left(&self) -> Option<u64> {
        match self.content {
            Some(Content::Counted(left)) => Some(left),
            _ => None,
        }
    }

    /// Takes bytes, all of them, as they came.
    ///
    /// # Errors
    /// The kind of failure, where they are no response.
    pub(super) fn receive(
        &mut self,
        bytes: &mut BytesMut,
        sink: &mut impl Sink,
    ) -> Result<Received, OriginErrorKind> {
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
        let mut gathered = std::mem::take(&mut self.partial);
        self.receive_head(&mut gathered, sink)
    }

    fn receive_head(
        &mut self,
        bytes: &mut BytesMut,
        sink: &mut impl Sink,
    ) -> Result<Received, OriginErrorKind> {
        loop {
            let read = head::read(bytes, self.expected, |head| {
                if head.status.is_informational() && head.framing != Framing::Switched {
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
                    Framing::Switched => Content::Switched,
                });
            })?;
            let Some((length, ())) = read else {
                self.partial.extend_from_slice(bytes);
                return self.wait_for_head();
            };
            if length > HEAD_BYTES_MAX {
                return Err(OriginErrorKind::Protocol);
            }
            bytes.advance(length);
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
        bytes: &mut BytesMut,
        sink: &mut impl Sink,
    ) -> Result<Received, OriginErrorKind> {
        let all = bytes.len();
        if self.content == Some(Content::Switched) {
            return Ok(Received {
                content_bytes: 0,
                end: Some(End::Switched(Bytes::copy_from_slice(bytes))),
            });
        }
        let found = self.find_content(bytes);
        let content_bytes = found.content.len() as u64;
        if !found.content.is_empty() {
            sink.content(Piece {
                buffer: bytes,
                content: found.content,
            });
        }
        if found.is_malformed {
            return Err(OriginErrorKind::Protocol);
        }
        if found.end.is_some()
            && let Some(Content::Chunked(chunked)) = &self.content
            && let Some(trailers) = chunked.trailers()
        {
            sink.trailers(trailers);
        }
        // What nobody asked for could be taken for the next response.
        let end = found.end.map(|used| match self.keeps_alive && used == all {
            true => End::Clean,
            false => End::Last,
        });
        Ok(Received { content_bytes, end })
    }

    fn find_content(&mut self, bytes: &mut [u8]) -> Found {
        match self.content.as_mut() {
            Some(Content::Counted(left)) => {
                let here = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= here as u64;
                Found {
                    content: 0..here,
                    end: (*left == 0).then_some(here),
                    is_malformed: false,
                }
            }
            Some(Content::Chunked(chunked)) => {
                let (content, found) = chunked.gather(bytes);
                Found {
                    content,
                    end: (found.then == Then::End).then_some(found.passed),
                    is_malformed: found.then == Then::Malformed,
                }
            }
            Some(Content::UntilClose | Content::Switched) | None => Found {
                content: 0..bytes.len(),
                end: None,
                is_malformed: false,
            },
        }
    }
}

/// Whether a head may end in these bytes.
fn has_empty_line(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| {
        let before = &bytes[..at];
        before.ends_with(b"\n") || before.ends_with(b"\n\r")
    })
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
