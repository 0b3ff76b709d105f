//! The part of a session between two messages: reads heads, and answers those
//! that can be answered at once.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, BytesMut};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Session;
use super::request::request_of;
use crate::proxy::{DirectPass, Plain};
use crate::server::direct::Direct;
use crate::server::respond::Problem;
use crate::server::wire::{Framing, Message, Step};

/// What is read at once between messages: many heads, or one and a small body
/// (bytes).
const HEAD_READ_BYTES: usize = 20 * 1024;

/// What is to be done next on a connection.
pub(super) enum Next {
    /// The service is to be called.
    Called(Box<Called>),
    /// A request is to be passed on.
    Pass(Box<DirectPass>),
    /// A request is refused, which began to be read then.
    Refused(Problem, Instant),
    /// Nothing: it ends.
    End,
    /// Nothing: it broke.
    Broken,
}

/// A request for the service.
pub(super) struct Called {
    pub(super) request: Request<()>,
    pub(super) message: Message,
    /// When its head had been read.
    pub(super) received: Instant,
}

/// What the read deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Nothing,
    ForRequest,
    ForHead,
}

impl<I: AsyncRead + AsyncWrite + Unpin, S: Direct> Session<I, S> {
    /// Answers what can be answered at once, until there is something else to
    /// do.
    pub(super) async fn next(&mut self) -> Next {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            // What was answered is written before anything else is begun.
            if ready!(self.poll_write(cx)).is_err() {
                return Poll::Ready(Next::Broken);
            }
            if let Some(next) = self.next.take() {
                self.waiting = Waiting::Nothing;
                self.is_answering = false;
                self.read_deadline.clear();
                return Poll::Ready(next);
            }
            if self.is_unseen {
                self.look_at_held();
                continue;
            }
            if self.is_ending() {
                return Poll::Ready(Next::End);
            }
            match self.poll_read(cx, HEAD_READ_BYTES) {
                Poll::Ready(Ok(_)) if self.is_half_closed => {
                    let is_between = self.held.is_empty();
                    return Poll::Ready(if is_between { Next::End } else { Next::Broken });
                }
                Poll::Ready(Ok(read)) => self.look_at(read.bytes()),
                Poll::Ready(Err(error)) => {
                    // Of TLS that ends without a word, as many clients end it:
                    // between two messages nothing can be missing.
                    let is_end =
                        self.held.is_empty() && error.kind() == io::ErrorKind::UnexpectedEof;
                    return Poll::Ready(if is_end { Next::End } else { Next::Broken });
                }
                Poll::Pending => {
                    self.await_client();
                    ready!(self.read_deadline.poll(cx));
                    if self.waiting != Waiting::ForHead {
                        return Poll::Ready(Next::End);
                    }
                    self.framer.refuse();
                    let problem = Problem::request_timeout(
                        "The rest of the request head did not arrive in time.",
                    );
                    self.next = Some(Next::Refused(problem, Instant::now()));
                }
            }
        }
    }

    /// Nothing to read: sets the deadline for what is waited for.
    fn await_client(&mut self) {
        let (waiting, patience) = if self.held.is_empty() {
            (Waiting::ForRequest, self.stack.limits.idle_timeout)
        } else {
            (Waiting::ForHead, self.stack.limits.head_timeout)
        };
        if waiting != self.waiting {
            self.waiting = waiting;
            self.read_deadline
                .set(tokio::time::Instant::now() + patience);
        }
    }

    /// A request read at `received` was answered, and nothing came after it: the
    /// wait for the next begins.
    pub(super) fn await_next(&mut self, received: Instant) {
        self.waiting = Waiting::ForRequest;
        self.read_deadline
            .set(tokio::time::Instant::from_std(received) + self.stack.limits.idle_timeout);
    }

    /// Looks at what was just read.
    fn look_at(&mut self, bytes: &[u8]) {
        if self.held.is_empty() {
            let used = self.look(bytes);
            self.held.extend_from_slice(&bytes[used..]);
        } else {
            self.held.extend_from_slice(bytes);
            self.look_at_held();
        }
    }

    fn look_at_held(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        let used = self.look(&held);
        held.advance(used);
        // An idle connection keeps no buffer.
        self.held = if held.is_empty() {
            BytesMut::new()
        } else {
            held
        };
    }

    /// Looks at bytes that follow each other from where a message begins, until
    /// there is something to do or to write. Says how many are done with.
    fn look(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        let mut last = None;
        self.is_unseen = false;
        let is_ending = self.is_ending();
        self.begin_outgoing();
        while used < bytes.len() {
            if self.next.is_some() || self.outgoing.is_full() {
                self.is_unseen = true;
                break;
            }
            let Self {
                framer,
                service,
                outgoing,
                next,
                stack,
                ..
            } = self;
            let mut see = |head: &[u8], parsed: &httparse::Request<'_, '_>, message: Message| {
                let received = Instant::now();
                let is_plain = message.framing == Framing::Counted(0)
                    && !message.switch
                    && !message.is_rewritten
                    && !is_ending;
                if is_plain && let Some(plain) = Plain::of(parsed) {
                    if service.answer_directly(&plain, stack.peer, received, outgoing) {
                        last = Some(received);
                        return;
                    }
                    if let Some(pass) = service.pass_directly(&plain, stack.peer, received) {
                        *next = Some(Next::Pass(pass));
                        return;
                    }
                }
                *next = Some(match request_of(head, parsed) {
                    Ok(request) => Next::Called(Box::new(Called {
                        request,
                        message,
                        received,
                    })),
                    Err(problem) => Next::Refused(problem, received),
                });
            };
            match framer.step(&bytes[used..], &mut see) {
                Step::Drop(count) => used += count,
                Step::Head(count, _) => {
                    used += count;
                    self.waiting = Waiting::Nothing;
                }
                Step::More => break,
                Step::Refuse(problem) => {
                    self.next = Some(Next::Refused(problem, Instant::now()));
                }
            }
        }
        self.spare_outgoing();
        if let Some(received) = last.filter(|_| used == bytes.len() && self.next.is_none()) {
            self.await_next(received);
        }
        used
    }
}
