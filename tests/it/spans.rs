//! What a collector of spans is told of requests, by OTLP over HTTP.
//!
//! The collector is any server that says 200: what it received is looked
//! through as bytes, in which protobuf keeps texts and identifiers as they are.

use super::support::{Hit, Miss, eventually, ok, origin, proxy, status};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits"))
        .collect()
}

fn contains(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|window| window == part)
}

/// A field of a span: `trace_id` is 1, `span_id` 2, `parent_span_id` 4.
fn field(number: u8, hex: &str) -> Vec<u8> {
    let content = bytes(hex);
    let mut written = vec![
        number << 3 | 2,
        u8::try_from(content.len()).expect("a short one"),
    ];
    written.extend(content);
    written
}

#[tokio::test]
async fn otlp_a_request_is_a_span_between_its_callers_and_the_origins() {
    let collector = origin::new().on("POST", "/v1/traces", ok("")).run().await;
    let origin = origin::new()
        .get("/users/1", ok("page").max_age(60))
        .otherwise(status(500))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml(&format!("[log]\notlp = \"{}\"", collector.url()))
        .route("/users/{id}", |route| route.name("users"))
        .run()
        .await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let asked = proxy.get("/users/1?password=hunter2");
    asked.header("traceparent", &parent).await.was(Miss);
    let told = origin.last_request("/users/1?password=hunter2");
    let told = told.field("traceparent");
    let parts: Vec<&str> = told.split('-').collect();
    let (trace, span) = (parts[1], parts[2]);
    assert_eq!(trace, TRACE);
    assert_ne!(span, PARENT, "the origin's parent is the span of the proxy");

    let asked = proxy.get("/users/1?password=hunter2");
    asked.header("traceparent", &parent).await.was(Hit);
    proxy.get("/broken").await.status(500);
    let begun = origin.last_request("/broken");
    assert_eq!(begun.field("traceparent").len(), parent.len());
    // Not sampled: passed on as it is, and not exported.
    let unsampled = "00-11111111111111111111111111111111-2222222222222222-00";
    let asked = proxy.get("/unsampled").header("traceparent", unsampled);
    asked.await.status(500);
    let received = origin.last_request("/unsampled");
    assert_eq!(received.field("traceparent"), unsampled);

    let exported = || proxy.metric(r#"pannier_spans_total{outcome="exported"}"#);
    eventually("three spans", async || {
        (exported().await >= 3.0).then_some(())
    })
    .await;
    assert_eq!(exported().await, 3.0);
    let body = collector.received_bytes("/v1/traces");
    for part in [
        &field(1, TRACE)[..],
        &field(2, span),
        &field(4, PARENT),
        b"GET /users/{id}",
        b"http.request.method",
        b"http.route",
        b"/users/1",
        b"http.response.status_code",
        b"pannier.cache",
        b"MISS",
        b"HIT",
        b"BYPASS",
        b"service.name",
        b"error.type",
    ] {
        let said = String::from_utf8_lossy(part);
        assert!(contains(&body, part), "{said}");
    }
    assert!(!contains(&body, b"hunter2") && !contains(&body, b"/unsampled"));
}

#[tokio::test]
async fn otlp_a_collector_that_is_not_there_costs_requests_nothing_but_is_counted() {
    let mut collector = origin::new().run().await;
    let url = collector.url();
    collector.stop().await;
    let origin = origin::new().otherwise(ok("page")).run().await;
    let proxy = proxy::new(&origin)
        .toml(&format!("[log]\notlp = \"{url}\""))
        .run()
        .await;
    proxy.get("/a").await.status(200);
    proxy.logs("the collector does not take spans").await;
    let failed = proxy.metric(r#"pannier_spans_total{outcome="failed"}"#);
    assert_eq!(failed.await, 1.0);
    proxy.get("/b").await.status(200);
}

#[tokio::test]
async fn otlp_what_ended_just_before_the_end_is_exported() {
    let collector = origin::new().on("POST", "/v1/traces", ok("")).run().await;
    let origin = origin::new().otherwise(ok("page")).run().await;
    let proxy = proxy::new(&origin)
        .toml(&format!("[log]\notlp = \"{}\"", collector.url()))
        .run()
        .await;
    proxy.get("/last").await.status(200);
    proxy.term().await;
    assert_eq!(proxy.exit().await, Some(0));
    assert!(contains(&collector.received_bytes("/v1/traces"), b"/last"));
}
