//! What one shard holds, and which of a key's responses a request selects.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::Slot;
use super::index::Index;
use super::kept::Kept;
use crate::clock::Timestamp;
use crate::config::EvictionPolicy;
use crate::message::lines::FieldLines;
use crate::semantics::key::CacheKey;
use crate::semantics::stored::StoredHead;
use crate::semantics::vary::{SecondaryKey, VaryNames};

/// A key whose responses name more different sets of `Vary` fields than this
/// forgets the oldest set.
const VARY_SETS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Content {
    pub(super) index: Index,
    /// Keys whose responses vary: on which fields, and what is stored.
    varying: HashMap<CacheKey, Varying, foldhash::fast::RandomState>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) request_time: Timestamp,
    pub(super) weight_bytes: u64,
}

#[derive(Debug, Default)]
struct Varying {
    /// Most recently stored first.
    sets: SmallVec<[VaryNames; 1]>,
    secondaries: Vec<SecondaryKey>,
    /// Keys of first choices of language, and the variant in that language.
    by_language: Vec<(SecondaryKey, SecondaryKey)>,
}

impl Varying {
    /// The most recently stored variant in the language a request likes best.
    fn in_first_language(&self, request: &(impl FieldLines + ?Sized)) -> Option<SecondaryKey> {
        if self.by_language.is_empty() {
            return None;
        }
        let choices = self.sets.iter();
        let mut choices = choices.filter_map(|names| names.select_by_first_choice(request));
        choices.find_map(|choice| {
            let mut newest_first = self.by_language.iter().rev();
            newest_first
                .find(|(key, _)| *key == choice)
                .map(|(_, secondary)| *secondary)
        })
    }

    fn forget_languages(&mut self, secondary: SecondaryKey) {
        self.by_language.retain(|(_, other)| *other != secondary);
    }
}

impl Content {
    pub(super) fn new(policy: EvictionPolicy) -> Self {
        Self {
            index: Index::new(policy),
            varying: HashMap::default(),
        }
    }

    /// The response of `key` that a request selects, used at `now`.
    pub(super) fn find(
        &mut self,
        key: &CacheKey,
        request: &(impl FieldLines + ?Sized),
        now: u64,
    ) -> Option<Kept> {
        let alone = (*key, SecondaryKey::default());
        if let Some(kept) = self.index.use_at(&alone, now) {
            return Some(kept.clone());
        }
        let varying = self.varying.get(key)?;
        let matching = varying
            .sets
            .iter()
            .map(|names| (*key, names.select(request)))
            .filter_map(|slot| {
                let kept = self.index.peek(&slot)?;
                Some((kept.response_time(), slot))
            });
        let newest = matching.max_by_key(|(response_time, _)| *response_time);
        let newest = match newest {
            Some((_, slot)) => slot,
            None => (*key, varying.in_first_language(request)?),
        };
        self.index.use_at(&newest, now).cloned()
    }

    /// The fields that responses of `key` were last seen to vary on.
    pub(super) fn vary_names(&self, key: &CacheKey) -> Option<VaryNames> {
        self.varying.get(key)?.sets.first().cloned()
    }

    /// What stands in a slot.
    pub(super) fn standing(&self, slot: &Slot) -> Option<Standing> {
        self.index.peek(slot).map(|kept| Standing {
            request_time: kept.request_time(),
            weight_bytes: kept.weight_bytes(),
        })
    }

    /// What has to go before a response with this `Vary` takes this slot: a
    /// response without `Vary` and ones with it do not live side by side, and
    /// of too many variants the least recently used goes.
    pub(super) fn displaced_by(
        &self,
        slot: &Slot,
        vary: &VaryNames,
        variants_max: usize,
    ) -> Vec<Slot> {
        let (key, secondary) = slot;
        let others = self.varying.get(key);
        let all_variants = || {
            let secondaries = others.map(|varying| varying.secondaries.as_slice());
            secondaries
                .unwrap_or_default()
                .iter()
                .map(|other| (*key, *other))
        };
        if vary.is_empty() {
            return all_variants().collect();
        }
        let mut displaced = vec![(*key, SecondaryKey::default())];
        let others: Vec<Slot> = all_variants()
            .filter(|(_, other)| other != secondary)
            .collect();
        if others.len() >= variants_max {
            let least_used = others
                .into_iter()
                .min_by_key(|slot| self.index.peek(slot).map(|kept| kept.place().since()));
            displaced.extend(least_used);
        }
        displaced
    }

    pub(super) fn remember_variant(&mut self, slot: &Slot, head: &StoredHead) {
        let vary = &head.vary;
        if vary.is_empty() {
            return;
        }
        let varying = self.varying.entry(slot.0).or_default();
        varying.sets.retain(|names| names != vary);
        varying.sets.insert(0, vary.clone());
        varying.sets.truncate(VARY_SETS_MAX);
        if !varying.secondaries.contains(&slot.1) {
            varying.secondaries.push(slot.1);
        }
        varying.forget_languages(slot.1);
        let keys = head.language_keys.iter();
        varying.by_language.extend(keys.map(|key| (*key, slot.1)));
    }

    pub(super) fn forget_variant(&mut self, slot: &Slot) {
        if let Some(varying) = self.varying.get_mut(&slot.0) {
            varying.secondaries.retain(|other| *other != slot.1);
            varying.forget_languages(slot.1);
            if varying.secondaries.is_empty() {
                self.varying.remove(&slot.0);
            }
        }
    }
}
