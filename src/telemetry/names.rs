//! Counts by name, where the names are words of the program: reasons, kinds
//! of failure.
//!
//! Promises: counting takes no lock; at most [`NAMES_MAX`] names, further ones
//! count as [`OTHER`]. Knows nothing of what the names mean, so that whoever
//! has a new reason need not be known here.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names kept.
pub const NAMES_MAX: usize = 32;

/// What stands for the names that found no place.
pub const OTHER: &str = "other";

/// Counts by name.
#[derive(Debug, Default)]
pub struct NamedCounts {
    slots: [Slot; NAMES_MAX],
    other: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    name: OnceLock<&'static str>,
    count: AtomicU64,
}

impl NamedCounts {
    /// Counts one of this name.
    pub fn increment(&self, name: &'static str) {
        for slot in &self.slots {
            if *slot.name.get_or_init(|| name) == name {
                slot.count.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        self.other.fetch_add(1, Ordering::Relaxed);
    }

    /// Every name that was counted, by name, [`OTHER`] last.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        let named = self.slots.iter().filter_map(|slot| {
            let name = slot.name.get()?;
            Some((*name, slot.count.load(Ordering::Relaxed)))
        });
        let mut counts: Vec<_> = named.filter(|(_, count)| *count > 0).collect();
        counts.sort_unstable();
        let other = self.other.load(Ordering::Relaxed);
        if other > 0 {
            counts.push((OTHER, other));
        }
        counts
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts().into_iter().map(|(_, count)| count).sum()
    }
}

/// What was counted since `earlier`, which counted no more.
#[must_use]
pub fn since(
    counts: Vec<(&'static str, u64)>,
    earlier: &[(&'static str, u64)],
) -> Vec<(&'static str, u64)> {
    let before = |name: &str| {
        let found = earlier.iter().find(|(known, _)| *known == name);
        found.map_or(0, |(_, count)| *count)
    };
    counts
        .into_iter()
        .map(|(name, count)| (name, count.saturating_sub(before(name))))
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_each_and_strangers_together() {
        let counts = NamedCounts::default();
        let names: Vec<&'static str> = (0..NAMES_MAX + 2)
            .map(|number| &*format!("name-{number:02}").leak())
            .collect();
        for name in &names {
            counts.increment(name);
        }
        counts.increment("name-00");
        let earlier = counts.counts();
        assert_eq!(earlier.len(), NAMES_MAX + 1);
        assert_eq!(earlier[0], ("name-00", 2));
        assert_eq!(earlier.last(), Some(&(OTHER, 2)));
        counts.increment("name-01");
        assert_eq!(since(counts.counts(), &earlier), [("name-01", 1)]);
    }

    #[test]
    fn no_count_is_lost_between_four_threads() {
        let counts = NamedCounts::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..5_000 {
                        counts.increment(["a", "b", "c"][number % 3]);
                    }
                });
            }
        });
        assert_eq!(counts.total(), 20_000);
        assert_eq!(counts.counts().len(), 3);
    }
}
