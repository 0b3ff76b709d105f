//! Redis as second store, and Redis in trouble.

use super::support::origin::{self, Origin};
use super::support::proxy::{self, Proxy};
use super::support::redis::{self, Redis};
use super::support::{Hit, Miss, eventually, ok};

async fn pages() -> Origin {
    origin::new().otherwise(ok("page").max_age(600)).run().await
}

/// Stores `path` in both tiers, and waits until it is in Redis.
async fn store(proxy: &Proxy, redis: &Redis, path: &str) {
    let before = redis.strings().await.len();
    proxy.get(path).await.was(Miss);
    eventually("the response to be written to Redis", async || {
        (redis.strings().await.len() > before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_response_refilled_from_redis_lives_only_the_rest_of_its_life() {
    let redis = redis::start().await;
    let origin = origin::new()
        .get("/x", ok("x").max_age(600).header("Age", "100"))
        .run()
        .await;
    let proxy = proxy::new(&origin).redis(&redis).run().await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/x").await;

    proxy.clear("memory").await;
    let hit = proxy.get("/x").await;
    hit.is("x").was(Hit).has("cache-control", "max-age=600");
    let age: u64 = hit.header("age").parse().unwrap();
    assert!(age >= 100, "{hit}");
    origin.was_asked("/x").times(1);

    for key in redis.strings().await {
        let left: i64 = redis.command(&["TTL", &key]).await;
        assert!(left > 0, "{key} would stay for ever");
    }
    proxy.clear("all").await;
    proxy.get("/x").await.was(Miss);
}

#[tokio::test]
async fn a_proxy_without_its_redis_starts_and_finds_it_later() {
    let mut redis = redis::not_started();
    let origin = pages().await;
    let proxy = proxy::new(&origin).redis(&redis).run().await;
    proxy.get("/a").await.is("page").was(Miss);
    proxy.get("/a").await.is("page").was(Hit);

    redis.restart().await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/b").await;
    proxy.clear("memory").await;
    proxy.get("/b").await.was(Hit);
}

#[tokio::test]
async fn a_killed_redis_costs_nothing_but_its_hits() {
    let mut redis = redis::start().await;
    let origin = pages().await;
    let proxy = proxy::new(&origin).redis(&redis).run().await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/a").await;

    redis.kill().await;
    proxy.get("/a").await.is("page").was(Hit);
    proxy.get("/b").await.is("page").was(Miss);
    proxy.put("/b", "x").await.is_success();
    proxy.get("/b").await.was(Miss);
    proxy.misses_redis().await;

    redis.restart().await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/c").await;
    proxy.clear("memory").await;
    proxy.get("/c").await.was(Hit);
}

#[tokio::test]
async fn a_hung_redis_delays_no_request_beyond_its_time() {
    let redis = redis::start().await;
    let origin = pages().await;
    let proxy = proxy::new(&origin).redis_within(&redis, "50ms").run().await;
    proxy.reaches_redis().await;
    proxy.get("/a").await.was(Miss);

    redis.stop().await;
    proxy.get("/a").await.is("page").was(Hit);
    let asked = std::time::Instant::now();
    for number in 0..20 {
        let path = format!("/cold/{number}");
        proxy.get(&path).await.is("page").was(Miss);
    }
    // Twenty times the bound would be a second; the client's own library
    // would wait for minutes.
    assert!(asked.elapsed().as_secs() < 5, "{:?}", asked.elapsed());
    proxy.put("/a", "x").await.is_success();
    proxy.get("/a").await.was(Miss);

    redis.resume().await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/again").await;
    // The breaker lets one lookup through now and then, to see.
    eventually("a hit in a Redis that is back", async || {
        proxy.clear("memory").await;
        let answer = proxy.get("/again").await;
        (answer.header("x-cache") == "HIT").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_flushed_redis_makes_nothing_wrong() {
    let redis = redis::start().await;
    let origin = pages().await;
    let proxy = proxy::new(&origin).redis(&redis).run().await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/a").await;

    redis.flush().await;
    proxy.get("/a").await.is("page");
    origin.now_answers("/a", ok("new").max_age(600));
    proxy.put("/a", "new").await.is_success();
    proxy.get("/a").await.is("new").was(Miss);
    proxy.clear("memory").await;
    proxy.get("/a").await.is("new");
}

#[tokio::test]
async fn garbage_in_redis_is_a_miss() {
    let redis = redis::start().await;
    let origin = pages().await;
    let proxy = proxy::new(&origin).redis(&redis).run().await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/a").await;
    let keys = redis.strings().await;
    assert!(!keys.is_empty());

    for garbage in [
        "",
        "x",
        "\u{1}\u{0}\u{0}\u{0}garbage that is a little longer",
    ] {
        for key in &keys {
            redis.command::<()>(&["SET", key, garbage]).await;
        }
        proxy.clear("memory").await;
        proxy.get("/a").await.is("page").was(Miss);
        eventually("a record in the place of garbage", async || {
            let record: Vec<u8> = redis.command(&["GET", &keys[0]]).await;
            (record != garbage.as_bytes()).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_record_cut_short_is_a_miss() {
    let redis = redis::start().await;
    let origin = pages().await;
    let proxy = proxy::new(&origin).redis(&redis).run().await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/a").await;
    for key in redis.strings().await {
        // All but the last byte, in Redis' own words: values are not text.
        let script = "redis.call('SET', KEYS[1], redis.call('GETRANGE', KEYS[1], 0, -2))";
        redis.command::<()>(&["EVAL", script, "1", &key]).await;
    }
    proxy.clear("memory").await;
    proxy.get("/a").await.is("page").was(Miss);
}

#[tokio::test]
async fn instances_share_what_one_of_them_fetched() {
    let redis = redis::start().await;
    let origin = pages().await;
    let [left, right] = proxy::cluster(&origin).redis(&redis).run().await;
    left.reaches_redis().await;
    right.reaches_redis().await;
    store(&left, &redis, "/a").await;
    right.get("/a").await.is("page").was(Hit);
    origin.was_asked("/a").times(1);
}

#[tokio::test]
async fn a_write_is_seen_by_every_instance() {
    let origin = origin::new()
        .get("/users/7", ok("Ada").max_age(60))
        .run()
        .await;
    let [left, right] = proxy::cluster(&origin).run().await;
    left.reaches_redis().await;
    right.reaches_redis().await;

    right.get("/users/7").await.is("Ada").was(Miss);
    right.get("/users/7").await.is("Ada").was(Hit);

    origin.now_answers("/users/7", ok("Grace").max_age(60));
    left.put("/users/7", "Grace").await.is_success();
    right.follows(&left).await;

    right.get("/users/7").await.is("Grace").was(Miss);
    origin.was_asked("/users/7").times(2);
}

#[tokio::test]
async fn an_operator_s_invalidation_reaches_every_instance() {
    let origin = pages().await;
    let [left, right] = proxy::cluster(&origin)
        .route("/users/{id}", |route| route.name("users").ttl("60s"))
        .run()
        .await;
    left.reaches_redis().await;
    right.reaches_redis().await;
    right.get("/users/7").await.was(Miss);
    left.purge("route=users&wait=10s").await;
    right.get("/users/7").await.was(Miss);
}

#[tokio::test]
async fn a_write_while_redis_is_gone_reaches_the_others_afterwards() {
    let mut redis = redis::start().await;
    let origin = origin::new().get("/x", ok("old").max_age(600)).run().await;
    let [left, right] = proxy::cluster(&origin).redis(&redis).run().await;
    left.reaches_redis().await;
    right.reaches_redis().await;
    right.get("/x").await.is("old").was(Miss);

    redis.kill().await;
    origin.now_answers("/x", ok("new").max_age(600));
    left.put("/x", "new").await.is_success();
    left.get("/x").await.is("new").was(Miss);
    redis.restart().await;
    eventually("the other instance to see the write", async || {
        (right.get("/x").await.text() == "new").then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_kind_of_server_serves_as_shared_tier_and_as_log() {
    for mut redis in redis::each().await {
        let origin = origin::new().get("/x", ok("old").max_age(600)).run().await;
        let [left, right] = proxy::cluster(&origin)
            .redis(&redis)
            .toml("[coherence]\nmode = \"strict\"")
            .run()
            .await;
        left.reaches_redis().await;
        right.reaches_redis().await;
        store(&left, &redis, "/x").await;
        right.get("/x").await.is("old").was(Hit);
        origin.was_asked("/x").times(1);

        origin.now_answers("/x", ok("new").max_age(600));
        left.put("/x", "new").await.is_success();
        right.get("/x").await.is("new").was(Miss);
        left.purge("pattern=/**&wait=10s").await;

        redis.restart().await;
        eventually(
            "a write to be made with a server that is back",
            async || {
                let answer = left.put("/x", "new").await;
                answer.status.is_success().then_some(())
            },
        )
        .await;
        right.reaches_redis().await;
        right.get("/x").await.is("new");
    }
}
