//! What can go wrong between us and the origin.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::cause::Cause;
use crate::telemetry::upstream::ExchangeFailed;

/// A failed exchange with the origin. Cloning is cheap: all who waited for
/// one fetch get the same error.
#[derive(Clone, Debug)]
pub struct OriginError {
    /// What kind of failure.
    pub kind: OriginErrorKind,
    /// Whether the request was sent whole, as far as is known here.
    pub is_request_whole: bool,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OriginErrorKind {
    /// No connection was made: the request was never sent.
    Connect,
    /// The connection took too long: the request was never sent.
    ConnectTimeout,
    /// The request was sent and no response head came in time.
    ResponseTimeout,
    /// The connection broke after the request was, or may have been, sent.
    Reset,
    /// The answer was not HTTP.
    Protocol,
    /// The client's body broke while it was being sent.
    RequestBody,
    /// As many exchanges were under way as may be, and none ended in time: the
    /// request was never sent.
    Overloaded,
    /// It answered with an error of its own, each time it was asked.
    Failing,
}

impl OriginError {
    /// An error of that kind, caused by `source`.
    pub fn new(kind: OriginErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            is_request_whole: kind != OriginErrorKind::RequestBody,
            source: Some(source.into().into()),
        }
    }

    /// The same, of a request that was sent whole or was not.
    #[must_use]
    pub(super) fn after(mut self, is_request_whole: bool) -> Self {
        self.is_request_whole &= is_request_whole;
        self
    }

    /// An error of that kind that nothing else caused.
    #[must_use]
    pub fn bare(kind: OriginErrorKind) -> Self {
        Self {
            kind,
            is_request_whole: kind != OriginErrorKind::RequestBody,
            source: None,
        }
    }

    /// What it failed of.
    #[must_use]
    pub fn cause(&self) -> Cause {
        let source = self.source.as_deref();
        Cause::of(
            self.kind,
            source.map(|source| source as &(dyn Error + 'static)),
        )
    }

    /// The same as an event for the log and the figures, at this upstream.
    pub(super) fn event<'a>(&'a self, upstream: &'a str) -> ExchangeFailed<'a> {
        ExchangeFailed {
            kind: self.kind.as_str(),
            cause: self.cause().as_str(),
            upstream,
            error: self,
        }
    }

    /// Whether the failure is not of the request that met it: no other request
    /// would have been answered.
    #[must_use]
    pub fn is_of_the_origin(&self) -> bool {
        matches!(
            self.kind,
            OriginErrorKind::Connect
                | OriginErrorKind::ConnectTimeout
                | OriginErrorKind::Overloaded
        )
    }

    /// Whether no connection could be made, and the next attempt may fare better.
    #[must_use]
    pub(super) fn may_pass(&self) -> bool {
        // A certificate that is not trusted, a name that is none.
        let is_lasting = |error: &(dyn Error + 'static)| {
            let io = error.downcast_ref::<io::Error>();
            let kind = io.map(io::Error::kind);
            matches!(
                kind,
                Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
            )
        };
        let is_of_connect = matches!(
            self.kind,
            OriginErrorKind::Connect | OriginErrorKind::ConnectTimeout
        );
        let source = self.source.as_deref();
        is_of_connect && !source.is_some_and(|source| chain(source).any(is_lasting))
    }

    /// Whether the origin had a part in it: not where it was refused here, or
    /// its client broke off.
    #[must_use]
    pub fn is_the_origin_s(&self) -> bool {
        !matches!(
            self.kind,
            OriginErrorKind::Overloaded | OriginErrorKind::RequestBody
        )
    }

    /// Whether the origin may have acted on the request: a write whose answer
    /// is lost may have happened.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        !self.is_of_the_origin()
    }
}

impl OriginErrorKind {
    /// Why no connection was made, by what making it failed of.
    pub(super) fn of_connect(error: &(dyn Error + 'static)) -> Self {
        let is_late = |error: &(dyn Error + 'static)| {
            let io = error.downcast_ref::<io::Error>();
            io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        };
        if chain(error).any(is_late) {
            Self::ConnectTimeout
        } else {
            Self::Connect
        }
    }

    /// Its name, for logs and figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect-timeout",
            Self::ResponseTimeout => "response-timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::RequestBody => "request-body",
            Self::Overloaded => "overloaded",
            Self::Failing => "failing",
        }
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the origin failed ({})", self.kind.as_str())?;
        let Some(source) = self.source.as_deref() else {
            return Ok(());
        };
        chain(source).try_for_each(|error| write!(formatter, ": {error}"))
    }
}

impl Error for OriginError {}

/// An error, what caused it, what caused that.
pub(super) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}
