//! An application whose every page is the number of writes to it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::history::KEYS;

/// The application, on a thread of its own.
pub(crate) struct Versioned {
    pub(crate) address: SocketAddr,
}

/// Starts it; it ends with the process.
pub(crate) fn run() -> Versioned {
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            told.send(listener.local_addr().expect("an address"))
                .expect("somebody waits");
            let versions: Arc<Vec<AtomicU64>> =
                Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect());
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let versions = Arc::clone(&versions);
                let service = service_fn(move |request| {
                    let answer = answer(&versions, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
    });
    Versioned {
        address: address.recv().expect("the origin listens"),
    }
}

fn answer(versions: &[AtomicU64], request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let key = request.uri().path().rsplit('/').next();
    let version = key
        .and_then(|key| versions.get(key.parse::<usize>().ok()?))
        .expect("a key that exists");
    let version = if request.method() == Method::GET {
        version.load(Ordering::SeqCst)
    } else {
        version.fetch_add(1, Ordering::SeqCst) + 1
    };
    let tag = format!("\"{version}\"");
    let asked = request.headers().get("if-none-match");
    let response = Response::builder()
        .header("cache-control", "max-age=600")
        .header("etag", &tag);
    let (response, body) = if asked.is_some_and(|asked| asked.as_bytes() == tag.as_bytes()) {
        (response.status(304), Bytes::new())
    } else {
        (response, Bytes::from(version.to_string()))
    };
    response.body(Full::new(body)).expect("a response")
}
