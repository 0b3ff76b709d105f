//! The responses of one shard by their slots: a hash table of which a lookup
//! reads one line of the processor's cache, and that line tells where the
//! response is.
//!
//! A hit among many responses waits for memory more than it computes: every
//! place it has to look at, one after the other, costs as much as all that is
//! done with it. A table in a library keeps what tells entries apart in one
//! place and the entries in another, which is one place more.
//!
//! A line has five ways. What finds its own line full goes to the next, and
//! every line that it passed counts it, so that a search ends at the first
//! line that nothing has passed (as in Facebook's F14, Bronson and Shi, 2019).
//! The bits of the hash that choose the line are kept beside each response: a
//! table grows without looking at a response.

use super::kept::Kept;

/// What a response takes here, on average: a table is between 40 % and 80 %
/// full.
pub(super) const WAY_BYTES: u64 = 21;

/// Responses of one line.
const WAYS: usize = 5;
/// A table has this many lines for so many responses, at least: 80 %.
const FULL: usize = 4;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Line {
    kept: [Option<Kept>; WAYS],
    tags: [u32; WAYS],
    /// Responses that belong here or further ahead and stand further on. One
    /// that has reached its bound stays there.
    passed: u16,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// A power of two, or none.
    lines: Vec<Line>,
    length: usize,
}

impl Table {
    /// How many responses are in it.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The response of a hash that `is_it` knows.
    pub(super) fn find(&self, hash: u32, is_it: impl Fn(&Kept) -> bool) -> Option<&Kept> {
        let (line, way) = self.place_of(hash, is_it)?;
        self.lines[line].kept[way].as_ref()
    }

    /// Adds a response that is not there yet.
    pub(super) fn insert(&mut self, hash: u32, kept: Kept) {
        if self.length >= self.lines.len() * FULL {
            self.grow();
        }
        self.place(hash, kept);
        self.length += 1;
    }

    /// Takes a response out.
    pub(super) fn remove(&mut self, hash: u32, is_it: impl Fn(&Kept) -> bool) -> Option<Kept> {
        let (found, way) = self.place_of(hash, is_it)?;
        let mut line = self.home_of(hash);
        while line != found {
            let passed = &mut self.lines[line].passed;
            if *passed != u16::MAX {
                *passed -= 1;
            }
            line = self.after(line);
        }
        self.length -= 1;
        self.lines[found].kept[way].take()
    }

    /// The line of a hash: its uppermost bits.
    fn home_of(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.lines.len() as u64) >> 32) as usize
    }

    fn after(&self, line: usize) -> usize {
        (line + 1) & (self.lines.len() - 1)
    }

    fn place_of(&self, hash: u32, is_it: impl Fn(&Kept) -> bool) -> Option<(usize, usize)> {
        let mut at = self.home_of(hash);
        // It ends at a line that nothing has passed, or after all lines.
        for _ in 0..self.lines.len() {
            let line = &self.lines[at];
            for (way, tag) in line.tags.iter().enumerate() {
                if *tag == hash && line.kept[way].as_ref().is_some_and(&is_it) {
                    return Some((at, way));
                }
            }
            if line.passed == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    fn place(&mut self, hash: u32, kept: Kept) {
        let mut at = self.home_of(hash);
        loop {
            let line = &mut self.lines[at];
            if let Some(way) = line.kept.iter().position(Option::is_none) {
                (line.kept[way], line.tags[way]) = (Some(kept), hash);
                return;
            }
            line.passed = line.passed.saturating_add(1);
            at = self.after(at);
        }
    }

    fn grow(&mut self) {
        let twice = (self.lines.len() * 2).max(1);
        let lines = std::iter::repeat_with(Line::default).take(twice).collect();
        let before = std::mem::replace(&mut self.lines, lines);
        for line in before {
            for (kept, tag) in line.kept.into_iter().zip(line.tags) {
                if let Some(kept) = kept {
                    self.place(tag, kept);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::semantics::key::CacheKey;
    use crate::store::samples;

    fn kept(n: u8) -> Kept {
        Kept::pack(CacheKey([n; 32]), &samples::response("x"), 0, 0)
    }

    #[test]
    fn a_line_is_one_line_of_the_cache() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
    }

    proptest! {
        /// Hashes of few values, so that lines overflow and what has passed
        /// them has to be found.
        #[test]
        fn it_holds_what_a_map_holds(
            steps in prop::collection::vec((any::<bool>(), 0..48_u8, 0..4_u32), 0..400),
        ) {
            let (mut table, mut map) = (Table::default(), HashMap::new());
            let mut hashes = HashMap::new();
            for (inserts, n, at) in steps {
                let hash = *hashes.entry(n).or_insert(at << 30 | at);
                let key = CacheKey([n; 32]);
                let is_it = |kept: &Kept| kept.slot().0 == key;
                let known = map.contains_key(&n);
                prop_assert_eq!(table.find(hash, is_it).is_some(), known);
                if inserts && !known {
                    let kept = kept(n);
                    map.insert(n, kept.clone());
                    table.insert(hash, kept);
                } else if !inserts {
                    let removed = table.remove(hash, is_it);
                    let expected = map.remove(&n);
                    prop_assert_eq!(removed.is_some(), expected.is_some());
                    if let (Some(removed), Some(expected)) = (removed, expected) {
                        prop_assert!(removed.is(&expected));
                    }
                }
                prop_assert_eq!(table.len(), map.len());
            }
            for (n, kept) in &map {
                let found = table.find(hashes[n], |other| other.is(kept));
                prop_assert!(found.is_some());
            }
            for (n, _) in map {
                let key = CacheKey([n; 32]);
                prop_assert!(table.remove(hashes[&n], |kept| kept.slot().0 == key).is_some());
            }
            prop_assert!(table.lines.iter().all(|line| line.passed == 0));
        }
    }
}
