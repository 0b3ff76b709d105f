//! Nobody is shown what was made for another, and nobody empties what is not
//! theirs: with default settings, before applications as they are.

use std::future::IntoFuture;

use futures_util::future::join_all;

use super::support::origin;
use super::support::{Gate, Hit, Miss, Revalidated, by, ok, proxy, status};

/// As a framework with sessions and static files answers: the files are marked
/// `public`, and every newcomer gets a cookie.
fn sessions() -> super::support::reply::Script {
    by(|request| {
        let is_known = request.field("cookie").contains("sid=");
        let reply = match request.field("if-none-match") {
            "\"a\"" => status(304),
            _ => ok("body{}"),
        };
        let reply = reply.cache_control("public, max-age=0").etag("\"a\"");
        if is_known {
            reply
        } else {
            reply.header("Set-Cookie", "sid=newcomer")
        }
    })
}

#[tokio::test]
async fn no_session_is_handed_to_another_visitor() {
    let origin = origin::new().get("/a.css", sessions()).run().await;
    let proxy = proxy::new(&origin).run().await;
    let newcomer = proxy.get("/a.css").await;
    newcomer.was(Miss).has("set-cookie", "sid=newcomer");
    let known = proxy.get("/a.css").header("cookie", "sid=bob").await;
    known.was(Miss).lacks("set-cookie");
    // Stored by now; the origin's 304 sets a cookie for the one it answers.
    let second = proxy.get("/a.css").await;
    second.was(Revalidated).has("set-cookie", "sid=newcomer");
    let known = proxy.get("/a.css").header("cookie", "sid=bob").await;
    known.was(Revalidated).lacks("set-cookie");
}

#[tokio::test]
async fn a_cookie_is_stored_only_where_the_route_says_so() {
    let origin = origin::new()
        .otherwise(ok("x").max_age(60).header("Set-Cookie", "a=1"))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/never", |route| route)
        .route("/strip", |route| route.set("set_cookie", "\"strip\""))
        .route("/ignored", |route| {
            route.set("ignore_headers", "[\"set-cookie\"]")
        })
        .route("/origin", |route| route.set("set_cookie", "\"origin\""))
        .run()
        .await;
    for (path, then) in [
        ("/never", Miss),
        ("/strip", Hit),
        ("/ignored", Hit),
        ("/origin", Hit),
    ] {
        proxy.get(path).await.was(Miss).has("set-cookie", "a=1");
        let again = proxy.get(path).await;
        again.was(then);
        match path {
            "/strip" | "/ignored" => again.lacks("set-cookie"),
            _ => again.has("set-cookie", "a=1"),
        };
    }
}

#[tokio::test]
async fn garbled_directives_are_read_against_storing() {
    for (field, line) in [
        ("Cache-Control", "private; max-age=60"),
        ("Cache-Control", "no-store max-age=0"),
        ("Cache-Control", "\"private\""),
        ("Cache-Control", "max-age=60, x=\"y, no-store"),
        ("CDN-Cache-Control", "max-age=60; private"),
        ("CDN-Cache-Control", "no-store max-age=60"),
        ("Surrogate-Control", "no-store; max-age=60"),
    ] {
        let page = by(move |request| {
            let account = format!("account of {}", request.field("x-user"));
            ok(account).header(field, line)
        });
        let origin = origin::new().get("/me", page).run().await;
        let proxy = proxy::new(&origin)
            .route("/**", |route| {
                let targets = "[\"surrogate-control\", \"cdn-cache-control\"]";
                route.ttl("60s").set("targets", targets)
            })
            .run()
            .await;
        proxy.get("/me").header("x-user", "ann").await;
        let bob = proxy.get("/me").header("x-user", "bob").await;
        bob.is("account of bob");
    }
}

#[tokio::test]
async fn what_is_stored_is_stored_for_what_the_origin_was_asked() {
    let origin = origin::new()
        .otherwise(by(|request| {
            let seen = format!(
                "{} {} {}",
                request.field("x-tenant"),
                request.field("accept-language"),
                request.field("x-forwarded-proto"),
            );
            ok(seen)
                .max_age(60)
                .header("Vary", "Accept-Language, X-Forwarded-Proto")
        }))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/**", |route| route.key("headers", "[\"X-Tenant\"]"))
        .run()
        .await;
    // The fields that `Connection` names do not reach the origin.
    let stripped = proxy
        .get("/x")
        .header("x-tenant", "acme")
        .header("accept-language", "de")
        .header("connection", "x-tenant, accept-language");
    stripped.await.is("  http").was(Miss);
    let honest = || {
        let request = proxy.get("/x").header("x-tenant", "acme");
        request.header("accept-language", "de")
    };
    honest().await.is("acme de http").was(Miss);
    honest().await.is("acme de http").was(Hit);
    // A stranger's word on the scheme chooses no variant.
    let lying = honest().header("x-forwarded-proto", "https").await;
    lying.is("acme de http").was(Hit);
}

#[tokio::test]
async fn scheme_and_host_that_the_application_is_told_are_part_of_the_target() {
    let origin = origin::new()
        .otherwise(by(|request| {
            let host = request.field("x-forwarded-host");
            let seen = format!("{}://{host}", request.field("x-forwarded-proto"));
            ok(seen).max_age(60)
        }))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml("[limits]\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .run()
        .await;
    for expected in [Miss, Hit] {
        for (scheme, host) in [("http", "a"), ("https", "a"), ("https", "b")] {
            let request = proxy.get("/x").header("x-forwarded-proto", scheme);
            let answer = request.header("x-forwarded-host", host).await;
            answer.is(&format!("{scheme}://{host}")).was(expected);
        }
    }
}

#[tokio::test]
async fn a_twin_with_an_underscore_does_not_reach_the_application() {
    let origin = origin::new().otherwise(ok("x").max_age(60)).run().await;
    let dropping = proxy::new(&origin)
        .route("/cached", |route| route)
        .run()
        .await;
    for path in ["/passed", "/cached"] {
        let request = dropping.get(path).header("x_forwarded_host", "evil.test");
        let request = request.header("x_http_method_override", "DELETE");
        request.header("x_mine", "1").await;
        let seen = origin.last_request(path);
        for twin in ["x_forwarded_host", "x_http_method_override", "x_mine"] {
            assert_eq!(seen.field(twin), "", "{path} {twin}");
        }
    }
    let passing = proxy::new(&origin)
        .toml("[limits]\nunderscore_fields = \"pass\"")
        .route("/other", |route| route)
        .run()
        .await;
    let request = passing.get("/kept").header("x_forwarded_host", "evil.test");
    request.header("x_mine", "1").await;
    let seen = origin.last_request("/kept");
    assert_eq!(seen.field("x_forwarded_host"), "");
    assert_eq!(seen.field("x_mine"), "1");
}

#[tokio::test]
async fn no_stranger_empties_the_store() {
    let page = ok("x").max_age(60);
    let origin = origin::new().otherwise(page).run().await;
    let proxy = proxy::new(&origin).run().await;
    let stored = ["/c/hot", "/"];
    for path in stored {
        proxy.get(path).await;
    }
    let overriding = "x-http-method-override";
    for method in ["GET", "HEAD", "POST", "OPTIONS"] {
        for other in ["DELETE", "PUT", "PATCH", "NONSENSE"] {
            proxy.request(method, "/").header(overriding, other).await;
            proxy.get("/c/hot").await.was(Hit);
        }
    }
    for method in ["PROPFIND", "REPORT", "SEARCH", "QUERY"] {
        proxy.request(method, "/c/hot").body("x").await;
        proxy.get("/c/hot").await.was(Hit);
    }
    // A refusal by redirect, as to a login page.
    origin.now_answers_to("DELETE", "/", status(302).header("Location", "/login"));
    proxy.delete("/").await;
    proxy.get("/c/hot").await.was(Hit);
    // A write to /c is no write to /.
    proxy.get("/").await;
    proxy.post("/c", "x").await.is_success();
    proxy.get("/").await.was(Hit);
}

#[tokio::test]
async fn no_stranger_has_a_stored_response_dropped() {
    let page = by(|request| {
        if request.field("x-odd") == "1" {
            return status(403);
        }
        let page = ok("x").max_age(60);
        match request.field("cookie") {
            "" => page.header("Set-Cookie", "sid=1"),
            _ => page,
        }
    });
    let origin = origin::new().get("/x", page).run().await;
    let proxy = proxy::new(&origin).run().await;
    let honest = || proxy.get("/x").header("cookie", "sid=1");
    honest().await.was(Miss);
    let insisting = || proxy.get("/x").header("cache-control", "no-cache");
    insisting().await.has("set-cookie", "sid=1");
    honest().await.was(Hit);
    insisting().header("x-odd", "1").await.status(403);
    honest().await.was(Hit);
    let secret = insisting().header("cookie", "sid=1");
    secret.header("cache-control", "no-store").await.was(Miss);
    honest().await.was(Hit);
}

#[tokio::test]
async fn a_failure_is_answered_to_the_request_that_met_it() {
    let gate = Gate::new();
    let held = gate.clone();
    let page = by(move |request| match request.field("x-poison") {
        "" => ok("page").max_age(60).held_by(&held),
        _ => status(500).body("broken").held_by(&held),
    });
    let origin = origin::new().get("/x", page).run().await;
    let proxy = proxy::new(&origin).run().await;
    let poisoned = tokio::spawn(proxy.get("/x").header("x-poison", "1").into_future());
    gate.reached_by(1).await;
    let others: Vec<_> = (0..20)
        .map(|_| tokio::spawn(proxy.get("/x").into_future()))
        .collect();
    super::coalescing::in_flight(&proxy, 21.0).await;
    gate.open();
    poisoned.await.expect("an answer").status(500);
    for other in join_all(others).await {
        other.expect("an answer").status(200).is("page");
    }
    // Once for the one, and once for all others together.
    origin.was_asked("/x").times(2);
}

#[tokio::test]
async fn content_in_chunks_reaches_the_origin_whatever_the_method() {
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin).route("/r", |route| route).run().await;
    for target in ["/n/_search", "/r"] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n");
        let answer = proxy
            .raw(format!(
                "{head}Transfer-Encoding: chunked\r\n\r\n5\r\nQUERY\r\n0\r\n\r\n"
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let received = origin.last_request(target);
        assert_eq!(received.body, b"QUERY", "{target}");
    }
}

#[tokio::test]
async fn a_streamed_answer_to_a_write_invalidates_again_at_its_end() {
    let feed = super::support::Feed::new();
    let origin = origin::new()
        .get("/r", ok("old").max_age(300))
        .on("POST", "/r", super::support::fed(&feed))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/r").await.is("old").was(Miss);
    let mut writing = proxy.post("/r", "new").open().await;
    feed.send("working");
    writing.piece().await;
    // What is read meanwhile is from before the commit.
    proxy.get("/r").await.is("old").was(Miss);
    proxy.get("/r").await.was(Hit);
    origin.now_answers("/r", ok("new").max_age(300));
    feed.send("done");
    feed.end();
    while writing.piece().await.is_some() {}
    proxy.get("/r").await.is("new").was(Miss);
}
