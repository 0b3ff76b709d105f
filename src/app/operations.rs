//! What operators ask of the running proxy.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::coherence;
use super::matched::{Counted, Counting};
use crate::admin::{
    Bounds, FleetFigures, InstanceFigures, InvalidateRequest, Invalidated, OperationError,
    Operations, RedisBounds, RouteFigures, Scope as Asked, Tier,
};
use crate::config::HealthConfig;
use crate::fleet::{self, Fleet, Instance, Presence};
use crate::invalidation::scope::{Ban, Scope};
use crate::proxy::Shared;
use crate::semantics::target::RequestTarget;
use crate::telemetry::health::Followed;

/// The running proxy.
pub(super) struct Running {
    shared: Arc<Shared>,
    /// `None` where there is no Redis.
    fleet: Option<Arc<Fleet>>,
    started_millis: u64,
    counting: Counting,
}

impl Running {
    pub(super) fn new(shared: Arc<Shared>, fleet: Option<Arc<Fleet>>) -> Self {
        Self {
            started_millis: shared.clock.now().unix_millis(),
            shared,
            fleet,
            counting: Counting::new(),
        }
    }
}

impl Operations for Running {
    fn invalidate(
        &self,
        request: InvalidateRequest,
    ) -> BoxFuture<'_, Result<Invalidated, OperationError>> {
        let is_soft = request.soft;
        let scopes: Vec<Scope> = request.scopes.into_iter().map(scope).collect();
        let as_ban = |scope: &Scope| Ban {
            scope: scope.clone(),
            is_soft,
        };
        let bans: Vec<Ban> = scopes.iter().map(as_ban).collect();
        Box::pin(async move {
            let invalidation = &self.shared.invalidation;
            let may_match = invalidation.may_meet(&bans);
            let count = |counted| self.counting.count(&self.shared, scopes, counted);
            if request.is_dry_run {
                return Ok(Invalidated {
                    matched: count(Counted::Usable).await,
                    may_match,
                    ..Invalidated::default()
                });
            }
            let newest = invalidation.newest();
            // In force here as soon as the first of the two is polled.
            let (receipt, matched) = tokio::join!(
                biased;
                invalidation.put_in_force(&bans),
                count(Counted::EndedSince(newest)),
            );
            let wait = request.wait.unwrap_or_default();
            let said = invalidation.acknowledged(&receipt, wait).await;
            Ok(Invalidated {
                matched,
                may_match,
                position: receipt.position.map(|position| position.to_string()),
                acknowledged: said.by,
                missing: said.missing,
            })
        })
    }

    fn fleet(&self) -> BoxFuture<'_, Result<FleetFigures, OperationError>> {
        Box::pin(async move {
            let own = self.shared.invalidation.instance().to_owned();
            let Some(fleet) = &self.fleet else {
                let presence = coherence::alone(&self.shared.invalidation, self.started_millis);
                return Ok(FleetFigures {
                    own,
                    is_alone: true,
                    instances: vec![figures(presence, Duration::ZERO)],
                    ..FleetFigures::default()
                });
            };
            let instances = fleet
                .instances()
                .await
                .map_err(|unknown| OperationError::Unavailable(unknown.to_string()))?;
            let mixed = fleet::mixed_modes(&instances);
            let mixed_modes = mixed.into_iter().map(str::to_owned).collect();
            let (missing, there): (Vec<_>, Vec<_>) =
                instances.into_iter().partition(Instance::is_missing);
            let of = |instances: Vec<Instance>| {
                let figures = instances
                    .into_iter()
                    .map(|instance| figures(instance.presence, instance.heard_ago));
                figures.collect()
            };
            Ok(FleetFigures {
                own,
                is_alone: false,
                instances: of(there),
                missing: of(missing),
                mixed_modes,
            })
        })
    }

    fn clear(&self, tier: Tier) -> BoxFuture<'_, Result<(), OperationError>> {
        Box::pin(async move {
            let store = &self.shared.store;
            match &store.redis {
                None if tier == Tier::Redis => return Err(OperationError::NoRedis),
                Some(redis) if tier != Tier::Memory => {
                    if tier == Tier::All {
                        // Clearing takes a while; none is to be reused meanwhile.
                        let all = [Ban::hard(Scope::All)];
                        self.shared.invalidation.put_in_force(&all).await;
                    }
                    redis.clear();
                }
                _ => {}
            }
            if tier != Tier::Redis {
                store.memory.clear();
            }
            Ok(())
        })
    }

    fn routes(&self) -> Vec<RouteFigures> {
        let site = self.shared.site();
        let figures = site.routes.routes().iter().map(|route| RouteFigures {
            name: Arc::clone(&route.name),
            path: Arc::clone(&route.path),
            entries_max: route.entries_max,
        });
        figures.collect()
    }

    fn bounds(&self) -> Bounds {
        let config = &self.shared.site().config;
        Bounds {
            memory_bytes_max: config.memory.bytes_max,
            redis: config.redis.as_ref().map(|redis| RedisBounds {
                queue_max: redis.queue_max as u64,
                queue_bytes_max: redis.queue_bytes_max,
            }),
        }
    }

    fn health(&self) -> HealthConfig {
        self.shared.site().config.health.clone()
    }

    fn followed(&self) -> Option<Followed> {
        let fleet = self.fleet.as_ref()?;
        Some(Followed {
            is_in_touch: self.shared.invalidation.is_in_touch(),
            lag: self.shared.invalidation.lag(),
            instances: fleet.count(),
        })
    }

    fn is_draining(&self) -> bool {
        self.shared.drain.is_draining()
    }

    fn is_ready(&self) -> bool {
        let is_warm = !self.shared.telemetry.warmth().figures().is_awaited;
        let has_started = self.shared.invalidation.has_started();
        is_warm && has_started && !self.shared.drain.is_draining()
    }
}

fn figures(presence: Presence, heard_ago: Duration) -> InstanceFigures {
    InstanceFigures {
        id: presence.id,
        host: presence.host,
        version: presence.version,
        started_millis: presence.started_millis,
        position: presence.position,
        lag: presence.lag_millis.map(Duration::from_millis),
        is_in_touch: presence.is_in_touch,
        mode: presence.mode,
        heard_ago,
    }
}

fn scope(asked: Asked) -> Scope {
    match asked {
        Asked::All => Scope::All,
        Asked::Route(name) => Scope::Route(name),
        Asked::Pattern(pattern) => Scope::Pattern(pattern),
        Asked::Tag(tag) => Scope::Tag(tag),
        Asked::Url(url) => Scope::Url {
            host: url
                .authority()
                .map(|authority| authority.as_str().to_ascii_lowercase().into()),
            path: RequestTarget::of(url.path(), None).path.into(),
            query: url.query().map(Into::into),
        },
    }
}
