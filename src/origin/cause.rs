//! What an exchange with the origin failed of, in words for those on call.
//!
//! [`Cause`] is one word, which may be told to strangers: it names neither an
//! address nor a host. [`NotConnected`] has the address that the log tells.

use std::error::Error;
use std::fmt;
use std::io;

use super::error::{OriginErrorKind, chain};

/// What an exchange failed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody listens at the address.
    Refused,
    /// The name of the host leads nowhere.
    NoSuchHost,
    /// There is no way to the address.
    Unreachable,
    /// There is no such Unix socket.
    NoSuchSocket,
    /// The system does not let this process connect.
    Denied,
    /// TLS could not be agreed on; the error says why.
    Tls,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the response had come.
    Closed,
    /// It took too long.
    TimedOut,
    /// What came was no HTTP.
    NotHttp,
    /// Something else; the error says what.
    Other,
}

impl Cause {
    /// The cause of a failure of this kind.
    pub(super) fn of(kind: OriginErrorKind, source: Option<&(dyn Error + 'static)>) -> Self {
        let found = source.and_then(|source| chain(source).find_map(Self::of_error));
        match (found, kind) {
            (Some(cause), _) => cause,
            (None, OriginErrorKind::ConnectTimeout | OriginErrorKind::ResponseTimeout) => {
                Self::TimedOut
            }
            (None, OriginErrorKind::Reset) => Self::Closed,
            (None, OriginErrorKind::Protocol) => Self::NotHttp,
            (None, _) => Self::Other,
        }
    }

    fn of_error(error: &(dyn Error + 'static)) -> Option<Self> {
        let error = error.downcast_ref::<io::Error>()?;
        let inner = error.get_ref();
        if inner.is_some_and(|inner| inner.is::<rustls::Error>()) {
            return Some(Self::Tls);
        }
        let not_connected = inner.and_then(|inner| inner.downcast_ref::<NotConnected>());
        if let Some(failed) = not_connected {
            return match failed.step {
                _ if failed.source.kind() == io::ErrorKind::TimedOut => Some(Self::TimedOut),
                Step::Lookup => Some(Self::NoSuchHost),
                Step::Tls => Some(Self::Tls),
                // What the system says comes next in the chain.
                Step::Connect => None,
            };
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => Some(Self::Unreachable),
            io::ErrorKind::NotFound => Some(Self::NoSuchSocket),
            io::ErrorKind::PermissionDenied => Some(Self::Denied),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Some(Self::Reset),
            io::ErrorKind::UnexpectedEof => Some(Self::Closed),
            io::ErrorKind::TimedOut => Some(Self::TimedOut),
            io::ErrorKind::InvalidData => Some(Self::NotHttp),
            _ => None,
        }
    }

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::NoSuchHost => "no such host",
            Self::Unreachable => "unreachable",
            Self::NoSuchSocket => "no such socket",
            Self::Denied => "permission denied",
            Self::Tls => "TLS failure",
            Self::Reset => "connection reset",
            Self::Closed => "connection closed",
            Self::TimedOut => "time-out",
            Self::NotHttp => "not HTTP",
            Self::Other => "other failure",
        }
    }
}

/// How far making a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The addresses of a name.
    Lookup,
    /// A connection to an address.
    Connect,
    /// TLS over it.
    Tls,
}

/// A connection that was not made. Displays as where to; what went wrong is its
/// source.
#[derive(Debug)]
pub(super) struct NotConnected {
    /// An address where one was found, else the name.
    pub(super) to: String,
    pub(super) step: Step,
    pub(super) source: io::Error,
}

impl NotConnected {
    /// The same as an error of connecting, whose kind it keeps.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::new(self.source.kind(), self)
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Lookup => "looking up",
            Step::Connect => "connecting to",
            Step::Tls => "TLS with",
        };
        write!(formatter, "{step} {}", self.to)
    }
}

impl Error for NotConnected {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::error::OriginError;

    fn not_connected(step: Step, source: io::Error) -> OriginError {
        let to = "10.0.0.1:80".to_owned();
        let error = NotConnected { to, step, source }.into_io();
        OriginError::new(OriginErrorKind::of_connect(&error), error)
    }

    #[test]
    fn each_way_to_fail_has_a_word_and_the_log_the_address() {
        let certificate = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let tls = io::Error::new(io::ErrorKind::InvalidData, certificate);
        for (step, source, cause) in [
            (
                Step::Connect,
                io::ErrorKind::ConnectionRefused.into(),
                Cause::Refused,
            ),
            (
                Step::Lookup,
                io::Error::other("no address"),
                Cause::NoSuchHost,
            ),
            (
                Step::Connect,
                io::ErrorKind::TimedOut.into(),
                Cause::TimedOut,
            ),
            (
                Step::Lookup,
                io::ErrorKind::TimedOut.into(),
                Cause::TimedOut,
            ),
            (
                Step::Connect,
                io::ErrorKind::NetworkUnreachable.into(),
                Cause::Unreachable,
            ),
            (
                Step::Connect,
                io::ErrorKind::NotFound.into(),
                Cause::NoSuchSocket,
            ),
            (Step::Tls, tls, Cause::Tls),
        ] {
            let error = not_connected(step, source);
            assert_eq!(error.cause(), cause, "{error}");
            assert!(error.to_string().contains("10.0.0.1:80"), "{error}");
            assert!(!cause.as_str().contains("10.0.0.1"));
        }
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let reset = OriginError::new(OriginErrorKind::Reset, reset);
        assert_eq!(reset.cause(), Cause::Reset);
        let late = OriginError::bare(OriginErrorKind::ResponseTimeout);
        assert_eq!(late.cause(), Cause::TimedOut);
    }
}
