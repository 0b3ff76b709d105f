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
use crate::proxy::Plain;
use crate::server::Problem;
use crate::server::direct::Answering;

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
    /// So many from the front were answered.
    answered: usize,
    /// Up to here the rest passes.
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

    /// Whether every request whose head passed has its whole response.
    pub(super) fn has_finished(&self) -> bool {
        self.exchange.has_finished(self.framer.heads())
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

    /// Follows bytes as far as they are answered or pass.
    fn follow(&mut self, bytes: &[u8], answering: &mut Answering<'_>) -> Followed {
        let mut answered = 0;
        let mut passed = 0;
        let mut kept_from = 0;
        let mut refused = None;
        self.unseen = false;
        while kept_from < bytes.len() {
            if answering.is_full() {
                self.unseen = true;
                break;
            }
            let mut answer = |plain: &Plain<'_>| answering.answer(plain);
            match self.framer.step_or_answer(&bytes[kept_from..], &mut answer) {
                Step::Answered(count) => {
                    kept_from += count;
                    answered = kept_from;
                    passed = kept_from;
                }
                Step::Pass(count) => {
                    kept_from += count;
                    passed = kept_from;
                    // It has to be answered before what follows it.
                    answering.is_in_turn = false;
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
            answered,
            passed,
            kept_from,
            refused,
        }
    }

    /// Follows what is held, none of which is released.
    fn follow_held(&mut self, answering: &mut Answering<'_>) {
        let mut held = std::mem::take(&mut self.held);
        let followed = self.follow(&held, answering);
        if followed.kept_from > followed.passed {
            let kept = held.split_off(followed.kept_from);
            held.truncate(followed.passed);
            held.unsplit(kept);
        }
        held.advance(followed.answered);
        // An idle connection keeps no buffer.
        self.held = if held.is_empty() {
            BytesMut::new()
        } else {
            held
        };
        self.released = followed.passed - followed.answered;
        if let Some(problem) = followed.refused {
            self.refuse(problem);
        }
    }

    /// Follows what was just read into `buf`, after `start`: what passes stays
    /// there, what does not is held. What passes after something was answered
    /// is held as well, so that the answers are written first.
    pub(super) fn follow_read(
        &mut self,
        buf: &mut ReadBuf<'_>,
        start: usize,
        answering: &mut Answering<'_>,
    ) {
        if !self.held.is_empty() {
            self.held.extend_from_slice(&buf.filled()[start..]);
            buf.set_filled(start);
            self.follow_held(answering);
            return;
        }
        let followed = self.follow(&buf.filled()[start..], answering);
        let read = &buf.filled()[start..];
        if followed.answered > 0 {
            self.held
                .extend_from_slice(&read[followed.answered..followed.passed]);
            self.released = self.held.len();
            self.held.extend_from_slice(&read[followed.kept_from..]);
            buf.set_filled(start);
        } else {
            self.held.extend_from_slice(&read[followed.kept_from..]);
            buf.set_filled(start + followed.passed);
        }
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

    /// Takes back what was handed over last and not used.
    pub(super) fn take_back(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut held = BytesMut::with_capacity(bytes.len() + self.held.len());
        held.extend_from_slice(bytes);
        held.extend_from_slice(&self.held);
        self.held = held;
        self.released += bytes.len();
    }

    /// Hands over what is released; says whether that was anything.
    pub(super) fn deliver(&mut self, buf: &mut ReadBuf<'_>, answering: &mut Answering<'_>) -> bool {
        while self.released == 0 && self.unseen && self.mode == Mode::Framed && !answering.is_full()
        {
            self.follow_held(answering);
        }
        // What was answered is written before anything else is begun.
        if self.released == 0 || !answering.outgoing.is_empty() || answering.pass.is_some() {
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
