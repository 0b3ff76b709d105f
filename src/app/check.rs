//! Asks the origin every so often whether it is there (`[origin] check`), so
//! that a dead one is known before a client is.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request};
use tokio::time::{sleep, timeout};

use crate::config::{OriginConfig, Upstream};
use crate::message::Body;
use crate::origin::client::OriginClient;
use crate::proxy::Shared;

/// How often a configuration without a check is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What the origin sees in its log.
const AGENT: HeaderValue = HeaderValue::from_static("pannier-check");

/// Checks for ever, as the configuration in force says.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut client: Option<Checking> = None;
    while !shared.drain.is_draining() {
        let config = &shared.site().config;
        let check = &shared.telemetry.upstream().check;
        let Some(path) = &config.origin.check else {
            client = None;
            check.stop();
            sleep(LOOK_EVERY).await;
            continue;
        };
        let is_same = client
            .as_ref()
            .is_some_and(|client| client.is_for(&config.upstream, &config.origin));
        if !is_same {
            client = Checking::new(&shared, &config.upstream, &config.origin);
        }
        let interval = config.origin.check_interval;
        if let Some(client) = &client {
            let within = interval.min(config.origin.response_timeout);
            let asked = timeout(within, client.ask(path)).await;
            let failure = asked.unwrap_or_else(|_| Some("time-out".to_owned()));
            check.checked(path, failure, shared.clock.now());
        }
        sleep(interval).await;
    }
}

/// A client of its own: connections stay with the runtime they were made in.
struct Checking {
    client: OriginClient,
    upstream: Upstream,
    origin: OriginConfig,
    host: HeaderValue,
}

impl Checking {
    fn new(shared: &Shared, upstream: &Upstream, origin: &OriginConfig) -> Option<Self> {
        let host = match upstream {
            Upstream::Http { authority }
            | Upstream::H2c { authority }
            | Upstream::Https { authority } => authority.as_str(),
            Upstream::Unix { .. } => "localhost",
        };
        let client = OriginClient::new(upstream, origin, shared.telemetry.upstream());
        let client = client.inspect_err(|error| {
            tracing::warn!(%error, "the origin is not checked");
        });
        Some(Self {
            client: client.ok()?,
            upstream: upstream.clone(),
            origin: origin.clone(),
            host: HeaderValue::try_from(host).ok()?,
        })
    }

    fn is_for(&self, upstream: &Upstream, origin: &OriginConfig) -> bool {
        self.upstream == *upstream && self.origin == *origin
    }

    /// Asks once; why the origin did not pass.
    async fn ask(&self, path: &str) -> Option<String> {
        let request = Request::get(path)
            .header(HOST, &self.host)
            .header(USER_AGENT, AGENT)
            .body(Body::Empty);
        let request = match request {
            Ok(request) => request,
            Err(error) => return Some(error.to_string()),
        };
        match self.client.send(request).await {
            Ok(answer) if answer.status().is_success() || answer.status().is_redirection() => None,
            Ok(answer) => Some(format!("answered {}", answer.status().as_u16())),
            Err(error) => Some(error.cause().as_str().to_owned()),
        }
    }
}
