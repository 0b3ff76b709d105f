//! Instances that share a namespace: who is there, what they acknowledge, and
//! what strict mode promises.

use std::time::Instant;

use super::support::origin::{self, Origin};
use super::support::proxy::{self, Proxy};
use super::support::redis;
use super::support::{Gate, Hit, Miss, eventually, ok};

const STRICT: &str = "[coherence]\nmode = \"strict\"\nlease = \"500ms\"";

async fn pages() -> Origin {
    origin::new().otherwise(ok("page").max_age(600)).run().await
}

/// Waits until everyone follows the log.
async fn together(proxies: &[Proxy]) {
    for proxy in proxies {
        proxy.reaches_redis().await;
    }
}

/// The instances that `/fleet` lists, where it does.
async fn heard_of(proxy: &Proxy) -> Option<Vec<serde_json::Value>> {
    let answer = proxy.admin_get("/fleet").await;
    let fleet = answer.status.is_success().then(|| answer.json())?;
    fleet["instances"].as_array().cloned()
}

#[tokio::test]
async fn the_fleet_is_who_is_there() {
    let mut redis = redis::start().await;
    let origin = pages().await;
    let killed: [Proxy; 2] = proxy::cluster(&origin).redis(&redis).run().await;
    together(&killed).await;
    eventually("both to be heard of", async || {
        (heard_of(&killed[0]).await?.len() == 2).then_some(())
    })
    .await;
    drop(killed);
    let [left, right] = proxy::cluster(&origin).redis(&redis).run().await;
    let fleet = eventually(
        "both to be heard of, and the others to be missed",
        async || {
            let answer = left.admin_get("/fleet").await;
            let fleet = answer.status.is_success().then(|| answer.json())?;
            let there = fleet["instances"].as_array()?;
            let missing = fleet["missing"].as_array()?;
            (there.len() == 2 && missing.len() == 2).then(|| there.clone())
        },
    )
    .await;
    let health = left.admin_get("/fleet/health").await;
    health.status(503);
    assert_eq!(health.json()["missing"].as_array().map(Vec::len), Some(2));
    assert_eq!(fleet[0]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(left.metric("pannier_fleet_instances").await, 2.0);

    right.term().await;
    assert_eq!(right.exit().await, Some(0));
    assert_eq!(heard_of(&left).await.map(|fleet| fleet.len()), Some(1));

    redis.kill().await;
    left.misses_redis().await;
    eventually("the fleet to be unknown", async || {
        let answer = left.admin_get("/fleet").await;
        (answer.status == 503).then_some(())
    })
    .await;
    left.admin_get("/fleet/health").await.status(503);
}

#[tokio::test]
async fn a_fleet_is_well_as_soon_as_its_instances_are_in_touch() {
    let origin = pages().await;
    let proxies: [Proxy; 2] = proxy::cluster(&origin).run().await;
    together(&proxies).await;
    let began = Instant::now();
    for proxy in &proxies {
        eventually("a fleet that is well", async || {
            let health = proxy.admin_get("/fleet/health").await;
            let is_whole = health.json()["instances"] == 2;
            (health.status == 200 && is_whole).then_some(())
        })
        .await;
    }
    let took = began.elapsed();
    assert!(
        took.as_secs() < 3,
        "not before the next heartbeat: {took:?}"
    );
}

#[tokio::test]
async fn instances_that_promise_different_things_are_told_of() {
    let redis = redis::start().await;
    let origin = pages().await;
    let eventual = proxy::new(&origin).redis(&redis);
    let strict = eventual.clone().toml(STRICT).run().await;
    let eventual = eventual.run().await;
    for proxy in [&strict, &eventual] {
        proxy.logs("instances of one fleet differ").await;
        let health = proxy.admin_get("/fleet/health").await;
        health.status(503);
        let modes = health.json()["mixed_modes"].clone();
        assert_eq!(modes, serde_json::json!(["eventual", "strict 500ms"]));
    }
}

#[tokio::test]
async fn an_instance_without_redis_is_a_fleet_of_its_own() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    let fleet = proxy.admin_get("/fleet").await.json();
    assert_eq!(fleet["instances"][0]["id"], fleet["instance"]);
    let health = proxy.admin_get("/fleet/health").await;
    health.status(200);
    assert_eq!(health.json()["status"], "alone");
}

#[tokio::test]
async fn a_wait_names_who_has_acknowledged_and_who_has_not() {
    let origin = pages().await;
    let proxies: [Proxy; 2] = proxy::cluster(&origin).run().await;
    together(&proxies).await;
    let [left, right] = proxies;
    let said = left.purge("pattern=/a&wait=10s").await.json();
    assert_eq!(said["acknowledged"].as_array().map(Vec::len), Some(2));
    assert_eq!(said["missing"].as_array().map(Vec::len), Some(0));

    right.stop().await;
    let said = left.purge("pattern=/a&wait=100ms").await.json();
    assert_eq!(said["acknowledged"].as_array().map(Vec::len), Some(1));
    assert_eq!(said["missing"].as_array().map(Vec::len), Some(1));
    right.resume().await;
    let said = left.purge("pattern=/a&wait=10s").await.json();
    assert_eq!(said["missing"].as_array().map(Vec::len), Some(0));
}

#[tokio::test]
async fn in_strict_mode_nobody_answers_with_what_was_before_an_answered_write() {
    let origin = origin::new().get("/x", ok("0").max_age(600)).run().await;
    let proxies: [Proxy; 2] = proxy::cluster(&origin).toml(STRICT).run().await;
    together(&proxies).await;
    let [left, right] = proxies;
    for version in 1..20 {
        let text = version.to_string();
        right.get("/x").await.status(200);
        origin.now_answers("/x", ok(text.clone()).max_age(600));
        left.put("/x", "next").await.is_success();
        right.get("/x").await.is(&text);
        right.get("/x").await.is(&text).was(Hit);
    }
}

#[tokio::test]
async fn in_strict_mode_a_write_waits_for_the_lease_of_one_that_hangs() {
    let origin = origin::new().get("/x", ok("old").max_age(600)).run().await;
    let proxies: [Proxy; 2] = proxy::cluster(&origin).toml(STRICT).run().await;
    together(&proxies).await;
    let [left, right] = proxies;
    right.get("/x").await.is("old").was(Miss);
    right.get("/x").await.is("old").was(Hit);
    right.stop().await;
    origin.now_answers("/x", ok("new").max_age(600));
    let asked = Instant::now();
    left.put("/x", "new").await.is_success();
    let took = asked.elapsed();
    right.resume().await;
    right.get("/x").await.is("new");
    // A third of the lease may have passed when the instance was stopped.
    assert!(took.as_millis() >= 100 && took.as_secs() < 10, "{took:?}");
}

#[tokio::test]
async fn in_strict_mode_nothing_is_reused_and_nothing_written_without_the_log() {
    let mut redis = redis::start().await;
    let origin = origin::new().otherwise(ok("page").max_age(600)).run().await;
    let proxies: [Proxy; 1] = proxy::cluster(&origin)
        .redis(&redis)
        .toml(STRICT)
        .run()
        .await;
    together(&proxies).await;
    let [proxy] = proxies;
    proxy.get("/a").await.was(Miss);
    proxy.get("/a").await.was(Hit);
    redis.kill().await;
    eventually("the lease to run out", async || {
        (proxy.get("/a").await.cache() == "MISS").then_some(())
    })
    .await;
    proxy.get("/a").await.is("page").was(Miss);
    proxy.put("/a", "x").await.is_problem(503);
    origin.was_sent("PUT", "/a").times(0);

    redis.restart().await;
    eventually("a write to be made again", async || {
        let answer = proxy.put("/a", "x").await;
        answer.status.is_success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_was_just_invalidated_settles_before_it_is_stored() {
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .toml("[invalidation]\nsettle = \"1h\"")
        .run()
        .await;
    proxy.get("/a").await.was(Miss);
    proxy.get("/a").await.was(Hit);
    proxy.put("/a", "x").await.is_success();
    proxy.get("/a").await.is("page").was(Miss);
    proxy.get("/a").await.is("page").was(Miss);
    proxy.get("/b").await.was(Miss);
    proxy.get("/b").await.was(Hit);
}

#[tokio::test]
async fn instances_that_collapse_fetch_a_cold_key_once() {
    let redis = redis::start().await;
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("x").max_age(600).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .redis_key("collapse = true");
    let (left, right) = (proxy.clone().run().await, proxy.run().await);
    left.reaches_redis().await;
    right.reaches_redis().await;
    let first = tokio::spawn(left.get("/x").into_future());
    gate.reached_by(1).await;
    let second = tokio::spawn(right.get("/x").into_future());
    gate.open();
    first.await.unwrap().is("x").was(Miss);
    second.await.unwrap().is("x").was(Hit);
    origin.was_asked("/x").times(1);
}

#[tokio::test]
async fn a_holder_that_dies_is_replaced() {
    let redis = redis::start().await;
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("x").max_age(600).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .redis(&redis)
        .redis_key("collapse = true");
    let (left, right) = (proxy.clone().run().await, proxy.run().await);
    left.reaches_redis().await;
    right.reaches_redis().await;
    let first = left.get("/x").open();
    let first = tokio::spawn(async move {
        // The holder dies: there is no answer.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(5), first).await;
    });
    gate.reached_by(1).await;
    drop(left);
    let second = tokio::spawn(right.get("/x").into_future());
    gate.reached_by(2).await;
    gate.open();
    second.await.unwrap().is("x").was(Miss);
    first.abort();
}
