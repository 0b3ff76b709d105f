//! What is behind the address of Redis changes, and instances end while their
//! bans wait: nobody answers with what was before a write that was answered.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::support::origin::{self, Origin};
use super::support::proxy::{self, Builder, Proxy};
use super::support::redis::{self, Redis};
use super::support::relay::{self, Relay};
use super::support::{Hit, eventually, ok};

const STRICT: &str = "[coherence]\nmode = \"strict\"\nlease = \"500ms\"";
const EVENTUAL: &str = "[coherence]\nappend_timeout = \"50ms\"";

/// What Redis 6 makes of it inside a script.
const READONLY_OF_6: &str = "-ERR Error running script (call to f_5f): @user_script:9: \
                             @user_script: 9: -READONLY";

async fn old_page() -> Origin {
    origin::new().get("/x", ok("old").max_age(600)).run().await
}

fn over(relay: &Relay, origin: &Origin) -> Builder {
    proxy::new(origin).redis_at(&relay.url(), "10s")
}

async fn pair(builder: &Builder) -> [Proxy; 2] {
    let pair = [builder.clone().run().await, builder.clone().run().await];
    for proxy in &pair {
        proxy.reaches_redis().await;
    }
    pair
}

async fn hits(proxy: &Proxy, body: &str) {
    proxy.get("/x").await.is(body);
    eventually("a hit", async || {
        let answer = proxy.get("/x").await;
        (answer.cache() == "HIT").then_some(())
    })
    .await;
    proxy.get("/x").await.is(body).was(Hit);
}

/// Waits until each has read a log from its beginning so many times.
async fn have_entered(proxies: &[Proxy], logs: f64) {
    for proxy in proxies {
        eventually("the other log to be followed", async || {
            let entered = proxy.metric("pannier_invalidation_gaps_total").await;
            let in_touch = proxy.metric("pannier_invalidation_in_touch").await;
            (entered >= logs && in_touch > 0.0).then_some(())
        })
        .await;
    }
}

async fn nothing_is_pending(proxy: &Proxy) {
    eventually("nothing to be pending", async || {
        (proxy.metric("pannier_invalidation_pending").await == 0.0).then_some(())
    })
    .await;
}

async fn answers(proxy: &Proxy, body: &str) {
    eventually("the new page", async || {
        (proxy.get("/x").await.text() == body).then_some(())
    })
    .await;
}

/// The page is written while another Redis has the place of the first.
async fn write_elsewhere(proxies: &[Proxy], origin: &Origin) {
    have_entered(proxies, 2.0).await;
    origin.now_answers("/x", ok("new").max_age(600));
    proxies[0].put("/x", "new").await.is_success();
    nothing_is_pending(&proxies[0]).await;
    for proxy in proxies {
        answers(proxy, "new").await;
    }
}

#[tokio::test]
async fn a_redis_that_was_away_knows_nothing_of_what_was_written_meanwhile() {
    for mode in [STRICT, EVENTUAL] {
        let (first, second) = (redis::start().await, redis::start().await);
        let relay = relay::to(&first).await;
        let origin = old_page().await;
        let proxies = pair(&over(&relay, &origin).toml(mode)).await;
        for proxy in &proxies {
            hits(proxy, "old").await;
        }
        relay.lead_to(&second);
        relay.cut();
        write_elsewhere(&proxies, &origin).await;
        relay.lead_to(&first);
        relay.cut();
        have_entered(&proxies, 3.0).await;
        for proxy in &proxies {
            proxy.get("/x").await.is("new");
        }
    }
}

#[tokio::test]
async fn a_database_that_was_swapped_away_knows_nothing_of_what_was_written_meanwhile() {
    let redis = redis::start().await;
    let relay = relay::to(&redis).await;
    let origin = old_page().await;
    let proxies = pair(&over(&relay, &origin).toml(STRICT)).await;
    for proxy in &proxies {
        hits(proxy, "old").await;
    }
    redis.command::<()>(&["SWAPDB", "0", "1"]).await;
    write_elsewhere(&proxies, &origin).await;
    redis.command::<()>(&["SWAPDB", "0", "1"]).await;
    have_entered(&proxies, 3.0).await;
    for proxy in &proxies {
        proxy.get("/x").await.is("new");
    }
}

#[tokio::test]
async fn instances_that_come_back_one_after_the_other_settle_on_one_log() {
    let (first, second) = (redis::start().await, redis::start().await);
    let (of_left, of_right) = (relay::to(&first).await, relay::to(&first).await);
    let origin = old_page().await;
    let left = over(&of_left, &origin).toml(EVENTUAL).run().await;
    let right = over(&of_right, &origin).toml(EVENTUAL).run().await;
    let proxies = [left, right];
    for proxy in &proxies {
        proxy.reaches_redis().await;
    }
    for (logs, redis) in [(2.0, &second), (3.0, &first)] {
        for (relay, proxy) in [&of_left, &of_right].into_iter().zip(&proxies) {
            relay.lead_to(redis);
            relay.cut();
            have_entered(std::slice::from_ref(proxy), logs).await;
        }
    }
    let [left, right] = &proxies;
    hits(left, "old").await;
    hits(right, "old").await;
    origin.now_answers("/x", ok("new").max_age(600));
    left.put("/x", "new").await.is_success();
    answers(right, "new").await;
    for proxy in &proxies {
        let entered = proxy.metric("pannier_invalidation_gaps_total").await;
        assert_eq!(entered, 3.0, "the log was begun again and again");
    }
}

/// A primary behind an address, and a replica that takes its place; the
/// connections to the first stand, and it lives.
async fn fail_over(relay: &Relay, first: &Redis, second: &Redis) {
    relay.lead_to(second);
    second.follow_nobody().await;
    first.follow(second).await;
}

async fn connections_leave_a_demoted_node(first: &Redis, heard: Option<&'static str>) {
    let second = first.another().await;
    second.follow(first).await;
    let relay = relay::to(first).await;
    if let Some(heard) = heard {
        relay.rewrite("-READONLY", heard);
    }
    let origin = old_page().await;
    let [left, right] = pair(&over(&relay, &origin).toml(EVENTUAL)).await;
    hits(&right, "old").await;
    fail_over(&relay, first, &second).await;
    origin.now_answers("/x", ok("new").max_age(600));
    left.put("/x", "new").await.is_success();
    nothing_is_pending(&left).await;
    answers(&right, "new").await;
}

#[tokio::test]
async fn connections_leave_a_demoted_node_whatever_it_says() {
    for heard in [READONLY_OF_6, "-ERR nobody knows why"] {
        connections_leave_a_demoted_node(&redis::start().await, Some(heard)).await;
    }
}

#[tokio::test]
async fn connections_leave_a_demoted_node_of_each_kind_of_server() {
    for first in redis::each().await {
        connections_leave_a_demoted_node(&first, None).await;
    }
}

#[tokio::test]
async fn in_strict_mode_a_frozen_copy_says_nothing_of_who_follows_the_log() {
    let (first, second) = (redis::start().await, redis::start().await);
    second.follow(&first).await;
    let relay = relay::to(&first).await;
    let origin = old_page().await;
    let [left, right] = pair(&over(&relay, &origin).toml(STRICT)).await;
    fail_over(&relay, &first, &second).await;
    eventually("the copy to have the log of the other", async || {
        let of_first = first.meta("incarnation").await;
        let of_second = second.meta("incarnation").await;
        (of_first.is_some() && of_first == of_second).then_some(())
    })
    .await;
    first.follow_nobody_there().await;
    left.logs("read from a copy that is not it").await;
    eventually("a write to be made", async || {
        let answer = left.put("/x", "x").await;
        answer.status.is_success().then_some(())
    })
    .await;
    hits(&right, "old").await;
    right.stop().await;
    origin.now_answers("/x", ok("new").max_age(600));
    let asked = Instant::now();
    left.put("/x", "new").await.is_success();
    let took = asked.elapsed();
    right.resume().await;
    right.get("/x").await.is("new");
    assert!(took >= Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn a_ban_that_was_answered_for_survives_a_kill() {
    let redis = redis::start().await;
    let relay = relay::to(&redis).await;
    let origin = old_page().await;
    let state = TempDir::new().expect("a temporary folder");
    let left = over(&relay, &origin).toml(EVENTUAL).state(state.path());
    let first_life = left.clone().run().await;
    let right = proxy::new(&origin).redis(&redis).run().await;
    first_life.reaches_redis().await;
    right.reaches_redis().await;
    hits(&right, "old").await;
    relay.refuse();
    origin.now_answers("/x", ok("new").max_age(600));
    first_life.put("/x", "new").await.is_success();
    assert_eq!(first_life.metric("pannier_invalidation_spooled").await, 1.0);
    first_life.kill().await;
    relay.admit();
    right.get("/x").await.is("old").was(Hit);
    let second_life = left.run().await;
    answers(&right, "new").await;
    second_life.get("/x").await.is("new");
    nothing_is_pending(&second_life).await;
    assert_eq!(
        second_life.metric("pannier_invalidation_spooled").await,
        0.0
    );
}

#[tokio::test]
async fn what_is_left_behind_and_cannot_be_read_counts_for_everything() {
    let redis = redis::start().await;
    let origin = old_page().await;
    let state = TempDir::new().expect("a temporary folder");
    let spool = state.path().join("bans");
    std::fs::write(&spool, "what is this").expect("a file");
    let right = proxy::new(&origin).redis(&redis).run().await;
    right.reaches_redis().await;
    hits(&right, "old").await;
    origin.now_answers("/x", ok("new").max_age(600));
    let toml = format!("[coherence]\nspool = \"{}\"", spool.display());
    let left = proxy::new(&origin).redis(&redis).toml(&toml).run().await;
    left.logs("cannot be read").await;
    answers(&right, "new").await;
}

#[tokio::test]
async fn a_drain_waits_for_bans_that_wait_for_redis() {
    let redis = redis::start().await;
    let relay = relay::to(&redis).await;
    let origin = old_page().await;
    let left = over(&relay, &origin)
        .toml(EVENTUAL)
        .toml("spool = \"off\"")
        .run()
        .await;
    let right = proxy::new(&origin).redis(&redis).run().await;
    left.reaches_redis().await;
    right.reaches_redis().await;
    hits(&right, "old").await;
    relay.refuse();
    origin.now_answers("/x", ok("new").max_age(600));
    left.put("/x", "new").await.is_success();
    left.term().await;
    left.logs("draining").await;
    eventually("the listener to be closed", async || {
        let refused = tokio::net::TcpStream::connect(left.address).await.is_err();
        refused.then_some(())
    })
    .await;
    assert_eq!(left.metric("pannier_invalidation_pending").await, 1.0);
    relay.admit();
    assert_eq!(left.exit().await, Some(0));
    answers(&right, "new").await;
}

#[tokio::test]
async fn keys_of_the_log_and_the_fleet_that_hold_something_else_heal() {
    let redis = redis::start().await;
    let origin = old_page().await;
    let proxies = pair(&proxy::new(&origin).redis(&redis).toml(EVENTUAL)).await;
    for key in [
        "{test}:log",
        "{test}:log:meta",
        "{test}:log:live",
        "{test}:fleet",
    ] {
        redis.command::<()>(&["SET", key, "mine"]).await;
        let [left, right] = &proxies;
        eventually("a write to reach the other", async || {
            let said = left.purge("pattern=/x&wait=1s").await.json();
            (said["acknowledged"].as_array()?.len() == 2).then_some(())
        })
        .await;
        eventually("both to be heard of", async || {
            let fleet = right.admin_get("/fleet").await;
            let is_heard = fleet.status.is_success();
            (is_heard && fleet.json()["instances"].as_array()?.len() == 2).then_some(())
        })
        .await;
    }
    proxies[0].logs("held another type").await;
}
