//! Whether any ban on what a response is found by came since it was checked
//! last, without a lock: so nearly every hit is judged while there are writes.
//!
//! A table of numbers, each the newest ban of all that hash to its place. A
//! number that is not newer says for certain that there was no ban; one that is
//! may be about something else, and the index has to be asked. Bans that were
//! folded or forgotten stay what they were here.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::quality::RandomState;

use super::index::{Key, prefix_ends};
use crate::semantics::stored::BanSubject;

/// Places of the table, 512 KiB.
const PLACES: usize = 1 << 16;

/// The newest bans by what they are about.
#[derive(Debug)]
pub(super) struct Recent {
    hasher: RandomState,
    places: Box<[AtomicU64]>,
    /// Of those that may be about anything.
    any: AtomicU64,
    /// Of those on any tag.
    tag: AtomicU64,
}

/// So that a path, a route and a tag of one name have places of their own.
#[derive(Clone, Copy)]
enum Kind {
    Path,
    Route,
    Tag,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            any: AtomicU64::new(0),
            tag: AtomicU64::new(0),
        }
    }

    /// To be called before `number` is published as the newest.
    pub(super) fn note(&self, key: &Key, number: u64) {
        match key {
            Key::All | Key::Anywhere(_) => self.note_any(number),
            Key::Route(name) => self.raise(self.of_name(Kind::Route, name), number),
            Key::Tag(name) => {
                self.tag.fetch_max(number, Ordering::Relaxed);
                self.raise(self.of_name(Kind::Tag, name), number);
            }
            Key::Path(path) | Key::Url(path, _) | Key::Below(path) | Key::Pattern(path, _) => {
                let mut whole = 0;
                self.of_path(path, |hash| {
                    whole = hash;
                    false
                });
                self.raise(whole, number);
            }
        }
    }

    /// The same for a ban on everything.
    pub(super) fn note_any(&self, number: u64) {
        self.any.fetch_max(number, Ordering::Relaxed);
    }

    /// Whether a ban after number `since` may be about `subject`. Holds for all
    /// bans up to the newest number that was read before.
    pub(super) fn is_touched(&self, subject: &BanSubject<'_>, since: u64) -> bool {
        let is_newer = |hash| self.place(hash).load(Ordering::Relaxed) > since;
        self.any.load(Ordering::Relaxed) > since
            || is_newer(self.of_name(Kind::Route, subject.route))
            || self.of_path(subject.path, is_newer)
            || subject
                .tags
                .iter()
                .any(|tag| is_newer(self.of_name(Kind::Tag, tag)))
    }

    /// The same for what is going to be stored, whose tags are not known yet.
    pub(super) fn is_target_touched(&self, subject: &BanSubject<'_>, since: u64) -> bool {
        self.tag.load(Ordering::Relaxed) > since || self.is_touched(subject, since)
    }

    fn raise(&self, hash: u64, number: u64) {
        self.place(hash).fetch_max(number, Ordering::Relaxed);
    }

    fn place(&self, hash: u64) -> &AtomicU64 {
        &self.places[hash as usize % PLACES]
    }

    fn of_name(&self, kind: Kind, name: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u8(kind as u8);
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    /// Tries the hash of each prefix of a path that ends before a slash, then
    /// of the whole path, until one is what is looked for. Each byte is hashed
    /// once.
    fn of_path(&self, path: &str, mut is_it: impl FnMut(u64) -> bool) -> bool {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u8(Kind::Path as u8);
        let mut hashed = 0;
        for end in prefix_ends(path) {
            hasher.write(&path.as_bytes()[hashed..end]);
            hashed = end;
            if is_it(hasher.finish()) {
                return true;
            }
        }
        hasher.write(&path.as_bytes()[hashed..]);
        is_it(hasher.finish())
    }
}
