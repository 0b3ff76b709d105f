//! Time as HTTP caching needs it.
//!
//! Two axes. **Ages** are measured on a clock that never goes back
//! ([`Clock::now`]): it follows the machine's wall clock forward, however far
//! that leaps, and goes on at its own pace where the wall clock is set back, so
//! that nothing stored becomes younger and nothing newer seems older. **Dates**
//! are compared with what others say (`Date` and `Expires` of an origin, records
//! of other instances), so they are read off the wall clock as it stands; how
//! far the first is ahead of it is the [`Clock::lead`], zero but for a wall
//! clock that was set back since this process began.
//!
//! Both are in milliseconds since the Unix epoch. How long something *took* is
//! measured with [`Instant`] where it happens; this module knows nothing of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment `duration` after this one, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// The moment `duration` before this one, saturating.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// This moment for the standard library (HTTP dates are made of it).
    #[must_use]
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A lead that is shorter is none: the wall clock is read in another
/// millisecond than the other, and dates in HTTP are whole seconds.
const LEAD_MIN: Duration = Duration::from_secs(1);

/// Where "now" comes from. Cloning is cheap and clones agree.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clocks.
    #[default]
    System,
    /// A clock that stands still until a test moves it.
    Manual(ManualClock),
}

impl Clock {
    /// The present moment, for ages: never earlier than one that was read
    /// before in this process.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => SYSTEM.read(SystemTime::now().into()),
            Self::Manual(clock) => Timestamp(clock.millis.load(Ordering::Acquire)),
        }
    }

    /// How far [`Clock::now`] is ahead of the wall clock; zero unless that was
    /// set back.
    #[must_use]
    pub fn lead(&self) -> Duration {
        let lead = match self {
            Self::System => {
                let wall = SystemTime::now().into();
                SYSTEM.read(wall).since(wall)
            }
            Self::Manual(clock) => Duration::from_millis(clock.lead.load(Ordering::Acquire)),
        };
        if lead < LEAD_MIN {
            Duration::ZERO
        } else {
            lead
        }
    }

    /// The present moment as others would tell it, for dates.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        self.now().minus(self.lead())
    }
}

/// The clock of this process.
static SYSTEM: LazyLock<Steady> = LazyLock::new(|| Steady {
    began: Instant::now(),
    offset: AtomicU64::new(0),
});

/// Follows a wall clock forward only.
#[derive(Debug)]
struct Steady {
    began: Instant,
    /// Its own reading when it began; grows where the wall clock leaps ahead,
    /// as it also does after the machine slept.
    offset: AtomicU64,
}

impl Steady {
    fn read(&self, wall: Timestamp) -> Timestamp {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.read_at(elapsed, wall)
    }

    /// The reading `elapsed` milliseconds after it began.
    fn read_at(&self, elapsed: u64, wall: Timestamp) -> Timestamp {
        let offset = self.offset.load(Ordering::Relaxed);
        let needed = wall.0.saturating_sub(elapsed);
        if needed > offset {
            self.offset.fetch_max(needed, Ordering::Relaxed);
        }
        Timestamp(elapsed.saturating_add(offset.max(needed)))
    }
}

/// The hand of a [`Clock::Manual`].
#[derive(Clone, Debug)]
pub struct ManualClock {
    millis: Arc<AtomicU64>,
    lead: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        Self {
            millis: Arc::new(AtomicU64::new(start.0)),
            lead: Arc::default(),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.millis.fetch_add(millis, Ordering::AcqRel);
    }

    /// Sets the wall clock back, which ages do not see.
    pub fn set_wall_back(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.lead.fetch_add(millis, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let hand = ManualClock::at(Timestamp::from_unix_millis(1_000));
        let clock = Clock::Manual(hand.clone());
        assert_eq!(clock.now().unix_millis(), 1_000);
        hand.advance(Duration::from_secs(2));
        assert_eq!(clock.now().unix_millis(), 3_000);
    }

    fn steady() -> Steady {
        Steady {
            began: Instant::now(),
            offset: AtomicU64::new(0),
        }
    }

    #[test]
    fn a_wall_clock_that_is_set_back_makes_nothing_younger() {
        let clock = steady();
        let wall = Timestamp::from_unix_millis;
        assert_eq!(clock.read_at(0, wall(1_000_000)), wall(1_000_000));
        assert_eq!(clock.read_at(100, wall(1_000_100)), wall(1_000_100));
        assert_eq!(clock.read_at(200, wall(400_200)), wall(1_000_200));
        assert_eq!(clock.read_at(60_200, wall(460_200)), wall(1_060_200));
    }

    #[test]
    fn a_wall_clock_that_leaps_ahead_is_followed() {
        let clock = steady();
        let wall = Timestamp::from_unix_millis;
        assert_eq!(clock.read_at(0, wall(1_000)), wall(1_000));
        assert_eq!(clock.read_at(10, wall(9_000_000)), wall(9_000_000));
        assert_eq!(clock.read_at(20, wall(1_020)), wall(9_000_010));
    }

    #[test]
    fn the_machines_clock_leads_nothing_while_nobody_sets_it() {
        let before = Clock::System.now();
        assert!(Clock::System.now() >= before);
        assert_eq!(Clock::System.lead(), Duration::ZERO);
        let wall = Timestamp::from(SystemTime::now());
        assert!(Clock::System.wall().since(wall) < LEAD_MIN);
    }

    #[test]
    fn a_date_is_told_by_the_wall_clock() {
        let hand = ManualClock::at(Timestamp::from_unix_millis(100_000));
        let clock = Clock::Manual(hand.clone());
        hand.set_wall_back(Duration::from_secs(30));
        assert_eq!(clock.now().unix_millis(), 100_000);
        assert_eq!(clock.wall().unix_millis(), 70_000);
        assert_eq!(clock.lead(), Duration::from_secs(30));
    }

    #[test]
    fn time_never_runs_backwards_into_a_panic() {
        let early = Timestamp::from_unix_millis(5);
        let late = Timestamp::from_unix_millis(9);
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(late.plus(Duration::MAX).unix_millis(), u64::MAX);
    }
}
