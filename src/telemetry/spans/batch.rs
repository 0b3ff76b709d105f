//! A request as a span, in the words of OpenTelemetry's conventions for HTTP
//! servers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use opentelemetry::trace::{SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::on::SpanIds;
use crate::message::client::ClientAddress;
use crate::semantics::outcome::CacheResult;
use crate::telemetry::ResponseServed;
use crate::telemetry::labels::MethodLabel;
use crate::telemetry::milliseconds;
use crate::telemetry::route::RouteTelemetry;

/// Longer paths are cut: what waits has a bound in bytes, too.
const PATH_BYTES_MAX: usize = 256;

/// A request that was answered, as much of it as its span says.
#[derive(Debug)]
pub(super) struct Ended {
    ids: SpanIds,
    at: SystemTime,
    elapsed: Duration,
    upstream: Option<Duration>,
    method: Method,
    template: Option<Arc<str>>,
    path: String,
    status: StatusCode,
    cache: CacheResult,
    body_bytes: Option<u64>,
    client: Option<ClientAddress>,
}

impl Ended {
    pub(super) fn new(
        ids: SpanIds,
        event: &ResponseServed<'_>,
        route: &RouteTelemetry,
        at: SystemTime,
    ) -> Self {
        let mut end = event.path.len().min(PATH_BYTES_MAX);
        while !event.path.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            ids,
            at,
            elapsed: event.elapsed,
            upstream: event.upstream,
            method: event.method.clone(),
            template: route.shared_template(),
            path: event.path[..end].to_owned(),
            status: event.status,
            cache: event.cache,
            body_bytes: event.body_bytes,
            client: event.client,
        }
    }

    pub(super) fn into_span(self, scope: &InstrumentationScope) -> SpanData {
        // A method that nobody knows must not make names without end.
        let label = match MethodLabel::from(&self.method) {
            MethodLabel::Other => "_OTHER",
            label => label.as_str(),
        };
        let name = match (&self.template, label) {
            (Some(template), "_OTHER") => format!("HTTP {template}"),
            (Some(template), label) => format!("{label} {template}"),
            (None, "_OTHER") => "HTTP".to_owned(),
            (None, label) => label.to_owned(),
        };
        let mut attributes = vec![
            KeyValue::new("http.request.method", label),
            KeyValue::new("url.path", self.path),
            KeyValue::new("http.response.status_code", i64::from(self.status.as_u16())),
            KeyValue::new("pannier.cache", self.cache.as_str()),
        ];
        let mut add = |name: &'static str, value: Option<opentelemetry::Value>| {
            attributes.extend(value.map(|value| KeyValue::new(name, value)));
        };
        add("http.route", self.template.map(Into::into));
        let original = (label == "_OTHER").then(|| self.method.to_string().into());
        add("http.request.method_original", original);
        add(
            "client.address",
            self.client.map(|client| client.to_string().into()),
        );
        let bytes = self.body_bytes.and_then(|bytes| i64::try_from(bytes).ok());
        add("http.response.body.size", bytes.map(Into::into));
        add(
            "pannier.upstream_ms",
            self.upstream.map(|took| milliseconds(took).into()),
        );
        let is_error = self.status.is_server_error();
        add(
            "error.type",
            is_error.then(|| self.status.as_str().to_owned().into()),
        );
        SpanData {
            span_context: self.ids.context(),
            parent_span_id: self.ids.parent,
            parent_span_is_remote: !self.ids.is_root(),
            span_kind: SpanKind::Server,
            name: Cow::Owned(name),
            start_time: self.at.checked_sub(self.elapsed).unwrap_or(self.at),
            end_time: self.at,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: if is_error {
                Status::error("")
            } else {
                Status::Unset
            },
            instrumentation_scope: scope.clone(),
        }
    }
}
