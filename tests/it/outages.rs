//! What the log, the figures and the answers say of an origin in trouble.

use super::support::origin;
use super::support::proxy::{self, Proxy};
use super::support::{Miss, Revalidated, Stale, eventually, hang_up, ok, silence, status, tls};

/// How often the log has a line that contains this.
fn lines(proxy: &Proxy, text: &str) -> usize {
    proxy
        .log()
        .lines()
        .filter(|line| line.contains(text))
        .count()
}

#[tokio::test]
async fn an_outage_is_told_once_when_it_begins_and_once_when_it_is_over() {
    let mut origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin).run().await;
    let address = origin.address().to_string();
    origin.stop().await;
    for _ in 0..5 {
        let answer = proxy.get("/x").await;
        let detail = answer.is_problem(502).json()["detail"].to_string();
        assert!(detail.contains("connection refused"), "{detail}");
        assert!(!detail.contains("127.0.0.1"), "{detail}");
    }
    proxy.logs("the origin fails: connection refused").await;
    origin.start().await;
    proxy.get("/x").await.is("x").was(Miss);
    proxy.logs("origin reachable again after").await;
    assert!(proxy.log().contains("5 requests failed"), "{}", proxy.log());
    assert_eq!(lines(&proxy, "the origin fails"), 1);
    let log = proxy.log();
    let begun = log.lines().find(|line| line.contains("the origin fails"));
    let begun = begun.expect("a line");
    assert!(
        begun.contains(&format!("connecting to {address}")),
        "{begun}"
    );
    assert!(begun.contains("os error"), "{begun}");
}

#[tokio::test]
async fn each_cause_has_its_word() {
    let origin = origin::new()
        .get("/hang-up", hang_up())
        .get("/silence", silence())
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .toml("[origin]\nresponse_timeout = \"200ms\"")
        .run()
        .await;
    let answer = proxy.get("/silence").await;
    assert!(answer.is_problem(504).text().contains("time-out"));
    proxy.logs("the origin fails: time-out").await;
    let answer = proxy.get("/hang-up").await;
    assert!(answer.is_problem(502).text().contains("connection closed"));

    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("app.sock").display().to_string();
    let nobody = proxy::in_front_of(&format!("unix:{socket}")).run().await;
    let answer = nobody.get("/x").await;
    let told = answer.is_problem(502).text();
    assert!(
        told.contains("no such socket") && !told.contains(&socket),
        "{told}"
    );
    nobody.logs(&socket).await;

    let server = tls::localhost();
    let stranger = origin::new().tls(server.acceptor).run().await;
    let wary = proxy::new(&stranger).run().await;
    let answer = wary.get("/x").await;
    assert!(answer.is_problem(502).text().contains("TLS failure"));
    wary.logs("invalid peer certificate").await;
}

#[tokio::test]
async fn the_level_of_the_log_is_taken_by_a_reload() {
    let origin = origin::new().get("/x", ok("x")).run().await;
    let builder = proxy::new(&origin);
    let proxy = builder.clone().run().await;
    let quiet = builder.clone().toml("[log]\nlevel = \"warn\"");
    let quiet = quiet.route("/y", |route| route.name("of-the-quiet-one"));
    let loud = builder.toml("[log]\nlevel = \"debug\"");

    proxy.rewrite(&loud.text());
    proxy.hup().await;
    proxy.logs("the configuration was reloaded").await;
    proxy.get("/x").await.is("x");
    proxy.logs("\"DEBUG\"").await;

    proxy.rewrite(&quiet.text());
    proxy.hup().await;
    eventually("the quiet configuration to be in force", async || {
        let stats = proxy.admin_get("/cache/stats").await.json();
        let is_known = stats["caches"]["of-the-quiet-one"].is_object();
        is_known.then_some(())
    })
    .await;
    let before = lines(&proxy, "\"INFO\"");
    proxy.purge("pattern=/**").await;
    proxy.rewrite("upstream = 7");
    proxy.logs("the configuration was not reloaded").await;
    assert_eq!(lines(&proxy, "\"INFO\""), before, "{}", proxy.log());
}

#[tokio::test]
async fn every_exchange_is_counted_and_hidden_failures_are_told() {
    let page = || ok("x").max_age(0).header("ETag", "\"a\"");
    let origin = origin::new().get("/x", page()).run().await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| route.name("the-x").stale_if_error("1h"))
        .run()
        .await;
    let responses = async |status: &str| {
        let sample =
            format!("pannier_upstream_responses_total{{route=\"the-x\",status=\"{status}\"}}");
        proxy.metric(&sample).await
    };
    proxy.get("/x").await.is("x").was(Miss);
    origin.now_answers("/x", status(304).header("ETag", "\"a\""));
    proxy.get("/x").await.is("x").was(Revalidated);
    proxy.get("/x").await.is("x").was(Revalidated);
    origin.now_answers("/x", status(500));
    for _ in 0..3 {
        proxy.get("/x").await.is("x").was(Stale);
    }
    assert_eq!(responses("200").await, 1.0);
    assert_eq!(responses("304").await, 2.0);
    assert_eq!(responses("500").await, 3.0);
    let endpoint = proxy.admin_get("/performance/endpoint/GET/x").await.json();
    assert_eq!(endpoint["upstream"]["count"], 6, "{endpoint:#}");
    let told = indicator(&proxy, "stale_if_error").await;
    assert_eq!(told["status"], "warning", "{told:#}");
    assert!(told["advice"].to_string().contains("`the-x`"), "{told:#}");
    assert!(
        proxy
            .metric("pannier_stale_on_error_seconds{route=\"the-x\"}")
            .await
            >= 0.0
    );

    origin.now_answers("/x", page());
    proxy.get("/x").await.is("x").was(Revalidated);
    let told = indicator(&proxy, "stale_if_error").await;
    assert_eq!(told["status"], "healthy", "{told:#}");
}

async fn indicator(proxy: &Proxy, name: &str) -> serde_json::Value {
    let health = proxy.admin_get("/health").await.json();
    let all = health["indicators"].as_array().expect("a list").clone();
    let found = all.into_iter().find(|one| one["name"] == name);
    found.unwrap_or(serde_json::Value::Null)
}

#[tokio::test]
async fn a_dead_origin_is_known_without_a_client() {
    let mut origin = origin::new().get("/up", ok("up")).run().await;
    let proxy = proxy::new(&origin)
        .toml("[origin]\ncheck = \"/up\"\ncheck_interval = \"50ms\"")
        .run()
        .await;
    let is = async |status: &'static str| {
        eventually(&format!("the check to be {status}"), async || {
            let found = indicator(&proxy, "upstream_check").await;
            (found["status"] == status).then_some(found)
        })
        .await
    };
    is("healthy").await;
    assert_eq!(proxy.metric("pannier_upstream_check_up").await, 1.0);
    origin.now_answers("/up", status(503));
    let told = is("critical").await;
    assert!(
        told["advice"].to_string().contains("answered 503"),
        "{told}"
    );
    proxy.logs("the check of the origin fails").await;
    origin.now_answers("/up", ok("up"));
    is("healthy").await;
    proxy.logs("the check of the origin passes again").await;
    origin.stop().await;
    let told = is("critical").await;
    assert!(told["advice"].to_string().contains("connection refused"));
    assert_eq!(proxy.metric("pannier_upstream_check_up").await, 0.0);
    origin.start().await;
    is("healthy").await;
}
