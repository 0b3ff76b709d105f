//! A real `redis-server` for tests: its own directory, its own socket.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::config::{RedisConfig, Secret};

#[path = "../../tests/it/support/ports.rs"]
mod ports;

/// Longer than anything here can honestly take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Awaits what must happen.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it did not happen in time")
}

/// A Redis that listens on a Unix socket, or on a port where the kernel has to
/// accept for a server that hangs. Killed when dropped.
pub(crate) struct TestRedis {
    directory: TempDir,
    port: Option<u16>,
    arguments: Vec<String>,
    server: Option<Child>,
}

impl TestRedis {
    /// A place for one that is not started yet.
    pub(crate) fn reserve() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            port: None,
            arguments: Vec::new(),
            server: None,
        }
    }

    /// One that runs, on a Unix socket.
    pub(crate) fn started() -> Self {
        let mut redis = Self::reserve();
        redis.start();
        redis
    }

    /// One that runs, on a free port as well.
    pub(crate) fn on_tcp() -> Self {
        let mut redis = Self::reserve();
        redis.port = Some(ports::free());
        redis.start();
        redis
    }

    /// One that speaks TLS, with a certificate of an authority of its own; and
    /// the file that names the authority.
    pub(crate) fn on_tls() -> (Self, PathBuf) {
        let mut redis = Self::reserve();
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .and_then(|server| server.signed_by(&key, &authority))
            .unwrap();
        let file = |name: &str, pem: String| {
            let path = redis.directory.path().join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        let ca_file = file("ca.pem", authority.pem());
        let arguments = [
            ("--tls-port", ports::free().to_string()),
            (
                "--tls-cert-file",
                file("cert.pem", certificate.pem()).display().to_string(),
            ),
            (
                "--tls-key-file",
                file("key.pem", key.serialize_pem()).display().to_string(),
            ),
            ("--tls-ca-cert-file", ca_file.display().to_string()),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        redis.arguments = arguments
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect();
        redis.start();
        (redis, ca_file)
    }

    /// A configuration that leads to one that speaks TLS.
    pub(crate) fn tls_config(&self, ca_file: Option<PathBuf>) -> RedisConfig {
        let url = format!("rediss://localhost:{}", self.arguments[1]);
        RedisConfig {
            ca_file,
            ..config_of(vec![Secret::new(url)])
        }
    }

    fn cluster_node() -> Self {
        let mut redis = Self::reserve();
        redis.port = Some(ports::free());
        redis.arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-port",
            &ports::free().to_string(),
        ]
        .map(str::to_owned)
        .to_vec();
        redis.start();
        redis
    }

    /// Starts it, at the same place as before, with what it had saved.
    pub(crate) fn start(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let mut server = Command::new("redis-server")
            .args(["--port", &self.port.unwrap_or(0).to_string()])
            .args(["--unixsocket", &self.socket()])
            .args(["--dir", &self.directory.path().display().to_string()])
            .args(["--save", "", "--bind", "127.0.0.1", "--daemonize", "no"])
            .args(["--enable-debug-command", "yes"])
            .args(&self.arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-server is installed");
        let mut log = BufReader::new(server.stdout.take().unwrap()).lines();
        let is_ready = log.any(|line| line.unwrap().contains("eady to accept connections"));
        assert!(is_ready, "redis-server ended before it was ready");
        // Its pipe is kept drained, so that it never waits for a reader.
        std::thread::spawn(move || log.for_each(drop));
        self.server = Some(server);
    }

    /// Kills it (SIGKILL).
    pub(crate) fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Makes it hang (SIGSTOP).
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on (SIGCONT).
    pub(crate) fn cont(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.server.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Runs a command in it and answers what `redis-cli` prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-s", &self.socket()])
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success(), "{arguments:?}: {text}");
        text
    }

    /// A configuration that leads to it.
    pub(crate) fn config(&self) -> RedisConfig {
        config_of(vec![Secret::new(self.url())])
    }

    /// A configuration that leads to it as a user.
    pub(crate) fn config_as(&self, user: &str, password: &str) -> RedisConfig {
        let url = format!("redis+unix://{}?user={user}&pass={password}", self.socket());
        config_of(vec![Secret::new(url)])
    }

    /// The port's URL where it has one.
    fn url(&self) -> String {
        match self.port {
            Some(port) => format!("redis://127.0.0.1:{port}"),
            None => format!("redis+unix://{}", self.socket()),
        }
    }

    fn socket(&self) -> String {
        self.directory
            .path()
            .join("redis.sock")
            .display()
            .to_string()
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Redis Cluster of three primaries.
pub(crate) struct TestCluster {
    pub(crate) nodes: Vec<TestRedis>,
}

impl TestCluster {
    /// One that runs and knows itself to be whole.
    pub(crate) async fn started() -> Self {
        let nodes: Vec<TestRedis> = (0..3).map(|_| TestRedis::cluster_node()).collect();
        let slots = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        let port = nodes[0].port.unwrap_or_default().to_string();
        let bus = &nodes[0].arguments[3];
        for (node, (first, last)) in nodes.iter().zip(slots) {
            node.cli(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
            node.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
        }
        let is_whole =
            |node: &TestRedis| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        within(async {
            while !nodes.iter().all(is_whole) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        Self { nodes }
    }

    /// A configuration that leads to it.
    pub(crate) fn config(&self) -> RedisConfig {
        config_of(
            self.nodes
                .iter()
                .map(|node| Secret::new(node.url()))
                .collect(),
        )
    }
}

/// A configuration with time to spare: tests that are about running out of it
/// set their own.
fn config_of(nodes: Vec<Secret>) -> RedisConfig {
    RedisConfig {
        is_cluster: nodes.len() > 1,
        nodes,
        namespace: "shop".to_owned(),
        lookup_timeout: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(1),
        queue_max: 1024,
        queue_bytes_max: 64 << 20,
        ca_file: None,
        collapse: false,
    }
}
