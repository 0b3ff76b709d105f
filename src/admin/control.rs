//! What the admin listener holds in its hands.

use std::sync::Arc;

use super::auth::Guard;
use super::operations::Operations;
use crate::telemetry::Telemetry;
use crate::telemetry::prometheus::Exporter;

/// Everything a request to the admin listener may need.
pub struct Control {
    /// The figures.
    pub telemetry: Arc<Telemetry>,
    /// The page for Prometheus.
    pub exporter: Exporter,
    /// What can be asked of the cache.
    pub operations: Arc<dyn Operations>,
    /// Who may ask.
    pub guard: Guard,
}
