//! What all data threads share: the stores, the bans, the figures, and the
//! configuration in force.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use arc_swap::ArcSwap;

use super::ask::Ask;
use super::flight::Flights;
use super::landing::Landing;
use super::remember::{FillingBudget, NotShareable};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::drain::Drain;
use crate::invalidation::Invalidation;
use crate::invalidation::bans::Verdict;
use crate::invalidation::rules::Rules;
use crate::message::directives::RequestDirectives;
use crate::message::lines::FieldLines;
use crate::origin::client::{OriginClient, TrustError};
use crate::route::{RouteConflict, RouteTable};
use crate::semantics::key::CacheKey;
use crate::semantics::reuse::{self, Circumstances, Reuse};
use crate::semantics::vary::SecondaryKey;
use crate::store::Store;
use crate::store::memory::{Bounds, Departure, Entry, Kept, RouteCache};
use crate::telemetry::{Telemetry, logging};

/// What a flight is for: a key, and what the request selects of it.
pub(super) type FlightKey = (CacheKey, SecondaryKey);

/// Shared by all data threads and the control thread.
#[derive(Debug)]
pub struct Shared {
    pub(super) site: ArcSwap<Site>,
    pub(super) flights: Arc<Flights<FlightKey, Landing>>,
    pub(super) not_shareable: NotShareable,
    pub(super) filling: Arc<FillingBudget>,
    /// The stored responses.
    pub store: Store,
    /// The bans, and the way to new ones.
    pub invalidation: Arc<Invalidation>,
    /// The figures.
    pub telemetry: Arc<Telemetry>,
    /// The time.
    pub clock: Clock,
    /// The orderly end.
    pub drain: Drain,
}

/// A configuration, ready to serve.
#[derive(Debug)]
pub struct Site {
    /// What was configured.
    pub config: Config,
    /// The routes.
    pub routes: RouteTable,
    /// Their caches, in the same order.
    pub(super) caches: Vec<Arc<RouteCache>>,
    pub(super) rules: Rules,
    /// One for each data thread.
    pub(super) origins: Vec<OriginClient>,
}

/// A configuration that cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// Two routes match the same paths.
    #[error(transparent)]
    Route(#[from] RouteConflict),
    /// No certificates to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Site {
    /// Prepares a configuration. The clients of `before` go on where the
    /// upstream is the same.
    ///
    /// # Errors
    /// [`SiteError`] says what stands in the way; nothing has changed then.
    pub fn prepare(
        config: Config,
        store: &Store,
        telemetry: &Telemetry,
        before: Option<&Self>,
    ) -> Result<Self, SiteError> {
        let routes = RouteTable::new(&config.routes, telemetry)?;
        let same_upstream = before.filter(|before| {
            before.config.upstream == config.upstream && before.config.origin == config.origin
        });
        let origins = match same_upstream {
            Some(before) => before.origins.clone(),
            None => (0..config.threads)
                .map(|_| OriginClient::new(&config.upstream, &config.origin, telemetry.upstream()))
                .collect::<Result<_, _>>()?,
        };
        let caches = routes
            .routes()
            .iter()
            .map(|route| {
                let counters = route.telemetry.counters();
                store.memory.route(&route.name, route.entries_max, counters)
            })
            .collect();
        Ok(Self {
            rules: Rules::new(config.invalidation.default, config.invalidations.clone()),
            config,
            routes,
            caches,
            origins,
        })
    }
}

impl Site {
    /// Tells the other instances what may be stored here from now on.
    fn announce(&self, invalidation: &Invalidation) {
        let routes = self.routes.routes().iter();
        invalidation.set_routes(routes.map(|route| &*route.path));
    }

    /// Puts the bounds on what is under way in force, the access log, and
    /// where spans go.
    fn bound(&self, telemetry: &Telemetry) {
        let limits = &self.config.limits;
        telemetry.requests().set_bounds(limits.requests());
        let upstream = telemetry.upstream();
        upstream.exchanges.set_bounds(limits.exchanges());
        upstream.restart_waits.set_bounds(limits.restart_waits());
        logging::set_level(self.config.log.level);
        telemetry.access().set_format(self.config.log.access);
        #[cfg(feature = "otlp")]
        telemetry
            .spans()
            .set_endpoint(self.config.log.otlp.as_ref());
    }
}

impl Shared {
    /// Serves `config` from these stores.
    ///
    /// # Errors
    /// [`SiteError`] where the configuration cannot be put in force.
    pub fn new(
        config: Config,
        store: Store,
        invalidation: Arc<Invalidation>,
        telemetry: Arc<Telemetry>,
        clock: Clock,
        drain: Drain,
    ) -> Result<Arc<Self>, SiteError> {
        let not_shareable = NotShareable::new(&config.coalescing);
        let filling = FillingBudget::new(config.memory.filling_bytes_max);
        let site = Site::prepare(config, &store, &telemetry, None)?;
        site.bound(&telemetry);
        site.announce(&invalidation);
        Ok(Arc::new(Self {
            site: ArcSwap::from_pointee(site),
            flights: Flights::new(),
            not_shareable,
            filling,
            store,
            invalidation,
            telemetry,
            clock,
            drain,
        }))
    }

    /// The configuration in force.
    #[must_use]
    pub fn site(&self) -> Arc<Site> {
        self.site.load_full()
    }

    /// What memory has under `key` for a request of these fields, unless a ban
    /// is against it.
    pub(super) fn find(
        &self,
        cache: &RouteCache,
        key: &CacheKey,
        fields: &(impl FieldLines + ?Sized),
    ) -> Option<Arc<Entry>> {
        let kept = self.find_kept(cache, key, fields)?;
        Entry::of(kept).map(Arc::new)
    }

    /// The same, packed.
    pub(super) fn find_kept(
        &self,
        cache: &RouteCache,
        key: &CacheKey,
        fields: &(impl FieldLines + ?Sized),
    ) -> Option<Kept> {
        let memory = &self.store.memory;
        let kept = memory.lookup(cache, key, fields)?;
        match self.judge(&kept) {
            Verdict::Stands | Verdict::Softened { .. } => Some(kept),
            Verdict::Banned => {
                memory.remove(cache, &kept, Departure::Invalidated);
                None
            }
        }
    }

    /// What the bans say of a response in memory.
    #[must_use]
    pub fn judge(&self, kept: &Kept) -> Verdict {
        let marks = kept.marks();
        let (checked, softened) = (&marks.checked, &marks.softened);
        self.invalidation
            .judge_with(checked, softened, || kept.ban_subject())
    }

    /// What a response is good for to a request of these directives, which came
    /// at `started`: `now` on the wall clock.
    pub(super) fn assess(
        &self,
        kept: &Kept,
        started: Instant,
        now: Timestamp,
        directives: &RequestDirectives,
    ) -> Reuse {
        // What it says was true then or later.
        let asked_ago = now.since(kept.request_time());
        let circumstances = Circumstances {
            is_softly_banned: kept.marks().softened.load(Ordering::Acquire) != 0,
            is_unsynced: self.invalidation.is_unsynced(started, asked_ago),
        };
        let freshness = kept.freshness();
        let age = freshness.current_age(kept.response_time(), now);
        reuse::assess(&freshness, age, directives, circumstances)
    }

    /// Whether a stored response may stand in where the origin failed: no ban
    /// has come since it was found, and invalidations are known to be known.
    pub(super) fn may_bridge(&self, ask: &Ask, entry: &Entry) -> bool {
        self.judge(entry.kept()) != Verdict::Banned && !self.invalidation.has_lapsed(ask.started)
    }

    /// Puts another configuration in force. Requests under way end under the
    /// old one; what is stored under routes that did not change stays.
    ///
    /// # Errors
    /// [`SiteError`]: the old configuration stays in force.
    pub fn reload(&self, config: Config) -> Result<(), SiteError> {
        let before = self.site();
        let bounds = Bounds::of(&config.memory);
        let site = Site::prepare(config, &self.store, &self.telemetry, Some(&before))?;
        let site = Arc::new(site);
        site.bound(&self.telemetry);
        site.announce(&self.invalidation);
        self.not_shareable.set_bounds(&site.config.coalescing);
        self.filling.set_bound(site.config.memory.filling_bytes_max);
        self.site.store(Arc::clone(&site));
        self.store.memory.set_bounds(bounds);
        let is_kept = |name: &str| {
            site.routes
                .routes()
                .iter()
                .any(|route| &*route.name == name)
        };
        self.store.memory.retain_routes(is_kept);
        Ok(())
    }
}
