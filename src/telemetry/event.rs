//! What is told of each request: one event that feeds every figure and log.

use std::time::Duration;

use http::{Method, StatusCode};

use super::endpoints::Sample;
use super::labels::MethodLabel;
use super::spans::SpanIds;
use super::{RouteTelemetry, Telemetry, milliseconds, template};
use crate::clock::Timestamp;
use crate::message::client::ClientAddress;
use crate::semantics::outcome::CacheResult;

/// A response whose head was just written.
#[derive(Clone, Copy, Debug)]
pub struct ResponseServed<'a> {
    /// When.
    pub at: Timestamp,
    /// The request's route.
    pub route: Option<&'a RouteTelemetry>,
    /// Its method.
    pub method: &'a Method,
    /// Its path, without the query: a query may hold what is not for logs.
    pub path: &'a str,
    /// The answer's status.
    pub status: StatusCode,
    /// How the cache answered.
    pub cache: CacheResult,
    /// From request head read to response head written.
    pub elapsed: Duration,
    /// From request sent to the origin's response head, where it was asked.
    pub upstream: Option<Duration>,
    /// Length of the answer's body where it is known by now.
    pub body_bytes: Option<u64>,
    /// What fetching the answer had cost, where the store gave it instead.
    pub saved: Option<Duration>,
    /// Who asked.
    pub client: Option<ClientAddress>,
    /// The request's span, where one is exported.
    pub span: Option<SpanIds>,
}

impl Telemetry {
    /// Counts a response: the counters, the histograms, the endpoint's
    /// statistics, and the debug log.
    pub fn served(&self, event: &ResponseServed<'_>) {
        let now = event.at;
        let route = event.route.unwrap_or(&self.unrouted);
        let method = MethodLabel::from(event.method);
        route.count(method, event);
        let sample = Sample {
            at: now,
            cache: event.cache,
            status: event.status,
            elapsed: event.elapsed,
            // Of a route, exchanges are counted where they are made.
            upstream: event.upstream.filter(|_| route.template().is_none()),
        };
        match route.endpoint(method, &self.endpoints) {
            Some(endpoint) => endpoint.record(&sample),
            None => self
                .endpoints
                .resolve(method, &template::of_path(event.path))
                .record(&sample),
        }
        self.rate.record(now);
        if event.cache.is_from_store() {
            let bytes = event.body_bytes.unwrap_or(0);
            self.top_keys.record(route.name(), event.path, bytes, now);
        } else if event.cache == CacheResult::Miss {
            self.missed_keys.record(route.name(), event.path, 0, now);
        }
        self.access.write(event, route.name(), now);
        self.tail.write(event, route.name(), now);
        self.spans.end(event, route);
        tracing::debug!(
            target: "pannier::served",
            route = route.name(),
            method = event.method.as_str(),
            path = event.path,
            status = event.status.as_u16(),
            cache = event.cache.as_str(),
            elapsed_ms = milliseconds(event.elapsed),
            upstream_ms = event.upstream.map(milliseconds),
            body_bytes = event.body_bytes,
            "served"
        );
    }

    /// Counts a request that was refused before anything was made of it, as one
    /// of no route: what it asked for may be anything, so neither its method
    /// nor its path is told, and it counts for the endpoint `other`. So it is in
    /// every total that other requests are in.
    pub fn refused(&self, status: StatusCode, elapsed: Duration, client: ClientAddress) {
        let Ok(method) = Method::from_bytes(b"-") else {
            return;
        };
        let event = ResponseServed {
            at: self.clock.now(),
            route: None,
            method: &method,
            path: "-",
            status,
            cache: CacheResult::Bypass,
            elapsed,
            upstream: None,
            body_bytes: None,
            saved: None,
            client: Some(client),
            span: None,
        };
        self.unrouted.count(MethodLabel::from(&method), &event);
        self.endpoints.record_other(&Sample {
            at: event.at,
            cache: event.cache,
            status,
            elapsed,
            upstream: None,
        });
        self.rate.record(event.at);
        self.access.write(&event, self.unrouted.name(), event.at);
        self.tail.write(&event, self.unrouted.name(), event.at);
        tracing::debug!(status = status.as_u16(), %client, "refused a request");
    }
}
