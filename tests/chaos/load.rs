//! Readers and writers, each on a connection of its own, kept alive.
//!
//! Readers send several requests before they read the answers: a test that
//! shares its cores with what it tests should cost little itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::faults::pass;
use crate::history::{History, Told};
use crate::stage::Instance;
use crate::support::client::HOST;

/// Keys that are written often, and keys that are written seldom: what stays
/// stale at a busy key is soon repaired by the next write.
const BUSY: usize = 48;
const SELDOM: usize = 400;
/// All of them.
pub(crate) const KEYS: usize = BUSY + SELDOM;

/// Requests under way on the connection of each reader of an instance.
const DEPTHS: &[usize] = &[1, 4, 16, 16];
/// The same of many: they share the cores, and where Redis is away every read in
/// strict mode is one of the origin, which is in this process.
const DEPTHS_OF_MANY: &[usize] = &[1, 4];
const MANY: usize = 8;
/// Between two writes, of all writers together.
const WRITE_EVERY: Duration = Duration::from_millis(7);
/// An instance that hangs is not waited for any longer.
const PATIENCE: Duration = Duration::from_secs(8);

/// When a run is over: at a moment, or as soon as enough was read.
#[derive(Clone, Copy)]
pub(crate) struct Stop {
    pub(crate) until: Instant,
    pub(crate) reads: Option<u64>,
}

impl Stop {
    pub(crate) fn is_over(self, history: &History) -> bool {
        let is_enough = self.reads.is_some_and(|reads| history.reads() >= reads);
        is_enough || Instant::now() >= self.until
    }
}

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
pub(crate) fn start(
    instances: &[Arc<Instance>],
    history: &Arc<History>,
    stop: Stop,
    seed: u64,
) -> Load {
    let mut clients = JoinSet::new();
    let depths = if instances.len() < MANY {
        DEPTHS
    } else {
        DEPTHS_OF_MANY
    };
    for (who, instance) in instances.iter().enumerate() {
        let seed = seed.wrapping_mul(10_007).wrapping_add(who as u64 * 97);
        for (reader, depth) in depths.iter().copied().enumerate() {
            let client = Reader::new(Arc::clone(instance), Chance(seed + reader as u64));
            clients.spawn(client.read(Arc::clone(history), stop, depth));
        }
        let client = Writer {
            instance: Arc::clone(instance),
            chance: Chance(seed + 50),
            sender: None,
        };
        let every = WRITE_EVERY * instances.len() as u32;
        clients.spawn(client.write(Arc::clone(history), stop, every));
    }
    Load(clients)
}

/// Reads every key once through every instance.
pub(crate) async fn read_everything(instances: &[Arc<Instance>], history: &History) {
    for instance in instances {
        let mut reader = Reader::new(Arc::clone(instance), Chance(0));
        for key in 0..KEYS {
            reader.read_these(&[key], history).await;
        }
    }
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

    /// A key: one that is written often, as often as this of ten.
    fn key(&mut self, busy_of_ten: usize) -> usize {
        if self.below(10) < busy_of_ten {
            self.below(BUSY)
        } else {
            BUSY + self.below(SELDOM)
        }
    }
}

/// A group for each key: a write invalidates what is beside it too.
fn path(key: usize) -> String {
    format!("/group-{key}/{key}")
}

struct Reader {
    instance: Arc<Instance>,
    chance: Chance,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

struct Answer {
    is_success: bool,
    how: String,
    version: Option<u64>,
}

impl Reader {
    fn new(instance: Arc<Instance>, chance: Chance) -> Self {
        Self {
            instance,
            chance,
            stream: None,
            received: Vec::new(),
        }
    }

    async fn read(mut self, history: Arc<History>, stop: Stop, depth: usize) {
        let mut keys = Vec::new();
        while !stop.is_over(&history) {
            keys.clear();
            keys.extend((0..depth).map(|_| self.chance.key(5)));
            self.read_these(&keys, &history).await;
        }
    }

    /// Reads these at once. The next go over another connection where one of
    /// them is not answered.
    async fn read_these(&mut self, keys: &[usize], history: &History) {
        let began = Instant::now();
        let mut answered = 0;
        let done = tokio::time::timeout(PATIENCE, async {
            self.ask(keys).await?;
            for key in keys {
                let answer = self.answer().await?;
                answered += 1;
                match answer.version.filter(|_| answer.is_success) {
                    Some(version) => {
                        history.read(*key, began, version, &answer.how, self.instance.who);
                    }
                    None => history.refused(),
                }
            }
            Some(())
        });
        if done.await.ok().flatten().is_none() {
            (answered..keys.len()).for_each(|_| history.refused());
            self.stream = None;
            self.received.clear();
            pass(5).await;
        }
    }

    async fn ask(&mut self, keys: &[usize]) -> Option<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.instance.address()).await.ok()?;
            stream.set_nodelay(true).ok()?;
            self.stream = Some(stream);
        }
        let requests: String = keys
            .iter()
            .map(|key| format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", path(*key)))
            .collect();
        let stream = self.stream.as_mut()?;
        stream.write_all(requests.as_bytes()).await.ok()
    }

    async fn answer(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = whole(&self.received)? {
                self.received.drain(..length);
                return Some(answer);
            }
            let stream = self.stream.as_mut()?;
            let count = stream.read_buf(&mut self.received).await.ok()?;
            if count == 0 {
                return None;
            }
        }
    }
}

/// The first answer of what was received, and how long it is, once it is whole;
/// `None` for what this client does not read.
fn whole(received: &[u8]) -> Option<Option<(Answer, usize)>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_length) = head.parse(received).ok()? else {
        return Some(None);
    };
    let field = |name: &str| {
        let field = head
            .headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        field.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    let body_length: usize = field("content-length")?.parse().ok()?;
    let length = head_length + body_length;
    let Some(body) = received.get(head_length..length) else {
        return Some(None);
    };
    let answer = Answer {
        is_success: head.code == Some(200),
        how: field("x-cache").unwrap_or_default().to_owned(),
        version: std::str::from_utf8(body)
            .ok()
            .and_then(|text| text.parse().ok()),
    };
    Some(Some((answer, length)))
}

struct Writer {
    instance: Arc<Instance>,
    chance: Chance,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Writer {
    async fn write(mut self, history: Arc<History>, stop: Stop, every: Duration) {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_over(&history) {
            ticks.tick().await;
            let key = self.chance.key(8);
            let told = match self.chance.below(5) {
                0 => Told::Streamed,
                _ => Told::AtOnce,
            };
            let version = tokio::time::timeout(PATIENCE, self.send(key, told)).await;
            match version {
                Ok(Some(Ok(version))) => history.wrote(key, version, self.instance.who, told),
                Ok(Some(Err(Refused))) => history.refused(),
                // The next goes over another connection.
                Ok(None) | Err(_) => {
                    self.sender = None;
                    history.refused();
                }
            }
        }
    }

    /// `None` where there was no whole answer.
    async fn send(&mut self, key: usize, told: Told) -> Option<Result<u64, Refused>> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => connect(&self.instance).await?,
        };
        sender.ready().await.ok()?;
        let request = Request::builder()
            .method(Method::PUT)
            .uri(path(key))
            .header("Host", HOST)
            .header(
                "Streamed",
                if told == Told::Streamed { "yes" } else { "no" },
            )
            .body(Full::default())
            .ok()?;
        let response = sender.send_request(request).await.ok()?;
        let is_success = response.status().is_success();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        self.sender = Some(sender);
        let version = std::str::from_utf8(&body).ok();
        let version = version.and_then(|text| text.parse().ok());
        Some(version.filter(|_| is_success).ok_or(Refused))
    }
}

/// A write was answered without success.
struct Refused;

async fn connect(instance: &Instance) -> Option<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(instance.address()).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .ok()?;
    tokio::spawn(connection);
    Some(sender)
}
