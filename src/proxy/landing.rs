//! What came of a fetch, for those who waited for it.

use std::sync::Arc;

use http::StatusCode;
use http::response::Parts;

use super::fill::Filling;
use super::forward::Answer;
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
    /// There is no answer.
    Failed(OriginError),
}

/// Where a stored response came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Another tier, or another instance, had it.
    Redis,
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
    /// The answer being stored, with all the origin said to this client.
    Filling {
        head: Box<Parts>,
        filling: Arc<Filling>,
        reader: Reader,
    },
    /// An answer for this client alone.
    Own(Box<Answer>, Refusal),
}
