//! What an instance takes from Redis, and what it does not believe of it.

use std::time::Instant;

use super::support::origin::{self, Origin};
use super::support::proxy::{self, Proxy};
use super::support::redis::{self, Redis};
use super::support::{Gate, Hit, Miss, Revalidated, Stale, eventually, ok};

/// Stores `path` in both tiers; gives the name of its record in Redis.
async fn store(proxy: &Proxy, redis: &Redis, path: &str) -> String {
    let before = redis.strings().await;
    proxy.get(path).await.was(Miss);
    eventually("the response to be written to Redis", async || {
        let mut records = redis.strings().await;
        records.retain(|name| !before.contains(name));
        records.pop()
    })
    .await
}

async fn redis_figure(proxy: &Proxy, figure: &str) -> u64 {
    let stats = proxy.admin_get("/cache/stats").await.json();
    stats["redis"][figure].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn a_stale_record_is_no_answer_to_its_own_validation() {
    let redis = redis::start().await;
    let origin = origin::new().get("/x", ok("1").max_age(1)).run().await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .route("/x", |route| route.stale_while_revalidate("60s"))
        .run()
        .await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/x").await;
    origin.now_answers("/x", ok("2").max_age(1));
    eventually("the stale response to be renewed", async || {
        (proxy.get("/x").await.text() == "2").then_some(())
    })
    .await;
    assert!(origin.was_asked("/x").count() >= 2);
}

#[tokio::test]
async fn what_is_found_stale_in_redis_is_renewed_by_the_origin() {
    let redis = redis::start().await;
    let origin = origin::new().get("/x", ok("1").max_age(1)).run().await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .route("/x", |route| route.stale_while_revalidate("60s"))
        .run()
        .await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/x").await;
    origin.now_answers("/x", ok("2").max_age(60));
    eventually("the record to be stale", async || {
        proxy.clear("memory").await;
        (proxy.get("/x").await.cache() != "HIT").then_some(())
    })
    .await;
    eventually("the stale response to be renewed", async || {
        (proxy.get("/x").await.text() == "2").then_some(())
    })
    .await;
    proxy.get("/x").await.is("2").was(Hit);
    origin.was_asked("/x").times(2);
}

#[tokio::test]
async fn a_soft_purge_asks_the_origin_once() {
    let redis = redis::start().await;
    let origin = origin::new().get("/x", ok("old").max_age(600)).run().await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .route("/x", |route| route.stale_while_revalidate("60s"))
        .run()
        .await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/x").await;
    origin.now_answers("/x", ok("new").max_age(600));
    proxy.purge("url=/x&soft=true").await;
    proxy.get("/x").await.is("old").was(Stale);
    eventually("the response to be renewed", async || {
        (proxy.get("/x").await.text() == "new").then_some(())
    })
    .await;
    proxy.get("/x").await.is("new").was(Hit);
    origin.was_asked("/x").times(2);
}

#[tokio::test]
async fn a_record_under_another_s_key_is_a_miss_and_counted() {
    let redis = redis::start().await;
    let origin = origin::new()
        .otherwise(origin_that_names_what_is_asked())
        .run()
        .await;
    let proxy = proxy::new(&origin).redis(&redis).run().await;
    proxy.reaches_redis().await;
    let mine = store(&proxy, &redis, "/mine").await;
    let misplaced = [
        store(&proxy, &redis, "/theirs").await,
        store(&proxy, &redis, "/mine?page=2").await,
    ];
    for (number, other) in misplaced.iter().enumerate() {
        proxy.clear("memory").await;
        redis
            .command::<i64>(&["COPY", other, &mine, "REPLACE"])
            .await;
        proxy.get("/mine").await.is("/mine").was(Miss);
        assert_eq!(redis_figure(&proxy, "corrupt").await, number as u64 + 1);
    }
    assert_eq!(redis_figure(&proxy, "hits").await, 0);
}

fn origin_that_names_what_is_asked() -> super::support::reply::Script {
    super::support::by(|request| ok(request.target().to_owned()).max_age(600))
}

#[tokio::test]
async fn a_cookie_in_a_record_is_for_nobody_else() {
    let redis = redis::start().await;
    let origin = origin::new()
        .get("/x", ok("page").max_age(600).header("Set-Cookie", "sid=1"))
        .run()
        .await;
    let lax = proxy::new(&origin)
        .redis(&redis)
        .route("/x", |route| route.set("set_cookie", "\"origin\""))
        .run()
        .await;
    let strict = proxy::new(&origin)
        .redis(&redis)
        .route("/x", |route| route.set("set_cookie", "\"strip\""))
        .run()
        .await;
    lax.reaches_redis().await;
    strict.reaches_redis().await;
    let theirs = store(&lax, &redis, "/x").await;
    let ours = store(&strict, &redis, "/x").await;
    // As if it had been written under the other rules.
    redis
        .command::<i64>(&["COPY", &theirs, &ours, "REPLACE"])
        .await;
    strict.clear("memory").await;
    let hit = strict.get("/x").await;
    hit.is("page").was(Hit).lacks("set-cookie");
}

#[tokio::test]
async fn a_record_is_no_younger_than_redis_tells() {
    let redis = redis::start().await;
    let origin = origin::new().get("/x", ok("x").max_age(600)).run().await;
    let proxy = proxy::new(&origin).redis(&redis).run().await;
    proxy.reaches_redis().await;
    let record = store(&proxy, &redis, "/x").await;
    // As if it had been there for long, whatever its date says: the clock of
    // the instance that stored it is ahead.
    redis.command::<i64>(&["EXPIRE", &record, "60"]).await;
    for _ in 0..2 {
        proxy.clear("memory").await;
        let hit = proxy.get("/x").await;
        let age: u64 = hit.is("x").was(Hit).header("age").parse().unwrap();
        assert!(age >= 540, "{age}");
    }
}

#[tokio::test]
async fn a_hit_in_redis_is_one_that_answered_somebody() {
    let redis = redis::start().await;
    let origin = origin::new()
        .get("/x", ok("x").max_age(0).etag("v1"))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .route("/x", |route| route.name("x"))
        .run()
        .await;
    proxy.reaches_redis().await;
    store(&proxy, &redis, "/x").await;
    proxy.clear("memory").await;
    let sets = proxy.route_figure("x", "sets").await;
    // It is asked about, and confirmed by the origin.
    proxy.get("/x").await.is("x").was(Revalidated);
    assert_eq!(redis_figure(&proxy, "hits").await, 0);
    assert_eq!(redis_figure(&proxy, "misses").await, 2);
    assert_eq!(proxy.route_figure("x", "sets").await, sets + 1);
}

#[tokio::test]
async fn a_redis_that_refuses_every_store_is_told_of_once() {
    let redis = redis::start().await;
    let origin = origin::new().otherwise(ok("page").max_age(600)).run().await;
    let proxy = proxy::new(&origin).redis(&redis).run().await;
    proxy.reaches_redis().await;
    redis
        .command::<()>(&["CONFIG", "SET", "maxmemory", "1"])
        .await;
    for path in ["/a", "/b", "/c"] {
        let failed = redis_figure(&proxy, "stores_failed").await;
        proxy.get(path).await.was(Miss);
        eventually("the store to be refused", async || {
            (redis_figure(&proxy, "stores_failed").await > failed).then_some(())
        })
        .await;
    }
    assert_eq!(proxy.metric("pannier_redis_stores_refused").await, 1.0);
    let told = proxy.log().matches("Redis refuses to store").count();
    assert_eq!(told, 1);
    let health = proxy.admin_get("/health").await.text();
    assert!(health.contains("maxmemory"), "{health}");

    redis
        .command::<()>(&["CONFIG", "SET", "maxmemory", "0"])
        .await;
    store(&proxy, &redis, "/d").await;
    assert_eq!(proxy.metric("pannier_redis_stores_refused").await, 0.0);
}

#[tokio::test]
async fn a_read_after_a_write_does_not_wait_for_a_fetch_begun_before_it() {
    let redis = redis::start().await;
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("old").max_age(600).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .redis_key("collapse = true");
    let (left, right) = (proxy.clone().run().await, proxy.run().await);
    left.reaches_redis().await;
    right.reaches_redis().await;
    let doomed = tokio::spawn(left.get("/x").into_future());
    gate.reached_by(1).await;

    origin.now_answers("/x", ok("new").max_age(600));
    right.put("/x", "new").await.is_success();
    let asked = Instant::now();
    right.get("/x").await.is("new").was(Miss);
    // Its holder is held at the origin: nothing else ends the wait.
    assert!(asked.elapsed().as_secs() < 5, "{:?}", asked.elapsed());
    gate.open();
    doomed.await.unwrap().is("old");
    right.get("/x").await.is("new").was(Hit);
}

#[tokio::test]
async fn a_foreign_value_in_the_place_of_a_hold_is_replaced() {
    let redis = redis::start().await;
    let origin = origin::new().get("/x", ok("x").max_age(600)).run().await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .redis_key("collapse = true")
        .run()
        .await;
    proxy.reaches_redis().await;
    let record = store(&proxy, &redis, "/x").await;
    let record = record.trim_end_matches(":hold");
    proxy.clear("all").await;
    let hold = format!("{record}:hold");
    eventually("a list in the place of the hold", async || {
        redis.command::<i64>(&["DEL", record, &hold]).await;
        let length: i64 = redis.command(&["LPUSH", &hold, "x"]).await;
        (length == 1).then_some(())
    })
    .await;
    let asked = Instant::now();
    proxy.get("/x").await.is("x").was(Miss);
    assert!(asked.elapsed().as_secs() < 5, "{:?}", asked.elapsed());
}

/// A proxy that has lost its log, for longer than what it may tell.
async fn out_of_touch(origin: &Origin) -> Proxy {
    let mut redis = redis::start().await;
    let proxy = proxy::new(origin)
        .redis(&redis)
        .toml("[coherence]\nunsynced_age_max = \"2s\"")
        // Nobody who joined a flight gives it up while a test looks.
        .toml("[coalescing]\nwait_timeout = \"1m\"")
        .run()
        .await;
    proxy.reaches_redis().await;
    redis.kill().await;
    eventually("the log to be out of reach", async || {
        let in_touch = proxy.metric("pannier_invalidation_in_touch").await;
        (in_touch == 0.0).then_some(())
    })
    .await;
    proxy
}

#[tokio::test]
async fn out_of_touch_an_old_flight_is_not_joined() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("old").max_age(600).held_by(&gate))
        .run()
        .await;
    let proxy = out_of_touch(&origin).await;
    let first = tokio::spawn(proxy.get("/x").into_future());
    gate.reached_by(1).await;
    origin.now_answers("/x", ok("new").max_age(600));
    // Another instance has answered a write by now: nothing is known of it.
    let mut joined = Vec::new();
    eventually("a request that does not join the old flight", async || {
        joined.push(tokio::spawn(proxy.get("/x").into_future()));
        (origin.was_asked("/x").count() == 2).then_some(())
    })
    .await;
    proxy.get("/x").await.is("new");
    gate.open();
    first.await.unwrap().is("old");
    for request in joined {
        request.await.unwrap().status(200);
    }
}

#[tokio::test]
async fn out_of_touch_what_took_long_to_fetch_is_as_old_as_its_question() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("old").max_age(600).held_by(&gate))
        .run()
        .await;
    let proxy = out_of_touch(&origin).await;
    let first = tokio::spawn(proxy.get("/x").into_future());
    gate.reached_by(1).await;
    origin.now_answers("/y", ok("y").max_age(600));
    proxy.get("/y").await.was(Miss);
    eventually("two seconds to pass", async || {
        (proxy.get("/y").await.cache() != "HIT").then_some(())
    })
    .await;
    origin.now_answers("/x", ok("new").max_age(600));
    gate.open();
    first.await.unwrap().is("old");
    proxy.get("/x").await.is("new").was(Miss);
}
