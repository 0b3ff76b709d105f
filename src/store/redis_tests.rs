//! Storing in a real Redis, and in one that fails.

use super::*;
use crate::link::test_redis::{TestCluster, TestRedis, within};
use crate::message::samples::fields;
use crate::semantics::freshness::SECONDS_MAX;
use crate::semantics::stored::{LogPosition, StoredResponse};
use crate::store::lookups::TIMEOUTS_MAX;
use crate::store::samples::{response, varying};

const KEY: CacheKey = CacheKey([7; 32]);
const BODY_BYTES_MAX: u64 = 8 << 20;
const TTL: Duration = Duration::from_secs(60);

fn start(config: &RedisConfig) -> RedisStore {
    RedisStore::start(config, BODY_BYTES_MAX, Arc::default()).unwrap()
}

/// A store whose lookup connection stands.
async fn connected(redis: &TestRedis) -> RedisStore {
    let store = start(&redis.config());
    within(store.lookups.link.connected()).await;
    store
}

async fn put(store: &RedisStore, response: StoredResponse) {
    store.store(KEY, Arc::new(response), TTL);
    within(store.flushed()).await;
}

async fn find(store: &RedisStore, request: &HeaderMap, guess: Option<&VaryNames>) -> Lookup {
    let mut budget = store.budget();
    store.lookup(&KEY, request, guess, &mut budget).await
}

/// What is found has to be.
async fn found(store: &RedisStore, request: &HeaderMap, guess: Option<&VaryNames>) -> FoundRecord {
    match find(store, request, guess).await {
        Lookup::Hit(found) => found,
        other => panic!("it is not found: {other:?}"),
    }
}

async fn body(store: &RedisStore, request: &HeaderMap, guess: Option<&VaryNames>) -> String {
    match find(store, request, guess).await {
        Lookup::Hit(found) => String::from_utf8(found.response.body.to_vec()).unwrap(),
        other => format!("{other:?}"),
    }
}

async fn plain(store: &RedisStore) -> String {
    body(store, &HeaderMap::new(), None).await
}

#[tokio::test]
async fn what_one_instance_stores_another_finds() {
    let redis = TestRedis::started();
    let (left, right) = (connected(&redis).await, connected(&redis).await);
    assert_eq!(plain(&right).await, "Miss");
    put(&left, response("Ada")).await;
    assert_eq!(plain(&right).await, "Ada");
    put(&left, response("Grace")).await;
    assert_eq!(plain(&right).await, "Grace");
    let counters = &right.counters;
    assert_eq!(counters.misses.get(), 1);
    assert_eq!(
        counters.hits.get(),
        0,
        "whether it is of use is for others to say"
    );
    assert_eq!(left.counters.stores.get(), 2);
}

#[tokio::test]
async fn a_varying_response_is_found_by_those_it_was_stored_for() {
    let redis = TestRedis::started();
    let store = connected(&redis).await;
    let german = fields(&[("accept-language", "de")]);
    let french = fields(&[("accept-language", "fr")]);
    let hallo = varying("hallo", "Accept-Language", &german);
    let names = hallo.head.vary.clone();
    put(&store, hallo).await;
    put(&store, varying("bonjour", "Accept-Language", &french)).await;

    let other_names = varying("", "X-Tenant", &german).head.vary;
    for guess in [None, Some(&names), Some(&other_names)] {
        assert_eq!(body(&store, &german, guess).await, "hallo");
        assert_eq!(body(&store, &french, guess).await, "bonjour");
        assert_eq!(body(&store, &HeaderMap::new(), guess).await, "Miss");
    }
}

#[tokio::test]
async fn a_response_that_stops_or_starts_to_vary_takes_the_place_of_the_other() {
    let redis = TestRedis::started();
    let store = connected(&redis).await;
    let request = fields(&[("accept-language", "de")]);
    put(&store, response("plain")).await;
    let hallo = varying("hallo", "Accept-Language", &request);
    let names = hallo.head.vary.clone();
    put(&store, hallo).await;
    assert_eq!(body(&store, &request, None).await, "hallo");
    put(&store, response("plain again")).await;
    assert_eq!(body(&store, &request, Some(&names)).await, "plain again");
}

#[tokio::test]
async fn records_expire_and_a_short_life_does_not_shorten_its_siblings() {
    let redis = TestRedis::started();
    let store = connected(&redis).await;
    let request = |language| fields(&[("accept-language", language)]);
    let vary = |language| Arc::new(varying("x", "Accept-Language", &request(language)));
    store.store(KEY, vary("de"), TTL);
    store.store(KEY, vary("fr"), Duration::from_secs(5));
    within(store.flushed()).await;
    let base = store.keys.base(&KEY);
    let ttl: u64 = redis.cli(&["TTL", &base]).parse().unwrap();
    assert!(ttl > 50, "{ttl}");
    let forever = Duration::from_secs(SECONDS_MAX);
    store.store(KEY, Arc::new(response("x")), forever);
    within(store.flushed()).await;
    let ttl: u64 = redis.cli(&["TTL", &base]).parse().unwrap();
    assert!(ttl > 50 && ttl <= TTL_MAX.as_secs(), "{ttl}");
}

#[tokio::test]
async fn what_nothing_could_reuse_or_is_too_large_is_not_queued() {
    let store = start(&TestRedis::reserve().config());
    store.store(KEY, Arc::new(response("x")), Duration::ZERO);
    let large = vec![0; BODY_BYTES_MAX as usize + 1];
    store.store(KEY, Arc::new(response(large)), TTL);
    assert_eq!(store.counters.queue_length.get(), 0);
}

#[tokio::test]
async fn without_redis_a_lookup_is_over_at_once_and_stores_are_bounded() {
    let config = RedisConfig {
        queue_max: 2,
        lookup_timeout: Duration::from_secs(3600),
        ..TestRedis::reserve().config()
    };
    let store = start(&config);
    assert_eq!(plain(&store).await, "Unavailable");
    assert_eq!(store.counters.skipped.get(), 1);
    for key in 0..5 {
        store.store(CacheKey([key; 32]), Arc::new(response("x")), TTL);
    }
    assert_eq!(store.counters.stores_dropped.get(), 3);
}

#[tokio::test]
async fn a_redis_that_dies_is_a_miss_and_is_used_again_when_it_is_back() {
    let mut redis = TestRedis::started();
    let store = connected(&redis).await;
    put(&store, response("Ada")).await;
    redis.kill();
    assert_eq!(plain(&store).await, "Unavailable");
    within(store.lookups.link.disconnected()).await;
    store.store(KEY, Arc::new(response("queued meanwhile")), TTL);
    redis.start();
    within(store.flushed()).await;
    within(store.lookups.link.connected()).await;
    let is_one_of_the_two = plain(&store).await;
    // Taken just before the loss was noticed, a store is lost with it.
    assert!(["queued meanwhile", "Miss"].contains(&is_one_of_the_two.as_str()));
    put(&store, response("Grace")).await;
    assert_eq!(plain(&store).await, "Grace");
}

#[tokio::test]
async fn a_redis_that_hangs_costs_the_budget_until_the_breaker_opens_and_then_nothing() {
    let redis = TestRedis::on_tcp();
    let config = RedisConfig {
        lookup_timeout: Duration::from_millis(5),
        ..redis.config()
    };
    let store = start(&config);
    within(store.lookups.link.connected()).await;
    redis.stop();
    let started = Instant::now();
    for _ in 0..20 {
        assert_eq!(plain(&store).await, "Unavailable");
    }
    assert!(started.elapsed() < Duration::from_secs(5));
    let counters = &store.counters;
    // More where the machine was so slow that a probe was due.
    let timeouts = counters.timeouts.get();
    assert!((u64::from(TIMEOUTS_MAX)..20).contains(&timeouts));
    assert_eq!(counters.skipped.get(), 20 - timeouts);
    assert_eq!(counters.breaker_opened.get(), 1);

    redis.cont();
    within(async {
        while plain(&store).await == "Unavailable" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn garbage_is_a_miss_that_is_counted_and_overwritten() {
    let redis = TestRedis::started();
    let store = connected(&redis).await;
    let base = store.keys.base(&KEY);
    redis.cli(&["SET", &base, "garbage"]);
    assert_eq!(plain(&store).await, "Miss");
    put(&store, response("Ada")).await;
    redis.cli(&["SETRANGE", &base, "30", "!"]);
    assert_eq!(plain(&store).await, "Miss");
    put(&store, response("Ada")).await;
    redis.cli(&[
        "EVAL",
        "redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, -3))",
        "1",
        &base,
    ]);
    assert_eq!(plain(&store).await, "Miss");
    assert_eq!(store.counters.corrupt.get(), 3);
    assert_eq!(store.counters.misses.get(), 3);

    redis.cli(&["DEL", &base]);
    redis.cli(&["LPUSH", &base, "not a string"]);
    assert_eq!(plain(&store).await, "Miss");
    assert_eq!(store.counters.corrupt.get(), 4);
    put(&store, response("Ada")).await;
    assert_eq!(plain(&store).await, "Ada");
}

#[tokio::test]
async fn a_flushed_redis_is_merely_empty() {
    let redis = TestRedis::started();
    let store = connected(&redis).await;
    put(&store, response("Ada")).await;
    redis.cli(&["FLUSHALL"]);
    assert_eq!(plain(&store).await, "Miss");
    assert!(store.is_connected());
}

#[tokio::test]
async fn a_redis_that_refuses_writes_is_counted() {
    let redis = TestRedis::started();
    let store = connected(&redis).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    put(&store, response("Ada")).await;
    assert_eq!(store.counters.stores_failed.get(), 1);
    assert_eq!(store.counters.stores.get(), 0);
    assert_eq!(store.counters.stores_refused.get(), 1);
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    put(&store, response("Ada")).await;
    assert_eq!(store.counters.stores_refused.get(), 0);
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise
}

#[tokio::test]
async fn a_large_record_is_read_whole_over_a_way_of_its_own() {
    let redis = TestRedis::started();
    let store = connected(&redis).await;
    within(store.lookups.large_connected()).await;
    let request = fields(&[("accept-language", "de")]);
    let body = noise(3 << 20);
    put(&store, response(body.clone())).await;
    let none = HeaderMap::new();
    assert_eq!(found(&store, &none, None).await.response.body, body);

    let german = varying(body.clone(), "Accept-Language", &request);
    let names = german.head.vary.clone();
    put(&store, german).await;
    for guess in [None, Some(&names)] {
        assert_eq!(found(&store, &request, guess).await.response.body, body);
    }
}

#[tokio::test]
async fn what_is_larger_than_a_record_may_be_is_not_read() {
    let redis = TestRedis::started();
    let store = connected(&redis).await;
    let base = store.keys.base(&KEY);
    put(&store, response(noise(64 << 10))).await;
    // It says that it is larger than anything that is stored here.
    redis.cli(&["SETRANGE", &base, "20", "zz"]);
    assert_eq!(plain(&store).await, "Miss");
    // It says that it is small, and is not.
    put(&store, response(noise(64 << 10))).await;
    redis.cli(&["SETRANGE", &base, "10000000", "!"]);
    assert_eq!(plain(&store).await, "Miss");
    assert_eq!(store.counters.corrupt.get(), 2);
    let largest = record::bytes_max(BODY_BYTES_MAX);
    let read = store.lookups.read_large(&base, largest, largest).await;
    assert_eq!(
        read.unwrap().len(),
        largest + 1,
        "no more than it takes to see"
    );
}

#[tokio::test]
async fn a_record_tells_how_long_it_has_been_stored() {
    let redis = TestRedis::started();
    let store = connected(&redis).await;
    let young = Arc::new(response("young"));
    let kept_for = young.head.kept_for();
    store.store(KEY, Arc::clone(&young), kept_for);
    within(store.flushed()).await;
    let base = store.keys.base(&KEY);
    let none = HeaderMap::new();
    let stored_for = async || found(&store, &none, None).await.stored_for;
    assert!(stored_for().await < Duration::from_secs(20));
    let left = (kept_for - Duration::from_secs(40)).as_secs().to_string();
    redis.cli(&["EXPIRE", &base, &left]);
    let aged = stored_for().await;
    assert!(aged >= Duration::from_secs(40) && aged < Duration::from_secs(60));
    // Without an end, its time to live says nothing.
    let ttl_max = TTL_MAX.as_secs().to_string();
    redis.cli(&["EXPIRE", &base, &ttl_max]);
    assert_eq!(stored_for().await, Duration::ZERO, "nobody knows");
}

#[tokio::test]
async fn a_hold_is_asked_for_once_and_may_be_taken_over() {
    let redis = TestRedis::started();
    let (left, right) = (connected(&redis).await, connected(&redis).await);
    let none = HeaderMap::new();
    let began = |sequence| LogPosition {
        incarnation: 1,
        millis: 2,
        sequence,
    };
    let holder = |sequence, takes_over| Holder {
        began: began(sequence),
        takes_over,
    };
    let (mine, found) = left
        .hold(&KEY, &none, None, &holder(1, false), &mut left.budget())
        .await;
    assert!(matches!((&mine, found), (Asked::Ours(_), Lookup::Miss)));
    let (theirs, _) = right
        .hold(&KEY, &none, None, &holder(2, false), &mut right.budget())
        .await;
    assert!(matches!(theirs, Asked::Theirs(Some(at)) if at == began(1)));
    let (taken, _) = right
        .hold(&KEY, &none, None, &holder(2, true), &mut right.budget())
        .await;
    assert!(matches!(taken, Asked::Ours(_)));

    let name = left.keys.hold(&CacheKey([8; 32]));
    redis.cli(&["LPUSH", &name, "no hold"]);
    let (foreign, _) = left
        .hold(
            &CacheKey([8; 32]),
            &none,
            None,
            &holder(1, false),
            &mut left.budget(),
        )
        .await;
    assert!(matches!(foreign, Asked::Foreign));
}

#[tokio::test]
async fn one_budget_is_for_all_questions_of_a_request() {
    let redis = TestRedis::on_tcp();
    let config = RedisConfig {
        lookup_timeout: Duration::from_millis(50),
        ..redis.config()
    };
    let store = start(&config);
    within(store.lookups.link.connected()).await;
    redis.stop();
    let mut budget = store.budget();
    let none = HeaderMap::new();
    let looked = store.lookup(&KEY, &none, None, &mut budget).await;
    assert!(matches!(looked, Lookup::Unavailable));
    let holder = Holder {
        began: LogPosition::default(),
        takes_over: false,
    };
    let (asked, _) = store.hold(&KEY, &none, None, &holder, &mut budget).await;
    assert!(matches!(asked, Asked::Unavailable));
    assert_eq!(store.counters.timeouts.get(), 1, "nothing was left to wait");
    redis.cont();
}

#[tokio::test]
async fn clearing_frees_the_records_of_the_namespace_and_no_others() {
    let redis = TestRedis::started();
    let store = connected(&redis).await;
    for key in 0..100 {
        store.store(CacheKey([key; 32]), Arc::new(response("x")), TTL);
    }
    within(store.flushed()).await;
    // Of the namespace that is this one's with `:r` after it.
    let longer = store
        .keys
        .base(&CacheKey([0; 32]))
        .replacen(":r:", ":r:r:", 1);
    redis.cli(&["SET", &longer, "stays"]);
    redis.cli(&["SET", "other:r:{1}", "stays"]);
    store.clear();
    within(async {
        while redis.cli(&["DBSIZE"]) != "2" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(redis.cli(&["GET", "other:r:{1}"]), "stays");
    assert_eq!(redis.cli(&["GET", &longer]), "stays");
}

#[tokio::test]
async fn a_user_who_may_only_touch_the_namespace_is_enough() {
    let redis = TestRedis::started();
    let rights = ["+getrange", "+pttl", "+set", "+pexpire", "+scan", "+unlink"];
    let user = ["ACL", "SETUSER", "app", "on", ">s3cret", "~shop:*"];
    redis.cli(&[&user[..], &rights].concat());
    let store = start(&redis.config_as("app", "s3cret"));
    within(store.lookups.link.connected()).await;
    let request = fields(&[("accept-language", "de")]);
    put(&store, varying("hallo", "Accept-Language", &request)).await;
    assert_eq!(body(&store, &request, None).await, "hallo");
}

#[tokio::test]
async fn lookups_may_come_from_a_runtime_other_than_the_connections() {
    let redis = TestRedis::started();
    let store = Arc::new(connected(&redis).await);
    put(&store, response("Ada")).await;
    let there = Arc::clone(&store);
    let found = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async { plain(&there).await })
    });
    let found = tokio::task::spawn_blocking(|| found.join().unwrap());
    assert_eq!(within(found).await.unwrap(), "Ada");
}

#[tokio::test]
async fn a_cluster_stores_finds_and_clears() {
    let cluster = TestCluster::started().await;
    let store = start(&cluster.config());
    within(store.lookups.link.connected()).await;
    let request = fields(&[("accept-language", "de")]);
    for key in 0..50 {
        let hallo = varying("hallo", "Accept-Language", &request);
        store.store(CacheKey([key; 32]), Arc::new(hallo), TTL);
    }
    within(store.flushed()).await;
    assert_eq!(store.counters.stores.get(), 50);
    let names = varying("", "Accept-Language", &request).head.vary;
    for key in 0..50 {
        for guess in [None, Some(&names)] {
            let key = CacheKey([key; 32]);
            let found = store
                .lookup(&key, &request, guess, &mut store.budget())
                .await;
            assert!(matches!(found, Lookup::Hit(_)), "{found:?}");
        }
    }
    store.clear();
    within(async {
        while cluster
            .nodes
            .iter()
            .any(|node| node.cli(&["DBSIZE"]) != "0")
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
