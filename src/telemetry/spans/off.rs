//! No spans: built without the feature `otlp`.

use http::HeaderValue;

use super::SpanFigures;
use crate::telemetry::ResponseServed;
use crate::telemetry::route::RouteTelemetry;

/// There are none.
#[derive(Clone, Copy, Debug)]
pub enum SpanIds {}

impl SpanIds {
    /// There is none.
    #[must_use]
    pub fn traceparent(&self) -> HeaderValue {
        match *self {}
    }

    /// There is none.
    #[must_use]
    pub fn is_root(&self) -> bool {
        match *self {}
    }
}

/// Begins none.
#[derive(Debug, Default)]
pub struct Spans(());

impl Spans {
    /// Never.
    #[inline]
    pub fn begin<'a>(&self, _parent: impl FnOnce() -> Option<&'a [u8]>) -> Option<SpanIds> {
        None
    }

    /// `None`: there is no exporter.
    #[must_use]
    pub fn figures(&self) -> Option<SpanFigures> {
        None
    }

    #[inline]
    pub(in crate::telemetry) fn end(&self, event: &ResponseServed<'_>, _route: &RouteTelemetry) {
        if let Some(ids) = event.span {
            match ids {}
        }
    }
}
