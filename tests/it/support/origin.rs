//! An application on raw sockets that answers as it is told, and remembers
//! what it was asked.
//!
//! Reads are scripted by method and path; a script for a target with a query
//! comes before one for its path. Unscripted, a HEAD is a GET without its
//! body, a write is answered `204`, anything else `404`.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::eventually;
use super::reply::{Body, Fed, Feed, Reply, Script, status};
use super::wire::{Head, Io, Wire};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Request line and fields.
    pub(crate) head: Head,
    /// What has arrived of the body.
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The request's method.
    pub(crate) fn method(&self) -> &str {
        self.head.word(0)
    }

    /// The request's target, query included.
    pub(crate) fn target(&self) -> &str {
        self.head.word(1)
    }

    /// The first field of this name; empty where there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.head.field(name).unwrap_or_default()
    }

    /// Whether this asks for `path`: with a query, the whole target counts.
    fn is_for(&self, path: &str) -> bool {
        let target = self.target();
        target == path || (!path.contains('?') && path_of(target) == path)
    }
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// An origin that listens nowhere yet, on TCP unless told otherwise.
pub(crate) fn new() -> Builder {
    Builder {
        scripts: HashMap::new(),
        place: Place::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
    }
}

/// An origin being told what to answer.
pub(crate) struct Builder {
    scripts: Scripts,
    place: Place,
}

type Scripts = HashMap<(String, String), Script>;

#[derive(Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Tls(SocketAddr, TlsAcceptor),
}

impl Builder {
    /// Answers GET (and HEAD) of `path`.
    pub(crate) fn get(self, path: &str, script: impl Into<Script>) -> Self {
        self.on("GET", path, script)
    }

    /// Answers `method` of `path`.
    pub(crate) fn on(mut self, method: &str, path: &str, script: impl Into<Script>) -> Self {
        let place = (method.to_owned(), path.to_owned());
        self.scripts.insert(place, script.into());
        self
    }

    /// Answers GET of every path that has no script.
    pub(crate) fn otherwise(self, script: impl Into<Script>) -> Self {
        self.on("GET", "*", script)
    }

    /// Listens on a Unix socket.
    pub(crate) fn unix(mut self, path: impl Into<PathBuf>) -> Self {
        self.place = Place::Unix(path.into());
        self
    }

    /// Speaks TLS.
    pub(crate) fn tls(mut self, acceptor: TlsAcceptor) -> Self {
        self.place = Place::Tls(SocketAddr::from(([127, 0, 0, 1], 0)), acceptor);
        self
    }

    /// Listens.
    pub(crate) async fn run(self) -> Origin {
        let shared = Arc::new(Shared {
            scripts: Mutex::new(self.scripts),
            received: Mutex::new(Vec::new()),
        });
        let (place, serving) = serve(self.place, Arc::clone(&shared)).await;
        Origin {
            shared,
            place,
            serving: Some(serving),
        }
    }
}

/// An origin that listens.
pub(crate) struct Origin {
    shared: Arc<Shared>,
    place: Place,
    serving: Option<JoinHandle<()>>,
}

struct Shared {
    scripts: Mutex<Scripts>,
    received: Mutex<Vec<Received>>,
}

impl Origin {
    /// What `upstream` in `proxy.toml` says to reach it.
    pub(crate) fn url(&self) -> String {
        match &self.place {
            Place::Tcp(address) => format!("http://{address}"),
            Place::Unix(path) => format!("unix:{}", path.display()),
            Place::Tls(address, _) => format!("https://localhost:{}", address.port()),
        }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Where it listens on a Unix socket.
    pub(crate) fn address(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(address) | Place::Tls(address, _) => *address,
            Place::Unix(_) => panic!("this origin listens on a Unix socket"),
        }
    }

    /// From now on answers GET of `path` so.
    pub(crate) fn now_answers(&self, path: &str, script: impl Into<Script>) {
        self.now_answers_to("GET", path, script);
    }

    /// From now on answers `method` of `path` so.
    pub(crate) fn now_answers_to(&self, method: &str, path: &str, script: impl Into<Script>) {
        let place = (method.to_owned(), path.to_owned());
        self.shared.scripts.lock().insert(place, script.into());
    }

    /// How often it was asked to GET `path`.
    pub(crate) fn was_asked(&self, path: &str) -> Asked {
        self.was_sent("GET", path)
    }

    /// How often it was sent `method` for `path`.
    pub(crate) fn was_sent(&self, method: &str, path: &str) -> Asked {
        let received = self.shared.received.lock();
        let matches = |request: &&Received| request.method() == method && request.is_for(path);
        Asked {
            what: format!("{method} {path}"),
            times: received.iter().filter(matches).count(),
            all: received.iter().map(|one| one.head.start.clone()).collect(),
        }
    }

    /// The last request for `path`, of any method.
    ///
    /// # Panics
    /// Where there was none.
    #[track_caller]
    pub(crate) fn last_request(&self, path: &str) -> Received {
        let received = self.shared.received.lock();
        let last = received.iter().rev().find(|request| request.is_for(path));
        last.unwrap_or_else(|| panic!("the origin was never asked for {path}"))
            .clone()
    }

    /// The bodies of all requests for `path`, one behind the other.
    #[cfg(feature = "otlp")]
    pub(crate) fn received_bytes(&self, path: &str) -> Vec<u8> {
        let received = self.shared.received.lock();
        let wanted = received.iter().filter(|request| request.is_for(path));
        wanted.flat_map(|request| request.body.clone()).collect()
    }

    /// Waits until so many bytes of the body of a request for `path` arrived.
    pub(crate) async fn has_received(&self, path: &str, bytes: usize) {
        eventually(
            &format!("{bytes} bytes of {path} at the origin"),
            async || {
                let received = self.shared.received.lock();
                let last = received.iter().rev().find(|request| request.is_for(path));
                last.filter(|request| request.body.len() >= bytes)
                    .map(|_| ())
            },
        )
        .await;
    }

    /// Waits until it was asked to GET `path` so often.
    pub(crate) async fn is_asked(&self, path: &str, times: usize) {
        eventually(
            &format!("request {times} for {path} at the origin"),
            async || (self.was_asked(path).times >= times).then_some(()),
        )
        .await;
    }

    /// Cuts every connection and refuses new ones.
    pub(crate) async fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            // Awaited, so that the port is free when this returns.
            let _ = serving.await;
        }
    }

    /// Listens again, where it did before.
    pub(crate) async fn start(&mut self) {
        let (_, serving) = serve(self.place.clone(), Arc::clone(&self.shared)).await;
        self.serving = Some(serving);
    }
}

/// How often something was asked, waiting to be held against a claim.
pub(crate) struct Asked {
    what: String,
    times: usize,
    all: Vec<String>,
}

impl Asked {
    /// # Panics
    /// Where it was asked more or less often.
    #[track_caller]
    pub(crate) fn times(&self, expected: usize) {
        assert_eq!(
            self.times, expected,
            "times the origin was sent `{}`; all it was sent: {:#?}",
            self.what, self.all
        );
    }

    /// The number itself.
    pub(crate) fn count(&self) -> usize {
        self.times
    }
}

async fn serve(place: Place, shared: Arc<Shared>) -> (Place, JoinHandle<()>) {
    match place {
        Place::Tcp(address) => {
            let listener = TcpListener::bind(address).await.expect("a free port");
            let address = listener.local_addr().expect("a bound address");
            let accepting = async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    // Head and body are written apart: without this, Nagle's
                    // algorithm would hold each body back for 40 ms.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(converse(Wire::new(stream), Arc::clone(&shared)));
                }
            };
            (Place::Tcp(address), tokio::spawn(accepting))
        }
        Place::Tls(address, acceptor) => {
            let listener = TcpListener::bind(address).await.expect("a free port");
            let address = listener.local_addr().expect("a bound address");
            let place = Place::Tls(address, acceptor.clone());
            let accepting = async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
                    connections.spawn(async move {
                        // A client that refuses the certificate ends here.
                        if let Ok(stream) = acceptor.accept(stream).await {
                            converse(Wire::new(stream), shared).await;
                        }
                    });
                }
            };
            (place, tokio::spawn(accepting))
        }
        Place::Unix(path) => {
            // A socket that was stopped leaves its file behind.
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).expect("a socket path");
            let accepting = async move {
                let mut connections = JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.spawn(converse(Wire::new(stream), Arc::clone(&shared)));
                }
            };
            (Place::Unix(path), tokio::spawn(accepting))
        }
    }
}

/// Requests and answers on one connection, until either side ends it.
async fn converse(mut wire: Wire, shared: Arc<Shared>) {
    while let Ok(Some(head)) = wire.head().await {
        let Ok(request) = receive(&mut wire, head, &shared).await else {
            return;
        };
        let reply = shared.script_for(&request);
        match answer(wire, &request, reply).await {
            Some(kept) => wire = kept,
            None => return,
        }
    }
}

async fn receive(wire: &mut Wire, head: Head, shared: &Shared) -> io::Result<Received> {
    let place = {
        let mut received = shared.received.lock();
        received.push(Received {
            head: head.clone(),
            body: Vec::new(),
        });
        received.len() - 1
    };
    if head.field("expect").is_some() {
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    wire.body(&head, |piece| {
        shared.received.lock()[place].body.extend_from_slice(&piece);
    })
    .await?;
    Ok(shared.received.lock()[place].clone())
}

impl Shared {
    fn script_for(&self, request: &Received) -> Reply {
        let scripts = self.scripts.lock();
        let find = |method: &str| {
            [request.target(), path_of(request.target()), "*"]
                .into_iter()
                .find_map(|path| scripts.get(&(method.to_owned(), path.to_owned())))
        };
        let script = find(request.method()).or_else(|| match request.method() {
            "HEAD" => find("GET"),
            _ => None,
        });
        let reply = match script {
            Some(Script::Fixed(reply)) => (**reply).clone(),
            Some(Script::Computed(make)) => make(request),
            None if ["GET", "HEAD"].contains(&request.method()) => status(404),
            None => status(204),
        };
        reply.for_request(request)
    }
}

/// Sends `reply`; gives the connection back where it can be used again.
async fn answer(mut wire: Wire, request: &Received, reply: Reply) -> Option<Wire> {
    for early in &reply.early {
        wire.send(early.as_bytes()).await.ok()?;
    }
    if let Some(gate) = &reply.gate {
        gate.pass().await;
    }
    match &reply.body {
        Body::HangUp => return None,
        Body::Silence => {
            wire.closed().await;
            return None;
        }
        Body::Raw(bytes) => {
            wire.send(bytes).await.ok()?;
            wire.finish().await.ok()?;
            return None;
        }
        Body::WebSocketEcho => {
            echo(wire, request).await;
            return None;
        }
        _ => wire.send(reply.head().as_bytes()).await.ok()?,
    }
    if request.method() == "HEAD" || matches!(reply.status, 204 | 304) {
        return Some(wire);
    }
    match &reply.body {
        Body::Full(body) => wire.send(body).await.ok()?,
        Body::Chunks(chunks) => {
            for chunk in chunks {
                send_chunk(&mut wire, chunk).await?;
            }
            end_chunks(&mut wire, &reply).await?;
        }
        Body::Fed(feed) => return feed_body(wire, feed, &reply).await,
        Body::Short { sent, .. } => {
            wire.send(sent).await.ok()?;
            return None;
        }
        Body::Raw(_) | Body::HangUp | Body::Silence | Body::WebSocketEcho => {}
    }
    Some(wire)
}

async fn feed_body(mut wire: Wire, feed: &Feed, reply: &Reply) -> Option<Wire> {
    let mut fed = feed.receiver.lock().await;
    loop {
        tokio::select! {
            next = fed.recv() => match next? {
                Fed::Chunk(chunk) => send_chunk(&mut wire, &chunk).await?,
                Fed::End => {
                    end_chunks(&mut wire, reply).await?;
                    return Some(wire);
                }
                Fed::Break => return None,
            },
            () = wire.closed() => {
                feed.abandoned.send_replace(true);
                return None;
            }
        }
    }
}

async fn send_chunk(wire: &mut Wire, chunk: &Bytes) -> Option<()> {
    let head = format!("{:x}\r\n", chunk.len());
    let framed = [head.as_bytes(), chunk, b"\r\n"].concat();
    wire.send(&framed).await.ok()
}

async fn end_chunks(wire: &mut Wire, reply: &Reply) -> Option<()> {
    let mut end = String::from("0\r\n");
    for (name, value) in &reply.trailers {
        end.push_str(&format!("{name}: {value}\r\n"));
    }
    end.push_str("\r\n");
    wire.send(end.as_bytes()).await.ok()
}

async fn echo(mut wire: Wire, request: &Received) {
    let accept = derive_accept_key(request.field("sec-websocket-key").as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    if wire.send(head.as_bytes()).await.is_err() {
        return;
    }
    let io: Box<dyn Io> = wire.into_io();
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if message.is_close() || socket.send(message).await.is_err() {
            return;
        }
    }
}
