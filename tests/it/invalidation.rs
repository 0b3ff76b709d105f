//! Writes, and what they make invalid.

use super::support::origin::{self, Origin};
use super::support::proxy::{self, Proxy};
use super::support::{Gate, Hit, Miss, Stale, cli, eventually, hang_up, ok, silence, status};

/// An origin where every page is fresh for long.
async fn pages() -> Origin {
    origin::new().otherwise(ok("page").max_age(600)).run().await
}

/// Reads each path once, so that it is stored.
async fn store(proxy: &Proxy, paths: &[&str]) {
    for path in paths {
        proxy.get(path).await.was(Miss);
        proxy.get(path).await.was(Hit);
    }
}

/// Which of these paths are not in the store any more. Asking stores them again.
async fn gone<'a>(proxy: &Proxy, paths: &[&'a str]) -> Vec<&'a str> {
    let mut gone = Vec::new();
    for path in paths {
        if proxy.get(path).await.cache() != "HIT" {
            gone.push(*path);
        }
    }
    gone
}

const AROUND_SEVEN: [&str; 8] = [
    "/a",
    "/a?page=2",
    "/a/7",
    "/a/7?full=1",
    "/a/7/b",
    "/a/7/b/c",
    "/a/77",
    "/other",
];

#[tokio::test]
async fn a_put_a_patch_and_a_delete_invalidate_target_parent_and_below() {
    let origin = pages().await;
    for method in ["PUT", "PATCH", "DELETE"] {
        let proxy = proxy::new(&origin).run().await;
        store(&proxy, &AROUND_SEVEN).await;
        proxy.request(method, "/a/7").body("x").await.is_success();
        assert_eq!(
            gone(&proxy, &AROUND_SEVEN).await,
            [
                "/a",
                "/a?page=2",
                "/a/7",
                "/a/7?full=1",
                "/a/7/b",
                "/a/7/b/c"
            ],
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_post_invalidates_target_and_parent_but_nothing_below() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    store(&proxy, &AROUND_SEVEN).await;
    proxy.post("/a/7", "x").await.is_success();
    assert_eq!(
        gone(&proxy, &AROUND_SEVEN).await,
        ["/a", "/a?page=2", "/a/7", "/a/7?full=1"]
    );

    // All are stored again: asking did it.
    proxy.post("/a/7/clear", "").await.is_success();
    let gone = gone(&proxy, &AROUND_SEVEN).await;
    assert_eq!(gone, ["/a/7", "/a/7?full=1"], "the parent of /a/7/clear");
}

#[tokio::test]
async fn the_rfc_s_own_rule_leaves_parent_and_children_alone() {
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .toml("[invalidation]\ndefault = \"rfc\"")
        .run()
        .await;
    store(&proxy, &AROUND_SEVEN).await;
    proxy.delete("/a/7").await.is_success();
    let gone = gone(&proxy, &AROUND_SEVEN).await;
    assert_eq!(gone, ["/a/7", "/a/7?full=1"]);
}

#[tokio::test]
async fn every_variant_of_what_was_written_is_invalid() {
    let origin = origin::new()
        .get("/x", ok("x").max_age(600).header("Vary", "Accept-Language"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let ask = |language: &'static str| proxy.get("/x").header("accept-language", language);
    for language in ["de", "en"] {
        ask(language).await.was(Miss);
        ask(language).await.was(Hit);
    }
    proxy.put("/x", "y").await.is_success();
    ask("de").await.was(Miss);
    ask("en").await.was(Miss);
}

#[tokio::test]
async fn location_and_content_location_of_a_write_are_invalid() {
    let origin = origin::new()
        .otherwise(ok("page").max_age(600))
        .on(
            "POST",
            "/orders",
            status(201)
                .header("Location", "/orders/9")
                .header("Content-Location", "http://pannier.test/latest"),
        )
        .on(
            "POST",
            "/foreign",
            status(201).header("Location", "http://elsewhere.test/latest"),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let pages = ["/orders/9", "/latest", "/orders/8"];
    store(&proxy, &pages).await;
    proxy.post("/foreign", "x").await.is_success();
    assert!(gone(&proxy, &pages).await.is_empty(), "another host's path");
    proxy.post("/orders", "x").await.status(201);
    assert_eq!(gone(&proxy, &pages).await, ["/orders/9", "/latest"]);
}

#[tokio::test]
async fn a_write_that_failed_invalidates_nothing() {
    let origin = origin::new()
        .otherwise(ok("page").max_age(600))
        .on("PUT", "/a", status(409))
        .on("DELETE", "/a", status(500))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    store(&proxy, &["/a"]).await;
    proxy.put("/a", "x").await.status(409);
    proxy.delete("/a").await.status(500);
    proxy.get("/a").await.was(Hit);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_invalidates() {
    let origin = origin::new()
        .otherwise(ok("page").max_age(600))
        .on("POST", "/reset", hang_up())
        .on("PUT", "/late", silence())
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml("[origin]\nresponse_timeout = \"300ms\"")
        .run()
        .await;
    store(&proxy, &["/reset", "/late"]).await;
    proxy.post("/reset", "x").await.is_problem(502);
    proxy.get("/reset").await.was(Miss);
    proxy.put("/late", "x").await.is_problem(504);
    proxy.get("/late").await.was(Miss);
    origin.was_sent("POST", "/reset").times(1);
    origin.was_sent("PUT", "/late").times(1);
}

#[tokio::test]
async fn a_write_that_never_reached_the_origin_invalidates_nothing() {
    let mut origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    store(&proxy, &["/a"]).await;
    origin.stop().await;
    proxy.put("/a", "x").await.is_problem(502);
    proxy.get("/a").await.was(Hit);
}

#[tokio::test]
async fn a_rule_invalidates_what_its_captures_name() {
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .toml(
            r#"
            [invalidation]
            default = "rfc"

            [[invalidations]]
            path = "/api/templates/{id}/versions/{version}"
            methods = ["POST"]
            purge = ["/api/templates", "/api/templates/{id}", "/reports/{id}-*", "/deep/{id}/**"]
            "#,
        )
        .run()
        .await;
    let pages = [
        "/api/templates",
        "/api/templates?q=1",
        "/api/templates/7",
        "/api/templates/8",
        "/reports/7-a",
        "/reports/8-a",
        "/deep/7/a/b",
        "/deep/8/a/b",
    ];
    store(&proxy, &pages).await;
    proxy
        .put("/api/templates/7/versions/1", "x")
        .await
        .is_success();
    assert!(
        gone(&proxy, &pages).await.is_empty(),
        "not one of its methods"
    );
    proxy
        .post("/api/templates/7/versions/1", "x")
        .await
        .is_success();
    assert_eq!(
        gone(&proxy, &pages).await,
        [
            "/api/templates",
            "/api/templates?q=1",
            "/api/templates/7",
            "/reports/7-a",
            "/deep/7/a/b"
        ]
    );
}

#[tokio::test]
async fn a_fill_that_began_before_a_write_is_never_reused_after_it() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("old").max_age(600).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;

    let filling = tokio::spawn(proxy.get("/x").into_future());
    gate.reached_by(1).await;
    origin.now_answers("/x", ok("new").max_age(600));
    proxy.put("/x", "new").await.is_success();

    // The old answer is still on its way: whoever asks now does not wait for it.
    proxy.get("/x").await.is("new").was(Miss);
    gate.open();
    filling.await.unwrap().is("old");
    proxy.get("/x").await.is("new");
    origin.was_asked("/x").times(2);
}

#[tokio::test]
async fn a_fill_that_lands_after_a_write_is_dead_on_arrival() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("old").max_age(600).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let filling = tokio::spawn(proxy.get("/x").into_future());
    gate.reached_by(1).await;
    origin.now_answers("/x", ok("new").max_age(600));
    proxy.put("/x", "new").await.is_success();
    gate.open();
    filling.await.unwrap().is("old");
    proxy.get("/x").await.is("new").was(Miss);
    proxy.get("/x").await.is("new").was(Hit);
}

#[tokio::test]
async fn an_operator_invalidates_in_every_form() {
    let origin = origin::new()
        .otherwise(ok("page").max_age(600))
        .get(
            "/tagged",
            ok("page").max_age(600).header("Cache-Tag", "shop, sale"),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/users/{id}", |route| route.name("users"))
        .route("/**", |route| route.name("rest"))
        .run()
        .await;
    let pages = ["/users/1", "/users/2", "/a", "/a?x=1", "/a/b", "/tagged"];
    store(&proxy, &pages).await;

    proxy.purge("pattern=/a/*").await;
    assert_eq!(gone(&proxy, &pages).await, ["/a/b"]);
    proxy.purge("pattern=/a/**").await;
    assert_eq!(gone(&proxy, &pages).await, ["/a", "/a?x=1", "/a/b"]);
    proxy.purge("url=/a").await;
    assert!(gone(&proxy, &pages).await.contains(&"/a"));
    proxy.purge("route=users").await;
    assert_eq!(gone(&proxy, &pages).await, ["/users/1", "/users/2"]);
    proxy
        .admin_post("/cache/invalidate/users")
        .await
        .is_success();
    assert_eq!(gone(&proxy, &pages).await, ["/users/1", "/users/2"]);
    proxy.purge("tag=sale").await;
    assert_eq!(gone(&proxy, &pages).await, ["/tagged"]);
    proxy.admin_post("/cache/invalidate").await.is_success();
    assert_eq!(gone(&proxy, &pages).await, pages);
    proxy.clear("memory").await;
    assert_eq!(gone(&proxy, &pages).await, pages);

    let unknown = proxy.admin_post("/cache/invalidate/nobody").await;
    assert!(unknown.status.is_client_error(), "{unknown}");
    let broken = proxy.admin_post("/cache/invalidate?pattern={").await;
    assert_eq!(broken.status, 400, "{broken}");
}

#[tokio::test]
async fn a_soft_invalidation_leaves_something_to_serve_meanwhile() {
    let origin = origin::new().get("/x", ok("old").max_age(600)).run().await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| route.stale_while_revalidate("10m"))
        .run()
        .await;
    store(&proxy, &["/x"]).await;
    origin.now_answers("/x", ok("new").max_age(600));
    proxy.purge("pattern=/x&soft=true").await;
    proxy.get("/x").await.is("old").was(Stale);
    eventually("the renewed response", async || {
        (proxy.get("/x").await.text() == "new").then_some(())
    })
    .await;
    proxy.get("/x").await.is("new").was(Hit);
}

#[tokio::test]
async fn the_command_line_invalidates_too() {
    let origin = pages().await;
    let proxy = proxy::new(&origin)
        .route("/users/{id}", |route| route.name("users"))
        .route("/**", |route| route.name("rest"))
        .run()
        .await;
    let pages = ["/users/1", "/a", "/b"];
    let admin = proxy.admin.to_string();
    for (arguments, expected) in [
        (vec!["/a", "/b"], vec!["/a", "/b"]),
        (vec!["--route", "users"], vec!["/users/1"]),
        (vec!["--all"], pages.to_vec()),
    ] {
        for page in pages {
            proxy.get(page).await.status(200);
        }
        let command = [vec!["purge", "--admin", admin.as_str()], arguments].concat();
        let ended = cli::pannier(&command, &[]).await;
        assert_eq!(ended.code, 0, "{command:?}: {ended:?}");
        assert!(!ended.stdout.is_empty(), "says what was acknowledged");
        assert_eq!(gone(&proxy, &pages).await, expected, "{command:?}");
    }
}

#[tokio::test]
async fn a_purge_by_method_is_just_another_method() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    store(&proxy, &["/a"]).await;
    let request = proxy.request("PURGE", "/a");
    request.header("x-forwarded-for", "127.0.0.1").await;
    origin.was_sent("PURGE", "/a").times(1);
}

#[tokio::test]
async fn who_asks_after_a_purge_by_tag_is_not_answered_from_a_fetch_before_it() {
    let gate = Gate::new();
    let tagged = |body: &'static str| ok(body).max_age(600).header("Cache-Tag", "sale");
    let origin = origin::new()
        .get("/x", tagged("old").held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let before = tokio::spawn(proxy.get("/x").into_future());
    gate.reached_by(1).await;
    proxy.purge("tag=sale").await;

    origin.now_answers("/x", tagged("new"));
    let after = tokio::spawn(proxy.get("/x").into_future());
    origin.is_asked("/x", 2).await;
    gate.open();
    before.await.unwrap().is("old");
    after.await.unwrap().is("new");
    proxy.get("/x").await.is("new").was(Hit);
}

#[tokio::test]
async fn a_write_in_disguise_invalidates_as_what_it_is() {
    let origin = pages().await;
    let proxy = proxy::new(&origin).run().await;
    for (method, expected) in [("POST", &["/a/7", "/a/7/b"][..]), ("GET", &[])] {
        store(&proxy, &["/a/7", "/a/7/b", "/other"]).await;
        let disguised = proxy.request(method, "/a/7");
        disguised
            .header("x-http-method-override", "delete")
            .await
            .is_success();
        let gone = gone(&proxy, &["/a/7", "/a/7/b", "/other"]).await;
        assert_eq!(gone, expected, "{method}");
        proxy.purge("pattern=/**").await;
    }
}
