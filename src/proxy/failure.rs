//! What a request ends in when there is no answer for it.

use super::outcome::Outcome;
use crate::gate::Refused;
use crate::origin::error::OriginError;

/// A request without an answer, and what is to be told of it.
#[derive(Debug)]
pub struct Failure {
    /// What went wrong.
    pub error: ProxyError,
    /// For the fields and figures of the error's response.
    pub outcome: Box<Outcome>,
}

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProxyError {
    /// The origin has no answer.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// The request said `only-if-cached`, and nothing reusable is stored
    /// (RFC 9111 §5.2.1.7).
    #[error("nothing reusable is stored and the request allows nothing else")]
    OnlyIfCached,
    /// In strict mode, what a write makes invalid could not be told to the
    /// other instances: it was not sent to the origin.
    #[error("out of touch with the other instances: the write was not made")]
    OutOfTouch,
    /// In strict mode, what a write makes invalid is not in the log yet: the
    /// origin has answered it.
    #[error("the write was made, and other instances may not know of it yet")]
    Untold,
    /// The request has been through here too often.
    #[error("the request has been through this proxy {0} times")]
    Loop(usize),
    /// As many requests are being answered as may be.
    #[error("too many requests are being answered: {0}")]
    Overloaded(#[from] Refused),
}
