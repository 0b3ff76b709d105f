//! What an invalidation costs, and how soon another instance has it.
//!
//! `PANNIER_STORED` says how many responses are stored at most
//! (`scripts/bench-invalidation`: a million).

use std::sync::Arc;
use std::time::{Duration, Instant};

use pannier::clock::{Clock, Timestamp};
use pannier::config::{self, Config};
use pannier::invalidation::Invalidation;
use pannier::invalidation::scope::{Ban, Scope};
use pannier::pattern::Pattern;
use pannier::semantics::freshness::{Freshness, LifetimeSource};
use pannier::semantics::key::CacheKey;
use pannier::semantics::stored::{StoredHead, StoredResponse, Target};
use pannier::store::memory::{Bounds, Entry, Memory};
use pannier::telemetry::Telemetry;

use crate::support::redis::{self, Redis};
use crate::support::within;

/// Invalidations in one measurement.
const ROUNDS: usize = 500;

fn config(redis: &Redis) -> Config {
    let text = format!(
        "upstream = \"http://127.0.0.1:1\"\n[redis]\nurl = \"{}\"\nnamespace = \"test\"\n\
         [memory]\nbytes_max = \"8GiB\"\n[[routes]]\npath = \"/**\"\n",
        redis.url()
    );
    config::parse("proxy.toml", &text, |_| None).expect("a configuration")
}

/// An instance's invalidation, in touch with the log.
async fn instance(config: &Config) -> Invalidation {
    let redis = config.redis.as_ref().expect("it names a Redis");
    let telemetry = Telemetry::new(Clock::System);
    let counters = telemetry.redis();
    let invalidation =
        Invalidation::shared(redis, &config.coherence, None, Clock::System, counters)
            .expect("a Redis that is there");
    within("the log", async {
        while !invalidation.is_in_touch() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    invalidation
}

fn stored(number: usize, invalidation: &Invalidation) -> StoredResponse {
    let now = Timestamp::from(std::time::SystemTime::now());
    let head = StoredHead {
        status: http::StatusCode::OK,
        fields: http::HeaderMap::new(),
        target: Target {
            host: "pannier.test".into(),
            path: format!("/users/{number}/profile").into(),
            query: "".into(),
        },
        route: "/**".into(),
        vary: Default::default(),
        secondary: Default::default(),
        request_time: now,
        response_time: now,
        freshness: Freshness {
            lifetime: Duration::from_secs(600),
            source: LifetimeSource::Origin,
            initial_age: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            always_validate: false,
            refuses_max_stale: false,
            is_immutable: false,
        },
        validators: Default::default(),
        language_keys: Box::default(),
        tags: Box::default(),
        position: invalidation.position(),
        fetch_cost: Duration::ZERO,
    };
    StoredResponse {
        head,
        body: "x".into(),
    }
}

fn key(number: usize) -> CacheKey {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(
        &(number as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .to_le_bytes(),
    );
    CacheKey(bytes)
}

fn pattern(round: usize) -> [Ban; 1] {
    let text = format!("/orders-{round}/**");
    [Ban::hard(Scope::Pattern(
        Pattern::parse(&text).expect("a pattern"),
    ))]
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

#[tokio::test]
async fn an_invalidation_by_pattern_takes_as_long_whatever_is_stored() {
    let most = std::env::var("PANNIER_STORED").ok();
    let most = most.and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let redis = redis::start().await;
    let config = config(&redis);
    let invalidation = instance(&config).await;
    let telemetry = Telemetry::new(Clock::System);
    let mut medians = Vec::new();
    for count in [1_000, most] {
        let memory = Memory::new(Bounds::of(&config.memory), config.memory.policy);
        let route = telemetry.route("/**", "/**");
        let cache = memory.route(&Arc::from("/**"), None, route.counters());
        for number in 0..count {
            let entry = Entry::new(key(number), Arc::new(stored(number, &invalidation)));
            memory.insert(&cache, &entry).expect("it fits");
        }
        assert_eq!(memory.entries(), count as u64);
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let started = Instant::now();
            let receipt = invalidation.put_in_force(&pattern(round)).await;
            times.push(started.elapsed());
            assert!(receipt.position.is_some(), "it is in the log");
        }
        let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        println!("{count} stored: an invalidation takes p50 {p50:?}, p99 {p99:?}");
        medians.push(p50);
    }
    // A scan of what is stored would show as the ratio of the two counts.
    assert!(medians[1] < medians[0] * 10, "{medians:?}");
}

#[tokio::test]
async fn an_invalidation_reaches_another_instance_at_once() {
    let redis = redis::start().await;
    let config = config(&redis);
    let (left, right) = (instance(&config).await, instance(&config).await);
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let before = right.position().local;
        let bans = pattern(round);
        let started = Instant::now();
        let (_receipt, ()) = tokio::join!(left.put_in_force(&bans), async {
            while right.position().local == before {
                right.changed().await;
            }
            times.push(started.elapsed());
        });
    }
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    println!("from one instance to another: p50 {p50:?}, p99 {p99:?}");
    assert!(p50 < Duration::from_secs(1), "{p50:?}");
}
