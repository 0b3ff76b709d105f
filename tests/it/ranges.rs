//! Parts of what is stored, and stored parts (RFC 9110 §14, RFC 9111 §3.3).

use super::support::client::Answer;
use super::support::origin::{self, Origin};
use super::support::proxy::{self, Proxy};
use super::support::{Hit, Miss, by, ok, status};

const TEXT: &str = "0123456789";

async fn stored() -> (Origin, Proxy) {
    let reply = ok(TEXT)
        .max_age(60)
        .etag("v1")
        .header("content-type", "text/plain");
    let origin = origin::new().get("/x", reply).run().await;
    let proxy = proxy::new(&origin).run().await;
    proxy.get("/x").await.is(TEXT).was(Miss);
    (origin, proxy)
}

async fn range(proxy: &Proxy, range: &str) -> Answer {
    proxy.get("/x").header("range", range).await
}

/// An origin that answers a range with that range.
fn in_parts(etag: &'static str) -> super::support::reply::Script {
    by(move |request| {
        let Some(range) = request.head.field("range") else {
            return ok(TEXT).max_age(60).etag(etag);
        };
        let (first, last) = range
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'))
            .expect("a range");
        let first: usize = first.parse().expect("a first position");
        let last = last.parse().map_or(TEXT.len() - 1, |last: usize| last);
        status(206)
            .max_age(60)
            .etag(etag)
            .header(
                "content-range",
                format!("bytes {first}-{last}/{}", TEXT.len()),
            )
            .body(&TEXT[first..=last])
    })
}

#[tokio::test]
async fn one_range_of_a_stored_response_is_answered_from_the_store() {
    let (origin, proxy) = stored().await;
    for (asked, part, described) in [
        ("bytes=0-1", "01", "bytes 0-1/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
    ] {
        let answer = range(&proxy, asked).await;
        answer.status(206).is(part).was(Hit);
        answer.has("content-range", described).has("etag", "\"v1\"");
    }
    origin.was_asked("/x").times(1);
}

#[tokio::test]
async fn several_ranges_come_as_parts_of_one_message() {
    let (_origin, proxy) = stored().await;
    let answer = range(&proxy, "bytes=0-1, -1").await;
    answer.status(206).was(Hit).lacks("content-range");
    let kind = answer.header("content-type").to_owned();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("several parts");
    let expected = format!(
        "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
         \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 9-9/10\r\n\r\n9\
         \r\n--{boundary}--\r\n"
    );
    answer.is(&expected);
}

#[tokio::test]
async fn a_range_beyond_the_content_is_416() {
    let (_origin, proxy) = stored().await;
    let answer = range(&proxy, "bytes=10-").await;
    answer.status(416).has("content-range", "bytes */10").is("");
}

#[tokio::test]
async fn an_abusive_or_broken_range_gets_the_whole() {
    let (_origin, proxy) = stored().await;
    let many = format!("bytes={}", "0-0,".repeat(200));
    for asked in [many.as_str(), "bytes=4-2", "items=0-1"] {
        range(&proxy, asked).await.status(200).is(TEXT).was(Hit);
    }
}

#[tokio::test]
async fn if_range_lets_a_range_count_only_for_the_stored_representation() {
    let (_origin, proxy) = stored().await;
    for (validator, status) in [("\"v1\"", 206), ("\"v0\"", 200), ("W/\"v1\"", 200)] {
        let asked = proxy.get("/x").header("range", "bytes=0-1");
        asked.header("if-range", validator).await.status(status);
    }
}

#[tokio::test]
async fn a_confirmed_copy_outranks_a_range() {
    let (_origin, proxy) = stored().await;
    let asked = proxy.get("/x").header("range", "bytes=0-1");
    asked.header("if-none-match", "\"v1\"").await.status(304);
}

#[tokio::test]
async fn a_part_is_stored_and_answers_what_lies_within_it() {
    let origin = origin::new().get("/x", in_parts("v1")).run().await;
    let proxy = proxy::new(&origin).run().await;
    range(&proxy, "bytes=2-6")
        .await
        .status(206)
        .is("23456")
        .was(Miss);
    range(&proxy, "bytes=2-6")
        .await
        .status(206)
        .is("23456")
        .was(Hit);
    let smaller = range(&proxy, "bytes=3-4").await;
    smaller.status(206).is("34").was(Hit);
    smaller.has("content-range", "bytes 3-4/10");
    range(&proxy, "bytes=6-7")
        .await
        .status(206)
        .is("67")
        .was(Miss);
    origin.was_asked("/x").times(2);
}

#[tokio::test]
async fn parts_of_one_representation_grow_together_into_the_whole() {
    let origin = origin::new().get("/x", in_parts("v1")).run().await;
    let proxy = proxy::new(&origin).run().await;
    range(&proxy, "bytes=0-4").await.is("01234").was(Miss);
    range(&proxy, "bytes=5-7").await.is("567").was(Miss);
    range(&proxy, "bytes=3-6").await.is("3456").was(Hit);
    range(&proxy, "bytes=8-").await.is("89").was(Miss);
    proxy.get("/x").await.status(200).is(TEXT).was(Hit);
    origin.was_asked("/x").times(3);
}

#[tokio::test]
async fn a_stored_beginning_is_completed_with_its_rest() {
    let origin = origin::new().get("/x", in_parts("v1")).run().await;
    let proxy = proxy::new(&origin).run().await;
    range(&proxy, "bytes=0-4").await.is("01234").was(Miss);
    let whole = proxy.get("/x").await;
    whole.status(200).is(TEXT).was(Miss);
    whole.lacks("content-range").has("content-length", "10");
    let asked = origin.last_request("/x");
    assert_eq!(asked.field("range"), "bytes=5-");
    assert_eq!(asked.field("if-range"), "\"v1\"");
    proxy.get("/x").await.is(TEXT).was(Hit);
}

#[tokio::test]
async fn what_is_not_of_the_same_representation_is_never_joined() {
    let origin = origin::new().get("/x", in_parts("v1")).run().await;
    let proxy = proxy::new(&origin).run().await;
    range(&proxy, "bytes=0-4").await.is("01234").was(Miss);
    let changed = by(|request| match request.head.field("range") {
        Some(_) => status(206)
            .max_age(60)
            .etag("v2")
            .header("content-range", "bytes 5-9/10")
            .body("fghij"),
        None => ok("abcdefghij").max_age(60).etag("v2"),
    });
    origin.now_answers("/x", changed);
    proxy.get("/x").await.status(200).is("abcdefghij").was(Miss);
    proxy.get("/x").await.is("abcdefghij").was(Hit);
}

#[tokio::test]
async fn a_write_takes_the_stored_part_with_it() {
    let origin = origin::new()
        .get("/x", in_parts("v1"))
        .on("PUT", "/x", status(204))
        .run()
        .await;
    let proxy = proxy::new(&origin).run().await;
    range(&proxy, "bytes=0-4").await.was(Miss);
    proxy.put("/x", "new").await.is_success();
    range(&proxy, "bytes=0-4").await.was(Miss);
}
