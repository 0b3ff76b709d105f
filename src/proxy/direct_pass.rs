//! The life of a plain read that no route matches: to the origin and back
//! without a task, a channel or a map of fields on the way.
//!
//! What both sides are told is what they are told on the long way ([`pass`]):
//! heads are written from the parsed heads by the same rules. Whatever those
//! rules need a closer look for is left to the long way before anything is
//! sent.
//!
//! [`pass`]: super::pass

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Method, StatusCode, Uri, Version};

use super::ask::NotCacheable;
use super::direct::Plain;
use super::failure::Failure;
use super::outcome::{CacheStatus, Facts, Forwarded, Outcome, OutcomeView};
use super::shared::Shared;
use super::wire_fields::{self, ClientHead};
use super::{Peer, session};
use crate::clock::Timestamp;
use crate::gate::Permit;
use crate::message::client::ClientAddress;
use crate::origin::error::{OriginError, OriginErrorKind};
use crate::origin::exchange::{Exchange, Progress};
use crate::origin::head::{Framing, Head};
use crate::origin::request::Sender;
use crate::origin::response::{Piece, Sink};
use crate::semantics::outcome::CacheResult;
use crate::semantics::target::RequestTarget;
use crate::telemetry::exchanges::Exchanged;
use crate::telemetry::spans::TRACEPARENT;

/// A request on its way to the origin, or its answer on the way back.
#[derive(Debug)]
pub struct DirectPass {
    shared: Arc<Shared>,
    exchange: Exchange,
    path: String,
    client: ClientAddress,
    received: Instant,
    /// The same moment, for ages.
    now: Timestamp,
    sent: Instant,
    answer: Answer,
    end: Option<End>,
    /// Leave to be answered, until all is.
    _permit: Permit,
}

/// How the answer goes to the client.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    /// In chunks: its length was not known when it began.
    is_chunked: bool,
    /// It may be silent for as long as it likes.
    is_event_stream: bool,
}

/// How a direct pass goes on.
#[derive(Debug)]
pub enum Passing {
    /// Something was written for the client; there is more to come.
    More,
    /// Not at all: the answer is whole.
    Over,
    /// Not at all: there is no answer.
    Failed(Failure),
    /// Not at all: the answer broke off.
    Broken(OriginError),
}

/// What a client has at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// An answer, ours or the origin's.
    Whole,
    /// The beginning of one, and must see that.
    Broken,
}

/// Begins to pass a plain request on; `None`, and nothing has happened, where
/// that is for the long way.
pub(super) fn begin(
    shared: &Arc<Shared>,
    thread: usize,
    plain: &Plain<'_>,
    peer: Peer,
    received: Instant,
) -> Option<Box<DirectPass>> {
    let (path, query) = plain.path_and_query();
    let site = shared.site.load();
    let target = RequestTarget::of(path, query);
    if target.is_ambiguous || site.routes.find_index(&target.path).is_some() {
        return None;
    }
    // Not for the origin to see.
    if session::is_brought(site.config.coherence.session, plain.fields()) {
        return None;
    }
    // A span is made of what the long way knows.
    let spans = shared.telemetry.spans();
    if spans.begin(|| plain.field(&TRACEPARENT)).is_some() {
        return None;
    }
    let pool = site.origins[thread % site.origins.len()].pool();
    if !pool.speaks_http1() {
        return None;
    }
    let client = peer.address;
    let sender = Sender::new(client, peer.scheme, &site.config.limits, Version::HTTP_11);

    let mut request = Vec::with_capacity(512);
    request.extend_from_slice(b"GET ");
    request.extend_from_slice(path.as_bytes());
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        request.push(b'?');
        request.extend_from_slice(query.as_bytes());
    }
    request.extend_from_slice(b" HTTP/1.1\r\n");
    wire_fields::write_for_origin(&mut request, plain.fields(), plain.host(), &sender)?;

    // At the bounds on what is under way everybody waits in one queue.
    let permit = shared.telemetry.requests().try_enter()?;
    Some(Box::new(DirectPass {
        shared: Arc::clone(shared),
        sent: Instant::now(),
        exchange: Exchange::of_plain(pool, request)?,
        path: path.to_owned(),
        client,
        received,
        now: shared.clock.now(),
        answer: Answer::default(),
        end: None,
        _permit: permit,
    }))
}

impl DirectPass {
    /// Goes on until something was written to `outgoing` for the client, or
    /// nothing more will be. Where the connection is to end with this answer,
    /// its head says so.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        is_last: bool,
        outgoing: &mut Vec<u8>,
    ) -> Poll<Passing> {
        let mut writer = Writer {
            outgoing,
            answer: &mut self.answer,
            shared: &self.shared,
            path: &self.path,
            client: self.client,
            received: self.received,
            now: self.now,
            sent: self.sent,
            is_last,
        };
        let progress = std::task::ready!(self.exchange.poll(cx, &mut writer));
        Poll::Ready(match progress {
            // Interim responses are no answer, however many come.
            Ok(Progress::More) if self.is_late() => self.out_of_time(),
            Ok(Progress::More) => Passing::More,
            Ok(Progress::Over) => {
                self.end = Some(End::Whole);
                if self.answer.is_chunked {
                    outgoing.extend_from_slice(b"0\r\n\r\n");
                }
                Passing::Over
            }
            Err(error) => self.failed(error),
        })
    }

    /// How it ended: nothing more will be written.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether the origin has answered: the head of its answer was written.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.exchange.is_answered()
    }

    /// When the request's head had been read.
    #[must_use]
    pub fn received(&self) -> Instant {
        self.received
    }

    /// How long the origin may be silent from now on, or, before it answered,
    /// from the beginning.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        let config = self.exchange.config();
        if !self.exchange.is_answered() {
            return Some(self.exchange.time_left(config.response_timeout));
        }
        (!self.answer.is_event_stream).then_some(config.body_idle_timeout)
    }

    /// Whether the answer should have begun by now.
    fn is_late(&self) -> bool {
        !self.exchange.is_answered()
            && self
                .exchange
                .time_left(self.exchange.config().response_timeout)
                .is_zero()
    }

    /// The origin was silent for too long.
    pub fn out_of_time(&mut self) -> Passing {
        self.failed(OriginError::bare(OriginErrorKind::ResponseTimeout))
    }

    fn failed(&mut self, error: OriginError) -> Passing {
        if self.exchange.is_answered() {
            self.end = Some(End::Broken);
            return Passing::Broken(error);
        }
        self.end = Some(End::Whole);
        self.exchange.failed(&error);
        self.shared.telemetry.exchanged(&Exchanged {
            route: None,
            method: &Method::GET,
            at: self.now,
            answer: None,
        });
        let outcome = Outcome {
            telemetry: Arc::clone(&self.shared.telemetry),
            route: None,
            method: Method::GET,
            uri: Uri::try_from(self.path.as_str()).unwrap_or_default(),
            facts: facts(self.received, self.now, self.client, None),
        };
        Passing::Failed(Failure {
            error: error.into(),
            outcome: Box::new(outcome),
        })
    }
}

fn facts(
    started: Instant,
    now: Timestamp,
    client: ClientAddress,
    upstream: Option<Duration>,
) -> Facts {
    Facts {
        started,
        now,
        client,
        span: None,
        cache: CacheResult::Bypass,
        status: cache_status(),
        ages: None,
        upstream,
        saved: None,
    }
}

fn cache_status() -> CacheStatus {
    CacheStatus {
        detail: Some(NotCacheable::NoRoute.as_str()),
        ..CacheStatus::forwarded(Forwarded::Bypass)
    }
}

/// Writes an answer as it comes.
struct Writer<'a> {
    outgoing: &'a mut Vec<u8>,
    answer: &'a mut Answer,
    shared: &'a Shared,
    path: &'a str,
    client: ClientAddress,
    received: Instant,
    now: Timestamp,
    sent: Instant,
    is_last: bool,
}

impl Sink for Writer<'_> {
    fn interim(&mut self, head: &Head<'_>) {
        // It answers an expectation, and there was none.
        if head.status != StatusCode::CONTINUE {
            wire_fields::write_interim(self.outgoing, head);
        }
    }

    fn head(&mut self, head: &Head<'_>) {
        let took = self.sent.elapsed();
        self.shared.telemetry.exchanged(&Exchanged {
            route: None,
            method: &Method::GET,
            at: self.now,
            answer: Some((head.status, took)),
        });
        let ours = ClientHead {
            clock: &self.shared.clock,
            is_last: self.is_last,
        };
        self.answer.is_event_stream = ours.write(self.outgoing, head);
        self.answer.is_chunked = matches!(head.framing, Framing::Chunked | Framing::UntilClose);
        let outcome = OutcomeView {
            telemetry: &self.shared.telemetry,
            route: None,
            method: &Method::GET,
            path: self.path,
            facts: facts(self.received, self.now, self.client, Some(took)),
        };
        let body_bytes = match head.framing {
            Framing::Absent => Some(0),
            Framing::Counted(length) => Some(length),
            Framing::Chunked | Framing::UntilClose | Framing::Switched => None,
        };
        outcome.finish(self.outgoing, head.status, body_bytes);
        self.outgoing.extend_from_slice(b"\r\n");
    }

    fn content(&mut self, piece: Piece<'_>) {
        let piece = piece.bytes();
        if !self.answer.is_chunked {
            self.outgoing.extend_from_slice(piece);
            return;
        }
        wire_fields::push_chunk(self.outgoing, piece);
    }
}
