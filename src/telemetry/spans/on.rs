//! Where spans begin and end: on the way of a request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use http::{HeaderValue, Uri};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::SpanFigures;
use super::batch::Ended;
use super::export::Export;
use crate::telemetry::ResponseServed;
use crate::telemetry::counters::Counter;
use crate::telemetry::route::RouteTelemetry;

/// Spans waiting to be exported; past it they are dropped. They take some
/// 4 MiB then.
const QUEUE_MAX: usize = 16_384;

/// The name of a request's span, of its trace and of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIds {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    /// [`SpanId::INVALID`] where the trace begins here.
    pub(super) parent: SpanId,
}

impl SpanIds {
    /// What the origin is told of it (W3C Trace Context §3.2).
    #[must_use]
    pub fn traceparent(&self) -> HeaderValue {
        let text = format!("00-{}-{}-01", self.trace, self.span);
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }

    /// Whether the trace begins here: no `tracestate` belongs to it.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.parent == SpanId::INVALID
    }

    pub(super) fn context(&self) -> SpanContext {
        let state = TraceState::default();
        SpanContext::new(self.trace, self.span, TraceFlags::SAMPLED, false, state)
    }
}

/// The spans of this process. Off until there is somewhere to export to.
#[derive(Debug)]
pub struct Spans {
    is_on: AtomicBool,
    queue: Sender<Ended>,
    pub(super) queued: tokio::sync::Mutex<(Receiver<Ended>, Option<Export>)>,
    pub(super) endpoint: Mutex<Option<Uri>>,
    pub(super) exported: Counter,
    pub(super) failed: Counter,
    dropped: Counter,
}

impl Default for Spans {
    fn default() -> Self {
        let (queue, queued) = channel(QUEUE_MAX);
        Self {
            is_on: AtomicBool::new(false),
            queue,
            queued: tokio::sync::Mutex::new((queued, None)),
            endpoint: Mutex::default(),
            exported: Counter::default(),
            failed: Counter::default(),
            dropped: Counter::default(),
        }
    }
}

/// A `traceparent`, for the propagator.
struct Parent<'a>(&'a str);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

impl Spans {
    /// Exports to the collector at `endpoint` from now on, or nowhere.
    pub fn set_endpoint(&self, endpoint: Option<&Uri>) {
        self.is_on.store(endpoint.is_some(), Ordering::Relaxed);
        *self.endpoint.lock() = endpoint.cloned();
    }

    /// Begins the span of a request, where spans are exported; `parent` gives
    /// its `traceparent`. `None` as well where its sender does not sample.
    #[inline]
    pub fn begin<'a>(&self, parent: impl FnOnce() -> Option<&'a [u8]>) -> Option<SpanIds> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        begin(parent())
    }

    /// What became of them.
    #[must_use]
    pub fn figures(&self) -> Option<SpanFigures> {
        Some(SpanFigures {
            exported: self.exported.get(),
            dropped: self.dropped.get(),
            failed: self.failed.get(),
        })
    }

    #[inline]
    pub(in crate::telemetry) fn end(&self, event: &ResponseServed<'_>, route: &RouteTelemetry) {
        let Some(ids) = event.span else { return };
        let ended = Ended::new(ids, event, route, SystemTime::now());
        if self.queue.try_send(ended).is_err() {
            self.dropped.increment();
        }
    }
}

fn begin(parent: Option<&[u8]>) -> Option<SpanIds> {
    let ids = RandomIdGenerator::default();
    let parent = parent.and_then(|value| std::str::from_utf8(value).ok());
    let context = parent.map(|value| TraceContextPropagator::new().extract(&Parent(value)));
    let span = context.as_ref().map(TraceContextExt::span);
    let context = span.as_ref().map(|span| span.span_context());
    match context.filter(|context| context.is_valid()) {
        Some(context) if !context.is_sampled() => None,
        Some(context) => Some(SpanIds {
            trace: context.trace_id(),
            span: ids.new_span_id(),
            parent: context.span_id(),
        }),
        None => Some(SpanIds {
            trace: ids.new_trace_id(),
            span: ids.new_span_id(),
            parent: SpanId::INVALID,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn otlp_a_span_is_its_parents_child_in_the_same_trace() {
        let ids = begin(Some(PARENT)).unwrap();
        assert_eq!(ids.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(ids.parent.to_string(), "b7ad6b7169203331");
        assert_ne!(ids.span, ids.parent);
        let told = ids.traceparent();
        let told = begin(Some(told.as_bytes())).unwrap();
        assert_eq!((told.trace, told.parent), (ids.trace, ids.span));
        assert!(!ids.is_root());
    }

    #[test]
    fn otlp_a_trace_begins_where_nobody_began_one() {
        for parent in [None, Some(&b"nonsense"[..]), Some(b"\xff"), Some(b"")] {
            let ids = begin(parent).unwrap();
            assert!(ids.is_root());
            assert!(ids.context().is_valid() && ids.context().is_sampled());
        }
    }

    #[test]
    fn otlp_what_its_sender_does_not_sample_is_left_alone() {
        let unsampled = [&PARENT[..PARENT.len() - 1], b"0"].concat();
        assert_eq!(begin(Some(&unsampled)), None);
        let spans = Spans::default();
        assert_eq!(spans.begin(|| Some(PARENT)), None, "it is off");
    }
}
