//! A server with a trivial service behind it, and a client that speaks bytes.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config::{Limits, UnderscoreFields};
use crate::drain::Drain;
use crate::message::outgoing::Outgoing;
use crate::message::upgrade::Upgrade;
use crate::message::{Body, BodyError};
use crate::proxy::{DirectPass, Peer, Plain, Received};
use crate::server::{Direct, Entrance, Problem, Rejection, bind, serve};

/// No test waits longer for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn limits() -> Limits {
    Limits {
        inflight_max: 1_000,
        upstream_inflight_max: 1_000,
        queue_max: 10,
        queue_timeout: Duration::from_secs(1),
        connections_max: 100,
        head_bytes_max: 4 * 1024,
        target_bytes_max: 1024,
        body_bytes_max: 1000,
        head_timeout: PATIENCE,
        body_idle_timeout: PATIENCE,
        body_rate_min: 0,
        write_idle_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        drain_timeout: PATIENCE,
        trusted_proxies: Vec::new(),
        underscore_fields: UnderscoreFields::Drop,
        grpc_idle_timeout: None,
    }
}

/// What the service fails with.
#[derive(Debug)]
pub(super) enum Failure {
    Overloaded,
    Body,
}

impl From<Failure> for Rejection {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Overloaded => Problem::overloaded(Duration::from_secs(7)).into(),
            Failure::Body => Problem::bad_gateway("The origin did not get the request.").into(),
        }
    }
}

impl From<BodyError> for Failure {
    fn from(_: BodyError) -> Self {
        Self::Body
    }
}

/// What a service has seen, and the gate that `/gate` waits at.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) requests: Arc<Mutex<Vec<String>>>,
    pub(super) arrived: Arc<Semaphore>,
    pub(super) gate: Arc<Semaphore>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            requests: Arc::default(),
            arrived: Arc::new(Semaphore::new(0)),
            gate: Arc::new(Semaphore::new(0)),
        }
    }
}

impl Seen {
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    /// Waits until a request is at the gate.
    pub(super) async fn at_gate(&self) {
        let arrived = timeout(PATIENCE, self.arrived.acquire()).await;
        arrived.unwrap().unwrap().forget();
    }

    /// Lets one request through the gate.
    pub(super) fn open_gate(&self) {
        self.gate.add_permits(1);
    }
}

/// Answers with what it was asked: `METHOD target body`.
pub(super) async fn echo(
    seen: Seen,
    mut request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    assert!(request.extensions().get::<Peer>().is_some());
    assert!(request.extensions().get::<Received>().is_some());
    let target = request.uri().to_string();
    let path = request.uri().path().to_owned();
    let upgrade = request
        .headers()
        .contains_key(http::header::UPGRADE)
        .then(|| request.extensions_mut().remove::<Upgrade>());
    if path.starts_with("/direct") {
        return Ok(Response::new(Body::full(at_once(&target))));
    }
    let method = request.method().clone();
    let is_empty = matches!(request.body(), Body::Empty);
    if path == "/mirror" {
        return Ok(Response::new(request.into_body()).map(unsized_body));
    }
    if path == "/held" {
        seen.arrived.add_permits(1);
        seen.gate.acquire().await.unwrap().forget();
        return Ok(Response::new(Body::full("held")));
    }
    if path != "/unread" {
        let body = request.into_body().collect().await?.to_bytes();
        assert!(body.is_empty() || !is_empty);
        let told = format!("{method} {target} {}", String::from_utf8_lossy(&body));
        seen.requests.lock().push(told.clone());
        if path == "/gate" {
            seen.arrived.add_permits(1);
            seen.gate.acquire().await.unwrap().forget();
        }
        if path == "/overload" {
            return Err(Failure::Overloaded);
        }
        if path == "/huge" {
            seen.arrived.add_permits(1);
            return Ok(Response::new(Body::full(vec![b'x'; 64 * 1024 * 1024])));
        }
        if path == "/switch" {
            if let Some(upgrade) = upgrade.flatten() {
                tokio::spawn(shout(upgrade));
            }
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let fields = response.headers_mut();
            fields.insert("upgrade", HeaderValue::from_static("shout"));
            fields.insert("connection", HeaderValue::from_static("upgrade"));
            return Ok(response);
        }
        return Ok(Response::new(Body::full(told)));
    }
    Ok(Response::new(Body::full("unread")))
}

/// The same, as if nobody knew how long it is.
fn unsized_body(body: Body) -> Body {
    Body::boxed(http_body_util::StreamBody::new(
        http_body_util::BodyStream::new(body),
    ))
}

/// The other protocol: everything comes back in capitals.
async fn shout(upgrade: Upgrade) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut io = upgrade.connection().await.ok_or("no connection")?;
    let mut bytes = [0; 100];
    loop {
        let count = io.read(&mut bytes).await?;
        if count == 0 {
            return Ok(());
        }
        io.write_all(&bytes[..count].to_ascii_uppercase()).await?;
    }
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) seen: Seen,
    pub(super) drain: Drain,
}

impl Server {
    pub(super) async fn run() -> Self {
        Self::with(limits()).await
    }

    pub(super) async fn with(limits: Limits) -> Self {
        let mut sockets = bind(
            &[Entrance::plain("127.0.0.1:0".parse().unwrap())],
            1,
            usize::MAX,
        )
        .unwrap();
        let sockets = sockets.pop().unwrap();
        let address = sockets.addresses().unwrap()[0].tcp().unwrap();
        let seen = Seen::default();
        let drain = Drain::new();
        let behind = seen.clone();
        let service = tower::service_fn(move |request| echo(behind.clone(), request));
        let limits = Arc::new(ArcSwap::from_pointee(limits));
        tokio::spawn(serve(sockets, service, limits, drain.clone()));
        Self {
            address,
            seen,
            drain,
        }
    }

    pub(super) async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    /// Everything that comes back for `bytes` until the server closes.
    pub(super) async fn tell(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        client.send(bytes).await;
        client.rest().await
    }

    pub(super) fn requests(&self) -> Vec<String> {
        self.seen.requests()
    }
}

pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = timeout(PATIENCE, self.0.write_all(bytes.as_ref())).await;
        sent.expect("the server takes what is sent").unwrap();
    }

    /// All that comes until the connection ends, which must not be by a reset.
    pub(super) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut bytes)).await;
        read.expect("the server closes").unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// What comes, up to and with `end`.
    pub(super) async fn until(&mut self, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let byte = timeout(PATIENCE, self.0.read_u8()).await;
            text.push(char::from(byte.expect("something comes").unwrap()));
        }
        text
    }
}

/// The responses in `text`: status and body each. Bodies have a length.
pub(super) fn responses(text: &str) -> Vec<(u16, String)> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some((head, after)) = rest.split_once("\r\n\r\n") {
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        found.push((status, after[..length].to_owned()));
        rest = &after[length..];
    }
    assert_eq!(rest, "", "nothing follows the responses");
    found
}

/// What is answered to a target that begins with `/direct`, at once if it is
/// its turn, else by [`echo`].
pub(super) fn at_once(target: &str) -> Bytes {
    if target == "/direct-huge" {
        return vec![b'x'; 64 * 1024 * 1024].into();
    }
    format!("at once {target}").into()
}

thread_local! {
    /// Requests that could have been passed on directly.
    static OFFERED: Cell<usize> = const { Cell::new(0) };
}

/// How many requests could have been passed on directly by this thread.
pub(super) fn offered() -> usize {
    OFFERED.get()
}

impl<T> Direct for tower::util::ServiceFn<T> {
    fn answer_directly(
        &self,
        plain: &Plain<'_>,
        _: Peer,
        _: Instant,
        outgoing: &mut Outgoing,
    ) -> bool {
        let is_direct = plain.target().starts_with("/direct");
        if is_direct {
            let body = at_once(plain.target());
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            outgoing.head().extend_from_slice(head.as_bytes());
            outgoing.body((&body).into());
        }
        is_direct
    }

    fn respond_directly(
        &self,
        _: &http::request::Parts,
        _: Peer,
        _: Instant,
    ) -> Option<Response<Body>> {
        None
    }

    fn connection_failed(&self) {}

    fn handshake_failed(&self) {}

    fn proxy_header_refused(&self) {}

    fn refused(&self, _: StatusCode, _: Peer, _: Instant) {}

    fn pass_directly(&self, _: &Plain<'_>, _: Peer, _: Instant) -> Option<Box<DirectPass>> {
        OFFERED.set(OFFERED.get() + 1);
        None
    }
}

/// The service for connections without sockets.
pub(super) fn service(
    seen: Seen,
) -> impl tower::Service<Request<Body>, Response = Response<Body>, Error = Failure, Future: Send>
+ Direct
+ Clone
+ Send
+ 'static {
    tower::service_fn(move |request| echo(seen.clone(), request))
}
