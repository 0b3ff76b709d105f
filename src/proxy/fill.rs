//! A response on its way into the store, while clients already read it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;

use super::ask::Ask;
use super::remember::Share;
use crate::clock::Timestamp;
use crate::message::BodyError;
use crate::message::tee::{Abandoned, Pour, Spring};
use crate::origin::body::OriginBody;
use crate::origin::timeout::IdleLimited;
use crate::semantics::stored::{StoredHead, StoredResponse};

/// While a body is passed on to several, one that reads more slowly than the
/// others holds them up no longer than this.
const STALL_MAX: Duration = Duration::from_secs(5);

/// A response being received: its head, and readers of its body.
#[derive(Debug)]
pub(super) struct Filling {
    pub(super) head: StoredHead,
    pub(super) spring: Spring,
}

impl Filling {
    /// The response, now that its body is complete.
    pub(super) fn complete(&self, body: Bytes, now: Timestamp) -> Arc<StoredResponse> {
        let mut head = self.head.clone();
        head.fetch_cost = now.since(head.request_time);
        if head.status != http::StatusCode::NO_CONTENT {
            head.fields.insert(CONTENT_LENGTH, body.len().into());
        }
        Arc::new(StoredResponse { head, body })
    }
}

/// What was kept of a body that came to its end.
pub(super) enum Kept {
    /// All of it, its trailers, and the share of the budget it takes until the
    /// last reader is done.
    Whole(Bytes, Option<HeaderMap>, Share),
    /// It outgrew the bounds and was passed on only.
    PassedOn(Option<HeaderMap>),
}

/// Why a body did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("nobody reads it any more")]
    Abandoned,
}

/// Pours the origin's body to its readers and keeps it, as long as it stays
/// within `body_bytes_max` and its share of the budget.
pub(super) async fn pump(
    ask: &Ask,
    body: OriginBody,
    pour: &Pour,
    mut share: Share,
) -> Result<Kept, Broken> {
    let bytes_max = ask.site.config.memory.body_bytes_max;
    let mut counted = http_body::Body::size_hint(&body).exact().unwrap_or(0);
    let mut received = 0;
    let mut is_kept = true;
    let mut trailers = None;
    let mut body = IdleLimited::new(body, ask.origin().config().body_idle_timeout);
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            // An origin that sends nothing more would never be left.
            () = pour.abandoned(), if !is_kept => return Err(Broken::Abandoned),
        };
        let Some(frame) = frame else {
            break;
        };
        let piece = match frame?.into_data() {
            Ok(piece) => piece,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        received += piece.len() as u64;
        let uncounted = received.saturating_sub(counted);
        if is_kept {
            is_kept = received <= bytes_max && share.grow(uncounted);
            counted += uncounted;
            if !is_kept {
                pour.pass_on();
            }
        }
        pour.push(piece);
        if !is_kept {
            wait_for_room(pour).await?;
        }
    }
    Ok(if is_kept {
        Kept::Whole(pour.collected(), trailers, share)
    } else {
        Kept::PassedOn(trailers)
    })
}

async fn wait_for_room(pour: &Pour) -> Result<(), Broken> {
    loop {
        match tokio::time::timeout(STALL_MAX, pour.has_room()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Abandoned)) => return Err(Broken::Abandoned),
            Err(_) => pour.leave_slow_readers_behind(),
        }
    }
}
