//! A session of HTTP/1: one connection, from its first head to its end.
//!
//! It owns the socket and does everything on it in one task, in order: reads a
//! head and has it checked (`wire`); has it answered at once or passed on at
//! once where that can be (`direct`), at any point of the connection's life; or
//! makes a request of it, calls the service, and writes the answer. The
//! content of a request is read only when somebody asks for it, and no more is
//! taken of an answer than the client takes; both go on at the same time.
//!
//! `heads` is what happens between messages, `exchange` a request and its
//! answer, `answer` the way of the answer, `content` the way of the request's
//! content, `pass` a request that is only passed on; `socket` reads, writes and
//! waits. `write` writes heads, `request` makes requests of parsed ones,
//! `interim` carries interim responses.
//!
//! Promises: what waits, waits no longer than the limits say; a connection that
//! is idle holds no buffer; a client that is refused while it sends reads the
//! answer and not a reset; one that has said all it will gets its answer.

use std::pin::pin;
use std::sync::Arc;

use bytes::BytesMut;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout_at;
use tower::Service;

use super::deadlines::Deadline;
use super::direct::Direct;
use super::listener::Place;
use super::opened::Opened;
use super::respond::Rejection;
use super::stack::Stack;
use super::wire::{Bounds, Framer};
use crate::message::Body;
use crate::message::outgoing::Outgoing;
use crate::message::upgrade::Upgrading;

mod answer;
mod content;
mod exchange;
mod heads;
mod interim;
mod pass;
mod request;
mod socket;
mod write;

use heads::{Next, Waiting};
use interim::InterimQueue;

/// One connection.
pub(super) struct Session<I, S> {
    socket: I,
    service: S,
    stack: Stack,
    place: Place,
    framer: Framer,
    /// What was read and not looked at, or not yet all of something.
    held: BytesMut,
    /// Whether some of it has yet to be looked at.
    is_unseen: bool,
    /// What is to be done next.
    next: Option<Next>,
    /// What is to be written.
    outgoing: Outgoing,
    /// Whether the socket may hold back some of what was written.
    is_unflushed: bool,
    /// Whether the client said that it will send nothing more.
    is_half_closed: bool,
    /// Whether an answer has begun to be written.
    is_answering: bool,
    waiting: Waiting,
    read_deadline: Deadline,
    write_deadline: Deadline,
    /// For the origin, while a request is passed on.
    origin_deadline: Deadline,
    /// For a client that may have gone, and shows it only when written to.
    gone_deadline: Deadline,
    /// Made for the first request that may have interim responses.
    interim: Option<Arc<InterimQueue>>,
    /// Requests that were called for.
    ordinal: u64,
}

/// How a connection goes on.
enum Flow {
    /// With the next request.
    Next,
    /// Not at all: everything was said.
    Close,
    /// Not at all: the client is gone, or has the beginning of an answer and
    /// must see that.
    Broken,
    /// In another protocol.
    Switch(Upgrading),
}

impl<I, S> Session<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>> + Direct,
    S::Error: Into<Rejection>,
{
    /// A session on `socket`, after the bytes in `held`. The first byte
    /// is waited for until `read_deadline`.
    pub(super) fn new(
        socket: I,
        held: BytesMut,
        stack: Stack,
        service: S,
        place: Place,
        read_deadline: Deadline,
    ) -> Self {
        let bounds = Bounds {
            head_bytes_max: stack.limits.head_bytes_max,
            target_bytes_max: stack.limits.target_bytes_max,
        };
        Self {
            socket,
            service,
            stack,
            place,
            framer: Framer::new(bounds),
            is_unseen: !held.is_empty(),
            held,
            next: None,
            outgoing: Outgoing::default(),
            is_unflushed: false,
            is_half_closed: false,
            is_answering: false,
            waiting: Waiting::ForRequest,
            read_deadline,
            write_deadline: Deadline::default(),
            origin_deadline: Deadline::default(),
            gone_deadline: Deadline::default(),
            interim: None,
            ordinal: 0,
        }
    }

    /// Serves it until it is over, or until it is cut by the drain.
    pub(super) async fn serve(self) {
        let drain = self.place.drain().clone();
        let mut begun = pin!(drain.begun_beside());
        let mut run = pin!(self.run());
        let deadline = tokio::select! {
            biased;
            () = run.as_mut() => return,
            deadline = begun.as_mut() => deadline,
        };
        // It sees for itself that the drain has begun, and is idle no more.
        let _finished_or_cut = timeout_at(deadline, run).await;
    }

    async fn run(mut self) {
        loop {
            let flow = match self.next().await {
                // Apart, so that a connection without one is small.
                Next::Called(called) => Box::pin(self.exchange(*called)).await,
                Next::Pass(pass) => self.pass(pass).await,
                Next::Refused(problem, received) => self.refuse(problem, received).await,
                Next::End => Flow::Close,
                Next::Broken => Flow::Broken,
            };
            match flow {
                Flow::Next => {}
                Flow::Close => return self.close().await,
                Flow::Broken => return self.service.connection_failed(),
                Flow::Switch(upgrading) => {
                    let write_idle_timeout = self.stack.limits.write_idle_timeout;
                    let held = self.held.freeze();
                    let opened = Opened::new(self.socket, held, write_idle_timeout, self.place);
                    return upgrading.hand_over(opened.cut_by_drain());
                }
            }
        }
    }
}

impl<I, S> Session<I, S> {
    /// Whether the connection is to end with what is under way.
    fn is_ending(&self) -> bool {
        self.is_half_closed || self.place.drain().is_draining()
    }
}
