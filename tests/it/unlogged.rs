//! What writes cost the others: how the log stays small, and what is not in it.

use super::support::origin::{self, Origin};
use super::support::proxy::{self, Builder};
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
