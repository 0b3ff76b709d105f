//! The part of a session that writes an answer as it comes.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Session;
use super::content::Feed;
use super::write::{self, Asked, Content};
use crate::message::outgoing::{BodyBytes, Outgoing};
use crate::message::{Body, BodyError};

/// The client has the beginning of an answer, or nothing.
#[derive(Debug)]
pub(super) struct Broken;

impl<I: AsyncRead + AsyncWrite + Unpin, S> Session<I, S> {
    /// Writes `response`, taking no more of its body than the client takes; the
    /// request's content goes on meanwhile. Says whether the connection may be
    /// used again.
    pub(super) async fn answer(
        &mut self,
        response: Response<Body>,
        asked: Asked,
        feed: &mut Option<Feed>,
    ) -> Result<bool, Broken> {
        self.is_answering = true;
        self.begin_outgoing();
        let written = write::write_head(self.outgoing.head(), &response, asked);
        let mut answer = Answer {
            is_over: written.content == Content::Absent,
            content: written.content,
            body: response.into_body(),
        };
        // The head is written with the first piece, if that is there.
        let mut may_gather = true;
        poll_fn(|cx| {
            loop {
                if !may_gather {
                    match self.poll_write(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken)),
                        Poll::Pending => {
                            self.feed(cx, feed, false);
                            return Poll::Pending;
                        }
                    }
                    if answer.is_over {
                        return Poll::Ready(Ok(()));
                    }
                }
                if !answer.is_over {
                    self.begin_outgoing();
                    match answer.poll_piece(cx, &mut self.outgoing) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(error)) => {
                            tracing::debug!(%error, "an answer broke off");
                            // What came before is for the client to see.
                            let _untold = self.poll_write(cx);
                            return Poll::Ready(Err(Broken));
                        }
                        Poll::Pending if may_gather => {}
                        Poll::Pending => {
                            self.spare_outgoing();
                            if self.feed(cx, feed, false) {
                                continue;
                            }
                            if feed.is_none() && self.look_ahead(cx).is_err() {
                                return Poll::Ready(Err(Broken));
                            }
                            return Poll::Pending;
                        }
                    }
                }
                may_gather = false;
            }
        })
        .await?;
        Ok(written.keeps_alive)
    }
}

/// What is left of an answer.
struct Answer {
    body: Body,
    content: Content,
    is_over: bool,
}

impl Answer {
    /// Gathers the next piece.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        outgoing: &mut Outgoing,
    ) -> Poll<Result<(), BodyError>> {
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()? else {
                self.is_over = true;
                return Poll::Ready(match &self.content {
                    Content::Counted(1..) => Err(cut_short()),
                    Content::Chunked(_) => {
                        write::push_last_chunk(outgoing, None, &[]);
                        Ok(())
                    }
                    _ => Ok(()),
                });
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(frame) => {
                    if let (Content::Chunked(announced), Ok(trailers)) =
                        (&self.content, frame.into_trailers())
                    {
                        write::push_last_chunk(outgoing, Some(&trailers), announced);
                        self.is_over = true;
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
            };
            if data.is_empty() {
                continue;
            }
            match &mut self.content {
                Content::Absent => self.is_over = true,
                Content::Counted(left) => {
                    let length = data.len() as u64;
                    if length > *left {
                        return Poll::Ready(Err(cut_short()));
                    }
                    *left -= length;
                    self.is_over = *left == 0;
                    outgoing.body(BodyBytes::from(&data));
                }
                Content::Chunked(_) => {
                    self.is_over = self.body.is_end_stream();
                    write::push_chunk(outgoing, &data, self.is_over);
                }
                Content::UntilClose => outgoing.body(BodyBytes::from(&data)),
            }
            return Poll::Ready(Ok(()));
        }
    }
}

/// The content is not as long as its head said.
fn cut_short() -> BodyError {
    BodyError::Broken(io::Error::from(io::ErrorKind::UnexpectedEof).into())
}
