//! Two users of one cache: what belongs to one is never given to the other.

use super::support::origin;
use super::support::{Bypass, Hit, Miss, by, ok, proxy};

#[tokio::test]
async fn two_users_of_one_url_never_see_each_other_s_answers() {
    let origin = origin::new()
        .get(
            "/bearer",
            by(|request| ok(request.field("authorization").to_owned()).max_age(60)),
        )
        .get(
            "/session",
            by(|request| {
                let user = request.field("cookie").to_owned();
                ok(user.clone()).max_age(60).header("Set-Cookie", user)
            }),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/**", |route| route.ttl("60s"))
        .run()
        .await;
    for _ in 0..2 {
        for user in ["Bearer a", "Bearer b"] {
            let answer = proxy.get("/bearer").header("authorization", user).await;
            answer.is(user).was(Miss);
        }
        for user in ["user=a", "user=b"] {
            let answer = proxy.get("/session").header("cookie", user).await;
            answer.is(user).was(Miss).has("set-cookie", user);
        }
    }
    proxy.get("/bearer").await.is("");
}

#[tokio::test]
async fn a_route_may_key_by_who_asks() {
    let origin = origin::new()
        .get(
            "/mine",
            by(|request| ok(request.field("authorization").to_owned()).max_age(60)),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/mine", |route| route.key("headers", "[\"Authorization\"]"))
        .run()
        .await;
    for expected in [Miss, Hit] {
        for user in ["Bearer a", "Bearer b"] {
            let answer = proxy.get("/mine").header("authorization", user).await;
            answer.is(user).was(expected);
        }
    }
}

#[tokio::test]
async fn two_hosts_do_not_share_a_path() {
    let host = by(|request| ok(request.field("host").to_owned()).max_age(60));
    let origin = origin::new().get("/x", host).run().await;
    let proxy = proxy::new(&origin).run().await;
    for expected in [Miss, Hit] {
        for host in ["a.test", "b.test", "a.test:81"] {
            proxy.get("/x").host(host).await.is(host).was(expected);
        }
    }
    proxy.get("/x").host("A.test").await.was(Hit);
}

#[tokio::test]
async fn a_field_the_key_knows_nothing_of_cannot_poison_the_store() {
    let origin = origin::new()
        .get(
            "/x",
            by(|request| {
                let reflected = ["x-forwarded-host", "x-original-url", "x-rewrite-url"];
                let all: Vec<_> = reflected.iter().map(|name| request.field(name)).collect();
                ok(all.join("")).max_age(60)
            }),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    for name in ["x-forwarded-host", "x-original-url", "x-rewrite-url"] {
        proxy.purge("pattern=/**").await;
        proxy.get("/x").header(name, "evil.test").await;
        let innocent = proxy.get("/x").await;
        assert!(!innocent.text().contains("evil"), "{name}: {innocent}");
    }
}

#[tokio::test]
async fn who_asked_is_told_to_the_origin_and_cannot_be_forged() {
    let origin = origin::new().get("/x", ok("x")).run().await;
    let proxy = proxy::new(&origin)
        .route("/none", |route| route.ttl("1s"))
        .run()
        .await;
    let request = proxy.get("/x").header("x-forwarded-for", "10.0.0.1");
    request
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-port", "666")
        .header("x-forwarded-scheme", "nothttps")
        .await
        .was(Bypass);
    let seen = origin.last_request("/x");
    assert_eq!(seen.field("x-forwarded-port"), "");
    assert_eq!(seen.field("x-forwarded-scheme"), "");
    assert_eq!(seen.field("x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen.field("x-forwarded-proto"), "http");
    assert_eq!(seen.field("x-forwarded-host"), "pannier.test");
    assert_eq!(seen.field("host"), "pannier.test");
}

#[tokio::test]
async fn a_trusted_proxy_s_word_is_kept_and_added_to() {
    let origin = origin::new().get("/x", ok("x")).run().await;
    let proxy = proxy::new(&origin)
        .toml("[limits]\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .run()
        .await;
    let request = proxy.get("/x").header("x-forwarded-for", "10.0.0.1");
    request.header("x-forwarded-proto", "https").await;
    let seen = origin.last_request("/x");
    assert_eq!(seen.field("x-forwarded-for"), "10.0.0.1, 127.0.0.1");
    assert_eq!(seen.field("x-forwarded-proto"), "https");
}

#[tokio::test]
async fn fields_for_one_hop_do_not_travel_on() {
    let answer = ok("x")
        .max_age(60)
        .header("Connection", "X-Hop")
        .header("X-Hop", "1")
        .header("Keep-Alive", "timeout=5");
    let origin = origin::new().get("/x", answer).run().await;
    let proxy = proxy::new(&origin).run().await;
    let request = proxy.get("/x").header("connection", "x-mine");
    let request = request
        .header("x-mine", "1")
        .header("proxy-authorization", "Basic eA==");
    request.await.was(Miss).lacks("x-hop").lacks("keep-alive");
    proxy
        .get("/x")
        .await
        .was(Hit)
        .lacks("x-hop")
        .lacks("keep-alive");
    let seen = origin.last_request("/x");
    assert_eq!(seen.field("x-mine"), "");
    assert_eq!(seen.field("proxy-authorization"), "");
}

#[tokio::test]
async fn a_method_override_does_not_turn_a_write_into_a_read_or_back() {
    let origin = origin::new()
        .get(
            "/x",
            by(|request| match request.field("x-http-method-override") {
                "" => ok("page").max_age(60),
                _ => ok("deleted").max_age(60),
            }),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let overriding = proxy.get("/x").header("x-http-method-override", "DELETE");
    overriding.await;
    proxy.get("/x").await.is("page");
}

#[tokio::test]
async fn no_trick_with_the_path_finds_a_route() {
    let origin = origin::new().otherwise(ok("secret")).run().await;
    let proxy = proxy::new(&origin)
        .route("/static/**", |route| route.ttl("60s"))
        .run()
        .await;
    for path in [
        "/account/x.css",
        "/account;x.css",
        "/account%2fx.css",
        "/account/..;/static/x.css",
        "/account%00.css",
        "/static/../account",
        "/static/%2e%2e/account",
        "/static/..%2faccount",
        "/static%2f..%2faccount",
        "/static/%2E%2E%2faccount",
        "/static//../../account",
    ] {
        for _ in 0..2 {
            let answer = proxy.get(path).await;
            let kept = matches!(answer.cache(), "HIT" | "STALE" | "REVALIDATED");
            assert!(!kept, "{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn secrets_are_in_no_log() {
    let origin = origin::new().otherwise(ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin).admin_token("s3cret-token").run().await;
    let request = proxy
        .get("/x")
        .header("authorization", "Bearer s3cret-bearer");
    request.header("cookie", "sid=s3cret-cookie").await;
    proxy.admin_get("/stats").await.status(200);
    proxy.term().await;
    proxy.exit().await;
    assert!(!proxy.log().contains("s3cret"), "{}", proxy.log());
}

#[tokio::test]
async fn the_admin_listener_asks_for_its_token() {
    let origin = origin::new().run().await;
    let proxy = proxy::new(&origin).admin_token("s3cret").run().await;
    let ask = |target| super::support::client::ask(proxy.admin, "GET", target);
    for target in ["/livez", "/readyz"] {
        ask(target).await.status(200);
    }
    for target in ["/stats", "/metrics", "/cache/stats", "/nowhere"] {
        ask(target).await.status(401);
        for wrong in ["Bearer s3cre", "Bearer s3crett", "Basic s3cret", "s3cret"] {
            ask(target).header("authorization", wrong).await.status(401);
        }
    }
    proxy.admin_get("/stats").await.status(200);
    let forged = super::support::client::ask(proxy.admin, "POST", "/cache/invalidate");
    forged
        .header("x-forwarded-for", "127.0.0.1")
        .await
        .status(401);
}

#[tokio::test]
async fn the_data_plane_is_not_a_way_to_the_admin_listener() {
    let origin = origin::new().otherwise(ok("application")).run().await;
    let proxy = proxy::new(&origin).run().await;
    for path in ["/metrics", "/cache/stats", "/livez"] {
        proxy.get(path).await.is("application");
    }
}
