//! The real program: its configuration, its process, its two listeners.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::client::{Answer, Ask, H2, ask};
use super::origin::Origin;
use super::raw::Raw;
use super::redis::{self, Redis};
use super::{eventually, within};

/// A proxy in front of `origin`. Without a route of its own it has one for
/// every path and leaves the decisions to RFC 9111.
pub(crate) fn new(origin: &Origin) -> Builder {
    in_front_of(&origin.url())
}

/// A proxy in front of what `upstream` names.
pub(crate) fn in_front_of(upstream: &str) -> Builder {
    Builder {
        upstream: upstream.to_owned(),
        ..Builder::default()
    }
}

/// `N` proxies in front of `origin` that share one Redis.
pub(crate) fn cluster<const N: usize>(origin: &Origin) -> Cluster<N> {
    Cluster {
        proxy: new(origin),
        redis: None,
    }
}

/// A configuration being written.
#[derive(Clone, Default)]
pub(crate) struct Builder {
    upstream: String,
    /// What stands behind the first address of `listen`.
    listen: String,
    admin: String,
    token: Option<String>,
    redis: String,
    tables: String,
    routes: Vec<Route>,
    state: Option<PathBuf>,
    top: String,
    environment: Vec<(String, String)>,
    threads: Option<usize>,
}

impl Builder {
    /// Logs what `PANNIER_LOG` says, beside `proxy.toml`.
    #[allow(dead_code, reason = "tests/chaos has no use for it")]
    pub(crate) fn log_filter(self, filter: &str) -> Self {
        self.environment("PANNIER_LOG", filter)
    }

    /// Adds a variable to the program's environment.
    #[allow(dead_code, reason = "tests/chaos sets clocks by it")]
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Keeps what survives the process in this folder.
    pub(crate) fn state(mut self, folder: &Path) -> Self {
        self.state = Some(folder.to_owned());
        self
    }

    /// Adds a route.
    pub(crate) fn route(mut self, path: &str, write: impl FnOnce(Route) -> Route) -> Self {
        self.routes.push(write(Route::new(path)));
        self
    }

    /// Listens there as well.
    #[allow(dead_code, reason = "tests/chaos has no use for it")]
    pub(crate) fn listen(mut self, address: &str) -> Self {
        let _ = write!(self.listen, ", \"{address}\"");
        self
    }

    /// Adds a line at the top of the file.
    #[allow(dead_code, reason = "tests/chaos has no use for it")]
    pub(crate) fn top(mut self, line: &str) -> Self {
        let _ = writeln!(self.top, "{line}");
        self
    }

    /// Adds tables to the file as they are.
    pub(crate) fn toml(mut self, tables: &str) -> Self {
        let _ = writeln!(self.tables, "{tables}");
        self
    }

    /// Protects the admin listener.
    pub(crate) fn admin_token(mut self, token: &str) -> Self {
        self.admin = format!("token = \"{token}\"\n");
        self.token = Some(token.to_owned());
        self
    }

    /// Stores in this Redis as well. A lookup may take as long as a test on a
    /// loaded machine needs: what is claimed is what is found, not how soon.
    pub(crate) fn redis(self, redis: &Redis) -> Self {
        self.redis_within(redis, "10s")
    }

    /// Stores in this Redis as well, and waits for it no longer than this.
    pub(crate) fn redis_within(self, redis: &Redis, lookup_timeout: &str) -> Self {
        self.redis_at(&format!("\"{}\"", redis.url()), lookup_timeout)
    }

    /// Stores in the Redis at `url`, as TOML writes it: a list is a cluster.
    pub(crate) fn redis_at(mut self, url: &str, lookup_timeout: &str) -> Self {
        self.redis = format!(
            "[redis]\nurl = {url}\nnamespace = \"test\"\nlookup_timeout = \"{lookup_timeout}\"\n"
        );
        self
    }

    /// Adds a line to `[redis]`.
    pub(crate) fn redis_key(mut self, line: &str) -> Self {
        let _ = writeln!(self.redis, "{line}");
        self
    }

    /// Has this many data threads.
    #[allow(dead_code, reason = "tests/chaos has no use for it")]
    pub(crate) fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// The text of `proxy.toml`.
    pub(crate) fn text(&self) -> String {
        let threads = self.threads.map(|threads| format!("threads = {threads}\n"));
        let top = threads.unwrap_or_default() + &self.top;
        let mut text = format!(
            "listen = [\"127.0.0.1:0\"{}]\nupstream = \"{}\"\n{}\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n{}\n{}\n{}\n",
            self.listen, self.upstream, top, self.admin, self.redis, self.tables
        );
        for route in &self.routes {
            let _ = writeln!(
                text,
                "[[routes]]\npath = \"{}\"\n{}",
                route.path, route.lines
            );
            if !route.key.is_empty() {
                let _ = writeln!(text, "[routes.key]\n{}", route.key);
            }
        }
        if self.routes.is_empty() {
            text.push_str("[[routes]]\npath = \"/**\"\n");
        }
        text
    }

    /// Starts the program and waits until it is ready.
    pub(crate) async fn run(self) -> Proxy {
        let folder = TempDir::new().expect("a temporary folder");
        let config = folder.path().join("proxy.toml");
        std::fs::write(&config, self.text()).expect("a file in it");
        let log = folder.path().join("stderr");
        let stderr = std::fs::File::create(&log).expect("a file in it");
        let access_log = folder.path().join("stdout");
        let stdout = std::fs::File::create(&access_log).expect("a file in it");

        // Another build of it where a long run asks for one.
        let program = std::env::var_os("PANNIER_PROGRAM");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_pannier").into());
        let process = Command::new(program)
            .args(["run", "--log-format", "json", "--config"])
            .arg(&config)
            // What it leaves behind is for no other test.
            .env(
                "STATE_DIRECTORY",
                self.state.as_deref().unwrap_or(folder.path()),
            )
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut proxy = Proxy {
            address: unknown,
            tls: None,
            admin: unknown,
            token: self.token,
            process: Mutex::new(process),
            config,
            log,
            access_log,
            _redis: None,
            _folder: folder,
        };
        (proxy.address, proxy.tls, proxy.admin) = proxy.listening().await;
        eventually("the proxy to be ready", async || {
            let answer = proxy.admin_get("/readyz").await;
            answer.status.is_success().then_some(())
        })
        .await;
        proxy
    }
}

/// A route being written.
#[derive(Clone)]
pub(crate) struct Route {
    path: String,
    lines: String,
    key: String,
}

impl Route {
    fn new(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            lines: String::new(),
            key: String::new(),
        }
    }

    /// `ttl`.
    pub(crate) fn ttl(self, duration: &str) -> Self {
        self.set("ttl", &format!("\"{duration}\""))
    }

    /// `stale_while_revalidate`.
    pub(crate) fn stale_while_revalidate(self, duration: &str) -> Self {
        self.set("stale_while_revalidate", &format!("\"{duration}\""))
    }

    /// `stale_if_error`.
    pub(crate) fn stale_if_error(self, duration: &str) -> Self {
        self.set("stale_if_error", &format!("\"{duration}\""))
    }

    /// `name`.
    pub(crate) fn name(self, name: &str) -> Self {
        self.set("name", &format!("\"{name}\""))
    }

    /// Any key, its value as TOML.
    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        let _ = writeln!(self.lines, "{key} = {value}");
        self
    }

    /// Any key of `[routes.key]`, its value as TOML.
    pub(crate) fn key(mut self, key: &str, value: &str) -> Self {
        let _ = writeln!(self.key, "{key} = {value}");
        self
    }
}

/// Several proxies being configured alike.
pub(crate) struct Cluster<const N: usize> {
    proxy: Builder,
    redis: Option<Builder>,
}

impl<const N: usize> Cluster<N> {
    /// Adds a route to each.
    pub(crate) fn route(mut self, path: &str, write: impl FnOnce(Route) -> Route) -> Self {
        self.proxy = self.proxy.route(path, write);
        self
    }

    /// Shares this Redis instead of one of their own.
    pub(crate) fn redis(mut self, redis: &Redis) -> Self {
        self.redis = Some(self.proxy.clone().redis(redis));
        self
    }

    /// Adds tables to each file as they are.
    pub(crate) fn toml(mut self, tables: &str) -> Self {
        self.proxy = self.proxy.toml(tables);
        self.redis = self.redis.map(|redis| redis.toml(tables));
        self
    }

    /// Starts them.
    pub(crate) async fn run(self) -> [Proxy; N] {
        let own = Arc::new(match self.redis {
            Some(_) => redis::not_started(),
            None => redis::start().await,
        });
        let builder = match self.redis {
            Some(builder) => builder,
            None => self.proxy.redis(&own),
        };
        let started = (0..N).map(|_| builder.clone().run());
        let mut proxies = futures_util::future::join_all(started).await;
        for proxy in &mut proxies {
            proxy._redis = Some(Arc::clone(&own));
        }
        proxies
            .try_into()
            .unwrap_or_else(|_| unreachable!("{N} were started"))
    }
}

/// The program, running. Killed when dropped.
pub(crate) struct Proxy {
    /// The data plane.
    pub(crate) address: SocketAddr,
    /// Where `[tls]` has an address of its own.
    #[allow(dead_code, reason = "tests/chaos has no use for it")]
    pub(crate) tls: Option<SocketAddr>,
    /// The admin listener.
    pub(crate) admin: SocketAddr,
    token: Option<String>,
    process: Mutex<Child>,
    config: PathBuf,
    log: PathBuf,
    access_log: PathBuf,
    _redis: Option<Arc<Redis>>,
    _folder: TempDir,
}

impl Proxy {
    /// GET of `target`.
    pub(crate) fn get(&self, target: &str) -> Ask {
        self.request("GET", target)
    }

    /// PUT of `body` to `target`.
    pub(crate) fn put(&self, target: &str, body: &'static str) -> Ask {
        self.request("PUT", target).body(body)
    }

    /// POST of `body` to `target`.
    pub(crate) fn post(&self, target: &str, body: &'static str) -> Ask {
        self.request("POST", target).body(body)
    }

    /// DELETE of `target`.
    pub(crate) fn delete(&self, target: &str) -> Ask {
        self.request("DELETE", target)
    }

    /// Any request to the data plane.
    pub(crate) fn request(&self, method: &str, target: &str) -> Ask {
        ask(self.address, method, target)
    }

    /// A connection that sends exactly what it is given.
    pub(crate) async fn connect(&self) -> Raw {
        Raw::connect(self.address).await
    }

    /// Sends these bytes; gives everything that comes until the proxy closes.
    pub(crate) async fn raw(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut connection = self.connect().await;
        connection.send(bytes).await;
        connection.rest().await
    }

    /// A connection that speaks HTTP/2.
    pub(crate) async fn h2(&self) -> H2 {
        H2::connect(self.address).await
    }

    /// GET of `target` at the admin listener, with the token where one is set.
    pub(crate) fn admin_get(&self, target: &str) -> Ask {
        self.admin_request("GET", target)
    }

    /// POST to `target` at the admin listener.
    pub(crate) fn admin_post(&self, target: &str) -> Ask {
        self.admin_request("POST", target)
    }

    /// Any request to the admin listener, with the token where one is set.
    pub(crate) fn admin_request(&self, method: &str, target: &str) -> Ask {
        let request = ask(self.admin, method, target).host(&self.admin.to_string());
        match &self.token {
            Some(token) => request.header("Authorization", &format!("Bearer {token}")),
            None => request,
        }
    }

    /// `POST /cache/invalidate?{query}`, which must succeed.
    pub(crate) async fn purge(&self, query: &str) -> Answer {
        let target = format!("/cache/invalidate?{query}");
        let answer = self.admin_post(&target).await;
        answer.is_success();
        answer
    }

    /// Drops a tier: `memory`, `redis` or `all`.
    pub(crate) async fn clear(&self, tier: &str) {
        let target = format!("/cache/clear?tier={tier}");
        self.admin_post(&target).await.is_success();
    }

    /// Waits until this instance has applied what `other` has invalidated so
    /// far: the log is in order, so an invalidation that every instance has
    /// acknowledged comes after all of those.
    pub(crate) async fn follows(&self, other: &Self) {
        let marker = "pattern=/no-such-path-but-a-place-in-the-log&wait=10s";
        other.purge(marker).await;
    }

    /// Waits until it stores in Redis and follows the log there.
    pub(crate) async fn reaches_redis(&self) {
        eventually("the proxy to reach Redis", async || {
            let stats = self.admin_get("/cache/stats").await.json();
            let is_connected = stats["redis"]["connected"] == true;
            let is_in_touch = self.metric("pannier_invalidation_in_touch").await > 0.0;
            (is_connected && is_in_touch).then_some(())
        })
        .await;
    }

    /// Waits until it knows that Redis is gone.
    pub(crate) async fn misses_redis(&self) {
        eventually("the proxy to notice that Redis is gone", async || {
            let stats = self.admin_get("/cache/stats").await.json();
            (stats["redis"]["connected"] == false).then_some(())
        })
        .await;
    }

    /// One figure of one route in `/cache/stats`.
    pub(crate) async fn route_figure(&self, route: &str, figure: &str) -> u64 {
        let stats = self.admin_get("/cache/stats").await.json();
        let value = &stats["caches"][route][figure];
        value
            .as_u64()
            .unwrap_or_else(|| panic!("no {figure} of {route} in {stats:#}"))
    }

    /// The value of a sample in `/metrics`, by its name and labels as written
    /// there; zero where it is absent.
    pub(crate) async fn metric(&self, sample: &str) -> f64 {
        let metrics = self.admin_get("/metrics").await.text();
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.trim().parse().expect("a number"))
    }

    /// Writes another configuration to the file. Takes effect with [`Self::hup`].
    pub(crate) fn rewrite(&self, text: &str) {
        std::fs::write(&self.config, text).expect("the file can be written");
    }

    /// Where the configuration is.
    #[allow(dead_code, reason = "tests/chaos has no use for it")]
    pub(crate) fn config(&self) -> &Path {
        &self.config
    }

    /// SIGTERM: drain and end.
    pub(crate) async fn term(&self) {
        self.signal("TERM").await;
    }

    /// SIGKILL: it is gone, whatever it was about.
    pub(crate) async fn kill(&self) {
        self.signal("KILL").await;
        self.exit().await;
    }

    /// SIGHUP: read the configuration again.
    pub(crate) async fn hup(&self) {
        self.signal("HUP").await;
    }

    /// SIGSTOP: it hangs, as far as others can see.
    pub(crate) async fn stop(&self) {
        self.signal("STOP").await;
    }

    /// SIGCONT: it goes on.
    pub(crate) async fn resume(&self) {
        self.signal("CONT").await;
    }

    /// Waits for the end; gives the exit code.
    pub(crate) async fn exit(&self) -> Option<i32> {
        eventually("the program to end", async || {
            let ended = self.process.lock().try_wait();
            ended.expect("a child can be waited for")
        })
        .await
        .code()
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until the access log has so many lines.
    pub(crate) async fn access_lines(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} lines of the access log"), async || {
            let text = std::fs::read_to_string(&self.access_log).unwrap_or_default();
            let whole = text.matches('\n').count() >= count;
            whole.then(|| text.lines().map(str::to_owned).collect())
        })
        .await
    }

    /// Waits until a line of the log contains `text`.
    pub(crate) async fn logs(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), async || {
            self.log().contains(text).then_some(())
        })
        .await;
    }

    async fn signal(&self, name: &str) {
        let process = self.process.lock().id();
        signal(process.expect("a program that runs"), name).await;
    }

    /// The addresses, off the line that says them.
    async fn listening(&self) -> (SocketAddr, Option<SocketAddr>, SocketAddr) {
        eventually("the line that says where the proxy listens", async || {
            let ended = self.process.lock().try_wait().expect("a child");
            assert!(ended.is_none(), "the program ended at once: {ended:?}");
            self.log().lines().find_map(addresses)
        })
        .await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what the proxy logged ---\n{}", self.log());
        }
    }
}

fn addresses(line: &str) -> Option<(SocketAddr, Option<SocketAddr>, SocketAddr)> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = &event;
    if fields["message"] != "listening" {
        return None;
    }
    let address = |name: &str| fields[name].as_str()?.split(',').next()?.parse().ok();
    Some((address("data")?, address("tls"), address("admin")?))
}

/// Sends a signal, by the program that is there for it.
pub(super) async fn signal(process: u32, name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &process.to_string()])
        .status();
    let status = within("kill", sent).await.expect("kill is installed");
    assert!(status.success(), "signal {name} to {process}");
}
