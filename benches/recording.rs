//! What it costs a request to be counted: `cargo bench --bench recording`.
//!
//! Each thread records the answers it would give, as fast as it can; real
//! requests come a thousand times more slowly, so this is the worst case for
//! figures that threads share. Said is the time of one record on one thread;
//! with more threads than cores, that of a core.

use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use pannier::clock::Clock;
use pannier::semantics::outcome::CacheResult;
use pannier::telemetry::{ResponseServed, RouteTelemetry, Telemetry};

/// Records of one thread in one round.
const RECORDS: u32 = 1_000_000;
/// The best of so many rounds counts: others share the machine.
const ROUNDS: usize = 7;

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{cores} cores, the best of {ROUNDS} rounds of {RECORDS} records a thread");
    for cache in [CacheResult::Hit, CacheResult::Miss] {
        for threads in [1, 2, 8] {
            let best = (0..ROUNDS).map(|_| round(threads, cores, cache)).min();
            let nanos = best.unwrap_or_default().as_secs_f64() * 1e9;
            println!("{:<5} {threads} threads  {nanos:>6.1} ns", cache.as_str());
        }
    }
}

/// The time one record takes.
fn round(threads: usize, cores: usize, cache: CacheResult) -> Duration {
    let telemetry = Telemetry::new(Clock::System);
    let route = telemetry.route("users", "/users/{id}");
    let start = Arc::new(Barrier::new(threads + 1));
    let took = std::thread::scope(|scope| {
        for _ in 0..threads {
            let start = Arc::clone(&start);
            let (telemetry, route) = (&telemetry, &route);
            scope.spawn(move || {
                start.wait();
                for number in 0..RECORDS {
                    record(telemetry, route, cache, number);
                }
                start.wait();
            });
        }
        start.wait();
        let began = Instant::now();
        start.wait();
        began.elapsed()
    });
    // More threads than cores take turns.
    let turns = threads.div_ceil(cores);
    took / RECORDS / u32::try_from(turns).unwrap_or(1)
}

fn record(telemetry: &Telemetry, route: &RouteTelemetry, cache: CacheResult, number: u32) {
    let is_miss = cache == CacheResult::Miss;
    telemetry.served(black_box(&ResponseServed {
        route: Some(route),
        method: &Method::GET,
        path: "/users/42",
        status: StatusCode::OK,
        cache,
        elapsed: Duration::from_micros(u64::from(number % 512)),
        upstream: is_miss.then_some(Duration::from_millis(3)),
        body_bytes: Some(1_024),
        saved: (!is_miss).then_some(Duration::from_millis(3)),
        client: None,
    }));
}
