//! The real program before the application, with the rules as asked for.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// The program, running. Killed when dropped.
pub(crate) struct Program {
    pub(crate) address: SocketAddr,
    process: Child,
    _folder: TempDir,
}

/// What the stories need of a configuration. The peer 127.0.0.1 is a trusted
/// proxy, if there is one.
fn configuration(upstream: SocketAddr, trusted: bool) -> String {
    let trusted = if trusted { "\"127.0.0.1\"" } else { "" };
    format!(
        r#"
listen = "127.0.0.1:0"
upstream = "http://{upstream}"
threads = 1
[admin]
listen = "127.0.0.1:0"
[limits]
body_bytes_max = "64KiB"
trusted_proxies = [{trusted}]
[[routes]]
path = "/**"
ttl = "1h"
[[routes]]
path = "/plain/**"
[[routes]]
path = "/tenant/**"
ttl = "1h"
[routes.key]
headers = ["X-Tenant"]
[[routes]]
path = "/session/**"
ttl = "1h"
[routes.key]
cookies = ["sid", "currency"]
[[routes]]
path = "/list/**"
ttl = "1h"
[routes.key]
query = {{ only = ["page"] }}
[[routes]]
path = "/surrogate/**"
ttl = "1h"
targets = ["surrogate-control", "cdn-cache-control"]
"#
    )
}

impl Program {
    /// Starts it with every rule in force but the one named.
    pub(crate) fn start(upstream: SocketAddr, trusted: bool, rule_off: Option<&str>) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let config = folder.path().join("proxy.toml");
        std::fs::write(&config, configuration(upstream, trusted)).expect("a file in it");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pannier"));
        command
            .args(["run", "--log-format", "json", "--config"])
            .arg(&config)
            .env_remove("PANNIER_RULE_OFF")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(rule) = rule_off {
            command.env("PANNIER_RULE_OFF", rule);
        }
        let mut process = command.spawn().expect("the program starts");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped"));
        let mut said = String::new();
        let address = loop {
            let before = said.len();
            let read = log.read_line(&mut said).expect("a line");
            assert!(read > 0, "the program ended: {said}");
            if let Some(address) = listening(&said[before..]) {
                break address;
            }
        };
        std::thread::spawn(move || {
            // Read on, so that the program is never held up by its log.
            let _ = log.read_to_end(&mut Vec::new());
        });
        Self {
            address,
            process,
            _folder: folder,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn listening(line: &str) -> Option<SocketAddr> {
    let event: serde_json::Value = serde_json::from_str(line).ok()?;
    if event["message"] != "listening" {
        return None;
    }
    event["data"].as_str()?.parse().ok()
}
