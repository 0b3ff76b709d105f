//! The floor: a tokio socket loop that writes prepared bytes. It is the origin
//! of every measurement too.
//!
//! `/1k/…` and `/128k/…` may be stored for a day, `/size/N/…` (N bytes) as
//! well; `/pass/…` and `/dynamic/…` are 1 KiB that may not be. Reads heads, and
//! leaves out content of a stated length.

use std::collections::HashMap;

use floor::{address, content_length, response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const KIB: usize = 1024;

/// What is known of the responses so far, by size.
struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
    pass: Vec<u8>,
    sized: HashMap<usize, Vec<u8>>,
}

impl Answers {
    fn of(&mut self, head: &[u8]) -> &[u8] {
        let target = head.split(|&byte| byte == b' ').nth(1).unwrap_or(b"/");
        if target.starts_with(b"/128k/") {
            &self.large
        } else if target.starts_with(b"/pass/") || target.starts_with(b"/dynamic/") {
            &self.pass
        } else if let Some(rest) = target.strip_prefix(b"/size/") {
            let digits = rest.split(|&byte| byte == b'/').next().unwrap_or(b"0");
            let size = std::str::from_utf8(digits).unwrap_or("0").parse();
            let size = size.unwrap_or(0).min(16 * KIB * KIB);
            self.sized
                .entry(size)
                .or_insert_with(|| response(size, true))
        } else {
            &self.small
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind(address()).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        tokio::spawn(async move {
            // A connection that breaks is its client's affair.
            let _ = serve(socket).await;
        });
    }
}

async fn serve(mut socket: TcpStream) -> std::io::Result<()> {
    let mut answers = Answers {
        small: response(KIB, true),
        large: response(128 * KIB, true),
        pass: response(KIB, false),
        sized: HashMap::new(),
    };
    let mut buffer = vec![0; 16 * KIB];
    let mut filled = 0;
    let mut many = Vec::new();
    let mut unread = 0;
    loop {
        let count = socket.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let mut taken = unread.min(filled);
        unread -= taken;
        many.clear();
        while let Some(length) = memchr::memmem::find(&buffer[taken..filled], b"\r\n\r\n") {
            let head = &buffer[taken..taken + length + 4];
            taken += head.len();
            if !head.starts_with(b"GET") {
                let content = content_length(head);
                let here = content.min(filled - taken);
                taken += here;
                unread = content - here;
            }
            if taken == filled && many.is_empty() {
                socket.write_all(answers.of(head)).await?;
            } else {
                many.extend_from_slice(answers.of(head));
            }
        }
        socket.write_all(&many).await?;
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
        if filled == buffer.len() {
            return Ok(());
        }
    }
}
