//! An upstream that speaks HTTP/2, and calls of gRPC through to it.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsAcceptor;

use super::support::client::HOST;
use super::support::proxy::{self, Proxy};
use super::support::{Hit, Miss, eventually, tls, within};

type Content = UnsyncBoxBody<Bytes, std::convert::Infallible>;
type Pieces = mpsc::Sender<Frame<Bytes>>;

/// Content that is sent piece by piece.
fn pieces() -> (Pieces, Content) {
    let (sender, receiver) = mpsc::channel(1);
    let frames =
        futures_util::stream::unfold(receiver, |mut receiver: mpsc::Receiver<_>| async move {
            receiver.recv().await.map(|frame| (Ok(frame), receiver))
        });
    (sender, StreamBody::new(Box::pin(frames)).boxed_unsync())
}

fn text(content: &'static str) -> Content {
    Full::new(Bytes::from_static(content.as_bytes())).boxed_unsync()
}

/// A request at the origin, and the way to answer it.
struct Asked {
    request: Request<Incoming>,
    answer: oneshot::Sender<Response<Content>>,
}

impl Asked {
    fn answer(self, response: Response<Content>) {
        // The proxy may be gone, which the story finds out.
        let _ = self.answer.send(response);
    }
}

/// An origin that speaks HTTP/2; what it is asked comes to the story.
struct Origin {
    address: SocketAddr,
    asked: mpsc::Receiver<Asked>,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    async fn run(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, asked) = mpsc::channel(64);
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).expect("a peer");
                match &acceptor {
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => {
                            let chosen = stream.get_ref().1.alpn_protocol();
                            let is_http2 = chosen == Some(b"h2");
                            serve(stream, is_http2, sender.clone());
                        }
                        Err(error) => eprintln!("no TLS: {error}"),
                    },
                    None => serve(stream, true, sender.clone()),
                }
            }
        });
        Self {
            address,
            asked,
            connections,
        }
    }

    async fn is_asked(&mut self) -> Asked {
        let asked = within("a request at the origin", self.asked.recv()).await;
        asked.expect("an origin that runs")
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve<I>(io: I, is_http2: bool, sender: mpsc::Sender<Asked>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let sender = sender.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            let _ = sender.send(Asked { request, answer }).await;
            answered.await
        }
    });
    let io = TokioIo::new(io);
    // How a connection ends is for the stories to see.
    tokio::spawn(async move {
        if is_http2 {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(io, service).await;
        } else {
            let builder = hyper::server::conn::http1::Builder::new();
            let _ = builder.serve_connection(io, service).await;
        }
    });
}

/// A client of HTTP/2 that sends and reads piece by piece.
struct Client(hyper::client::conn::http2::SendRequest<Content>);

impl Client {
    async fn connect(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address).await.expect("a listener");
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("an HTTP/2 peer");
        tokio::spawn(connection);
        Self(sender)
    }

    fn send(
        &self,
        request: Request<Content>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        self.0.clone().send_request(request)
    }
}

fn call(path: &str, content: Content) -> Request<Content> {
    Request::post(format!("http://{HOST}{path}"))
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(content)
        .expect("a request")
}

/// The next frame that says something.
async fn next(body: &mut Incoming) -> Option<Frame<Bytes>> {
    loop {
        let frame = within("a frame", body.frame()).await;
        let frame = frame?.expect("a body that goes on");
        if frame.data_ref().is_none_or(|data| !data.is_empty()) {
            return Some(frame);
        }
    }
}

async fn piece(body: &mut Incoming) -> Bytes {
    let frame = next(body).await.expect("a piece");
    frame.into_data().expect("a piece and no trailers")
}

async fn give(pieces: &Pieces, piece: &'static str) {
    let frame = Frame::data(Bytes::from_static(piece.as_bytes()));
    pieces.send(frame).await.expect("someone who reads");
}

fn ok_status() -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a value"));
    Frame::trailers(trailers)
}

fn answer(content: Content) -> Response<Content> {
    Response::builder()
        .header("content-type", "application/grpc+proto")
        .body(content)
        .expect("a response")
}

async fn in_front_of(origin: &Origin) -> Proxy {
    let upstream = format!("h2c://{}", origin.address);
    proxy::in_front_of(&upstream).threads(1).run().await
}

/// Both with a route, where a call makes bans, and without.
#[tokio::test]
async fn a_call_streams_both_ways_at_once_with_trailers() {
    let mut origin = Origin::run(None).await;
    for route in ["/**", "/site/**"] {
        let proxy = proxy::in_front_of(&format!("h2c://{}", origin.address))
            .threads(1)
            .route(route, |route| route.ttl("60s"))
            .run()
            .await;
        let client = Client::connect(&proxy).await;
        let (to_origin, content) = pieces();
        let response = tokio::spawn(client.send(call("/pkg.Echo/Talk", content)));
        let Asked {
            request,
            answer: at,
        } = origin.is_asked().await;
        assert_eq!(request.version(), Version::HTTP_2);
        assert_eq!(request.uri().authority().expect("one").as_str(), HOST);
        assert_eq!(request.headers()["te"], "trailers");
        for gone in ["connection", "host", "transfer-encoding", "content-length"] {
            assert!(!request.headers().contains_key(gone), "{gone}");
        }
        let mut asked = request.into_body();
        // The client's first message is there before any answer is.
        give(&to_origin, "one").await;
        assert_eq!(piece(&mut asked).await, "one");
        let (to_client, content) = pieces();
        let _ = at.send(answer(content));
        let response = within("the head", response).await.expect("a task");
        let response = response.expect("an answer");
        assert_eq!(response.headers()["content-type"], "application/grpc+proto");
        let mut answered = response.into_body();
        for (there, back) in [("two", "TWO"), ("three", "THREE")] {
            give(&to_client, back).await;
            assert_eq!(piece(&mut answered).await, back);
            give(&to_origin, there).await;
            assert_eq!(piece(&mut asked).await, there);
        }
        drop(to_origin);
        assert!(next(&mut asked).await.is_none(), "the client is done");
        to_client.send(ok_status()).await.expect("a reader");
        let trailers = next(&mut answered).await.expect("trailers");
        let trailers = trailers.into_trailers().expect("trailers");
        assert_eq!(trailers["grpc-status"], "0");
    }
}

#[tokio::test]
async fn a_client_that_cancels_its_call_ends_it_at_the_origin() {
    let mut origin = Origin::run(None).await;
    let proxy = in_front_of(&origin).await;
    let client = Client::connect(&proxy).await;

    // The request is whole, and nothing has been answered.
    let response = tokio::spawn(client.send(call("/pkg.Echo/Wait", text("go"))));
    let Asked {
        request,
        answer: mut at,
    } = origin.is_asked().await;
    let asked = within("the request", request.into_body().collect()).await;
    assert_eq!(asked.expect("all of it").to_bytes(), "go");
    response.abort();
    within("the end of the call", at.closed()).await;

    // The answer has begun.
    let response = tokio::spawn(client.send(call("/pkg.Echo/Watch", text("go"))));
    let asked = origin.is_asked().await;
    let (to_client, content) = pieces();
    asked.answer(answer(content));
    give(&to_client, "event").await;
    let response = within("the head", response).await.expect("a task");
    let mut answered = response.expect("an answer").into_body();
    assert_eq!(piece(&mut answered).await, "event");
    drop(answered);
    within("the end of the stream", to_client.closed()).await;

    // The request is not whole.
    let (to_origin, content) = pieces();
    let response = tokio::spawn(client.send(call("/pkg.Echo/Talk", content)));
    let Asked {
        request,
        answer: at,
    } = origin.is_asked().await;
    let mut asked = request.into_body();
    give(&to_origin, "one").await;
    assert_eq!(piece(&mut asked).await, "one");
    response.abort();
    let cut = within("the reset", asked.frame())
        .await
        .expect("no clean end");
    assert!(cut.is_err(), "a call that was cancelled ended well");
    drop(at);
    assert_eq!(origin.connections(), 1, "only the streams were reset");
}

#[tokio::test]
async fn a_call_may_be_silent_for_longer_than_other_exchanges() {
    let mut origin = Origin::run(None).await;
    let proxy = proxy::in_front_of(&format!("h2c://{}", origin.address))
        .threads(1)
        .toml(
            "[origin]\nresponse_timeout = \"200ms\"\nbody_idle_timeout = \"200ms\"\n\
             [limits]\nbody_idle_timeout = \"200ms\"",
        )
        .run()
        .await;
    let client = Client::connect(&proxy).await;
    let (to_origin, content) = pieces();
    let response = tokio::spawn(client.send(call("/pkg.Echo/Talk", content)));
    let Asked {
        request,
        answer: at,
    } = origin.is_asked().await;
    let mut asked = request.into_body();
    // As long as it takes another exchange to be given up.
    let pause = async |origin: &mut Origin| {
        let late = tokio::spawn(proxy.get("/slow").into_future());
        let held = origin.is_asked().await;
        within("a time-out", late)
            .await
            .expect("a task")
            .is_problem(504);
        drop(held);
    };
    pause(&mut origin).await;
    give(&to_origin, "one").await;
    assert_eq!(piece(&mut asked).await, "one");
    drop(to_origin);
    assert!(next(&mut asked).await.is_none());
    pause(&mut origin).await;
    let (to_client, content) = pieces();
    let _ = at.send(answer(content));
    let response = within("the head", response).await.expect("a task");
    let mut answered = response.expect("an answer").into_body();
    pause(&mut origin).await;
    give(&to_client, "two").await;
    assert_eq!(piece(&mut answered).await, "two");
}

#[tokio::test]
async fn what_an_http2_origin_answers_is_stored_and_one_connection_is_enough() {
    let mut origin = Origin::run(None).await;
    let proxy = in_front_of(&origin).await;
    let mut waiting = Vec::new();
    let mut held = Vec::new();
    for n in 0..20 {
        waiting.push(tokio::spawn(proxy.get(&format!("/{n}")).into_future()));
        held.push(origin.is_asked().await);
    }
    for asked in held {
        let response = Response::builder().header("cache-control", "max-age=60");
        asked.answer(response.body(text("shared")).expect("a response"));
    }
    for answer in waiting {
        let answer = within("an answer", answer).await.expect("a task");
        answer.is("shared").was(Miss);
    }
    proxy.get("/7").await.is("shared").was(Hit);
    let written = tokio::spawn(proxy.post("/7", "new").into_future());
    let asked = origin.is_asked().await;
    assert_eq!(asked.request.headers()["content-length"], "3");
    asked.answer(Response::new(Empty::new().boxed_unsync()));
    within("an answer", written)
        .await
        .expect("a task")
        .status(200);
    let again = tokio::spawn(proxy.get("/7").into_future());
    origin.is_asked().await.answer(Response::new(text("newer")));
    within("an answer", again)
        .await
        .expect("a task")
        .is("newer");
    assert_eq!(origin.connections(), 1);
}

/// RFC 9113 §8.7: neither was looked at.
#[tokio::test]
async fn what_the_origin_did_not_process_is_asked_again_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let proxy = proxy::in_front_of(&format!("h2c://{address}"));
    let proxy = proxy.threads(1).run().await;
    let written = tokio::spawn(proxy.post("/x", "content").into_future());

    let (stream, _) = within("a connection", listener.accept())
        .await
        .expect("one");
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    let first = within("a request", connection.accept()).await.expect("one");
    let (_, mut refused) = first.expect("a request");
    refused.send_reset(h2::Reason::REFUSED_STREAM);
    let second = within("the same", connection.accept()).await.expect("one");
    let (request, mut at) = second.expect("a request");
    assert_eq!(request.headers()["content-length"], "7");
    let mut content = request.into_body();
    let response = Response::builder().status(201).body(()).expect("one");
    at.send_response(response, true).expect("a stream");
    let (read, _) = tokio::join!(within("the content", content.data()), async {
        tokio::select! {
            _ = connection.accept() => {}
            answer = written => { answer.expect("a task").status(201); }
        }
    });
    assert_eq!(read.expect("some").expect("some"), "content");

    // Refused again, it is told.
    let refused = tokio::spawn(proxy.post("/x", "content").into_future());
    for _ in 0..2 {
        let asked = within("a request", connection.accept()).await.expect("one");
        asked.expect("one").1.send_reset(h2::Reason::REFUSED_STREAM);
    }
    let refused = tokio::select! {
        answer = refused => answer.expect("a task"),
        _ = connection.accept() => panic!("asked a third time"),
    };
    refused.is_problem(502);

    // GOAWAY: the next exchange has another connection.
    connection.graceful_shutdown();
    let ended = within("its end", connection.accept()).await;
    assert!(ended.is_none(), "a request where none may be");
    drop(connection);
    let written = tokio::spawn(proxy.post("/y", "content").into_future());
    let (stream, _) = within("another", listener.accept()).await.expect("one");
    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
    let asked = within("a request", connection.accept()).await.expect("one");
    let response = Response::builder().status(202).body(()).expect("one");
    let (_, mut at) = asked.expect("one");
    at.send_response(response, true).expect("a stream");
    tokio::select! {
        answer = written => { answer.expect("a task").status(202); }
        _ = connection.accept() => panic!("asked again"),
    }
}

#[tokio::test]
async fn an_https_upstream_speaks_what_it_chooses() {
    let localhost = tls::localhost();
    let mut config = localhost.acceptor.config().as_ref().clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let choosing = TlsAcceptor::from(Arc::new(config));
    let folder = tempfile::TempDir::new().expect("a folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &localhost.ca_pem).expect("a file");
    for (acceptor, option, version) in [
        (choosing.clone(), "true", Version::HTTP_2),
        (choosing, "false", Version::HTTP_11),
        (localhost.acceptor, "true", Version::HTTP_11),
    ] {
        let mut origin = Origin::run(Some(acceptor)).await;
        let upstream = format!("https://localhost:{}", origin.address.port());
        let ca = ca.display();
        let proxy = proxy::in_front_of(&upstream)
            .threads(1)
            .route("/routed", |route| route.ttl("60s"))
            .toml(&format!("[origin]\nca_file = \"{ca}\"\nhttp2 = {option}"))
            .run()
            .await;
        for path in ["/a", "/routed", "/b"] {
            let answered = tokio::spawn(proxy.get(path).into_future());
            let asked = origin.is_asked().await;
            assert_eq!(asked.request.version(), version, "{path}, {option}");
            asked.answer(Response::new(text("x")));
            within("an answer", answered).await.expect("a task").is("x");
        }
        assert_eq!(origin.connections(), 1);
    }
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    let mut origin = Origin::run(None).await;
    let proxy = proxy::in_front_of(&format!("h2c://{}", origin.address))
        .threads(1)
        .toml("[origin]\nidle_timeout = \"50ms\"")
        .run()
        .await;
    let answered = tokio::spawn(proxy.get("/a").into_future());
    origin.is_asked().await.answer(Response::new(text("x")));
    within("an answer", answered).await.expect("a task").is("x");
    eventually("the connection closed", async || {
        let open = proxy.metric("pannier_upstream_connections").await;
        (open == 0.0).then_some(())
    })
    .await;
}

/// Against the library that most of gRPC is made of.
#[tokio::test]
async fn python_s_grpcio_calls_through() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/grpc_story.py");
    let mut has_it = Command::new("python3");
    has_it.args(["-c", "import grpc"]).stderr(Stdio::null());
    if !has_it.status().await.is_ok_and(|status| status.success()) {
        eprintln!("skipped: gRPC from Python (python3 with the package grpcio is not installed)");
        return;
    }
    let mut server = Command::new("python3")
        .args([script, "serve"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python3");
    let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let port = within("a server", lines.next_line()).await.expect("a line");
    let upstream = format!("h2c://127.0.0.1:{}", port.expect("a port"));
    let proxy = proxy::in_front_of(&upstream).run().await;
    let told = Command::new("python3")
        .args([script, "call", &proxy.address.to_string()])
        .output();
    let told = within("the calls", told).await.expect("python3");
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{said}");
    server.kill().await.expect("a server");
}
