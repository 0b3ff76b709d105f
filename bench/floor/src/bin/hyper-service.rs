//! The least that a cache on hyper could cost: a service that copies stored
//! fields and adds the five that a cache adds.

use std::convert::Infallible;
use std::time::Instant;

use bytes::Bytes;
use floor::{address, response};
use http_body_util::Full;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A response taken apart.
struct Stored {
    fields: HeaderMap,
    body: Bytes,
}

fn stored(body_bytes: usize) -> Stored {
    let bytes = Bytes::from(response(body_bytes, true));
    let end = memchr::memmem::find(&bytes, b"\r\n\r\n").expect("a head");
    let head = std::str::from_utf8(&bytes[..end]).expect("text");
    let mut fields = HeaderMap::new();
    for line in head.split("\r\n").skip(1) {
        let (name, value) = line.split_once(": ").expect("a field");
        fields.append(
            HeaderName::try_from(name).expect("a name"),
            HeaderValue::try_from(value).expect("a value"),
        );
    }
    Stored {
        fields,
        body: bytes.slice(end + 4..),
    }
}

fn answer(small: &Stored, large: &Stored, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let started = Instant::now();
    let is_large = request.uri().path().starts_with("/128k/");
    let stored = if is_large { large } else { small };
    let mut response = Response::new(Full::new(stored.body.clone()));
    let mut fields = stored.fields.clone();
    for (name, value) in [
        ("age", "7"),
        ("x-cache", "HIT"),
        ("x-cache-age", "7"),
        ("cache-status", "pannier; hit; ttl=3593"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
    let milliseconds = format!("{:.3}", started.elapsed().as_secs_f64() * 1_000.0);
    fields.insert(
        "x-process-time",
        HeaderValue::try_from(milliseconds).expect("digits"),
    );
    *response.headers_mut() = fields;
    response
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let (small, large): (&Stored, &Stored) = (
        Box::leak(Box::new(stored(1024))),
        Box::leak(Box::new(stored(128 * 1024))),
    );
    let listener = TcpListener::bind(address()).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(small, large, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let serving = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            let _ = serving.await;
        });
    }
}
