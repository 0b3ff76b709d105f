//! The way of spans to the collector: in batches, by OTLP over HTTP.

use std::time::Duration;

use http::Uri;
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry::InstrumentationScope;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{ExporterBuildError, RetryPolicy, SpanExporter};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;

use super::on::Spans;

/// Between two looks into the queue.
const PAUSE: Duration = Duration::from_millis(200);
/// Spans sent at once.
const BATCH_MAX: usize = 512;
/// For one batch.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to the collector.
#[derive(Debug)]
pub(super) struct Export {
    endpoint: Uri,
    exporter: SpanExporter,
    /// The last batch was not taken: that is said once.
    is_failing: bool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("the certificates of the system cannot be read: {0}")]
    Certificates(#[from] std::io::Error),
    #[error(transparent)]
    Exporter(#[from] ExporterBuildError),
}

impl Export {
    fn to(endpoint: Uri) -> Result<Self, ExportError> {
        let tls = HttpsConnectorBuilder::new().with_native_roots()?;
        let connector = tls.https_or_http().enable_http1().build();
        let traces = format!("{}/v1/traces", endpoint.to_string().trim_end_matches('/'));
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(traces)
            .with_timeout(TIMEOUT)
            .with_http_client(HyperClient::new(connector, TIMEOUT, None))
            // What is dropped is counted; to try again would hold up the rest.
            .with_retry_policy(RetryPolicy::default().with_max_retries(0))
            .build()?;
        let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        // Reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES, which win.
        let named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
        let resource = Resource::builder().with_attribute(version);
        let resource = if named {
            resource
        } else {
            resource.with_service_name("pannier")
        };
        exporter.set_resource(&resource.build());
        Ok(Self {
            endpoint,
            exporter,
            is_failing: false,
        })
    }
}

impl Spans {
    /// Exports for ever what ends.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            self.flush().await;
        }
    }

    /// Exports what has ended.
    pub async fn flush(&self) {
        let mut queued = self.queued.lock().await;
        let (queue, export) = &mut *queued;
        let wanted = self.endpoint.lock().clone();
        if export.as_ref().map(|export| &export.endpoint) != wanted.as_ref() {
            *export = wanted.and_then(|endpoint| {
                let made = Export::to(endpoint);
                made.inspect_err(|error| tracing::error!(%error, "spans cannot be exported"))
                    .ok()
            });
        }
        let scope = InstrumentationScope::builder("pannier")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        loop {
            let mut batch = Vec::new();
            while batch.len() < BATCH_MAX
                && let Ok(ended) = queue.try_recv()
            {
                batch.push(ended.into_span(&scope));
            }
            if batch.is_empty() {
                return;
            }
            let count = batch.len() as u64;
            let Some(export) = export else {
                self.failed.add(count);
                continue;
            };
            match export.exporter.export(batch).await {
                Ok(()) => {
                    self.exported.add(count);
                    export.is_failing = false;
                }
                Err(error) => {
                    self.failed.add(count);
                    if !export.is_failing {
                        tracing::warn!(%error, "the collector does not take spans");
                    }
                    export.is_failing = true;
                    // The others may wait for a better moment.
                    return;
                }
            }
        }
    }
}
