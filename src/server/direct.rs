//! Answers that need no request to be made of a head.
//!
//! The guard of a connection parses every HTTP/1 head before hyper does. Where
//! nothing else is under way on the connection, the service is shown the
//! parsed head first, and may answer it there and then; hyper never sees such
//! a request. It changes nothing for the client: order, keep-alive, limits and
//! deadlines are the guard's in either case.
//!
//! A connection that has asked for nothing else is not hyper's yet. While that
//! is so, plain requests that are only passed on are passed on from here too.

use std::time::Instant;

use http::StatusCode;

use crate::message::outgoing::Outgoing;
use crate::proxy::{DirectPass, Peer, Plain, Proxy};

/// A service that can answer some requests at once.
pub trait Direct {
    /// Answers a plain request that came from `peer` and whose head had been
    /// read at `received`: writes
    /// the whole response and says so. Else writes nothing.
    fn answer_directly(
        &self,
        plain: &Plain<'_>,
        peer: Peer,
        received: Instant,
        outgoing: &mut Outgoing,
    ) -> bool;

    /// A connection ended in an error: to be counted.
    fn connection_failed(&self);

    /// A request was refused before it came to the service: to be counted.
    fn refused(&self, status: StatusCode, peer: Peer, received: Instant);

    /// Begins to pass such a request on, where that is all there is to do.
    /// Else nothing has happened.
    fn pass_directly(
        &self,
        plain: &Plain<'_>,
        peer: Peer,
        received: Instant,
    ) -> Option<Box<DirectPass>>;
}

impl Direct for Proxy {
    fn answer_directly(
        &self,
        plain: &Plain<'_>,
        peer: Peer,
        received: Instant,
        outgoing: &mut Outgoing,
    ) -> bool {
        Self::answer_directly(self, plain, peer, received, outgoing)
    }

    fn connection_failed(&self) {
        Self::connection_failed(self);
    }

    fn refused(&self, status: StatusCode, peer: Peer, received: Instant) {
        Self::refused(self, status, peer, received);
    }

    fn pass_directly(
        &self,
        plain: &Plain<'_>,
        peer: Peer,
        received: Instant,
    ) -> Option<Box<DirectPass>> {
        Self::pass_directly(self, plain, peer, received)
    }
}

/// How heads are answered at one moment of a connection.
pub(super) struct Answering<'a> {
    pub(super) service: &'a dyn Direct,
    pub(super) peer: Peer,
    pub(super) outgoing: &'a mut Outgoing,
    /// Whether nothing is under way that has to be answered before.
    pub(super) is_in_turn: bool,
    /// Whether requests may be passed on.
    pub(super) may_pass: bool,
    /// The one that is: what follows it has to wait.
    pub(super) pass: &'a mut Option<Box<DirectPass>>,
    /// When the last request that was answered had been read.
    pub(super) last: Option<Instant>,
}

impl Answering<'_> {
    /// Whether what follows has to wait for what was answered to be written.
    pub(super) fn is_full(&self) -> bool {
        self.outgoing.is_full() || self.pass.is_some()
    }

    /// Answers a request, or begins to, if it is its turn and that can be done
    /// at once.
    pub(super) fn answer(&mut self, plain: &Plain<'_>) -> bool {
        if !self.is_in_turn {
            return false;
        }
        let received = Instant::now();
        let is_answered = self
            .service
            .answer_directly(plain, self.peer, received, self.outgoing);
        if is_answered {
            self.last = Some(received);
        } else if self.may_pass {
            *self.pass = self.service.pass_directly(plain, self.peer, received);
        }
        is_answered || self.pass.is_some()
    }
}
