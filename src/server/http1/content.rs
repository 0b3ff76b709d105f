//! The part of a session that reads the content of a request: only when
//! the reader of the request's body asks for it.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Session;
use super::socket::READ_BYTES_MAX;
use crate::message::chunked::{Found, Then};
use crate::message::piped::{Feeder, Piped, Wanted, piped};
use crate::server::wire::{Framing, Message};

/// What is read at once of content (bytes).
const CONTENT_READ_BYTES: usize = READ_BYTES_MAX;

/// Content that nobody wants is read up to this, so that the connection can be
/// used again (bytes).
const UNWANTED_BYTES_MAX: usize = 64 * 1024;

/// The content of a request.
pub(super) enum Content {
    Absent,
    /// It came with the head.
    Whole(Bytes),
    /// It is on its way.
    Coming(Feed, Piped),
}

/// What goes on with content that is on its way.
pub(super) struct Feed {
    feeder: Feeder,
    /// Whether the client waits to be told that its content is wanted.
    pub(super) is_expecting: bool,
}

impl<I: AsyncRead + AsyncWrite + Unpin, S> Session<I, S> {
    /// The content of the message whose head has been read.
    pub(super) fn content(&mut self, message: Message) -> Content {
        let length = match message.framing {
            Framing::Counted(0) => return Content::Absent,
            Framing::Counted(length) => Some(length),
            Framing::Chunked => None,
        };
        let here = length.and_then(|length| usize::try_from(length).ok());
        if let Some(here) = here.filter(|&here| here <= self.held.len()) {
            // Counted content is what it looks like.
            let whole = self.held.split_to(here).freeze();
            self.framer.content(&whole, |_| {});
            self.used(0);
            return Content::Whole(whole);
        }
        let (feeder, body) = piped(length);
        let feed = Feed {
            feeder,
            is_expecting: message.expects_continue,
        };
        Content::Coming(feed, body)
    }

    /// Takes the content that is among `bytes`.
    fn take_content(&mut self, bytes: &[u8]) -> (Bytes, Found) {
        let mut content = Vec::new();
        let found = self
            .framer
            .content(bytes, |piece| content.extend_from_slice(piece));
        (content.into(), found)
    }

    /// So many of the bytes held are done with.
    fn used(&mut self, count: usize) {
        self.held.advance(count);
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
        self.is_unseen = !self.held.is_empty();
    }

    /// Hands over what content there is, as far as it is wanted. Says whether
    /// that was anything; at its end `feed` is taken away.
    pub(super) fn feed(
        &mut self,
        cx: &mut Context<'_>,
        feed: &mut Option<Feed>,
        may_continue: bool,
    ) -> bool {
        let mut has_fed = false;
        while let Some(open) = feed {
            match open.feeder.poll_wanted(cx) {
                Poll::Ready(Wanted::Piece) => {}
                Poll::Ready(Wanted::Nothing) | Poll::Pending => return has_fed,
            }
            // It may send without having been told to.
            let is_expecting = std::mem::take(&mut open.is_expecting);
            let (piece, then) = if self.held.is_empty() {
                if is_expecting && may_continue {
                    self.begin_outgoing();
                    let head = self.outgoing.head();
                    head.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
                match self.poll_read(cx, CONTENT_READ_BYTES) {
                    Poll::Pending => return has_fed,
                    Poll::Ready(Ok(_)) if self.is_half_closed => {
                        open.feeder.fail(io::ErrorKind::UnexpectedEof.into());
                        *feed = None;
                        return true;
                    }
                    Poll::Ready(Ok(read)) => {
                        let (piece, found) = self.take_content(read.bytes());
                        self.held.extend_from_slice(&read.bytes()[found.passed..]);
                        self.is_unseen = !self.held.is_empty();
                        (piece, found.then)
                    }
                    Poll::Ready(Err(error)) => {
                        self.is_half_closed = true;
                        open.feeder.fail(error);
                        *feed = None;
                        return true;
                    }
                }
            } else {
                let held = std::mem::take(&mut self.held);
                let (piece, found) = self.take_content(&held);
                self.held = held;
                self.used(found.passed);
                (piece, found.then)
            };
            has_fed |= !piece.is_empty() || then != Then::More;
            match then {
                Then::More if piece.is_empty() => {}
                Then::More => open.feeder.give(piece),
                Then::End => {
                    open.feeder.end(piece, self.framer.take_trailers());
                    *feed = None;
                }
                Then::Malformed => {
                    if !piece.is_empty() {
                        open.feeder.give(piece);
                    }
                    open.feeder.fail(io::ErrorKind::InvalidData.into());
                    *feed = None;
                }
            }
        }
        has_fed
    }

    /// After the answer: goes on for as long as somebody reads, then sees
    /// whether the rest is small enough to be read for nobody. Says whether the
    /// next message can follow.
    pub(super) async fn finish_content(&mut self, mut feed: Option<Feed>) -> bool {
        poll_fn(|cx| {
            self.feed(cx, &mut feed, false);
            let is_over = match &mut feed {
                None => true,
                Some(open) => open.feeder.poll_wanted(cx) == Poll::Ready(Wanted::Nothing),
            };
            if is_over {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        let mut left = UNWANTED_BYTES_MAX;
        poll_fn(|cx| {
            while self.framer.is_in_content() && left > 0 {
                if self.held.is_empty() {
                    match self.poll_read(cx, CONTENT_READ_BYTES.min(left)) {
                        Poll::Ready(Ok(read)) if !self.is_half_closed => {
                            self.held.extend_from_slice(read.bytes());
                        }
                        _ => break,
                    }
                }
                left = left.saturating_sub(self.held.len());
                let found = self.framer.content(&self.held, |_| {});
                self.used(found.passed);
            }
            Poll::Ready(())
        })
        .await;
        !self.framer.is_in_content() && !self.framer.is_over()
    }
}
