//! What the small programs share: the responses they give, and a client.

use std::net::SocketAddr;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Fields an ordinary application sends, besides those that are written here.
const FIELDS: &str = "content-type: application/json\r\n\
    etag: \"5f2b1c-9a\"\r\n\
    last-modified: Sat, 01 Aug 2026 10:00:00 GMT\r\n";

/// A response of `body_bytes`, head and body, storable for a day or not.
#[must_use]
pub fn response(body_bytes: usize, is_storable: bool) -> Vec<u8> {
    let control = if is_storable {
        "public, max-age=86400"
    } else {
        "no-store"
    };
    let mut all = format!(
        "HTTP/1.1 200 OK\r\n{FIELDS}date: {}\r\ncache-control: {control}\r\n\
         content-length: {body_bytes}\r\n\r\n",
        httpdate::fmt_http_date(SystemTime::now())
    )
    .into_bytes();
    all.extend((0..body_bytes).map(|at| b"0123456789abcdef"[at % 16]));
    all
}

/// The address in the first argument.
///
/// # Panics
/// Without one: these are programs for scripts.
#[must_use]
pub fn address() -> SocketAddr {
    let given = std::env::args().nth(1);
    given
        .and_then(|text| text.parse().ok())
        .expect("the first argument is an address to listen on")
}

/// A client on one connection. Reads bodies that have a length.
pub struct Asker {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Asker {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Asks for a target; says whether the answer was `200`.
    pub async fn ask(&mut self, target: &str) -> std::io::Result<bool> {
        let request = format!("GET {target} HTTP/1.1\r\nhost: bench\r\n\r\n");
        Ok(self.send(request.as_bytes()).await? == 200)
    }

    /// Sends a request as it is; gives the status of the answer.
    pub async fn send(&mut self, request: &[u8]) -> std::io::Result<u16> {
        let Self { socket, buffer } = self;
        socket.write_all(request).await?;
        let mut filled = 0;
        let head_end = loop {
            let count = socket.read(&mut buffer[filled..]).await?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
            if let Some(end) = memchr::memmem::find(&buffer[..filled], b"\r\n\r\n") {
                break end + 4;
            }
        };
        let status = std::str::from_utf8(&buffer[9..12]).unwrap_or("0");
        let status = status.parse().unwrap_or(0);
        if status == 304 {
            return Ok(status);
        }
        let mut left = content_length(&buffer[..head_end]).saturating_sub(filled - head_end);
        while left > 0 {
            let most = left.min(buffer.len());
            let count = socket.read(&mut buffer[..most]).await?;
            if count == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            left -= count;
        }
        Ok(status)
    }
}

/// The `Content-Length` that a head states; 0 without.
#[must_use]
pub fn content_length(head: &[u8]) -> usize {
    let mut lines = head.split(|&byte| byte == b'\n');
    lines
        .find_map(|line| {
            let (name, value) = line.split_at_checked(15)?;
            let is_length = name.eq_ignore_ascii_case(b"content-length:");
            let text = is_length
                .then(|| std::str::from_utf8(value).ok())
                .flatten()?;
            text.trim().parse().ok()
        })
        .unwrap_or(0)
}
