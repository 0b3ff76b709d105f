//! Requests as they go out, answers as they come back. Bytes on a socket: a
//! hostile client is bound to no library.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// How long a client waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Sent whole.
    Whole,
    /// Its content breaks off, and the client resets the connection.
    Reset,
    /// Its content breaks off, and the client closes its side.
    Closed,
    /// A chunk of its content cannot be read.
    BrokenChunk,
    /// More content than Pannier takes.
    TooLarge,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// As it stands in the request line.
    pub(crate) target: String,
    pub(crate) version: &'static str,
    pub(crate) host: String,
    /// Besides `Host`.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) content: String,
    pub(crate) ending: Ending,
    /// Who sends it: the last number of 127.0.0.x.
    pub(crate) from: u8,
    /// Asked before this one on the same connection.
    pub(crate) after: Option<String>,
}

impl Request {
    pub(crate) fn get(target: &str, from: u8) -> Self {
        Self {
            method: "GET".into(),
            target: target.into(),
            version: "1.1",
            host: "shop.example".into(),
            fields: Vec::new(),
            content: String::new(),
            ending: Ending::Whole,
            from,
            after: None,
        }
    }

    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.into(), value.into()));
        self
    }

    /// The path, without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = String::new();
        if let Some(after) = &self.after {
            text.push_str(&format!(
                "GET {after} HTTP/1.1\r\nHost: {}\r\n\r\n",
                self.host
            ));
        }
        text.push_str(&format!(
            "{} {} HTTP/{}\r\nHost: {}\r\n",
            self.method, self.target, self.version, self.host
        ));
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let size = self.content.len();
        let (framing, content) = match self.ending {
            Ending::Whole if size == 0 && self.method == "GET" => (String::new(), String::new()),
            Ending::Whole => (format!("Content-Length: {size}"), self.content.clone()),
            Ending::Reset | Ending::Closed => ("Content-Length: 10".into(), self.content.clone()),
            Ending::BrokenChunk => ("Transfer-Encoding: chunked".into(), "4\r\nAAAAXX".into()),
            Ending::TooLarge => ("Content-Length: 100000".into(), "A".repeat(100_000)),
        };
        if !framing.is_empty() {
            text.push_str(&framing);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text.push_str(&content);
        text.into_bytes()
    }
}

/// What came back; a status of 0 where nothing did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.fields.iter();
        let named = named.filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    pub(crate) fn cache(&self) -> &str {
        self.all("x-cache").next().unwrap_or("-")
    }
}

/// Sends a request, reads its answer.
pub(crate) fn ask(to: SocketAddr, request: &Request) -> Answer {
    let mut stream = connect(to, request.from);
    // Refused on the way: the answer, if there is one, can be read all the same.
    let _ = stream.write_all(&request.bytes());
    match request.ending {
        Ending::Reset => {
            let socket = Socket::from(stream);
            // A reset is the harm intended; without one, closing is as good.
            let _ = socket.set_linger(Some(Duration::ZERO));
            return Answer::default();
        }
        Ending::Closed => {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        _ => {}
    }
    let mut reader = Reader {
        stream,
        buffer: Vec::new(),
    };
    if request.after.is_some() {
        reader.answer("GET");
    }
    reader.answer(&request.method)
}

fn connect(to: SocketAddr, from: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let source = SocketAddr::from(([127, 0, 0, from], 0));
    socket
        .bind(&SockAddr::from(source))
        .expect("an address on loopback");
    socket
        .connect_timeout(&SockAddr::from(to), ANSWER_TIMEOUT)
        .expect("the proxy takes connections");
    let stream = TcpStream::from(socket);
    stream
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .and_then(|()| stream.set_write_timeout(Some(ANSWER_TIMEOUT)))
        .and_then(|()| stream.set_nodelay(true))
        .expect("options of a socket");
    stream
}

struct Reader {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Reader {
    /// The next final answer; what is there of it, if it breaks off.
    fn answer(&mut self, method: &str) -> Answer {
        loop {
            let Some(answer) = self.head() else {
                return Answer::default();
            };
            if answer.status >= 200 {
                return self.with_body(method, answer);
            }
        }
    }

    fn head(&mut self) -> Option<Answer> {
        let end = loop {
            let found = self.buffer.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(at) = found {
                break at + 4;
            }
            if !self.more() {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Some(Answer {
            status,
            fields: fields.collect(),
            body: String::new(),
        })
    }

    fn with_body(&mut self, method: &str, mut answer: Answer) -> Answer {
        if method == "HEAD" || matches!(answer.status, 204 | 304) {
            return answer;
        }
        let length = answer.all("content-length").next();
        let length = length.and_then(|text| text.parse::<usize>().ok());
        let is_chunked = answer.all("transfer-encoding").next().is_some();
        let body = if is_chunked {
            self.chunks()
        } else {
            while length.is_none_or(|length| self.buffer.len() < length) && self.more() {}
            let end = length.unwrap_or(usize::MAX).min(self.buffer.len());
            self.buffer.drain(..end).collect()
        };
        answer.body = String::from_utf8_lossy(&body).into_owned();
        answer
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") else {
                if self.more() {
                    continue;
                }
                return body;
            };
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16);
            let size = size.unwrap_or(0);
            while self.buffer.len() < end + 2 + size + 2 {
                if !self.more() {
                    return body;
                }
            }
            body.extend_from_slice(&self.buffer[end + 2..end + 2 + size]);
            self.buffer.drain(..end + 2 + size + 2);
            if size == 0 {
                return body;
            }
        }
    }

    /// Whether more could be read.
    fn more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return false,
                Ok(read) => {
                    self.buffer.extend_from_slice(&piece[..read]);
                    return true;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}
