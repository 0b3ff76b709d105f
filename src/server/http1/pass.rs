//! The part of a session that passes a request on to the origin by itself.
//!
//! Promises: no more is taken from the origin than the client takes; a client
//! that leaves ends the exchange; what it sends meanwhile waits its turn.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tower::Service;

use super::write::{Asked, write_head};
use super::{Flow, Session};
use crate::message::Body;
use crate::proxy::{DirectPass, End, Failure, Passing};
use crate::server::direct::Direct;
use crate::server::respond::Rejection;

impl<I, S> Session<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Body>, Response = Response<Body>> + Direct,
    S::Error: Into<Rejection>,
{
    /// Passes a request on and writes its answer.
    pub(super) async fn pass(&mut self, mut pass: Box<DirectPass>) -> Flow {
        let mut is_last = false;
        let is_whole = poll_fn(|cx| self.poll_pass(cx, &mut pass, &mut is_last)).await;
        self.origin_deadline.clear();
        match (is_whole, is_last) {
            (false, _) => Flow::Broken,
            (true, true) => Flow::Close,
            (true, false) => Flow::Next,
        }
    }

    /// Says whether the client has an answer in the end.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        pass: &mut DirectPass,
        is_last: &mut bool,
    ) -> Poll<bool> {
        loop {
            if ready!(self.poll_write(cx)).is_err() {
                return Poll::Ready(false);
            }
            if let Some(end) = pass.end() {
                return Poll::Ready(end == End::Whole);
            }
            self.is_answering = pass.is_answered();
            // Once its head has been written, that has been said or not.
            if !self.is_answering {
                *is_last = self.is_ending();
            }
            self.begin_outgoing();
            let mut passing = pass.poll(cx, *is_last, self.outgoing.head());
            if passing.is_pending() {
                self.spare_outgoing();
                if self.look_ahead(cx).is_err() {
                    return Poll::Ready(false);
                }
                passing = self.poll_late(cx, pass);
            } else {
                self.origin_deadline.clear();
            }
            match ready!(passing) {
                Passing::More | Passing::Over => {}
                Passing::Failed(failure) => self.tell(failure, pass.received(), *is_last),
                Passing::Broken(error) => tracing::debug!(%error, "an answer broke off"),
            }
        }
    }

    /// Ready once the origin has been silent for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>, pass: &mut DirectPass) -> Poll<Passing> {
        if !self.origin_deadline.is_set() {
            let Some(patience) = pass.patience() else {
                return Poll::Pending;
            };
            self.origin_deadline.set(Instant::now() + patience);
        }
        ready!(self.origin_deadline.poll(cx));
        Poll::Ready(pass.out_of_time())
    }

    /// Writes what a client is told instead of an answer.
    fn tell(&mut self, failure: Failure, received: std::time::Instant, is_last: bool) {
        let response = Rejection::from(failure).into_response(received);
        let asked = Asked {
            is_http_11: true,
            is_head: false,
            keeps_alive: !is_last,
            takes_trailers: false,
        };
        self.begin_outgoing();
        write_head(self.outgoing.head(), &response, asked);
        if let Body::Full(Some(document)) = response.into_body() {
            self.outgoing.body((&document).into());
        }
    }
}
