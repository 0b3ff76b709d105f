//! An [`Index`] of bounded size: what is folded, and what is said of that.
//!
//! At the bound, some of the oldest bans are folded. Those that lie below one
//! path become one ban on all that is below it, the largest groups first, then
//! further up. Only where that makes too little room (bans on many tags, or
//! paths of one segment) are they forgotten, and everything before the last of
//! them counts as banned. Either way too much is invalidated, never too little.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::super::scope::{Ban, Scope};
use super::index::{Index, Key, Mark, MarkId};
use crate::clock::Timestamp;
use crate::semantics::stored::LogPosition;

/// Bans looked at when some are to be folded: nobody waits longer than that
/// takes.
const FOLD_MAX: usize = 4_096;
/// Patterns in one folder, which are tried one by one. One more, and the older
/// half of them become one ban on the folder.
const PATTERNS_MAX: usize = 128;

/// The bans in force, and what is to be said of those that were forgotten.
#[derive(Debug, Default)]
pub(super) struct BoundedBans {
    pub(super) index: Index,
    /// Responses in memory with a position before this are banned.
    pub(super) local_floor: u64,
    /// Records with a log position before this are banned.
    pub(super) log_floor: LogPosition,
    /// The newest ban among those that were forgotten: it may have been about
    /// anything.
    pub(super) forgotten_at: Option<Timestamp>,
    /// The newest hard ban on any tag.
    pub(super) newest_tag: u64,
}

impl BoundedBans {
    /// Puts a ban in force. What comes back is of no use any more; dropping it
    /// may take a while, for which nobody should wait.
    pub(super) fn add(&mut self, ban: &Ban, mark: Mark, bans_max: usize) -> Option<Index> {
        let mut mark = mark;
        let mut needless = None;
        if !ban.is_soft && ban.scope == Scope::All && self.index.len() > 0 {
            let earlier = std::mem::take(&mut self.index);
            // Its place in the log only moves forward: an earlier one may have
            // been ours, and be later there than this one.
            mark = earlier
                .marks()
                .fold(mark, |mark, (_, _, earlier)| mark.merged(earlier));
            needless = Some(earlier);
        }
        if !ban.is_soft && matches!(ban.scope, Scope::Tag(_)) {
            self.newest_tag = self.newest_tag.max(mark.local);
        }
        self.put(Key::of(&ban.scope), ban.is_soft, mark, bans_max);
        needless
    }

    /// The same for a scope that the index had before.
    pub(super) fn put(&mut self, key: Key, is_soft: bool, mark: Mark, bans_max: usize) {
        let at = self.index.merge(key, is_soft, mark);
        self.bound_patterns(at);
        if self.index.len() > bans_max {
            self.fold();
        }
    }

    /// The floors of what this takes the place of.
    pub(super) fn forget(&mut self, mark: &Mark) {
        self.local_floor = self.local_floor.max(mark.local);
        self.log_floor = self.log_floor.max(mark.log.unwrap_or_default());
        self.forgotten_at = self.forgotten_at.max(Some(mark.at));
    }

    fn bound_patterns(&mut self, at: usize) {
        let key = self.index.key(at);
        let beside = self.index.patterns_beside(key);
        if beside.len() <= PATTERNS_MAX {
            return;
        }
        let broad = match key {
            Key::Pattern(folder, _) => Key::Below(Arc::clone(folder)),
            _ => Key::All,
        };
        let ids = beside.iter().flat_map(|at| [(*at, false), (*at, true)]);
        let mut marks: Vec<(u64, MarkId)> = ids
            .filter_map(|id| Some((self.index.mark(id)?.local, id)))
            .collect();
        marks.sort_unstable();
        marks.truncate(marks.len() / 2);
        let older: Vec<MarkId> = marks.into_iter().map(|(_, id)| id).collect();
        self.fold_into(&broad, &older);
    }

    fn fold(&mut self) {
        let count = self.index.len();
        let looked_at = (count / 2).clamp(2, FOLD_MAX);
        let mut members: HashSet<MarkId, RandomState> =
            self.index.oldest().take(looked_at).collect();
        let goal = count - (looked_at / 4).max(1);
        loop {
            let groups = self.groups(&members);
            if groups.is_empty() {
                break;
            }
            for (folder, group) in groups {
                let broad = Key::Below(folder);
                for id in &group {
                    members.remove(id);
                }
                members.extend(self.fold_into(&broad, &group));
                if self.index.len() <= goal {
                    return;
                }
            }
        }
        // Little is gained by prefixes: the rest is forgotten.
        if self.index.len() > count - (looked_at / 8).max(1) {
            self.forget_oldest(looked_at);
        }
    }

    /// Those of `members` that lie below one path, by that path; the largest
    /// group first.
    fn groups(&self, members: &HashSet<MarkId, RandomState>) -> Vec<(Arc<str>, Vec<MarkId>)> {
        let mut groups: HashMap<&str, Vec<MarkId>, RandomState> = HashMap::default();
        for id in members {
            if self.index.mark(*id).is_none() {
                continue;
            }
            let folder = self.index.key(id.0).folder();
            if let Some(folder) = folder.filter(|folder| !folder.is_empty()) {
                groups.entry(folder).or_default().push(*id);
            }
        }
        let mut groups: Vec<_> = groups
            .into_iter()
            .filter(|(_, group)| {
                let soft = group.iter().filter(|(_, is_soft)| *is_soft).count();
                soft > 1 || group.len() - soft > 1
            })
            .map(|(folder, group)| (Arc::from(folder), group))
            .collect();
        groups.sort_unstable_by(|(_, one), (_, other)| (other.len(), one).cmp(&(one.len(), other)));
        groups
    }

    /// Puts a ban on `broad` in the place of these, as hard as they were; gives
    /// its marks.
    fn fold_into(&mut self, broad: &Key, ids: &[MarkId]) -> Vec<MarkId> {
        let mut folded: [Option<Mark>; 2] = [None; 2];
        for id in ids {
            if let Some(mark) = self.index.take(*id) {
                let sum = &mut folded[usize::from(id.1)];
                *sum = Some(sum.map_or(mark, |sum| sum.merged(mark)));
            }
        }
        let mut made = Vec::new();
        for (mark, is_soft) in folded.into_iter().zip([false, true]) {
            if let Some(mark) = mark {
                made.push((self.index.merge(broad.clone(), is_soft, mark), is_soft));
            }
        }
        made
    }

    fn forget_oldest(&mut self, count: usize) {
        let oldest: Vec<MarkId> = self.index.oldest().take(count).collect();
        let mut awaited: Option<Mark> = None;
        for id in oldest {
            let Some(mark) = self.index.take(id) else {
                continue;
            };
            self.forget(&mark);
            // Those that the log does not have yet become one that will be
            // confirmed with the last of them.
            if mark.awaited.is_some() {
                awaited = Some(awaited.map_or(mark, |sum| sum.merged(mark)));
            }
        }
        if let Some(mark) = awaited {
            self.index.merge(Key::All, false, mark);
        }
    }
}
