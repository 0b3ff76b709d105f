//! What the parts of a request cost: key, lookup, reuse, the check of bans,
//! the writing of a head, encoding and decoding a record.
//!
//! `cargo bench`, or `cargo bench -- key` for some. For comparisons between
//! commits use `scripts/perf-check`: it counts instructions.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use bytes::Bytes;
use divan::{Bencher, counter::ItemsCount};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pannier::clock::Clock;
use pannier::config::{self, Config, EvictionPolicy};
use pannier::drain::Drain;
use pannier::invalidation::Invalidation;
use pannier::invalidation::scope::{Ban, Scope};
use pannier::message::directives::{RequestDirectives, ResponseDirectives};
use pannier::message::outgoing::Outgoing;
use pannier::message::scheme::Scheme;
use pannier::pattern::Pattern;
use pannier::proxy::{Peer, Plain, Proxy, Shared};
use pannier::semantics::freshness::Freshness;
use pannier::semantics::key::{CacheKey, RouteFingerprint};
use pannier::semantics::policy::{KeySpec, Policy};
use pannier::semantics::reuse::{self, Circumstances};
use pannier::semantics::stored::{Position, StoredHead, StoredResponse, Target};
use pannier::semantics::target::RequestTarget;
use pannier::semantics::told::ToldTarget;
use pannier::semantics::validation::Validators;
use pannier::semantics::vary::{SecondaryKey, VaryNames};
use pannier::store::memory::{Bounds, Entry, Memory, RouteCache};
use pannier::store::{Store, record};
use pannier::telemetry::Telemetry;

fn main() {
    divan::main();
}

const BODY_BYTES: usize = 1024;

/// A head as browsers send it.
const REQUEST: &[u8] = b"GET /api/v1/templates/42?page=2&sort=name HTTP/1.1\r\n\
    host: shop.example:8080\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0)\r\n\
    accept: application/json\r\naccept-language: de,en;q=0.7\r\naccept-encoding: gzip, br\r\n\
    referer: http://shop.example/list\r\nconnection: keep-alive\r\ncookie: sid=1; theme=dark\r\n\r\n";

fn fields() -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("etag", "\"5f2b1c-9a\""),
        ("last-modified", "Sat, 01 Aug 2026 10:00:00 GMT"),
        ("date", "Sat, 21 Nov 2026 10:00:00 GMT"),
        ("cache-control", "public, max-age=3600"),
        ("content-length", "1024"),
        ("via", "1.1 pannier"),
    ] {
        fields.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    fields
}

fn config() -> Config {
    let text = "upstream = \"http://127.0.0.1:9\"\n[[routes]]\nname = \"templates\"\n\
                path = \"/api/v1/templates/{id}\"";
    config::parse("bench", text, |_| None).expect("a configuration")
}

fn freshness() -> Freshness {
    let (fields, now) = (fields(), Clock::System.now());
    let directives = ResponseDirectives::of(&fields);
    Freshness::of(
        StatusCode::OK,
        &fields,
        &directives,
        &Policy::default(),
        now,
        now,
    )
}

fn stored(target: &RequestTarget<'_>) -> StoredResponse {
    let fields = fields();
    let now = Clock::System.now();
    let head = StoredHead {
        status: StatusCode::OK,
        validators: Validators::of(&fields, now),
        fields,
        target: Target::of(&KeySpec::default(), "shop.example:8080", target),
        route: "templates".into(),
        vary: VaryNames::default(),
        secondary: SecondaryKey::default(),
        language_keys: Box::default(),
        request_time: now,
        response_time: now,
        freshness: freshness(),
        tags: Box::default(),
        position: Position::default(),
        fetch_cost: Duration::from_millis(20),
    };
    let body = Bytes::from(vec![b'x'; BODY_BYTES]);
    StoredResponse { head, body }
}

fn key_of(spec: &KeySpec, route: &RouteFingerprint, path: &str, query: Option<&str>) -> CacheKey {
    let target = RequestTarget::of(path, query);
    let told = ToldTarget::default();
    CacheKey::of(
        route,
        spec,
        ("shop.example:8080", &told),
        &target,
        &HeaderMap::new(),
    )
}

fn fingerprint() -> RouteFingerprint {
    RouteFingerprint::of(
        "/api/v1/templates/{id}",
        &KeySpec::default(),
        &Policy::default(),
    )
}

#[divan::bench]
fn key_of_a_path(bencher: Bencher<'_, '_>) {
    let (spec, route) = (KeySpec::default(), fingerprint());
    bencher.bench(|| key_of(&spec, &route, black_box("/api/v1/templates/42"), None));
}

#[divan::bench]
fn key_of_a_path_and_two_parameters(bencher: Bencher<'_, '_>) {
    let (spec, route) = (KeySpec::default(), fingerprint());
    let query = Some("sort=name&page=2");
    bencher.bench(|| key_of(&spec, &route, black_box("/api/v1/templates/42"), query));
}

/// A store of so many responses, and their keys in no order.
fn filled(count: usize) -> (Memory, Arc<RouteCache>, Vec<CacheKey>) {
    let memory = Memory::new(
        Bounds {
            bytes_max: u64::MAX,
            entries_max: None,
            variants_max: 64,
        },
        EvictionPolicy::Lru,
    );
    let cache = memory.route(&"templates".into(), None, &Arc::default());
    let (spec, route) = (KeySpec::default(), fingerprint());
    let response = Arc::new(stored(&RequestTarget::of("/api/v1/templates/42", None)));
    let mut keys: Vec<CacheKey> = (0..count)
        .map(|n| {
            let key = key_of(&spec, &route, &format!("/api/v1/templates/{n}"), None);
            let entry = Entry::new(key, Arc::clone(&response));
            assert!(memory.insert(&cache, &entry).is_ok());
            key
        })
        .collect();
    keys.sort_unstable();
    (memory, cache, keys)
}

#[divan::bench(args = [1_000, 1_000_000])]
fn lookup_among(bencher: Bencher<'_, '_>, count: usize) {
    let (memory, cache, keys) = filled(count);
    let request = HeaderMap::new();
    let mut next = keys.iter().cycle();
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        let key = next.next().copied();
        key.and_then(|key| memory.lookup(&cache, &key, &request))
    });
}

#[divan::bench]
fn reuse_of_a_fresh_response(bencher: Bencher<'_, '_>) {
    let (freshness, directives) = (freshness(), RequestDirectives::default());
    let age = Duration::from_secs(7);
    bencher.bench(|| {
        reuse::assess(
            black_box(&freshness),
            age,
            &directives,
            Circumstances::default(),
        )
    });
}

#[divan::bench(args = [0, 1_000])]
fn bans_unseen(bencher: Bencher<'_, '_>, bans: usize) {
    let invalidation = Invalidation::alone(&config().coherence, Clock::System);
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    for n in 0..bans {
        let pattern = Pattern::parse(&format!("/other/{n}/**")).expect("a pattern");
        let ban = Ban::hard(Scope::Pattern(pattern));
        runtime.block_on(invalidation.put_in_force(&[ban]));
    }
    let head = stored(&RequestTarget::of("/api/v1/templates/42", None)).head;
    bencher.bench(|| {
        let (checked, softened) = (AtomicU64::new(0), AtomicU64::new(0));
        invalidation.judge(black_box(&head), &checked, &softened)
    });
}

#[divan::bench]
fn a_record_encoded(bencher: Bencher<'_, '_>) {
    let response = stored(&RequestTarget::of("/api/v1/templates/42", None));
    bencher.bench(|| record::encode_response(black_box(&response)).map(|bytes| bytes.len()));
}

#[divan::bench]
fn a_record_decoded(bencher: Bencher<'_, '_>) {
    let response = stored(&RequestTarget::of("/api/v1/templates/42", None));
    let bytes = Bytes::from(record::encode_response(&response).expect("a record"));
    bencher.bench(|| record::decode(black_box(&bytes), 1 << 20).map(|_| ()));
}

/// The whole of a plain hit but the socket: parse, key, lookup, bans, reuse,
/// head, figures.
#[divan::bench]
fn a_plain_hit(bencher: Bencher<'_, '_>) {
    let config = config();
    let clock = Clock::System;
    let telemetry = Arc::new(Telemetry::new(clock.clone()));
    let invalidation = Invalidation::alone(&config.coherence, clock.clone());
    let store = Store {
        memory: Memory::new(Bounds::of(&config.memory), config.memory.policy),
        redis: None,
    };
    let shared = Shared::new(
        config,
        store,
        Arc::new(invalidation),
        telemetry,
        clock,
        Drain::new(),
    );
    let shared = shared.expect("a site");
    let site = shared.site();
    let route = &site.routes.routes()[0];
    let target = RequestTarget::of("/api/v1/templates/42", Some("page=2&sort=name"));
    let host = "shop.example:8080";
    let key = CacheKey::of(
        &route.fingerprint,
        &route.key,
        (host, &ToldTarget::default()),
        &target,
        &HeaderMap::new(),
    );
    let counters = route.telemetry.counters();
    let cache = shared
        .store
        .memory
        .route(&route.name, route.entries_max, counters);
    shared
        .store
        .put(&cache, key, Arc::new(stored(&target)), Duration::ZERO);
    let proxy = Proxy::new(Arc::clone(&shared), 0);
    let peer = Peer {
        scheme: Scheme::Http,
        address: [127, 0, 0, 1].into(),
    };
    let mut buffer = Vec::new();
    bencher.bench_local(|| {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Request::new(&mut fields);
        assert!(head.parse(black_box(REQUEST)).is_ok());
        let plain = Plain::of(&head).expect("a plain request");
        let mut outgoing = Outgoing::within(std::mem::take(&mut buffer));
        assert!(proxy.answer_directly(&plain, peer, Instant::now(), &mut outgoing));
        buffer = outgoing.into_buffer();
    });
}
