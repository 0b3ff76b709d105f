//! Answers that need no request to be made of a head.
//!
//! The guard of a connection parses every HTTP/1 head before hyper does. Where
//! nothing else is under way on the connection, the service is shown the
//! parsed head first, and may answer it there and then; hyper never sees such
//! a request. It changes nothing for the client: order, keep-alive, limits and
//! deadlines are the guard's in either case.

use std::time::Instant;

use crate::message::outgoing::Outgoing;
use crate::proxy::{Peer, Plain, Proxy};

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
}

/// How heads are answered at one moment of a connection.
pub(super) struct Answering<'a> {
    pub(super) service: &'a dyn Direct,
    pub(super) peer: Peer,
    pub(super) outgoing: &'a mut Outgoing,
    /// Whether nothing is under way that has to be answered before.
    pub(super) is_in_turn: bool,
    /// When the last request that was answered had been read.
    pub(super) last: Option<Instant>,
}

impl Answering<'_> {
    /// Answers a request, if it is its turn and that can be done at once.
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
        }
        is_answered
    }
}
