//! Read-your-writes: a request that brings the position of a write is answered
//! with nothing older, at any instance, however far that one is behind.

use super::support::client::Answer;
use super::support::origin::{self, Origin};
use super::support::proxy::{self, Builder, Proxy};
use super::support::relay::{self, Relay};
use super::support::{Bypass, Hit, Miss, ok, redis};

const HEADER: &str = "[coherence]\nsession = \"header\"\nunsynced_age_max = \"1h\"";
const COOKIE: &str = "[coherence]\nsession = \"cookie\"\nunsynced_age_max = \"1h\"";

const FIELD: &str = "pannier-position";

async fn page(body: &'static str) -> Origin {
    origin::new()
        .get("/x", ok(body).max_age(600))
        .otherwise(ok("done"))
        .run()
        .await
}

/// Two instances, the second of them behind a relay of its own.
async fn pair(builder: &Builder, redis: &redis::Redis) -> ([Proxy; 2], Relay) {
    let relay = relay::to(redis).await;
    let left = builder.clone().redis(redis).run().await;
    let right = builder.clone().redis_at(&relay.url(), "10s").run().await;
    left.reaches_redis().await;
    right.reaches_redis().await;
    ([left, right], relay)
}

async fn is_kept(proxy: &Proxy, body: &str) {
    proxy.get("/x").await.is(body);
    proxy.get("/x").await.is(body).was(Hit);
}

/// What a browser would send back.
fn cookie(answer: &Answer) -> String {
    let line = answer.header("set-cookie");
    assert!(line.starts_with("pannier-position="), "{line}");
    let rest = "; Path=/; Max-Age=300; HttpOnly; SameSite=Lax";
    line.strip_suffix(rest).expect(line).to_owned()
}

#[tokio::test]
async fn a_delayed_instance_answers_no_writer_from_before_the_write() {
    let (redis, origin) = (redis::start().await, page("0").await);
    let ([left, right], relay) = pair(&proxy::new(&origin).toml(HEADER), &redis).await;
    is_kept(&right, "0").await;
    for round in 1..8 {
        let (before, after) = ((round - 1).to_string(), round.to_string());
        relay.hold();
        origin.now_answers("/x", ok(after.clone()).max_age(600));
        let position = left.put("/x", "new").await.header(FIELD).to_owned();
        assert!(!position.is_empty());
        // It is behind, as eventual mode allows; but not to the writer.
        right.get("/x").await.is(&before).was(Hit);
        right.get("/x").header(FIELD, &position).await.is(&after);
        relay.release();
        let again = right.get("/x").header(FIELD, &position).await;
        again.is(&after);
        right.follows(&left).await;
        is_kept(&right, &after).await;
        let hit = right.get("/x").header(FIELD, &position).await;
        hit.is(&after).was(Hit);
    }
}

#[tokio::test]
async fn what_an_instance_has_applied_it_answers_from_the_store() {
    let (redis, origin) = (redis::start().await, page("old").await);
    let ([left, right], _relay) = pair(&proxy::new(&origin).toml(HEADER), &redis).await;
    is_kept(&right, "old").await;
    origin.now_answers("/x", ok("new").max_age(600));
    let position = left.put("/x", "new").await.header(FIELD).to_owned();
    let read = right.get("/x").header(FIELD, &position).await;
    read.is("new").was(Miss);
    // It holds what it has applied, and answers with it.
    right.follows(&left).await;
    is_kept(&right, "new").await;
    let read = right.get("/x").header(FIELD, &position).await;
    read.is("new").was(Hit);
    // A position is good for every resource.
    left.get("/x").header(FIELD, &position).await.is("new");
}

#[tokio::test]
async fn a_position_that_means_nothing_here_asks_the_origin() {
    let origin = page("page").await;
    let proxy = proxy::new(&origin).toml(HEADER).run().await;
    is_kept(&proxy, "page").await;
    let long = "f".repeat(4_000);
    for odd in ["", "?", "1-2", "1-2-3", "0-0-0", &long] {
        let asked = origin.was_asked("/x").count();
        let read = proxy.get("/x").header(FIELD, odd).await;
        read.status(200).is("page").was(Miss);
        origin.was_asked("/x").times(asked + 1);
        assert_eq!(origin.last_request("/x").field(FIELD), "");
    }
    // A part of it, its head, and only what is stored: likewise.
    let part = proxy.get("/x").header(FIELD, "1-2-3");
    part.header("range", "bytes=0-1").await.was(Miss);
    let head = proxy.request("HEAD", "/x").header(FIELD, "1-2-3");
    head.await.status(200).was(Miss);
    let stored = proxy.get("/x").header(FIELD, "1-2-3");
    stored
        .header("cache-control", "only-if-cached")
        .await
        .status(504);
    proxy.get("/x").await.is("page").was(Hit);
}

#[tokio::test]
async fn alone_an_instance_knows_its_own_positions() {
    let origin = page("old").await;
    let proxy = proxy::new(&origin).toml(HEADER).run().await;
    is_kept(&proxy, "old").await;
    origin.now_answers("/x", ok("new").max_age(600));
    let position = proxy.put("/x", "new").await.header(FIELD).to_owned();
    let read = proxy.get("/x").header(FIELD, &position).await;
    read.is("new").was(Miss);
    let read = proxy.get("/x").header(FIELD, &position).await;
    read.is("new").was(Hit);
}

#[tokio::test]
async fn a_write_that_waits_for_the_log_is_good_where_it_was_made() {
    let (redis, origin) = (redis::start().await, page("old").await);
    let ([left, right], relay) = pair(&proxy::new(&origin).toml(HEADER), &redis).await;
    is_kept(&left, "old").await;
    relay.refuse();
    right.misses_redis().await;
    origin.now_answers("/x", ok("new").max_age(600));
    let position = right.put("/x", "new").await.header(FIELD).to_owned();
    right.get("/x").header(FIELD, &position).await.is("new");
    left.get("/x").await.is("old").was(Hit);
    let read = left.get("/x").header(FIELD, &position).await;
    read.is("new").was(Miss);
}

#[tokio::test]
async fn the_cookie_is_between_the_client_and_the_instances() {
    let (redis, origin) = (redis::start().await, page("old").await);
    origin.now_answers("/x", ok("old").max_age(600).header("vary", "cookie"));
    let builder = proxy::new(&origin).toml(COOKIE).route("/x", |route| {
        route.key("cookies", "[\"pannier-position\", \"sid\"]")
    });
    let ([left, right], relay) = pair(&builder, &redis).await;
    is_kept(&right, "old").await;
    relay.hold();
    origin.now_answers("/x", ok("new").max_age(600).header("vary", "cookie"));
    let cookie = cookie(&left.put("/x", "new").await);
    let read = right.get("/x").header("cookie", &cookie).await;
    read.is("new").was(Miss).lacks("set-cookie");
    assert_eq!(origin.last_request("/x").field("cookie"), "");
    relay.release();
    right.follows(&left).await;
    is_kept(&right, "new").await;

    // It parts neither keys nor variants, of HTTP/2 as little as of HTTP/1.
    let read = right.get("/x").header("cookie", &cookie).await;
    read.is("new").was(Hit).lacks("set-cookie");
    let h2 = right.h2().await;
    let read = h2.get_with("/x", &[("cookie", &cookie)]).await;
    read.is("new").was(Hit);
    let read = h2
        .get_with("/x", &[("cookie", "pannier-position=1-2-3")])
        .await;
    read.is("new").was(Miss);
    // Others of the client's go on, and where there is no route as well.
    let both = format!("a=1; {cookie}; sid=2");
    right.get("/x").header("cookie", &both).await.is("new");
    assert_eq!(origin.last_request("/x").field("cookie"), "a=1; sid=2");
    let passed = right.get("/elsewhere").header("cookie", &both).await;
    passed.was(Bypass);
    assert_eq!(
        origin.last_request("/elsewhere").field("cookie"),
        "a=1; sid=2"
    );
}

#[tokio::test]
async fn an_answer_to_a_write_is_stored_without_its_cookie() {
    let posted = ok("posted").max_age(600).header("content-location", "/x");
    let origin = origin::new()
        .on("POST", "/x", posted)
        .get("/x", ok("asked"))
        .run()
        .await;
    let proxy = proxy::new(&origin).toml(COOKIE).run().await;
    let cookie = cookie(&proxy.post("/x", "new").await);
    let read = proxy.get("/x").header("cookie", &cookie).await;
    read.is("posted").was(Hit).lacks("set-cookie");
}

#[tokio::test]
async fn where_it_is_off_nothing_is_handed_out_and_nothing_looked_at() {
    let origin = page("page").await;
    let proxy = proxy::new(&origin).run().await;
    let answer = proxy.put("/x", "new").await;
    answer.lacks(FIELD).lacks("set-cookie");
    is_kept(&proxy, "page").await;
    proxy.get("/x").header(FIELD, "1-2-3").await.was(Hit);
}
