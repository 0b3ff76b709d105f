//! What the figures say of what happened.

use super::*;
use crate::gate::GateBounds;

#[tokio::test]
async fn cache_stats_say_what_the_caches_did() {
    let admin = Admin::run(None).await;
    let route = admin.telemetry.route("users", "/users/{id}");
    route.counters().entries.set(50);
    route.counters().bytes.set(300);
    route.counters().sets.add(60);
    admin.serve(Some("users"), "/users/7", CacheResult::Miss, 5);
    for _ in 0..3 {
        admin.serve(Some("users"), "/users/7", CacheResult::Hit, 1);
    }
    admin.telemetry.redis().up.set(1);
    admin.telemetry.redis().hits.add(2);

    let stats = admin.get("/cache/stats").await.json();
    let users = &stats["caches"]["users"];
    for (name, figure) in [
        ("size", 50.0),
        ("max_size", 200.0),
        ("utilization_percent", 25.0),
        ("bytes", 300.0),
        ("hits", 3.0),
        ("misses", 1.0),
        ("hit_rate_percent", 75.0),
        ("sets", 60.0),
        ("evictions", 0.0),
        ("expirations", 0.0),
        ("invalidations", 0.0),
        ("total_requests", 4.0),
    ] {
        assert_eq!(users[name].as_f64(), Some(figure), "{name}");
    }
    // A route that nobody asked for is there, without a bound of its own.
    assert_eq!(stats["caches"]["/api/items"]["max_size"], 0);
    let summary = &stats["summary"];
    assert_eq!(summary["total_hits"], 3);
    assert_eq!(summary["total_misses"], 1);
    assert_eq!(summary["total_requests"], 4);
    assert_eq!(summary["overall_hit_rate_percent"], 75.0);
    assert_eq!(stats["redis"]["connected"], true);
    assert_eq!(stats["redis"]["hits"], 2);
    assert!(stats["timestamp"].as_str().unwrap().ends_with('Z'));

    assert_eq!(admin.post("/cache/reset-stats").await.status, 200);
    let stats = admin.get("/cache/stats").await.json();
    assert_eq!(stats["summary"]["total_requests"], 0);
    assert_eq!(stats["redis"]["hits"], 0);
    assert_eq!(stats["caches"]["users"]["size"], 50);
    let page = admin.get("/metrics").await.body;
    assert!(page.contains("pannier_cache_sets_total{route=\"users\"} 60"));
}

#[tokio::test]
async fn utilization_without_a_bound_of_entries_is_the_share_of_memory() {
    let admin = Admin::run(None).await;
    let route = admin.telemetry.route("/api/items", "/api/items");
    route.counters().bytes.set(125);
    let stats = admin.get("/cache/stats").await.json();
    assert_eq!(stats["caches"]["/api/items"]["utilization_percent"], 12.5);
}

#[tokio::test]
async fn performance_tells_every_endpoint_and_each_alone() {
    let admin = Admin::run(None).await;
    admin.serve(Some("users"), "/users/7", CacheResult::Miss, 100);
    admin.serve(Some("users"), "/users/8", CacheResult::Hit, 10);
    for _ in 0..3 {
        admin.serve(None, "/files/12", CacheResult::Bypass, 1);
    }
    let all = admin.get("/performance").await.json();
    let endpoints: Vec<&str> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|endpoint| endpoint["endpoint"].as_str().unwrap())
        .collect();
    assert_eq!(endpoints, ["/files/{id}", "/users/{id}"]);

    let users = admin
        .get("/performance/endpoint/get/users/%7Bid%7D")
        .await
        .json();
    assert_eq!(users, all[1]);
    for (name, figure) in [
        ("count", 2.0),
        ("errors", 0.0),
        ("success_rate_percent", 100.0),
        ("avg_ms", 55.0),
        ("min_ms", 10.0),
        ("max_ms", 100.0),
        ("p99_ms", 100.0),
    ] {
        assert_eq!(users[name].as_f64(), Some(figure), "{name}");
    }
    assert_eq!(users["method"], "GET");
    assert_eq!(users["cache"]["hits"], 1);
    assert_eq!(users["cache"]["misses"], 1);
    assert_eq!(users["cache"]["hit_rate_percent"], 50.0);
    assert_eq!(users["upstream"]["count"], 1);
    assert_eq!(users["upstream"]["p95_ms"], 100.0);
    assert!(users["last_request"].as_str().unwrap().ends_with('Z'));
    for name in ["p50_ms", "p95_ms"] {
        assert!(users[name].is_number(), "{name}");
    }

    let slowest = admin.get("/performance/slowest?limit=1").await.json();
    assert_eq!(slowest[0]["endpoint"], "/users/{id}");
    assert_eq!(slowest.as_array().unwrap().len(), 1);
    let busiest = admin.get("/performance/most-requested").await.json();
    assert_eq!(busiest[0]["endpoint"], "/files/{id}");

    let upstream = admin.get("/performance/upstream").await.json();
    assert_eq!(
        (upstream["count"].as_u64(), upstream["avg_ms"].as_f64()),
        (Some(1), Some(100.0))
    );
    let rates = admin.get("/performance/cache").await.json();
    assert_eq!(rates["overall_hit_rate_percent"], 50.0);
    assert_eq!(
        rates["caches"]["users"]["recommendations"],
        serde_json::json!([])
    );
    let system = admin.get("/performance/system").await.json();
    assert_eq!(system["total_requests"], 5);
    assert_eq!(system["success_rate_percent"], 100.0);
    assert!(system["process"]["memory_bytes"].as_u64().unwrap() > 0);
    assert!(system["process"]["open_files"].as_u64().unwrap() > 0);
    assert!(system["process"]["cpu_seconds"].is_number());
    assert!(system["uptime_seconds"].is_number());
    assert!(system["requests_per_second"].is_number());

    assert_eq!(admin.post("/performance/reset").await.status, 200);
    assert_eq!(
        admin.get("/performance").await.json(),
        serde_json::json!([])
    );
}

#[tokio::test]
async fn stats_hold_everything_in_one_document() {
    let admin = Admin::run(None).await;
    let gate = admin.telemetry.requests();
    gate.set_bounds(GateBounds {
        permits_max: 10,
        queue_max: 4,
        queue_timeout: Duration::from_millis(250),
    });
    let in_flight = gate.try_enter();
    admin.telemetry.redis().queue_length.set(3);
    let stats = admin.get("/stats").await.json();
    assert_eq!(stats["cache"]["caches"]["users"]["max_size"], 200);
    assert!(stats["performance"]["endpoints"].is_array());
    assert!(stats["performance"]["system"]["uptime_seconds"].is_number());
    let queues = admin.get("/queues").await.json();
    assert_eq!(queues, stats["queues"]);
    assert_eq!(queues["requests"]["in_flight"], 1);
    assert_eq!(queues["requests"]["in_flight_max"], 10);
    assert_eq!(queues["requests"]["waiting_max"], 4);
    assert_eq!(queues["requests"]["timeout_ms"], 250.0);
    assert_eq!(queues["upstream"]["in_flight"], 0);
    assert_eq!(
        stats["health"]["status"], "warning",
        "Redis is not connected"
    );
    assert_eq!(stats["warm"]["total"], 0);
    assert!(stats["performance"]["summary"]["hours"].is_array());
    assert_eq!(queues["write_behind"]["length"], 3);
    assert_eq!(queues["write_behind"]["length_max"], 1_024);
    drop(in_flight);
}

#[tokio::test]
async fn metrics_are_for_prometheus() {
    let admin = Admin::run(None).await;
    let answer = admin.get("/metrics").await;
    assert!(
        answer
            .head
            .contains("content-type: text/plain; version=0.0.4")
    );
    assert!(answer.head.contains("cache-control: no-store"));
    assert!(answer.body.contains("pannier_inflight_requests 0"));
}

#[tokio::test]
async fn the_store_says_what_it_saved_and_what_it_refused() {
    let admin = Admin::run(None).await;
    let route = admin.telemetry.route("users", "/users/{id}");
    admin.serve(Some("users"), "/users/7", CacheResult::Miss, 5);
    admin.serve(Some("users"), "/users/7", CacheResult::Hit, 1);
    admin.serve(Some("users"), "/users/7", CacheResult::Hit, 1);
    route.counters().refusals.increment("set-cookie");
    route.counters().hit_bytes.add(300);
    route.counters().body_bytes.add(400);
    let stats = admin.get("/cache/stats").await.json();
    let users = &stats["caches"]["users"];
    assert_eq!(users["saved_seconds"], 0.5);
    assert_eq!(users["byte_hit_rate_percent"], 75.0);
    assert_eq!(users["refusals"], serde_json::json!({"set-cookie": 1}));
    assert_eq!(stats["summary"]["saved_seconds"], 0.5);
    let top = admin.get("/cache/top-keys").await.json();
    assert_eq!(top["by_hits"][0]["path"], "/users/7");
    assert_eq!(top["by_hits"][0]["hits"], 2);

    admin.post("/cache/reset-stats").await;
    let stats = admin.get("/cache/stats").await.json();
    assert_eq!(stats["caches"]["users"]["refusals"], serde_json::json!({}));
    assert_eq!(stats["caches"]["users"]["saved_seconds"], 0.0);
    let page = admin.get("/metrics").await.body;
    let series = "pannier_refusals_total{route=\"users\",reason=\"set-cookie\"} 1";
    assert!(page.contains(series), "{page}");
}

#[tokio::test]
async fn history_and_summary_tell_the_same() {
    let admin = Admin::run(None).await;
    for _ in 0..3 {
        admin.serve(Some("users"), "/users/7", CacheResult::Hit, 4);
    }
    admin.serve(None, "/x", CacheResult::Bypass, 4);
    let history = admin.get("/history?window=1h").await.json();
    let sum = |name: &str| -> u64 {
        let series = history[name].as_array().unwrap();
        series.iter().map(|count| count.as_u64().unwrap()).sum()
    };
    assert_eq!((sum("requests"), sum("hits"), sum("errors")), (4, 3, 0));
    let length = history["start"].as_array().unwrap().len();
    for name in [
        "p95_ms",
        "bytes",
        "misses",
        "memory_bytes",
        "cpu_percent",
        "seconds",
    ] {
        assert_eq!(history[name].as_array().unwrap().len(), length, "{name}");
    }
    let summary = admin.get("/performance/summary?window=24h").await.json();
    assert_eq!(summary["total"]["requests"], 4);
    assert_eq!(summary["total"]["hit_rate_percent"], 100.0);
    assert!(
        summary["hours"]
            .as_array()
            .is_some_and(|hours| !hours.is_empty())
    );
    // A reset of the figures is none of the history.
    admin.post("/performance/reset").await;
    admin.serve(None, "/x", CacheResult::Bypass, 4);
    let summary = admin.get("/performance/summary").await.json();
    assert_eq!(summary["total"]["requests"], 5);
}

#[tokio::test]
async fn health_names_the_route_and_the_key_to_change() {
    let admin = Admin::run(None).await;
    admin.telemetry.redis().up.set(1);
    let route = admin.telemetry.route("users", "/users/{id}");
    for _ in 0..200 {
        admin.serve(Some("users"), "/users/7", CacheResult::Miss, 1);
    }
    route.counters().sets.add(200);
    route.counters().unchanged.add(100);
    let health = admin.get("/health").await.json();
    assert_eq!(health["status"], "warning", "{health:#}");
    assert_eq!(health["score"], 90);
    let indicators = health["indicators"].as_array().unwrap();
    for indicator in indicators {
        for name in ["name", "status", "value", "threshold", "unit", "advice"] {
            assert!(indicator.get(name).is_some(), "{name} of {indicator}");
        }
    }
    let recommendations = health["recommendations"].to_string();
    assert!(
        recommendations.contains("route `users`: 50 % of its misses"),
        "{recommendations}"
    );
}

#[tokio::test]
async fn statuses_are_told_by_endpoint_and_a_refused_request_is_in_every_total() {
    let admin = Admin::run(None).await;
    for status in [200, 404, 404, 410, 503] {
        admin.answer("/x", StatusCode::from_u16(status).unwrap());
    }
    let refused = StatusCode::BAD_REQUEST;
    let client = [127, 0, 0, 1].into();
    admin
        .telemetry
        .refused(refused, Duration::from_millis(1), client);
    let endpoint = admin.get("/performance/endpoint/GET/x").await.json();
    assert_eq!(endpoint["client_errors"], 3);
    let expected = serde_json::json!({"2xx": 1, "4xx": 3, "5xx": 1});
    assert_eq!(endpoint["statuses"], expected);
    let system = admin.get("/performance/system").await.json();
    assert_eq!(system["total_requests"], 6);
    let history = admin.get("/history").await.json();
    assert_eq!(history["requests"], serde_json::json!([6]));
    assert_eq!(history["client_errors"], serde_json::json!([4]));
    let others = admin.get("/performance").await.json();
    let others = others.as_array().unwrap();
    assert!(
        others
            .iter()
            .any(|one| one["endpoint"] == "other" && one["client_errors"] == 1)
    );
}
