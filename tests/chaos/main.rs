//! Several instances, Redis behind one address that fails in every way it can,
//! an origin that counts its writes, and a record of who was told what.
//!
//! | variable | |
//! |---|---|
//! | `PANNIER_CHAOS_SECONDS` | how long a run takes at most |
//! | `PANNIER_CHAOS_READS` | it is over as soon as so many reads were checked |
//! | `PANNIER_CHAOS_INSTANCES` | how many there are, 20 at most |
//! | `PANNIER_CHAOS_SEED` | another order of everything |
//! | `PANNIER_CHAOS_FAKETIME` | the path of libfaketimeMT: wall clocks differ by minutes |
//!
//! `scripts/chaos` sets them.

#[allow(dead_code, unused_imports, reason = "the stories use all of it")]
#[path = "../it/support/mod.rs"]
mod support;

mod cluster;
mod cost;
mod faults;
mod history;
mod load;
mod origin;
mod stage;

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use history::History;
use load::Stop;
use stage::{Instance, Servers};
use support::proxy;

/// How long a run takes unless it is told otherwise: each kind of fault once.
const SHORT: Duration = Duration::from_secs(25);
/// Instances unless it is told otherwise, and at most.
const INSTANCES: usize = 3;
const INSTANCES_MAX: usize = 20;
/// `unsynced_age_max` in eventual runs.
const UNSYNCED_AGE_MAX: Duration = Duration::from_secs(1);
/// What docs/invalidation.md states for eventual mode with that value: two
/// seconds until silence counts, two more until the last instance has
/// connected again; and one for a machine that is busy with other things.
const EVENTUAL_BOUND: Duration = Duration::from_secs(5);

/// A variable that asks for something else than the usual.
fn asked<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(format!("PANNIER_CHAOS_{name}")).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("PANNIER_CHAOS_{name}={text}")),
    )
}

fn duration() -> Duration {
    asked("SECONDS").map_or(SHORT, Duration::from_secs)
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

/// Instances before an origin, each behind a relay of its own.
async fn instances(
    origin: &origin::Versioned,
    servers: &Servers,
    mode: Mode,
) -> Vec<Arc<Instance>> {
    let upstream = format!("http://{}", origin.address);
    let faketime: Option<String> = asked("FAKETIME");
    let mut instances = Vec::new();
    for (who, relay) in servers.relays.iter().enumerate() {
        let mut builder = proxy::in_front_of(&upstream)
            .redis_at(&relay.url(), "20ms")
            .toml(mode.toml);
        if let Some(library) = &faketime {
            // Ahead, right, behind.
            let minutes = (who % 3) as i64 - 1;
            builder = builder
                .environment("LD_PRELOAD", library)
                .environment("FAKETIME", &format!("{:+}m", minutes * 5))
                .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        instances.push(Instance::start(who, builder).await);
    }
    instances
}

async fn chaos(mode: Mode) {
    let count = asked("INSTANCES")
        .unwrap_or(INSTANCES)
        .clamp(1, INSTANCES_MAX);
    let seed: usize = asked("SEED").unwrap_or_default();
    let mut servers = Servers::start(count).await;
    let origin = origin::run();
    let instances = instances(&origin, &servers, mode).await;
    let history = Arc::new(History::new(mode.bound));
    let started = Instant::now();
    let stop = Stop {
        until: started + duration(),
        reads: asked("READS"),
    };
    let load = load::start(&instances, &history, stop, seed as u64);
    faults::until(stop, &mut servers, &instances, &history, seed).await;
    load.finished().await;
    // What is stale now would stay so.
    faults::pass(EVENTUAL_BOUND.as_millis() as usize + 100).await;
    load::read_everything(&instances, &history).await;
    let took = started.elapsed().as_secs();
    println!(
        "{}: {count} instances, {took} s, {}",
        mode.name,
        history.report()
    );
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
