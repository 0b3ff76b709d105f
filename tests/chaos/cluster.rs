//! The same on a Redis Cluster of six, while a primary dies.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Instant;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::stage::Instance;
use super::support::{eventually, ports, proxy};
use super::{EVENTUAL, Mode, STRICT, duration, history::History, load, origin};

/// Six nodes: three primaries, a replica of each.
struct Cluster {
    nodes: Vec<Node>,
}

struct Node {
    port: u16,
    bus: u16,
    server: Child,
    _folder: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let cluster = Self {
            nodes: (0..6).map(|_| Node::start()).collect(),
        };
        for node in &cluster.nodes {
            eventually("a node to answer", async || {
                node.cli(&["PING"]).await.contains("PONG").then_some(())
            })
            .await;
        }
        let addresses = cluster.nodes.iter().map(Node::address);
        let addresses: Vec<String> = addresses.collect();
        let mut create = vec!["--cluster", "create"];
        create.extend(addresses.iter().map(String::as_str));
        create.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        let said = cluster.nodes[0].cli(&create).await;
        for node in &cluster.nodes {
            eventually(&format!("a whole cluster ({said})"), async || {
                let info = node.cli(&["CLUSTER", "INFO"]).await;
                info.contains("cluster_state:ok").then_some(())
            })
            .await;
        }
        cluster
    }

    /// What `url` in `[redis]` says.
    fn urls(&self) -> String {
        let urls = self.nodes.iter();
        let urls: Vec<String> = urls
            .map(|node| format!("\"redis://127.0.0.1:{}\"", node.port))
            .collect();
        format!("[{}]", urls.join(", "))
    }

    /// Kills the primary that has the log.
    async fn kill_the_log_s_primary(&mut self) {
        let slot = self.nodes[0]
            .cli(&["CLUSTER", "KEYSLOT", "{test}:log"])
            .await;
        let slot: u32 = slot.trim().parse().expect("a slot");
        let nodes = self.nodes[0].cli(&["CLUSTER", "NODES"]).await;
        let has_slot = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let within = |text: &str| text.parse::<u32>().ok();
            within(first)
                .zip(within(last))
                .is_some_and(|(first, last)| (first..=last).contains(&slot))
        };
        let line = nodes
            .lines()
            .find(|line| line.split(' ').skip(8).any(has_slot))
            .expect("somebody has every slot");
        let at = self
            .nodes
            .iter()
            .position(|node| line.contains(&format!(":{}@", node.port)))
            .expect("one of ours");
        self.nodes[at].server.kill().await.expect("it runs");
        self.nodes.remove(at);
    }
}

impl Node {
    fn start() -> Self {
        let (port, bus) = (ports::free(), ports::free());
        let folder = TempDir::new().expect("a temporary folder");
        let server = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--cluster-port",
                &bus.to_string(),
            ])
            .args(["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--repl-diskless-sync-delay", "0"])
            .arg("--dir")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        Self {
            port,
            bus,
            server,
            _folder: folder,
        }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}@{}", self.port, self.bus)
    }

    async fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .output();
        let output = output.await.expect("redis-cli is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

async fn failover(mode: Mode) {
    let mut cluster = Cluster::start().await;
    let origin = origin::run();
    let builder = proxy::in_front_of(&format!("http://{}", origin.address))
        .redis_at(&cluster.urls(), "20ms")
        .toml(mode.toml);
    let mut instances = Vec::new();
    for who in 0..3 {
        instances.push(Instance::start(who, builder.clone()).await);
    }
    let history = Arc::new(History::new(mode.bound));
    let stop = load::Stop {
        until: Instant::now() + duration(),
        reads: None,
    };
    let load = load::start(&instances, &history, stop, 0);
    eventually("some reads and writes", async || {
        (history.reads() > 200).then_some(())
    })
    .await;
    history.fault_begins("the log's primary killed", None);
    cluster.kill_the_log_s_primary().await;
    load.finished().await;
    println!("{} in a cluster: {}", mode.name, history.report());
    history.is_kept();
    for instance in &instances {
        let proxy = instance.proxy();
        // The replica took over, and everybody found it.
        proxy.reaches_redis().await;
        eventually("a write to be made", async || {
            let answer = proxy.put("/group-0/0", "x").await;
            answer.status.is_success().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn in_strict_mode_a_primary_of_a_cluster_may_die() {
    failover(STRICT).await;
}

#[tokio::test]
async fn in_eventual_mode_a_primary_of_a_cluster_may_die() {
    failover(EVENTUAL).await;
}
