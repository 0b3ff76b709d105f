//! Requests while the origin restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::support::origin::Origin;
use super::support::proxy::{Builder, Proxy};
use super::support::raw::Raw;
use super::support::{eventually, ok, origin, proxy};

const WAITING: &str = "pannier_upstream_restart_waiting_requests";
const WAITED: &str = "pannier_upstream_restart_waits_total";

/// A proxy whose requests wait for their origin for this long.
fn patient(origin: &Origin, window: &str) -> Builder {
    proxy::new(origin)
        .route("/routed/**", |route| route)
        .toml(&format!("[origin]\nretry_window = \"{window}\""))
}

/// Waits until so many requests wait for the origin.
async fn waiting(proxy: &Proxy, count: usize) {
    let count = f64::from(u32::try_from(count).expect("a few"));
    eventually(&format!("{count} requests to wait"), async || {
        (proxy.metric(WAITING).await == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_wait_for_an_origin_that_restarts() {
    let mut origin = origin::new()
        .on("POST", "/write", ok("written"))
        .otherwise(ok("x").max_age(60))
        .run()
        .await;
    // Longer than the origin has to answer once it is there.
    let proxy = patient(&origin, "1m")
        .toml("response_timeout = \"5s\"")
        .run()
        .await;
    origin.stop().await;
    let asks = [
        proxy.get("/passed"),
        proxy.get("/routed/x"),
        proxy.get("/routed/x"),
        proxy.post("/write", "body"),
    ];
    let asked = asks.map(|ask| tokio::spawn(ask.into_future()));
    // Those who want the same wait for one.
    waiting(&proxy, 3).await;
    origin.start().await;
    for answer in asked {
        answer.await.expect("it ended").is_success();
    }
    origin.was_sent("POST", "/write").times(1);
    origin.was_asked("/routed/x").times(1);
    waiting(&proxy, 0).await;
    assert_eq!(proxy.metric(WAITED).await, 3.0);
    assert_eq!(
        proxy
            .metric("pannier_upstream_errors_total{kind=\"connect\"}")
            .await,
        0.0
    );
}

#[tokio::test]
async fn a_rolling_restart_under_load_fails_no_request() {
    let mut origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = Arc::new(patient(&origin, "1m").threads(2).run().await);
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (proxy, is_over) = (Arc::clone(&proxy), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut answers = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let room = ["passed", "routed"][client % 2];
                    proxy
                        .get(&format!("/{room}/{client}/{answers}"))
                        .await
                        .is("x");
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for _ in 0..3 {
        origin.stop().await;
        waiting(&proxy, clients.len()).await;
        let waited = proxy.metric(WAITED).await;
        assert!(waited >= 8.0, "{waited}");
        origin.start().await;
        waiting(&proxy, 0).await;
    }
    is_over.store(true, Ordering::SeqCst);
    for client in clients {
        assert!(client.await.expect("no request failed") >= 3);
    }
}

#[tokio::test]
async fn no_more_requests_wait_than_may() {
    let mut origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = patient(&origin, "1m")
        .toml("[limits]\nqueue_max = 2")
        .run()
        .await;
    origin.stop().await;
    let first = ["/a", "/b"].map(|path| tokio::spawn(proxy.get(path).into_future()));
    waiting(&proxy, 2).await;
    let refused = proxy.get("/c").await;
    refused.is_problem(503).has("retry-after", "1");
    origin.start().await;
    for answer in first {
        answer.await.expect("it ended").is("x");
    }
}

#[tokio::test]
async fn a_request_waits_no_longer_than_its_window_or_its_client() {
    let mut origin = origin::new().otherwise(ok("x")).run().await;
    let brief = patient(&origin, "100ms").run().await;
    let long = patient(&origin, "1m").run().await;
    origin.stop().await;
    brief.get("/x").await.is_problem(502);
    brief.post("/x", "body").await.is_problem(502);
    assert_eq!(brief.metric(WAITED).await, 2.0);

    let mut clients = Vec::new();
    for (at, method) in ["GET", "DELETE"].into_iter().enumerate() {
        let stream = TcpStream::connect(long.address).await.expect("a listener");
        // It says that it has left: not only that it has said all.
        let set = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        set.expect("a connection");
        let mut client = Raw::over(stream);
        let head = format!("{method} /x HTTP/1.1\r\nHost: pannier.test\r\n\r\n");
        client.send(head).await;
        waiting(&long, at + 1).await;
        clients.push(client);
    }
    drop(clients);
    waiting(&long, 0).await;
    origin.start().await;
    long.get("/y").await.is("x");
    origin.was_sent("DELETE", "/x").times(0);
    origin.was_asked("/x").times(0);
}

#[tokio::test]
async fn without_a_window_a_request_fails_at_once() {
    let mut origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin).run().await;
    origin.stop().await;
    proxy.get("/x").await.is_problem(502);
    assert_eq!(proxy.metric(WAITED).await, 0.0);
}
