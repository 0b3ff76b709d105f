//! What is stored, under which key, and what an answer says of it.

use super::support::client::Answer;
use super::support::origin::{self, Origin};
use super::support::{Bypass, Hit, Miss, by, ok, proxy, status};

/// An origin whose only page says how often it was asked for it.
async fn page(path: &str) -> Origin {
    origin::new().get(path, ok("page").max_age(60)).run().await
}

#[tokio::test]
async fn the_second_read_comes_from_the_store() {
    let origin = origin::new()
        .get("/users/7", ok("Ada").max_age(60))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;

    let miss = proxy.get("/users/7").await;
    miss.status(200).is("Ada").was(Miss).lacks("x-cache-age");
    let hit = proxy.get("/users/7").await;
    hit.status(200)
        .is("Ada")
        .was(Hit)
        .has("cache-control", "max-age=60");
    origin.was_asked("/users/7").times(1);
}

#[tokio::test]
async fn an_answer_says_how_it_came_about() {
    let origin = origin::new()
        .get(
            "/x",
            ok("x")
                .max_age(60)
                .header("X-Cache", "HIT from elsewhere")
                .header("X-Process-Time", "0")
                .header("Cache-Status", "cdn; hit")
                .header("Via", "1.1 inner"),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;

    let miss = proxy.get("/x").await;
    miss.was(Miss);
    assert_eq!(values(&miss, "x-cache"), ["MISS"]);
    assert!(
        is_millis_with_three_decimals(miss.header("x-process-time")),
        "{miss}"
    );
    let status = values(&miss, "cache-status").join(", ");
    assert!(status.starts_with("cdn; hit, pannier;"), "{miss}");
    assert!(
        status.contains("fwd=uri-miss") && status.contains("stored"),
        "{miss}"
    );
    let via = values(&miss, "via").join(", ");
    assert!(via.starts_with("1.1 inner, 1.1 pannier"), "{miss}");

    let hit = proxy.get("/x").await;
    hit.was(Hit);
    assert_eq!(values(&hit, "x-cache"), ["HIT"]);
    assert_eq!(values(&hit, "x-process-time").len(), 1, "{hit}");
    assert!(
        is_millis_with_three_decimals(hit.header("x-process-time")),
        "{hit}"
    );
    hit.header("x-cache-age")
        .parse::<u64>()
        .expect("whole seconds");
    hit.header("age").parse::<u64>().expect("whole seconds");
    let status = values(&hit, "cache-status").join(", ");
    assert!(status.contains("pannier; hit; ttl="), "{hit}");
}

#[tokio::test]
async fn a_plain_hit_says_what_any_other_hit_says() {
    let origin = origin::new()
        .get(
            "/x",
            ok("0123456789")
                .max_age(60)
                .header("Age", "7")
                .header("X-Cache", "HIT from elsewhere")
                .header("X-Process-Time", "0")
                .header("X-Two", "1")
                .header("X-Two", "2")
                .header("Vary", "Accept-Language")
                .header("Cache-Status", "cdn; hit")
                .header("ETag", "\"v1\""),
        )
        .get(
            "/large",
            ok("0123456789".repeat(4_000)).max_age(60).etag("v1"),
        )
        .get(
            "/two-caches",
            ok("")
                .max_age(60)
                .header("Cache-Status", "far; hit")
                .header("Cache-Status", "near; fwd=miss"),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    for path in ["/x", "/two-caches", "/large"] {
        proxy
            .get(path)
            .header("Accept-Language", "de")
            .await
            .was(Miss);
    }
    let questions: [&[(&str, &str)]; 12] = [
        &[],
        &[("If-None-Match", "W/\"v1\"")],
        &[("If-None-Match", "\"v0\", \"v2\"")],
        &[("If-None-Match", "*"), ("Range", "bytes=0-0")],
        &[("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")],
        &[("If-Modified-Since", "Sat, 01 Jan 2000 00:00:00 GMT")],
        &[("Range", "bytes=0-0")],
        &[("Range", "bytes=100-20099"), ("If-Range", "\"v1\"")],
        &[("Range", "bytes=100-200"), ("If-Range", "\"v0\"")],
        &[("Range", "bytes=-1")],
        &[("Range", "bytes=50000-")],
        &[("Range", "bytes=0-0,2-2,4-4"), ("If-None-Match", "\"v0\"")],
    ];
    let h2 = proxy.h2().await;
    let paths = ["/x", "/two-caches", "/large"];
    let pairs = paths
        .iter()
        .flat_map(|path| questions.map(|fields| (*path, fields)));
    for (path, fields) in pairs {
        let ask = || {
            let asked = proxy.get(path).header("Accept-Language", "de");
            fields
                .iter()
                .fold(asked, |asked, (name, value)| asked.header(name, value))
        };
        let plain = ask().await;
        plain.was(Hit);
        // A field of no meaning that keeps the request from being plain.
        let other = ask().header("Pragma", "none").await;
        says_the_same(&plain, &other);
        let language = [("accept-language", "de")];
        let over_http2 = h2.get_with(path, &[&language[..], fields].concat()).await;
        says_the_same(&plain, &over_http2);
    }
    proxy
        .get("/x")
        .header("Accept-Language", "fr")
        .await
        .was(Miss);
}

/// Two answers out of one stored response.
fn says_the_same(one: &Answer, other: &Answer) {
    other.was(Hit);
    assert_eq!(one.status, other.status, "{one}\n{other}");
    let kind = one.header("content-type");
    if kind.starts_with("multipart/byteranges") {
        // Their boundaries are never the same.
        assert_eq!(one.body.len(), other.body.len());
        return;
    }
    assert!(one.body == other.body, "{one}\n{other}");
    let names = other.headers.keys().map(http::HeaderName::as_str);
    for name in names.filter(|name| *name != "x-process-time") {
        match name {
            // A second may have gone by in between.
            "age" | "x-cache-age" | "cache-status" => {
                assert_eq!(
                    without_digits(&values(one, name)),
                    without_digits(&values(other, name)),
                    "{name}"
                );
            }
            _ => assert_eq!(values(one, name), values(other, name), "{name}"),
        }
    }
    assert_eq!(one.headers.len(), other.headers.len(), "{one}\n{other}");
}

fn without_digits(values: &[&str]) -> Vec<String> {
    let is_digit = |character: char| character.is_ascii_digit();
    let values = values.iter();
    values.map(|value| value.replace(is_digit, "")).collect()
}

fn values<'a>(answer: &'a Answer, name: &str) -> Vec<&'a str> {
    let fields = answer.headers.get_all(name).iter();
    fields.filter_map(|value| value.to_str().ok()).collect()
}

fn is_millis_with_three_decimals(value: &str) -> bool {
    let (whole, decimals) = value.split_once('.').unwrap_or_default();
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !whole.is_empty() && digits(whole) && decimals.len() == 3 && digits(decimals)
}

#[tokio::test]
async fn the_age_of_a_response_counts_from_where_it_was_made() {
    let origin = origin::new()
        .get("/x", ok("x").max_age(600).header("Age", "100"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    let hit = proxy.get("/x").await;
    hit.was(Hit);
    let age: u64 = hit.header("age").parse().unwrap();
    assert!((100..160).contains(&age), "{hit}");
}

#[tokio::test]
async fn a_stored_get_answers_head_and_a_range() {
    let origin = origin::new()
        .get("/x", ok("0123456789").max_age(60))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);

    let head = proxy.request("HEAD", "/x").await;
    head.status(200).was(Hit).is("").has("content-length", "10");
    origin.was_sent("HEAD", "/x").times(0);

    // A server may answer a range request with all of it (RFC 9110 §14.2).
    let range = proxy.get("/x").header("range", "bytes=2-4").await;
    match range.status.as_u16() {
        206 => range.is("234").has("content-range", "bytes 2-4/10"),
        _ => range.status(200).is("0123456789"),
    };
    origin.was_asked("/x").times(1);
}

#[tokio::test]
async fn a_client_that_has_the_response_is_told_so_from_the_store() {
    let origin = origin::new()
        .get(
            "/x",
            ok("x")
                .max_age(60)
                .etag("v1")
                .header("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);

    let known = proxy.get("/x").header("if-none-match", "\"v1\"").await;
    known.status(304).was(Hit).is("").has("etag", "\"v1\"");
    let weak = proxy
        .get("/x")
        .header("if-none-match", "\"v0\", W/\"v1\"")
        .await;
    weak.status(304);
    let other = proxy.get("/x").header("if-none-match", "\"v0\"").await;
    other.status(200).is("x").was(Hit);
    let since = "Sun, 06 Nov 1994 08:49:37 GMT";
    let unmodified = proxy.get("/x").header("if-modified-since", since).await;
    unmodified.status(304).was(Hit);
    origin.was_asked("/x").times(1);
}

#[tokio::test]
async fn what_must_not_be_shared_is_not() {
    let origin = origin::new()
        .get("/no-store", ok("x").cache_control("no-store, max-age=60"))
        .get("/private", ok("x").cache_control("private, max-age=60"))
        .get("/No-Store", ok("x").cache_control("No-Store"))
        .get("/cookie", ok("x").max_age(60).header("Set-Cookie", "a=1"))
        .get("/vary", ok("x").max_age(60).header("Vary", "*"))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/**", |route| route.ttl("60s"))
        .run()
        .await;
    for path in ["/no-store", "/private", "/No-Store", "/cookie", "/vary"] {
        proxy.get(path).await.is("x").was(Miss);
        proxy.get(path).await.is("x").was(Miss);
        origin.was_asked(path).times(2);
    }
}

#[tokio::test]
async fn authorization_is_shared_only_where_the_origin_says_so() {
    let origin = origin::new()
        .get("/mine", ok("x").max_age(60))
        .get("/ours", ok("x").cache_control("public, max-age=60"))
        .get("/shared", ok("x").cache_control("s-maxage=60"))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    for (path, second) in [("/mine", Miss), ("/ours", Hit), ("/shared", Hit)] {
        proxy
            .get(path)
            .header("authorization", "Bearer a")
            .await
            .was(Miss);
        proxy
            .get(path)
            .header("authorization", "Bearer b")
            .await
            .was(second);
    }
}

#[tokio::test]
async fn each_variant_that_vary_names_is_stored_for_itself() {
    let origin = origin::new()
        .get(
            "/x",
            by(|request| {
                ok(request.field("accept-language").to_owned())
                    .max_age(60)
                    .header("Vary", "Accept-Language")
            }),
        )
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    let ask = |language: &'static str| proxy.get("/x").header("accept-language", language);
    ask("de").await.is("de").was(Miss);
    ask("en").await.is("en").was(Miss);
    ask("de").await.is("de").was(Hit);
    ask("en").await.is("en").was(Hit);
    origin.was_asked("/x").times(2);
}

#[tokio::test]
async fn a_route_gives_a_lifetime_only_where_the_origin_states_none() {
    let origin = origin::new()
        .get("/silent", ok("x"))
        .get("/explicit", ok("x").max_age(0))
        .get("/missing", status(404))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/**", |route| route.ttl("60s"))
        .run()
        .await;
    for (path, second) in [("/silent", Hit), ("/explicit", Miss), ("/missing", Miss)] {
        proxy.get(path).await.was(Miss);
        proxy.get(path).await.was(second);
    }
}

#[tokio::test]
async fn the_order_of_parameters_does_not_matter() {
    let origin = page("/x").await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x?a=1&b=2").await.was(Miss);
    proxy.get("/x?b=2&a=1").await.was(Hit);
    proxy.get("/x?a=1&b=3").await.was(Miss);
    proxy.get("/x?a=1").await.was(Miss);
    assert_eq!(origin.last_request("/x?a=1&b=2").target(), "/x?a=1&b=2");
}

#[tokio::test]
async fn bypass_query_asks_the_origin_and_refreshes_the_store() {
    let origin = origin::new().get("/x", ok("old").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .route("/x", |route| {
            route.set("bypass_query", "\"use_cache=false\"")
        })
        .run()
        .await;
    proxy.get("/x").await.is("old").was(Miss);
    origin.now_answers("/x", ok("new").max_age(60));
    proxy.get("/x").await.is("old").was(Hit);

    proxy.get("/x?use_cache=false").await.is("new").was(Miss);
    assert_eq!(origin.last_request("/x").target(), "/x", "not forwarded");
    proxy.get("/x").await.is("new").was(Hit);
    origin.was_asked("/x").times(2);
}

#[tokio::test]
async fn a_path_without_a_route_is_never_stored() {
    let origin = page("/elsewhere").await;
    let proxy = proxy::new(&origin)
        .route("/users/{id}", |route| route.ttl("60s"))
        .run()
        .await;
    proxy.get("/elsewhere").await.is("page").was(Bypass);
    proxy.get("/elsewhere").await.is("page").was(Bypass);
    proxy.request("OPTIONS", "/users/7").await.was(Bypass);
    origin.was_asked("/elsewhere").times(2);
}

#[tokio::test]
async fn the_most_specific_route_wins() {
    let origin = origin::new().otherwise(ok("x")).run().await;
    let proxy = proxy::new(&origin)
        .route("/a/**", |route| route.ttl("60s").name("all"))
        .route("/a/{id}", |route| route.ttl("60s").name("one"))
        .route("/a/new", |route| route.ttl("60s").name("new"))
        .run()
        .await;
    for path in ["/a", "/a/7", "/a/new", "/a/7/b"] {
        proxy.get(path).await.was(Miss);
        proxy.get(path).await.was(Hit);
    }
    assert_eq!(proxy.route_figure("all", "hits").await, 2);
    assert_eq!(proxy.route_figure("one", "hits").await, 1);
    assert_eq!(proxy.route_figure("new", "hits").await, 1);
}

#[tokio::test]
async fn a_route_says_what_its_key_is_made_of() {
    let origin = origin::new().otherwise(ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .route("/tenant", |route| route.key("headers", "[\"X-Tenant\"]"))
        .route("/cookie", |route| route.key("cookies", "[\"lang\"]"))
        .route("/only", |route| route.key("query", "{ only = [\"page\"] }"))
        .route("/except", |route| {
            route.key("query", "{ except = [\"utm_*\"] }")
        })
        .route("/none", |route| route.key("query", "\"none\""))
        .route("/any-host", |route| route.key("host", "false"))
        .run()
        .await;

    let tenant = |name: &'static str| proxy.get("/tenant").header("x-tenant", name);
    tenant("a").await.was(Miss);
    tenant("b").await.was(Miss);
    tenant("a").await.was(Hit);

    let cookie = |cookies: &'static str| proxy.get("/cookie").header("cookie", cookies);
    cookie("lang=de; session=1").await.was(Miss);
    cookie("session=2; lang=de").await.was(Hit);
    cookie("session=2; lang=en").await.was(Miss);

    proxy.get("/only?page=1&x=1").await.was(Miss);
    proxy.get("/only?page=1&x=2").await.was(Hit);
    proxy.get("/only?page=2&x=2").await.was(Miss);

    proxy.get("/except?a=1&utm_source=x").await.was(Miss);
    proxy.get("/except?utm_medium=y&a=1").await.was(Hit);
    proxy.get("/except?a=2").await.was(Miss);

    proxy.get("/none?a=1").await.was(Miss);
    proxy.get("/none?a=2").await.was(Hit);

    proxy.get("/any-host").host("a.test").await.was(Miss);
    proxy.get("/any-host").host("b.test").await.was(Hit);
}

#[tokio::test]
async fn an_ignored_field_neither_decides_nor_is_replayed() {
    let origin = origin::new()
        .get("/directives", ok("x").cache_control("no-store"))
        .get("/cookie", ok("x").header("Set-Cookie", "a=1"))
        .get("/vary", ok("x").header("Vary", "User-Agent"))
        .run()
        .await;
    let proxy = proxy::new(&origin)
        .route("/**", |route| {
            let fields = r#"["cache-control", "set-cookie", "vary"]"#;
            route.ttl("60s").set("ignore_headers", fields)
        })
        .run()
        .await;
    for path in ["/directives", "/cookie", "/vary"] {
        let first = proxy.get(path).header("user-agent", "one");
        first.await.was(Miss);
        let second = proxy.get(path).header("user-agent", "two").await;
        second.was(Hit).lacks("set-cookie");
    }
}

#[tokio::test]
async fn a_store_with_a_bound_keeps_to_it() {
    let origin = origin::new().otherwise(ok("x").max_age(60)).run().await;
    let proxy = proxy::new(&origin)
        .route("/few/{id}", |route| {
            route.name("few").set("entries_max", "3")
        })
        .run()
        .await;
    for id in 0..10 {
        proxy.get(&format!("/few/{id}")).await.was(Miss);
    }
    proxy.get("/few/9").await.was(Hit);
    proxy.get("/few/0").await.was(Miss);
    assert!(proxy.route_figure("few", "size").await <= 3);
    assert!(proxy.route_figure("few", "evictions").await >= 7);
}

#[tokio::test]
async fn http_2_clients_share_the_store_with_the_others() {
    let origin = page("/x").await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    proxy.h2().await.get("/x").await.is("page").was(Hit);
}

#[tokio::test]
async fn a_connection_is_used_again_after_a_hit_whose_request_had_a_body() {
    let origin = page("/x").await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.was(Miss);
    let mut client = proxy.connect().await;
    client
        .send("GET /x HTTP/1.1\r\nHost: pannier.test\r\nContent-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\nX: yy\r\n")
        .await;
    client
        .send("GET /x HTTP/1.1\r\nHost: pannier.test\r\nConnection: close\r\n\r\n")
        .await;
    let all = client.rest().await;
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");
    origin.was_asked("/smuggled").times(0);
}
