//! The tables of what is the same for all routes: `[cache]`, `[invalidation]`.

use std::time::Duration;

use super::kinds::{Durations, Flag};
use super::reader::Table;
use super::{CacheConfig, DefaultInvalidation, InvalidationConfig, route_policy, route_values};

/// The longest that a replica may lag.
const SETTLE_MAX: Duration = Duration::from_secs(3_600);

/// Reads `[cache]`.
pub(super) fn cache(mut table: Table<'_>) -> CacheConfig {
    let config = CacheConfig {
        enabled: table.option("enabled", true, Flag, "Whether anything is stored, or answered from what is: the switch for incidents. What is stored stays."),
        ttl: table.optional("ttl", "\"60s\"", route_policy::lifetimes(), "The lifetime that a route takes by `ttl = \"default\"`."),
    };
    table.finish();
    config
}

/// Reads `[invalidation]`.
pub(super) fn invalidation(mut table: Table<'_>) -> InvalidationConfig {
    let default = table.option(
        "default",
        DefaultInvalidation::Hierarchy,
        route_values::default_invalidations(),
        "What a write invalidates without an entry of its own. \"hierarchy\": the target, Location, Content-Location, the parent unless that is /, and for PUT, PATCH, DELETE and MOVE answered 2xx everything below; \"rfc\": the first three only (RFC 9111 §4.4); \"none\": nothing.",
    );
    let settle = table.option(
        "settle",
        Duration::ZERO,
        Durations { min: Duration::ZERO, max: SETTLE_MAX },
        "For so long after an invalidation, what it matches is fetched and passed on but not stored: for an origin that reads from a replica that lags.",
    );
    table.finish();
    InvalidationConfig { default, settle }
}
