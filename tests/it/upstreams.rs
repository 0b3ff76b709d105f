//! Every kind of origin, and origins in trouble.

use tokio::net::TcpListener;

use super::support::origin;
use super::support::{Bypass, Gate, Hit, Miss, ok, proxy, silence, tls};

#[tokio::test]
async fn an_origin_on_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let origin = origin::new()
        .get("/x", ok("x").max_age(60))
        .unix(folder.path().join("app.sock"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.is("x").was(Miss);
    proxy.get("/x").await.is("x").was(Hit);
    assert_eq!(origin.last_request("/x").field("host"), "pannier.test");
}

#[tokio::test]
async fn an_origin_behind_tls_that_the_configuration_vouches_for() {
    let folder = tempfile::tempdir().unwrap();
    let server = tls::localhost();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, &server.ca_pem).unwrap();
    let origin = origin::new()
        .get("/x", ok("x").max_age(60))
        .tls(server.acceptor)
        .run()
        .await;

    let trusting = proxy::new(&origin)
        .toml(&format!("[origin]\nca_file = \"{}\"", ca_file.display()))
        .run()
        .await;
    trusting.get("/x").await.is("x").was(Miss);
    trusting.get("/x").await.is("x").was(Hit);

    let wary = proxy::new(&origin).run().await;
    wary.get("/x").await.is_problem(502);
}

#[tokio::test]
async fn an_origin_that_is_down_is_a_bad_gateway_until_it_is_back() {
    let mut origin = origin::new().get("/x", ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin).run().await;
    origin.stop().await;
    proxy.get("/x").await.is_problem(502).was(Miss);
    proxy.post("/x", "body").await.is_problem(502).was(Bypass);
    origin.start().await;
    proxy.get("/x").await.is("x").was(Miss);
    proxy.get("/x").await.is("x").was(Hit);
}

#[tokio::test]
async fn a_route_has_a_time_to_answer_of_its_own() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/patient/x", ok("x").held_by(&gate))
        .on("POST", "/patient/x", ok("x").held_by(&gate))
        .on("POST", "/hasty/x", silence())
        .otherwise(silence())
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/patient/{id}", |route| {
            route.set("response_timeout", "\"1h\"")
        })
        .route("/hasty/{id}", |route| {
            route.set("response_timeout", "\"50ms\"")
        })
        .toml("[origin]\nresponse_timeout = \"500ms\"")
        .run()
        .await;
    let read = tokio::spawn(proxy.get("/patient/x").into_future());
    let write = tokio::spawn(proxy.post("/patient/x", "body").into_future());
    gate.reached_by(2).await;
    proxy.get("/hasty/x").await.is_problem(504).was(Miss);
    proxy.post("/hasty/x", "body").await.is_problem(504);
    // It takes longer than what holds for all others.
    proxy.get("/other").await.is_problem(504).was(Bypass);
    gate.open();
    read.await.unwrap().is("x").was(Miss);
    write.await.unwrap().is("x");
}

#[tokio::test]
async fn an_origin_that_takes_too_long_is_a_gateway_timeout() {
    let origin = origin::new().get("/x", silence()).run().await;
    let proxy = proxy::new(&origin)
        .toml("[origin]\nresponse_timeout = \"200ms\"")
        .run()
        .await;
    proxy.get("/x").await.is_problem(504);
    origin.now_answers("/x", ok("x").max_age(60));
    proxy.get("/x").await.is("x").was(Miss);
}

#[tokio::test]
async fn an_origin_that_is_silent_after_an_upload_is_a_gateway_timeout() {
    let origin = origin::new().on("PUT", "/x", silence()).run().await;
    let proxy = proxy::new(&origin)
        .toml("[origin]\nresponse_timeout = \"200ms\"")
        .run()
        .await;
    proxy.put("/x", "all of it").await.is_problem(504);
}

#[tokio::test]
async fn an_origin_that_never_ends_the_tls_handshake_is_left_in_time() {
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("https://{}", mute.local_addr().unwrap());
    let proxy = proxy::in_front_of(&upstream)
        .toml("[origin]\nconnect_timeout = \"200ms\"\nresponse_timeout = \"1h\"")
        .run()
        .await;
    proxy.get("/x").await.is_problem(504);
}

#[tokio::test]
async fn a_connection_the_origin_closed_between_requests_costs_no_request() {
    let mut origin = origin::new().get("/x", ok("x")).run().await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.is("x");
    origin.stop().await;
    origin.start().await;
    for _ in 0..5 {
        proxy.get("/x").await.status(200).is("x");
    }
}

#[tokio::test]
async fn the_method_target_and_fields_reach_the_origin_as_they_were_sent() {
    let origin = origin::new().run().await;
    let proxy = proxy::new(&origin).run().await;
    let target = "/a%20b/%C3%A4?q=%2F&empty=&x";
    let request = proxy.request("PATCH", target).header("x-own", "kept");
    request
        .header("cookie", "a=1; b=2")
        .body("{}")
        .await
        .status(204);
    let seen = origin.last_request("/a%20b/%C3%A4");
    assert_eq!(seen.method(), "PATCH");
    assert_eq!(seen.target(), target);
    assert_eq!(seen.field("x-own"), "kept");
    assert_eq!(seen.field("cookie"), "a=1; b=2");
    assert!(seen.field("via").contains("pannier"), "{seen:?}");
    assert_eq!(seen.body, b"{}");
}

#[tokio::test]
async fn what_came_over_http_2_reaches_the_origin_as_http_1_says_it() {
    let origin = origin::new().get("/x", ok("x")).run().await;
    let proxy = proxy::new(&origin).run().await;
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2")];
    proxy.h2().await.get_with("/x", &crumbs).await.status(200);
    let seen = origin.last_request("/x");
    assert_eq!(seen.field("cookie"), "a=1; b=2");
    assert_eq!(seen.field("host"), "pannier.test");
    assert_eq!(seen.field("x-forwarded-host"), "pannier.test");
    assert!(seen.field("forwarded").contains("host=\"pannier.test\""));
}
