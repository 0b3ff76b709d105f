//! A real `redis-server` on a port of its own, without persistence.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Stdio;

use ::redis::{AsyncConnectionConfig, FromRedisValue, RedisResult};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::proxy::signal;
use super::{eventually, ports, within};

/// A Redis that runs, unless a test says otherwise.
pub(crate) struct Redis {
    program: OsString,
    address: SocketAddr,
    folder: TempDir,
    server: Option<Child>,
}

/// A Redis that is not started yet; its address is already known.
pub(crate) fn not_started() -> Redis {
    run_by("redis-server".into())
}

fn run_by(program: OsString) -> Redis {
    Redis {
        program,
        address: SocketAddr::from(([127, 0, 0, 1], ports::free())),
        folder: TempDir::new().expect("a temporary folder"),
        server: None,
    }
}

/// Starts a Redis.
pub(crate) async fn start() -> Redis {
    let mut redis = not_started();
    redis.restart().await;
    redis
}

/// Starts one of each server that is there: `redis-server`, the `redis-server`
/// 6.2 that `REDIS6` names, and the `valkey-server` that `VALKEY` names.
pub(crate) async fn each() -> Vec<Redis> {
    let mut servers = vec![not_started()];
    for (variable, what) in [
        ("REDIS6", "a redis-server 6.2"),
        ("VALKEY", "a valkey-server"),
    ] {
        match std::env::var_os(variable) {
            Some(program) => servers.push(run_by(program)),
            None => eprintln!("skipped: {what} ({variable} is to name one)"),
        }
    }
    for server in &mut servers {
        server.restart().await;
    }
    servers
}

impl Redis {
    /// What `url` in `[redis]` says to reach it.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts another server of this kind.
    pub(crate) async fn another(&self) -> Self {
        let mut redis = run_by(self.program.clone());
        redis.restart().await;
        redis
    }

    /// Makes it a replica of `primary`, and waits until it has all of it.
    pub(crate) async fn follow(&self, primary: &Self) {
        let port = primary.address.port().to_string();
        self.command::<()>(&["REPLICAOF", "127.0.0.1", &port]).await;
        eventually("a replica to have all of it", async || {
            let info: String = self.command(&["INFO", "replication"]).await;
            info.contains("master_link_status:up").then_some(())
        })
        .await;
    }

    /// Makes it a primary.
    pub(crate) async fn follow_nobody(&self) {
        self.command::<()>(&["REPLICAOF", "NO", "ONE"]).await;
    }

    /// Makes it a replica that has lost its primary: a frozen copy.
    pub(crate) async fn follow_nobody_there(&self) {
        let port = ports::free().to_string();
        self.command::<()>(&["REPLICAOF", "127.0.0.1", &port]).await;
    }

    /// A field of what says which log there is.
    pub(crate) async fn meta(&self, field: &str) -> Option<String> {
        self.command(&["HGET", "{test}:log:meta", field]).await
    }

    /// Starts it where it was, empty, and waits until it answers.
    pub(crate) async fn restart(&mut self) {
        self.kill().await;
        let server = Command::new(&self.program)
            .args(["--port", &self.address.port().to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{:?} (scripts/test installs it): {error}", self.program)
            });
        self.server = Some(server);
        eventually("redis-server to answer", async || {
            self.try_command::<String>(&["PING"]).await.ok()
        })
        .await;
    }

    /// Kills it: connections break, new ones are refused.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            within("redis-server to die", server.kill())
                .await
                .expect("a child can be killed");
        }
    }

    /// Stops the process (SIGSTOP): connections stand, nothing answers.
    pub(crate) async fn stop(&self) {
        signal(self.process(), "STOP").await;
    }

    /// Lets it run on (SIGCONT).
    pub(crate) async fn resume(&self) {
        signal(self.process(), "CONT").await;
    }

    /// Forgets everything.
    pub(crate) async fn flush(&self) {
        self.command::<()>(&["FLUSHALL"]).await;
    }

    /// Runs a command.
    ///
    /// # Panics
    /// Where Redis does not do it.
    pub(crate) async fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let done = within(&format!("Redis to do {words:?}"), self.try_command(words)).await;
        done.unwrap_or_else(|error| panic!("Redis on {words:?}: {error}"))
    }

    /// Every key of type string: the stored responses.
    pub(crate) async fn strings(&self) -> Vec<String> {
        let keys: Vec<String> = self.command(&["KEYS", "*"]).await;
        let mut strings = Vec::new();
        for key in keys {
            if self.command::<String>(&["TYPE", &key]).await == "string" {
                strings.push(key);
            }
        }
        strings
    }

    async fn try_command<T: FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let client = ::redis::Client::open(self.url())?;
        // Who asks decides how long to wait: a busy machine may take its time.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let (name, arguments) = words.split_first().expect("a command has a name");
        ::redis::cmd(name)
            .arg(arguments)
            .query_async(&mut connection)
            .await
    }

    fn process(&self) -> u32 {
        let server = self.server.as_ref().expect("a Redis that runs");
        server.id().expect("a Redis that was not killed")
    }
}
