//! What happens to a stored response past its lifetime.

use super::support::client::Answer;
use super::support::origin::{self, Origin};
use super::support::proxy::{self, Proxy};
use super::support::{Gate, Hit, Miss, Revalidated, Stale, by, eventually, ok, status};

/// Waits until a stored response of `path` is past its lifetime of a second.
async fn once_expired(proxy: &Proxy, path: &str) -> Answer {
    eventually("the stored response to expire", async || {
        let answer = proxy.get(path).await;
        (answer.cache() != "HIT").then_some(answer)
    })
    .await
}

#[tokio::test]
async fn an_expired_response_is_confirmed_by_its_entity_tag() {
    let origin = origin::new()
        .get("/x", ok("x").max_age(0).etag("v1"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.is("x").was(Miss);

    let again = proxy.get("/x").await;
    again.status(200).is("x").was(Revalidated);
    again.has("etag", "\"v1\"").has("x-cache-age", "0");
    assert_eq!(origin.last_request("/x").field("if-none-match"), "\"v1\"");

    origin.now_answers("/x", ok("y").max_age(0).etag("v2"));
    proxy.get("/x").await.is("y").was(Miss);
    proxy.get("/x").await.is("y").was(Revalidated);
}

#[tokio::test]
async fn a_confirmed_response_is_fresh_again() {
    let origin = origin::new()
        .get("/x", ok("x").max_age(0).etag("v1"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    origin.now_answers("/x", ok("x").max_age(60).etag("v1"));
    proxy.get("/x").await.is("x").was(Revalidated);
    let hit = proxy.get("/x").await;
    hit.is("x").was(Hit).has("cache-control", "max-age=60");
    origin.was_asked("/x").times(2);
}

#[tokio::test]
async fn a_response_under_no_cache_is_asked_about_every_time() {
    let origin = origin::new()
        .get("/x", ok("x").cache_control("no-cache").etag("v1"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    proxy.get("/x").await.is("x").was(Revalidated);
    proxy.get("/x").await.is("x").was(Revalidated);
}

#[tokio::test]
async fn a_client_that_insists_gets_a_confirmed_answer() {
    let origin = origin::new()
        .get("/x", ok("x").max_age(60).etag("v1"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    let insisting = proxy.get("/x").header("cache-control", "no-cache");
    insisting.await.is("x").was(Revalidated);
    let only_stored = proxy
        .get("/other")
        .header("cache-control", "only-if-cached");
    only_stored.await.status(504);
}

#[tokio::test]
async fn a_stale_response_is_served_while_one_request_renews_it() {
    let origin = origin::new().get("/x", ok("old").max_age(1)).run().await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| route.stale_while_revalidate("60s"))
        .run()
        .await;
    proxy.get("/x").await.is("old").was(Miss);

    let gate = Gate::new();
    origin.now_answers("/x", ok("new").max_age(60).held_by(&gate));
    once_expired(&proxy, "/x").await.is("old").was(Stale);
    gate.reached_by(1).await;
    proxy.get("/x").await.is("old").was(Stale);
    proxy.get("/x").await.is("old").was(Stale);
    gate.open();
    eventually("the renewed response", async || {
        let answer = proxy.get("/x").await;
        (answer.text() == "new").then(|| answer.was(Hit).status(200).to_owned())
    })
    .await;
    origin.was_asked("/x").times(2);
}

#[tokio::test]
async fn the_origin_may_offer_staleness_itself() {
    let directives = "max-age=1, stale-while-revalidate=60";
    let origin = origin::new()
        .get("/x", ok("x").cache_control(directives))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    once_expired(&proxy, "/x").await.is("x").was(Stale);
}

/// A stored response that has expired, behind an origin that then fails.
async fn expired_before(failing: impl AsyncFnOnce(&mut Origin)) -> Answer {
    let mut origin = origin::new().get("/x", ok("x").max_age(1)).run().await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| route.stale_if_error("10m"))
        .run()
        .await;
    proxy.get("/x").await.was(Miss);
    failing(&mut origin).await;
    once_expired(&proxy, "/x").await
}

#[tokio::test]
async fn a_stale_response_stands_in_when_the_origin_fails() {
    let failing = expired_before(async |origin| origin.now_answers("/x", status(503))).await;
    failing.status(200).is("x").was(Stale);
    let down = expired_before(async |origin| origin.stop().await).await;
    down.status(200).is("x").was(Stale);
}

#[tokio::test]
async fn a_client_error_is_not_a_failure_that_staleness_hides() {
    let gone = expired_before(async |origin| origin.now_answers("/x", status(404))).await;
    gone.status(404).was(Miss);
}

#[tokio::test]
async fn must_revalidate_forbids_staleness() {
    let mut origin = origin::new()
        .get("/x", ok("x").cache_control("max-age=1, must-revalidate"))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| {
            route.stale_if_error("10m").stale_while_revalidate("10m")
        })
        .run()
        .await;
    proxy.get("/x").await.was(Miss);
    origin.stop().await;
    let expired = once_expired(&proxy, "/x").await;
    assert!(matches!(expired.status.as_u16(), 502 | 504), "{expired}");
}

#[tokio::test]
async fn an_error_is_stored_only_where_route_and_origin_agree() {
    let origin = origin::new()
        .get("/never/404", status(404).max_age(60))
        .get("/origin/404", status(404).max_age(60))
        .get("/origin/500", status(500).max_age(60))
        .get("/origin/silent", status(404))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/never/**", |route| route.ttl("60s"))
        .route("/origin/**", |route| {
            route.ttl("60s").set("errors", "\"origin\"")
        })
        .run()
        .await;
    for (path, second) in [
        ("/never/404", Miss),
        ("/origin/404", Hit),
        ("/origin/500", Hit),
        ("/origin/silent", Miss),
    ] {
        proxy.get(path).await.was(Miss);
        proxy.get(path).await.was(second);
    }
}

#[tokio::test]
async fn a_changed_vary_selects_by_what_it_says_now() {
    let origin = origin::new()
        .get(
            "/x",
            by(|request| {
                ok(request.field("x-a").to_owned())
                    .max_age(0)
                    .header("Vary", "X-A")
            }),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").header("x-a", "1").await.is("1");
    origin.now_answers(
        "/x",
        by(|request| {
            ok(request.field("x-b").to_owned())
                .max_age(60)
                .header("Vary", "X-B")
        }),
    );
    proxy
        .get("/x")
        .header("x-a", "1")
        .header("x-b", "2")
        .await
        .is("2")
        .was(Miss);
    proxy
        .get("/x")
        .header("x-a", "3")
        .header("x-b", "2")
        .await
        .is("2")
        .was(Hit);
    proxy
        .get("/x")
        .header("x-a", "1")
        .header("x-b", "4")
        .await
        .is("4")
        .was(Miss);
}
