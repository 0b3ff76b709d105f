//! Requests, and what came back held against claims.

use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pannier::semantics::outcome::CacheResult;
use tokio::net::TcpStream;

use super::wire::Io;
use super::within;

/// The host every request names unless it says otherwise: instances listen on
/// different ports, and the host is part of a cache key.
pub(crate) const HOST: &str = "pannier.test";

/// A request being made. Await it for the whole answer.
#[must_use = "a request is sent when it is awaited"]
pub(crate) struct Ask {
    address: SocketAddr,
    request: Request<Full<Bytes>>,
}

/// A request to `address` for `target`.
pub(crate) fn ask(address: SocketAddr, method: &str, target: &str) -> Ask {
    let request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).expect("a method"))
        .uri(target)
        .header("Host", HOST)
        .body(Full::default())
        .expect("a request");
    Ask { address, request }
}

impl Ask {
    /// Adds a field.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        let value = value.parse().expect("a field value");
        self.request.headers_mut().append(name, value);
        self
    }

    /// Names this host instead of [`HOST`].
    pub(crate) fn host(mut self, host: &str) -> Self {
        let host = host.parse().expect("a host");
        self.request.headers_mut().insert("Host", host);
        self
    }

    /// Sends this body.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = Full::new(body.into());
        self
    }

    /// Sends it, and gives the answer once its head is here.
    pub(crate) async fn open(self) -> Opened {
        let what = format!("{} {}", self.request.method(), self.request.uri());
        let sent = async {
            let stream = TcpStream::connect(self.address).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(std::io::Error::other)?;
            // Ends with the connection; the answer's body says if it broke.
            tokio::spawn(connection.with_upgrades());
            let answer = sender.send_request(self.request).await;
            answer.map_err(std::io::Error::other)
        };
        match within(&format!("the head of the answer to {what}"), sent).await {
            Ok(response) => Opened { what, response },
            Err(error) => panic!("no answer to {what}: {error}"),
        }
    }
}

impl IntoFuture for Ask {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.open().await.whole().await })
    }
}

/// An answer whose head is here and whose body still comes.
pub(crate) struct Opened {
    what: String,
    response: Response<Incoming>,
}

impl Opened {
    /// The next piece of the body; `None` at its end.
    ///
    /// # Panics
    /// Where the body breaks.
    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        let what = format!("a piece of {}", self.what);
        let frame = within(&what, self.response.body_mut().frame()).await?;
        let frame = frame.unwrap_or_else(|error| panic!("{what}: {error}"));
        frame.into_data().ok()
    }

    /// Reads until the body breaks.
    ///
    /// # Panics
    /// Where it ends as it should.
    pub(crate) async fn breaks(mut self) {
        let what = format!("the body of {} to break", self.what);
        within(&what, async {
            while let Some(frame) = self.response.body_mut().frame().await {
                if frame.is_err() {
                    return;
                }
            }
            panic!("{}: a body cut short by the origin ended well", self.what);
        })
        .await;
    }

    /// The answer with its whole body.
    ///
    /// # Panics
    /// Where the body breaks.
    pub(crate) async fn whole(self) -> Answer {
        let (head, body) = self.response.into_parts();
        let collected = within(&format!("the body of {}", self.what), body.collect()).await;
        let collected =
            collected.unwrap_or_else(|error| panic!("the body of {} broke: {error}", self.what));
        let trailers = collected.trailers().cloned().unwrap_or_default();
        Answer {
            what: self.what,
            status: head.status,
            headers: head.headers,
            body: collected.to_bytes(),
            trailers,
        }
    }
}

/// A connection that speaks HTTP/2.
#[derive(Clone)]
pub(crate) struct H2 {
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
}

impl H2 {
    /// Connects with prior knowledge (RFC 9113 §3.3).
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("a listener")).await
    }

    /// Speaks on a connection that is there.
    pub(crate) async fn over(io: impl Io + 'static) -> Self {
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io))
                .await
                .expect("an HTTP/2 peer");
        tokio::spawn(connection);
        Self { sender }
    }

    /// GET of `path` on this connection.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    /// GET of `path` with more fields, each on its own line.
    pub(crate) async fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(format!("http://{HOST}{path}"));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).expect("a request");
        self.send(request).await.whole().await
    }

    /// Any request on this connection; gives the answer once its head is here.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Opened {
        let what = format!("{} {} over HTTP/2", request.method(), request.uri());
        let mut sender = self.sender.clone();
        let response = within(&what, sender.send_request(request)).await;
        let response = response.unwrap_or_else(|error| panic!("no answer to {what}: {error}"));
        Opened { what, response }
    }
}

/// A whole answer. Claims about it chain.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    what: String,
    /// The status code.
    pub(crate) status: StatusCode,
    /// The fields.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
    /// Fields after the body.
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    /// The first field of this name; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// What `X-Cache` says.
    pub(crate) fn cache(&self) -> &str {
        self.header("x-cache")
    }

    /// The body is this.
    #[track_caller]
    pub(crate) fn is(&self, body: &str) -> &Self {
        assert!(self.body == body, "expected the body {body:?} in: {self}");
        self
    }

    /// The status is this.
    #[track_caller]
    pub(crate) fn status(&self, status: u16) -> &Self {
        assert!(self.status == status, "expected status {status} in: {self}");
        self
    }

    /// The status is a 2xx.
    #[track_caller]
    pub(crate) fn is_success(&self) -> &Self {
        assert!(self.status.is_success(), "expected success: {self}");
        self
    }

    /// `X-Cache` says this.
    #[track_caller]
    pub(crate) fn was(&self, result: CacheResult) -> &Self {
        let expected = result.as_str();
        assert!(
            self.cache() == expected,
            "expected X-Cache: {expected} in: {self}"
        );
        self
    }

    /// A field has this value.
    #[track_caller]
    pub(crate) fn has(&self, name: &str, value: &str) -> &Self {
        assert!(
            self.headers
                .get_all(name)
                .iter()
                .any(|field| field == value),
            "expected {name}: {value} in: {self}"
        );
        self
    }

    /// There is no field of this name.
    #[track_caller]
    pub(crate) fn lacks(&self, name: &str) -> &Self {
        assert!(
            !self.headers.contains_key(name),
            "expected no {name} in: {self}"
        );
        self
    }

    /// An error of the proxy's own: this status, as RFC 9457 writes it.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16) -> &Self {
        self.status(status)
            .has("content-type", "application/problem+json");
        assert_eq!(
            self.json()["status"],
            status,
            "the document's status: {self}"
        );
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "answer to {}:\n{}", self.what, self.status)?;
        for (name, value) in &self.headers {
            writeln!(
                formatter,
                "{name}: {}",
                value.to_str().unwrap_or("(not text)")
            )?;
        }
        let shown = &self.body[..self.body.len().min(2_000)];
        write!(formatter, "\n{}", String::from_utf8_lossy(shown))
    }
}
