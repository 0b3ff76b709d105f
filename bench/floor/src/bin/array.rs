//! The least that a cache of many responses could cost: `array ADDRESS COUNT`
//! has COUNT responses of 1 KiB ready in one array, and answers a request with
//! the one whose number its target ends in. No key, no search, no order, no
//! time: what a hit costs more among many is what their memory costs.

use std::rc::Rc;

use floor::{address, response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// As the server measured beside it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Responses {
    all: Vec<u8>,
    bytes_each: usize,
}

impl Responses {
    fn new(count: usize) -> Self {
        let one = response(1024, true);
        Self {
            all: one.repeat(count),
            bytes_each: one.len(),
        }
    }

    fn of(&self, head: &[u8]) -> &[u8] {
        let target = head.split(|&byte| byte == b' ').nth(1).unwrap_or_default();
        let digits = target.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let number = std::str::from_utf8(digits).unwrap_or_default().parse();
        let count = self.all.len() / self.bytes_each;
        let start = number.unwrap_or(0_usize) % count * self.bytes_each;
        &self.all[start..start + self.bytes_each]
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let count = std::env::args().nth(2).and_then(|text| text.parse().ok());
    let responses = Rc::new(Responses::new(count.expect("how many")));
    let listener = TcpListener::bind(address()).await?;
    let all = LocalSet::new();
    all.run_until(async move {
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            // A connection that breaks is its client's affair.
            tokio::task::spawn_local(serve(socket, Rc::clone(&responses)));
        }
    })
    .await
}

async fn serve(mut socket: TcpStream, responses: Rc<Responses>) -> std::io::Result<()> {
    let mut buffer = vec![0; 4096];
    loop {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        socket.write_all(responses.of(&buffer[..count])).await?;
    }
}
