//! What an operator says about routes: lifetimes, variants, what clients may
//! insist on, and the switch for incidents.

use futures_util::future::join_all;

use super::support::client::Answer;
use super::support::{Bypass, Gate, Hit, Miss, eventually, ok, origin, proxy, status};

#[tokio::test]
async fn a_head_for_which_nothing_is_stored_fills_the_store() {
    let origin = origin::new()
        .get("/x", ok("0123456789").max_age(60))
        .get("/private", ok("0123456789").cache_control("private"))
        .on("HEAD", "/private", ok("").cache_control("private"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;

    let head = proxy.request("HEAD", "/x").await;
    head.status(200)
        .was(Miss)
        .is("")
        .has("content-length", "10");
    eventually("the response to be stored", async || {
        (proxy.get("/x").await.cache() == "HIT").then_some(())
    })
    .await;
    origin.was_sent("HEAD", "/x").times(0);
    origin.was_asked("/x").times(1);

    // What is known not to be shared is asked for as the client does.
    proxy.request("HEAD", "/private").await.was(Miss).is("");
    proxy.request("HEAD", "/private").await.was(Miss).is("");
    origin.was_sent("HEAD", "/private").times(1);
    // The same over HTTP/2.
    let h2 = proxy.h2().await;
    let asking = http::Request::head("http://pannier.test/x?h2");
    let asking = asking.body(Default::default()).unwrap();
    let head = h2.send(asking).await.whole().await;
    head.status(200).is("").has("content-length", "10");
}

#[tokio::test]
async fn a_lifetime_of_a_status_holds_for_errors_too() {
    let origin = origin::new()
        .get("/gone", status(404))
        .get("/down", status(503))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/**", |route| {
            route.ttl("60s").set("ttl_by_status", "{ 404 = \"10m\" }")
        })
        .run()
        .await;
    for path in ["/gone", "/down"] {
        proxy.get(path).await.was(Miss);
    }
    let gone = proxy.get("/gone").await;
    gone.status(404).was(Hit);
    let left = left_of(&gone);
    assert!((500..=600).contains(&left), "{gone}");
    proxy.get("/down").await.status(503).was(Miss);
}

#[tokio::test]
async fn lifetimes_of_the_origin_have_bounds() {
    let origin = origin::new()
        .get("/short", ok("x").max_age(0))
        .get("/long", ok("x").max_age(86_400))
        .get("/never", ok("x").cache_control("max-age=0, no-store"))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/**", |route| {
            route.set("ttl_min", "\"50s\"").set("ttl_max", "\"100s\"")
        })
        .run()
        .await;
    for (path, least, most) in [("/short", 20, 50), ("/long", 70, 100)] {
        proxy.get(path).await.was(Miss);
        let hit = proxy.get(path).await;
        hit.was(Hit);
        let left = left_of(&hit);
        assert!((least..=most).contains(&left), "{hit}");
    }
    for _ in 0..2 {
        proxy.get("/never").await.was(Miss);
    }
}

#[tokio::test]
async fn vary_of_what_the_key_names_means_the_key() {
    let page = || {
        ok("page")
            .max_age(60)
            .header("Vary", "Cookie, X-Tenant, Accept")
    };
    let origin = origin::new().otherwise(page()).run().await;
    let proxy = proxy::new(&origin)
        .route("/keyed", |route| {
            route
                .key("cookies", "[\"sessionid\"]")
                .key("headers", "[\"X-Tenant\"]")
        })
        .route("/ignoring", |route| {
            route.set("ignore_vary", "[\"cookie\"]")
        })
        .route("/strict", |route| route)
        .run()
        .await;
    let get = async |path: &str, cookie: &'static str, accept: &'static str| {
        let asking = proxy.get(path).header("cookie", cookie);
        asking.header("accept", accept).await
    };
    get("/keyed", "sessionid=1; _ga=1", "a").await.was(Miss);
    get("/keyed", "sessionid=1; _ga=2", "a").await.was(Hit);
    get("/keyed", "sessionid=2; _ga=1", "a").await.was(Miss);
    get("/keyed", "sessionid=1; _ga=1", "b").await.was(Miss);

    get("/ignoring", "_ga=1", "a").await.was(Miss);
    get("/ignoring", "_ga=2", "a")
        .await
        .was(Hit)
        .has("vary", "Cookie, X-Tenant, Accept");
    get("/ignoring", "_ga=2", "b").await.was(Miss);

    get("/strict", "_ga=1", "a").await.was(Miss);
    get("/strict", "_ga=2", "a").await.was(Miss);
}

#[tokio::test]
async fn those_who_insist_share_one_fetch_that_began_after_they_came() {
    let gate = Gate::new();
    let origin = origin::new()
        .get("/x", ok("x").max_age(60).held_by(&gate))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let insist = async || proxy.get("/x").header("cache-control", "no-cache").await;

    let first = async {
        let answer = insist().await;
        answer.was(Miss);
    };
    let others = async {
        gate.reached_by(1).await;
        let asking = join_all((0..19).map(|_| insist()));
        let waiting = async {
            eventually("all of them to be in flight", async || {
                let in_flight = proxy.metric("pannier_inflight_requests").await;
                (in_flight >= 20.0).then_some(())
            })
            .await;
            gate.open();
        };
        let (answers, ()) = futures_util::future::join(asking, waiting).await;
        for answer in answers {
            answer.status(200).is("x").was(Miss);
        }
    };
    futures_util::future::join(first, others).await;
    origin.was_asked("/x").times(2);
}

#[tokio::test]
async fn clients_insist_only_where_they_may() {
    let origin = origin::new().otherwise(ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .route("/both", |route| {
            route.set("ignore_request_headers", "[\"cache-control\", \"pragma\"]")
        })
        .route("/pragma", |route| {
            route.set("ignore_request_headers", "[\"pragma\"]")
        })
        .run()
        .await;
    for (path, field, value, then) in [
        ("/both", "cache-control", "no-cache", Hit),
        ("/both", "cache-control", "no-store", Hit),
        ("/both", "cache-control", "max-age=0", Hit),
        ("/both", "pragma", "no-cache", Hit),
        ("/pragma", "pragma", "no-cache", Hit),
        ("/pragma", "cache-control", "no-cache", Miss),
    ] {
        let target = format!("{path}?{field}={value}");
        // It does not keep the response from being stored either.
        if then == Hit {
            proxy.get(&target).header(field, value).await.was(Miss);
        } else {
            proxy.get(&target).await.was(Miss);
        }
        let again = proxy.get(&target).header(field, value).await;
        match then {
            Hit => again.was(Hit),
            // Nothing changed: the same content came again.
            _ => again.was(Miss),
        };
    }
}

#[tokio::test]
async fn the_switch_for_incidents_passes_everything_and_loses_nothing() {
    let origin = origin::new().otherwise(ok("x").max_age(600)).run().await;
    let on = proxy::new(&origin).route("/a", |route| route.set("ttl", "\"default\""));
    let off = on
        .clone()
        .toml("[cache]\nenabled = false\nttl = \"60s\"")
        .text();
    let on = on.toml("[cache]\nttl = \"60s\"");
    let again = on.text();
    let proxy = on.run().await;
    proxy.get("/a").await.was(Miss);
    proxy.get("/a").await.was(Hit);

    proxy.rewrite(&off);
    proxy.hup().await;
    eventually("the switch", async || {
        (proxy.get("/a").await.cache() == "BYPASS").then_some(())
    })
    .await;
    let passed = proxy.get("/a").await;
    passed.was(Bypass);
    assert!(
        passed.header("cache-status").ends_with("detail=disabled"),
        "{passed}"
    );

    proxy.rewrite(&again);
    proxy.hup().await;
    eventually("what was stored", async || {
        (proxy.get("/a").await.cache() == "HIT").then_some(())
    })
    .await;
}

/// Seconds of freshness that are left, as `Cache-Status` has them.
fn left_of(answer: &Answer) -> u32 {
    let left = answer.header("cache-status").rsplit('=').next();
    let left = left.and_then(|left| left.parse().ok());
    left.unwrap_or_else(|| panic!("no ttl: {answer}"))
}
