//! The smallest HTTP/1.1 reader that a test peer can do with: heads, lengths
//! and chunks, off any byte stream. Strict enough to notice a proxy that
//! frames a message wrongly.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A byte stream in both directions.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection, and what was read from it but not yet used.
pub(crate) struct Wire {
    io: Box<dyn Io>,
    buffer: BytesMut,
}

/// A start line and its fields, as they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The request line or status line.
    pub(crate) start: String,
    /// Names in lower case, values trimmed, in order.
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { start, fields }
    }

    /// The first field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The word of the start line at `index`: method, target, version of a
    /// request; version, code of a status line.
    pub(crate) fn word(&self, index: usize) -> &str {
        self.start.split(' ').nth(index).unwrap_or_default()
    }

    fn is_chunked(&self) -> bool {
        self.field("transfer-encoding")
            .is_some_and(|coding| coding.to_ascii_lowercase().ends_with("chunked"))
    }

    fn length(&self) -> usize {
        self.field("content-length")
            .and_then(|length| length.parse().ok())
            .unwrap_or(0)
    }
}

impl Wire {
    /// A connection on which nothing was read yet.
    pub(crate) fn new(io: impl Io + 'static) -> Self {
        Self {
            io: Box::new(io),
            buffer: BytesMut::new(),
        }
    }

    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }

    /// The next head; `None` where the peer closed instead.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = self.buffer.split_to(end);
                self.buffer.advance(4);
                return Ok(Some(Head::parse(&String::from_utf8_lossy(&head))));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The body that follows `head`, piece by piece; gives the trailers.
    pub(crate) async fn body(
        &mut self,
        head: &Head,
        mut piece: impl FnMut(Bytes),
    ) -> io::Result<Head> {
        if !head.is_chunked() {
            self.exactly(head.length(), &mut piece).await?;
            return Ok(Head::default());
        }
        loop {
            let size = self.line().await?;
            let size = size.split(';').next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
            if size == 0 {
                return self.trailers().await;
            }
            self.exactly(size, &mut piece).await?;
            if !self.line().await?.is_empty() {
                return Err(io::Error::other("a chunk longer than it said"));
            }
        }
    }

    /// Everything until the peer closes. A reset counts as a close.
    pub(crate) async fn rest(&mut self) -> Bytes {
        while self.fill().await.unwrap_or(false) {}
        self.buffer.split().freeze()
    }

    /// Waits until the peer closes.
    pub(crate) async fn closed(&mut self) {
        while self.fill().await.unwrap_or(false) {}
    }

    /// The stream itself, for another protocol. Nothing may be left unread.
    pub(crate) fn into_io(self) -> Box<dyn Io> {
        assert!(self.buffer.is_empty(), "bytes came before the switch");
        self.io
    }

    async fn trailers(&mut self) -> io::Result<Head> {
        let mut text = String::new();
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(Head::parse(&text));
            }
            text.push_str("\r\n");
            text.push_str(&line);
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(end);
                self.buffer.advance(2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.must_fill().await?;
        }
    }

    async fn exactly(&mut self, count: usize, piece: &mut impl FnMut(Bytes)) -> io::Result<()> {
        let mut missing = count;
        while missing > 0 {
            if self.buffer.is_empty() {
                self.must_fill().await?;
            }
            let taken = self.buffer.len().min(missing);
            missing -= taken;
            piece(self.buffer.split_to(taken).freeze());
        }
        Ok(())
    }

    async fn must_fill(&mut self) -> io::Result<()> {
        if self.fill().await? {
            return Ok(());
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.io.read_buf(&mut self.buffer).await? > 0)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
