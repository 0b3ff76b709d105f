//! Coalesces concurrent fetches of one thing into a single *flight*.
//!
//! Promises: at most one leader per key, over all threads; every follower
//! hears what the leader lands, or that it was given up; a flight that has
//! been superseded never takes its successor out of the table.
//!
//! Knows nothing of HTTP: a flight carries any cloneable landing.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

use dashmap::{DashMap, Entry};
use tokio::sync::watch;

use crate::semantics::stored::Position;

/// The flights under way.
#[derive(Debug)]
pub(super) struct Flights<K: Eq + Hash, L> {
    table: DashMap<K, Arc<Flight<L>>, foldhash::fast::RandomState>,
}

/// One flight: what those who join it can know of it.
#[derive(Debug)]
pub(super) struct Flight<L> {
    /// What the leader said of it when it began.
    pub(super) began: Position,
    /// When it began.
    pub(super) since: Instant,
    landing: watch::Sender<Option<L>>,
}

/// The leader's end. Dropping it without landing gives the flight up.
#[derive(Debug)]
pub(super) struct Lead<K: Eq + Hash, L> {
    flights: Arc<Flights<K, L>>,
    key: K,
    flight: Arc<Flight<L>>,
}

/// A follower's end.
#[derive(Debug)]
pub(super) struct Follow<L> {
    landing: watch::Receiver<Option<L>>,
}

/// What joining came to.
#[derive(Debug)]
pub(super) enum Joined<K: Eq + Hash, L> {
    /// There was no flight: lead one.
    Lead(Lead<K, L>),
    /// There is one: follow it.
    Follow(Follow<L>),
    /// There is one that began too early: wait until it has landed, and join again.
    Await(Follow<L>),
}

/// What a flight is to a request that would join it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// What it lands may answer.
    Follow,
    /// What it lands does not, what the next lands may.
    Await,
    /// Nobody can use what it lands: another takes its place.
    Replace,
}

/// The leader gave up without landing anything.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GivenUp;

impl<K: Eq + Hash + Clone, L: Clone> Flights<K, L> {
    /// No flights.
    #[must_use]
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            table: DashMap::default(),
        })
    }

    /// Joins the flight of `key` if there is one that fits; else leads a new one,
    /// which takes the other's place for those who come later.
    pub(super) fn join(
        self: &Arc<Self>,
        key: K,
        began: Position,
        fit: impl FnOnce(&Flight<L>) -> Fit,
    ) -> Joined<K, L> {
        let new_flight = || {
            Arc::new(Flight {
                began,
                since: Instant::now(),
                landing: watch::Sender::new(None),
            })
        };
        let flight = match self.table.entry(key.clone()) {
            Entry::Occupied(mut entry) => {
                let fit = fit(entry.get());
                if fit == Fit::Replace {
                    let flight = new_flight();
                    entry.insert(Arc::clone(&flight));
                    flight
                } else {
                    let landing = entry.get().landing.subscribe();
                    let follow = Follow { landing };
                    return match fit {
                        Fit::Follow => Joined::Follow(follow),
                        _ => Joined::Await(follow),
                    };
                }
            }
            Entry::Vacant(entry) => Arc::clone(&entry.insert(new_flight())),
        };
        Joined::Lead(Lead {
            flights: Arc::clone(self),
            key,
            flight,
        })
    }
}

impl<L> Flight<L> {
    /// Whether its followers have been told.
    pub(super) fn has_landed(&self) -> bool {
        self.landing.borrow().is_some()
    }
}

impl<K: Eq + Hash, L> Lead<K, L> {
    /// Tells the followers, those of now and those who still join. The flight
    /// stays in the table until this is dropped.
    pub(super) fn land(&self, landing: L) {
        self.flight.landing.send_replace(Some(landing));
    }

    /// Tells the followers of now; those who come later do not join.
    pub(super) fn land_and_close(&self, landing: L) {
        self.close();
        self.land(landing);
    }

    fn close(&self) {
        self.flights
            .table
            .remove_if(&self.key, |_, flight| Arc::ptr_eq(flight, &self.flight));
    }
}

impl<K: Eq + Hash, L> Drop for Lead<K, L> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<L: Clone> Follow<L> {
    /// Waits for the landing.
    ///
    /// # Errors
    /// [`GivenUp`] where the leader went without one.
    pub(super) async fn landing(mut self) -> Result<L, GivenUp> {
        let landed = self.landing.wait_for(Option::is_some).await;
        landed
            .ok()
            .and_then(|landing| landing.clone())
            .ok_or(GivenUp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table = Arc<Flights<u8, &'static str>>;

    fn lead(flights: &Table) -> Lead<u8, &'static str> {
        match flights.join(1, Position::default(), |_| Fit::Follow) {
            Joined::Lead(lead) => lead,
            Joined::Follow(_) | Joined::Await(_) => panic!("somebody leads already"),
        }
    }

    fn follow(flights: &Table) -> Follow<&'static str> {
        match flights.join(1, Position::default(), |_| Fit::Follow) {
            Joined::Follow(follow) => follow,
            Joined::Lead(_) | Joined::Await(_) => panic!("nobody leads"),
        }
    }

    #[tokio::test]
    async fn all_who_join_hear_the_one_landing() {
        let flights = Flights::new();
        let lead = lead(&flights);
        let early = follow(&flights);
        lead.land("here");
        let late = follow(&flights);
        assert_eq!(early.landing().await, Ok("here"));
        assert_eq!(late.landing().await, Ok("here"));
        drop(lead);
        assert!(flights.table.is_empty());
    }

    #[tokio::test]
    async fn a_closed_flight_is_joined_by_nobody() {
        let flights = Flights::new();
        let failed = lead(&flights);
        let waiting = follow(&flights);
        failed.land_and_close("failed");
        assert_eq!(waiting.landing().await, Ok("failed"));
        let next = lead(&flights);
        drop(failed);
        let follower = follow(&flights);
        next.land("here");
        assert_eq!(follower.landing().await, Ok("here"));
    }

    #[tokio::test]
    async fn a_leader_that_goes_sets_its_followers_free() {
        let flights = Flights::new();
        let lead = lead(&flights);
        let waiting = tokio::spawn(follow(&flights).landing());
        drop(lead);
        assert_eq!(waiting.await.expect("it ran"), Err(GivenUp));
        assert!(flights.table.is_empty());
    }

    #[tokio::test]
    async fn a_superseded_flight_leaves_its_successor_alone() {
        let flights = Flights::new();
        let old = lead(&flights);
        let Joined::Lead(new) = flights.join(1, Position::default(), |_| Fit::Replace) else {
            panic!("the old flight must not be followed");
        };
        drop(old);
        let waiting = follow(&flights);
        new.land("new");
        assert_eq!(waiting.landing().await, Ok("new"));
    }

    #[tokio::test]
    async fn one_who_came_after_a_flight_began_waits_until_it_has_landed() {
        let flights = Flights::new();
        let old = lead(&flights);
        let Joined::Await(waiting) = flights.join(1, Position::default(), |_| Fit::Await) else {
            panic!("there is a flight");
        };
        let waiting = tokio::spawn(waiting.landing());
        old.land("too early");
        assert_eq!(waiting.await.expect("it ran"), Ok("too early"));
        assert!(old.flight.has_landed());
    }
}
