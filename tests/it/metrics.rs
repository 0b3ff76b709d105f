//! What is counted, and where it can be read.

use serde_json::Value;

use super::support::client::Answer;
use super::support::origin;
use super::support::proxy::{self, Proxy};
use super::support::{Bypass, Hit, Miss, eventually, ok, status};

/// A proxy that has answered a few requests: two misses, two hits, one
/// bypass, one client error, one write.
async fn busy() -> (origin::Origin, Proxy) {
    let origin = origin::new()
        .otherwise(ok("page").max_age(600))
        .get("/gone/1", status(404))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/users/{id}", |route| route.name("users"))
        .run()
        .await;
    proxy.get("/users/1").await.was(Miss);
    proxy.get("/users/1").await.was(Hit);
    proxy.get("/users/1").await.was(Hit);
    proxy.get("/users/2").await.was(Miss);
    proxy.get("/other/123/x").await.was(Bypass);
    proxy.get("/gone/1").await.status(404);
    proxy.put("/users/2", "x").await.is_success();
    (origin, proxy)
}

#[tokio::test]
async fn cache_stats_count_each_route() {
    let (_origin, proxy) = busy().await;
    assert_eq!(proxy.route_figure("users", "hits").await, 2);
    assert_eq!(proxy.route_figure("users", "misses").await, 2);
    assert_eq!(proxy.route_figure("users", "sets").await, 2);
    let stats = proxy.admin_get("/cache/stats").await.json();
    let users = &stats["caches"]["users"];
    for figure in [
        "size",
        "max_size",
        "utilization_percent",
        "bytes",
        "hit_rate_percent",
        "evictions",
        "expirations",
        "invalidations",
        "total_requests",
    ] {
        assert!(users.get(figure).is_some(), "{figure} in {stats:#}");
    }
    assert_eq!(stats["summary"]["total_hits"], 2);
    assert_eq!(stats["summary"]["total_misses"], 2);
    assert_eq!(stats["summary"]["overall_hit_rate_percent"], 50.0);

    proxy.admin_post("/cache/reset-stats").await.is_success();
    assert_eq!(proxy.route_figure("users", "hits").await, 0);
    let counted = proxy.admin_get("/metrics").await.text();
    assert!(counted.contains("pannier_requests_total{"), "{counted}");
}

#[tokio::test]
async fn prometheus_reads_requests_by_route_and_outcome() {
    let (_origin, proxy) = busy().await;
    let answer = eventually("every request to be counted", async || {
        let answer = proxy.admin_get("/metrics").await;
        let hits = r#"cache="hit"#;
        let line = sample(
            &answer,
            "pannier_requests_total{",
            &[hits, r#"route="users""#],
        );
        line.filter(|value| *value == 2.0).map(|_| answer)
    })
    .await;
    assert!(answer.header("content-type").starts_with("text/plain"));
    for name in [
        "pannier_request_duration_seconds_bucket{",
        "pannier_upstream_duration_seconds_count{",
        "pannier_cache_entries{",
        "pannier_cache_bytes{",
        "pannier_inflight_requests",
        "process_resident_memory_bytes",
    ] {
        assert!(answer.text().contains(name), "{name} in {answer}");
    }
}

/// The first sample of a family whose labels contain all of these.
fn sample(answer: &Answer, family: &str, labels: &[&str]) -> Option<f64> {
    let text = answer.text();
    let line = text
        .lines()
        .find(|line| line.starts_with(family) && labels.iter().all(|label| line.contains(label)))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test]
async fn endpoints_are_timed_by_template() {
    let (_origin, proxy) = busy().await;
    let endpoint = eventually("both endpoints in /performance", async || {
        let list = proxy.admin_get("/performance").await.json();
        let find = |name: &str| {
            let all = list.as_array()?;
            all.iter()
                .find(|one| one["endpoint"] == name && one["method"] == "GET")
                .cloned()
        };
        find("/other/{id}/x")?;
        find("/users/{id}")
    })
    .await;
    assert_eq!(endpoint["count"], 4, "{endpoint:#}");
    for figure in ["avg_ms", "min_ms", "max_ms", "p50_ms", "p95_ms", "p99_ms"] {
        let value = endpoint[figure].as_f64().unwrap_or(-1.0);
        assert!(value >= 0.0, "{figure} in {endpoint:#}");
    }
    assert!(endpoint["upstream"]["count"].is_u64(), "{endpoint:#}");

    let most = proxy.admin_get("/performance/most-requested?limit=1").await;
    assert_eq!(most.json().as_array().map(Vec::len), Some(1), "{most}");
    proxy.admin_post("/performance/reset").await.is_success();
}

#[tokio::test]
async fn every_page_of_the_admin_listener_answers() {
    let (_origin, proxy) = busy().await;
    for path in [
        "/health",
        "/stats",
        "/cache/stats",
        "/performance",
        "/performance/slowest?limit=10",
        "/performance/most-requested?limit=10",
        "/performance/system",
        "/performance/cache",
        "/performance/upstream",
        "/performance/summary?window=24h",
        "/history?window=24h",
        "/queues",
        "/openapi.json",
    ] {
        let answer = proxy.admin_get(path).await;
        answer.status(200).json();
    }
    let described = proxy.admin_get("/openapi.json").await.json();
    for path in [
        "/metrics",
        "/cache/stats",
        "/cache/invalidate",
        "/performance",
    ] {
        assert!(described["paths"].get(path).is_some(), "{path}");
    }
    let health = proxy.admin_get("/health").await.json();
    assert!(
        health["score"].is_u64() && health["status"].is_string(),
        "{health:#}"
    );
    proxy.admin_get("/no-such-page").await.status(404);
}

#[tokio::test]
async fn the_dashboard_stands_on_its_own() {
    let (_origin, proxy) = busy().await;
    let page = proxy.admin_get("/").await;
    page.status(200);
    assert!(
        page.header("content-type").starts_with("text/html"),
        "{page}"
    );
    let loads_from_afar = ["src=\"http", "href=\"http", "@import"];
    for mark in loads_from_afar {
        assert!(!page.text().contains(mark), "{mark} in the dashboard");
    }
}

#[tokio::test]
async fn unknown_paths_cannot_make_endless_labels() {
    let (_origin, proxy) = busy().await;
    for number in 0..1_200 {
        proxy.get(&format!("/flood/p{number}x")).await.status(200);
    }
    let list = proxy.admin_get("/performance").await.json();
    let endpoints = list.as_array().map_or(0, Vec::len);
    assert!(endpoints <= 1_001, "{endpoints} endpoints");
    let others = |one: &&Value| one["endpoint"] == "other";
    let other = list
        .as_array()
        .and_then(|all| all.iter().find(others).cloned());
    assert!(other.is_some(), "the rest count as `other`");
}

#[tokio::test]
async fn streams_reset_too_rapidly_are_counted_and_do_not_fill_the_log() {
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin).run().await;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    };
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, b""));
    for stream in (1..400).step_by(2) {
        // GET http://x/, and at once CANCEL.
        bytes.extend(frame(1, 5, stream, b"\x82\x86\x84\x41\x01x"));
        bytes.extend(frame(3, 0, stream, &[0, 0, 0, 8]));
    }
    // The machine may have given it a warning of its own, such as few descriptors.
    let warnings = || proxy.log().matches("WARN").count();
    let at_start = warnings();
    let mut connection = proxy.connect().await;
    connection.send(&bytes).await;
    eventually("the connection to end", async || {
        let failed = proxy.metric("pannier_connections_failed_total").await;
        (failed >= 1.0).then_some(())
    })
    .await;
    assert_eq!(warnings(), at_start, "{}", proxy.log());
    proxy.get("/").await.status(200);
}
