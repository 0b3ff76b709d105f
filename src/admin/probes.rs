//! What machines ask: whether it lives, whether it is ready, how it does.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::control::Control;
use super::problem::Problem;
use crate::telemetry::prometheus;

/// `GET /livez`: whoever answers lives.
pub(super) async fn livez() -> &'static str {
    "alive\n"
}

/// `GET /readyz`
pub(super) async fn readyz(State(control): State<Arc<Control>>) -> (StatusCode, &'static str) {
    if control.operations.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(control): State<Arc<Control>>) -> Result<Response, Problem> {
    let page = control.exporter.render().map_err(|error| {
        tracing::error!(%error, "the page for Prometheus could not be written");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    })?;
    Ok(([(CONTENT_TYPE, prometheus::CONTENT_TYPE)], page).into_response())
}
