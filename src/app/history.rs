//! Lets the history look at the counters once a minute.

use std::sync::Arc;
use std::time::Duration;

use crate::fleet::Fleet;
use crate::telemetry::Telemetry;

const MINUTE_MILLIS: u64 = 60_000;
/// Past the minute's end, so that a clock that is a little slow is past it, too.
const GRACE_MILLIS: u64 = 20;

/// Looks for ever, just after each full minute.
pub(super) async fn run(telemetry: Arc<Telemetry>, fleet: Option<Arc<Fleet>>) {
    loop {
        let into_minute = telemetry.now().unix_millis() % MINUTE_MILLIS;
        let left = Duration::from_millis(MINUTE_MILLIS - into_minute + GRACE_MILLIS);
        tokio::time::sleep(left).await;
        let instances = fleet.as_ref().and_then(|fleet| fleet.count());
        telemetry
            .redis()
            .fleet_instances
            .set(instances.unwrap_or(0));
        telemetry.tick();
    }
}
