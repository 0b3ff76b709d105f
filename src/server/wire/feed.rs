//! The bytes between the socket and hyper: what passes, what waits.
//!
//! A refusal is answered in its turn, after the responses to the requests
//! before it. So it is not written here: hyper is given a harmless head in the
//! refused one's place, the [`Exchange`] is told which request that is, and
//! nothing more is handed over. The stack answers by the ordinal alone.
//!
//! Knows the framer and the buffer, not the socket and not the time. What
//! passes in the buffer it was read into stays there; only what has to wait is
//! copied.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::exchange::Exchange;
use super::framer::{Bounds, Framer, Step};
use crate::server::Problem;

/// What hyper sees of a request that is refused.
const SUBSTITUTE: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// Bytes kept while a response decides about a switch of protocols; past it
/// they stay in the kernel's buffer.
const SWITCHING_BYTES_MAX: usize = 64 * 1024;

/// What happens to the bytes of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// They are followed.
    Framed,
    /// They pass: HTTP/2, or what came after a switch of protocols.
    Open,
    /// They stay where they are: a request was refused.
    Refused,
    /// They broke the framing of a body.
    Broken,
}

/// Where in a message the connection stands, as far as it has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Between two messages, after so many heads.
    Between(u64),
    /// In a head, after so many others.
    InHead(u64),
    /// In a message's content, or after an offer to switch protocols.
    Elsewhere,
}

/// The bytes of one connection.
#[derive(Debug)]
pub(super) struct Feed {
    framer: Framer,
    exchange: Arc<Exchange>,
    mode: Mode,
    /// Bytes read that hyper does not have yet.
    held: BytesMut,
    /// So many of them, from the front, may be handed over.
    released: usize,
    /// Whether the framer has yet to see the rest of them.
    unseen: bool,
}

/// What became of some bytes.
struct Followed {
    /// So many from the front pass.
    passed: usize,
    /// From here on they are kept.
    kept_from: usize,
    refused: Option<Problem>,
}

impl Feed {
    pub(super) fn new(bounds: Bounds, exchange: Arc<Exchange>) -> Self {
        Self {
            framer: Framer::new(bounds),
            exchange,
            mode: Mode::Framed,
            held: BytesMut::new(),
            released: 0,
            unseen: false,
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// What is held, released or not.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Holds bytes that are followed later, by [`Feed::deliver`].
    pub(super) fn hold(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.unseen = true;
    }

    /// Where the connection stands.
    pub(super) fn standing(&self) -> Standing {
        let heads = self.framer.heads();
        if !self.framer.is_in_head() {
            Standing::Elsewhere
        } else if self.held.is_empty() {
            Standing::Between(heads)
        } else {
            Standing::InHead(heads)
        }
    }

    /// Whether the client may still be sending what nobody will read.
    pub(super) fn is_cut_short(&self) -> bool {
        match self.mode {
            Mode::Refused | Mode::Broken => true,
            Mode::Framed => self.framer.is_in_content() || !self.held.is_empty(),
            Mode::Open => false,
        }
    }

    /// From here on everything passes.
    pub(super) fn open(&mut self) {
        self.mode = Mode::Open;
        self.released = self.held.len();
        self.unseen = false;
    }

    /// Whether the connection has just become another protocol's.
    pub(super) fn has_switched(&self) -> bool {
        self.mode == Mode::Framed
            && self.framer.is_switching()
            && self.exchange.has_switched(self.framer.heads())
    }

    /// Whether no more is taken before the response has decided.
    pub(super) fn is_full(&self) -> bool {
        self.framer.is_switching() && self.held.len() >= SWITCHING_BYTES_MAX
    }

    /// Refuses the head that is held in part, for being late.
    pub(super) fn refuse_late(&mut self) {
        self.framer.refuse();
        self.refuse(Problem::request_timeout(
            "The rest of the request head did not arrive in time.",
        ));
    }

    /// Follows bytes as far as they pass.
    fn follow(&mut self, bytes: &[u8]) -> Followed {
        let mut passed = 0;
        let mut kept_from = 0;
        let mut refused = None;
        self.unseen = false;
        while kept_from < bytes.len() {
            match self.framer.step(&bytes[kept_from..]) {
                Step::Pass(count) => {
                    kept_from += count;
                    passed = kept_from;
                }
                Step::Drop(count) => {
                    kept_from += count;
                    self.unseen = true;
                    break;
                }
                Step::More | Step::Switch => break,
                Step::Broken => {
                    self.mode = Mode::Broken;
                    kept_from = bytes.len();
                }
                Step::Refuse(problem) => {
                    self.mode = Mode::Refused;
                    kept_from = bytes.len();
                    refused = Some(problem);
                }
            }
        }
        Followed {
            passed,
            kept_from,
            refused,
        }
    }

    /// Follows what is held, none of which is released.
    fn follow_held(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        let followed = self.follow(&held);
        if followed.kept_from > followed.passed {
            let kept = held.split_off(followed.kept_from);
            held.truncate(followed.passed);
            held.unsplit(kept);
        }
        self.held = held;
        self.released = followed.passed;
        if let Some(problem) = followed.refused {
            self.refuse(problem);
        }
    }

    /// Follows what was just read into `buf`, after `start`: what passes stays
    /// there, what does not is held.
    pub(super) fn follow_read(&mut self, buf: &mut ReadBuf<'_>, start: usize) {
        if !self.held.is_empty() {
            self.held.extend_from_slice(&buf.filled()[start..]);
            buf.set_filled(start);
            self.follow_held();
            return;
        }
        let followed = self.follow(&buf.filled()[start..]);
        self.held
            .extend_from_slice(&buf.filled()[start + followed.kept_from..]);
        buf.set_filled(start + followed.passed);
        if let Some(problem) = followed.refused {
            self.refuse(problem);
        }
    }

    /// Puts the substitute behind what is released. The framer has counted
    /// the request.
    fn refuse(&mut self, problem: Problem) {
        tracing::debug!(status = problem.status.as_u16(), detail = %problem.detail, "request refused");
        self.mode = Mode::Refused;
        self.exchange.refuse(self.framer.heads(), problem.closing());
        self.held.truncate(self.released);
        self.held.extend_from_slice(SUBSTITUTE);
        self.released = self.held.len();
    }

    /// Hands over what is released; says whether that was anything.
    pub(super) fn deliver(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        while self.released == 0 && self.unseen && self.mode == Mode::Framed {
            self.follow_held();
        }
        if self.released == 0 {
            return false;
        }
        let count = self.released.min(buf.remaining());
        buf.put_slice(&self.held[..count]);
        self.held.advance(count);
        self.released -= count;
        if self.held.is_empty() {
            // An idle connection keeps no buffer.
            self.held = BytesMut::new();
        }
        true
    }
}
