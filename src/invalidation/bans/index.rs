//! Bans by what they match, so that a response finds those that may match it
//! without looking at the others.
//!
//! | scope | found by |
//! |---|---|
//! | a literal path, a URL | the hash of the path |
//! | everything below a path | the hash of that path, which is a prefix of the response's at a `/` |
//! | another pattern | the folder it begins with, as a prefix; the few in one folder are tried one by one |
//! | a route, a tag | the hash of its name |
//! | everything | one place of its own |
//!
//! A check costs the depth of the path and the number of tags, however many
//! bans there are. Bans of one scope are one entry with two [`Mark`]s, a hard
//! and a soft one, each with the newest place of its bans in either order.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;
use slab::Slab;
use smallvec::SmallVec;

use super::super::scope::{Scope, sorted_query, without_default_port};
use crate::clock::Timestamp;
use crate::pattern::{Extent, Pattern};
use crate::semantics::stored::{BanSubject, LogPosition};

/// Prefixes of a path that are looked up, at its first slashes. What lies
/// deeper is found in the folder at this depth.
const DEPTH_MAX: usize = 64;

/// A scope as the index has it: where scopes match the same, they are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Everything.
    All,
    /// A route's responses.
    Route(Arc<str>),
    /// Those with a tag.
    Tag(Arc<str>),
    /// Those of one path.
    Path(Arc<str>),
    /// Those of one path with this host, or with this query, or both.
    Url(Arc<str>, Url),
    /// Those of this path, if it is not empty, and of all that go on with `/`.
    Below(Arc<str>),
    /// What a pattern matches, which begins with this folder and `/`.
    Pattern(Arc<str>, Pattern),
    /// What a pattern matches that begins with a wildcard.
    Anywhere(Pattern),
}

/// What a URL says beside its path, in one of the forms that are the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Url {
    host: Option<Box<str>>,
    query: Option<Box<str>>,
}

impl Url {
    fn of(host: Option<&str>, query: Option<&str>) -> Self {
        Self {
            host: host.map(|host| without_default_port(host).to_ascii_lowercase().into()),
            query: query.map(|query| sorted_query(query).join("&").into()),
        }
    }
}

impl Key {
    pub(super) fn of(scope: &Scope) -> Self {
        match scope {
            Scope::All => Self::All,
            Scope::Route(name) => Self::Route(Arc::clone(name)),
            Scope::Tag(tag) => Self::Tag(Arc::from(&**tag)),
            Scope::Pattern(pattern) => Self::of_pattern(pattern),
            Scope::Url {
                host: None,
                path,
                query: None,
            } => Self::Path(Arc::from(&**path)),
            Scope::Url { host, path, query } => {
                let url = Url::of(host.as_deref(), query.as_deref());
                Self::Url(Arc::from(&**path), url)
            }
        }
    }

    fn of_pattern(pattern: &Pattern) -> Self {
        match pattern.extent() {
            Extent::Path(path) => Self::Path(path.into()),
            Extent::Below(path) if slashes(path).count() <= DEPTH_MAX => Self::Below(path.into()),
            Extent::Below(path) => Self::Pattern(shallow(path).into(), pattern.clone()),
            Extent::Within(start) => match start.strip_suffix('/') {
                Some(folder) => Self::Pattern(shallow(folder).into(), pattern.clone()),
                None => Self::Anywhere(pattern.clone()),
            },
        }
    }

    /// A scope of this key.
    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::All => Scope::All,
            Self::Route(name) => Scope::Route(Arc::clone(name)),
            Self::Tag(tag) => Scope::Tag((**tag).into()),
            Self::Path(path) => Scope::Pattern(Pattern::literal(path)),
            Self::Url(path, Url { host, query }) => Scope::Url {
                host: host.clone(),
                path: (**path).into(),
                query: query.clone(),
            },
            Self::Below(path) => Scope::Pattern(Pattern::below(path)),
            Self::Pattern(_, pattern) | Self::Anywhere(pattern) => Scope::Pattern(pattern.clone()),
        }
    }

    /// The path under which it is found, as a whole or as a prefix.
    pub(super) fn path(&self) -> Option<&Arc<str>> {
        match self {
            Self::Path(path) | Self::Url(path, _) | Self::Below(path) | Self::Pattern(path, _) => {
                Some(path)
            }
            Self::All | Self::Route(_) | Self::Tag(_) | Self::Anywhere(_) => None,
        }
    }

    /// The path below which all that it matches lies, and itself does not
    /// match all: into a ban on that it may be folded.
    pub(super) fn folder(&self) -> Option<&str> {
        match self {
            Self::Path(path) | Self::Url(path, _) | Self::Below(path) => {
                let (above, _) = path.trim_end_matches('/').rsplit_once('/')?;
                Some(shallow(above))
            }
            Self::Pattern(folder, _) => Some(folder),
            Self::All | Self::Route(_) | Self::Tag(_) | Self::Anywhere(_) => None,
        }
    }
}

/// Where the slashes of a path are.
fn slashes(path: &str) -> impl Iterator<Item = usize> {
    memchr::memchr_iter(b'/', path.as_bytes())
}

/// The proper prefixes of a path that may be a folder, the shortest first.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    prefix_ends(path).map(|end| &path[..end])
}

/// Where those prefixes end.
pub(super) fn prefix_ends(path: &str) -> impl Iterator<Item = usize> {
    slashes(path).take(DEPTH_MAX + 1)
}

/// The prefix of a folder that is looked up.
fn shallow(folder: &str) -> &str {
    let too_deep = slashes(folder).nth(DEPTH_MAX);
    too_deep.map_or(folder, |end| &folder[..end])
}

/// What the index knows of the bans of one scope that are as hard: the newest
/// place of any of them, in each order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The local number.
    pub(super) local: u64,
    /// Where the log has it; `None` while it does not.
    pub(super) log: Option<LogPosition>,
    /// Where one is our own that the log does not have yet: its number. Until
    /// that is confirmed it counts as later than every record, whatever `log`
    /// says of another ban on the same.
    pub(super) awaited: Option<u64>,
    /// When it was put in force.
    pub(super) at: Timestamp,
}

impl Mark {
    pub(super) fn is_after(&self, position: LogPosition) -> bool {
        self.awaited.is_some() || self.log.is_none_or(|log| log > position)
    }

    /// Of both, whatever is later: nothing that either matched is matched no
    /// more.
    pub(super) fn merged(self, other: Self) -> Self {
        Self {
            local: self.local.max(other.local),
            log: self.log.max(other.log),
            awaited: self.awaited.max(other.awaited),
            at: self.at.max(other.at),
        }
    }

    fn dominates(&self, other: &Self) -> bool {
        self.merged(*other) == *self
    }
}

/// The bans of one scope. At least one mark is there.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) hard: Option<Mark>,
    pub(super) soft: Option<Mark>,
}

impl Entry {
    fn mark_mut(&mut self, is_soft: bool) -> &mut Option<Mark> {
        if is_soft {
            &mut self.soft
        } else {
            &mut self.hard
        }
    }
}

/// Which mark of which entry.
pub(super) type MarkId = (usize, bool);

/// What is found under one path.
#[derive(Debug, Default)]
struct Node {
    path: Option<usize>,
    urls: HashMap<Url, usize, RandomState>,
    below: Option<usize>,
    patterns: Vec<usize>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.path.is_none()
            && self.urls.is_empty()
            && self.below.is_none()
            && self.patterns.is_empty()
    }
}

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    entries: Slab<Entry>,
    all: Option<usize>,
    routes: HashMap<Arc<str>, usize, RandomState>,
    tags: HashMap<Arc<str>, usize, RandomState>,
    nodes: HashMap<Arc<str>, Node, RandomState>,
    anywhere: Vec<usize>,
    /// Every mark, by its local number.
    order: BTreeSet<(u64, MarkId)>,
    /// Those that the log does not have yet, by the number awaited.
    awaited: BTreeSet<(u64, MarkId)>,
}

impl Index {
    /// How many marks there are.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// Adds a ban, or moves the one of this scope forward.
    pub(super) fn merge(&mut self, key: Key, is_soft: bool, mark: Mark) -> usize {
        let at = self.find(&key).unwrap_or_else(|| self.insert(key));
        let id = (at, is_soft);
        let earlier = self.unmark(id);
        let mark = earlier.map_or(mark, |earlier| earlier.merged(mark));
        *self.entries[at].mark_mut(is_soft) = Some(mark);
        self.order.insert((mark.local, id));
        if let Some(number) = mark.awaited {
            self.awaited.insert((number, id));
        }
        // A soft ban says nothing beside a hard one that is as new.
        let entry = &self.entries[at];
        if let (Some(hard), Some(soft)) = (&entry.hard, &entry.soft)
            && hard.dominates(soft)
        {
            self.unmark((at, true));
        }
        at
    }

    /// Takes a mark out.
    pub(super) fn take(&mut self, id: MarkId) -> Option<Mark> {
        let mark = self.unmark(id)?;
        let entry = &self.entries[id.0];
        if entry.hard.is_none() && entry.soft.is_none() {
            let entry = self.entries.remove(id.0);
            self.displace(&entry.key, id.0);
        }
        Some(mark)
    }

    /// The marks of the lowest numbers, the lowest first.
    pub(super) fn oldest(&self) -> impl Iterator<Item = MarkId> {
        self.order.iter().map(|(_, id)| *id)
    }

    pub(super) fn key(&self, at: usize) -> &Key {
        &self.entries[at].key
    }

    pub(super) fn mark(&self, (at, is_soft): MarkId) -> Option<&Mark> {
        let entry = self.entries.get(at)?;
        if is_soft {
            entry.soft.as_ref()
        } else {
            entry.hard.as_ref()
        }
    }

    /// Every mark with its scope.
    pub(super) fn marks(&self) -> impl Iterator<Item = (&Key, bool, Mark)> {
        self.entries.iter().flat_map(|(_, entry)| {
            let hard = entry.hard.map(|mark| (&entry.key, false, mark));
            let soft = entry.soft.map(|mark| (&entry.key, true, mark));
            hard.into_iter().chain(soft)
        })
    }

    /// The patterns that are tried beside this one.
    pub(super) fn patterns_beside(&self, key: &Key) -> &[usize] {
        match key {
            Key::Pattern(folder, _) => self.nodes.get(folder).map_or(&[], |node| &node.patterns),
            Key::Anywhere(_) => &self.anywhere,
            _ => &[],
        }
    }

    /// Our own bans up to number `last` are in the log, at `position` or before.
    pub(super) fn confirm(&mut self, last: u64, position: LogPosition) {
        while let Some((number, (at, is_soft))) = self.awaited.first().copied()
            && number <= last
        {
            self.awaited.pop_first();
            if let Some(mark) = self.entries[at].mark_mut(is_soft) {
                mark.awaited = None;
                mark.log = mark.log.max(Some(position));
            }
        }
    }

    /// The entries whose scope matches `subject`.
    pub(super) fn matching(&self, subject: &BanSubject<'_>) -> SmallVec<[&Entry; 8]> {
        let mut found: SmallVec<[&Entry; 8]> = SmallVec::new();
        let mut add = |at: Option<usize>| found.extend(at.map(|at| &self.entries[at]));
        add(self.all);
        add(self.routes.get(subject.route).copied());
        for tag in &subject.tags {
            add(self.tags.get(*tag).copied());
        }
        let path = subject.path;
        for prefix in prefixes(path) {
            if let Some(node) = self.nodes.get(prefix) {
                add(node.below);
                self.matching_patterns(&node.patterns, path, &mut add);
            }
        }
        self.matching_patterns(&self.anywhere, path, &mut add);
        if let Some(node) = self.nodes.get(path) {
            add(node.path);
            add(node.below.filter(|_| !path.is_empty()));
            if !node.urls.is_empty() {
                for (host, query) in [
                    (Some(subject.host), None),
                    (None, Some(subject.query)),
                    (Some(subject.host), Some(subject.query)),
                ] {
                    add(node.urls.get(&Url::of(host, query)).copied());
                }
            }
        }
        found
    }

    fn matching_patterns(&self, among: &[usize], path: &str, add: &mut impl FnMut(Option<usize>)) {
        for at in among {
            let (Key::Pattern(_, pattern) | Key::Anywhere(pattern)) = &self.entries[*at].key else {
                continue;
            };
            if pattern.matches(path) {
                add(Some(*at));
            }
        }
    }

    fn unmark(&mut self, id: MarkId) -> Option<Mark> {
        let mark = self.entries[id.0].mark_mut(id.1).take()?;
        self.order.remove(&(mark.local, id));
        if let Some(number) = mark.awaited {
            self.awaited.remove(&(number, id));
        }
        Some(mark)
    }

    fn find(&self, key: &Key) -> Option<usize> {
        let node = key.path().and_then(|path| self.nodes.get(path));
        match key {
            Key::All => self.all,
            Key::Route(name) => self.routes.get(name).copied(),
            Key::Tag(tag) => self.tags.get(tag).copied(),
            Key::Path(_) => node?.path,
            Key::Below(_) => node?.below,
            Key::Url(_, url) => node?.urls.get(url).copied(),
            Key::Pattern(..) | Key::Anywhere(_) => {
                let mut beside = self.patterns_beside(key).iter().copied();
                beside.find(|at| self.entries[*at].key == *key)
            }
        }
    }

    fn insert(&mut self, key: Key) -> usize {
        let at = self.entries.insert(Entry {
            key: key.clone(),
            hard: None,
            soft: None,
        });
        match key {
            Key::All => self.all = Some(at),
            Key::Route(name) => drop(self.routes.insert(name, at)),
            Key::Tag(tag) => drop(self.tags.insert(tag, at)),
            Key::Anywhere(_) => self.anywhere.push(at),
            Key::Path(path) => self.nodes.entry(path).or_default().path = Some(at),
            Key::Below(path) => self.nodes.entry(path).or_default().below = Some(at),
            Key::Pattern(path, _) => self.nodes.entry(path).or_default().patterns.push(at),
            Key::Url(path, url) => {
                let node = self.nodes.entry(path).or_default();
                node.urls.insert(url, at);
            }
        }
        at
    }

    fn displace(&mut self, key: &Key, at: usize) {
        match key {
            Key::All => self.all = None,
            Key::Route(name) => drop(self.routes.remove(name)),
            Key::Tag(tag) => drop(self.tags.remove(tag)),
            Key::Anywhere(_) => self.anywhere.retain(|other| *other != at),
            Key::Path(path) | Key::Url(path, _) | Key::Below(path) | Key::Pattern(path, _) => {
                let Some(node) = self.nodes.get_mut(path) else {
                    return;
                };
                match key {
                    Key::Path(_) => node.path = None,
                    Key::Below(_) => node.below = None,
                    Key::Url(_, url) => {
                        node.urls.remove(url);
                    }
                    _ => node.patterns.retain(|other| *other != at),
                }
                if node.is_empty() {
                    self.nodes.remove(path);
                }
            }
        }
    }
}
