//! What writes cost the others: how the log stays small, and what is not in it.

use std::time::{Duration, Instant};

use super::support::origin::{self, Origin};
use super::support::proxy::{self, Builder, Proxy};
use super::support::redis::{self, Redis};
use super::support::{Hit, Miss, eventually, ok};

const BOUND: usize = 200;

async fn pages() -> Origin {
    origin::new().otherwise(ok("page").max_age(600)).run().await
}

fn shop(origin: &Origin, redis: &Redis) -> Builder {
    proxy::new(origin)
        .redis(redis)
        .toml(&format!("[coherence]\nbans_max = {BOUND}"))
        .route("/kept/**", |route| route.ttl("10m"))
        .route("/busy/**", |route| route.ttl("10m"))
}

/// What a fresh instance answers after `count` writes to so many resources.
async fn a_fresh_instance_after(count: usize, resources: usize) {
    let redis = redis::start().await;
    let origin = pages().await;
    let writer = shop(&origin, &redis).run().await;
    writer.reaches_redis().await;
    writer.get("/busy/7").await.was(Miss);
    writer.get("/kept/7").await.was(Miss);
    eventually("the responses to be written to Redis", async || {
        (redis.strings().await.len() >= 2).then_some(())
    })
    .await;
    for number in 0..count {
        let path = format!("/busy/{}", number % resources);
        writer.put(&path, "x").await.is_success();
    }
    let entries: usize = redis.command(&["XLEN", "{test}:log"]).await;
    assert!(entries < BOUND * 2, "the log is bounded: {entries}");
    assert!(count > BOUND * 2, "and was trimmed");
    let fresh = shop(&origin, &redis).run().await;
    fresh.reaches_redis().await;
    fresh.get("/kept/7").await.is("page").was(Hit);
    fresh.get("/busy/7").await.is("page").was(Miss);
}

#[tokio::test]
async fn many_writes_to_some_resources_leave_other_records_to_a_fresh_instance() {
    a_fresh_instance_after(600, 40).await;
}

#[tokio::test]
async fn writes_to_more_resources_than_the_bound_leave_other_records_to_a_fresh_instance() {
    a_fresh_instance_after(600, 600).await;
}

const STRICT: &str = "[coherence]\nmode = \"strict\"\nlease = \"500ms\"";

async fn entries_in_log(redis: &Redis) -> usize {
    redis.command(&["XLEN", "{test}:log"]).await
}

async fn unlogged(proxy: &Proxy) -> f64 {
    proxy.metric("pannier_invalidation_unlogged_total").await
}

/// Writes that no route could have stored anything for are in no log.
async fn spares_the_log(mode: &str) {
    let redis = redis::start().await;
    let origin = pages().await;
    let shop = proxy::new(&origin)
        .redis(&redis)
        .toml(mode)
        .route("/a/{id}", |route| route.ttl("10m"));
    let (left, right) = (shop.clone().run().await, shop.run().await);
    left.reaches_redis().await;
    right.reaches_redis().await;
    eventually("a write that is not logged", async || {
        left.post("/track", "x").await.is_success();
        (unlogged(&left).await > 0.0).then_some(())
    })
    .await;
    right.get("/a/1").await.was(Miss);
    right.get("/a/1").await.was(Hit);
    let before = entries_in_log(&redis).await;
    for number in 0..20 {
        left.post("/track", "x").await.is_success();
        left.put(&format!("/a/{number}/part"), "x")
            .await
            .is_success();
    }
    let logged = entries_in_log(&redis).await - before;
    assert_eq!(logged, 20, "a parent may be stored, a beacon is not");
    left.put("/a/1", "x").await.is_success();
    right.follows(&left).await;
    right.get("/a/1").await.was(Miss);
    let before = entries_in_log(&redis).await;
    left.purge("tag=any").await;
    left.purge("url=/track").await;
    assert_eq!(
        entries_in_log(&redis).await - before,
        2,
        "operators are heeded"
    );
}

#[tokio::test]
async fn a_write_that_no_route_could_have_stored_anything_for_is_not_logged() {
    spares_the_log("").await;
}

#[tokio::test]
async fn in_strict_mode_such_a_write_is_not_logged_either() {
    spares_the_log(STRICT).await;
}

#[tokio::test]
async fn in_strict_mode_such_a_write_is_made_without_redis() {
    let mut redis = redis::start().await;
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .toml(STRICT)
        .route("/a/{id}", |route| route.ttl("10m"))
        .run()
        .await;
    proxy.reaches_redis().await;
    eventually("a write that is not logged", async || {
        proxy.post("/track", "x").await.is_success();
        (unlogged(&proxy).await > 0.0).then_some(())
    })
    .await;
    redis.kill().await;
    eventually("writes on a route to be refused", async || {
        (proxy.put("/a/1", "x").await.status == 503).then_some(())
    })
    .await;
    proxy.post("/track", "x").await.is_success();
    proxy.put("/a/1/part", "x").await.status(503);
}

#[tokio::test]
async fn in_strict_mode_such_a_write_is_logged_until_the_log_has_stood_for_a_lease() {
    let redis = redis::start().await;
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .toml("[coherence]\nmode = \"strict\"\nlease = \"1s\"")
        .route("/a/{id}", |route| route.ttl("10m"))
        .run()
        .await;
    proxy.reaches_redis().await;
    let is_left_out = async |before: f64, path: &str| {
        proxy.post(path, "x").await.is_success();
        (unlogged(&proxy).await > before).then_some(())
    };
    eventually("a write that is not logged", async || {
        is_left_out(0.0, "/track").await
    })
    .await;
    let flushed = Instant::now();
    redis.flush().await;
    eventually("the new log to be followed", async || {
        let entered = proxy.metric("pannier_invalidation_gaps_total").await;
        (entered >= 2.0).then_some(())
    })
    .await;
    eventually("the fleet to be known again", async || {
        let fleet = proxy.admin_get("/fleet").await;
        fleet.text().contains("\"id\"").then_some(())
    })
    .await;
    let before = unlogged(&proxy).await;
    eventually("such a write again", async || {
        is_left_out(before, "/beacon").await
    })
    .await;
    let took = flushed.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn without_redis_such_a_write_bans_nothing() {
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .route("/a/{id}", |route| route.ttl("10m"))
        .run()
        .await;
    let bans = async || proxy.metric("pannier_invalidation_bans").await;
    proxy.post("/track", "x").await.is_success();
    assert_eq!(bans().await, 0.0);
    proxy.post("/a/1", "x").await.is_success();
    assert!(bans().await > 0.0);
}

#[tokio::test]
async fn a_route_is_used_once_nobody_can_leave_out_a_ban_on_it() {
    let redis = redis::start().await;
    let origin = pages().await;
    let shop = proxy::new(&origin)
        .redis(&redis)
        .route("/a/{id}", |route| route.ttl("10m"));
    let wider = shop.clone().route("/b/{id}", |route| route.ttl("10m"));
    let (left, right) = (shop.clone().run().await, shop.run().await);
    left.reaches_redis().await;
    right.reaches_redis().await;
    eventually("a write that is not logged", async || {
        left.put("/b/1", "x").await.is_success();
        (unlogged(&left).await > 0.0).then_some(())
    })
    .await;
    left.stop().await;
    right.rewrite(&wider.text());
    right.hup().await;
    right.logs("the configuration was reloaded").await;
    let mut held = 0;
    eventually("the new route to be used", async || {
        let is_used = right.get("/b/1").await.cache() == "HIT";
        held += usize::from(!is_used);
        is_used.then_some(())
    })
    .await;
    assert!(
        held > 2,
        "not before the other cannot leave out a ban on it"
    );
    right.get("/a/1").await.was(Miss);
    right.get("/a/1").await.was(Hit);
    left.resume().await;
    left.put("/b/1", "x").await.is_success();
    right.follows(&left).await;
    right.get("/b/1").await.was(Miss);
}

#[tokio::test]
async fn an_instance_of_an_older_version_keeps_everything_in_the_log() {
    let redis = redis::start().await;
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .route("/a/{id}", |route| route.ttl("10m"))
        .run()
        .await;
    proxy.reaches_redis().await;
    eventually("a write that is not logged", async || {
        proxy.post("/track", "x").await.is_success();
        (unlogged(&proxy).await > 0.0).then_some(())
    })
    .await;
    let (now, _): (String, String) = redis.command(&["TIME"]).await;
    let older = format!(
        "{now} {{\"id\":\"older\",\"host\":\"h\",\"version\":\"0\",\"started_millis\":0,\
         \"position\":null,\"lag_millis\":null,\"is_in_touch\":true}}"
    );
    let _added: i64 = redis
        .command(&["HSET", "{test}:fleet", "older", &older])
        .await;
    proxy.admin_get("/fleet").await.is_success();
    let before = (unlogged(&proxy).await, entries_in_log(&redis).await);
    proxy.post("/track", "x").await.is_success();
    let after = (unlogged(&proxy).await, entries_in_log(&redis).await);
    assert_eq!(after, (before.0, before.1 + 1));
}
