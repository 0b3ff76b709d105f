//! What `pannier demo` puts behind and in front of the proxy: a small sample
//! API whose answers take visibly long, a configuration for it, and a few
//! `curl` lines to try.
//!
//! The sample API is an application like any other: it knows nothing of the
//! proxy, keeps its products in memory, and says only in `Cache-Control` of
//! `/api/time` that an answer must not be stored.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

use crate::clock::Clock;

/// How long the sample API takes for an answer.
const WORK: Duration = Duration::from_millis(150);
/// A larger request body is refused with `413`.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// With so many products, a further one is refused with `507`.
const PRODUCTS_MAX: usize = 1_000;

/// What the sample API sells.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Product {
    #[serde(default)]
    id: u32,
    name: String,
    price: f64,
}

type Products = BTreeMap<u32, Product>;

fn products() -> Products {
    let stock = [("Basket", 24.5), ("Saddlebag", 89.0), ("Rain cover", 15.0)];
    (1..)
        .zip(stock)
        .map(|(id, (name, price))| {
            let name = name.to_owned();
            (id, Product { id, name, price })
        })
        .collect()
}

/// Serves the sample API on `listener` for as long as it is polled. A
/// connection that fails ends alone.
pub async fn serve_sample_api(listener: TcpListener) {
    let products = Arc::new(Mutex::new(products()));
    loop {
        // Out of sockets, for example: they come back when others are done.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(WORK).await;
            continue;
        };
        let products = Arc::clone(&products);
        let service = service_fn(move |request| {
            let products = Arc::clone(&products);
            async move { Ok::<_, Infallible>(answer(request, &products).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, products: &Mutex<Products>) -> Answer {
    tokio::time::sleep(WORK).await;
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_BYTES_MAX).collect().await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    };
    let body = body.to_bytes();
    let path = head.uri.path();
    let mut products = products.lock();
    match path.strip_prefix("/api/products/") {
        Some(id) => match id.parse() {
            Ok(id) => one_product(&head.method, id, &body, &mut products),
            Err(_) => problem(StatusCode::NOT_FOUND, "no such product"),
        },
        None if path == "/api/products" => all_products(&head.method, &body, &mut products),
        None if path == "/api/time" => time(&head.method),
        None => problem(StatusCode::NOT_FOUND, "no such page"),
    }
}

fn all_products(method: &Method, body: &[u8], products: &mut Products) -> Answer {
    match *method {
        Method::GET | Method::HEAD => {
            let all: Vec<_> = products.values().collect();
            json(StatusCode::OK, &json!({ "products": all }))
        }
        Method::POST => {
            if products.len() >= PRODUCTS_MAX {
                return problem(StatusCode::INSUFFICIENT_STORAGE, "the shop is full");
            }
            let id = products.keys().next_back().map_or(1, |last| last + 1);
            let mut answer = put(id, StatusCode::CREATED, body, products);
            if answer.status().is_success()
                && let Ok(place) = HeaderValue::try_from(format!("/api/products/{id}"))
            {
                answer.headers_mut().insert(LOCATION, place);
            }
            answer
        }
        _ => not_allowed("GET, HEAD, POST"),
    }
}

fn one_product(method: &Method, id: u32, body: &[u8], products: &mut Products) -> Answer {
    let Some(product) = products.get(&id) else {
        return problem(StatusCode::NOT_FOUND, "no such product");
    };
    match *method {
        Method::GET | Method::HEAD => json(StatusCode::OK, &json!(product)),
        Method::PUT => put(id, StatusCode::OK, body, products),
        Method::DELETE => {
            products.remove(&id);
            let mut answer = Answer::default();
            *answer.status_mut() = StatusCode::NO_CONTENT;
            answer
        }
        _ => not_allowed("GET, HEAD, PUT, DELETE"),
    }
}

fn put(id: u32, done: StatusCode, body: &[u8], products: &mut Products) -> Answer {
    match serde_json::from_slice::<Product>(body) {
        Ok(product) => {
            let product = Product { id, ..product };
            let answer = json(done, &json!(product));
            products.insert(id, product);
            answer
        }
        Err(_) => problem(
            StatusCode::BAD_REQUEST,
            r#"a product looks like {"name": "Basket", "price": 24.5}"#,
        ),
    }
}

fn time(method: &Method) -> Answer {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return not_allowed("GET, HEAD");
    }
    let now = httpdate::fmt_http_date(Clock::System.wall().to_system_time());
    let mut answer = json(StatusCode::OK, &json!({ "time": now }));
    let never = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(CACHE_CONTROL, never);
    answer
}

fn json(status: StatusCode, value: &serde_json::Value) -> Answer {
    let mut answer = Response::new(Full::from(format!("{value}\n")));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn problem(status: StatusCode, detail: &str) -> Answer {
    json(status, &json!({ "error": detail }))
}

fn not_allowed(allowed: &'static str) -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "no such method here");
    let allowed = HeaderValue::from_static(allowed);
    answer.headers_mut().insert(ALLOW, allowed);
    answer
}

/// The demo's `proxy.toml`: the sample API at `api`, the proxy at `listen`,
/// the admin listener at `admin`.
#[must_use]
pub fn sample_config(api: SocketAddr, listen: SocketAddr, admin: SocketAddr) -> String {
    format!(
        r#"listen   = "{listen}"
upstream = "http://{api}"

[admin]
listen = "{admin}"

[[routes]]
name = "products"
path = "/api/products"
ttl  = "60s"

[[routes]]
name = "product"
path = "/api/products/{{id}}"
ttl  = "60s"

[[routes]]
name = "time"
path = "/api/time"
"#
    )
}

/// What the demo prints: where it listens, and what to try.
#[must_use]
pub fn introduction(data: SocketAddr, admin: SocketAddr) -> String {
    format!(
        r#"A sample API takes {work} ms for every answer. Pannier stands in front of it:

  proxy  http://{data}
  admin  http://{admin}

Try, in another terminal:

  # the first answer is slow (X-Cache: MISS), the second is not (X-Cache: HIT)
  curl -i http://{data}/api/products
  curl -i http://{data}/api/products

  # a write makes what it touches invalid: the list is fetched again (MISS)
  curl -i -X PUT http://{data}/api/products/1 -d '{{"name":"Basket, red","price":29.5}}'
  curl -i http://{data}/api/products

  # an answer that says no-store is never kept
  curl -i http://{data}/api/time

  # by hand, and what was counted
  curl -X POST 'http://{admin}/cache/invalidate?pattern=/api/**'
  curl http://{admin}/cache/stats

Ctrl-C ends it.
"#,
        work = WORK.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// One request to a sample API of its own connection; the whole answer.
    async fn ask(api: SocketAddr, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(api).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_sample_api_shows_what_was_written_to_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = listener.local_addr().unwrap();
        tokio::spawn(serve_sample_api(listener));

        let list = ask(api, "GET", "/api/products", "").await;
        assert!(
            list.starts_with("HTTP/1.1 200") && list.contains("Saddlebag"),
            "{list}"
        );

        let made = r#"{"name":"Bell","price":9.0}"#;
        let created = ask(api, "POST", "/api/products", made).await;
        assert!(created.starts_with("HTTP/1.1 201"), "{created}");
        assert!(created.contains("location: /api/products/4"), "{created}");

        let written = ask(
            api,
            "PUT",
            "/api/products/4",
            r#"{"name":"Horn","price":9.5}"#,
        )
        .await;
        assert!(written.contains(r#""name":"Horn""#), "{written}");
        let refused = ask(api, "PUT", "/api/products/4", "{}").await;
        assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");

        let gone = ask(api, "DELETE", "/api/products/4", "").await;
        assert!(gone.starts_with("HTTP/1.1 204"), "{gone}");
        let missing = ask(api, "GET", "/api/products/4", "").await;
        assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");

        let time = ask(api, "GET", "/api/time", "").await;
        assert!(time.contains("cache-control: no-store"), "{time}");
        let no = ask(api, "DELETE", "/api/time", "").await;
        assert!(
            no.starts_with("HTTP/1.1 405") && no.contains("allow: GET, HEAD"),
            "{no}"
        );
    }
}
