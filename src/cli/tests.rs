//! The commands against a real admin listener, on loopback.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Parser;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

use super::client::{AdminError, AdminTarget};
use super::purge::{PurgeArgs, purge};
use super::stats::{StatsArgs, stats};
use crate::admin::{
    Bounds, Control, FleetFigures, Guard, InvalidateRequest, Invalidated, OperationError,
    Operations, RouteFigures, Tier, router, serve,
};
use crate::clock::Clock;
use crate::config::{Config, HealthConfig, Secret, Upstream};
use crate::telemetry::Telemetry;
use crate::telemetry::health::Followed;
use crate::telemetry::prometheus::Exporter;

/// A fleet of two in which one does not answer.
struct Fleet;

impl Operations for Fleet {
    fn invalidate(
        &self,
        _: InvalidateRequest,
    ) -> BoxFuture<'_, Result<Invalidated, OperationError>> {
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

    fn fleet(&self) -> BoxFuture<'_, Result<FleetFigures, OperationError>> {
        Box::pin(async { Ok(FleetFigures::default()) })
    }

    fn clear(&self, _: Tier) -> BoxFuture<'_, Result<(), OperationError>> {
        async { Ok(()) }.boxed()
    }

    fn routes(&self) -> Vec<RouteFigures> {
        Vec::new()
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            memory_bytes_max: 1_024,
            redis: None,
        }
    }

    fn health(&self) -> HealthConfig {
        let authority = "127.0.0.1:3000".parse().unwrap();
        Config::default_for(Upstream::Http { authority }).health
    }

    fn followed(&self) -> Option<Followed> {
        None
    }

    fn is_ready(&self) -> bool {
        true
    }
}

async fn admin() -> SocketAddr {
    let telemetry = Arc::new(Telemetry::new(Clock::System));
    let control = Arc::new(Control {
        exporter: Exporter::new(Arc::clone(&telemetry)).unwrap(),
        telemetry,
        operations: Arc::new(Fleet),
        guard: Guard::new(Some(&Secret::new("s3cret")), &[]),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router(control), std::future::pending()));
    address
}

fn target(address: SocketAddr, token: &str) -> AdminTarget {
    AdminTarget::at(&format!("http://{address}"), Some(Secret::new(token))).unwrap()
}

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    purge: PurgeArgs,
}

#[derive(Parser)]
struct StatsProgram {
    #[command(flatten)]
    stats: StatsArgs,
}

async fn purged(target: &AdminTarget, arguments: &[&str]) -> (Result<(), AdminError>, String) {
    let arguments = ["purge"].iter().chain(arguments);
    let program = Program::try_parse_from(arguments).unwrap();
    let mut out = Vec::new();
    let done = purge(&program.purge, target, &mut out).await;
    (done, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn a_purge_prints_what_was_acknowledged() {
    let target = target(admin().await, "s3cret");
    let (done, printed) = purged(&target, &["/a/**", "--tag", "t"]).await;
    done.unwrap();
    assert_eq!(
        printed,
        "invalidated pattern /a/**: 3 in this instance's memory, log position 17-0, acknowledged by left, not yet by right\n\
         invalidated tag t: 3 in this instance's memory, log position 17-0, acknowledged by left, not yet by right\n"
    );
}

#[tokio::test]
async fn a_purge_that_waited_fails_if_an_instance_stayed_silent() {
    let target = target(admin().await, "s3cret");
    let (done, _) = purged(&target, &["--all", "--wait", "10ms"]).await;
    assert!(matches!(done, Err(AdminError::Unacknowledged(who)) if who == "right"));
}

#[tokio::test]
async fn a_refusal_is_told_in_the_listeners_words() {
    let address = admin().await;
    let (done, printed) = purged(&target(address, "wrong"), &["--all"]).await;
    let refusal = done.unwrap_err().to_string();
    assert_eq!(
        refusal,
        "refused (401 Unauthorized): the token is not the admin token\n\
         give the token of `[admin]` in PANNIER_ADMIN_TOKEN or by --token-file"
    );
    assert_eq!(printed, "");
    let (done, _) = purged(&target(address, "s3cret"), &["no-path"]).await;
    assert!(done.unwrap_err().to_string().contains("starts with"));
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (done, _) = purged(&target(address, "s3cret"), &["--all"]).await;
    let reason = done.unwrap_err().to_string();
    assert!(reason.contains("refused"), "{reason}");
}

#[tokio::test]
async fn stats_are_tables_or_json() {
    let target = target(admin().await, "s3cret");
    for (json, begins) in [(true, "{"), (false, "up ")] {
        let arguments: &[&str] = if json {
            &["stats", "--json"]
        } else {
            &["stats"]
        };
        let args = StatsProgram::try_parse_from(arguments).unwrap().stats;
        let mut out = Vec::new();
        stats(&args, &target, false, &mut out).await.unwrap();
        let printed = String::from_utf8(out).unwrap();
        assert!(printed.starts_with(begins), "{printed}");
        assert!(json == serde_json::from_str::<serde_json::Value>(&printed).is_ok());
    }
}
