//! What the origin is told to answer.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{Mutex, mpsc, watch};

use super::gate::Gate;
use super::origin::Received;
use super::within;

/// An answer, or how one is made from a request.
#[derive(Clone)]
pub(crate) enum Script {
    /// Always the same.
    Fixed(Box<Reply>),
    /// Looks at the request.
    Computed(Arc<dyn Fn(&Received) -> Reply + Send + Sync>),
}

impl From<Reply> for Script {
    fn from(reply: Reply) -> Self {
        Self::Fixed(Box::new(reply))
    }
}

/// An answer that depends on the request.
pub(crate) fn by(make: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Script {
    Script::Computed(Arc::new(make))
}

/// One answer.
#[derive(Clone)]
pub(crate) struct Reply {
    pub(super) early: Vec<String>,
    pub(super) status: u16,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Body,
    pub(super) trailers: Vec<(String, String)>,
    pub(super) gate: Option<Gate>,
}

/// How the body goes out, if there is one.
#[derive(Clone)]
pub(super) enum Body {
    /// With `Content-Length`.
    Full(Bytes),
    /// With chunked coding, one chunk each.
    Chunks(Vec<Bytes>),
    /// With chunked coding, as the test feeds it.
    Fed(Feed),
    /// `Content-Length` promises more than is sent; then the connection closes.
    Short { declared: usize, sent: Bytes },
    /// The whole answer, head included, byte for byte; then the connection closes.
    Raw(Bytes),
    /// The connection closes without an answer.
    HangUp,
    /// No answer ever comes.
    Silence,
    /// The connection becomes a WebSocket that says back what it hears.
    WebSocketEcho,
}

/// `200` with this body.
pub(crate) fn ok(body: impl Into<Bytes>) -> Reply {
    Reply::new(200, Body::Full(body.into()))
}

/// This status, no body.
pub(crate) fn status(status: u16) -> Reply {
    Reply::new(status, Body::Full(Bytes::new()))
}

/// `200` whose body comes out of `feed`.
pub(crate) fn fed(feed: &Feed) -> Reply {
    Reply::new(200, Body::Fed(feed.clone()))
}

/// `200` that promises `declared` bytes, sends `sent`, and closes.
pub(crate) fn short(declared: usize, sent: &'static str) -> Reply {
    let sent = Bytes::from_static(sent.as_bytes());
    Reply::new(200, Body::Short { declared, sent })
}

/// Bytes instead of an answer.
pub(crate) fn raw_reply(bytes: impl Into<Bytes>) -> Reply {
    Reply::new(0, Body::Raw(bytes.into()))
}

/// Takes the request, then closes: the answer is lost.
pub(crate) fn hang_up() -> Reply {
    Reply::new(0, Body::HangUp)
}

/// Takes the request, and says nothing.
pub(crate) fn silence() -> Reply {
    Reply::new(0, Body::Silence)
}

/// Accepts a WebSocket and echoes it.
pub(crate) fn websocket_echo() -> Reply {
    Reply::new(101, Body::WebSocketEcho)
}

impl Reply {
    fn new(status: u16, body: Body) -> Self {
        Self {
            early: Vec::new(),
            status,
            fields: Vec::new(),
            body,
            trailers: Vec::new(),
            gate: None,
        }
    }

    /// Adds a field.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.fields.push((name.to_owned(), value.into()));
        self
    }

    /// `Cache-Control: max-age=…`.
    pub(crate) fn max_age(self, seconds: u32) -> Self {
        self.header("Cache-Control", format!("max-age={seconds}"))
    }

    /// `Cache-Control: …`.
    pub(crate) fn cache_control(self, directives: &str) -> Self {
        self.header("Cache-Control", directives)
    }

    /// An entity tag, quoted here. Requests that carry it in `If-None-Match`
    /// are answered `304`.
    pub(crate) fn etag(self, tag: &str) -> Self {
        self.header("ETag", format!("\"{tag}\""))
    }

    /// This body instead.
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Body::Full(body.into());
        self
    }

    /// The body in chunks.
    pub(crate) fn chunks(mut self, chunks: &[&'static str]) -> Self {
        let bytes = |chunk: &&'static str| Bytes::from_static(chunk.as_bytes());
        self.body = Body::Chunks(chunks.iter().map(bytes).collect());
        self
    }

    /// A trailer field after a chunked body.
    pub(crate) fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// An interim response before this one, as the lines of its head.
    pub(crate) fn early(mut self, head: &str) -> Self {
        self.early.push(format!("{head}\r\n\r\n"));
        self
    }

    /// Waits at `gate` before a byte of the final response is sent.
    pub(crate) fn held_by(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// This reply, or the `304` that says the requester has it already.
    pub(super) fn for_request(self, request: &Received) -> Self {
        let tag = self.fields.iter().find(|(name, _)| name == "ETag");
        let known = request.head.field("if-none-match");
        match (tag, known) {
            (Some((_, tag)), Some(known)) if known.contains(tag.as_str()) => Self {
                status: 304,
                body: Body::Full(Bytes::new()),
                ..self
            },
            _ => self,
        }
    }

    /// The head of the final response.
    pub(super) fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.fields.iter().any(|(name, _)| name == "Date") {
            let now = httpdate::fmt_http_date(SystemTime::now());
            head.push_str(&format!("Date: {now}\r\n"));
        }
        let bodiless = matches!(self.status, 101 | 204 | 304);
        match &self.body {
            _ if bodiless => {}
            Body::Full(body) => head.push_str(&format!("Content-Length: {}\r\n", body.len())),
            Body::Short { declared, .. } => {
                head.push_str(&format!("Content-Length: {declared}\r\n"));
            }
            _ => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        head
    }
}

/// A body under the test's control. Feeds one answer at a time.
#[derive(Clone)]
pub(crate) struct Feed {
    sender: mpsc::UnboundedSender<Fed>,
    pub(super) receiver: Arc<Mutex<mpsc::UnboundedReceiver<Fed>>>,
    pub(super) abandoned: watch::Sender<bool>,
}

/// What the test fed.
pub(super) enum Fed {
    Chunk(Bytes),
    End,
    Break,
}

impl Feed {
    /// A feed with nothing in it yet.
    pub(crate) fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            sender,
            receiver: Arc::new(Mutex::new(receiver)),
            abandoned: watch::Sender::new(false),
        }
    }

    /// Sends one chunk.
    pub(crate) fn send(&self, chunk: impl Into<Bytes>) {
        self.give(Fed::Chunk(chunk.into()));
    }

    /// Ends the body as it should end.
    pub(crate) fn end(&self) {
        self.give(Fed::End);
    }

    /// Closes the connection in the middle of the body.
    pub(crate) fn break_off(&self) {
        self.give(Fed::Break);
    }

    /// Waits until the reader of this body has closed its connection.
    pub(crate) async fn abandoned(&self) {
        let mut abandoned = self.abandoned.subscribe();
        within(
            "the reader of the fed body to go away",
            abandoned.wait_for(|gone| *gone),
        )
        .await
        .expect("the feed outlives its watchers");
    }

    fn give(&self, fed: Fed) {
        self.sender.send(fed).expect("the feed holds its receiver");
    }
}
