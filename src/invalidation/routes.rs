//! What the routes of the fleet may have stored, so that a write that can meet
//! none of it is not logged.
//!
//! Every instance announces its routes in the log before anything is stored
//! under them ([`super::announce`]); a follower of the log learns them in order
//! with the bans, and keeps them for as long as its process lives, since what
//! was stored under a route outlives it. What cannot be read, and more than
//! [`ROUTES_MAX`], counts for every path.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::scope::{Ban, Scope};
use crate::pattern::{Extent, Pattern};

/// Different routes that are known at most; with one more, all paths count.
const ROUTES_MAX: usize = 4_096;
/// What the fleet's heartbeats said is believed for so long.
const FLEET_KNOWN_FOR: Duration = Duration::from_secs(10);

/// The routes of the fleet, and those of this instance.
#[derive(Debug)]
pub(super) struct Routes {
    start: Instant,
    fleet: RwLock<RouteSet>,
    /// Milliseconds from `start`, and one, when all instances that there are
    /// were known to announce their routes; 0: they were not.
    announcing: AtomicU64,
    /// What this instance has routes for.
    own: ArcSwap<Vec<Box<str>>>,
    announced: ArcSwap<Announced>,
    changed: Notify,
}

/// The routes of this instance that the others know, in the log of this
/// incarnation.
#[derive(Debug, Default)]
pub(super) struct Announced {
    pub(super) incarnation: u128,
    pub(super) paths: HashSet<Box<str>>,
}

#[derive(Debug, Default)]
struct RouteSet {
    known: HashSet<Box<str>>,
    by_first_segment: HashMap<String, Vec<Pattern>>,
    others: Vec<Pattern>,
    is_everything: bool,
    /// Of the log of this incarnation, the beginning is not known: it may have
    /// announced anything.
    unknown_in: u128,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            fleet: RwLock::default(),
            announcing: AtomicU64::new(0),
            own: ArcSwap::default(),
            announced: ArcSwap::default(),
            changed: Notify::new(),
        }
    }

    /// These are the routes of this instance from now on.
    pub(super) fn set_own(&self, paths: Vec<Box<str>>) {
        self.learn(&paths);
        self.own.store(Arc::new(paths));
        self.changed.notify_one();
    }

    /// Another log is followed: everything is to be announced there.
    pub(super) fn log_changed(&self) {
        self.changed.notify_one();
    }

    /// Those of them that are to be announced in the log of this incarnation.
    pub(super) fn unannounced(&self, incarnation: u128) -> Vec<Box<str>> {
        let own = self.own.load();
        let announced = self.announced.load();
        let is_same_log = announced.incarnation == incarnation;
        let unknown = own
            .iter()
            .filter(|path| !(is_same_log && announced.paths.contains(&***path)));
        unknown.cloned().collect()
    }

    /// Waits until that may have changed. For one waiter.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// These are known to the others.
    pub(super) fn set_announced(&self, incarnation: u128, paths: Vec<Box<str>>) {
        let before = self.announced.load();
        let mut all: HashSet<Box<str>> = paths.into_iter().collect();
        if before.incarnation == incarnation {
            all.extend(before.paths.iter().cloned());
        }
        self.announced.store(Arc::new(Announced {
            incarnation,
            paths: all,
        }));
    }

    /// Whether the others know of a route, in the log of this incarnation.
    pub(super) fn is_announced(&self, path: &str, incarnation: u128) -> bool {
        let announced = self.announced.load();
        announced.incarnation == incarnation && announced.paths.contains(path)
    }

    /// Whether there were routes that were announced in the log of this
    /// incarnation, or there are none.
    pub(super) fn are_announced_in(&self, incarnation: u128) -> bool {
        self.announced.load().incarnation == incarnation || self.own.load().is_empty()
    }

    /// The fleet has these routes, too.
    pub(super) fn learn(&self, paths: &[Box<str>]) {
        let are_known = {
            let fleet = self.fleet.read();
            paths.iter().all(|path| fleet.known.contains(path))
        };
        if are_known {
            return;
        }
        let mut fleet = self.fleet.write();
        for path in paths {
            fleet.add(path);
        }
    }

    /// The same, as the log says it.
    pub(super) fn learn_written(&self, text: &[u8]) {
        match serde_json::from_slice::<Vec<Box<str>>>(text) {
            Ok(paths) => self.learn(&paths),
            Err(error) => {
                let mut fleet = self.fleet.write();
                // Nothing changes with the next one.
                if !fleet.is_everything {
                    tracing::warn!(%error, "routes that cannot be read count for every path");
                }
                fleet.is_everything = true;
            }
        }
    }

    /// What the log of this incarnation announced cannot be known.
    pub(super) fn unknown_in(&self, incarnation: u128) {
        self.fleet.write().unknown_in = incarnation;
    }

    /// All that is known, for those who come later; `None` where that is not
    /// all.
    pub(super) fn known(&self, incarnation: u128) -> Option<Vec<Box<str>>> {
        let fleet = self.fleet.read();
        let is_all = !fleet.is_everything && fleet.unknown_in != incarnation;
        is_all.then(|| fleet.known.iter().cloned().collect())
    }

    /// Whether all instances that there are announce their routes, as their
    /// heartbeats say.
    pub(super) fn set_announcing(&self, is_everybody: bool) {
        let now = self.start.elapsed().as_millis() as u64 + 1;
        let announcing = if is_everybody { now } else { 0 };
        self.announcing.store(announcing, Ordering::Release);
    }

    /// Whether some of these bans may match what a route of the fleet has
    /// stored. Where that is not known, they may.
    pub(super) fn may_meet(&self, bans: &[Ban], incarnation: u128) -> bool {
        let known_at = self.announcing.load(Ordering::Acquire);
        let known_at = self.start + Duration::from_millis(known_at.saturating_sub(1));
        known_at.elapsed() > FLEET_KNOWN_FOR || self.could_meet(bans, incarnation)
    }

    /// The same as far as it was known when the fleet was last heard of.
    pub(super) fn could_meet(&self, bans: &[Ban], incarnation: u128) -> bool {
        let is_announcing = self.announcing.load(Ordering::Acquire) > 0;
        let is_known = is_announcing && self.fleet.read().unknown_in != incarnation;
        !is_known || self.may_meet_known(bans)
    }

    /// Whether some of these bans may match what a route that is known here has
    /// stored: all that there is to know without a fleet.
    pub(super) fn may_meet_known(&self, bans: &[Ban]) -> bool {
        let fleet = self.fleet.read();
        bans.iter().any(|ban| fleet.may_meet(&ban.scope))
    }
}

impl RouteSet {
    fn add(&mut self, path: &str) {
        if self.is_everything || self.known.contains(path) {
            return;
        }
        let pattern = pattern_of(path).filter(|_| self.known.len() < ROUTES_MAX);
        let Some(pattern) = pattern else {
            self.is_everything = true;
            return;
        };
        self.known.insert(path.into());
        match pattern.first_segment() {
            Some(first) => self
                .by_first_segment
                .entry(first)
                .or_default()
                .push(pattern),
            None => self.others.push(pattern),
        }
    }

    fn may_meet(&self, scope: &Scope) -> bool {
        if self.is_everything {
            return true;
        }
        match scope {
            Scope::All | Scope::Route(_) | Scope::Tag(_) => true,
            Scope::Url { path, .. } => self.may_store(path),
            Scope::Pattern(pattern) => match pattern.extent() {
                Extent::Path(path) => self.may_store(path),
                _ => self.overlaps(pattern),
            },
        }
    }

    fn may_store(&self, path: &str) -> bool {
        let first = path.split('/').nth(1).unwrap_or_default();
        let beside = self.by_first_segment.get(first).into_iter().flatten();
        beside.chain(&self.others).any(|route| route.matches(path))
    }

    fn overlaps(&self, pattern: &Pattern) -> bool {
        let overlaps = |route: &Pattern| route.may_overlap(pattern);
        let is_met = match pattern.first_segment() {
            Some(first) => {
                let beside = self.by_first_segment.get(&first);
                beside.is_some_and(|beside| beside.iter().any(overlaps))
            }
            None => self.by_first_segment.values().flatten().any(overlaps),
        };
        is_met || self.others.iter().any(overlaps)
    }
}

/// The pattern of a route's path; `None` where the two would be read in
/// different ways.
fn pattern_of(path: &str) -> Option<Pattern> {
    let is_plain = !path.contains(['%', '\\']);
    is_plain.then(|| Pattern::parse(path).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(paths: &[&str]) -> Routes {
        let routes = Routes::new();
        routes.set_announcing(true);
        let paths: Vec<Box<str>> = paths.iter().map(|path| (*path).into()).collect();
        routes.learn(&paths);
        routes
    }

    fn meets(routes: &Routes, scope: Scope) -> bool {
        routes.may_meet(&[Ban::hard(scope)], 1)
    }

    fn pattern(text: &str) -> Scope {
        Scope::Pattern(Pattern::parse(text).unwrap())
    }

    #[test]
    fn a_ban_meets_what_a_route_may_have_stored() {
        let routes = routes(&["/api/{id}", "/api/{id}/x", "/files/**"]);
        for text in [
            "/api/7",
            "/api/**",
            "/**",
            "/files",
            "/files/a/**",
            "/*/7/x",
        ] {
            assert!(meets(&routes, pattern(text)), "{text}");
        }
        for text in [
            "/track",
            "/api",
            "/api/",
            "/track/**",
            "/api/7/y",
            "/files2/**",
        ] {
            assert!(!meets(&routes, pattern(text)), "{text}");
        }
        assert!(meets(&routes, Scope::All));
        assert!(meets(&routes, Scope::Tag("t".into())));
        assert!(meets(&routes, Scope::Route("r".into())));
    }

    #[test]
    fn what_is_not_known_may_be_met() {
        let track = || pattern("/track");
        let known = routes(&["/api/**"]);
        assert!(!meets(&known, track()));
        known.unknown_in(1);
        assert!(meets(&known, track()));
        known.unknown_in(2);
        assert!(!meets(&known, track()), "another log");
        known.set_announcing(false);
        assert!(meets(&known, track()), "an instance that does not announce");
        let odd = routes(&["/a%2Fb"]);
        assert!(meets(&odd, track()), "a route that cannot be compared");
        let unread = routes(&[]);
        unread.learn_written(b"{}");
        assert!(meets(&unread, track()));
        assert_eq!(unread.known(1), None);
        let many = routes(&[]);
        let paths: Vec<Box<str>> = (0..=ROUTES_MAX).map(|n| format!("/r{n}").into()).collect();
        many.learn(&paths);
        assert!(meets(&many, track()), "too many");
    }

    #[test]
    fn a_route_is_announced_in_one_log() {
        let routes = routes(&[]);
        routes.set_own(vec!["/a".into(), "/b".into()]);
        assert_eq!(routes.unannounced(1).len(), 2);
        routes.set_announced(1, vec!["/a".into()]);
        assert_eq!(routes.unannounced(1), [Box::<str>::from("/b")]);
        assert!(routes.is_announced("/a", 1) && !routes.is_announced("/b", 1));
        routes.set_announced(1, vec!["/b".into()]);
        assert!(routes.is_announced("/a", 1) && routes.is_announced("/b", 1));
        assert!(!routes.is_announced("/a", 2), "another log");
        assert_eq!(routes.unannounced(2).len(), 2);
    }
}
