//! What came of a fetch, for those who waited for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::response::Parts;
use http::{HeaderValue, StatusCode};
use tokio::sync::oneshot;

use super::fill::Filling;
use super::forward::Answer;
use super::outlive::Outliving;
use crate::message::tee::Reader;
use crate::origin::error::OriginError;
use crate::semantics::storability::Refusal;
use crate::store::memory::Entry;

/// What those who follow a flight are told.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    /// A stored response that may be reused.
    Reusable(Arc<Entry>, Source),
    /// The origin's answer, on its way into the store.
    Filling(Arc<Filling>),
    /// The answer was for the one who asked only: ask yourself.
    NotShareable,
    /// There is no answer, and would have been none to any other request.
    Failed(OriginError),
    /// The origin failed at the request that led the flight, perhaps because of
    /// it: the others ask once more, together.
    FailedAlone(OriginError),
}

impl Landing {
    /// How the others are told of a failure that the leader met.
    pub(super) fn of_failure(error: OriginError) -> Self {
        if error.is_of_the_origin() {
            Self::Failed(error)
        } else {
            Self::FailedAlone(error)
        }
    }
}

/// Where a stored response came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// It was stored already: in Redis, by another instance, or by a flight that
    /// has just ended.
    Found,
    /// The origin confirmed it.
    Validated,
    /// The origin failed with this status, and the stored response bridges it.
    OriginError(StatusCode),
}

/// What the fetch's own client is told.
#[derive(Debug)]
pub(super) enum First {
    /// The same as everybody else.
    Landed(Landing),
    /// What is stored, which the origin confirmed, and the cookies that it set
    /// for this client when it did.
    Validated(Arc<Entry>, Vec<HeaderValue>),
    /// The answer being stored, with all the origin said to this client.
    Filling {
        head: Box<Parts>,
        filling: Arc<Filling>,
        reader: Reader,
    },
    /// An answer for this client alone.
    Own(Box<Answer>, Refusal),
}

/// A fetch under way, and what its own client waits for.
pub(super) struct Started {
    pub(super) run: Outliving<()>,
    pub(super) first: oneshot::Receiver<First>,
}

impl Future for Started {
    /// An error where the fetch ended without a word.
    type Output = Result<First, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.run.is_over() {
            // It tells its client before it is over.
            let _pending_or_over = Pin::new(&mut self.run).poll(cx);
        }
        Pin::new(&mut self.first).poll(cx)
    }
}
