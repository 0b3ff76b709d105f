//! What it costs a request to be counted: `cargo bench --bench recording`.
//!
//! Each thread records the answers it would give, as fast as it can; real
//! requests come a thousand times more slowly, so this is the worst case for
//! figures that threads share. Said is the processor time of one record, which
//! waiting for another core's cache line is part of, and waiting for a turn on
//! a busy machine is not.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::Duration;

use http::{Method, StatusCode};
use pannier::clock::{Clock, Timestamp};
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
            let best = (0..ROUNDS).map(|_| round(threads, cache)).min();
            let nanos = best.unwrap_or_default().as_secs_f64() * 1e9;
            println!("{:<5} {threads} threads  {nanos:>6.1} ns", cache.as_str());
        }
    }
}

/// The processor time one record takes, on average over the threads.
fn round(threads: u32, cache: CacheResult) -> Duration {
    let telemetry = Telemetry::new(Clock::System);
    let route = telemetry.route("users", "/users/{id}");
    let start = Barrier::new(usize::try_from(threads).unwrap_or(1));
    let took: Duration = std::thread::scope(|scope| {
        let work = || {
            start.wait();
            let began = processor_time();
            for number in 0..RECORDS {
                record(&telemetry, &route, cache, number);
            }
            processor_time().saturating_sub(began)
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let took = workers.into_iter().map(|worker| worker.join());
        took.map(Result::unwrap_or_default).sum()
    });
    took / RECORDS / threads
}

/// Of this thread: the first figure of its `schedstat`, in nanoseconds.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

fn record(telemetry: &Telemetry, route: &RouteTelemetry, cache: CacheResult, number: u32) {
    let is_miss = cache == CacheResult::Miss;
    telemetry.served(black_box(&ResponseServed {
        at: Timestamp::from_unix_millis(1_700_000_000_000 + u64::from(number) / 1_000),
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
        span: None,
    }));
}
