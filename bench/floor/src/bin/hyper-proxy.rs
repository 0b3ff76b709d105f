//! The least that a proxy on hyper could cost: hyper's server and hyper's
//! pooled client, and nothing between. The second argument is the origin.

use floor::address;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Uri, body::Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let origin = std::env::args().nth(2).expect("the origin's address");
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new()).build_http();
    let listener = TcpListener::bind(address()).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (client, origin) = (client.clone(), origin.clone());
        tokio::spawn(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                let target = request
                    .uri()
                    .path_and_query()
                    .map_or("/", |path| path.as_str());
                let uri = Uri::try_from(format!("http://{origin}{target}"));
                let client = client.clone();
                async move {
                    *request.uri_mut() = uri.unwrap_or_default();
                    client.request(request).await
                }
            });
            let serving = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            let _ = serving.await;
        });
    }
}
