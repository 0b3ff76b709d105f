//! Stories over a loopback socket: an operator, a browser, a stranger.

mod access;
mod description;
mod figures;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::clock::Clock;
use crate::config::{Config, HealthConfig, Secret, Upstream};
use crate::semantics::outcome::CacheResult;
use crate::telemetry::exchanges::Exchanged;
use crate::telemetry::health::Followed;
use crate::telemetry::prometheus::Exporter;
use crate::telemetry::{ResponseServed, Telemetry};

/// Operations that remember what was asked of them.
#[derive(Default)]
struct Recorded {
    invalidations: Mutex<Vec<InvalidateRequest>>,
    cleared: Mutex<Vec<Tier>>,
    is_draining: Mutex<bool>,
}

impl Operations for Recorded {
    fn invalidate(
        &self,
        request: InvalidateRequest,
    ) -> BoxFuture<'_, Result<Invalidated, OperationError>> {
        self.invalidations.lock().push(request);
        async {
            Ok(Invalidated {
                matched: Some(3),
                may_match: true,
                position: Some("17-0".to_owned()),
                acknowledged: vec!["left".to_owned()],
                missing: vec!["right".to_owned()],
            })
        }
        .boxed()
    }

    fn clear(&self, tier: Tier) -> BoxFuture<'_, Result<(), OperationError>> {
        self.cleared.lock().push(tier);
        let done = match tier {
            Tier::Redis => Err(OperationError::NoRedis),
            Tier::Memory | Tier::All => Ok(()),
        };
        async { done }.boxed()
    }

    fn fleet(&self) -> BoxFuture<'_, Result<FleetFigures, OperationError>> {
        let instance = |id: &str, is_in_touch| InstanceFigures {
            id: id.to_owned(),
            is_in_touch,
            ..InstanceFigures::default()
        };
        async move {
            Ok(FleetFigures {
                own: "left".to_owned(),
                is_alone: false,
                instances: vec![instance("left", true), instance("right", false)],
                ..FleetFigures::default()
            })
        }
        .boxed()
    }

    fn routes(&self) -> Vec<RouteFigures> {
        vec![
            RouteFigures {
                name: "users".into(),
                path: "/users/{id}".into(),
                entries_max: Some(200),
            },
            RouteFigures {
                name: "/api/items".into(),
                path: "/api/items".into(),
                entries_max: None,
            },
        ]
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            memory_bytes_max: 1_000,
            redis: Some(RedisBounds {
                queue_max: 1_024,
                queue_bytes_max: 4_096,
            }),
        }
    }

    fn health(&self) -> HealthConfig {
        let authority = "127.0.0.1:3000".parse().unwrap();
        Config::default_for(Upstream::Http { authority }).health
    }

    fn followed(&self) -> Option<Followed> {
        Some(Followed {
            is_in_touch: true,
            ..Followed::default()
        })
    }

    fn is_ready(&self) -> bool {
        !*self.is_draining.lock()
    }
}

struct Admin {
    address: SocketAddr,
    telemetry: Arc<Telemetry>,
    operations: Arc<Recorded>,
    drain: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    /// The sentence of a refusal.
    fn detail(&self) -> String {
        assert!(
            self.head.contains("content-type: application/problem+json"),
            "{}",
            self.head
        );
        self.json()["detail"].as_str().unwrap().to_owned()
    }
}

impl Admin {
    async fn run(token: Option<&str>) -> Self {
        let telemetry = Arc::new(Telemetry::new(Clock::System));
        let operations = Arc::new(Recorded::default());
        let control = Arc::new(Control {
            exporter: Exporter::new(Arc::clone(&telemetry)).unwrap(),
            telemetry: Arc::clone(&telemetry),
            operations: Arc::clone(&operations) as Arc<dyn Operations>,
            guard: Guard::new(token.map(Secret::new).as_ref(), &[]),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, drained) = oneshot::channel();
        let served = tokio::spawn(serve(listener, router(control), async {
            let _ = drained.await;
        }));
        Self {
            address,
            telemetry,
            operations,
            drain,
            served,
        }
    }

    /// One request, with further field lines.
    async fn ask(&self, method: &str, target: &str, fields: &[&str]) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if !fields.iter().any(|field| field.starts_with("Host:")) {
            request.push_str(&format!("Host: {}\r\n", self.address));
        }
        for field in fields {
            request.push_str(field);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
        Answer {
            status: head[9..12].parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &[]).await
    }

    async fn post(&self, target: &str) -> Answer {
        self.ask("POST", target, &[]).await
    }

    /// What the data plane would have told of a request with this status.
    fn answer(&self, path: &str, status: StatusCode) {
        self.telemetry.served(&ResponseServed {
            at: self.telemetry.now(),
            route: None,
            method: &Method::GET,
            path,
            status,
            cache: CacheResult::Bypass,
            elapsed: Duration::from_millis(1),
            upstream: None,
            body_bytes: None,
            saved: None,
            client: None,
            span: None,
        });
    }

    /// What the data plane would have told.
    fn serve(&self, route: Option<&str>, path: &str, cache: CacheResult, millis: u64) {
        let route = route.map(|name| self.telemetry.route(name, "/users/{id}"));
        let took = Duration::from_millis(millis);
        if cache == CacheResult::Miss {
            self.telemetry.exchanged(&Exchanged {
                route: route.as_deref(),
                method: &Method::GET,
                at: self.telemetry.now(),
                answer: Some((StatusCode::OK, took)),
            });
        }
        self.telemetry.served(&ResponseServed {
            at: self.telemetry.now(),
            route: route.as_deref(),
            method: &Method::GET,
            path,
            status: StatusCode::OK,
            cache,
            elapsed: Duration::from_millis(millis),
            upstream: (cache == CacheResult::Miss).then(|| Duration::from_millis(millis)),
            body_bytes: None,
            saved: cache.is_from_store().then(|| Duration::from_millis(250)),
            client: None,
            span: None,
        });
    }
}
