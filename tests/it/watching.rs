//! What operators see of a running proxy.

use serde_json::Value;

use super::support::{Hit, Miss, eventually, ok, origin, proxy, status};

#[tokio::test]
async fn every_described_path_is_answered_and_none_besides() {
    let origin = origin::new().otherwise(ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .route("/users/{id}", |route| route.name("users"))
        .run()
        .await;
    proxy.get("/users/1").await.was(Miss);
    let described = proxy.admin_get("/openapi.json").await.json();
    let paths = described["paths"].as_object().unwrap();
    assert!(paths.len() >= 25, "{}", paths.len());
    for (path, verbs) in paths {
        let target = path
            .replace("{method}", "GET")
            .replace("{endpoint}", "users/1")
            .replace("{route}", "users");
        for verb in verbs.as_object().unwrap().keys() {
            let answer = match (verb.as_str(), path.as_str()) {
                ("post", "/cache/clear") => proxy.admin_post("/cache/clear?tier=memory").await,
                // It goes on for as long as somebody reads it.
                ("get", "/tail") => continue,
                ("post", _) => proxy.admin_post(&target).await,
                _ => proxy.admin_get(&target).await,
            };
            answer.status(200);
        }
    }
    for nothing in ["/assets/dashboard.js", "/index.html", "/debug", "/cache"] {
        proxy.admin_get(nothing).await.status(404);
    }
}

#[tokio::test]
async fn the_history_survives_a_reload() {
    let origin = origin::new().otherwise(ok("x").max_age(60)).run().await;
    let builder = || proxy::new(&origin).route("/**", |route| route.name("all"));
    let proxy = builder().run().await;
    proxy.get("/a").await.was(Miss);
    proxy.get("/a").await.was(Hit);
    proxy.rewrite(&builder().route("/b", |route| route.name("b")).text());
    proxy.hup().await;
    proxy.logs("the configuration was reloaded").await;
    proxy.get("/a").await.was(Hit);

    let history = proxy.admin_get("/history?window=1h").await.json();
    let sum = |name: &str| -> u64 {
        let minutes = history[name].as_array().unwrap().iter();
        minutes.filter_map(Value::as_u64).sum()
    };
    assert_eq!((sum("requests"), sum("hits"), sum("misses")), (3, 2, 1));
    let summary = proxy
        .admin_get("/performance/summary?window=1h")
        .await
        .json();
    assert_eq!(summary["total"]["requests"], 3, "{summary:#}");
    proxy.admin_get("/history?window=25h").await.is_problem(400);
}

#[tokio::test]
async fn the_store_says_what_it_saved() {
    let origin = origin::new()
        .get("/users/1", ok("0123456789").max_age(60))
        .get("/users/2", ok("x").header("Set-Cookie", "a=b").max_age(60))
        .get("/users/3", ok("x").cache_control("no-store"))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/users/{id}", |route| route.name("users"))
        .run()
        .await;
    for path in [
        "/users/1",
        "/users/1",
        "/users/1?secret=1",
        "/users/2",
        "/users/3",
        "/users/3",
    ] {
        proxy.get(path).await;
    }
    proxy.get("/users/1").await.was(Hit);
    let stats = proxy.admin_get("/cache/stats").await.json();
    let users = &stats["caches"]["users"];
    assert_eq!(users["hit_bytes"], 20, "{users:#}");
    assert!(users["saved_seconds"].as_f64().unwrap() > 0.0, "{users:#}");
    assert!(users["byte_hit_rate_percent"].as_f64().unwrap() > 40.0);
    let refusals = &users["refusals"];
    assert_eq!(refusals["no-store"], 2, "{users:#}");
    assert_eq!(refusals["set-cookie"], 1, "{users:#}");
    let series = r#"pannier_refusals_total{route="users",reason="no-store"}"#;
    assert_eq!(proxy.metric(series).await, 2.0);
    let top = proxy.admin_get("/cache/top-keys").await;
    assert_eq!(top.json()["by_hits"][0]["path"], "/users/1");
    assert!(!top.text().contains("secret"), "{top}");
}

#[tokio::test]
async fn connections_and_errors_of_the_origin_are_counted() {
    let mut origin = origin::new().otherwise(ok("x").max_age(1)).run().await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/a").await.status(200);
    let upstream = eventually("the connection to be idle", async || {
        let upstream = proxy.admin_get("/performance/upstream").await.json();
        (upstream["connections"]["idle"] == 1).then_some(upstream)
    })
    .await;
    assert_eq!(upstream["connections"]["open"], 1, "{upstream:#}");
    assert_eq!(upstream["connections"]["opened"], 1);
    assert_eq!(upstream["body_bytes"], 1);

    origin.stop().await;
    eventually("the origin to be missed three times", async || {
        proxy.get("/b").await;
        let upstream = proxy.admin_get("/performance/upstream").await.json();
        let failures = upstream["failures_in_a_row"].as_u64();
        failures.filter(|failures| *failures >= 3)
    })
    .await;
    let health = proxy.admin_get("/health").await.json();
    assert_eq!(health["status"], "critical", "{health:#}");
    let said = health["message"].as_str().unwrap();
    assert!(said.contains("the origin did not answer"), "{said}");

    origin.start().await;
    proxy.get("/c").await.status(200);
    let upstream = proxy.admin_get("/performance/upstream").await.json();
    assert_eq!(upstream["failures_in_a_row"], 0);
    assert!(!upstream["errors"].as_object().unwrap().is_empty());
}

#[tokio::test]
async fn the_access_log_says_what_came_of_each_request_and_no_secret() {
    let origin = origin::new()
        .get("/users/1", ok("page").max_age(60))
        .otherwise(status(404))
        .run()
        .await;
    let builder = |format: &str| {
        proxy::new(&origin)
            .toml(&format!("[log]\naccess = \"{format}\""))
            .route("/users/{id}", |route| route.name("users"))
    };
    let proxy = builder("json").run().await;
    proxy.get("/users/1?password=hunter2").await.was(Miss);
    let asked = proxy.get("/users/1?password=hunter2");
    asked.header("Authorization", "Bearer hunter3").await;
    proxy.get("/nothing").await.status(404);
    let lines = proxy.access_lines(3).await;
    let read: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read[0]["path"], "/users/1");
    assert_eq!(read[0]["cache"], "MISS");
    assert_eq!(read[0]["route"], "users");
    assert_eq!(read[0]["status"], 200);
    assert_eq!(read[0]["client"], "127.0.0.1");
    assert!(read[0]["upstream_ms"].is_number() && read[0]["elapsed_ms"].is_number());
    assert_eq!(read[2]["status"], 404);

    proxy.rewrite(&builder("text").text());
    proxy.hup().await;
    proxy.logs("the configuration was reloaded").await;
    proxy.get("/users/1?password=hunter2").await.was(Hit);
    let lines = proxy.access_lines(4).await;
    assert!(
        lines[3].contains("\"GET /users/1\" 200 4 HIT users "),
        "{}",
        lines[3]
    );
    assert!(!lines.concat().contains("hunter"), "{lines:?}");
}

#[tokio::test]
async fn a_trace_goes_on_behind_the_proxy() {
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin).run().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let asked = proxy.get("/traced").header("traceparent", parent);
    asked.header("tracestate", "vendor=1").await.status(200);
    let received = origin.last_request("/traced");
    assert_eq!(received.field("traceparent"), parent);
    assert_eq!(received.field("tracestate"), "vendor=1");
}

#[tokio::test]
async fn the_dashboard_shows_itself_to_strangers_and_nothing_else() {
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin).admin_token("a-token").run().await;
    let stranger = || super::support::client::ask(proxy.admin, "GET", "/");
    let page = stranger().await;
    page.status(401)
        .has("content-type", "text/html; charset=utf-8");
    assert!(page.text().contains("Admin token"));
    let policy = page.header("content-security-policy");
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    page.lacks("set-cookie");
    let other = stranger().await;
    assert_ne!(
        policy,
        other.header("content-security-policy"),
        "a nonce is used once"
    );
    proxy.admin_get("/").await.status(200);
}

#[tokio::test]
async fn a_log_beside_the_configuration_does_not_tell_of_itself() {
    let origin = origin::new().get("/x", ok("x")).run().await;
    let builder = proxy::new(&origin).log_filter("trace");
    let proxy = builder.clone().run().await;
    proxy.rewrite(&builder.toml("[limits]\nqueue_max = 7").text());
    proxy.logs("the configuration was reloaded").await;
    let log = proxy.log();
    let told = log.lines().find(|line| line.contains("notify"));
    assert_eq!(told, None, "a line about each line never ends");
}

#[tokio::test]
async fn a_response_whose_lifetime_ended_and_that_was_fetched_anew_has_expired() {
    let origin = origin::new().get("/x", ok("x").max_age(0)).run().await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| route.name("the-x").stale_if_error("1h"))
        .run()
        .await;
    proxy.get("/x").await.was(Miss);
    assert_eq!(proxy.route_figure("the-x", "expirations").await, 0);
    proxy.get("/x").await.was(Miss);
    proxy.get("/x").await.was(Miss);
    assert_eq!(proxy.route_figure("the-x", "sets").await, 3);
    assert_eq!(proxy.route_figure("the-x", "expirations").await, 2);
}

#[tokio::test]
async fn the_keys_that_are_missed_most_are_told() {
    let origin = origin::new().otherwise(ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .route("/search", |route| route.name("search"))
        .run()
        .await;
    for number in 0..5 {
        proxy.get(&format!("/search?q={number}")).await.was(Miss);
    }
    proxy.get("/search?q=0").await.was(Hit);
    let top = proxy.admin_get("/cache/top-keys").await.json();
    let missed = &top["by_misses"][0];
    assert_eq!(
        (&missed["path"], &missed["misses"]),
        (&"/search".into(), &5.into())
    );
    assert_eq!(top["by_hits"][0]["hits"], 1, "{top:#}");
}
