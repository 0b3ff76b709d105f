//! Readers and writers, each on a connection of its own, kept alive.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::history::{History, KEYS};
use crate::support::client::HOST;
use crate::support::proxy::Proxy;

/// Readers of each instance.
const READERS: usize = 4;
/// Between two writes of one writer.
const WRITE_EVERY: Duration = Duration::from_millis(20);
/// An instance that hangs is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(8);

/// Clients at work.
pub(crate) struct Load(JoinSet<()>);

impl Load {
    pub(crate) async fn finished(mut self) {
        while let Some(ended) = self.0.join_next().await {
            ended.expect("a client does not panic");
        }
    }
}

/// Reads and writes at random until then, through every instance.
pub(crate) fn start(proxies: &[Arc<Proxy>], history: &Arc<History>, until: Instant) -> Load {
    let mut clients = JoinSet::new();
    for (who, proxy) in proxies.iter().enumerate() {
        for reader in 0..READERS {
            let client = Client::new(proxy.address, who, (who * 97 + reader) as u64);
            clients.spawn(client.read(Arc::clone(history), until));
        }
        let client = Client::new(proxy.address, who, (who * 1_009 + 7) as u64);
        clients.spawn(client.write(Arc::clone(history), until));
    }
    Load(clients)
}

struct Client {
    address: SocketAddr,
    who: usize,
    chance: Chance,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// Chance that a run repeats: the same numbers every time.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound as u64) as usize
    }
}

struct Answer {
    is_success: bool,
    how: String,
    version: Option<u64>,
}

impl Client {
    fn new(address: SocketAddr, who: usize, seed: u64) -> Self {
        Self {
            address,
            who,
            chance: Chance(seed),
            sender: None,
        }
    }

    async fn read(mut self, history: Arc<History>, until: Instant) {
        while Instant::now() < until {
            let key = self.chance.below(KEYS);
            let began = Instant::now();
            match self.exchange(Method::GET, key).await {
                Some(Answer {
                    is_success: true,
                    version: Some(version),
                    how,
                }) => history.read(key, began, version, &how, self.who),
                _ => history.refused(),
            }
        }
    }

    async fn write(mut self, history: Arc<History>, until: Instant) {
        let mut ticks = tokio::time::interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while Instant::now() < until {
            ticks.tick().await;
            let key = self.chance.below(KEYS);
            match self.exchange(Method::PUT, key).await {
                Some(Answer {
                    is_success: true,
                    version: Some(version),
                    ..
                }) => history.wrote(key, version),
                _ => history.refused(),
            }
        }
    }

    /// `None` where there was no answer; the next goes over another connection.
    async fn exchange(&mut self, method: Method, key: usize) -> Option<Answer> {
        let answer = tokio::time::timeout(PATIENCE, self.send(method, key)).await;
        let answer = answer.ok().flatten();
        if answer.is_none() {
            self.sender = None;
        }
        answer
    }

    async fn send(&mut self, method: Method, key: usize) -> Option<Answer> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => connect(self.address).await?,
        };
        sender.ready().await.ok()?;
        let request = Request::builder()
            .method(method)
            // A group for each key: a write invalidates what is beside it too.
            .uri(format!("/group-{key}/{key}"))
            .header("Host", HOST)
            .body(Full::default())
            .ok()?;
        let response = sender.send_request(request).await.ok()?;
        let is_success = response.status().is_success();
        let how = response.headers().get("x-cache");
        let how = how.and_then(|how| how.to_str().ok()).unwrap_or_default();
        let how = how.to_owned();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        self.sender = Some(sender);
        Some(Answer {
            is_success,
            how,
            version: std::str::from_utf8(&body)
                .ok()
                .and_then(|text| text.parse().ok()),
        })
    }
}

async fn connect(address: SocketAddr) -> Option<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::spawn(connection);
    Some(sender)
}
