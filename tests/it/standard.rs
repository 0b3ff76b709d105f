//! What the standards ask of a shared cache, seen from outside.

use super::support::origin;
use super::support::proxy;
use super::support::{Bypass, Hit, Miss, Revalidated, ok, status};

#[tokio::test]
async fn a_field_for_us_outranks_one_for_every_network_and_is_not_passed_on() {
    let reply = ok("x")
        .cache_control("no-store")
        .header("cdn-cache-control", "no-store")
        .header("pannier-cache-control", "max-age=60");
    let origin = origin::new().get("/x", reply).run().await;
    let proxy = proxy::new(&origin).run().await;
    let first = proxy.get("/x").await;
    first.was(Miss).lacks("pannier-cache-control");
    let again = proxy.get("/x").await;
    again.is("x").was(Hit).lacks("pannier-cache-control");
    again.has("cdn-cache-control", "no-store");
}

#[tokio::test]
async fn a_field_for_us_is_passed_on_by_no_path() {
    let origin = origin::new()
        .get("/x", ok("x").header("pannier-cache-control", "no-store"))
        .on(
            "POST",
            "/x",
            ok("x").header("pannier-cache-control", "max-age=9"),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.lacks("pannier-cache-control");
    proxy.post("/x", "").await.lacks("pannier-cache-control");
}

#[tokio::test]
async fn a_confirmation_updates_every_field_whole_and_keeps_the_rest() {
    let origin = origin::new()
        .get(
            "/x",
            ok("x")
                .max_age(0)
                .etag("v1")
                .header("x-kept", "1")
                .header("link", "</a>"),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    let update = status(304)
        .max_age(60)
        .etag("v1")
        .header("content-type", "text/html")
        .header("link", "</b>")
        .header("link", "</c>");
    origin.now_answers("/x", update);
    proxy.get("/x").await.is("x").was(Revalidated);
    let hit = proxy.get("/x").await;
    hit.is("x")
        .was(Hit)
        .has("x-kept", "1")
        .has("content-type", "text/html");
}

#[tokio::test]
async fn a_confirmation_of_something_else_is_not_believed() {
    let origin = origin::new()
        .get("/x", ok("old").max_age(0).etag("v1"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.is("old");
    let confused = super::support::by(|request| match request.head.field("if-none-match") {
        Some(_) => status(304).etag("v2"),
        None => ok("new").max_age(60).etag("v2"),
    });
    origin.now_answers("/x", confused);
    proxy.get("/x").await.status(200).is("new").was(Miss);
    proxy.get("/x").await.is("new").was(Hit);
}

#[tokio::test]
async fn head_updates_what_it_confirms_and_drops_what_it_contradicts() {
    let origin = origin::new()
        .get("/x", ok("x").max_age(0).etag("v1"))
        .on("HEAD", "/x", ok("x").max_age(60).etag("v1"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    proxy.request("HEAD", "/x").await.status(200);
    proxy.get("/x").await.is("x").was(Hit);

    let refresh = || {
        proxy
            .request("HEAD", "/x")
            .header("cache-control", "no-cache")
    };
    origin.now_answers_to("HEAD", "/x", ok("other").max_age(60).etag("v2"));
    refresh().await.status(200);
    origin.now_answers("/x", ok("other").max_age(60).etag("v2"));
    proxy.get("/x").await.is("other").was(Miss);
}

#[tokio::test]
async fn an_answer_to_post_answers_get_where_it_says_that_it_does() {
    let answer = |location: &str| ok("made").max_age(60).header("content-location", location);
    let origin = origin::new()
        .get("/x", ok("gotten").max_age(60))
        .get("/y", ok("gotten").max_age(60))
        .on("POST", "/x", answer("/x"))
        .on("POST", "/y", answer("/elsewhere"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.is("gotten").was(Miss);
    proxy.post("/x", "1").await.is("made").was(Bypass);
    proxy.get("/x").await.is("made").was(Hit);
    proxy.put("/x", "2").await;
    proxy.get("/x").await.is("gotten").was(Miss);
    proxy.post("/y", "1").await.is("made");
    proxy.get("/y").await.is("gotten").was(Miss);
}

#[tokio::test]
async fn a_write_invalidates_the_groups_it_names() {
    let grouped = ok("x").max_age(60).header("cache-groups", "\"scripts\"");
    let origin = origin::new()
        .get("/a", grouped.clone())
        .get(
            "/b",
            ok("x").max_age(60).header("cache-groups", "\"styles\""),
        )
        .on(
            "POST",
            "/w",
            status(204).header("cache-group-invalidation", "\"scripts\""),
        )
        .get(
            "/w",
            grouped.header("cache-group-invalidation", "\"styles\""),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    for path in ["/a", "/b"] {
        proxy.get(path).await.was(Miss);
        proxy.get(path).await.was(Hit);
    }
    let elsewhere = proxy.get("/a").host("other.example");
    elsewhere.await.was(Miss);
    proxy.get("/w").await.was(Miss);
    proxy.get("/b").await.was(Hit);
    proxy.post("/w", "").await.status(204);
    proxy.get("/a").await.was(Miss);
    proxy.get("/b").await.was(Hit);
    proxy.get("/a").host("other.example").await.was(Hit);
}

#[tokio::test]
async fn conditions_for_the_origin_are_left_to_it() {
    let origin = origin::new()
        .get("/x", ok("x").max_age(60).etag("v1"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    origin.now_answers("/x", status(412));
    let asked = proxy.get("/x").header("if-match", "\"v0\"");
    asked.await.status(412);
    proxy.get("/x").await.is("x").was(Hit);
}

#[tokio::test]
async fn a_cookie_is_shared_only_where_origin_or_operator_says_so() {
    let reply = ok("x").max_age(60).header("set-cookie", "sid=1");
    let origin = origin::new().otherwise(reply).run().await;
    let proxy = proxy::new(&origin)
        .route("/closed", |route| route)
        .route("/open", |route| route.set("set_cookie", "\"origin\""))
        .run()
        .await;
    proxy.get("/closed").await.was(Miss);
    proxy.get("/closed").await.was(Miss);
    proxy.get("/open").await.was(Miss);
    proxy.get("/open").await.was(Hit).has("set-cookie", "sid=1");
}

#[tokio::test]
async fn a_language_that_is_liked_best_selects_what_is_stored_in_it() {
    let reply = ok("Hallo")
        .max_age(60)
        .header("vary", "Accept-Language")
        .header("content-language", "de");
    let origin = origin::new().get("/x", reply).run().await;
    let proxy = proxy::new(&origin).run().await;
    let asked = |languages: &'static str| proxy.get("/x").header("accept-language", languages);
    asked("en, de").await.was(Miss);
    asked("de, en").await.was(Hit);
    asked("fr;q=0.5, DE").await.was(Hit);
    let other = asked("fr").await;
    other
        .was(Miss)
        .has("cache-status", "pannier; fwd=vary-miss; stored");
}

#[tokio::test]
async fn max_forwards_ends_at_the_proxy_that_it_names_rfc9110_7_6_2() {
    let origin = origin::new()
        .on("OPTIONS", "/x", ok("theirs"))
        .on("TRACE", "/x", ok("theirs"))
        .on("GET", "/x", ok("theirs"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let asked = |method: &str, left: &str| proxy.request(method, "/x").header("max-forwards", left);

    let ours = asked("OPTIONS", "0").await;
    ours.status(200).is("").was(Bypass);
    assert!(ours.header("allow").contains("GET"));
    let trace = asked("TRACE", "0").header("cookie", "sid=secret").await;
    trace.status(200).has("content-type", "message/http");
    assert!(trace.text().starts_with("TRACE /x HTTP/1.1\r\n"));
    assert!(!trace.text().contains("secret"));
    for method in ["OPTIONS", "TRACE"] {
        origin.was_sent(method, "/x").times(0);
        asked(method, "3").await.is("theirs");
        assert_eq!(origin.last_request("/x").field("max-forwards"), "2");
        asked(method, "many").await.is("theirs");
        assert_eq!(origin.last_request("/x").field("max-forwards"), "many");
    }
    asked("GET", "0").await.is("theirs");
}
