//! A span for each request, exported by OTLP: `[log] otlp`.
//!
//! Promises: a request never waits for it: spans go through a bounded queue to
//! a task of the control thread, and past the bound they are dropped and
//! counted. A trace that its sender did not sample is passed on and not
//! exported. A span holds the path without its query, and no field of the
//! request.
//!
//! Only with the feature `otlp`; without it no span ever begins, and there is
//! nothing of it on any request's way.

#[cfg(feature = "otlp")]
mod batch;
#[cfg(feature = "otlp")]
mod export;
#[cfg(feature = "otlp")]
mod on;
#[cfg(feature = "otlp")]
pub use on::{SpanIds, Spans};

#[cfg(not(feature = "otlp"))]
mod off;
#[cfg(not(feature = "otlp"))]
pub use off::{SpanIds, Spans};

use http::HeaderName;

/// The name of the field that says of which trace a request is a part.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The name of the field in which vendors add to it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What became of spans, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanFigures {
    /// The collector took them.
    pub exported: u64,
    /// Too many waited.
    pub dropped: u64,
    /// The collector did not take them.
    pub failed: u64,
}
