//! `/fleet`: which instances there are and how they do.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::control::Control;
use super::operations::{FleetFigures, OperationError};
use super::problem::Problem;
use crate::clock::Timestamp;
use crate::telemetry::rfc3339;

/// The instances of the namespace.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FleetDocument {
    /// When this was read (RFC 3339).
    timestamp: String,
    /// The one that answers.
    instance: String,
    /// Those heard of in the last 8 seconds.
    instances: Vec<InstanceDocument>,
    /// Those heard of in the last 30 seconds that have fallen silent since and
    /// did not say that they end.
    missing: Vec<InstanceDocument>,
}

/// One instance, as it spoke of itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InstanceDocument {
    id: String,
    host: String,
    version: String,
    /// When it started (RFC 3339).
    started: String,
    /// How far it has applied the invalidation log; null before it reached it.
    position: Option<String>,
    /// Milliseconds since it knew that it had applied all of it.
    lag_ms: Option<u64>,
    /// Whether that is recent enough for what it promises.
    in_touch: bool,
    /// What it promises: `eventual`, or `strict` and its lease; null where an
    /// older version does not say.
    mode: Option<String>,
    /// Seconds since it was heard of.
    heard_seconds_ago: u64,
}

/// Whether the fleet is coherent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FleetHealthDocument {
    /// When this was read (RFC 3339).
    timestamp: String,
    /// `alone` (no Redis configured), `ok`, `degraded`.
    status: String,
    /// How many there are; null where Redis cannot be asked.
    instances: Option<usize>,
    /// Whether the one that answers is in touch with the invalidation log.
    in_touch: bool,
    /// Those that say they are not.
    out_of_touch: Vec<String>,
    /// Those that have fallen silent in the last 30 seconds.
    missing: Vec<String>,
    /// The modes that instances have, where they are not the same: then
    /// `strict` promises nothing.
    mixed_modes: Vec<String>,
}

/// `GET /fleet`
pub(super) async fn fleet(
    State(control): State<Arc<Control>>,
) -> Result<Json<FleetDocument>, Problem> {
    let fleet = control.operations.fleet().await?;
    Ok(Json(FleetDocument {
        timestamp: rfc3339::text(control.telemetry.now()),
        instance: fleet.own,
        instances: fleet.instances.into_iter().map(document).collect(),
        missing: fleet.missing.into_iter().map(document).collect(),
    }))
}

/// `GET /fleet/health`: 503 where something is wrong.
pub(super) async fn health(
    State(control): State<Arc<Control>>,
) -> Result<(StatusCode, Json<FleetHealthDocument>), Problem> {
    let fleet = match control.operations.fleet().await {
        Ok(fleet) => Some(fleet),
        Err(OperationError::Unavailable(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let status = match &fleet {
        Some(FleetFigures { is_alone: true, .. }) => "alone",
        Some(fleet) if fleet.is_coherent() => "ok",
        _ => "degraded",
    };
    let code = if status == "degraded" {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    let is_in_touch = fleet.as_ref().is_some_and(|fleet| {
        let mut own = fleet.instances.iter();
        own.any(|instance| instance.id == fleet.own && instance.is_in_touch)
    });
    let document = FleetHealthDocument {
        timestamp: rfc3339::text(control.telemetry.now()),
        status: status.to_owned(),
        instances: fleet.as_ref().map(|fleet| fleet.instances.len()),
        in_touch: is_in_touch,
        missing: fleet.as_ref().map_or_else(Vec::new, |fleet| {
            let missing = fleet.missing.iter();
            missing.map(|instance| instance.id.clone()).collect()
        }),
        mixed_modes: fleet
            .as_ref()
            .map_or_else(Vec::new, |fleet| fleet.mixed_modes.clone()),
        out_of_touch: fleet.map_or_else(Vec::new, |fleet| {
            let lost = fleet.instances.into_iter();
            lost.filter(|instance| !instance.is_in_touch)
                .map(|instance| instance.id)
                .collect()
        }),
    };
    Ok((code, Json(document)))
}

fn document(instance: super::operations::InstanceFigures) -> InstanceDocument {
    InstanceDocument {
        id: instance.id,
        host: instance.host,
        version: instance.version,
        started: rfc3339::text(Timestamp::from_unix_millis(instance.started_millis)),
        position: instance.position,
        lag_ms: instance.lag.map(millis),
        in_touch: instance.is_in_touch,
        mode: Some(instance.mode).filter(|mode| !mode.is_empty()),
        heard_seconds_ago: instance.heard_ago.as_secs(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
