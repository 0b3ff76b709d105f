//! Sends one request so many times on one connection, one after the other:
//! `repeat ADDRESS TIMES VERSION METHOD TARGET [FIELD]…`, where a `{}` in the
//! target stands for the number of the request and a POST has 1 KiB of content.
//! The same every time, for counting instructions.

use floor::{Asker, address};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let [times, version, method, target, fields @ ..] = arguments.as_slice() else {
        return Err("TIMES VERSION METHOD TARGET [FIELD]...".into());
    };
    let times: u64 = times.parse()?;
    match version.as_str() {
        "2" => over_http2(times, target).await,
        _ => over_http1(times, method, target, fields).await,
    }
}

async fn over_http1(
    times: u64,
    method: &str,
    target: &str,
    fields: &[String],
) -> Result<(), Failure> {
    let mut asker = Asker::connect(address()).await?;
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let content = match method {
        "POST" => "x".repeat(1024),
        _ => String::new(),
    };
    let length = match content.len() {
        0 => String::new(),
        length => format!("content-length: {length}\r\n"),
    };
    for number in 0..times {
        let target = target.replace("{}", &number.to_string());
        let head = format!("{method} {target} HTTP/1.1\r\nhost: bench\r\n{fields}{length}\r\n");
        let status = asker.send((head + &content).as_bytes()).await?;
        if status >= 400 {
            return Err(format!("the status {status}").into());
        }
    }
    Ok(())
}

async fn over_http2(times: u64, target: &str) -> Result<(), Failure> {
    let socket = TcpStream::connect(address()).await?;
    socket.set_nodelay(true)?;
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
    let (mut client, connection) = handshake.await?;
    tokio::spawn(connection);
    let uri = format!("http://bench{target}");
    for _ in 0..times {
        client.ready().await?;
        let request = Request::get(uri.as_str()).body(Empty::<Bytes>::new())?;
        let response = client.send_request(request).await?;
        if !response.status().is_success() {
            return Err(format!("the status {}", response.status()).into());
        }
        response.into_body().collect().await?;
    }
    Ok(())
}
