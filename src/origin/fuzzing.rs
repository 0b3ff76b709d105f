//! An exchange with the origin for a fuzz target: bytes of an origin, cut anywhere,
//! through all that reads a response.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use http::{HeaderMap, Method, Request};
use http_body::Body as _;

use super::body::OriginBody;
use super::client::OriginClient;
use super::connection::Connection;
use crate::config::{Config, OriginConfig, Upstream};
use crate::message::Body;
use crate::script::Script;
use crate::telemetry::upstream::UpstreamCounters;

/// What became of an exchange.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The response is whole; whether the connection is kept.
    Whole(bool),
    /// More is to come that did not.
    Open,
    /// No head came: how soon bytes are known to be none depends on how they are
    /// cut.
    Nothing,
    /// It broke off after its head.
    Broken,
}

#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    head: Option<String>,
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
    end: End,
}

/// What an origin is asked.
fn request(kind: u8) -> Request<Body> {
    let (method, body) = match kind % 4 {
        0 => (Method::HEAD, Body::Empty),
        1 => (Method::POST, Body::full("content")),
        _ => (Method::GET, Body::Empty),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    request
}

fn play<'a>(kind: u8, pieces: impl Iterator<Item = &'a [u8]>, ends: bool) -> Verdict {
    let upstream = Upstream::Unix {
        path: "/nowhere".into(),
    };
    let config = OriginConfig {
        // It has but one connection.
        retries: 0,
        ..Config::default_for(upstream.clone()).origin
    };
    let counters = Arc::new(UpstreamCounters::default());
    let client = OriginClient::new(&upstream, &config, &counters);
    let client = client.unwrap_or_else(|error| panic!("a client: {error}"));
    let pool = client.pool();
    pool.put(Connection::of_script(
        Script::new(pieces.map(<[u8]>::to_vec), ends).once_asked(),
        &counters,
    ));
    let mut verdict = Verdict {
        head: None,
        content: Vec::new(),
        trailers: None,
        end: End::Open,
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut sending = pin!(client.send(request(kind)));
    // Whatever is still to come after that many turns does not come.
    const TURNS: usize = 20_000;
    let sent = (0..TURNS).find_map(|_| match sending.as_mut().poll(&mut cx) {
        Poll::Ready(sent) => Some(sent),
        Poll::Pending => None,
    });
    let response = match sent {
        None | Some(Err(_)) => {
            verdict.end = End::Nothing;
            return verdict;
        }
        Some(Ok(response)) => response,
    };
    let (head, body) = response.into_parts();
    verdict.head = Some(format!(
        "{:?} {:?} {:?}",
        head.status, head.version, head.headers
    ));
    let mut body: Pin<&mut OriginBody> = pin!(body);
    for _ in 0..TURNS {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Pending => {}
            Poll::Ready(None) => {
                verdict.end = End::Whole(pool.take().is_some());
                break;
            }
            Poll::Ready(Some(Err(_))) => {
                verdict.end = End::Broken;
                break;
            }
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => verdict.content.extend_from_slice(&data),
                Err(frame) => verdict.trailers = frame.into_trailers().ok(),
            },
        }
    }
    verdict
}

/// Lets an origin answer with the bytes behind the first two, which say what it is
/// asked, whether it ends, and how its bytes are cut: whole, byte by byte, and in
/// pieces, the response is the same.
///
/// # Panics
/// Where it is not.
pub fn exchange(bytes: &[u8]) {
    let [kind, cut, bytes @ ..] = bytes else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.unwrap_or_else(|error| panic!("a runtime: {error}"));
    let _inside = runtime.enter();
    let ends = cut % 2 == 1;
    let whole = play(*kind, bytes.chunks(bytes.len().max(1)), ends);
    let apart = play(*kind, bytes.chunks(1), ends);
    assert_eq!(whole, apart, "byte by byte");
    let length = usize::from(cut / 2).max(1);
    let pieces = bytes.chunks(length).flat_map(|piece| [piece, b""]);
    let mut paused = play(*kind, pieces, ends);
    // In a pause nothing is known of what comes behind a response.
    if let (End::Whole(is_kept), End::Whole(is_kept_too)) = (&whole.end, &mut paused.end) {
        *is_kept_too = *is_kept;
    }
    assert_eq!(whole, paused, "with pauses");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn every_seed_holds() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/exchange");
        let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(!seeds.is_empty(), "{folder} holds none");
        for seed in seeds {
            super::exchange(&std::fs::read(seed.unwrap().path()).unwrap());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(64)
        })]

        #[test]
        fn random_bytes_hold(bytes: Vec<u8>) {
            super::exchange(&bytes);
        }
    }
}
