//! Hit ratios of `[memory] policy` over synthetic traces, as a table.
//!
//! What is simulated is the store of the proxy, with responses of 1 KiB; only
//! the clients are invented. A miss stores what was asked for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pannier::clock::Clock;
use pannier::config::EvictionPolicy;
use pannier::message::directives::ResponseDirectives;
use pannier::semantics::freshness::Freshness;
use pannier::semantics::key::CacheKey;
use pannier::semantics::policy::Policy;
use pannier::semantics::stored::{Position, StoredHead, StoredResponse, Target};
use pannier::semantics::validation::Validators;
use pannier::semantics::vary::{SecondaryKey, VaryNames};
use pannier::store::memory::{Bounds, Entry, Memory};

const REQUESTS: usize = 1_000_000;
const TARGETS: u64 = 100_000;
const BODY_BYTES: usize = 1024;

/// Reproducible chance: SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Targets by rank, the first asked for most.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = (1..=TARGETS)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        sums.iter_mut().for_each(|part| *part /= sum);
        Self(sums)
    }

    fn next(&self, chance: &mut Chance) -> u64 {
        let part = chance.part();
        self.0.partition_point(|sum| *sum < part) as u64
    }
}

fn zipf(exponent: f64) -> Vec<u64> {
    let (ranks, mut chance) = (Zipf::new(exponent), Chance(1));
    (0..REQUESTS).map(|_| ranks.next(&mut chance)).collect()
}

/// Ordinary use, and now and then a crawler that asks for everything once.
fn zipf_and_scans() -> Vec<u64> {
    let (ranks, mut chance) = (Zipf::new(0.9), Chance(2));
    let mut asked = Vec::with_capacity(REQUESTS);
    let mut fresh = TARGETS;
    while asked.len() < REQUESTS {
        asked.extend((0..80_000).map(|_| ranks.next(&mut chance)));
        asked.extend(fresh..fresh + 20_000);
        fresh += 20_000;
    }
    asked
}

/// The same targets over and over, in the same order.
fn looped(targets: u64) -> Vec<u64> {
    (0..REQUESTS as u64).map(|n| n % targets).collect()
}

/// Half of what is asked for is never asked for again.
fn one_hit_wonders() -> Vec<u64> {
    let (ranks, mut chance) = (Zipf::new(0.9), Chance(3));
    (0..REQUESTS as u64)
        .map(|n| {
            if n % 2 == 0 {
                TARGETS + n
            } else {
                ranks.next(&mut chance)
            }
        })
        .collect()
}

/// What is asked for changes as time goes by.
fn drifting() -> Vec<u64> {
    let (ranks, mut chance) = (Zipf::new(0.9), Chance(4));
    (0..REQUESTS as u64)
        .map(|n| ranks.next(&mut chance) + n / 20)
        .collect()
}

fn response() -> Arc<StoredResponse> {
    let (fields, now) = (HeaderMap::new(), Clock::System.now());
    let freshness = Freshness::of(
        StatusCode::OK,
        &fields,
        &ResponseDirectives::of(&fields),
        &Policy::default(),
        now,
        now,
    );
    let head = StoredHead {
        status: StatusCode::OK,
        fields,
        target: Target {
            host: "h".into(),
            path: "/".into(),
            query: "".into(),
        },
        route: "r".into(),
        vary: VaryNames::default(),
        secondary: SecondaryKey::default(),
        language_keys: Box::default(),
        request_time: now,
        response_time: now,
        freshness,
        validators: Validators::default(),
        tags: Box::default(),
        position: Position::default(),
        fetch_cost: Duration::ZERO,
    };
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    Arc::new(StoredResponse { head, body })
}

fn key(target: u64) -> CacheKey {
    let mut key = [0; 32];
    let mut chance = Chance(target);
    for part in key.chunks_exact_mut(8) {
        part.copy_from_slice(&chance.next().to_le_bytes());
    }
    CacheKey(key)
}

fn hit_percent(trace: &[u64], policy: EvictionPolicy, room: u64) -> f64 {
    let stored = response();
    let weight_bytes = Entry::new(Arc::clone(&stored)).weight_bytes();
    let bounds = Bounds {
        bytes_max: room * weight_bytes,
        entries_max: None,
        variants_max: 1,
    };
    let memory = Memory::new(bounds, policy);
    let cache = memory.route(&"r".into(), None, &Arc::default());
    let nothing = HeaderMap::new();
    let mut hits = 0_u64;
    for target in trace {
        let key = key(*target);
        if memory.lookup(&cache, &key, &nothing).is_some() {
            hits += 1;
        } else {
            let entry = Arc::new(Entry::new(Arc::clone(&stored)));
            assert!(memory.insert(&cache, key, entry).is_ok());
        }
    }
    hits as f64 * 100.0 / trace.len() as f64
}

fn main() {
    println!("| trace | room for | lru | s3fifo |");
    println!("|---|---|---|---|");
    let traces = [
        ("Zipf 0.7", zipf(0.7)),
        ("Zipf 0.9", zipf(0.9)),
        ("Zipf 1.1", zipf(1.1)),
        ("Zipf 0.9, a fifth of it scans", zipf_and_scans()),
        ("Zipf 0.9, half asked for once only", one_hit_wonders()),
        ("Zipf 0.9, drifting", drifting()),
        ("loop over 12,000", looped(12_000)),
    ];
    for (name, trace) in &traces {
        for room in [1_000, 10_000] {
            let lru = hit_percent(trace, EvictionPolicy::Lru, room);
            let s3fifo = hit_percent(trace, EvictionPolicy::S3Fifo, room);
            println!("| {name} | {room} | {lru:.1} % | {s3fifo:.1} % |");
        }
    }
}
