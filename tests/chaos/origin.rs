//! An application whose every page is the number of writes to it.
//!
//! One that is asked to stream its answer sends the head first, writes then, and
//! ends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::faults::pass;
use crate::load::KEYS;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type Versions = Arc<Vec<AtomicU64>>;

/// Until a streamed answer's write is made; one after the other.
const COMMITS_AFTER_MILLIS: [usize; 5] = [0, 3, 10, 30, 100];

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
            let versions: Versions = Arc::new((0..KEYS).map(|_| AtomicU64::new(0)).collect());
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

fn answer(versions: &Versions, request: &Request<Incoming>) -> Response<Body> {
    let key = request.uri().path().rsplit('/').next();
    let key: usize = key.and_then(|key| key.parse().ok()).expect("a number");
    let is_read = request.method() == Method::GET;
    if !is_read
        && request
            .headers()
            .get("streamed")
            .is_some_and(|told| told == "yes")
    {
        return streamed(Arc::clone(versions), key);
    }
    let version = if is_read {
        versions[key].load(Ordering::SeqCst)
    } else {
        write(versions, key)
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
    let body = Full::new(body).boxed_unsync();
    response.body(body).expect("a response")
}

fn write(versions: &Versions, key: usize) -> u64 {
    versions[key].fetch_add(1, Ordering::SeqCst) + 1
}

/// The head at once, the write later, its version at the end.
fn streamed(versions: Versions, key: usize) -> Response<Body> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed) as usize;
    let after = COMMITS_AFTER_MILLIS[number % COMMITS_AFTER_MILLIS.len()];
    let body = futures_util::stream::once(async move {
        pass(after).await;
        let version = write(&versions, key).to_string();
        Ok(Frame::data(Bytes::from(version)))
    });
    Response::new(StreamBody::new(body).boxed_unsync())
}
