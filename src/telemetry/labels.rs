//! Values of metric labels that a client could choose, made finite.

use http::{Method, StatusCode};

/// A method as a label: one of the nine that RFC 9110 and RFC 5789 name, or
/// [`MethodLabel::Other`]. A client that invents methods adds no series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MethodLabel {
    /// `GET`
    Get,
    /// `HEAD`
    Head,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
    /// `OPTIONS`
    Options,
    /// `CONNECT`
    Connect,
    /// `TRACE`
    Trace,
    /// Any other.
    Other,
}

impl MethodLabel {
    /// All of them, in the order of [`Self::index`].
    pub const ALL: [Self; 10] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Options,
        Self::Connect,
        Self::Trace,
        Self::Other,
    ];

    /// A dense index, for tables.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label's value; `OTHER` for methods without a place here.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
            Self::Connect => "CONNECT",
            Self::Trace => "TRACE",
            Self::Other => "OTHER",
        }
    }
}

impl From<&Method> for MethodLabel {
    fn from(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            Method::OPTIONS => Self::Options,
            Method::CONNECT => Self::Connect,
            Method::TRACE => Self::Trace,
            _ => Self::Other,
        }
    }
}

/// A status code as an index: 100 to 599 each their own, all others share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusIndex(pub(super) usize);

impl StatusIndex {
    const FIRST: usize = 100;
    const SHARED: usize = 500;
    /// How many indices there are.
    pub(super) const COUNT: usize = Self::SHARED + 1;

    /// Whether it is a 5xx.
    pub(super) fn is_error(self) -> bool {
        (500 - Self::FIRST..Self::SHARED).contains(&self.0)
    }

    /// Whether it is a 4xx.
    pub(super) fn is_client_error(self) -> bool {
        (400 - Self::FIRST..500 - Self::FIRST).contains(&self.0)
    }

    pub(super) fn label(self) -> String {
        if self.0 == Self::SHARED {
            "other".to_owned()
        } else {
            (self.0 + Self::FIRST).to_string()
        }
    }
}

impl From<StatusCode> for StatusIndex {
    fn from(status: StatusCode) -> Self {
        let offset = usize::from(status.as_u16()).saturating_sub(Self::FIRST);
        Self(offset.min(Self::SHARED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_method_is_other() {
        for (written, label) in [("GET", "GET"), ("get", "OTHER"), ("PURGE", "OTHER")] {
            let method = Method::from_bytes(written.as_bytes()).unwrap();
            assert_eq!(MethodLabel::from(&method).as_str(), label);
        }
        for (index, label) in MethodLabel::ALL.into_iter().enumerate() {
            assert_eq!(label.index(), index);
            let method = Method::from_bytes(label.as_str().as_bytes()).unwrap();
            assert_eq!(MethodLabel::from(&method), label);
        }
    }

    #[test]
    fn the_status_label_is_the_code() {
        for (code, label) in [(100, "100"), (404, "404"), (599, "599"), (999, "other")] {
            let index = StatusIndex::from(StatusCode::from_u16(code).unwrap());
            assert_eq!(index.label(), label);
            assert_eq!(index.is_error(), code == 599);
        }
    }
}
