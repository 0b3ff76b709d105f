//! The control plane: what operators ask and command, over HTTP.
//!
//! [`serve()`] runs on the control thread, apart from the data plane. Every path
//! stands once, in [`table`]: the router and `/openapi.json` are made of it.
//!
//! Knows nothing of how responses are stored or invalidated: it asks
//! [`Operations`]. Never looks at `X-Forwarded-For` or its kin: who may ask is
//! decided by the token, or by being on this machine.

use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

mod advice;
mod auth;
mod cache;
mod control;
mod dashboard;
mod fleet;
mod health_page;
mod openapi;
mod operations;
mod parameters;
mod performance;
mod probes;
mod problem;
mod purge;
mod serve;
mod shapes;
mod table;
mod tail;
#[cfg(test)]
mod tests;
mod watch;
mod watch_shapes;

pub use self::auth::Guard;
pub use self::control::Control;
pub use self::health_page::HealthPage;
pub use self::operations::{
    Bounds, FleetFigures, InstanceFigures, InvalidateRequest, Invalidated, OperationError,
    Operations, RedisBounds, RouteFigures, Scope, Tier,
};
pub use self::serve::serve;

/// All paths of the admin listener, guarded.
pub fn router(control: Arc<Control>) -> Router {
    let router = table::routes()
        .into_iter()
        .fold(Router::new(), |router, route| {
            let handler = if route.takes_no_query() {
                route.handler.route_layer(from_fn(parameters::refuse))
            } else {
                route.handler
            };
            router.route(route.path, handler)
        });
    // The guard goes around everything, unknown paths included: without the
    // token, not even which paths there are is told.
    router
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(from_fn_with_state(Arc::clone(&control), purge::answer))
        .layer(from_fn_with_state(Arc::clone(&control), auth::check))
        .layer(from_fn(serve::bound_request))
        .with_state(control)
}
