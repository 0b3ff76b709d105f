//! Three instances, one Redis that fails in every way it can, an origin that
//! counts its writes, and a record of who was told what.
//!
//! `PANNIER_CHAOS_SECONDS` makes a run longer (`scripts/chaos` does).

#[allow(dead_code, unused_imports, reason = "the stories use all of it")]
#[path = "../it/support/mod.rs"]
mod support;

mod cluster;
mod cost;
mod faults;
mod history;
mod load;
mod origin;

use std::sync::Arc;
use std::time::{Duration, Instant};

use history::History;
use support::proxy::{self, Proxy};
use support::redis::{self, Redis};

/// How long a run takes unless it is told otherwise.
const SHORT: Duration = Duration::from_secs(8);
/// `unsynced_age_max` in eventual runs.
const UNSYNCED_AGE_MAX: Duration = Duration::from_secs(1);
/// What docs/invalidation.md states for eventual mode with that value: two
/// seconds until silence counts, two more until the last instance has
/// connected again; and one for a machine that is busy with other things.
const EVENTUAL_BOUND: Duration = Duration::from_secs(5);

fn duration() -> Duration {
    let asked = std::env::var("PANNIER_CHAOS_SECONDS").ok();
    let asked = asked.and_then(|text| text.parse().ok());
    asked.map_or(SHORT, Duration::from_secs)
}

/// What a mode promises of a read that began at some moment.
#[derive(Clone, Copy)]
struct Mode {
    name: &'static str,
    toml: &'static str,
    bound: Duration,
}

const STRICT: Mode = Mode {
    name: "strict",
    toml: "[coherence]\nmode = \"strict\"\nlease = \"500ms\"",
    bound: Duration::ZERO,
};

const EVENTUAL: Mode = Mode {
    name: "eventual",
    toml: "[coherence]\nunsynced_age_max = \"1s\"",
    bound: EVENTUAL_BOUND,
};

/// Three instances before an origin, on this Redis.
async fn instances(origin: &origin::Versioned, redis: &Redis, mode: Mode) -> Vec<Arc<Proxy>> {
    let upstream = format!("http://{}", origin.address);
    let builder = proxy::in_front_of(&upstream)
        .redis_within(redis, "20ms")
        .toml(mode.toml);
    let mut proxies = Vec::new();
    for _ in 0..3 {
        let proxy = builder.clone().run().await;
        proxy.reaches_redis().await;
        proxies.push(Arc::new(proxy));
    }
    proxies
}

async fn chaos(mode: Mode) {
    let mut redis = redis::start().await;
    let origin = origin::run();
    let proxies = instances(&origin, &redis, mode).await;
    let history = Arc::new(History::new(mode.bound));
    let until = Instant::now() + duration();
    let load = load::start(&proxies, &history, until);
    let faults = faults::until(until, &mut redis, &proxies).await;
    load.finished().await;
    println!("{}: {faults} faults; {}", mode.name, history.report());
    assert!(history.reads() > 500, "too little was read to say anything");
    history.is_kept();
}

#[tokio::test]
async fn in_strict_mode_no_read_is_older_than_an_answered_write_whatever_happens_to_redis() {
    chaos(STRICT).await;
}

#[tokio::test]
async fn in_eventual_mode_no_read_is_older_than_its_bound_whatever_happens_to_redis() {
    assert!(UNSYNCED_AGE_MAX < EVENTUAL_BOUND);
    chaos(EVENTUAL).await;
}
