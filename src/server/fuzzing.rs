//! A session of HTTP/1 for a fuzz target: bytes of a client, cut anywhere, through
//! all that serves a connection.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tower::Service;

use super::connection;
use super::direct::Direct;
use super::listener::{Entrance, Place};
use super::respond::{Problem, Rejection};
use crate::config::{Config, Limits, Upstream};
use crate::drain::Drain;
use crate::message::outgoing::Outgoing;
use crate::message::{Body, BodyError};
use crate::proxy::{DirectPass, Peer, Plain};
use crate::script::Script;

#[cfg(fuzzing)]
pub use super::wire::fuzzing::framer;

/// Requests that were seen whole: start line, fields, content, trailers.
type Seen = Arc<Mutex<Vec<String>>>;

/// Answers each request by its content, and notes what it was.
#[derive(Clone, Debug, Default)]
struct Mirror(Seen);

#[derive(Debug)]
struct Broken;

impl From<BodyError> for Broken {
    fn from(_: BodyError) -> Self {
        Self
    }
}

impl From<Broken> for Rejection {
    fn from(_: Broken) -> Self {
        Problem::bad_gateway("The content broke off.").into()
    }
}

impl Service<Request<Body>> for Mirror {
    type Response = Response<Body>;
    type Error = Broken;
    type Future = BoxFuture<'static, Result<Response<Body>, Broken>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let seen = Arc::clone(&self.0);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let whole = body.collect().await?;
            let trailers = whole.trailers().cloned();
            let content = whole.to_bytes();
            let head = (&parts.method, &parts.uri, parts.version, &parts.headers);
            seen.lock()
                .push(format!("{head:?} {content:?} {trailers:?}"));
            Ok(Response::new(Body::full(content)))
        })
    }
}

impl Direct for Mirror {
    fn answer_directly(
        &self,
        _plain: &Plain<'_>,
        _peer: Peer,
        _received: Instant,
        _outgoing: &mut Outgoing,
    ) -> bool {
        false
    }

    fn respond_directly(
        &self,
        _parts: &http::request::Parts,
        _peer: Peer,
        _received: Instant,
    ) -> Option<Response<Body>> {
        None
    }

    fn connection_failed(&self) {}

    fn handshake_failed(&self) {}

    fn proxy_header_refused(&self) {}

    fn refused(&self, _status: StatusCode, _peer: Peer, _received: Instant) {}

    fn pass_directly(
        &self,
        _plain: &Plain<'_>,
        _peer: Peer,
        _received: Instant,
    ) -> Option<Box<DirectPass>> {
        None
    }
}

fn limits() -> Limits {
    let upstream = Upstream::Unix {
        path: "/nowhere".into(),
    };
    Limits {
        head_bytes_max: 1024,
        target_bytes_max: 200,
        body_bytes_max: 1000,
        ..Config::default_for(upstream).limits
    }
}

/// What was seen of the bytes in these pieces, and what was answered.
fn play<'a>(pieces: impl Iterator<Item = &'a [u8]>, ends: bool) -> (Vec<String>, Vec<u8>) {
    let script = Script::new(pieces.map(<[u8]>::to_vec), ends);
    let answers = script.received();
    let mirror = Mirror::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    let runtime = runtime.unwrap_or_else(|error| panic!("a runtime: {error}"));
    runtime.block_on(async {
        let connection = connection::serve(
            script,
            [192, 0, 2, 1].into(),
            Arc::new(Entrance::plain(([192, 0, 2, 2], 80).into())),
            Place::lone(&Drain::new()),
            mirror.clone(),
            Arc::new(limits()),
        );
        // Time is paused: this is how long nothing may keep it, not a wait.
        let ended = tokio::time::timeout(Duration::from_secs(3600), connection).await;
        assert!(ended.is_ok(), "every connection ends");
    });
    let (seen, answers) = (mirror.0.lock().clone(), answers.lock().clone());
    (seen, answers)
}

/// Serves the bytes behind the first one whole, byte by byte, and in pieces as
/// long as the first one says, with pauses: the requests that were seen whole are
/// the same. HTTP/2 is not looked at.
///
/// # Panics
/// Where they are not.
pub fn session(bytes: &[u8]) {
    let Some((&cut, bytes)) = bytes.split_first() else {
        return;
    };
    if bytes.starts_with(b"PRI * HTTP/2.0") {
        return;
    }
    let ends = cut % 2 == 1;
    let (seen, answers) = play(bytes.chunks(bytes.len().max(1)), ends);
    let is_answer = answers.is_empty() || answers.starts_with(b"HTTP/1.");
    assert!(is_answer, "{}", answers.escape_ascii());
    let (apart, _) = play(bytes.chunks(1), ends);
    assert_eq!(seen, apart, "byte by byte");
    let length = usize::from(cut / 2).max(1);
    let pieces = bytes.chunks(length).flat_map(|piece| [piece, b""]);
    let (paused, _) = play(pieces, ends);
    assert_eq!(seen, paused, "with pauses");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn every_seed_holds() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/session");
        let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
        assert!(!seeds.is_empty(), "{folder} holds none");
        for seed in seeds {
            super::session(&std::fs::read(seed.unwrap().path()).unwrap());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            ..ProptestConfig::with_cases(64)
        })]

        #[test]
        fn random_bytes_hold(bytes: Vec<u8>) {
            super::session(&bytes);
        }
    }
}
