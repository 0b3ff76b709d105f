//! The part of a session that calls the service for a request, and writes what
//! comes of it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service;

use super::content::{Content, Feed};
use super::heads::Called;
use super::interim::InterimQueue;
use super::socket::Gone;
use super::write::Asked;
use super::{Flow, Session};
use crate::message::Body;
use crate::message::interim::{Interim, InterimSink};
use crate::message::upgrade::Upgrade;
use crate::server::body::{self, Fate};
use crate::server::direct::Direct;
use crate::server::respond::{Problem, Rejection};
use crate::server::stack::{rescue, take_offer};

impl<I, S> Session<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<Body>, Response = Response<Body>> + Direct,
    S::Error: Into<Rejection>,
{
    /// Answers a request.
    pub(super) async fn exchange(&mut self, called: Called) -> Flow {
        let Called {
            request,
            message,
            received,
        } = called;
        let asked = Asked {
            is_http_11: message.is_http_11,
            is_head: *request.method() == Method::HEAD,
            keeps_alive: message.keeps_alive,
            takes_trailers: message.takes_trailers,
        };
        let (guarded, mut feed) = match self.content(message) {
            Content::Absent => (Ok((Body::Empty, Fate::default())), None),
            Content::Whole(content) => (body::whole(content, &self.stack.limits), None),
            Content::Coming(feed, piped) => (
                body::guard(piped, body::Carrier::Http1, &self.stack.limits),
                Some(feed),
            ),
        };
        let (body, fate) = match guarded {
            Ok(guarded) => guarded,
            Err(problem) => {
                let response = self.stack.rejected(&self.service, problem.into(), received);
                return self.respond(response, asked, feed).await;
            }
        };
        let (mut parts, ()) = request.into_parts();
        let offers_switch = take_offer(&mut parts);
        let upgrading = offers_switch.then(|| {
            let (upgrading, upgrade) = Upgrade::promise();
            parts.extensions.insert(upgrade);
            upgrading
        });
        self.ordinal += 1;
        let interim = message.is_http_11.then(|| {
            let queue = self.interim.get_or_insert_default();
            let sink = Arc::clone(queue) as Arc<dyn InterimSink>;
            Interim::new(sink, self.ordinal)
        });
        self.stack.tell(&mut parts, received, interim);
        let request = Request::from_parts(parts, body);

        let answered = match poll_fn(|cx| self.service.poll_ready(cx)).await {
            Err(error) => Err(error),
            Ok(()) => {
                let mut answering = pin!(self.service.call(request));
                let answered = poll_fn(|cx| {
                    if let Some(queue) = &self.interim {
                        queue.set_writer(cx.waker());
                    }
                    loop {
                        if let Poll::Ready(answered) = answering.as_mut().poll(cx) {
                            return Poll::Ready(Ok(answered));
                        }
                        match self.beside(cx, &mut feed) {
                            Ok(true) => {}
                            Ok(false) => return Poll::Pending,
                            Err(Gone) => return Poll::Ready(Err(Gone)),
                        }
                    }
                });
                match answered.await {
                    Ok(answered) => answered,
                    Err(Gone) => return Flow::Broken,
                }
            }
        };
        let response = rescue(answered, &fate, offers_switch)
            .unwrap_or_else(|rejection| self.stack.rejected(&self.service, rejection, received));
        let is_switch = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let flow = self.respond(response, asked, feed).await;
        // Content that nobody read is not of the other protocol.
        let has_all = !self.framer.is_in_content() && !self.framer.is_over();
        match (flow, upgrading) {
            (Flow::Close, Some(upgrading)) if is_switch && has_all => Flow::Switch(upgrading),
            (flow, _) => flow,
        }
    }

    /// While the service is waited for: hands over content, writes interim
    /// responses, and looks whether the client has gone. Says whether the
    /// service may have something to go on with.
    fn beside(&mut self, cx: &mut Context<'_>, feed: &mut Option<Feed>) -> Result<bool, Gone> {
        let has_fed = self.feed(cx, feed, true);
        loop {
            let has_taken = self.take_interim();
            match self.poll_write(cx) {
                Poll::Ready(Err(_)) => return Err(Gone),
                Poll::Ready(Ok(())) if has_taken => {}
                Poll::Ready(Ok(())) | Poll::Pending => break,
            }
        }
        if feed.is_none() {
            self.look_ahead(cx)?;
        }
        Ok(has_fed)
    }

    /// Gathers the interim responses that have come; those that a client takes
    /// no faster stay where what waits is bounded. Says whether there were any.
    fn take_interim(&mut self) -> bool {
        if self.outgoing.is_full() {
            return false;
        }
        let heads = self.interim.as_deref().map(InterimQueue::take);
        let Some(heads) = heads.filter(|heads| !heads.is_empty()) else {
            return false;
        };
        self.begin_outgoing();
        self.outgoing.head().extend_from_slice(&heads);
        true
    }

    /// Writes an answer to the request under way, whose content may still be on
    /// its way.
    async fn respond(
        &mut self,
        response: Response<Body>,
        mut asked: Asked,
        mut feed: Option<Feed>,
    ) -> Flow {
        self.take_interim();
        if let Some(queue) = &self.interim {
            queue.answered(self.ordinal);
        }
        // Whether content comes that was never asked for is up to the client.
        let is_expecting = feed.as_ref().is_some_and(|feed| feed.is_expecting);
        asked.keeps_alive &= !is_expecting && !self.is_ending() && !self.framer.is_over();
        let Ok(keeps_alive) = self.answer(response, asked, &mut feed).await else {
            return Flow::Broken;
        };
        let can_follow = self.finish_content(feed).await;
        if keeps_alive && can_follow {
            Flow::Next
        } else {
            Flow::Close
        }
    }

    /// Tells a client why its request is refused; nothing comes after it.
    pub(super) async fn refuse(&mut self, problem: Problem, received: Instant) -> Flow {
        tracing::debug!(status = problem.status.as_u16(), detail = %problem.detail, "request refused");
        self.framer.refuse();
        let rejection = Rejection::from(problem.closing());
        let response = self.stack.rejected(&self.service, rejection, received);
        let asked = Asked {
            is_http_11: true,
            is_head: false,
            keeps_alive: false,
            takes_trailers: false,
        };
        match self.answer(response, asked, &mut None).await {
            Ok(_) => Flow::Close,
            Err(_) => Flow::Broken,
        }
    }
}
