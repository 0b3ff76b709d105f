//! The scheme of a request's URI (RFC 9110 §4.2), as its connection tells it.

/// `http` or `https`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// The connection is not encrypted.
    #[default]
    Http,
    /// The connection is TLS.
    Https,
}

impl Scheme {
    /// As a URI begins.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that an authority without one means.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}
